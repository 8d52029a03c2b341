//! The demo's verdict: what was exposed, what arrived, what is missing.

use std::fmt;

use anyhow::{Context, Result};

use crate::compare::{Comparison, Point, compare};
use crate::gateway::GatewayStats;
use crate::home::Recording;
use crate::query::{Samples, value_bits};

/// The observations that a verdict is made from.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The expositions that the home gave the function, from the wire.
    pub recordings: Vec<Recording>,
    /// The samples of the home, by its query API.
    pub home: Samples,
    /// The samples of the receiver, by its query API.
    pub received: Samples,
    /// The `instance` label of the forwarder's own `up` and `scrape_*` series, which no home can
    /// have.
    pub forwarder_instance: String,
    /// The gateway's counts.
    pub gateway: GatewayStats,
}

/// The result of a demo.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Number of expositions that the function received whole.
    pub scrapes: usize,
    /// Number of distinct samples in them.
    pub exposed: usize,
    /// Number of samples of the home that no exposition showed: federation gives only the newest
    /// one.
    pub never_exposed: usize,
    /// Number of samples at the receiver, without the forwarder's own series.
    pub received: usize,
    /// Number of samples of the forwarder's own series at the receiver.
    pub own: usize,
    /// The exposed samples compared with the received ones.
    pub comparison: Comparison,
    /// Samples that are at the receiver and not at the home.
    pub foreign: Vec<Point>,
    /// The gateway's counts.
    pub gateway: GatewayStats,
}

impl Evidence {
    /// Compares both ends.
    ///
    /// # Errors
    /// Fails when an exposition cannot be read.
    pub fn judge(self) -> Result<Verdict> {
        let mut exposed = Samples::new();
        let whole: Vec<&Recording> = self
            .recordings
            .iter()
            .filter(|recording| recording.status == 200)
            .collect();
        for recording in &whole {
            for sample in recording.samples()? {
                let timestamp = sample
                    .timestamp
                    .context("a federated sample has a timestamp")?;
                exposed
                    .entry(sample.labels)
                    .or_default()
                    .insert(timestamp, value_bits(sample.value));
            }
        }
        let is_own = |instance: Option<&String>| instance == Some(&self.forwarder_instance);
        let (own, received): (Samples, Samples) = self
            .received
            .into_iter()
            .partition(|(labels, _)| is_own(labels.get("instance")));
        let count = |samples: &Samples| {
            samples
                .values()
                .map(|of_series| of_series.len())
                .sum::<usize>()
        };
        Ok(Verdict {
            scrapes: whole.len(),
            exposed: count(&exposed),
            never_exposed: compare(&self.home, &exposed).lost.len(),
            received: count(&received),
            own: count(&own),
            comparison: compare(&exposed, &received),
            foreign: compare(&self.home, &received).extra,
            gateway: self.gateway,
        })
    }
}

impl Verdict {
    /// Whether something was compared, nothing is missing, different or foreign, and the order was
    /// kept.
    pub fn is_good(&self) -> bool {
        let breaches = self.gateway.out_of_order + self.gateway.concurrent;
        self.comparison.is_exact() && self.foreign.is_empty() && breaches == 0
    }
}

const SHOWN: usize = 5;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            agreeing,
            lost,
            different,
            ..
        } = &self.comparison;
        let rows = [
            (
                "exposed to committed scrapes, from the wire",
                self.exposed,
                format!("{} scrapes", self.scrapes),
            ),
            (
                "at the receiver, equal in series, timestamp and value",
                *agreeing,
                String::new(),
            ),
            (
                "lost: exposed and absent at the receiver",
                lost.len(),
                String::new(),
            ),
            (
                "different: at the receiver with another value",
                different.len(),
                String::new(),
            ),
            (
                "foreign: at the receiver and not at the home",
                self.foreign.len(),
                String::new(),
            ),
            (
                "never exposed: at the home, between two scrapes",
                self.never_exposed,
                "federation shows only the newest sample".to_owned(),
            ),
            (
                "the forwarder's own: up and scrape_*",
                self.own,
                String::new(),
            ),
            (
                "out of order, or in two requests at once",
                count(self.gateway.out_of_order + self.gateway.concurrent),
                String::new(),
            ),
        ];
        writeln!(f, "{:<58}{:>9}", "(series, timestamp, value)", "samples")?;
        for (what, count, note) in rows {
            writeln!(f, "{what:<58}{count:>9}  {note}")?;
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

    fn evidence(received: &[(&str, i64)]) -> Verdict {
        let recording = Recording {
            at_ms: 0,
            path: "/federate".to_owned(),
            status: 200,
            content_type: "text/plain".to_owned(),
            body: "a{instance=\"h\"} 1 2000\n".into(),
        };
        let evidence = Evidence {
            recordings: vec![recording],
            home: samples(&[("h", 1000), ("h", 2000)]),
            received: samples(received),
            forwarder_instance: "f".to_owned(),
            gateway: GatewayStats::default(),
        };
        evidence.judge().unwrap()
    }

    #[test]
    fn good_only_when_all_is_there_and_nothing_else() {
        let good = evidence(&[("h", 2000), ("f", 2000)]);
        assert!(good.is_good(), "{good}");
        assert_eq!(good.exposed, 1);
        assert_eq!(good.never_exposed, 1);
        assert_eq!(good.own, 1);
        assert!(!evidence(&[]).is_good(), "lost");
        assert!(!evidence(&[("h", 2000), ("h", 3000)]).is_good(), "foreign");
        let mut breached = good.clone();
        breached.gateway.concurrent = 1;
        assert!(!breached.is_good());
        let mut nothing = good;
        nothing.comparison = Comparison::default();
        assert!(!nothing.is_good(), "nothing compared");
    }
}
