//! The summary of a soak.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use amp_forwarder_support::compare::Comparison;
use amp_forwarder_support::gateway::GatewayStats;
use amp_forwarder_support::query::Samples;

use super::kill::Kill;

#[derive(Debug, Default)]
pub(super) struct Summary {
    ticks: BTreeMap<String, usize>,
    kills: BTreeMap<Kill, usize>,
    largest: u64,
    held: usize,
    received: usize,
    pub(super) agreeing: usize,
    lost: usize,
    different: usize,
    pub(super) stats: Option<GatewayStats>,
    pub(super) took: Duration,
    pub(super) findings: Vec<String>,
}

impl Summary {
    pub(super) fn tick(&mut self, outcome: &str, owed: u64) {
        *self.ticks.entry(outcome.to_owned()).or_default() += 1;
        self.largest = self.largest.max(owed);
    }

    pub(super) fn kill(&mut self, kill: Kill) {
        *self.kills.entry(kill).or_default() += 1;
    }

    pub(super) fn killed(&self, kill: Kill) -> usize {
        self.kills.get(&kill).copied().unwrap_or_default()
    }

    pub(super) fn compared(&mut self, home: &Samples, received: &Samples, safe: &Comparison) {
        let count = |samples: &Samples| samples.values().map(BTreeMap::len).sum();
        (self.held, self.received) = (count(home), count(received));
        (self.agreeing, self.lost, self.different) =
            (safe.agreeing, safe.lost.len(), safe.different.len());
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            counts
                .iter()
                .map(|(what, count)| format!("{count} {what}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let stats = self.stats.clone().unwrap_or_default();
        let answers: Vec<_> = stats
            .statuses
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        writeln!(f, "{:<62}{:>9.0}", "seconds", self.took.as_secs_f64())?;
        writeln!(
            f,
            "{:<62}{:>9}  {}",
            "ticks that ended",
            self.ticks.values().sum::<usize>(),
            list(&self.ticks)
        )?;
        for kill in Kill::ALL {
            writeln!(
                f,
                "{:<62}{:>9}",
                format!("killed while {kill}"),
                self.killed(kill)
            )?;
        }
        for (what, count) in [
            ("samples at home", self.held),
            ("samples at the receiver", self.received),
            ("safe by a report, and equal at both ends", self.agreeing),
            ("safe by a report, and lost", self.lost),
            (
                "safe by a report, and different at the receiver",
                self.different,
            ),
        ] {
            writeln!(f, "{what:<62}{count:>9}")?;
        }
        for (what, count) in [
            ("largest backlog in samples", self.largest),
            (
                "sent again after a kill, or in two requests at once",
                stats.out_of_order + stats.concurrent,
            ),
            (
                "repeated unchanged (after kills and cut answers)",
                stats.repeated,
            ),
        ] {
            writeln!(f, "{what:<62}{count:>9}")?;
        }
        writeln!(
            f,
            "{:<62}{:>9}  {}",
            "requests to the gateway (0: none was answered)",
            stats.requests,
            answers.join(", ")
        )?;
        writeln!(f, "{:<62}{:>9}", "findings", self.findings.len())
    }
}
