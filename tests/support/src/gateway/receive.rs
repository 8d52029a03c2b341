//! One remote-write request from its head to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;

use super::faults::{FaultAction, RequestFacts};
use super::journal::{ArrivalCounts, JournalEntry};
use super::refusal::{Reason, Refusal};
use super::tenant::{Outcome, PostedSample};
use super::wire::{self, RequestCounts, WriteRequest};
use super::{GatewayState, admin, ha, labels, lock, query, request, sigv4};
use crate::http::{self as server, Connection, HandlerResult, Hangup, ServerRequest};
use crate::now_ms;

/// Largest body that is read, whatever the limit that is answered with 413.
const LARGEST_BODY: usize = 64 << 20;

/// Answers one request.
pub(super) async fn receive(
    shared: Arc<GatewayState>,
    request: ServerRequest,
    connection: Arc<Connection>,
) -> HandlerResult {
    if request.uri().path().starts_with("/admin/") {
        return Ok(admin::answer(&shared, request).await);
    }
    if request.uri().path() == query::path(&shared.options.workspace) {
        return query::answer(&shared, request).await;
    }
    // The visit is written to the journal when it is dropped, so that a request whose client gives
    // up is in it as well.
    let mut visit = Visit::new(&shared, &request, &connection);
    let (parts, body) = request.into_parts();
    let body = server::read_body(body, LARGEST_BODY).await.ok_or(Hangup)?;
    visit.entry.body_bytes = body.len();
    let outcome = if shared.options.count_only {
        visit.count(&parts, &body)
    } else {
        visit.process(&parts, &body, &connection).await
    };
    visit.answer(outcome, &connection)
}

/// The kind of answer that a request gets.
enum Reply {
    Written,
    Refused(Refusal),
    Fault(FaultAction),
}

struct Visit<'a> {
    shared: &'a GatewayState,
    entry: JournalEntry,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        lock(&self.shared.tenant).leave(&self.entry.samples);
        self.shared
            .journal()
            .record(std::mem::take(&mut self.entry));
    }
}

impl<'a> Visit<'a> {
    fn new(shared: &'a GatewayState, request: &ServerRequest, connection: &Connection) -> Self {
        let ArrivalCounts { number, in_flight } = shared.journal().arrive();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let entry = JournalEntry {
            number,
            connection: connection.id,
            arrived: shared.started.elapsed(),
            arrived_ms: now_ms(),
            headers,
            in_flight,
            ..JournalEntry::default()
        };
        Self { shared, entry }
    }

    fn check_form(&mut self, parts: &Parts, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let options = &self.shared.options;
        request::check_route(parts, options)?;
        if !options.keys.is_empty() {
            sigv4::verify(parts, body, options, SystemTime::now())?;
        }
        request::check_headers(parts)?;
        let decoded = request::decompress(body, options.limits.request_bytes)?;
        self.entry.decoded_bytes = decoded.len();
        Ok(decoded)
    }

