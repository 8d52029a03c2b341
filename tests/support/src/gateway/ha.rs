//! HA deduplication as in cortex pkg/ha/ha_tracker.go. The first series of a request decides for
//! all of it.

use std::collections::HashMap;

use super::labels::value_of;
use super::options::WorkspaceLimits;
use super::refusal::{Reason, Refusal};
use super::wire::WriteRequest;

const CLUSTER: &str = "cluster";
const REPLICA: &str = "__replica__";

/// The elected replica of each cluster.
#[derive(Debug, Default)]
pub struct Tracker {
    elections: HashMap<String, Election>,
}

#[derive(Debug)]
struct Election {
    replica: String,
    /// Time of the last request of the elected replica, milliseconds since 1970.
    last_seen_ms: i64,
}

impl Tracker {
    /// Elects a replica, or checks a request against the election. A request of the elected replica
    /// loses its replica labels.
    ///
    /// # Errors
    /// Refuses another replica's request with 202, and one cluster too many with 400.
    pub fn check(
        &mut self,
        request: &mut WriteRequest,
        limits: &WorkspaceLimits,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Some(first) = request.timeseries.first() else {
            return Ok(());
        };
        let (Some(cluster), Some(replica)) = (
            value_of(&first.labels, CLUSTER),
            value_of(&first.labels, REPLICA),
        ) else {
            return Ok(());
        };
        let failover = i64::try_from(limits.ha_failover.as_millis()).unwrap_or(i64::MAX);
        match self.elections.get(cluster) {
            Some(Election {
                replica: elected,
                last_seen_ms,
            }) if elected != replica && now_ms - last_seen_ms < failover => {
                let body = format!(
                    "replicas did not mach, rejecting sample: replica={replica}, elected={elected}"
                );
                return Err(Refusal::text(202, Reason::Replica, body));
            }
            None if self.elections.len() >= limits.max_ha_clusters => {
                let body = format!("too many HA clusters (limit: {})", limits.max_ha_clusters);
                return Err(Refusal::text(400, Reason::HaClusters, body));
            }
            _ => {}
        }
        let election = Election {
            replica: replica.to_owned(),
            last_seen_ms: now_ms,
        };
        self.elections.insert(cluster.to_owned(), election);
        for entry in &mut request.timeseries {
            entry.labels.retain(|label| label.name != REPLICA);
        }
        Ok(())
    }
}

/// Whether a request mixes values of (`cluster`, `__replica__`). Part of it would be judged by
/// another cluster's election.
pub fn is_mixed(request: &WriteRequest) -> bool {
    let pair = |entry: &super::wire::TimeSeries| {
        (
            value_of(&entry.labels, CLUSTER).map(str::to_owned),
            value_of(&entry.labels, REPLICA).map(str::to_owned),
        )
    };
    let mut pairs = request.timeseries.iter().map(pair);
    let first = pairs.next();
    pairs.any(|pair| Some(pair) != first)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Label, TimeSeries};
    use super::*;

    fn request(replica: &str) -> WriteRequest {
        let labels = [("__name__", "up"), (REPLICA, replica), (CLUSTER, "c")];
        let labels = labels
            .map(|(name, value)| Label {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .to_vec();
        WriteRequest {
            timeseries: vec![TimeSeries {
                labels,
                ..Default::default()
            }],
            metadata: vec![],
        }
    }

    #[test]
    fn the_other_replica_waits_half_a_minute() {
        let mut tracker = Tracker::default();
        let limits = WorkspaceLimits {
            max_ha_clusters: 1,
            ..WorkspaceLimits::default()
        };
        let mut check = |replica, now| {
            tracker
                .check(&mut request(replica), &limits, now)
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(check("a", 0), Ok(()));
        assert_eq!(check("b", 29_999), Err(202));
        assert_eq!(check("b", 30_000), Ok(()));
        assert_eq!(check("a", 30_001), Err(202));
    }

    #[test]
    fn the_winner_loses_its_replica_label() {
        let mut winner = request("a");
        Tracker::default()
            .check(&mut winner, &WorkspaceLimits::default(), 0)
            .unwrap();
        assert_eq!(value_of(&winner.timeseries[0].labels, REPLICA), None);
        assert!(!is_mixed(&request("a")));
        let mut mixed = request("a");
        mixed.timeseries.extend(request("b").timeseries);
        assert!(is_mixed(&mixed));
    }
}
