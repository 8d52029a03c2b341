//! One request to S3: its answer with the store's time, and its errors as the caller can act on
//! them.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use super::super::{FailureKind, Op, StoreAnswer, StoreError, StoreTime};
use super::classify::classify;
use super::date::DateWitness;
use crate::net::{NetError, Peer, aws};

/// What rounding takes from a `Date` header, which has whole seconds.
const COARSE_MS: i64 = 1000;

/// A request that is under way, and what its errors and its answer say.
pub(super) struct S3Request {
    pub(super) op: Op,
    pub(super) address: String,
    pub(super) sent: Instant,
    pub(super) date: DateWitness,
}

impl S3Request {
    fn time(&self) -> Option<StoreTime> {
        let date_ms = self.date.date_ms()?;
        Some(StoreTime {
            date_ms,
            coarse_ms: COARSE_MS,
            sent: self.sent,
            received: Instant::now(),
        })
    }

    pub(super) fn answer<T>(&self, value: T) -> Result<StoreAnswer<T>, StoreError> {
        match self.time() {
            Some(time) => Ok(StoreAnswer { value, time }),
            // Every S3 sends one; a proxy between may not.
            None => Err(self.error(FailureKind::NoAnswer, "an answer without a date")),
        }
    }

    pub(super) fn error(&self, kind: FailureKind, cause: impl Into<String>) -> StoreError {
        StoreError {
            time: self.time(),
            ..StoreError::new(kind, self.op, &self.address, cause)
        }
    }

    pub(super) fn failed<E: ProvideErrorMetadata + Error + 'static>(
        &self,
        error: &SdkError<E>,
    ) -> StoreError {
        let Some(status) = status(error) else {
            return match error {
                SdkError::TimeoutError(_) => self.cut(error),
                _ => self.broken(error),
            };
        };
        let code = error.code().unwrap_or_default();
        let (kind, hint) = classify(self.op, status, code);
        let message = error
            .message()
            .filter(|message| !message.is_empty())
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        let mut failure = self.error(kind, format!("{status} {code}{message}").replace(" :", ":"));
        failure.hint = hint;
        failure
    }

    /// The error of a request whose answer broke off, or did not come in time. Whoever was on the
    /// way words it as he likes.
    pub(super) fn cut(&self, error: &(dyn Error + 'static)) -> StoreError {
        self.error(FailureKind::NoAnswer, aws::cause(error))
    }

    /// The error of a request that has no answer.
    pub(super) fn broken(&self, error: &(dyn Error + 'static)) -> StoreError {
        let kind = match net_error(error) {
            // Where credentials come from is no part of the store: nothing was asked of that one
            // yet.
            Some(net) if net.peer != Peer::Store => FailureKind::Unreachable,
            Some(net) => StoreError::kind_of(net),
            // The SDK has no credentials, no region, or found the request to be wrong.
            None => FailureKind::Denied,
        };
        self.error(kind, aws::cause(error))
    }
}

pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

fn net_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a NetError> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(net) = current.downcast_ref() {
            return Some(net);
        }
        next = current.source();
    }
    None
}
