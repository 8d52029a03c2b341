//! What became of a batch: the result of a delivery.

use super::state::{SendFailure, StopReason};
use crate::batch::{Batch, samples};

/// The result of a delivery: the place where each sample ended. Every sample is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Samples that the receiver stored.
    pub written: u64,
    /// Samples that the receiver's HA deduplication dropped.
    pub deduplicated: u64,
    /// Samples of parts that were posted before without a clear answer, and are refused now because
    /// the receiver has them, or newer ones of their series.
    pub repeated: u64,
    /// Parts of the batch that were refused for good. The caller keeps them.
    pub rejected: Vec<RejectedBatch>,
    /// Parts of the batch whose samples are all older than `sample_age_limit`. The caller keeps
    /// them.
    pub expired: Vec<Batch>,
    /// Parts of the batch that are still owed to the receiver.
    pub undelivered: Option<UndeliveredBatches>,
    /// Number of requests.
    pub attempts: u32,
    /// Number of requests after which the batch, or a part of it, had to be posted again.
    pub retries: u32,
    /// Time of the first 429, milliseconds since 1970.
    pub throttled_ms: Option<i64>,
    /// Time of the first answer after which the batch, or a part of it, had to be posted again,
    /// milliseconds since 1970.
    pub refused_ms: Option<i64>,
}

/// What earlier deliveries of a batch have found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchHistory {
    /// Whether its samples may be stored already, because a post had no clear answer or a tick that
    /// was killed may have posted it. A refusal may then mean that the receiver has them.
    pub in_doubt: bool,
    /// Whether it met a 429.
    pub was_throttled: bool,
    /// Whether one more 429 refuses it for good: it was throttled for long enough, while other
    /// batches were taken.
    pub last_429: bool,
    /// Whether the receiver has answered for so long that it is to be sent again that its samples
    /// are looked at apart: some of them may be what the receiver cannot take.
    pub refused_for_long: bool,
}

/// A batch, or a part of one, that was refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedBatch {
    /// The batch as it was posted.
    pub batch: Batch,
    /// HTTP status of the answer.
    pub status: u16,
    /// The answer in one line. It names the first error only, and AMP stores the valid samples of a
    /// refused request.
    pub message: String,
}

/// The parts of a batch that a delivery leaves undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredBatches {
    /// The parts, in the order in which they would have been posted.
    pub batches: Vec<Batch>,
    /// Those of `batches` whose last post had no clear answer.
    pub in_doubt: Vec<Batch>,
    /// The reason why they are still owed.
    pub reason: UndeliveredReason,
}

/// The reason why samples are still owed to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndeliveredReason {
    /// No time is left, or less than the receiver asked to wait. Holds the last failure, if there
    /// was one.
    Deadline(Option<SendFailure>),
    /// The remote gets no more requests in this tick.
    Stopped(StopReason),
    /// The batch was asked for, because it is to go another way.
    Recalled,
}

impl Delivery {
    /// Number of samples that the receiver has, or dropped on purpose.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.written + self.deduplicated + self.repeated
    }

    /// Number of samples that were refused for good.
    #[must_use]
    pub fn rejected_samples(&self) -> u64 {
        samples(self.rejected.iter().map(|rejected| &rejected.batch))
    }

    /// Number of samples that were too old.
    #[must_use]
    pub fn expired_samples(&self) -> u64 {
        samples(&self.expired)
    }

    /// Number of samples that are still owed.
    #[must_use]
    pub fn undelivered_samples(&self) -> u64 {
        let parts = self.undelivered.iter();
        samples(parts.flat_map(|undelivered| &undelivered.batches))
    }

    /// Adds a batch that was refused for good, and logs it.
    pub(super) fn reject(&mut self, batch: Batch, status: u16, message: String) {
        tracing::warn!(
            samples = batch.samples,
            "the remote refused a batch for good: {message}"
        );
        self.rejected.push(RejectedBatch {
            batch,
            status,
            message,
        });
    }
}
