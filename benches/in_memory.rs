//! A whole tick without network or disk: the home is a body in memory, the remote takes everything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use amp_forwarder::config::Config;
use amp_forwarder::home::{Home, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::NetError;
use amp_forwarder::report::Report;
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote};
use amp_forwarder::tick::{Dependencies, Forwarder, Plan};
use amp_forwarder::time::Clock;
use amp_forwarder_support::bench::body::Shape;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};

const CONFIG: &str = "
global: {external_labels: {cluster: bench}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    static_configs: [{targets: ['home:9090']}]
remote_write:
  - url: http://remote/write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
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

impl Home for BodyHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        let body = self
            .body
            .lock()
            .map(|body| body.clone())
            .unwrap_or_default();
        let chunks = (0..body.len())
            .step_by(CHUNK)
            .map(|at| body.slice(at..body.len().min(at + CHUNK)))
            .collect();
        let headers = self.headers.clone();
        Box::pin(async move {
            Ok(HomeResponse {
                status: 200,
                headers,
                body: Box::new(Chunks(chunks)),
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
        let config = Config::load(CONFIG, &|_| None, "bench.yml")?.config;
        let body = Arc::new(Mutex::new(Bytes::new()));
        let clock = Arc::new(SetClock::default());
        let home = BodyHome {
            body: Arc::clone(&body),
            headers: headers(shape),
        };
        let dependencies = Dependencies {
            home: Box::new(home),
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
