//! `forwardctl init`: a first forwarder.yml from three answers.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;

use amp_forwarder::config::{Config, FirstConfig, config_env, first_config};
use serde_json::json;

use crate::import::write_new;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{data_out, prompt, say_json, tell};

#[derive(clap::Args)]
pub(super) struct InitArguments {
    /// Address of the home Prometheus: 192.0.2.10:9090, or a URL. Asked for if not given, as are
    /// the other two
    #[arg(long, value_name = "ADDRESS")]
    home: Option<String>,
    /// The workspace's remote write URL, as the AMP console shows it, or that of another receiver
    #[arg(long, value_name = "URL")]
    remote_write: Option<String>,
    /// Labels that every series gets: site=attic, or cluster=home,__replica__=a; empty for none
    #[arg(long, value_name = "NAME=VALUE,...")]
    labels: Option<String>,
    /// Write to this file; an existing file is not replaced. - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "forwarder.yml")]
    output: PathBuf,
}

/// One of the three questions.
struct Question {
    flag: &'static str,
    text: &'static str,
}

const HOME: Question = Question {
    flag: "--home",
    text: "Where is the home Prometheus? Its address and port, such as 192.0.2.10:9090",
};
const REMOTE: Question = Question {
    flag: "--remote-write",
    text: "Where do its samples go? \"Endpoint - remote write URL\" of the AMP workspace",
};
const LABELS: Question = Question {
    flag: "--labels",
    text: "Which labels tell it from other homes? Such as site=attic, or \
           cluster=home,__replica__=a if two replicas send the same; Enter for none",
};

pub(super) fn run(arguments: &InitArguments, json: bool) -> Result<CommandOutcome, CommandError> {
    let to_output = arguments.output.as_os_str() == "-";
    if !to_output && arguments.output.exists() {
        return Err(CommandError::Usage(format!(
            "{} exists already, and is not replaced: change it, or name another file with --output",
            arguments.output.display()
        )));
    }
    let home = answer(arguments.home.as_deref(), &HOME)?;
    let remote_write = answer(arguments.remote_write.as_deref(), &REMOTE)?;
    let labels = answer(arguments.labels.as_deref(), &LABELS)?;
    let yaml = first_config(&FirstConfig {
        home: &home,
        remote_write: &remote_write,
        labels: &labels,
    })
    .map_err(CommandError::Usage)?;
    // The answers are in it, so that what is wrong with them is found here, with its line.
    let loaded = Config::load(&yaml, &config_env, "forwarder.yml")
        .map_err(|errors| CommandError::Usage(errors.to_string()))?;
    if to_output {
        if !json {
            data_out().write_all(yaml.as_bytes())?;
        }
    } else {
        write_new(&arguments.output, &yaml)?;
    }
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    if json {
        say_json(json!({"yaml": yaml, "warnings": warnings}));
        return Ok(CommandOutcome::Success);
    }
    for warning in &warnings {
        tell(format!("warn configuration: {warning}"));
    }
    if !to_output {
        let file = arguments.output.display();
        tell(format!("wrote {file}; what is next:"));
        let named = if arguments.output.as_os_str() == "forwarder.yml" {
            String::new()
        } else {
            format!(" --config {file}")
        };
        tell(format!(
            "  forwardctl check --online{named}    asks the home and the remote"
        ));
        tell(format!(
            "  forwardctl run --once{named}        sends one scrape"
        ));
    }
    Ok(CommandOutcome::Success)
}

/// The answer that was given as a flag, or else a line of standard input.
fn answer(given: Option<&str>, question: &Question) -> Result<String, CommandError> {
    if let Some(given) = given {
        return Ok(given.trim().to_owned());
    }
    tell(question.text);
    prompt();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read {
        Ok(0) | Err(_) => Err(CommandError::Usage(format!(
            "no answer: type it, or give it as {}",
            question.flag
        ))),
        Ok(_) => Ok(line.trim().to_owned()),
    }
}
