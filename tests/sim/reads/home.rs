//! The simulated home as the forwarder asks it: remote read and `/federate`, with faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use amp_forwarder::home::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::{NetError, Peer, Phase, redacted};
use amp_forwarder::prompb::remote_read::{LabelMatcher, ReadRequest};
use amp_forwarder::selector::{Matcher, Selector};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use url::Url;

use super::answer::{compressed, exposition, request};
use super::tsdb::Tsdb;
use crate::events::Event;
use crate::world::{SimWorld, lock};

/// A fault of an answer. Those from `SampleLimit` on are faults of remote read only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nothing listens.
    Refused,
    /// The request arrives, and no answer comes.
    Silent,
    /// 503, as while the WAL is replayed.
    Restarting,
    BadGateway,
    GatewayTimeout,
    /// The connection breaks within the body.
    Cut,
    /// The body stops, and the connection stays open.
    Stalls,
    /// A login page: 200, HTML.
    LoginPage,
    /// 400, more samples than `--storage.remote.read-sample-limit`.
    SampleLimit,
    /// The first byte comes after up to 30 s.
    SlowFirstByte,
    /// There is no `Date`.
    NoDate,
    /// The body ends early, and looks like a whole one.
    Truncated,
    /// The body is not what was compressed.
    Damaged,
    /// The last result is missing.
    ResultMissing,
}

impl Fault {
    /// The event that a read with this fault counts as.
    pub(crate) fn event(self) -> Event {
        match self {
            Self::Refused => Event::ReadRefused,
            Self::Silent => Event::ReadSilent,
            Self::Restarting => Event::ReadRestarting,
            Self::BadGateway => Event::ReadBadGateway,
            Self::GatewayTimeout => Event::ReadGatewayTimeout,
            Self::Cut => Event::ReadCut,
            Self::Stalls => Event::ReadStalls,
            // As a home that has no remote read.
            Self::LoginPage => Event::ReadFailed,
            Self::SampleLimit => Event::ReadSampleLimit,
            Self::SlowFirstByte => Event::ReadSlowFirstByte,
            Self::NoDate => Event::ReadNoDate,
            Self::Truncated => Event::ReadTruncated,
            Self::Damaged => Event::ReadDamaged,
            Self::ResultMissing => Event::ReadResultMissing,
        }
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault::Refused,
    Fault::Silent,
    Fault::Restarting,
    Fault::BadGateway,
    Fault::GatewayTimeout,
    Fault::Cut,
    Fault::Stalls,
    Fault::LoginPage,
    Fault::SampleLimit,
    Fault::SlowFirstByte,
    Fault::NoDate,
    Fault::Truncated,
    Fault::Damaged,
    Fault::ResultMissing,
];

/// The page of the API that shows the home's configuration.
const CONFIG_PAGE: &str = "/api/v1/status/config";

/// The query API.
const QUERY_PAGE: &str = "/api/v1/query";

/// Traits of the home's answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    /// Probability that a remote read meets one of `kinds`.
    pub(crate) read_faults: f64,
    /// Probability that a scrape of `/federate` does.
    pub(crate) federate_faults: f64,
    pub(crate) kinds: Vec<Fault>,
    /// Spans of true time in which every request meets this fault.
    pub(crate) outages: Vec<(i64, i64, Fault)>,
    /// Samples in an answer above which it is 400, until all faults end; 0 for no limit.
    pub(crate) sample_limit: usize,
    /// Status of all remote reads, of a home that has none.
    pub(crate) no_remote_read: Option<u16>,
    /// Milliseconds that a proxy's `Date` is ahead of the home's clock.
    pub(crate) date_off_ms: i64,
    /// The configuration that the home shows of itself, if it does.
    pub(crate) config: Option<&'static str>,
    /// Planted bug: ranges are taken without their end.
    pub(crate) leaves_out_the_end: bool,
}

/// A remote read as the home got it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadRecord {
    /// True time of the request.
    pub(crate) at_ms: i64,
    /// Range of its first query.
    pub(crate) range: (i64, i64),
    pub(crate) fault: Option<Fault>,
    /// Remote reads in flight, this one included.
    pub(crate) together: usize,
}

struct State {
    rng: Rng,
    reads: Vec<ReadRecord>,
    /// True times of the scrapes of `/federate`.
    scrapes: Vec<i64>,
    open_reads: usize,
}

