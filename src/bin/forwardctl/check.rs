//! `forwardctl check`: problems of the configuration, and of the systems that it names.

use amp_forwarder::check::{self, Finding};
use amp_forwarder::config::{Config, Env, site_env, sites_stack_env, stack_env};
use amp_forwarder::report::plain_line;
use amp_forwarder::setup;
use serde_json::json;

use crate::format;
use crate::load::{load, load_with, site};
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{Colour, painted, say, say_json, say_text};

#[derive(clap::Args)]
pub(super) struct CheckArguments {
    /// Probe the homes, their clocks, the remotes and the secrets, too
    #[arg(long)]
    online: bool,
    /// Print the configuration as it is understood: defaults filled in, secrets hidden
    #[arg(long, conflicts_with = "online")]
    effective: bool,
    /// Check it for the function of a stack: variables that the templates in infra/ set have
    /// stand-ins, unless they are set here, and the spool must be the stack's
    #[arg(long, conflicts_with = "online")]
    stack: bool,
}

/// The variables of the function of a stack: of one home's, or with `--site` of many sites'.
fn variables() -> Env<'static> {
    if site().is_some() {
        &sites_stack_env
    } else {
        &stack_env
    }
}

/// Whether the spool is the stack's own: the function may use no other place.
fn stack_spool(config: &Config) -> Finding {
    let env = site_env(site(), variables());
    let problem = match config.forwarder.spool.place(&env) {
        Ok(place) if env("SPOOL_URL") == Some(place.to_string()) => None,
        Ok(place) => Some(format!(
            "{place} is not the spool of the stack, whose permissions cover ${{SPOOL_URL}} alone: \
             leave out forwarder.spool.url"
        )),
        Err(error) => Some(error.to_string()),
    };
    Finding {
        subject: "spool".to_owned(),
        ok: problem.is_none(),
        warning: false,
        message: problem.unwrap_or_else(|| "the stack's bucket".to_owned()),
    }
}

/// What was checked, and how many findings are failures.
fn summary(config: &Config, findings: &[Finding]) -> String {
    let many = |items: usize, one: &str| format::many(items as u64, one);
    let jobs = many(config.scrape_configs.len(), "scrape job");
    let remotes = many(config.remote_write.len(), "remote");
    let good = painted("ok  ", Colour::Green);
    let valid = format!("{good} configuration: {jobs}, {remotes}");
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => valid,
        failed => format!(
            "{valid}\n{} {failed} of {}",
            painted("FAIL", Colour::Red),
            many(findings.len(), "finding")
        ),
    }
}

pub(super) async fn run(
    arguments: &CheckArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let loaded = if arguments.stack {
        load_with(config, variables()).await?
    } else {
        load(config).await?
    };
    if arguments.effective {
        let effective = loaded.config.effective();
        if json {
            say_json(json!({"ok": true, "effective": effective}));
        } else {
            say_text(&effective);
        }
        return Ok(CommandOutcome::Success);
    }
    let mut findings = check::warnings(&loaded.warnings);
    if arguments.stack {
        findings.push(stack_spool(&loaded.config));
    }
    if arguments.online {
        findings.extend(setup::check_online(&loaded.config).await?);
    }
    let ok = findings.iter().all(|finding| finding.ok);
    if json {
        say_json(json!({"ok": ok, "findings": findings}));
    } else {
        for finding in &findings {
            let mark = if !finding.ok {
                painted("FAIL", Colour::Red)
            } else if finding.warning {
                painted("warn", Colour::Yellow)
            } else {
                painted("ok  ", Colour::Green)
            };
            let line = format!("{}: {}", finding.subject, finding.message);
            say(format!("{mark} {}", plain_line(&line)));
        }
        say(summary(&loaded.config, &findings));
    }
    Ok(if ok {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}
