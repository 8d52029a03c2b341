//! A forwarder between a scripted home and scripted remotes, for tests of single ticks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::config::Config;
use amp_forwarder::home::{Home, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::{NetError, Peer, Phase};
use amp_forwarder::prompb::messages::TimeSeries;
use amp_forwarder::report::Report;
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote};
use amp_forwarder::spool::store::Store;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::{Dependencies, Forwarder, Plan};
use amp_forwarder::time::{Clock, TokioClock};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep};

use crate::receiver::decoded;
use crate::world::lock;

/// On a full minute.
pub(crate) const START_MS: i64 = 1_795_176_000_000;

/// Answer of a scripted home or remote.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The home answers with this exposition.
    Text(String),
    /// The home sends this exposition, and then nothing more until the request times out.
    Stalls(String),
    /// The peer answers with this status.
    Status(u16),
    /// The remote answers with this status and text.
    Says(u16, &'static str),
    /// The remote answers with this status if a sample has this name, and takes everything else.
    Unless(u16, &'static str),
    /// The remote takes at most so many samples at once.
    Burst(usize),
    /// The peer waits, and then gives this reply.
    After(Duration, Box<Reply>),
    /// The peer does not answer until the request times out.
    Silence,
}

/// Decides a reply. A home's script gets the URL and the time; a remote's script gets the number of
/// the request, from 1, and the number of its samples.
type Script<A> = Box<dyn Fn(A) -> Reply + Send + Sync>;

/// A scrape or a request as the peer received it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at_ms: i64,
    pub(crate) url: String,
    /// Name and timestamp of each sample.
    pub(crate) samples: Vec<(String, i64)>,
    /// `instance` and value of each sample of `up`.
    pub(crate) up: Vec<(String, f64)>,
    /// Requests in flight, this one included.
    pub(crate) together: usize,
}

/// Everything that one peer received.
#[derive(Default)]
pub(crate) struct Log {
    seen: Mutex<Vec<Seen>>,
    open: Mutex<usize>,
}

impl Log {
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.seen))
    }
}

struct ScriptedHome {
    clock: TokioClock,
    script: Script<(String, i64)>,
    log: Arc<Log>,
}

struct Whole(Option<Bytes>);

impl ResponseBody for Whole {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async { Ok(self.0.take()) })
    }
}

/// A body that stops in the middle.
struct Stalling(Option<Bytes>);

impl ResponseBody for Stalling {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async {
            match self.0.take() {
                Some(bytes) => Ok(Some(bytes)),
                None => std::future::pending().await,
            }
        })
    }
}

impl Home for ScriptedHome {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        Box::pin(async move {
            let at_ms = self.clock.now_ms();
            let url = request.url.to_string();
            lock(&self.log.seen).push(Seen {
                at_ms,
                url: url.clone(),
                samples: vec![],
                up: vec![],
                together: 1,
            });
            let mut reply = (self.script)((url, at_ms));
            if let Reply::After(wait, then) = reply {
                sleep(wait.min(request.timeout)).await;
                reply = *then;
            }
            let headers = HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4"),
            )]);
            match reply {
                Reply::Text(text) => Ok(HomeResponse {
                    status: 200,
                    headers,
                    body: Box::new(Whole(Some(text.into()))),
                }),
                Reply::Stalls(text) => Ok(HomeResponse {
                    status: 200,
                    headers,
                    body: Box::new(Stalling(Some(text.into()))),
                }),
                Reply::Status(status) => Ok(HomeResponse {
                    status,
                    headers,
                    body: Box::new(Whole(None)),
                }),
                _ => {
                    sleep(request.timeout).await;
                    Err(NetError::timed_out(Phase::Http, Peer::Home, request.url))
                }
            }
        })
    }
}

struct ScriptedRemote {
    name: String,
    clock: TokioClock,
    script: Script<(usize, usize)>,
    log: Arc<Log>,
    posts: Mutex<usize>,
}

struct Leaving<'a>(&'a Log);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        *lock(&self.0.open) -= 1;
    }
}

impl Remote for ScriptedRemote {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        Box::pin(async move {
            let decoded = decoded(&request.body.to_bytes()).expect("a request");
            let sample = |series: &TimeSeries| {
                let name = series
                    .labels
                    .iter()
                    .find(|label| label.name == "__name__")
                    .map(|label| label.value.clone());
                (name.unwrap_or_default(), series.samples[0].timestamp)
            };
            let samples: Vec<_> = decoded.timeseries.iter().map(sample).collect();
            let label = |series: &TimeSeries, name: &str| {
                let found = series.labels.iter().find(|label| label.name == name);
                found.map(|label| label.value.clone()).unwrap_or_default()
            };
            let reports = decoded.timeseries.iter();
            let up = reports
                .filter(|series| label(series, "__name__") == "up")
                .map(|series| (label(series, "instance"), series.samples[0].value))
                .collect();
            let together = {
                let mut open = lock(&self.log.open);
                *open += 1;
                *open
            };
            let leaving = Leaving(&self.log);
            let nth = {
                let mut posts = lock(&self.posts);
                *posts += 1;
                *posts
            };
            let mut reply = (self.script)((nth, samples.len()));
            let count = samples.len();
            let names: Vec<_> = samples.iter().map(|(name, _)| name.clone()).collect();
            lock(&self.log.seen).push(Seen {
                at_ms: self.clock.now_ms(),
                url: String::new(),
                samples,
                up,
                together,
            });
            if let Reply::After(wait, then) = reply {
                sleep(wait.min(request.timeout)).await;
                reply = *then;
            }
            reply = match reply {
                Reply::Unless(status, name) if names.iter().any(|known| known == name) => {
                    Reply::Status(status)
                }
                Reply::Burst(most) if count > most => {
                    Reply::Says(429, "ingestion rate limit (9) exceeded")
                }
                Reply::Unless(..) | Reply::Burst(_) => Reply::Status(200),
                reply => reply,
            };
            let (status, text) = match reply {
                Reply::Status(status) => (status, ""),
                Reply::Says(status, text) => (status, text),
                _ => (0, ""),
            };
            if status == 0 {
                sleep(request.timeout).await;
                return Err(PostError::Net(NetError {
                    timed_out: true,
                    ..NetError::new(Phase::Http, Peer::Remote, self.name.clone(), "timed out")
                }));
            }
            drop(leaving);
            Ok(PostAnswer {
                status,
                headers: HeaderMap::new(),
                body: text.to_owned(),
            })
        })
    }

    fn address(&self) -> &str {
        &self.name
    }
}

