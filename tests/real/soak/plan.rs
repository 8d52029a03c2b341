//! The length and the troubles of a soak.

use std::time::Duration;

/// The length and the troubles of a soak.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoakPlan {
    pub(super) series: usize,
    /// The function's time-out.
    pub(super) tick: Duration,
    pub(super) cycles: u32,
    /// Number of kills of each kind in each cycle.
    pub(super) kills: usize,
    /// Shortest time of each trouble in a cycle.
    pub(super) away: Duration,
    pub(super) throttled: Duration,
    pub(super) reset: Duration,
    /// Shortest time of the whole soak.
    pub(super) lasts: Duration,
}

impl SoakPlan {
    /// Makes a plan. A short soak has one cycle of short ticks.
    pub(super) fn of(seconds: u64) -> Self {
        let series = std::env::var("SOAK_SERIES")
            .ok()
            .and_then(|series| series.parse().ok())
            .unwrap_or(20_000);
        let lasts = Duration::from_secs(seconds);
        if seconds < 300 {
            let part = lasts / 8;
            return Self {
                series,
                tick: Duration::from_secs(7),
                cycles: 1,
                kills: 1,
                away: lasts / 4,
                throttled: part,
                reset: part,
                lasts,
            };
        }
        let cycle = lasts / 3;
        Self {
            series,
            tick: Duration::from_secs(20),
            cycles: 3,
            kills: 1,
            away: cycle / 4,
            throttled: cycle / 6,
            reset: cycle / 6,
            lasts,
        }
    }
}
