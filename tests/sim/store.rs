//! A model of the store as one simulated process sees it: shared objects, faults, kills in the
//! middle of a call, and a check of the lease.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote};
use amp_forwarder::spool::state::{KEY, SpoolState};
use amp_forwarder::spool::store::memory::{MemoryStore, StoreFault};
use amp_forwarder::spool::store::{Call, Etag, FailureKind, Object, Op, Page, Store, StoreAnswer};
use amp_forwarder::time::Clock;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::Event;
use crate::planted::Bug;
use crate::receiver::{Receiver, RemoteHandle};
use crate::strangers::refusal;
use crate::world::{SimWorld, lock};

/// Clock of the store.
pub(crate) struct StoreClock {
    pub(crate) world: Arc<SimWorld>,
    pub(crate) off_ms: i64,
}

impl Clock for StoreClock {
    fn now_ms(&self) -> i64 {
        self.world.now_ms() + self.off_ms
    }
}

/// Place in a call at which a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KillAt {
    pub(crate) op: Op,
    /// Prefix of the keys that count.
    pub(crate) folder: &'static str,
    /// Number of calls of the kind that are let through first.
    pub(crate) skip: u32,
    /// Whether the call was carried out; otherwise it never reached the store.
    pub(crate) done: bool,
}

/// One process of the function.
#[derive(Default)]
pub(crate) struct Process {
    nonce: Mutex<Option<String>>,
    /// Whether the process had the lease in this tick.
    pub(crate) held: AtomicBool,
    /// Whether the store has confirmed the lease. If the answer of a write is lost, the process has
    /// a lease without knowing it.
    pub(crate) told: AtomicBool,
    /// Actions for which the process had no right.
    pub(crate) wrongs: Mutex<Vec<String>>,
    /// Calls in flight, including those that were dropped with their tick.
    pub(crate) under_way: Mutex<Vec<(Op, String)>>,
    pub(crate) kill: Mutex<Option<KillAt>>,
    pub(crate) killed: Notify,
    /// Number of posts after which the next one panics.
    panics_after: Mutex<Option<u32>>,
    /// Key and body that the process was about to write when it was killed.
    pub(crate) late: Mutex<Option<(String, Bytes)>>,
    /// Segments whose last write had no answer, since the last release that reported such segments.
    pub(crate) in_doubt: Mutex<BTreeSet<String>>,
}

impl Process {
    /// Whether the process has acted without the lease in a tick in which it never had it, as one
    /// that goes on without the store does.
    pub(crate) fn acts_without_lease(&self) -> bool {
        !self.held.load(Ordering::Relaxed) && !lock(&self.wrongs).is_empty()
    }

