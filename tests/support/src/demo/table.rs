//! The demo's verdict: what the home had, what arrived, what is missing.

use std::fmt;

use crate::compare::{Comparison, Point, compare};
use crate::gateway::GatewayStats;
use crate::query::Samples;

/// The observations that a verdict is made from.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// All samples of the home, read from its database.
    pub home: Samples,
    /// All samples of the receiver, read from its database.
    pub received: Samples,
    /// What the twin's gateway has stored: federation alone.
    pub federated: Samples,
    /// Time up to which the function says that everything is safe, milliseconds since 1970.
    pub safe_ms: i64,
    /// The `instance` label of the forwarder's own `up` and `scrape_*` series, which no home can
    /// have.
    pub forwarder_instance: String,
    /// The gateway's counts.
    pub gateway: GatewayStats,
    /// How often the function was killed.
    pub kills: u64,
}

/// The result of a demo.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Number of samples of the home, from the first one that arrived to the last one that is safe.
    pub at_home: usize,
    /// Number of samples of the forwarder's own series at the receiver.
    pub own: usize,
    /// The home's samples compared with the received ones.
    pub comparison: Comparison,
    /// Samples that are at the receiver and not at the home.
    pub foreign: Vec<Point>,
    /// Samples of the home that federation alone has missed.
    pub missed_by_federation: usize,
    /// The gateway's counts.
    pub gateway: GatewayStats,
    /// How often the function was killed.
    pub kills: u64,
}

impl Evidence {
    /// The time that is compared: from the first sample that arrived.
    pub(super) fn span_ms(&self) -> (i64, i64) {
        let is_own = |instance: Option<&String>| instance == Some(&self.forwarder_instance);
        let arrived = self
            .received
            .iter()
            .filter(|(labels, _)| !is_own(labels.get("instance")))
            .flat_map(|(_, samples)| samples.keys());
        (arrived.min().copied().unwrap_or(self.safe_ms), self.safe_ms)
    }

    /// Compares both ends.
    #[must_use]
    pub fn judge(self) -> Verdict {
        let (from_ms, until_ms) = self.span_ms();
        let home: Samples = self
            .home
            .iter()
            .map(|(labels, samples)| {
                let within = samples.range(from_ms..=until_ms);
                let within = within.map(|(at, bits)| (*at, *bits)).collect();
                (labels.clone(), within)
            })
            .collect();
        let is_own = |instance: Option<&String>| instance == Some(&self.forwarder_instance);
        let (own, received): (Samples, Samples) = self
            .received
            .into_iter()
            .partition(|(labels, _)| is_own(labels.get("instance")));
        let count = |samples: &Samples| samples.values().map(|of| of.len()).sum::<usize>();
        let mut comparison = compare(&home, &received);
        // Samples after the end are on their way, and those of the home are newer, too.
        comparison.extra.clear();
        Verdict {
            at_home: count(&home),
            own: count(&own),
            comparison,
            foreign: compare(&self.home, &received).extra,
            missed_by_federation: compare(&home, &self.federated).lost.len(),
            gateway: self.gateway,
            kills: self.kills,
        }
    }
}

impl Verdict {
    /// Whether something was compared, nothing is missing, different or foreign, and no series was
    /// in two requests at once. What a kill lets repeat is posted again, and refused.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_in_order = self.kills > 0 || self.gateway.out_of_order == 0;
        let is_exact = self.comparison.is_exact() && self.foreign.is_empty();
        is_exact && is_in_order && self.gateway.concurrent == 0
    }
}

const SHOWN: usize = 5;

impl Verdict {
    /// The counts with their names and notes.
    fn rows(&self) -> [(&'static str, usize, &'static str); 9] {
        let Comparison {
            agreeing,
            lost,
            different,
            ..
        } = &self.comparison;
        let again = if self.kills > 0 {
            "repeated after the kill, and refused"
        } else {
            ""
        };
        let gateway = &self.gateway;
        [
            ("at the home, all that its database holds", self.at_home, ""),
            (
                "at the receiver, equal in series, timestamp and bits",
                *agreeing,
                "",
            ),
            (
                "lost: at the home and absent at the receiver",
                lost.len(),
                "",
            ),
            (
                "different: at the receiver with another value",
                different.len(),
                "",
            ),
            (
                "foreign: at the receiver and not at the home",
                self.foreign.len(),
                "",
            ),
            (
                "what federation alone has missed",
                self.missed_by_federation,
                "the twin, through the same troubles",
            ),
            ("the forwarder's own: up and scrape_*", self.own, ""),
            (
                "older than one posted before",
                count(gateway.out_of_order),
                again,
            ),
            ("in two requests at once", count(gateway.concurrent), ""),
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<58}{:>9}", "(series, timestamp, value)", "samples")?;
        for (what, count, note) in self.rows() {
            let line = format!("{what:<58}{count:>9}  {note}");
            writeln!(f, "{}", line.trim_end())?;
        }
        let answers: Vec<String> = self
            .gateway
            .statuses
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        writeln!(
            f,
            "the gateway answered {} on {} connections",
            answers.join(", "),
            self.gateway.connections
        )?;
        let lost = &self.comparison.lost;
        for (what, points) in [("lost", lost), ("foreign", &self.foreign)] {
            for point in points.iter().take(SHOWN) {
                writeln!(f, "{what}: {point}")?;
            }
        }
        Ok(())
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;
    use crate::query::value_bits;

    fn samples(rows: &[(&str, i64)]) -> Samples {
        let mut samples = Samples::new();
        for (instance, timestamp) in rows {
            let labels = Labels::from(
                [("__name__", "a"), ("instance", *instance)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            samples
                .entry(labels)
                .or_default()
                .insert(*timestamp, value_bits(1.0));
        }
        samples
    }

    fn verdict(received: &[(&str, i64)]) -> Verdict {
        let evidence = Evidence {
            home: samples(&[("h", 500), ("h", 1000), ("h", 2000), ("h", 3000)]),
            received: samples(received),
            federated: samples(&[("h", 2000)]),
            safe_ms: 2500,
            forwarder_instance: "f".to_owned(),
            gateway: GatewayStats::default(),
            kills: 0,
        };
        evidence.judge()
    }

    #[test]
    fn good_only_when_all_is_there_and_nothing_else() {
        let good = verdict(&[("h", 1000), ("h", 2000), ("f", 2000)]);
        assert!(good.is_good(), "{good}");
        assert_eq!(
            (good.at_home, good.own, good.missed_by_federation),
            (2, 1, 1)
        );
        assert!(
            verdict(&[("h", 1000), ("h", 2000), ("h", 3000)]).is_good(),
            "newer"
        );
        assert!(!verdict(&[]).is_good(), "nothing compared");
        assert!(!verdict(&[("h", 500), ("h", 2000)]).is_good(), "lost");
        assert!(
            !verdict(&[("h", 1000), ("h", 1500), ("h", 2000)]).is_good(),
            "foreign"
        );
        let mut breached = good.clone();
        breached.gateway.out_of_order = 1;
        assert!(!breached.is_good());
        breached.kills = 1;
        assert!(breached.is_good(), "a kill repeats");
        breached.gateway.concurrent = 1;
        assert!(!breached.is_good());
    }
}
