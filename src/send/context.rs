//! The settings and the circumstances of a delivery.

use std::time::Duration;

use tokio::time::Instant;

use super::delivery::BatchHistory;
use super::state::SendState;
use crate::config::RemoteWrite;
use crate::time::Clock;

/// The settings of a remote that concern sending.
#[derive(Debug, Clone)]
pub struct DeliverSettings {
    /// Time for one request, from fetching credentials to the end of the answer.
    pub remote_timeout: Duration,
    /// Upper bound of the first back-off.
    pub min_backoff: Duration,
    /// Upper bound of all back-offs.
    pub max_backoff: Duration,
    /// Whether a request that was answered 429 is sent again. Otherwise its batch is refused for
    /// good.
    pub retry_on_http_429: bool,
    /// Age at which samples are no longer sent. They are taken out of their batch one by one.
    pub sample_age_limit: Option<Duration>,
}

impl From<&RemoteWrite> for DeliverSettings {
    fn from(config: &RemoteWrite) -> Self {
        Self {
            remote_timeout: config.remote_timeout,
            min_backoff: config.queue.min_backoff,
            max_backoff: config.queue.max_backoff,
            retry_on_http_429: config.queue.retry_on_http_429,
            sample_age_limit: config.queue.sample_age_limit,
        }
    }
}

/// The circumstances of a delivery.
#[derive(Clone, Copy)]
pub struct DeliverContext<'a> {
    /// Settings of the remote.
    pub settings: &'a DeliverSettings,
    /// State of the remote, shared by its shards.
    pub state: &'a SendState,
    /// The wall clock.
    pub clock: &'a dyn Clock,
    /// Latest end of the delivery. The state may name an earlier one (`sending_ends`).
    pub work_ends: Instant,
    /// What earlier deliveries of the batch have found out.
    pub history: BatchHistory,
}
