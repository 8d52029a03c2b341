//! `/metrics`: the forwarder's own series, and what only a process that stays can say.

use amp_forwarder::report::{ExpositionText, Outcome, OwnSeries};

use super::view::ShownRun;

/// Names of the outcomes of a tick, as label values.
const OUTCOMES: [(&str, Outcome); 5] = [
    ("ok", Outcome::Ok),
    ("partial", Outcome::Partial),
    ("degraded", Outcome::Degraded),
    ("busy", Outcome::Busy),
    ("failed", Outcome::Failed),
];

/// The exposition in the text format 0.0.4.
pub(super) fn exposition(run: &ShownRun, now_ms: i64) -> String {
    let last = run.last.as_ref();
    let spool = last.map(|last| last.spool.clone()).unwrap_or_default();
    let own = OwnSeries {
        counters: &run.counters,
        backlog_segments: spool.segments,
        backlog_bytes: spool.bytes,
        backlog_oldest_ms: spool.oldest_ms,
        failing_targets: last.map_or(0, |last| last.failing),
        now_ms,
    };
    let mut text = ExpositionText(own.exposition());
    text.head("build_info", "Version of the program.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let start = run.started_ms as f64 / 1000.0;
    text.one(
        "start_time_seconds",
        "Start of the process, since 1970.",
        start,
    );
    if let Some(last) = last {
        text.one(
            "last_tick_timestamp_seconds",
            "End of the last tick, since 1970.",
            last.ended_ms as f64 / 1000.0,
        );
        text.head("last_tick_outcome", "1 for the outcome of the last tick.");
        for (name, outcome) in OUTCOMES {
            let is_it = f64::from(u8::from(last.outcome == outcome));
            text.sample("last_tick_outcome", &[("outcome", name)], is_it);
        }
        text.one(
            "memory_bytes",
            "What memory_limit bounds: the most at once in the last tick.",
            last.memory.peak_bytes as f64,
        );
        text.one(
            "memory_limit_bytes",
            "The memory_limit.",
            last.memory.limit_bytes as f64,
        );
    }
    text.0
}
