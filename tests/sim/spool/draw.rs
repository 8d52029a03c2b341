//! Draws what a seed with a spool adds to a scenario.

use std::time::Duration;

use amp_forwarder::config::Config;
use amp_forwarder::spool::store::Op;
use fastrand::Rng;

use crate::receiver::{FAULTS, Fault};
use crate::scenario::{ROOMY, Scenario, draw};
use crate::store::KillAt;

/// Kind of a tick.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Whole,
    Once,
    DrainOnly,
    KilledAfterPolls(u32),
    KilledInCall(KillAt),
    KilledAfter(Duration),
    /// The tick panics at one of its posts. The panic is caught, as the function does, and what the
    /// tick left is thrown away.
    PanicsAtPost(u32),
    /// Both processes run a tick concurrently; the second starts this much later.
    Two(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) wait: Duration,
    pub(super) timeout: Duration,
    pub(super) kind: Kind,
    pub(super) process: usize,
    pub(super) freeze_ms: i64,
    /// In the middle of the tick, after the first duration, the second one passes, which tokio's
    /// clock does not count.
    pub(super) frozen_inside: Option<(Duration, i64)>,
    /// Whether the lease is short and is renewed.
    pub(super) renews_lease: bool,
    /// The forwarder's clock is this far ahead, in milliseconds, from now on.
    pub(super) skew_ms: Option<i64>,
    /// Index of the configuration that both processes have from now on.
    pub(super) configuration: Option<usize>,
}

pub(super) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

/// Draws a scenario of the direct simulation with less room and an orderly home, and the
/// configurations between which it changes.
pub(super) fn scenario(rng: &mut Rng) -> (Scenario, Vec<Config>) {
    let mut scenario = draw(rng);
    scenario.home.lag_ms = None;
    scenario.home.clock_off_ms = 0;
    scenario.home.twice = 0.0;
    scenario.home.shared = false;
    scenario.home.odd_times = false;
    // The limit is enough for most scrapes and a few segments, or for everything.
    scenario.memory_limit = if rng.u32(0..12) == 0 {
        rng.u64(15_000..60_000)
    } else {
        ROOMY
    };
    let spool = &mut scenario.config.forwarder.spool;
    spool.overflow_after = Duration::from_millis(pick(rng, &[0, 0, 500, 5_000]));
    spool.segment_bytes = rng.usize(200..4_000);
    spool.drain_samples_per_second = pick(rng, &[50, 1_000, 50_000]);
    spool.max_bytes = if rng.u32(0..8) == 0 {
        rng.u64(2_000..20_000)
    } else {
        1 << 30
    };
    for (entry, traits) in scenario
        .config
        .remote_write
        .iter_mut()
        .zip(&mut scenario.receivers)
    {
        entry.queue.capacity = if rng.bool() { rng.usize(4..60) } else { 1_000 };
        traits.max_samples = entry.queue.max_samples_per_send.min(entry.queue.capacity);
        traits.forgetful = false;
        // A fresh scrape may contain samples of the backlog, once a process has forgotten what it
        // sent.
        traits.no_repeats = false;
        if rng.u32(0..3) == 0 {
            // This outage lasts for several ticks.
            let from = scenario.start_ms + rng.i64(0..120_000);
            let fault = pick(rng, FAULTS).0;
            if fault != Fault::Slow {
                traits
                    .outages
                    .push((from, from + rng.i64(60_000..600_000), fault));
            }
        }
    }
    let mut configurations = vec![scenario.config.clone()];
    if rng.u32(0..4) == 0 {
        let changed = changed(&mut scenario, rng);
        configurations.push(changed);
    }
    (scenario, configurations)
}

/// Draws another configuration: another queue for each remote, another spool, and perhaps one
/// remote less, whose backlog stays.
fn changed(scenario: &mut Scenario, rng: &mut Rng) -> Config {
    let mut config = scenario.config.clone();
    if config.remote_write.len() > 1 && rng.bool() {
        config.remote_write.pop();
    }
    for (entry, traits) in config.remote_write.iter_mut().zip(&mut scenario.receivers) {
        let queue = &mut entry.queue;
        queue.capacity = rng.usize(4..1_000);
        queue.max_samples_per_send = rng.usize(1..60);
        queue.max_shards = rng.usize(1..8);
        queue.min_shards = rng.usize(1..=queue.max_shards);
        // One configuration sends what the other has spooled, so the larger limits hold.
        traits.max_samples = traits
            .max_samples
            .max(queue.max_samples_per_send.min(queue.capacity));
        traits.max_in_flight = traits.max_in_flight.max(queue.max_shards);
    }
    config.forwarder.spool.segment_bytes = rng.usize(200..4_000);
    config.forwarder.spool.max_bytes = if rng.u32(0..4) == 0 {
        rng.u64(2_000..20_000)
    } else {
        1 << 30
    };
    config.forwarder.spool.overflow_after = Duration::from_millis(pick(rng, &[0, 2_000]));
    config
}

pub(super) fn ticks(rng: &mut Rng, configurations: usize) -> Vec<Tick> {
    let folder = |rng: &mut Rng| match rng.u32(0..8) {
        0 => (Op::PutIfMatch, "state.json"),
        1 => (Op::List, "segments/"),
        2 => (Op::Get, "segments/"),
        3 => (Op::PutIfAbsent, "rejected/"),
        4 | 5 => (Op::PutIfAbsent, "segments/"),
        _ => (Op::Delete, "segments/"),
    };
    let moves_clock = rng.u32(0..8) == 0;
    let renews_lease = rng.u32(0..4) == 0;
    let draw = |rng: &mut Rng| {
        let kind = match rng.u32(0..20) {
            0 => Kind::Once,
            1 => Kind::DrainOnly,
            2 | 3 => Kind::KilledAfterPolls(1 << rng.u32(0..10)),
            4 => Kind::KilledAfter(Duration::from_millis(rng.u64(1..60_000))),
            5..=7 => {
                let (op, folder) = folder(rng);
                Kind::KilledInCall(KillAt {
                    op,
                    folder,
                    skip: if rng.bool() { 0 } else { rng.u32(0..4) },
                    done: rng.bool(),
                })
            }
            8 | 9 => Kind::Two(Duration::from_millis(if rng.bool() {
                0
            } else {
                rng.u64(0..40_000)
            })),
            _ => Kind::Whole,
        };
        Tick {
            wait: Duration::from_millis(if rng.u32(0..4) == 0 {
                1
            } else {
                rng.u64(1..60_000)
            }),
            timeout: Duration::from_millis(rng.u64(10_000..90_000)),
            kind,
            process: usize::from(rng.u32(0..5) == 0),
            freeze_ms: if rng.u32(0..20) == 0 {
                rng.i64(1_000..3 * 3_600_000)
            } else {
                0
            },
            frozen_inside: (rng.u32(0..25) == 0).then(|| {
                (
                    Duration::from_millis(rng.u64(0..60_000)),
                    rng.i64(600..600_000),
                )
            }),
            renews_lease,
            skew_ms: (moves_clock && rng.u32(0..3) == 0).then(|| {
                pick(
                    rng,
                    &[-3_700_000, -90_000, -5_000, 0, 20_000, 120_000, 900_000],
                )
            }),
            configuration: (configurations > 1 && rng.u32(0..3) == 0)
                .then(|| rng.usize(0..configurations)),
        }
    };
    (0..rng.usize(3..9)).map(|_| draw(rng)).collect()
}
