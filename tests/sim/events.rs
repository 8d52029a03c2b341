//! Counts the events of all runs: a fault that never happens tests nothing.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! events {
    ($($event:ident),* $(,)?) => {
        /// Something that happened in a run.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Event { $($event),* }

        const ALL: &[Event] = &[$(Event::$event),*];
    };
}

events! {
    // The home.
    HomeRefused, HomeSilent, HomeHangs, HomeStatus, HomeSlow, HomeStalls, HomeCut, HomeTruncated,
    HomeMalformed, HomeLabelTwice, HomeWrongType, HomeEmpty, HomeGzip, HomeOddChunks, HomeUnchanged,
    HomeNoTimestamp, HomeSeriesTwice, HomeSameTimeTwice, HomeGoesBack, HomeClockOff,
    HomeTooFarAhead, HomeSharedSeries, HomeSeriesEnds, HomeOtherOrder, SampleLimit, BodyLimit,
    MemoryLimit,
    // The receiver.
    Unavailable, RetryAfterSeconds, RetryAfterDate, Throttled, SeriesLimit, Denied, NotFound,
    TooLarge, TooLargeAlone, Refused, OutOfOrder, TooOld, TooFarAhead, Duplicate, OtherReplica,
    TimedOut, TimedOutStored, Reset, ResetStored, Stale, NoCredentials, NoSts, Slow,
    DroppedInFlight, DroppedInFlightStored,
    // The store.
    StoreUnreachable, StoreNoAnswer, StoreBusy, StoreDenied, StoreFull, StoreSlow, StoreAnswerLate,
    StorePutAnswerLost, StoreStateAnswerLost, StoreDeleteAnswerLost, StoreAnswerLost,
    // What somebody else put there.
    Stranger, StrangerRefused, ForgedSegment, ForgedState,
    // Where a process with a spool was killed.
    KilledTaking, KilledReleasing, KilledListing, KilledReading, KilledSpooling, KilledSpooled,
    KilledDeleting, KilledDeleted, KilledPosting, KilledElsewhere,
    // Ticks with a spool.
    Overflowed, BacklogDrained, Busy, Degraded, DegradedBesideAnother, StoreDown, NotReleased,
    TwoTicks, OtherProcess, Thawed, AfterAKill, SpoolExpired, SpoolRejected, GivenUp,
    SpoolMemoryLimit, Reconfigured, SpoolClockBack, SpoolClockForward, LatePut, DoubtfulOrphan,
    ThrottledForGood, RefusedNotYetKept, SilentRemote, FrozenInside, Panicked,
    // The run.
    WarmTick, Lost, Rejected, Expired, Filtered, Unchanged, RolledBack, OutOfTime, Killed,
    Restarted, Frozen, ClockBack, ClockForward, Once, SomeJobs, DrainOnly, DryRun, Stopped,
    TickAtOnce, SlotPassed, Overtime,
    // Remote read.
    ReadRefused, ReadSilent, ReadRestarting, ReadBadGateway, ReadGatewayTimeout, ReadCut,
    ReadStalls, ReadSampleLimit, ReadSlowFirstByte, ReadNoDate, ReadTruncated,
    ReadDamaged, ReadResultMissing, ReadWindow, ReadCatchUp, ReadKilled, ReadOtherProcess,
    ReadBackfilled, ReadLate, ReadGivenUp, ReadTooOld, ReadFailed, ReadWithoutStore,
}

/// Number of times that each event happened.
pub(crate) struct Hits([AtomicU64; ALL.len()]);

impl Default for Hits {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Hits {
    pub(crate) fn hit(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the events that never happened.
    pub(crate) fn never(&self) -> Vec<Event> {
        ALL.iter()
            .copied()
            .filter(|event| self.0[*event as usize].load(Ordering::Relaxed) == 0)
            .collect()
    }

    /// Whether an event has happened.
    pub(crate) fn has_met(&self, event: Event) -> bool {
        self.0[event as usize].load(Ordering::Relaxed) > 0
    }

    /// Lists all events with their counts, five on a line.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        for (index, event) in ALL.iter().enumerate() {
            let _ = write!(
                table,
                "{:>22} {:<9}",
                format!("{event:?}"),
                self.0[*event as usize].load(Ordering::Relaxed)
            );
            if index % 5 == 4 {
                table.push('\n');
            }
        }
        table
    }
}
