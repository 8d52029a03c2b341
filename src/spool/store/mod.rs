//! Where the spool lives, behind five calls: S3, or a directory.
//!
//! All homes promise the same: an object is there as a whole or not at all; what was answered is
//! durable and seen by every later call, LIST included; the conditional calls decide races. No call
//! retries by itself and none outlives its deadline. [`super::retry`] is for those who want more.

pub mod dir;
pub mod memory;
pub mod s3;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::SpoolUrl;
use crate::net::{NetError, Phase};

/// Most keys of a page, as S3 has it.
pub const PAGE: usize = 1000;

/// The store at a place. Nothing is asked of it yet.
pub async fn open(url: &SpoolUrl) -> Arc<dyn Store> {
    match url {
        SpoolUrl::S3 { bucket, prefix } => Arc::new(s3::S3Store::open(bucket, prefix).await),
        SpoolUrl::Dir(path) => Arc::new(dir::DirStore::new(path)),
    }
}

/// The five calls. Keys are relative to the spool's own place and never begin with a slash.
pub trait Store: Send + Sync {
    /// Writes an object that must not be there yet.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] when there is one.
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag>;

    /// Replaces the object that has this etag.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] when it has another one by now, or is gone.
    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag>;

    /// Reads the first bytes of an object, `most` at most.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`].
    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object>;

    /// The keys that begin with `prefix` and come after `after`, in the order of their bytes: the
    /// first [`PAGE`] of them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page>;

    /// Deletes an object. One that is not there is deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()>;

    /// For people: `s3://bucket/prefix`, or a path.
    fn address(&self) -> &str;
}

/// What a call gives.
pub type Call<'a, T> = BoxFuture<'a, Result<StoreAnswer<T>, StoreError>>;

/// An answer, and when the store gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAnswer<T> {
    /// What was asked for.
    pub value: T,
    /// By its own clock.
    pub time: StoreTime,
}

/// Changes with each writing of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(pub String);

/// An object, or its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// As many as were asked for, or all.
    pub bytes: Bytes,
    /// All that there are.
    pub size: u64,
    /// Of the whole.
    pub etag: Etag,
}

impl Object {
    /// Whether the bytes are all of it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }
}

/// Some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<ListedObject>,
    /// More follow, after the last of these.
    pub more: bool,
}

/// A key and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Relative, as in the calls.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// What the store's clock showed, somewhere between a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTime {
    /// Milliseconds since 1970, rounded down.
    pub date_ms: i64,
    /// What rounding may have taken away: a `Date` header has whole seconds.
    pub coarse_ms: i64,
    /// When the request began.
    pub sent: Instant,
    /// When its answer was there.
    pub received: Instant,
}

impl StoreTime {
    /// Until this moment the store's clock is certainly before `ms`: for whoever must stop by then.
    /// None when it may have come already.
    #[must_use]
    pub fn certainly_before(&self, ms: i64) -> Option<Instant> {
        let left = ms
            .saturating_sub(self.date_ms)
            .saturating_sub(self.coarse_ms);
        u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .map(|left| self.sent + Duration::from_millis(left))
    }

    /// From this moment on the store's clock has certainly come to `ms`: for whoever waits for
    /// that.
    #[must_use]
    pub fn certainly_reached(&self, ms: i64) -> Instant {
        self.received
            + Duration::from_millis(
                u64::try_from(ms.saturating_sub(self.date_ms)).unwrap_or_default(),
            )
    }
}

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`Store::put_if_absent`].
    PutIfAbsent,
    /// [`Store::put_if_match`].
    PutIfMatch,
    /// [`Store::get`].
    Get,
    /// [`Store::list`].
    List,
    /// [`Store::delete`].
    Delete,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PutIfAbsent | Self::PutIfMatch => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

