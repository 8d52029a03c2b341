//! A store for simulations: in memory, on tokio's clock, with faults. Never used by the programs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{
    Call, Etag, FailureKind, ListedObject, Object, Op, PAGE, Page, Store, StoreAnswer, StoreError,
    StoreTime, within,
};
use crate::time::Clock;

/// The fault of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFault {
    /// Delay before anything is done.
    pub delay: Duration,
    /// Refusal; nothing is done then.
    pub refuse: Option<FailureKind>,
    /// Delay of the answer after the call was done. Past the deadline the answer is lost.
    pub answer_delay: Duration,
    /// Whether the answer is lost after the call was done.
    pub answer_lost: bool,
}

/// Decides the fault of each call, from the call, its key, and the number of calls before it.
pub type Faults = Box<dyn FnMut(Op, &str, usize) -> StoreFault + Send>;

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The kind of the call.
    pub op: Op,
    /// Key of the object, or the prefix of a LIST.
    pub key: String,
}

/// Objects in memory. Clones share them, as two processes share a bucket.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Mutex<MemoryState>>,
    clock: Arc<dyn Clock>,
}

struct MemoryState {
    objects: BTreeMap<String, (Bytes, Etag)>,
    writes: u64,
    faults: Faults,
    calls: Vec<CallRecord>,
    coarse_ms: i64,
}

impl MemoryStore {
    /// An empty store without faults. `clock` is the store's own and may differ from other clocks.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let inner = MemoryState {
            objects: BTreeMap::new(),
            writes: 0,
            faults: Box::new(|_, _, _| StoreFault::default()),
            calls: Vec::new(),
            coarse_ms: 1000,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock,
        }
    }

    /// Sets the faults of all calls from now on.
    pub fn set_faults(&self, faults: impl FnMut(Op, &str, usize) -> StoreFault + Send + 'static) {
        self.lock().faults = Box::new(faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.set_faults(|_, _, _| StoreFault::default());
    }

    /// The calls since the last call of this function.
    #[must_use]
    pub fn take_calls(&self) -> Vec<CallRecord> {
        std::mem::take(&mut self.lock().calls)
    }

    /// All keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The bytes of an object.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Bytes> {
        self.lock().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Writes an object, whatever was there before.
    pub fn plant(&self, key: &str, bytes: Bytes) {
        self.lock().write(key, bytes);
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        op: Op,
        key: &'a str,
        deadline: Instant,
        act: impl FnOnce(&mut MemoryState) -> Result<T, (FailureKind, &'static str)> + Send + 'a,
    ) -> Call<'a, T> {
        let work = async move {
            let sent = Instant::now();
            let fault = {
                let inner = &mut *self.lock();
                inner.calls.push(CallRecord {
                    op,
                    key: key.to_owned(),
                });
                (inner.faults)(op, key, inner.calls.len() - 1)
            };
            tokio::time::sleep(fault.delay).await;
            if let Some(kind) = fault.refuse {
                return Err(StoreError::new(kind, op, key, "a simulated fault"));
            }
            let (done, date_ms, coarse_ms) = {
                let inner = &mut *self.lock();
                let coarse_ms = inner.coarse_ms;
                let now_ms = self.clock.now_ms();
                (act(inner), now_ms - now_ms.rem_euclid(coarse_ms), coarse_ms)
            };
            tokio::time::sleep(fault.answer_delay).await;
            if fault.answer_lost {
                return Err(StoreError::new(
                    FailureKind::NoAnswer,
                    op,
                    key,
                    "a simulated loss of the answer",
                ));
            }
            let time = StoreTime {
                date_ms,
                coarse_ms,
                sent,
                received: Instant::now(),
            };
            match done {
                Ok(value) => Ok(StoreAnswer { value, time }),
                Err((kind, cause)) => Err(StoreError {
                    time: Some(time),
                    ..StoreError::new(kind, op, key, cause)
                }),
            }
        };
        within(deadline, op, key, work).boxed()
    }
}

impl MemoryState {
    fn write(&mut self, key: &str, body: Bytes) -> Etag {
        self.writes += 1;
        let etag = Etag(format!("\"{}\"", self.writes));
        self.objects.insert(key.to_owned(), (body, etag.clone()));
        etag
    }
}

impl Store for MemoryStore {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        self.call(Op::PutIfAbsent, key, deadline, move |inner| {
            match inner.objects.contains_key(key) {
                true => Err((FailureKind::Changed, "it exists")),
                false => Ok(inner.write(key, body)),
            }
        })
    }

    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag> {
        self.call(Op::PutIfMatch, key, deadline, move |inner| {
            match inner.objects.get(key) {
                Some((_, present)) if present == etag => Ok(inner.write(key, body)),
                _ => Err((FailureKind::Changed, "it has another etag")),
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object> {
        self.call(Op::Get, key, deadline, move |inner| {
            let (bytes, etag) = inner
                .objects
                .get(key)
                .ok_or((FailureKind::NotFound, "there is none"))?;
            let end = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
            Ok(Object {
                bytes: bytes.slice(..end),
                size: bytes.len() as u64,
                etag: etag.clone(),
            })
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page> {
        self.call(Op::List, prefix, deadline, move |inner| {
            let from = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let mut entries: Vec<_> = inner
                .objects
                .range::<str, _>((from, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(PAGE + 1)
                .map(|(key, (bytes, _))| ListedObject {
                    key: key.clone(),
                    size: bytes.len() as u64,
                })
                .collect();
            let more = entries.len() > PAGE;
            entries.truncate(PAGE);
            Ok(Page { entries, more })
        })
    }

    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()> {
        self.call(Op::Delete, key, deadline, move |inner| {
            inner.objects.remove(key);
            Ok(())
        })
    }

    fn delete_if_match<'a>(
        &'a self,
        key: &'a str,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, ()> {
        self.call(Op::Delete, key, deadline, move |inner| {
            match inner.objects.get(key) {
                Some((_, present)) if present != etag => {
                    Err((FailureKind::Changed, "it has another etag"))
                }
                _ => {
                    inner.objects.remove(key);
                    Ok(())
                }
            }
        })
    }

    fn address(&self) -> &str {
        "memory"
    }
}
