//! The gateway: an HTTP server that takes the place of a workspace of Amazon Managed Service for
//! Prometheus.
//!
//! It checks a request as AMP does, in this order: route, signature ([`sigv4`]), headers and size
//! ([`request`]), rates ([`rate`]), HA election ([`ha`]), then every sample ([`labels`],
//! [`tenant`]). What it accepts goes to a real Prometheus ([`upstream`]) before it is acknowledged.
//! Queries of the workspace are signed as well, and answered by that Prometheus ([`query`]).
//! Scripted faults ([`faults`]) strike after decoding, so that the journal ([`journal`]) has every
//! request that could be read, with each sample's fate.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use amp_forwarder_support::gateway::{Fault, Gateway, GatewayOptions};
//! let gateway = Gateway::start(GatewayOptions::default()).await?;
//! gateway.faults().add(Fault::times(Fault::status(503, "busy"), 3));
//! // … post to gateway.remote_write_url() …
//! assert_eq!(gateway.stats().out_of_order, 0);
//! # Ok(()) }
//! ```

pub mod faults;
pub mod ha;
pub mod journal;
pub mod labels;
pub mod options;
mod order;
pub mod query;
pub mod rate;
pub mod refusal;
pub mod request;
pub mod sigv4;
pub mod tenant;
pub mod upstream;
pub mod wire;

mod admin;
mod receive;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;

pub use faults::{Fault, FaultAction, Faults};
pub use journal::{GatewayStats, JournalEntry};
pub use options::{AccessKey, GatewayOptions, WorkspaceLimits};
pub use refusal::Reason;
pub use tenant::{Outcome, PostedSample, SampleValue, SeriesNumber};

use crate::Labels;
use crate::http::Server;
use journal::Journal;
use rate::TokenBucket;
use tenant::Tenant;
use upstream::Upstream;

/// A running gateway; dropping it closes every connection.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    shared: Arc<GatewayState>,
}

/// A sample that the gateway has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSample {
    /// Labels as they were posted, with the replica label.
    pub labels: Labels,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The value to the bit.
    pub value: SampleValue,
}

/// The state that all requests share. Locks are held for computing only, never across an await.
/// Where two are needed, `tenant` is taken first.
#[derive(Debug)]
pub(crate) struct GatewayState {
    options: GatewayOptions,
    started: Instant,
    faults: Faults,
    upstream: Option<Upstream>,
    tenant: Mutex<Tenant>,
    tracker: Mutex<ha::Tracker>,
    rates: Mutex<Rates>,
    journal: Mutex<Journal>,
}

#[derive(Debug)]
struct Rates {
    samples: Option<TokenBucket>,
    requests: Option<TokenBucket>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayState {
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub(crate) fn stats(&self) -> GatewayStats {
        let active_series = lock(&self.tenant).active() as u64;
        GatewayStats {
            active_series,
            ..self.journal().stats.clone()
        }
    }
}

impl Gateway {
    /// Starts a gateway that listens.
    ///
    /// # Errors
    /// Fails when the address cannot be listened on.
    pub async fn start(options: GatewayOptions) -> Result<Self> {
        let now = Instant::now();
        let bucket = |per_second: Option<f64>| per_second.map(|rate| TokenBucket::new(rate, now));
        let rates = Rates {
            samples: bucket(options.limits.samples_per_second),
            requests: bucket(options.limits.requests_per_second),
        };
        let listen = options.listen;
        let shared = Arc::new(GatewayState {
            started: now,
            faults: Faults::default(),
            upstream: options.upstream.as_deref().map(Upstream::new),
            tenant: Mutex::default(),
            tracker: Mutex::default(),
            rates: Mutex::new(rates),
            journal: Mutex::new(Journal::new(options.journal.clone())),
            options,
        });
        let handler = shared.clone();
        let server = Server::start(listen, move |request, connection| {
            receive::receive(handler.clone(), request, connection)
        })
        .await?;
        Ok(Self { server, shared })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The URL for a `remote_write` entry.
    pub fn remote_write_url(&self) -> String {
        format!(
            "{}{}",
            self.url(),
            request::path(&self.shared.options.workspace)
        )
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Complete counts.
    pub fn stats(&self) -> GatewayStats {
        GatewayStats {
            connections: self.server.counters().accepted(),
            ..self.shared.stats()
        }
    }

    /// All requests that the journal keeps, in the order of their ends.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.shared.journal().entries().cloned().collect()
    }

    /// The labels of a series in the journal.
    pub fn labels(&self, series: SeriesNumber) -> Labels {
        let labels = lock(&self.shared.tenant).labels(series);
        labels
            .iter()
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect()
    }

    /// All samples that were stored and that the journal still keeps.
    pub fn stored(&self) -> Vec<StoredSample> {
        let samples: Vec<PostedSample> = self
            .shared
            .journal()
            .entries()
            .flat_map(|entry| entry.samples.iter().copied())
            .filter(|sample| sample.outcome == Outcome::Stored)
            .collect();
        samples
            .iter()
            .map(|sample| StoredSample {
                labels: self.labels(sample.series),
                timestamp: sample.timestamp,
                value: sample.value,
            })
            .collect()
    }
}