    pub(crate) fn begin(&self, kill: Option<KillAt>) {
        self.held.store(false, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
        lock(&self.wrongs).clear();
        lock(&self.under_way).clear();
        *lock(&self.kill) = kill;
        *lock(&self.panics_after) = None;
    }

    /// Lets the tick that begins panic at one of its posts, counted from 0.
    pub(crate) fn panic_at(&self, post: u32) {
        *lock(&self.panics_after) = Some(post);
    }

    /// Panics when the time has come.
    fn panic_in_time(&self) {
        let is_time = {
            let mut left = lock(&self.panics_after);
            let is_time = *left == Some(0);
            *left = left.and_then(|left| left.checked_sub(1));
            is_time
        };
        if is_time {
            // No message: some tests plant many.
            std::panic::resume_unwind(Box::new("planted"));
        }
    }

    /// Whether the process has this nonce in its leases.
    pub(crate) fn is(&self, nonce: &str) -> bool {
        lock(&self.nonce).as_deref() == Some(nonce)
    }

    /// Stays pending for ever if the process is to be killed here.
    async fn point(&self, op: Op, key: &str, done: bool) {
        let hit = {
            let mut kill = lock(&self.kill);
            match kill
                .as_mut()
                .filter(|kill| kill.op == op && kill.done == done && key.starts_with(kill.folder))
            {
                Some(at) if at.skip > 0 => {
                    at.skip -= 1;
                    false
                }
                Some(_) => {
                    *kill = None;
                    true
                }
                None => false,
            }
        };
        if hit {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// State that all processes share.
pub(crate) struct Shared {
    pub(crate) world: Arc<SimWorld>,
    pub(crate) objects: MemoryStore,
    pub(crate) off_ms: i64,
    /// Number of calls that met a fault.
    pub(crate) faults: Arc<AtomicU64>,
    pub(crate) bug: Option<Bug>,
    /// Objects of `expired/` and `rejected/` that the store refused, about which the forwarder
    /// warns, and those for which `expired/` and `rejected/` had no room any more.
    pub(crate) unkept: Mutex<Vec<Bytes>>,
    /// Number of calls for `rejected/` that failed: the samples may stay owed.
    pub(crate) not_yet_kept: AtomicU64,
}

impl Shared {
    /// Checks that the process holds a lease that has not ended, as it must for this action.
    fn watch(&self, process: &Process, what: &str) {
        let now_ms = self.world.now_ms() + self.off_ms;
        let lease = self
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .and_then(|state| state.lease);
        let wrong = match lease {
            None => format!("{what} without a lease"),
            Some(lease) if Some(&lease.nonce) != lock(&process.nonce).as_ref() => {
                format!("{what} while another process has the lease")
            }
            Some(lease) if lease.until_ms <= now_ms => format!(
                "{what} {} ms after the end of the lease",
                now_ms - lease.until_ms
            ),
            Some(_) => {
                process
                    .held
                    .store(process.told.load(Ordering::Relaxed), Ordering::Relaxed);
                return;
            }
        };
        self.world.tell(|| format!("wrong: {wrong}"));
        lock(&process.wrongs).push(wrong);
    }
}

/// A process's handle of the store.
pub(crate) struct SimStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) process: Arc<Process>,
}

impl SimStore {
    fn call<'a, T: Send + 'a>(
        &'a self,
        op: Op,
        key: &'a str,
        deadline: Instant,
        call: Call<'a, T>,
    ) -> Call<'a, T> {
        Box::pin(async move {
            lock(&self.process.under_way).push((op, key.to_owned()));
            self.process.point(op, key, false).await;
            // A call whose time is over is not made at all.
            if op.writes() && key != KEY && deadline > Instant::now() {
                self.shared.watch(&self.process, &format!("{op} {key}"));
            }
            let result = call.await;
            self.shared.world.tell(|| {
                format!(
                    "store: {op:?} {key}: {:?}",
                    result.as_ref().map(|_| "done").map_err(|error| error.kind)
                )
            });
            if key.starts_with("rejected/") && result.is_err() {
                self.shared.not_yet_kept.fetch_add(1, Ordering::Relaxed);
            }
            if key.starts_with("segments/") {
                let mut in_doubt = lock(&self.process.in_doubt);
                match (op, &result) {
                    (Op::PutIfAbsent, Err(error)) if error.kind == FailureKind::NoAnswer => {
                        _ = in_doubt.insert(key.to_owned());
                    }
                    (Op::PutIfAbsent | Op::Get | Op::Delete, Ok(_)) => _ = in_doubt.remove(key),
                    _ => {}
                }
            }
            if key == KEY && op.writes() && result.is_ok() {
                self.process.told.store(true, Ordering::Relaxed);
            }
            self.process.point(op, key, true).await;
            lock(&self.process.under_way).retain(|(known, at)| (*known, at.as_str()) != (op, key));
            result.map(|mut answer: StoreAnswer<T>| {
                if self.shared.bug == Some(Bug::NoFence) {
                    answer.time.date_ms -= 45_000;
                }
                answer
            })
        })
    }

    /// Makes the process's own lease look like another's, for a planted bug.
    fn disown(&self, mut answer: StoreAnswer<Object>) -> StoreAnswer<Object> {
        let own = lock(&self.process.nonce).clone();
        if let Ok(mut state) = SpoolState::read(&answer.value.bytes)
            && let Some(lease) = state
                .lease
                .as_mut()
                .filter(|lease| Some(&lease.nonce) == own.as_ref())
        {
            lease.nonce = "another".to_owned();
            answer.value.bytes = state.write().expect("it was read");
            answer.value.size = answer.value.bytes.len() as u64;
        }
        answer
    }

    /// Moves all watermarks to the present, for a planted bug.
    fn with_early_watermarks(&self, body: Bytes) -> Bytes {
        let Ok(mut state) = SpoolState::read(&body) else {
            return body;
        };
        let now_ms = self.shared.world.now_ms();
        for reads in state
            .jobs
            .values_mut()
            .flat_map(|job| job.reads.values_mut())
        {
            for watermark_ms in reads.watermarks.values_mut() {
                *watermark_ms = now_ms.max(*watermark_ms);
            }
        }
        state.write().expect("it was read")
    }

    fn learn(&self, key: &str, body: &Bytes) {
        if key == KEY
            && let Ok(SpoolState {
                lease: Some(lease), ..
            }) = SpoolState::read(body)
        {
            *lock(&self.process.nonce) = Some(lease.nonce);
        }
    }
}

impl Store for SimStore {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        self.learn(key, &body);
        if self.shared.bug == Some(Bug::RefusedNotKept) && key.starts_with("rejected/") {
            // The store says that it has the object, and does not.
            let place = self
                .shared
                .objects
                .put_if_absent("elsewhere", body, deadline);
            return Box::pin(async move {
                let answer = place.await;
                let _ = self.shared.objects.delete("elsewhere", deadline).await;
                answer
            });
        }
        let call = self.call(
            Op::PutIfAbsent,
            key,
            deadline,
            self.shared
                .objects
                .put_if_absent(key, body.clone(), deadline),
        );
        Box::pin(async move {
            *lock(&self.process.late) = Some((key.to_owned(), body.clone()));
            let result = call.await;
            *lock(&self.process.late) = None;
            if ["expired/", "rejected/"]
                .iter()
                .any(|folder| key.starts_with(folder))
                && result.as_ref().is_err_and(|error| !error.kind.is_passing())
            {
                lock(&self.shared.unkept).push(body);
            }
            result
        })
    }

    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag> {
        self.learn(key, &body);
        let body = if self.shared.bug == Some(Bug::WatermarkTooEarly) && key == KEY {
            self.with_early_watermarks(body)
        } else {
            body
        };
        self.call(
            Op::PutIfMatch,
            key,
            deadline,
            self.shared.objects.put_if_match(key, body, etag, deadline),
        )
    }

    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object> {
        let get = self.shared.objects.get(key, most, deadline);
        if self.shared.bug == Some(Bug::ChangedTakenForBusy) && key == KEY {
            return self.call(
                Op::Get,
                key,
                deadline,
                Box::pin(async move { get.await.map(|answer| self.disown(answer)) }),
            );
        }
        if self.shared.bug == Some(Bug::DeletedBeforeTheAnswer)
            && key.starts_with("segments/")
            && most > 1 << 20
        {
            return self.call(
                Op::Get,
                key,
                deadline,
                Box::pin(async move {
                    let got = get.await;
                    if got.is_ok() {
                        let _ = self.shared.objects.delete(key, deadline).await;
                    }
                    got
                }),
            );
        }
        let call = self.call(Op::Get, key, deadline, get);
        Box::pin(async move {
            let got = call.await;
            if key == KEY
                && let Ok(answer) = &got
                && let Ok(SpoolState {
                    lease: Some(lease), ..
                }) = SpoolState::read(&answer.value.bytes)
                && self.process.is(&lease.nonce)
            {
                self.process.told.store(true, Ordering::Relaxed);
            }
            got
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page> {
        let list = self.shared.objects.list(prefix, after, deadline);
        if self.shared.bug == Some(Bug::NotListedInOrder) {
            return self.call(
                Op::List,
                prefix,
                deadline,
                Box::pin(async move {
                    list.await.map(|mut answer| {
                        answer.value.entries.reverse();
                        answer
                    })
                }),
            );
        }
        self.call(Op::List, prefix, deadline, list)
    }

    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()> {
        let call = self.call(
            Op::Delete,
            key,
            deadline,
            self.shared.objects.delete(key, deadline),
        );
        let kept = ["expired/", "rejected/"]
            .iter()
            .any(|folder| key.starts_with(folder));
        let object = if kept {
            self.shared.objects.peek(key)
        } else {
            None
        };
        lock(&self.shared.unkept).extend(object);
        call
    }

    fn address(&self) -> &str {
        "simulation"
    }
}

/// A process's handle of a receiver, which checks that only the holder of the lease posts.
pub(crate) struct WatchedRemote {
    pub(crate) remote: RemoteHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) process: Arc<Process>,
}

impl WatchedRemote {
    pub(crate) fn new(
        receiver: &Arc<Receiver>,
        shared: &Arc<Shared>,
        process: &Arc<Process>,
    ) -> Self {
        Self {
            remote: RemoteHandle(Arc::clone(receiver)),
            shared: Arc::clone(shared),
            process: Arc::clone(process),
        }
    }
}

impl Remote for WatchedRemote {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        self.process.panic_in_time();
        self.shared.watch(&self.process, "post");
        self.remote.post(request)
    }

    fn address(&self) -> &str {
        self.remote.address()
    }
}

/// Traits of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    pub(crate) faults: f64,
    /// Spans of true time in which the store does not answer.
    pub(crate) outages: Vec<(i64, i64)>,
    pub(crate) off_ms: i64,
}

