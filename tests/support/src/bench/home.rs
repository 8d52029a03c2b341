//! A home of N series that prepares its next body in advance, while the measured programs wait for
//! the next scrape.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::watch;

use super::body::{Shape, SyntheticBody};
use super::receiver::ReceivedTotals;
use crate::http::{self as server, Hangup, Server, ServerRequest};
use crate::now_ms;

/// The start of a scrape.
#[derive(Debug, Clone, Copy)]
pub struct ScrapeStart {
    /// Time of the request.
    pub asked: Instant,
    /// The counters of the probe at that moment, if a probe is set.
    pub reading: Option<Reading>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// CPU time of the measured process.
    pub cpu: Duration,
    /// Totals of the receiver, which are what the process has sent.
    pub received: ReceivedTotals,
}

type Probe = Box<dyn Fn() -> Option<Reading> + Send + Sync>;

struct State {
    body: Mutex<SyntheticBody>,
    /// The prepared body; `None` while it is being made, so that no body is served twice.
    next: tokio::sync::Mutex<Option<Bytes>>,
    scrapes: watch::Sender<Vec<ScrapeStart>>,
    probe: Mutex<Option<Probe>>,
    /// Time from an answer to the work on the next body.
    rest: Duration,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A home that listens.
pub struct SyntheticHome {
    server: Server,
    state: Arc<State>,
    shape: Shape,
    /// Size of the exposition.
    pub body_size: BodySize,
}

/// Size of an exposition in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySize {
    /// Bytes before compression.
    pub plain: usize,
    /// Bytes on the wire.
    pub served: usize,
}

impl SyntheticHome {
    /// Starts the home. It makes the next body half an interval after the last request.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(shape: Shape, interval: Duration) -> Result<Self> {
        let body = tokio::task::spawn_blocking(move || SyntheticBody::new(shape, now_ms())).await?;
        let first = body.encoded();
        let body_size = BodySize {
            plain: body.plain_len(),
            served: first.len(),
        };
        let state = Arc::new(State {
            body: Mutex::new(body),
            next: tokio::sync::Mutex::new(Some(first)),
            scrapes: watch::channel(Vec::new()).0,
            probe: Mutex::default(),
            rest: interval / 2,
        });
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| {
            answer(shared.clone(), shape, request)
        })
        .await?;
        Ok(Self {
            server,
            state,
            shape,
            body_size,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// The series of the home and their form.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Calls this probe at the start of each scrape from now on.
    pub fn probes(&self, probe: impl Fn() -> Option<Reading> + Send + Sync + 'static) {
        *lock(&self.state.probe) = Some(Box::new(probe));
    }

    /// Waits until the home was scraped this often, and returns the start of each scrape.
    ///
    /// # Errors
    /// Fails when that takes longer than `limit`.
    pub async fn scraped(&self, times: usize, limit: Duration) -> Result<Vec<ScrapeStart>> {
        let mut scrapes = self.state.scrapes.subscribe();
        let seen =
            tokio::time::timeout(limit, scrapes.wait_for(|scrapes| scrapes.len() >= times)).await;
        match seen {
            Ok(Ok(scrapes)) => Ok(scrapes.clone()),
            _ => anyhow::bail!(
                "{} scrapes in place of {times} within {limit:?}",
                self.state.scrapes.borrow().len()
            ),
        }
    }

    /// Forgets the scrapes so far.
    pub fn reset(&self) {
        self.state.scrapes.send_modify(Vec::clear);
    }
}

/// Makes the body with fresh samples.
async fn made(state: &Arc<State>) -> Option<Bytes> {
    let state = state.clone();
    let working = tokio::task::spawn_blocking(move || {
        let mut body = lock(&state.body);
        body.freshen(now_ms());
        body.encoded()
    });
    working.await.ok()
}

async fn answer(state: Arc<State>, shape: Shape, request: ServerRequest) -> server::HandlerResult {
    let asked = Instant::now();
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if (shape.gzip && !header("accept-encoding").contains("gzip"))
        || (shape.protobuf && !header("accept").contains("vnd.google.protobuf"))
    {
        return Ok(server::respond(406, "this home serves one form only"));
    }
    // The probe is read at once: a task that waits for the scrape may run late and would count
    // more.
    let reading = lock(&state.probe).as_ref().and_then(|probe| probe());
    state
        .scrapes
        .send_modify(|scrapes| scrapes.push(ScrapeStart { asked, reading }));
    let mut next = state.next.lock().await;
    // A first scrape and its first slot may be close to each other.
    let body = match next.take() {
        Some(body) => body,
        None => made(&state).await.ok_or(Hangup)?,
    };
    drop(next);
    let later = state.clone();
    tokio::spawn(async move {
        tokio::time::sleep(later.rest).await;
        let mut next = later.next.lock().await;
        if next.is_none() {
            *next = made(&later).await;
        }
    });
    let media = if shape.protobuf {
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
         encoding=delimited; escaping=allow-utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
    };
    let mut response = http::Response::builder().header("content-type", media);
    if shape.gzip {
        response = response.header("content-encoding", "gzip");
    }
    response.body(server::full(body)).map_err(|_| Hangup)
}
