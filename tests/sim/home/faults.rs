//! Faults of the home's answers, and how the answers are delivered.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::home::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::{NetError, Peer, Phase, redacted};
use amp_forwarder::time::Clock as _;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::HomeModel;
use super::noted::Open;
use crate::events::Event;
use crate::world::{SimClock, lock};

/// A fault of the home or of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Refused,
    Silent,
    Hangs,
    Status,
    Slow,
    Stalls,
    Cut,
    Truncated,
    Malformed,
    LabelTwice,
    WrongType,
    Empty,
}

const FAULTS: &[(Fault, Event)] = &[
    (Fault::Refused, Event::HomeRefused),
    (Fault::Silent, Event::HomeSilent),
    (Fault::Hangs, Event::HomeHangs),
    (Fault::Status, Event::HomeStatus),
    (Fault::Slow, Event::HomeSlow),
    (Fault::Stalls, Event::HomeStalls),
    (Fault::Cut, Event::HomeCut),
    (Fault::Truncated, Event::HomeTruncated),
    (Fault::Malformed, Event::HomeMalformed),
    (Fault::LabelTwice, Event::HomeLabelTwice),
    (Fault::WrongType, Event::HomeWrongType),
    (Fault::Empty, Event::HomeEmpty),
];

const MALFORMED: &[&str] = &[
    "foo{ 3\n",
    "foo one\n",
    "foo 1 2 3\n",
    "foo 1e400\n",
    "foo{a=\"b\" 1\n",
    "{a=\"1\"} 1\n",
    "foo 1 -5\n",
    "# TYPE foo unknown\n",
];

impl HomeModel {
    fn draw_fault(&self, rng: &mut Rng, now_ms: i64) -> Fault {
        let minute = now_ms / 60_000;
        if self
            .traits
            .away
            .iter()
            .any(|(from, to)| (*from..*to).contains(&minute))
        {
            return [Fault::Refused, Fault::Silent][rng.usize(0..2)];
        }
        if rng.f64() >= self.traits.faults {
            return Fault::None;
        }
        FAULTS[rng.usize(0..FAULTS.len())].0
    }

    fn error(&self, url: &Url, phase: Phase, cause: &str) -> NetError {
        NetError::new(phase, Peer::Home, redacted(url), cause)
    }
}

/// The forwarder's handle of the home.
pub(crate) struct HomeHandle(pub(crate) Arc<HomeModel>);

