//! `queue_config`: how many samples wait for a remote, and how they are sent.

use std::time::Duration;

use super::keys::QUEUE;
use super::model::QueueConfig;
use super::reader::{Reader, Section};

/// Largest age of a sample that is sent to AMP, which refuses samples older than an hour.
const AMP_SAMPLE_AGE_LIMIT: Duration = Duration::from_secs(55 * 60);

/// Reads a remote's `queue_config`. `signed` says whether its requests are signed: only AMP asks
/// for that.
pub(super) fn read_queue(
    reader: &mut Reader<'_>,
    remote: &Section<'_>,
    signed: bool,
) -> QueueConfig {
    let mut queue = QueueConfig::defaults(signed);
    let Some(section) = reader.subsection(remote, "queue_config", &QUEUE) else {
        return queue;
    };
    read_counts(reader, &section, &mut queue);
    read_times(reader, &section, &mut queue);
    if let Some(retry) = reader.boolean(&section, "retry_on_http_429") {
        queue.retry_on_http_429 = retry;
    }
    if let Some(limit) = reader.duration(&section, "sample_age_limit") {
        queue.sample_age_limit = (!limit.is_zero()).then_some(limit);
    }
    queue
}

fn read_counts(reader: &mut Reader<'_>, section: &Section<'_>, queue: &mut QueueConfig) {
    for (key, field) in [
        ("max_shards", &mut queue.max_shards),
        ("min_shards", &mut queue.min_shards),
        ("max_samples_per_send", &mut queue.max_samples_per_send),
    ] {
        let fix = "remove the key for the default; with 0, Prometheus ends in a panic";
        if let Some(count) = reader.positive_count(section, key, fix) {
            *field = count;
        }
    }
    if let Some(capacity) = reader.count(section, "capacity") {
        // Prometheus' queue has room for one batch, however small its capacity is
        // (storage/remote/queue_manager.go newQueue).
        queue.capacity = match usize::try_from(capacity).unwrap_or(usize::MAX) {
            0 => queue.max_samples_per_send,
            capacity => capacity,
        };
    }
}

fn read_times(reader: &mut Reader<'_>, section: &Section<'_>, queue: &mut QueueConfig) {
    for (key, field) in [
        ("batch_send_deadline", &mut queue.batch_send_deadline),
        ("min_backoff", &mut queue.min_backoff),
        ("max_backoff", &mut queue.max_backoff),
    ] {
        if let Some(duration) = reader.duration(section, key) {
            *field = duration;
        }
    }
    if queue.min_backoff.is_zero() {
        reader.error_at(
            &section.path_of("min_backoff"),
            "found 0, expected a duration above 0",
            "retries would not pause at all",
        );
    }
}

impl QueueConfig {
    /// Prometheus' defaults. A signed remote is an AMP workspace, for which two of them differ: AMP
    /// throttles with 429 and has stored nothing then, and it refuses samples older than an hour.
    /// // config/config.go DefaultQueueConfig
    #[must_use]
    pub fn defaults(signed: bool) -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: signed,
            sample_age_limit: signed.then_some(AMP_SAMPLE_AGE_LIMIT),
        }
    }
}
