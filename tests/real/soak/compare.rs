//! The verdict of a soak: both databases, sample by sample.

use amp_forwarder_support::compare::compare;
use amp_forwarder_support::query::Samples;
use amp_forwarder_support::{now_ms, read};

use super::Soak;

impl Soak {
    /// Compares both ends. What the home took after the time that the last report calls safe may
    /// have arrived or not.
    pub(super) async fn compare(&mut self) {
        let received = self.received().await;
        let first_ms = received.values().flat_map(|of| of.keys()).min().copied();
        let first_ms = first_ms.unwrap_or_default();
        let home = read::samples(&self.home.url(), "__name__", first_ms, now_ms())
            .await
            .unwrap();
        let mut safe = home.clone();
        for samples in safe.values_mut() {
            samples.retain(|at_ms, _| *at_ms <= self.safe_ms);
        }
        let safe = compare(&safe, &received);
        self.check(safe.lost.is_empty(), || {
            // All samples of one scrape of the home have one timestamp.
            let lost = safe.lost.iter();
            let times: std::collections::BTreeSet<_> = lost.map(|point| point.timestamp).collect();
            format!(
                "{} samples are lost, first {}, of {:?}",
                safe.lost.len(),
                safe.lost[0],
                times.iter().take(10).collect::<Vec<_>>()
            )
        });
        self.check(safe.different.is_empty(), || {
            format!(
                "{} samples differ, first {}",
                safe.different.len(),
                safe.different[0].expected
            )
        });
        let foreign = compare(&home, &received).extra;
        self.check(foreign.is_empty(), || {
            format!(
                "the home does not have {} samples, first {}",
                foreign.len(),
                foreign[0]
            )
        });
        self.summary.compared(&home, &received, &safe);
        let stats = self.gateway.stats();
        self.check(stats.concurrent == 0, || {
            format!("{} series in two requests at once", stats.concurrent)
        });
        self.summary.stats = Some(stats);
        self.summary.took = self.started.elapsed();
    }

    /// What the receiver has, without the forwarder's own series and the label that it adds.
    async fn received(&self) -> Samples {
        let received = read::samples(&self.receiver.url(), "site", 0, now_ms())
            .await
            .unwrap();
        let homes = received.into_iter().filter_map(|(mut labels, samples)| {
            labels.remove("site");
            (labels.get("job")? != "federate").then_some((labels, samples))
        });
        homes.collect()
    }
}
