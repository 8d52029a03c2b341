//! `forwardctl explain`: which job takes a series, what each rule does, and who gets it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use amp_forwarder::config::Config;
use amp_forwarder::explain::{
    NewestSample, RuleStep, ShownSeries, TargetExplanation, exact_labels, explain, shown,
};
use amp_forwarder::home::targets;
use amp_forwarder::report::plain_line;
use amp_forwarder::selector::Selector;
use amp_forwarder::series::text;
use amp_forwarder::setup;
use amp_forwarder::time::{Clock, SystemClock};
use serde::Serialize;
use serde_json::json;

use super::format::span;
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{Colour, painted, say_json, say_text, tell};

/// Series that are explained of those that the home shows. More are for nobody to read.
const MOST: usize = 20;

#[derive(clap::Args)]
pub(super) struct ExplainArguments {
    /// The series: name{label="value"} with all of its labels, or with --online any selector
    series: String,
    /// Ask the homes for the series as they show it: its labels, its newest value and its age
    #[arg(long)]
    online: bool,
    /// Explain it for this job only
    #[arg(long)]
    job: Option<String>,
}

/// A series and its way through the configuration.
#[derive(Serialize)]
struct ExplainedSeries {
    /// The series as its home shows it, or as it was given.
    series: String,
    /// What the home shows, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<ShownSeries>,
    /// Its way, for each target that exposes it, or may.
    targets: Vec<TargetExplanation>,
}

pub(super) async fn run(
    arguments: &ExplainArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let selector = Selector::parse(&arguments.series).map_err(|error| {
        let text = format!("{}: not a series: {error}", arguments.series);
        CommandError::Usage(text)
    })?;
    let config = load(config).await?.config;
    if let Some(job) = &arguments.job
        && !config
            .scrape_configs
            .iter()
            .any(|known| known.job_name == *job)
    {
        return Err(CommandError::Usage(format!("unknown job {job}")));
    }
    let wanted = |job: &str| arguments.job.as_deref().is_none_or(|wanted| wanted == job);
    let (explained, failed) = if arguments.online {
        online(&config, &arguments.series, &wanted).await?
    } else {
        let labels = exact_labels(&selector).map_err(|error| {
            CommandError::Usage(format!("{error}; with --online, any selector will do"))
        })?;
        let mut targets = explain(&config, &labels, None).map_err(CommandError::Usage)?;
        targets.retain(|target| wanted(&target.job));
        let series = ExplainedSeries {
            series: written(&labels),
            shown: None,
            targets,
        };
        (vec![series], false)
    };
    if json {
        say_json(json!({ "series": explained }));
    } else {
        explained
            .iter()
            .for_each(|series| say_text(&readable(series)));
        if !arguments.online {
            tell("not asked: the home may show it with other labels; --online asks it");
        }
    }
    Ok(if failed || explained.is_empty() {
        CommandOutcome::Failure
    } else {
        CommandOutcome::Success
    })
}

/// Asks each federating target for the series that the selector selects. The second value says
/// whether a target could not be asked.
async fn online(
    config: &Config,
    selector: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(Vec<ExplainedSeries>, bool), CommandError> {
    let home = setup::home(config, Duration::ZERO);
    let mut explained = Vec::new();
    let (mut failed, mut left_out) = (false, 0);
    for target in targets(&config.scrape_configs).map_err(CommandError::Usage)? {
        let job = &config.scrape_configs[target.job.index()];
        if !wanted(&job.job_name) || !job.is_federation() {
            continue;
        }
        let instance = target.instance();
        let found = match shown(&home, job, &target, selector).await {
            Ok(found) => found,
            Err(error) => {
                tell(plain_line(&format!("{} {instance}: {error}", job.job_name)));
                failed = true;
                continue;
            }
        };
        if found.is_empty() {
            tell(plain_line(&format!(
                "{} {instance}: it shows no sample of the last five minutes: no such series, one \
                 that has ended, or a native histogram, which text cannot show",
                job.job_name
            )));
        }
        for series in found {
            if explained.len() == MOST {
                left_out += 1;
                continue;
            }
            let now_ms = SystemClock.now_ms();
            let newest = series.timestamp_ms.map(|timestamp_ms| NewestSample {
                age_ms: now_ms.saturating_sub(timestamp_ms),
            });
            let mut targets =
                explain(config, &series.labels, newest).map_err(CommandError::Usage)?;
            targets.retain(|it| it.job == job.job_name && it.instance == instance);
            explained.push(ExplainedSeries {
                series: written(&series.labels),
                shown: Some(series),
                targets,
            });
        }
    }
    if left_out > 0 {
        tell(format!(
            "{left_out} more series are left out: name the series more closely"
        ));
    }
    Ok((explained, failed))
}

fn written(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    text::series(&pairs)
}

/// The way of a series as text for people.
fn readable(explained: &ExplainedSeries) -> String {
    let mut out = format!("{}\n", plain_line(&explained.series));
    if let Some(shown) = &explained.shown {
        let age = shown.timestamp_ms.map_or_else(
            || "without a timestamp".to_owned(),
            |at_ms| format!("{} ago", span(SystemClock.now_ms().saturating_sub(at_ms))),
        );
        let _ = writeln!(out, "  at home    {} ({age})", shown.value);
    }
    for target in &explained.targets {
        let (job, instance) = (plain_line(&target.job), plain_line(&target.instance));
        let _ = writeln!(out, "job {job}, target {instance}");
        let selection = plain_line(&target.selection);
        if !target.selected {
            let _ = writeln!(
                out,
                "  {}  {selection}",
                painted("not asked", Colour::Yellow)
            );
            continue;
        }
        let _ = writeln!(out, "  selected   {selection}");
        let with_target = written(&target.labels);
        if with_target != explained.series {
            let _ = writeln!(out, "  becomes    {}", plain_line(&with_target));
        }
        out += &steps(&target.metric_rules);
        if let Some(ends) = &target.ends {
            let _ = writeln!(
                out,
                "  {}   {}",
                painted("not sent", Colour::Red),
                plain_line(ends)
            );
        }
        for remote in &target.remotes {
            let verdict = if remote.sent {
                painted("sent", Colour::Green)
            } else {
                painted("not sent", Colour::Red)
            };
            let name = plain_line(&remote.remote);
            let _ = writeln!(out, "  to {name}: {verdict}: {}", plain_line(&remote.why));
            out += &steps(&remote.rules);
            if let Some(series) = &remote.series {
                let _ = writeln!(out, "    as {}", plain_line(series));
            }
        }
    }
    out
}

/// One line for each rule, and one for each label that it changed.
fn steps(steps: &[RuleStep]) -> String {
    let mut out = String::new();
    for step in steps {
        let (at, rule) = (&step.at, plain_line(&step.rule));
        let _ = writeln!(out, "    {at} {}: {rule} on {:?}", step.effect, step.source);
        for change in &step.changes {
            let name = plain_line(&change.name);
            let _ = match (change.before.as_str(), change.after.as_str()) {
                ("", after) => writeln!(out, "      + {name}={after:?}"),
                (before, "") => writeln!(out, "      - {name}={before:?}"),
                (before, after) => writeln!(out, "      {name}={before:?} becomes {after:?}"),
            };
        }
    }
    out
}
