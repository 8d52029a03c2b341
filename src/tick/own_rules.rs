//! What the forwarder's own series belong to, and the rules by which they are taken in.

use std::time::Duration;

use crate::config::{Config, NameValidation, OwnSeriesConfig, ScrapeLimits, TargetError};
use crate::home::{JobId, Target};
use crate::intake::{ExposedSample, HistogramLimits, IntakeRules, Refusal, Sink, label_sets};
use crate::report::{OwnCounters, OwnSeries, RemoteCounters};
use crate::scrape::text::TextParser;
use crate::series::{ExposedLabel, Labels, TargetId};

/// Label `job` of the series.
const JOB: &str = "amp-forwarder";

/// Makes the target that the series belong to, with the next number after those of `targets`
/// others. It is never scraped.
pub(super) fn own_target(config: &OwnSeriesConfig, targets: usize) -> Option<Target> {
    let id = u16::try_from(targets).ok()?;
    config.enabled.then(|| Target {
        id: TargetId(id),
        job: JobId(usize::MAX),
        url: Err(TargetError::NoAddress),
        labels: vec![
            ("instance".to_owned(), config.instance.clone()),
            ("job".to_owned(), JOB.to_owned()),
        ],
        scrape_timeout: Duration::ZERO,
        siblings: 1,
    })
}

/// The rules of a tick that begins at `now_ms`, milliseconds since 1970.
pub(super) fn own_rules<'a>(
    target: &'a Target,
    config: &'a Config,
    now_ms: i64,
) -> IntakeRules<'a> {
    IntakeRules {
        target,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        limits: ScrapeLimits::default(),
        validation: NameValidation::Utf8,
        metric_relabel: &[],
        histogram_limits: HistogramLimits::default(),
        external_labels: &config.global.external_labels,
        remotes: &config.remote_write,
        start_ms: now_ms,
    }
}

/// Shows the label sets of each own series, one for each remote. None is shown unless they are
/// sent. `targets` is the number of targets of the configuration.
pub(crate) fn show_own_label_sets(
    config: &Config,
    targets: usize,
    show: &mut dyn FnMut(Vec<Option<Labels<'_>>>),
) {
    let Some(target) = own_target(&config.forwarder.own_series, targets) else {
        return;
    };
    let delivered = RemoteCounters {
        newest_ms: Some(0),
        ..RemoteCounters::default()
    };
    let remotes = config.remote_write.iter();
    let counters = OwnCounters {
        remotes: remotes
            .map(|remote| (remote.id(), delivered.clone()))
            .collect(),
        ..OwnCounters::default()
    };
    let series = OwnSeries {
        counters: &counters,
        backlog_segments: 0,
        backlog_bytes: 0,
        backlog_oldest_ms: None,
        failing_targets: 0,
        now_ms: 0,
    };
    let mut sink = OwnLabelSets {
        rules: own_rules(&target, config, 0),
        show,
    };
    // An exposition of ours can always be parsed.
    let _ = TextParser::default().parse(series.exposition().as_bytes(), true, &mut sink);
}

/// Works out the label sets of each series of an exposition.
struct OwnLabelSets<'a, 's> {
    rules: IntakeRules<'a>,
    show: &'s mut dyn FnMut(Vec<Option<Labels<'_>>>),
}

impl Sink for OwnLabelSets<'_, '_> {
    fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn resolved(
        &mut self,
        _: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        (self.show)(label_sets(&self.rules, labels)?);
        Ok(())
    }
}
