//! A whole tick without network or disk: the home is a body or a database in memory, the remote
//! takes everything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use amp_forwarder::config::Config;
use amp_forwarder::home::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::NetError;
use amp_forwarder::report::Report;
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote};
use amp_forwarder::tick::{Dependencies, Forwarder, Plan};
use amp_forwarder::time::Clock;
use amp_forwarder_support::bench::body::Shape;
use amp_forwarder_support::bench::tsdb::Database;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};

const CONFIG: &str = "
global: {external_labels: {cluster: bench}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job=~\".+\"}']}
    static_configs: [{targets: ['home:9090']}]
remote_write:
  - url: http://remote/write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
";

/// What a home with a database needs beyond [`CONFIG`].
const READS: &str = "
forwarder: {remote_read: {mode: always}}
";

/// Bytes that the connection gives at once.
const CHUNK: usize = 256 * 1024;

/// The forwarder, the body that its next scrape gets, and the time.
pub(crate) struct InMemory {
    forwarder: Forwarder,
    body: Arc<Mutex<Bytes>>,
    clock: Arc<SetClock>,
}

/// Shows the time that was set last, so that every run does the same.
#[derive(Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct BodyHome {
    body: Arc<Mutex<Bytes>>,
    headers: HeaderMap,
}

struct Chunks(VecDeque<Bytes>);

impl ResponseBody for Chunks {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async { Ok(self.0.pop_front()) })
    }
}

/// The pieces in which a connection gives a body.
fn chunks(body: &Bytes) -> Chunks {
    let starts = (0..body.len()).step_by(CHUNK);
    Chunks(
        starts
            .map(|at| body.slice(at..body.len().min(at + CHUNK)))
            .collect(),
    )
}

impl Home for BodyHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        let body = self.body.lock();
        let chunks = chunks(&body.map(|body| body.clone()).unwrap_or_default());
        let headers = self.headers.clone();
        Box::pin(async move {
            Ok(HomeResponse {
                status: 200,
                headers,
                body: Box::new(chunks),
            })
        })
    }
}

/// A home that answers remote reads only.
struct DatabaseHome {
    database: Arc<Database>,
    clock: Arc<SetClock>,
    /// The last request and its answer.
    last: Arc<Mutex<(Bytes, Bytes)>>,
}

impl DatabaseHome {
    /// The answer to a request; that of the last one is at hand.
    fn answer(&self, request: &Bytes) -> Option<Bytes> {
        let mut last = self.last.lock().ok()?;
        if last.0 != request {
            let now_ms = self.clock.now_ms();
            *last = (request.clone(), self.database.answer(request, now_ms).ok()?);
        }
        Some(last.1.clone())
    }
}

impl Home for DatabaseHome {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        let answer = match &request.method {
            HomeMethod::Post { body, .. } => self.answer(body),
            HomeMethod::Get { .. } => None,
        };
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now_ms().unsigned_abs());
        let headers = [
            (header::CONTENT_TYPE, "application/x-protobuf"),
            (header::CONTENT_ENCODING, "snappy"),
            (header::DATE, &httpdate::fmt_http_date(now)),
        ];
        let headers: HeaderMap = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?)))
            .collect();
        Box::pin(async move {
            Ok(HomeResponse {
                status: if answer.is_some() { 200 } else { 404 },
                headers,
                body: Box::new(chunks(&answer.unwrap_or_default())),
            })
        })
    }
}

struct Taker;

impl Remote for Taker {
    fn post<'a>(&'a self, _: PostRequest<'a>) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        Box::pin(async {
            Ok(PostAnswer {
                status: 204,
                headers: HeaderMap::new(),
                body: String::new(),
            })
        })
    }

    fn address(&self) -> &str {
        "http://remote/write"
    }
}

/// The headers of an answer of this form.
fn headers(shape: Shape) -> HeaderMap {
    let media = if shape.protobuf {
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
         encoding=delimited"
    } else {
        "text/plain; version=0.0.4"
    };
    let coding = shape
        .gzip
        .then_some((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    [(header::CONTENT_TYPE, HeaderValue::from_static(media))]
        .into_iter()
        .chain(coding)
        .collect()
}

impl InMemory {
    /// A cold forwarder, whose home serves bodies of this form.
    pub(crate) fn new(shape: Shape) -> Result<Self, Box<dyn std::error::Error>> {
        let body = Arc::new(Mutex::new(Bytes::new()));
        let home = BodyHome {
            body: Arc::clone(&body),
            headers: headers(shape),
        };
        Self::with(CONFIG, Box::new(home), body, Arc::default())
    }

    /// Two cold forwarders that read the database of the same home, which has a sample of each
    /// series every quarter of a minute. What the first one asks for the second one finds ready, so
    /// that its tick costs nothing that is the home's.
    #[allow(dead_code, reason = "two programs use different parts")]
    pub(crate) fn reading(series: usize) -> Result<[Self; 2], Box<dyn std::error::Error>> {
        let (clock, last) = (Arc::<SetClock>::default(), Arc::default());
        let database = Arc::new(Database::new(series, Duration::from_secs(15)));
        let config = [CONFIG, READS].concat();
        let new = || {
            let home = DatabaseHome {
                database: Arc::clone(&database),
                clock: Arc::clone(&clock),
                last: Arc::clone(&last),
            };
            Self::with(&config, Box::new(home), Arc::default(), Arc::clone(&clock))
        };
        Ok([new()?, new()?])
    }

    fn with(
        config: &str,
        home: Box<dyn Home>,
        body: Arc<Mutex<Bytes>>,
        clock: Arc<SetClock>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config::load(config, &|_| None, "bench.yml")?.config;
        let dependencies = Dependencies {
            home,
            remotes: vec![Box::new(Taker)],
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            rng: fastrand::Rng::with_seed(7),
            store: None,
        };
        Ok(Self {
            forwarder: Forwarder::new(config, dependencies, 1 << 30)?,
            body,
            clock,
        })
    }

    /// One scrape of this body, sent, at this time: milliseconds since 1970.
    pub(crate) async fn tick(&mut self, body: Bytes, at_ms: i64) -> Report {
        if let Ok(mut next) = self.body.lock() {
            *next = body;
        }
        self.clock.0.store(at_ms, Ordering::Relaxed);
        self.forwarder
            .tick(&Plan {
                once: true,
                ..Plan::default()
            })
            .await
    }
}