/// Draws the fault of each call.
pub(crate) fn faults(
    world: Arc<SimWorld>,
    traits: Traits,
    counter: Arc<AtomicU64>,
    mut rng: Rng,
) -> impl FnMut(Op, &str, usize) -> StoreFault + Send + 'static {
    move |op, key, _| {
        if let Some(refusal) = refusal(op, key) {
            return refusal;
        }
        let mut fault = StoreFault {
            delay: Duration::from_millis(rng.u64(0..30)),
            ..StoreFault::default()
        };
        let now_ms = world.now_ms();
        let kind = if traits
            .outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now_ms))
        {
            rng.u32(0..2)
        } else if rng.f64() < traits.faults {
            rng.u32(0..9)
        } else {
            return fault;
        };
        let refused = [
            (FailureKind::Unreachable, Event::StoreUnreachable),
            (FailureKind::NoAnswer, Event::StoreNoAnswer),
            (FailureKind::Busy, Event::StoreBusy),
            (FailureKind::Denied, Event::StoreDenied),
            (FailureKind::Full, Event::StoreFull),
        ];
        let event = match kind {
            5 => {
                fault.delay = Duration::from_millis(rng.u64(100..20_000));
                Event::StoreSlow
            }
            6 => {
                fault.answer_delay = Duration::from_millis(rng.u64(100..20_000));
                Event::StoreAnswerLate
            }
            7 | 8 => {
                fault.answer_lost = true;
                match op {
                    Op::PutIfAbsent => Event::StorePutAnswerLost,
                    Op::PutIfMatch => Event::StoreStateAnswerLost,
                    Op::Delete => Event::StoreDeleteAnswerLost,
                    Op::Get | Op::List => Event::StoreAnswerLost,
                }
            }
            at => {
                // A caller that may write may also read.
                let at = if matches!(op, Op::Get | Op::List) {
                    at.min(2)
                } else {
                    at
                };
                let (kind, event) = refused[at as usize];
                fault.refuse = Some(kind);
                event
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        world.hit(event);
        world.tell(|| format!("store: fault {event:?} for {op:?}"));
        fault
    }
}
