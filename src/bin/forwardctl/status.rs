//! `forwardctl status`: the lease, the jobs and the backlog, read from the spool.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{OwnCounters, plain_line};
use amp_forwarder::setup;
use amp_forwarder::status::{DiscardedSamples, JobStatus, LeaseStatus, Status, discarded};
use amp_forwarder::time::{Clock, SystemClock};
use serde_json::json;

use super::format::{age, count, many, size, span, table, time};
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome, duration};
use crate::terminal::{Colour, painted, say_json, say_text};

#[derive(clap::Args)]
pub(super) struct StatusArguments {
    /// Ask CloudWatch, too, what AMP itself has discarded of the samples that it took, by reason
    #[arg(long)]
    online: bool,
    /// With --online: look back so far, written as Prometheus does: 1h, 7d
    #[arg(long, value_name = "D", value_parser = duration, default_value = "1d")]
    last: Duration,
}

pub(super) async fn run(
    arguments: &StatusArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let config = load(config).await?.config;
    let store = setup::store(&config).await?;
    let status = Status::look(&config, &*store, SystemClock.now_ms()).await?;
    let discarded = if arguments.online {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Some(discarded(&config, &clock, arguments.last).await)
    } else {
        None
    };
    if json {
        let mut document = json!(status);
        if let Some(discarded) = &discarded {
            document["discarded"] = json!(discarded);
        }
        say_json(document);
    } else {
        say_text(&readable(&status));
        if let Some(discarded) = &discarded {
            say_text(&discarded_text(discarded));
        }
    }
    let failed = discarded.iter().flatten().any(|it| it.error.is_some());
    Ok(if failed {
        CommandOutcome::Failure
    } else {
        CommandOutcome::Success
    })
}

/// What AMP has discarded, as text for people.
fn discarded_text(discarded: &[DiscardedSamples]) -> String {
    if discarded.is_empty() {
        return "\nno remote is an AMP workspace: nobody counts what it discards\n".to_owned();
    }
    let mut text = String::new();
    for found in discarded {
        let (remote, workspace) = (plain_line(&found.remote), plain_line(&found.workspace));
        text += &format!(
            "\ndiscarded by AMP in {} ({remote}, {workspace})",
            span_of(found)
        );
        if let Some(error) = &found.error {
            text += &format!(": {}\n", painted(&plain_line(error), Colour::Red));
            continue;
        }
        if found.reasons.is_empty() {
            text += ": nothing\n";
            continue;
        }
        let mut rows = vec![heading(&["REASON", "SAMPLES", "WHAT TO DO"])];
        for reason in &found.reasons {
            let samples = count(reason.samples);
            rows.push(vec![
                reason.reason.clone(),
                samples,
                reason.advice.to_owned(),
            ]);
        }
        text += &format!("\n{}", table(&rows));
    }
    text
}

fn span_of(found: &DiscardedSamples) -> String {
    span(SystemClock.now_ms().saturating_sub(found.since_ms))
}

/// The status as text for people.
fn readable(status: &Status) -> String {
    let spool = &status.spool;
    if !spool.exists {
        return format!(
            "spool    {}: there is none yet; the first tick creates it\n",
            spool.address
        );
    }
    let backlog = &spool.backlog;
    let owed = if backlog.segments == 0 {
        "nothing is owed".to_owned()
    } else {
        let (samples, segments) = (
            many(backlog.samples, "sample"),
            many(backlog.segments, "segment"),
        );
        format!(
            "{samples} in {segments}, {}, the oldest {} old",
            size(backlog.bytes),
            age(backlog.oldest_ms)
        )
    };
    let lease = lease(&spool.lease, status.time_ms);
    let jobs = status.jobs.iter().fold(
        vec![heading(&["JOB", "LAST SLOT", "REMOTE", "WATERMARK"])],
        |rows, job| jobs(rows, job, status),
    );
    let jobs = if status.jobs.is_empty() {
        "no job has served a slot yet\n".to_owned()
    } else {
        table(&jobs)
    };
    let reads = reads(status);
    let reads = if reads.len() > 1 {
        format!("\n{}", table(&reads))
    } else {
        String::new()
    };
    let sums = status.counters.as_ref().map_or(String::new(), sums);
    format!(
        "spool    {}\nlease    {lease}\nbacklog  {owed}\n\n{}\n{}{reads}{sums}",
        spool.address,
        table(&remotes(status)),
        jobs
    )
}