impl Op {
    /// Whether it changes anything.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::PutIfAbsent | Self::PutIfMatch | Self::Delete)
    }
}

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Nothing there.
    NotFound,
    /// The condition does not hold: it exists, has changed or is gone. If an earlier try of the
    /// same call had no answer, that may have been us.
    Changed,
    /// Permissions, keys, a missing bucket, a wrong region: trying again does not help, a person
    /// does. Nothing was done.
    Denied,
    /// Throttled, or a race with another call: nothing was done, try again after a pause.
    Busy,
    /// No room. Nothing was done.
    Full,
    /// The store was not reached. Nothing was done.
    Unreachable,
    /// It was asked and did not answer, not in time or not usefully: what was asked for may have
    /// been done all the same, or yet be.
    NoAnswer,
}

impl FailureKind {
    /// Whether the same call may succeed in a moment.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable | Self::NoAnswer)
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What can be done.
    pub kind: FailureKind,
    /// What was tried.
    pub op: Op,
    /// On what: `s3://bucket/key`, or a path.
    pub address: String,
    /// What the store or the system said.
    pub cause: String,
    /// Likely cause and next step.
    pub hint: Option<&'static str>,
    /// When the store answered, if it did.
    pub time: Option<StoreTime>,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spool: {} {}: {}", self.op, self.address, self.cause)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    pub(crate) fn new(
        kind: FailureKind,
        op: Op,
        address: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            op,
            address: address.into(),
            cause: cause.into(),
            hint: None,
            time: None,
        }
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// An earlier try of the same call had no answer: a refusal of this one does not tell that
    /// nothing was done.
    pub(super) fn in_doubt(mut self) -> Self {
        if !matches!(self.kind, FailureKind::NotFound | FailureKind::Changed) {
            self.kind = FailureKind::NoAnswer;
        }
        self
    }

    /// Whether there was no answer because there was no way to the store, or because it took too
    /// long.
    pub(super) fn kind_of(error: &NetError) -> FailureKind {
        match error.phase {
            Phase::Request | Phase::Credentials | Phase::Dns | Phase::Connect | Phase::Tls => {
                FailureKind::Unreachable
            }
            Phase::Http | Phase::Body => FailureKind::NoAnswer,
        }
    }
}

/// Ends a call at its deadline.
pub(super) async fn within<T>(
    deadline: Instant,
    op: Op,
    address: &str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let started = Instant::now();
    if started >= deadline {
        return Err(StoreError::new(
            FailureKind::Unreachable,
            op,
            address,
            "not tried: no time is left",
        ));
    }
    match tokio::time::timeout_at(deadline, call).await {
        Ok(result) => result,
        Err(_) => {
            let waited = started.elapsed();
            let error = StoreError::new(
                FailureKind::NoAnswer,
                op,
                address,
                format!("no answer within {waited:.1?}"),
            );
            Err(error.hint("if this stays, give the function more time or a way to the store that is not throttled"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_stores_clock_is_known_only_within_bounds() {
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(300)).await;
        let time = StoreTime {
            date_ms: 10_000,
            coarse_ms: 1_000,
            sent,
            received: Instant::now(),
        };
        // It may have been 10.999 when the request was sent: 2.001 s before 13.
        assert_eq!(
            time.certainly_before(13_000),
            Some(sent + Duration::from_millis(2_000))
        );
        assert_eq!(time.certainly_before(11_000), None);
        // It may have been 10.000 only when the answer was there.
        assert_eq!(
            time.certainly_reached(13_000),
            time.received + Duration::from_secs(3)
        );
        assert_eq!(time.certainly_reached(9_000), time.received);
    }

    #[test]
    fn an_error_says_what_where_why_and_what_next() {
        let error = StoreError::new(
            FailureKind::Full,
            Op::PutIfAbsent,
            "/spool/segments/a",
            "no space left on device",
        )
        .hint("make room");
        assert_eq!(
            error.to_string(),
            "spool: put /spool/segments/a: no space left on device; make room"
        );
    }
}
