//! `forwardctl check`: problems of the configuration, and of the systems that it names.

use amp_forwarder::check;
use amp_forwarder::report::plain_line;
use amp_forwarder::setup;
use serde_json::json;

use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say, say_json};

#[derive(clap::Args)]
pub(super) struct CheckArguments {
    /// Probe the homes, their clocks, the remotes and the secrets, too
    #[arg(long)]
    online: bool,
    /// Print the configuration as it is understood: defaults filled in, secrets hidden
    #[arg(long, conflicts_with = "online")]
    effective: bool,
}

pub(super) async fn run(
    arguments: &CheckArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let loaded = load(config).await?;
    if arguments.effective {
        let effective = loaded.config.effective();
        if json {
            println!("{}", json!({"ok": true, "effective": effective}));
        } else {
            print!("{effective}");
        }
        return Ok(CommandOutcome::Success);
    }
    let mut findings = check::warnings(&loaded.warnings);
    if arguments.online {
        findings.extend(setup::check_online(&loaded.config).await?);
    }
    let ok = findings.iter().all(|finding| finding.ok);
    if json {
        say_json(json!({"ok": ok, "findings": findings}));
    } else {
        for finding in &findings {
            let mark = if !finding.ok {
                "FAIL"
            } else if finding.warning {
                "warn"
            } else {
                "ok  "
            };
            let line = format!("{mark} {}: {}", finding.subject, finding.message);
            say(plain_line(&line));
        }
        let (jobs, remotes) = (
            loaded.config.scrape_configs.len(),
            loaded.config.remote_write.len(),
        );
        say(format!(
            "{} configuration: {jobs} scrape job(s), {remotes} remote(s)",
            if ok { "ok  " } else { "FAIL" }
        ));
    }
    Ok(if ok {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}