/// A home with a database.
pub(crate) struct ReadHome {
    pub(crate) world: Arc<SimWorld>,
    pub(crate) tsdb: Tsdb,
    pub(crate) traits: Traits,
    state: Mutex<State>,
}

impl ReadHome {
    pub(crate) fn new(world: Arc<SimWorld>, tsdb: Tsdb, traits: Traits, rng: Rng) -> Arc<Self> {
        Arc::new(Self {
            world,
            tsdb,
            traits,
            state: Mutex::new(State {
                rng,
                reads: Vec::new(),
                scrapes: Vec::new(),
                open_reads: 0,
            }),
        })
    }

    /// Takes the remote reads since the last call.
    pub(crate) fn take_reads(&self) -> Vec<ReadRecord> {
        std::mem::take(&mut lock(&self.state).reads)
    }

    /// Takes the true times of the scrapes since the last call.
    pub(crate) fn take_scrapes(&self) -> Vec<i64> {
        std::mem::take(&mut lock(&self.state).scrapes)
    }

    /// The home's time now.
    pub(crate) fn now_ms(&self) -> i64 {
        self.tsdb.clock.at(self.world.now_ms())
    }

    fn draw_fault(&self, is_read: bool) -> Option<Fault> {
        if self.world.is_healed() {
            return None;
        }
        let now_ms = self.world.now_ms();
        let mut state = lock(&self.state);
        let rng = &mut state.rng;
        let outage = self
            .traits
            .outages
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&now_ms))
            .map(|(_, _, fault)| *fault);
        let probability = if is_read {
            self.traits.read_faults
        } else {
            self.traits.federate_faults
        };
        let faulty = rng.f64() < probability && !self.traits.kinds.is_empty();
        outage
            .or_else(|| faulty.then(|| self.traits.kinds[rng.usize(0..self.traits.kinds.len())]))
            .filter(|fault| is_read || *fault < Fault::SampleLimit)
    }

    /// Builds the answer to a remote read from snapshots of this moment.
    fn answer(&self, read: &ReadRequest, fault: Option<Fault>, rng: &mut Rng) -> (u16, Vec<u8>) {
        let mut read = read.clone();
        if self.traits.leaves_out_the_end {
            read.queries
                .iter_mut()
                .for_each(|query| query.end_timestamp_ms -= 1);
        }
        let mut response = self.tsdb.read(&read, self.world.now_ms(), rng);
        let samples: usize = response
            .results
            .iter()
            .flat_map(|result| &result.timeseries)
            .map(|series| series.samples.len() + series.histograms.len())
            .sum();
        let limit = if self.world.is_healed() {
            0
        } else {
            self.traits.sample_limit
        };
        if fault == Some(Fault::SampleLimit) || (limit > 0 && samples > limit) {
            return (400, b"exceeded sample limit (50000000)\n".to_vec());
        }
        if fault == Some(Fault::ResultMissing) {
            response.results.pop();
        }
        let mut body = compressed(&response);
        match fault {
            Some(Fault::Truncated) => body.truncate(rng.usize(0..body.len())),
            Some(Fault::Damaged) => {
                let at = rng.usize(0..body.len());
                body.truncate(at);
                body.push(0xff);
            }
            _ => {}
        }
        (200, body)
    }

    fn headers(&self, content_type: &'static str, date: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if date {
            let date_ms = self.now_ms() + self.traits.date_off_ms;
            let date = UNIX_EPOCH + Duration::from_millis(date_ms as u64);
            let date = httpdate::fmt_http_date(date);
            headers.insert(header::DATE, HeaderValue::from_str(&date).expect("a date"));
        }
        headers
    }

    /// A page of the API, where the home shows it.
    fn page(&self, path: &str) -> Option<serde_json::Value> {
        match path {
            CONFIG_PAGE => {
                let yaml = self.traits.config?;
                Some(serde_json::json!({"data": {"yaml": yaml}}))
            }
            QUERY_PAGE => {
                // The query time().
                let seconds = self.now_ms() as f64 / 1000.0;
                Some(serde_json::json!({"data": {"result": [seconds, seconds.to_string()]}}))
            }
            _ => None,
        }
    }

    fn net(&self, url: &Url, phase: Phase, cause: &str) -> NetError {
        NetError::new(phase, Peer::Home, redacted(url), cause)
    }
}

