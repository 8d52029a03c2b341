//! Counters of a tick that others can watch while it runs.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counters of scrapes and samples since they were made. A tick shares them through its plan.
#[derive(Debug, Default)]
pub struct TickProgress {
    scrapes: AtomicU64,
    failed: AtomicU64,
    scraped: AtomicU64,
    written: AtomicU64,
    newest_ms: AtomicI64,
}

impl TickProgress {
    /// Counts a scrape and its samples.
    pub(super) fn scraped(&self, samples: u64, up: bool) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!up), Ordering::Relaxed);
        self.scraped.fetch_add(samples, Ordering::Relaxed);
    }

    /// Counts written samples, the newest of which has the timestamp `newest_ms`.
    pub(super) fn written(&self, samples: u64, newest_ms: i64) {
        self.written.fetch_add(samples, Ordering::Relaxed);
        self.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
    }

    /// Returns the number of scrapes and the number of those that failed.
    #[must_use]
    pub fn scrapes(&self) -> (u64, u64) {
        (
            self.scrapes.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// Returns the number of samples scraped and the number of samples written.
    #[must_use]
    pub fn samples(&self) -> (u64, u64) {
        (
            self.scraped.load(Ordering::Relaxed),
            self.written.load(Ordering::Relaxed),
        )
    }

    /// Returns the newest timestamp that was written, milliseconds since 1970.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        Some(self.newest_ms.load(Ordering::Relaxed)).filter(|newest| *newest > 0)
    }
}
