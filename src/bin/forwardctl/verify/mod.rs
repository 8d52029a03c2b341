//! `forwardctl verify`: the home and the remotes, compared sample by sample.

mod output;

use std::time::Duration;

use amp_forwarder::config::{Config, parse_duration};
use amp_forwarder::setup;
use amp_forwarder::time::{Clock, SystemClock, millis};
use amp_forwarder::verify::{SampleVerifier, VerifyError, VerifyRequest};
use serde_json::json;
use url::Url;

use crate::format;
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome, DurationArgumentError};
use crate::terminal::{say_json, say_text};

/// Time for which an unused connection to the home is kept.
const IDLE: Duration = Duration::from_secs(50);

/// Largest answer of an end in bytes, before compression.
const MAX_BYTES: u64 = 256 << 20;

#[derive(clap::Args)]
pub(super) struct VerifyArguments {
    /// Compare this much of the past
    #[arg(long, value_name = "D", default_value = "10m", value_parser = duration)]
    last: Duration,
    /// Leave out what is younger than this, because it may still be on its way
    #[arg(long, value_name = "D", default_value = "2m", value_parser = duration)]
    settled: Duration,
    /// Compare only this job; may be given more than once
    #[arg(long, value_name = "NAME")]
    job: Vec<String>,
    /// Compare only this remote, by its name or its number from 0
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Read the remote by this query API, such as http://host:9090/api/v1/query [default: by remote
    /// read or the query API, as follows from the remote's url]
    #[arg(long, value_name = "URL")]
    query_url: Option<Url>,
    /// Show this many of the samples that deviate
    #[arg(long, value_name = "N", default_value_t = 10)]
    examples: usize,
}

fn duration(text: &str) -> Result<Duration, DurationArgumentError> {
    parse_duration(text).ok_or(DurationArgumentError(
        "not a duration: write 10m, 1h30m or 30s",
    ))
}

pub(super) async fn run(
    arguments: &VerifyArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let mut config = load(config).await?.config;
    keep_remote(&mut config, arguments.remote.as_deref())?;
    check_jobs(&config, &arguments.job)?;
    let end_ms = SystemClock.now_ms() - millis(arguments.settled);
    let request = VerifyRequest {
        range: end_ms - millis(arguments.last) + 1..=end_ms,
        jobs: (!arguments.job.is_empty()).then(|| arguments.job.clone()),
        deadline: None,
        examples: arguments.examples,
        max_bytes: MAX_BYTES,
    };
    let home = setup::home(&config, IDLE);
    let remotes = setup::remote_ends(&config, arguments.query_url.as_ref()).await?;
    let bar = format::bar(arguments.last.as_secs(), "s", json);
    let report = SampleVerifier::new(&config, &home, remotes)
        .verify(&request, &mut |progress| {
            bar.set_position(u64::try_from(progress.done_ms / 1000).unwrap_or_default());
            if progress.deviating > 0 {
                bar.set_message(format!("{} deviate", format::count(progress.deviating)));
            }
        })
        .await
        .map_err(|error| match error {
            VerifyError::End(_) => CommandError::Failed(format!(
                "{error}\nnothing was compared: verify needs remote read at the home, and remote \
                 read or the query API at the remote"
            )),
            VerifyError::NothingToVerify | VerifyError::Target(_) => {
                CommandError::Usage(error.to_string())
            }
        })?;
    bar.finish_and_clear();
    if json {
        say_json(json!(report));
    } else {
        say_text(&output::text(&report));
    }
    Ok(if report.ok {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}

/// Leaves one remote in the configuration.
fn keep_remote(config: &mut Config, wanted: Option<&str>) -> Result<(), CommandError> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let known: Vec<_> = config
        .remote_write
        .iter()
        .map(|remote| remote.label.clone())
        .collect();
    let place = known
        .iter()
        .position(|name| name == wanted)
        .or_else(|| wanted.parse().ok().filter(|place| *place < known.len()))
        .ok_or_else(|| {
            CommandError::Usage(format!(
                "unknown remote {wanted}; the configuration has: {}",
                known.join(", ")
            ))
        })?;
    config.remote_write = vec![config.remote_write.swap_remove(place)];
    Ok(())
}

fn check_jobs(config: &Config, wanted: &[String]) -> Result<(), CommandError> {
    let jobs = &config.scrape_configs;
    let is_known = |name: &&String| jobs.iter().any(|job| job.job_name == **name);
    match wanted.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(unknown) => {
            let known: Vec<_> = jobs.iter().map(|job| job.job_name.as_str()).collect();
            Err(CommandError::Usage(format!(
                "unknown job {unknown}; the configuration has: {}",
                known.join(", ")
            )))
        }
    }
}
