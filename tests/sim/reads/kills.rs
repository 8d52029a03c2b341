//! Kills at each await of a catch-up of ten windows: a kill neither skips a sample nor repeats more
//! than the window that was under way.

use std::sync::Arc;

use amp_forwarder::config::RemoteReadMode;
use fastrand::Rng;

use super::run::run;
use super::scenario::Scenario;
use super::scripted::{scripted, tick};
use crate::events::{Event, Hits};
use crate::setup::Kill;

/// A run whose second tick catches up with twenty minutes and is killed after this many polls.
fn scenario(mode: RemoteReadMode, polls: u32) -> Scenario {
    let ticks = vec![
        tick(5, None, 0),
        tick(20 * 60, Some(Kill::AfterPolls(polls)), 0),
        tick(20, None, 1),
    ];
    Scenario {
        most_repeated_ms: match mode {
            // One window, and what came late to the one before.
            RemoteReadMode::Always => 120_000 + 30_000,
            // One window, and what its first slot looks back to.
            _ => 120_000 + 300_000,
        },
        ..scripted(mode, "15s", ticks)
    }
}

/// Polls after which the tick has ended.
const MOST_POLLS: u32 = 3_000;

#[test]
fn a_catch_up_that_is_killed_anywhere_skips_and_repeats_nothing() {
    for mode in [RemoteReadMode::Always, RemoteReadMode::Gaps] {
        let hits = Arc::new(Hits::default());
        let mut polls = 1;
        while polls < MOST_POLLS {
            let outcome = run(scenario(mode, polls), Rng::with_seed(7), &hits, false, None);
            if !outcome.findings.is_empty() {
                let again = run(scenario(mode, polls), Rng::with_seed(7), &hits, true, None);
                panic!(
                    "{} killed after {polls} polls\n{}",
                    mode.as_str(),
                    again.story.join("\n")
                );
            }
            polls += 1 + polls / 50;
        }
        for event in [Event::ReadCatchUp, Event::ReadKilled] {
            assert!(hits.has_met(event), "{event:?} never happened");
        }
    }
}