impl Home for HomeHandle {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        Box::pin(async move {
            let home = &self.0;
            let until = Instant::now() + request.timeout;
            let at = home.place(request.url);
            let start_ms = SimClock(Arc::clone(&home.world)).now_ms();
            let fault = home.draw_fault(&mut lock(&home.state).rng, home.world.now_ms());
            if let Some((_, event)) = FAULTS.iter().find(|(known, _)| *known == fault) {
                home.world.hit(*event);
            }
            let mut open = Open {
                home: Arc::clone(home),
                target: at,
                start_ms,
                fault,
                lines: Vec::new(),
                read: 0,
                exact: true,
                at_end: false,
                must_fail: false,
                over_body_limit: false,
                over_sample_limit: false,
                faultless: matches!(
                    fault,
                    Fault::None | Fault::Slow | Fault::Truncated | Fault::Empty
                ) && request.timeout >= Duration::from_secs(1),
            };
            let latency = Duration::from_millis(lock(&home.state).rng.u64(0..50));
            let timed_out = |phase| NetError::timed_out(phase, Peer::Home, request.url);
            if timeout_at(until, sleep(latency)).await.is_err() {
                return Err(timed_out(Phase::Connect));
            }
            match fault {
                Fault::Refused => {
                    return Err(home.error(request.url, Phase::Connect, "connection refused"));
                }
                Fault::Silent => {
                    tokio::time::sleep_until(until).await;
                    return Err(timed_out(Phase::Http));
                }
                Fault::Hangs => std::future::pending().await,
                _ => {}
            }
            let mut rng = lock(&home.state).rng.fork();
            let mut headers = HeaderMap::new();
            let status = if fault == Fault::Status {
                [204, 400, 404, 500, 503][rng.usize(0..5)]
            } else {
                200
            };
            let content_type = if fault == Fault::WrongType {
                "text/html"
            } else {
                "text/plain; version=0.0.4; charset=utf-8"
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));

            let (lines, mut texts) = home.exposition(at, start_ms);
            open.lines = lines;
            // The fault comes after this number of samples.
            let mut good = open.lines.len();
            match fault {
                Fault::Malformed | Fault::LabelTwice => {
                    good = rng.usize(0..=good);
                    let wrong = if fault == Fault::Malformed {
                        MALFORMED[rng.usize(0..MALFORMED.len())]
                    } else {
                        "foo{a=\"1\",a=\"2\"} 1\n"
                    };
                    texts.insert(good, wrong.to_owned());
                    // Labels are checked when the sample is stored, and no sample beyond the limit
                    // is stored (scrape/target.go limitAppender).
                    open.over_sample_limit = fault == Fault::LabelTwice
                        && home.targets[at].is_over_limit(&open.lines[..good], 1);
                    open.must_fail = !open.over_sample_limit;
                    open.exact = !open.over_sample_limit;
                }
                Fault::Truncated => {
                    good = rng.usize(0..=good);
                    texts.truncate(good);
                    open.lines.truncate(good);
                }
                Fault::Empty => {
                    texts.clear();
                    open.lines.clear();
                    good = 0;
                }
                // The words of a refusal are read, and no sample of them.
                Fault::Status => good = 0,
                Fault::WrongType => {
                    good = 0;
                    open.must_fail = !texts.is_empty();
                    open.faultless = !open.must_fail;
                }
                _ => {}
            }
            let ends: Vec<usize> = texts
                .iter()
                .scan(0, |end, text| {
                    *end += text.len();
                    Some(*end)
                })
                .collect();
            let plain = texts.concat().into_bytes();
            let body_limit = home.targets[at].body_limit;
            let gzip = matches!(
                request.method,
                HomeMethod::Get {
                    compression: true,
                    ..
                }
            ) && rng.bool();
            let mut bytes = plain.clone();
            if gzip {
                home.world.hit(Event::HomeGzip);
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&plain).expect("a Vec takes it");
                bytes = encoder.finish().expect("a Vec takes it");
                open.exact = false;
                open.over_body_limit = body_limit > 0 && plain.len() as u64 >= body_limit;
            }
            if matches!(fault, Fault::Cut | Fault::Stalls) {
                // This holds even after the last byte, because the connection reports the error.
                bytes.truncate(rng.usize(0..=bytes.len()));
            }
            let pieces = if rng.bool() { 1 } else { rng.usize(1..=12) };
            if pieces > 1 {
                home.world.hit(Event::HomeOddChunks);
            }
            let mut cuts: Vec<usize> = (1..pieces).map(|_| rng.usize(0..=bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let bytes = Bytes::from(bytes);
            let chunks: Vec<Bytes> = cuts
                .windows(2)
                .map(|pair| bytes.slice(pair[0]..pair[1]))
                .collect();
            let pause = match fault {
                Fault::Slow => request.timeout.mul_f64(0.3 + 0.5 * rng.f64()) / chunks.len() as u32,
                _ => Duration::from_millis(rng.u64(0..5)),
            };
            let url = request.url.clone();
            let body = SimBody {
                open,
                url,
                until,
                fault,
                chunks: chunks.into(),
                pause,
                given: 0,
                ends,
                good,
                gzip,
                body_limit,
                hides_cuts: home.hides_cuts,
            };
            Ok(HomeResponse {
                status,
                headers,
                body: Box::new(body),
            })
        })
    }
}

struct SimBody {
    open: Open,
    url: Url,
    until: Instant,
    fault: Fault,
    chunks: std::collections::VecDeque<Bytes>,
    pause: Duration,
    given: usize,
    /// End of each line in the plain body.
    ends: Vec<usize>,
    good: usize,
    gzip: bool,
    body_limit: u64,
    hides_cuts: bool,
}

impl ResponseBody for SimBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async move {
            let timed_out = |url| NetError::timed_out(Phase::Body, Peer::Home, url);
            let Some(chunk) = self.chunks.pop_front() else {
                return match self.fault {
                    Fault::Cut if self.hides_cuts => Ok(None),
                    Fault::Cut => {
                        Err(self
                            .open
                            .home
                            .error(&self.url, Phase::Body, "connection reset"))
                    }
                    Fault::Stalls => {
                        tokio::time::sleep_until(self.until).await;
                        Err(timed_out(&self.url))
                    }
                    _ => {
                        self.open.at_end = self.fault != Fault::Status;
                        self.open.read = self.good;
                        Ok(None)
                    }
                };
            };
            if timeout_at(self.until, sleep(self.pause)).await.is_err() {
                return Err(timed_out(&self.url));
            }
            self.given += chunk.len();
            if !self.gzip {
                // A body that reaches the limit is already too large, and its last chunk is
                // ignored.
                if self.body_limit > 0 && self.given as u64 >= self.body_limit && !chunk.is_empty()
                {
                    self.open.over_body_limit = true;
                } else if !self.open.over_body_limit {
                    self.open.read = self
                        .ends
                        .iter()
                        .take(self.good)
                        .filter(|end| **end <= self.given)
                        .count();
                }
            }
            Ok(Some(chunk))
        })
    }
}
