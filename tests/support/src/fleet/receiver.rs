//! A receiver that counts the samples of each site and looks at the order of each series.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use prost::Message as _;

use super::homes::METRIC;
use crate::gateway::wire::{TimeSeries, WriteRequest};
use crate::http::{self as server, HandlerResult, Hangup, Server, ServerRequest};

const LARGEST_BODY: usize = 16 << 20;

/// What the receiver got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Number of requests.
    pub requests: u64,
    /// Requests that could not be read.
    pub unreadable: u64,
    /// Samples of the homes by site, repeated ones not counted.
    pub by_site: BTreeMap<String, u64>,
    /// Samples that the forwarder adds: `up` and the like.
    pub own: u64,
    /// Samples that are as old as the newest of their series.
    pub repeated: u64,
    /// Samples that are older than the newest of their series.
    pub out_of_order: u64,
}

#[derive(Debug, Default)]
struct Counts {
    received: Received,
    /// Time of the newest sample of a series, by the hash of its labels.
    newest: HashMap<u64, i64>,
}

/// A receiver that listens.
#[derive(Debug)]
pub struct FleetReceiver {
    server: Server,
    counts: Arc<Mutex<Counts>>,
}

impl FleetReceiver {
    /// Starts a receiver on a free port.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start() -> Result<Self> {
        let counts = Arc::new(Mutex::<Counts>::default());
        let shared = counts.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| take(shared.clone(), request)).await?;
        Ok(Self { server, counts })
    }

    /// Remote-write URL of the receiver.
    pub fn url(&self) -> String {
        format!("{}/api/v1/write", self.server.url())
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        let counts = self.counts.lock();
        counts
            .unwrap_or_else(PoisonError::into_inner)
            .received
            .clone()
    }
}

async fn take(counts: Arc<Mutex<Counts>>, request: ServerRequest) -> HandlerResult {
    let body = server::read_body(request.into_body(), LARGEST_BODY)
        .await
        .ok_or(Hangup)?;
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.received.requests += 1;
    let read = snap::raw::Decoder::new()
        .decompress_vec(&body)
        .ok()
        .and_then(|raw| WriteRequest::decode(&raw[..]).ok());
    let Some(request) = read else {
        counts.received.unreadable += 1;
        return Ok(server::respond(400, "no remote write"));
    };
    for entry in &request.timeseries {
        counts.count(entry);
    }
    Ok(server::respond(204, ""))
}

impl Counts {
    fn count(&mut self, entry: &TimeSeries) {
        let mut hasher = DefaultHasher::new();
        entry.labels.hash(&mut hasher);
        let newest = self.newest.entry(hasher.finish()).or_insert(i64::MIN);
        let label = |name: &str| {
            let mut labels = entry.labels.iter();
            labels
                .find(|label| label.name == name)
                .map(|label| &label.value)
        };
        let of_home = label("__name__").is_some_and(|name| name == METRIC);
        let site = label("site").cloned().unwrap_or_default();
        for sample in &entry.samples {
            match sample.timestamp.cmp(newest) {
                std::cmp::Ordering::Less => self.received.out_of_order += 1,
                std::cmp::Ordering::Equal => self.received.repeated += 1,
                std::cmp::Ordering::Greater => {
                    *newest = sample.timestamp;
                    if of_home {
                        *self.received.by_site.entry(site.clone()).or_default() += 1;
                    } else {
                        self.received.own += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::wire::{Label, Sample};

    #[test]
    fn samples_are_counted_once_and_in_order() {
        let mut counts = Counts::default();
        for (name, timestamp) in [
            (METRIC, 10),
            (METRIC, 20),
            (METRIC, 20),
            (METRIC, 15),
            ("up", 5),
        ] {
            let label = |name: &str, value: &str| Label {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            counts.count(&TimeSeries {
                labels: vec![label("__name__", name), label("site", "tokyo")],
                samples: vec![Sample {
                    value: 1.0,
                    timestamp,
                }],
                ..TimeSeries::default()
            });
        }
        let expected = Received {
            by_site: BTreeMap::from([("tokyo".to_owned(), 2)]),
            own: 1,
            repeated: 1,
            out_of_order: 1,
            ..Received::default()
        };
        assert_eq!(counts.received, expected);
    }
}
