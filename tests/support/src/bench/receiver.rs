//! A receiver that answers at once and counts what it got after the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::gateway::wire;
use crate::http::{self as server, Hangup, Server};

const LARGEST_BODY: usize = 64 << 20;

/// Totals of a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceivedTotals {
    /// Number of requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Number of samples in them.
    pub samples: u64,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    bytes: AtomicU64,
    samples: AtomicU64,
    uncounted: AtomicU64,
    /// The time of each answer. A scrape of a million series has a thousand of them.
    answered: Mutex<Vec<Instant>>,
}

impl State {
    fn received(&self) -> ReceivedTotals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReceivedTotals {
            requests: read(&self.requests),
            bytes: read(&self.bytes),
            samples: read(&self.samples),
        }
    }
}

/// A receiver that listens.
pub struct Receiver {
    server: Server,
    state: Arc<State>,
}

impl Receiver {
    /// Starts a receiver on a free port.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start() -> Result<Self> {
        Self::start_counting(true).await
    }

    /// Starts a receiver for a flood: samples are not counted, because counting takes as long as
    /// sending them.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start_without_counting() -> Result<Self> {
        Self::start_counting(false).await
    }

    async fn start_counting(counts: bool) -> Result<Self> {
        let state = Arc::new(State::default());
        let (sender, mut bodies) = mpsc::unbounded_channel::<Bytes>();
        let counting = state.clone();
        std::thread::spawn(move || {
            while let Some(body) = bodies.blocking_recv() {
                counting
                    .samples
                    .fetch_add(samples(&body), Ordering::Relaxed);
                counting.uncounted.fetch_sub(1, Ordering::Relaxed);
            }
        });
        let shared = state.clone();
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), move |request, _| {
            let (state, sender) = (shared.clone(), sender.clone());
            async move {
                let body = server::read_body(request.into_body(), LARGEST_BODY)
                    .await
                    .ok_or(Hangup)?;
                state.requests.fetch_add(1, Ordering::Relaxed);
                state.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                if counts {
                    state.uncounted.fetch_add(1, Ordering::Relaxed);
                    let _ = sender.send(body);
                }
                if let Ok(mut answered) = state.answered.lock() {
                    answered.push(Instant::now());
                }
                Ok(server::respond(204, ""))
            }
        });
        Ok(Self {
            server: server.await?,
            state,
        })
    }

    /// Remote-write URL of the receiver.
    pub fn url(&self) -> String {
        format!("{}/api/v1/write", self.server.url())
    }

    /// Waits until everything that came is counted, and returns the totals.
    pub async fn received(&self) -> ReceivedTotals {
        while self.state.uncounted.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.state.received()
    }

    /// Returns a function that reads the totals that are counted so far, without waiting.
    pub fn counted(&self) -> impl Fn() -> ReceivedTotals + Send + Sync + 'static {
        let state = self.state.clone();
        move || state.received()
    }

    /// Time from the first answer to the last one.
    pub fn answering_time(&self) -> Option<Duration> {
        let answered = self.state.answered.lock().ok()?;
        Some(*answered.last()? - *answered.first()?)
    }

    /// Time of the last answer before `before`.
    pub fn last_answer(&self, before: Instant) -> Option<Instant> {
        let answered = self.state.answered.lock().ok()?;
        answered.iter().rev().find(|at| **at < before).copied()
    }
}

/// Counts the samples of a `WriteRequest`. A body that is none has no samples.
fn samples(body: &[u8]) -> u64 {
    wire::decompress(body, LARGEST_BODY)
        .and_then(|request| wire::count(&request))
        .map_or(0, |counts| counts.samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::wire::{Sample, TimeSeries, WriteRequest};

    #[test]
    fn samples_are_counted_and_damage_has_none() {
        let entry = TimeSeries {
            samples: vec![Sample::default(); 2],
            ..Default::default()
        };
        let request = WriteRequest {
            timeseries: vec![entry.clone(), TimeSeries::default(), entry],
            ..Default::default()
        };
        assert_eq!(samples(&wire::compress(&request)), 4);
        assert_eq!(samples(b"\xff\xff no snappy"), 0);
    }
}