    /// Checks the form of a request and counts its content, for `count_only`.
    fn count(&mut self, parts: &Parts, body: &[u8]) -> Reply {
        let counted = self.check_form(parts, body).and_then(|decoded| {
            wire::count(&decoded)
                .map_err(|error| Refusal::text(400, Reason::Malformed, format!("proto: {error}")))
        });
        match counted {
            Ok(RequestCounts { entries, samples }) => {
                self.entry.entries = usize::try_from(entries).unwrap_or(usize::MAX);
                self.entry.sample_count = usize::try_from(samples).unwrap_or(usize::MAX);
                let facts = RequestFacts {
                    metrics: &[],
                    samples,
                    reused_connection: false,
                };
                self.shared
                    .faults
                    .strike(facts)
                    .map_or(Reply::Written, Reply::Fault)
            }
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    async fn process(&mut self, parts: &Parts, body: &[u8], connection: &Connection) -> Reply {
        let decoded = self
            .check_form(parts, body)
            .and_then(|decoded| request::decode(&decoded));
        let write = match decoded {
            Ok(write) => write,
            Err(refusal) => return Reply::Refused(refusal),
        };
        let arrival = lock(&self.shared.tenant).arrive(&write);
        self.entry.entries = write.timeseries.len();
        self.entry.sample_count = arrival.samples.len();
        self.entry.samples = arrival.samples;
        self.entry.breaches = arrival.breaches;
        self.entry.metadata.clone_from(&write.metadata);
        if ha::is_mixed(&write) {
            self.shared.journal().stats.mixed_replicas += 1;
        }
        let fault = self.strike(&write, connection);
        self.entry.fault.clone_from(&fault);
        match fault {
            None => {}
            Some(FaultAction::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(FaultAction::Hang) => return std::future::pending().await,
            Some(
                action @ (FaultAction::Respond { .. } | FaultAction::Reset | FaultAction::Drop),
            ) => {
                return Reply::Fault(action);
            }
            Some(FaultAction::StoreAndHang) => {
                let _ = self.store(write).await;
                return std::future::pending().await;
            }
            Some(action) => {
                return match self.store(write).await {
                    Ok(()) => Reply::Fault(action),
                    Err(refusal) => Reply::Refused(refusal),
                };
            }
        }
        match self.store(write).await {
            Ok(()) => Reply::Written,
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn strike(&self, write: &WriteRequest, connection: &Connection) -> Option<FaultAction> {
        if self.shared.faults.active() == 0 {
            return None;
        }
        let mut metrics: Vec<&str> = write
            .timeseries
            .iter()
            .filter_map(|entry| labels::metric_name(&entry.labels))
            .collect();
        metrics.dedup();
        let samples = self.entry.sample_count as u64;
        self.shared.faults.strike(RequestFacts {
            metrics: &metrics,
            samples,
            reused_connection: connection.requests() > 1,
        })
    }

    /// Judges, forwards and commits a request. A refusal of status 400 or 429 for a series means
    /// that the rest was stored.
    async fn store(&mut self, mut write: WriteRequest) -> Result<(), Refusal> {
        let limits = &self.shared.options.limits;
        let now = now_ms();
        self.check_rates(&write)?;
        labels::validate_metadata(&write.metadata, limits)?;
        lock(&self.shared.tracker).check(&mut write, limits, now)?;
        let mut judgement = lock(&self.shared.tenant).judge(write, limits, now);
        if let Some(upstream) = &self.shared.upstream {
            upstream.forward(&judgement.accepted).await?;
        }
        lock(&self.shared.tenant).commit(&judgement);
        set_outcomes(&mut self.entry.samples, &judgement.outcomes);
        judgement.first_error.take().map_or(Ok(()), Err)
    }

    /// Takes the request from both rate limits. Either of them refuses the whole request before
    /// anything is stored (cortex pkg/distributor/distributor.go).
    fn check_rates(&self, write: &WriteRequest) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut rates = lock(&self.shared.rates);
        if let Some(requests) = &mut rates.requests
            && !requests.take(1.0, now)
        {
            return Err(Refusal::json(429, Reason::RequestRate, "Rate exceeded"));
        }
        if let Some(samples) = &mut rates.samples
            && !samples.take((self.entry.sample_count + write.metadata.len()) as f64, now)
        {
            let body = format!(
                "ingestion rate limit ({}) exceeded while adding {} samples and {} metadata",
                samples.per_second(),
                self.entry.sample_count,
                write.metadata.len()
            );
            return Err(Refusal::text(429, Reason::RateLimit, body));
        }
        Ok(())
    }

    fn answer(&mut self, reply: Reply, connection: &Connection) -> HandlerResult {
        let (status, answer) = match reply {
            Reply::Written => (Some(200), Ok(server::respond(200, ""))),
            Reply::Refused(refusal) => {
                self.entry.reason = Some(refusal.reason);
                (Some(refusal.status), Ok(refused(refusal)))
            }
            Reply::Fault(action) => {
                self.entry.fault = Some(action.clone());
                faulty(action, connection)
            }
        };
        self.entry.status = status;
        self.entry.answered = status.map(|_| self.shared.started.elapsed());
        answer
    }
}

fn set_outcomes(samples: &mut [PostedSample], outcomes: &[Outcome]) {
    for (sample, outcome) in samples.iter_mut().zip(outcomes) {
        sample.outcome = *outcome;
    }
}

fn refused(refusal: Refusal) -> http::Response<server::ServerBody> {
    let json = refusal.body.starts_with('{');
    let mut response = server::respond(refusal.status, refusal.body);
    let content_type = if json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static(content_type));
    response
}

/// Answers after a fault has done its work.
fn faulty(action: FaultAction, connection: &Connection) -> (Option<u16>, HandlerResult) {
    match action {
        FaultAction::Respond {
            status,
            body,
            headers,
        } => {
            let mut response = server::respond(status, body);
            for (name, value) in &headers {
                if let (Ok(name), Ok(value)) = (
                    name.parse::<http::HeaderName>(),
                    value.parse::<http::HeaderValue>(),
                ) {
                    response.headers_mut().insert(name, value);
                }
            }
            (Some(status), Ok(response))
        }
        FaultAction::StoreAndCut => {
            let mut response = http::Response::new(server::cut("cut"));
            response
                .headers_mut()
                .insert("content-length", http::HeaderValue::from_static("100"));
            (None, Ok(response))
        }
        FaultAction::Reset | FaultAction::StoreAndReset => {
            connection.reset_on_close();
            (None, Err(Hangup))
        }
        FaultAction::StoreAndClose | FaultAction::StoreAndHang | FaultAction::Hang => {
            (None, Err(Hangup))
        }
        FaultAction::Drop | FaultAction::Delay { .. } => (Some(200), Ok(server::respond(200, ""))),
    }
}