/// A forwarder between a scripted home and scripted remotes.
pub(crate) struct Bench {
    pub(crate) forwarder: Forwarder,
    pub(crate) home: Arc<Log>,
    pub(crate) remotes: Vec<Arc<Log>>,
    clock: TokioClock,
}

/// Configuration with these jobs and this number of remotes, which share a `queue_config`.
pub(crate) fn yaml(jobs: &str, remotes: usize, queue: &str) -> String {
    let list: String = (0..remotes)
        .map(|n| {
            format!(
                "  - {{name: r{n}, url: 'https://r{n}/api/v1/remote_write', \
             remote_timeout: 5s, queue_config: {{{queue}}}}}\n"
            )
        })
        .collect();
    format!("scrape_configs:\n{jobs}remote_write:\n{list}forwarder: {{deadline_margin: 2s}}\n")
}

/// Configuration of a job with one target.
pub(crate) fn job(name: &str, interval_s: u64) -> String {
    format!(
        "  - {{job_name: {name}, scrape_interval: {interval_s}s, scrape_timeout: 2s, \
         static_configs: [{{targets: ['{name}:9090']}}]}}\n"
    )
}

/// Exposition of `count` series, all with the timestamp `at_ms`.
pub(crate) fn series(count: usize, at_ms: i64) -> Reply {
    Reply::Text((0..count).map(|n| format!("m{n} {n} {at_ms}\n")).collect())
}

impl Bench {
    pub(crate) fn new(
        yaml: &str,
        home: impl Fn((String, i64)) -> Reply + Send + Sync + 'static,
        remotes: Vec<Script<(usize, usize)>>,
        memory_limit: u64,
    ) -> Self {
        Self::with_store(yaml, home, remotes, memory_limit, None)
    }

    /// As `new`, with a spool in `store` if there is one.
    pub(crate) fn with_store(
        yaml: &str,
        home: impl Fn((String, i64)) -> Reply + Send + Sync + 'static,
        remotes: Vec<Script<(usize, usize)>>,
        memory_limit: u64,
        store: Option<MemoryStore>,
    ) -> Self {
        let clock = TokioClock::starting_at(START_MS);
        let config = Config::load(yaml, &|_| None, "test")
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        let home_log = Arc::new(Log::default());
        let logs: Vec<_> = remotes.iter().map(|_| Arc::new(Log::default())).collect();
        let remotes = remotes
            .into_iter()
            .zip(&logs)
            .enumerate()
            .map(|(n, (script, log))| {
                let remote = ScriptedRemote {
                    name: format!("https://r{n}"),
                    clock,
                    script,
                    log: Arc::clone(log),
                    posts: Mutex::new(0),
                };
                Box::new(remote) as Box<dyn Remote>
            });
        let dependencies = Dependencies {
            remotes: remotes.collect(),
            home: Box::new(ScriptedHome {
                clock,
                script: Box::new(home),
                log: Arc::clone(&home_log),
            }),
            clock: Arc::new(clock),
            rng: fastrand::Rng::with_seed(7),
            store: store.map(|store| Arc::new(store) as Arc<dyn Store>),
        };
        let forwarder = Forwarder::new(config, dependencies, memory_limit).expect("valid targets");
        Self {
            forwarder,
            home: home_log,
            remotes: logs,
            clock,
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Waits until this time after the start.
    pub(crate) async fn at(&self, after: Duration) {
        let wait = START_MS + after.as_millis() as i64 - self.now_ms();
        sleep(Duration::from_millis(
            u64::try_from(wait).expect("not in the past"),
        ))
        .await;
    }

    /// Runs a tick with a deadline, and asserts that it ends in time and that its ledgers balance.
    pub(crate) async fn tick(&mut self, seconds: u64, plan: Plan) -> Report {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let report = self
            .forwarder
            .tick(&Plan {
                deadline: Some(deadline),
                ..plan
            })
            .await;
        assert!(Instant::now() <= deadline);
        assert!(
            report.ledger.balances()
                && report.remotes.iter().all(|remote| remote.ledger.balances()),
            "{report:?}"
        );
        report
    }
}
