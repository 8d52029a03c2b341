//! The last minute of a target by remote read, found without sending or remembering it.

use std::cell::RefCell;
use std::time::Duration;

use super::Forwarder;
use crate::batch::WindowStart;
use crate::home::Target;
use crate::read::request::TimeRange;
use crate::read::{NamePart, ReadSource, WindowOutcome, WindowReader, WindowRequest, WindowShape};

/// Samples of the answer at most.
const MAX_SAMPLES: u64 = 500_000;

impl Forwarder {
    /// Length of what [`Forwarder::read_last_minute`] asks for, milliseconds.
    pub const LAST_MINUTE_MS: i64 = 60_000;

    /// Reads the last minute up to `now_ms` of the home's clock, as a cold process would, together
    /// with the series that report on a scrape. `shape` says what is taken of it. It takes no
    /// longer than `longest`.
    pub async fn read_last_minute(
        &self,
        target: &Target,
        source: &ReadSource,
        now_ms: i64,
        shape: WindowShape,
        longest: Duration,
    ) -> WindowOutcome {
        let writers: Vec<_> = self
            .writers
            .iter()
            .map(|writer| RefCell::new(writer.borrow().cold()))
            .collect();
        let fits = |staged: usize| {
            let held = writers
                .iter()
                .map(|writer| writer.try_borrow().map_or(0, |writer| writer.memory()));
            held.sum::<usize>() + staged <= self.memory_limit
        };
        let reader = WindowReader {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &writers,
            fits: &fits,
        };
        let starts = vec![WindowStart::default(); writers.len()];
        reader
            .read(&WindowRequest {
                job: &self.config.scrape_configs[target.job.index()],
                target,
                source,
                part: NamePart::WHOLE,
                range: TimeRange {
                    start_ms: now_ms - Self::LAST_MINUTE_MS,
                    end_ms: now_ms,
                },
                settle: Duration::ZERO,
                timeout: target.scrape_timeout.min(longest),
                shape,
                max_samples: MAX_SAMPLES,
                starts: &starts,
                reports: true,
            })
            .await
    }
}
