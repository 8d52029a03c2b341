//! Where the spool lives, behind six calls: S3, or a directory.
//!
//! All stores promise the same: an object exists as a whole or not at all; what was answered is
//! durable and seen by every later call, LIST included; the conditional calls decide races. No call
//! is retried and none outlives its deadline. [`super::retry`] repeats calls.

pub mod dir;
pub mod memory;
mod open;
pub mod s3;

pub use self::open::open;

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::net::{NetError, Phase};
use crate::report::plain_line;

/// Most keys of a page, the same as in S3.
pub const PAGE: usize = 1000;

/// The six calls. Keys are relative to the spool's place and never begin with a slash.
///
/// `Send + Sync`, as the AWS SDK and the runtime's executor ask for it: an implementation that
/// shares something over its calls needs a lock for that.
pub trait Store: Send + Sync {
    /// Writes an object that must not exist yet.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] when it exists.
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag>;

    /// Replaces the object that has this etag.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] when it has another etag by now, or is gone.
    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag>;

    /// Reads the first `most` bytes of an object, or all of a smaller one.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`] when there is no such object.
    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object>;

    /// Lists the keys that begin with `prefix` and come after `after`, in the order of their bytes:
    /// the first [`PAGE`] of them.
    ///
    /// # Errors
    /// The store did not answer, or refused.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page>;

    /// Deletes an object. Succeeds when there is none.
    ///
    /// # Errors
    /// The store did not answer, or refused.
    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()>;

    /// Deletes an object as long as it has this etag, where the store can be asked that. Succeeds
    /// when there is none.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] when it has another etag by now.
    fn delete_if_match<'a>(
        &'a self,
        key: &'a str,
        _etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, ()> {
        self.delete(key, deadline)
    }

    /// Takes the mark of a living holder of the lease, unless another process has it. The system
    /// takes it from a process that dies. A store without such a mark says so.
    fn mark_holder(&self) -> BoxFuture<'_, HolderMark> {
        Box::pin(std::future::ready(HolderMark::default()))
    }

    /// Address of the spool for people: `s3://bucket/prefix`, or a path.
    fn address(&self) -> &str;
}

/// The mark of a living holder of the lease. Dropping it gives the mark away.
#[derive(Debug, Default)]
pub struct HolderMark(Option<File>);

impl HolderMark {
    /// The mark, as a lock on an open file.
    #[must_use]
    pub fn locked(file: File) -> Self {
        Self(Some(file))
    }

    /// Whether this process has the mark.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.0.is_some()
    }
}

/// The future of a call.
pub type Call<'a, T> = BoxFuture<'a, Result<StoreAnswer<T>, StoreError>>;

/// An answer, and when the store gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAnswer<T> {
    /// The result of the call.
    pub value: T,
    /// When the store answered, by its own clock.
    pub time: StoreTime,
}

/// The version of an object; each write gives it another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(pub String);

/// An object, or its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// As many bytes as were asked for, or all.
    pub bytes: Bytes,
    /// Size of the whole object in bytes.
    pub size: u64,
    /// Etag of the whole object.
    pub etag: Etag,
}

impl Object {
    /// Whether `bytes` is the whole object.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Objects in the order of their keys.
    pub entries: Vec<ListedObject>,
    /// Whether more objects follow the last of these.
    pub more: bool,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Key of the object, relative as in the calls.
    pub key: String,
    /// Size of the object in bytes; [`NOT_A_FILE`] for something in a directory that is no file and
    /// cannot be read.
    pub size: u64,
}

/// The size of a link, a pipe, a device or a socket in a listing: larger than any object.
pub const NOT_A_FILE: u64 = u64::MAX;

/// Whether a key leads to itself only: a client of HTTP changes an address with a part `.` or `..`
/// into another one, and so does a file system.
pub(super) fn is_plain_key(key: &str) -> bool {
    key.is_empty()
        || key
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

/// The store's clock at some moment between a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTime {
    /// Milliseconds since 1970, rounded down.
    pub date_ms: i64,
    /// Most milliseconds that rounding has taken away: a `Date` header has whole seconds.
    pub coarse_ms: i64,
    /// When the request began.
    pub sent: Instant,
    /// When the answer had arrived.
    pub received: Instant,
}

impl StoreTime {
    /// The moment until which the store's clock is certainly before `ms`, for a caller that must
    /// stop by then. `None` when `ms` may have passed already.
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

    /// The moment from which on the store's clock has certainly reached `ms`, for a caller that
    /// waits for it.
    #[must_use]
    pub fn certainly_reached(&self, ms: i64) -> Instant {
        self.received
            + Duration::from_millis(
                u64::try_from(ms.saturating_sub(self.date_ms)).unwrap_or_default(),
            )
    }
}

/// The kind of a call.
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
    /// Whether the call changes anything.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::PutIfAbsent | Self::PutIfMatch | Self::Delete)
    }
}

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// There is no such object.
    NotFound,
    /// The condition does not hold: the object exists, has changed or is gone. If an earlier try of
    /// the same call had no answer, that try may be the reason.
    Changed,
    /// Permissions, keys, the bucket or the region are wrong. Trying again does not help; a person
    /// must act. Nothing was done.
    Denied,
    /// The store throttles, or another call was under way. Nothing was done; try again after a
    /// pause.
    Busy,
    /// The store has no room. Nothing was done.
    Full,
    /// The store was not reached. Nothing was done.
    Unreachable,
    /// The store was asked, and its answer did not come in time or was not usable. The call may
    /// have been done nevertheless, or may yet be.
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
    /// What the caller can do.
    pub kind: FailureKind,
    /// The call that failed.
    pub op: Op,
    /// Address of the object: `s3://bucket/key`, or a path.
    pub address: String,
    /// Message of the store or of the system.
    pub cause: String,
    /// Likely cause and next step.
    pub hint: Option<&'static str>,
    /// When the store answered, if it did.
    pub time: Option<StoreTime>,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a key, and the cause the message of a store: both are others' words.
        let (address, cause) = (plain_line(&self.address), plain_line(&self.cause));
        write!(f, "spool: {} {address}: {cause}", self.op)?;
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

    /// The error after an earlier try of the same call had no answer: a refusal of the last try
    /// does not mean that nothing was done.
    pub(super) fn in_doubt(mut self) -> Self {
        if !matches!(self.kind, FailureKind::NotFound | FailureKind::Changed) {
            self.kind = FailureKind::NoAnswer;
        }
        self
    }

    /// The kind of a network error: the store was not reached, or its answer did not come.
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
            Err(error.hint(
                "if this stays, give the function more time or a way to the store that is not \
                 throttled",
            ))
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
