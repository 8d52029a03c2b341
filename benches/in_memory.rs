//! A whole tick without network or disk: the home is a body in memory, the remote takes everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use amp_forwarder::config::Config;
use amp_forwarder::home::{Home, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::NetError;
use amp_forwarder::report::Report;
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote};
use amp_forwarder::tick::{Dependencies, Forwarder, Plan};
use amp_forwarder::time::SystemClock;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};

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

/// The forwarder, and the body that its next scrape gets.
pub(crate) struct InMemory {
    forwarder: Forwarder,
    body: Arc<Mutex<Bytes>>,
}

struct BodyHome(Arc<Mutex<Bytes>>);

struct Chunks(VecDeque<Bytes>);

impl ResponseBody for Chunks {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async { Ok(self.0.pop_front()) })
    }
}

impl Home for BodyHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        let body = self.0.lock().map(|body| body.clone()).unwrap_or_default();
        let chunks = (0..body.len())
            .step_by(CHUNK)
            .map(|at| body.slice(at..body.len().min(at + CHUNK)))
            .collect();
        let headers = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4"),
        )]);
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

impl InMemory {
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config::load(CONFIG, &|_| None, "bench.yml")?.config;
        let body = Arc::new(Mutex::new(Bytes::new()));
        let world = Dependencies {
            home: Box::new(BodyHome(Arc::clone(&body))),
            remotes: vec![Box::new(Taker)],
            clock: Arc::new(SystemClock),
            rng: fastrand::Rng::with_seed(7),
            store: None,
        };
        Ok(Self {
            forwarder: Forwarder::new(config, world, 1 << 30)?,
            body,
        })
    }

    /// One scrape of this body, sent.
    pub(crate) async fn tick(&mut self, body: Bytes) -> Report {
        if let Ok(mut next) = self.body.lock() {
            *next = body;
        }
        self.forwarder
            .tick(&Plan {
                once: true,
                ..Plan::default()
            })
            .await
    }
}
