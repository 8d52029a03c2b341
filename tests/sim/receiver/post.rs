//! The way of one request through a receiver, up to its answer, an error or its end without either.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::net::aws::AwsError;
use amp_forwarder::net::{NetError, Peer, Phase};
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote, SignError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep};

use super::{Fault, PostSpan, Receiver};
use crate::events::Event;
use crate::world::lock;

impl Receiver {
    pub(crate) async fn post(
        self: Arc<Self>,
        request: PostRequest<'_>,
    ) -> Result<PostAnswer, PostError> {
        let (id, samples, raw) = self.arrive(&request);
        let mut guard = Guard {
            receiver: &self,
            id,
            from: Instant::now(),
            stored: false,
            over: false,
            is_final: false,
        };
        let (fault, [before, after]) = self.draw(raw, samples.len());
        self.world.tell(|| {
            format!(
                "{}: request {id} of {} samples, try {}: {fault:?}",
                self.name,
                samples.len(),
                request.attempt
            )
        });
        let net = |cause: &str, timed_out, stale_connection| NetError {
            timed_out,
            stale_connection,
            ..NetError::new(Phase::Http, Peer::Remote, self.name.clone(), cause)
        };
        if fault == Some(Fault::Stale) && !request.fresh_connection {
            guard.over = true;
            return Err(PostError::Net(net("connection reset", false, true)));
        }
        let (before, after) = match fault {
            Some(Fault::Slow) => (request.timeout.mul_f64(0.4), request.timeout.mul_f64(0.4)),
            _ => (
                before.min(request.timeout / 4),
                after.min(request.timeout / 4),
            ),
        };
        sleep(before).await;
        let mut headers = HeaderMap::new();
        let mut body = String::new();
        let status = match fault {
            Some(Fault::Unavailable) => 503,
            Some(Fault::RetryAfterSeconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
                503
            }
            Some(Fault::RetryAfterDate) => {
                let at = std::time::UNIX_EPOCH
                    + Duration::from_millis(self.world.now_ms() as u64 + 4_000);
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from_str(&httpdate::fmt_http_date(at))
                        .expect("a date is a header value"),
                );
                429
            }
            Some(Fault::Throttled) => 429,
            Some(Fault::SeriesLimit) => {
                body = "per-user series limit of 10 exceeded".to_owned();
                429
            }
            Some(Fault::Denied) => 403,
            Some(Fault::NotFound) => 404,
            Some(Fault::OtherReplica) => 202,
            Some(Fault::NoCredentials) => {
                guard.over = true;
                lock(&self.state).is_clear(&samples);
                return Err(PostError::Sign(SignError::Credentials(
                    AwsError::NoCredentials("none".to_owned()),
                )));
            }
            Some(Fault::NoSts) => {
                guard.over = true;
                lock(&self.state).is_clear(&samples);
                return Err(PostError::Sign(SignError::TimedOut(request.timeout)));
            }
            Some(Fault::TimedOut | Fault::TimedOutStored | Fault::Reset | Fault::ResetStored) => {
                if matches!(fault, Some(Fault::TimedOutStored | Fault::ResetStored)) {
                    self.store(&samples);
                    guard.stored = true;
                }
                let timed_out = matches!(fault, Some(Fault::TimedOut | Fault::TimedOutStored));
                sleep(if timed_out {
                    request.timeout.saturating_sub(before)
                } else {
                    after
                })
                .await;
                guard.over = true;
                return Err(PostError::Net(net(
                    if timed_out {
                        "timed out"
                    } else {
                        "connection reset"
                    },
                    timed_out,
                    false,
                )));
            }
            _ if raw > self.traits.max_raw => 413,
            _ => {
                guard.stored = true;
                let (status, text) = self.store(&samples);
                text.clone_into(&mut body);
                status
            }
        };
        sleep(after).await;
        guard.over = true;
        guard.is_final = status < 500 && !matches!(status, 413 | 429);
        drop(guard);
        self.answered(status, &samples, &body);
        self.world
            .tell(|| format!("{}: request {id} answered {status}", self.name));
        Ok(PostAnswer {
            status,
            headers,
            body,
        })
    }
}

/// A request in flight.
struct Guard<'a> {
    receiver: &'a Receiver,
    id: u64,
    from: Instant,
    stored: bool,
    over: bool,
    is_final: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.receiver.state);
            state.in_flight.remove(&self.id);
            state.posts.push(PostSpan {
                from: self.from,
                to: Instant::now(),
                is_final: self.is_final,
            });
        }
        if !self.over {
            self.receiver.world.hit(if self.stored {
                Event::DroppedInFlightStored
            } else {
                Event::DroppedInFlight
            });
        }
    }
}

/// The forwarder's handle of a receiver.
pub(crate) struct RemoteHandle(pub(crate) Arc<Receiver>);

impl Remote for RemoteHandle {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        match self.0.bug {
            Some(bug) if bug.is_on_the_way() => bug.post(&self.0, request),
            _ => Box::pin(Arc::clone(&self.0).post(request)),
        }
    }

    fn address(&self) -> &str {
        &self.0.name
    }
}