/// What became of the samples of each remote since the sums began.
fn sums(counters: &OwnCounters) -> String {
    let names = [
        "REMOTE",
        "WRITTEN",
        "UNCHANGED",
        "REFUSED",
        "TOO OLD",
        "LOST",
    ];
    let mut rows = vec![heading(&names)];
    for (remote, sums) in &counters.remotes {
        let ledger = &sums.ledger;
        let written = ledger.written + ledger.deduplicated;
        let counts = [
            written,
            ledger.unchanged,
            ledger.rejected,
            ledger.expired,
            ledger.lost,
        ];
        let counts = counts.into_iter().map(count);
        rows.push(std::iter::once(remote.clone()).chain(counts).collect());
    }
    format!(
        "\n{} since {}, {} of billed time\n{}",
        many(counters.ticks, "tick"),
        time(counters.since_ms),
        span(i64::try_from(counters.busy_ms).unwrap_or(i64::MAX)),
        table(&rows)
    )
}

/// How far each target was read for each remote: up to then, every sample is delivered or in the
/// spool.
fn reads(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![heading(&["JOB", "HOME", "REMOTE", "SAFE UP TO"])];
    for job in &status.jobs {
        for (home, known) in &job.reads {
            for (remote, safe_ms) in &known.watermarks {
                rows.push(vec![
                    marked(&job.job, job.configured),
                    home.clone(),
                    status.label(remote).to_owned(),
                    format!("{} ({} ago)", time(*safe_ms), age(Some(*safe_ms))),
                ]);
            }
        }
    }
    rows
}

fn lease(lease: &LeaseStatus, now_ms: i64) -> String {
    match lease {
        LeaseStatus::Free => "free".to_owned(),
        LeaseStatus::Held(lease) => {
            let left = span(lease.until_ms.saturating_sub(now_ms));
            format!(
                "held by {} (epoch {}) for up to {left}; \
                 the figures are those of the previous release",
                plain_line(&lease.nonce),
                lease.epoch
            )
        }
        LeaseStatus::Ended(lease) => {
            let ago = span(now_ms.saturating_sub(lease.until_ms));
            format!(
                "not released by {} (epoch {}), ended {ago} ago: \
                 the next tick counts the backlog again",
                plain_line(&lease.nonce),
                lease.epoch
            )
        }
    }
}

fn heading(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A name, marked when the configuration does not have it.
fn marked(name: &str, configured: bool) -> String {
    if configured {
        name.to_owned()
    } else {
        format!("{name} (not configured)")
    }
}

fn remotes(status: &Status) -> Vec<Vec<String>> {
    let row = |remote: &amp_forwarder::status::RemoteStatus| {
        let backlog = &remote.backlog;
        let name = marked(&remote.label, remote.configured);
        vec![
            name,
            count(backlog.segments),
            count(backlog.samples),
            size(backlog.bytes),
            age(backlog.oldest_ms),
        ]
    };
    let heading = heading(&["REMOTE", "SEGMENTS", "SAMPLES", "SIZE", "OLDEST"]);
    [heading]
        .into_iter()
        .chain(status.remotes.iter().map(row))
        .collect()
}

/// Adds a job's rows, one for each remote with a watermark.
fn jobs(mut rows: Vec<Vec<String>>, job: &JobStatus, status: &Status) -> Vec<Vec<String>> {
    let moment = |ms: i64| format!("{} ({} ago)", time(ms), age(Some(ms)));
    let name = marked(&job.job, job.configured);
    let slot = job.last_slot_ms.map_or("-".to_owned(), moment);
    if job.watermarks.is_empty() {
        rows.push(vec![name, slot, "-".to_owned(), "-".to_owned()]);
        return rows;
    }
    for (remote, watermark) in &job.watermarks {
        rows.push(vec![
            name.clone(),
            slot.clone(),
            status.label(remote).to_owned(),
            moment(*watermark),
        ]);
    }
    rows
}