/// Selectors of a scrape's `match[]`.
fn selectors(url: &Url) -> Vec<Vec<LabelMatcher>> {
    url.query_pairs()
        .filter(|(name, _)| name == "match[]")
        .map(|(_, text)| {
            let selector = Selector::parse(&text).expect("a selector");
            selector.matchers.iter().map(Matcher::to_message).collect()
        })
        .collect()
}

/// A remote read in flight.
struct OpenRead<'a>(&'a ReadHome);

impl Drop for OpenRead<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).open_reads -= 1;
    }
}

/// The forwarder's handle of the home.
pub(crate) struct ReadHomeHandle(pub(crate) Arc<ReadHome>);

impl ReadHomeHandle {
    async fn head(
        &self,
        request: &HomeRequest<'_>,
        until: Instant,
        fault: Option<Fault>,
    ) -> Result<(), NetError> {
        let home = &self.0;
        let timed_out = |phase| NetError::timed_out(phase, Peer::Home, request.url);
        let latency = Duration::from_millis(lock(&home.state).rng.u64(0..50));
        if timeout_at(until, sleep(latency)).await.is_err() {
            return Err(timed_out(Phase::Connect));
        }
        match fault {
            Some(Fault::Refused) => {
                Err(home.net(request.url, Phase::Connect, "connection refused"))
            }
            Some(Fault::Silent) => {
                sleep_until(until).await;
                Err(timed_out(Phase::Http))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the first byte, which comes after the answer was built.
    async fn build(
        &self,
        request: &HomeRequest<'_>,
        until: Instant,
        longest_ms: u64,
    ) -> Result<(), NetError> {
        let time = Duration::from_millis(lock(&self.0.state).rng.u64(0..longest_ms));
        timeout_at(until, sleep(time))
            .await
            .map_err(|_| NetError::timed_out(Phase::Http, Peer::Home, request.url))
    }

    async fn read(&self, request: HomeRequest<'_>, body: &[u8]) -> Result<HomeResponse, NetError> {
        let home = &self.0;
        let until = Instant::now() + request.timeout;
        let mut fault = home.draw_fault(true);
        let asked_ms = home.world.now_ms();
        let read = self::request(body).expect("a request");
        let query = read.queries.first().expect("a query");
        let together = {
            let mut state = lock(&home.state);
            state.open_reads += 1;
            let record = ReadRecord {
                at_ms: asked_ms,
                range: (query.start_timestamp_ms, query.end_timestamp_ms),
                fault,
                together: state.open_reads,
            };
            state.reads.push(record);
            record.together
        };
        let open = OpenRead(home);
        home.world.tell(|| {
            let now_ms = home.now_ms();
            format!(
                "home: read of {} to {} before now, {together} at once: {fault:?}",
                now_ms - query.start_timestamp_ms,
                now_ms - query.end_timestamp_ms
            )
        });
        self.head(&request, until, fault).await?;
        let mut rng = lock(&home.state).rng.fork();
        let (mut status, mut content_type) = (200, "application/x-protobuf");
        let mut body = Vec::new();
        match (home.traits.no_remote_read, fault) {
            (Some(none), _) => status = none,
            (_, Some(Fault::Restarting)) => (status, body) = (503, b"Service Unavailable".to_vec()),
            (_, Some(Fault::BadGateway)) => status = 502,
            (_, Some(Fault::GatewayTimeout)) => status = 504,
            (_, Some(Fault::LoginPage)) => body = b"<html>log in</html>".to_vec(),
            _ => (status, body) = home.answer(&read, fault, &mut rng),
        }
        if status == 400 && fault == Some(Fault::Stalls) {
            // It has built no answer, and says so at once.
            fault = Some(Fault::SampleLimit);
            let mut state = lock(&home.state);
            let records = state.reads.iter_mut().rev();
            let mut mine = records.filter(|record| record.at_ms == asked_ms);
            if let Some(record) = mine.next() {
                record.fault = fault;
            }
        }
        if status != 200 || fault == Some(Fault::LoginPage) {
            content_type = "text/html; charset=utf-8";
        }
        let longest_ms = if fault == Some(Fault::SlowFirstByte) {
            30_000
        } else {
            400
        };
        self.build(&request, until, longest_ms).await?;
        let headers = home.headers(content_type, fault != Some(Fault::NoDate));
        drop(open);
        Ok(HomeResponse {
            status,
            headers,
            body: Box::new(self.body(body, fault, request.url, until, true)),
        })
    }

    async fn federate(&self, request: HomeRequest<'_>) -> Result<HomeResponse, NetError> {
        let home = &self.0;
        let until = Instant::now() + request.timeout;
        let fault = home.draw_fault(false);
        lock(&home.state).scrapes.push(home.world.now_ms());
        home.world.tell(|| format!("home: scrape: {fault:?}"));
        self.head(&request, until, fault).await?;
        let (mut status, mut content_type) = (200, "text/plain; version=0.0.4; charset=utf-8");
        let mut body = Vec::new();
        match fault {
            Some(Fault::Restarting) => status = 503,
            Some(Fault::BadGateway) => status = 502,
            Some(Fault::GatewayTimeout) => status = 504,
            Some(Fault::LoginPage) => {
                (content_type, body) = ("text/html", b"<html>log in</html>".to_vec());
            }
            _ => {
                let shown = home
                    .tsdb
                    .federated(&selectors(request.url), home.world.now_ms());
                body = exposition(&shown).into_bytes();
            }
        }
        self.build(&request, until, 300).await?;
        Ok(HomeResponse {
            status,
            headers: home.headers(content_type, true),
            body: Box::new(self.body(body, fault, request.url, until, false)),
        })
    }

    fn body(
        &self,
        mut bytes: Vec<u8>,
        fault: Option<Fault>,
        url: &Url,
        until: Instant,
        is_read: bool,
    ) -> SimBody {
        let mut rng = lock(&self.0.state).rng.fork();
        if matches!(fault, Some(Fault::Cut | Fault::Stalls)) {
            bytes.truncate(rng.usize(0..=bytes.len()));
        }
        let mut cuts: Vec<usize> = (0..rng.usize(0..4))
            .map(|_| rng.usize(0..=bytes.len()))
            .collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let bytes = Bytes::from(bytes);
        let chunks = cuts
            .windows(2)
            .map(|pair| bytes.slice(pair[0]..pair[1]))
            .collect();
        if is_read {
            lock(&self.0.state).open_reads += 1;
        }
        SimBody {
            home: Arc::clone(&self.0),
            url: url.clone(),
            until,
            fault,
            chunks,
            is_read,
        }
    }
}

impl Home for ReadHomeHandle {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        Box::pin(async move {
            match request.method.clone() {
                HomeMethod::Post { body, .. } if request.url.path().ends_with("/api/v1/read") => {
                    self.read(request, &body).await
                }
                HomeMethod::Get { .. } if request.url.path().ends_with("/federate") => {
                    self.federate(request).await
                }
                _ => {
                    // At once and without a draw, so that the rest of a run does not depend on it.
                    let page = self.0.page(request.url.path());
                    let bytes = page.map(|page| page.to_string().into_bytes());
                    Ok(HomeResponse {
                        status: if bytes.is_some() { 200 } else { 404 },
                        headers: self.0.headers("application/json", true),
                        body: Box::new(PageBody(bytes.map(Bytes::from))),
                    })
                }
            }
        })
    }
}

/// A page, in one piece.
struct PageBody(Option<Bytes>);

impl ResponseBody for PageBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(std::future::ready(Ok(self.0.take())))
    }
}

struct SimBody {
    home: Arc<ReadHome>,
    url: Url,
    until: Instant,
    fault: Option<Fault>,
    chunks: VecDeque<Bytes>,
    is_read: bool,
}

impl ResponseBody for SimBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async move {
            let timed_out = |url| NetError::timed_out(Phase::Body, Peer::Home, url);
            let Some(chunk) = self.chunks.pop_front() else {
                return match self.fault {
                    Some(Fault::Cut) => {
                        Err(self.home.net(&self.url, Phase::Body, "connection reset"))
                    }
                    Some(Fault::Stalls) => {
                        sleep_until(self.until).await;
                        Err(timed_out(&self.url))
                    }
                    _ => Ok(None),
                };
            };
            let pause = Duration::from_millis(lock(&self.home.state).rng.u64(0..20));
            if timeout_at(self.until, sleep(pause)).await.is_err() {
                return Err(timed_out(&self.url));
            }
            Ok(Some(chunk))
        })
    }
}

impl Drop for SimBody {
    fn drop(&mut self) {
        if self.is_read {
            lock(&self.home.state).open_reads -= 1;
        }
    }
}
