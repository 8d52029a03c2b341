//! The spool in S3: moto over HTTP, behind a proxy that counts requests and can be switched off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::http::{self as server, Client, HandlerResult, Hangup, Server};
use amp_forwarder_support::process::Moto;
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::{Value, json};

use crate::common::{
    AMPLE, RunningFunction, SPOOL, TestConfig, assert_balanced, assert_has, assert_in_order,
    exposition, gateway, scripted,
};

const FORWARD: &str = include_str!("../../events/forward.json");
const DRAIN: &str = include_str!("../../events/drain.json");

/// Largest request body of these tests.
const LARGEST: usize = 16 << 20;

type Log = Arc<Mutex<Vec<String>>>;

/// A proxy in front of moto that can be switched off and on.
struct S3Proxy {
    server: Mutex<Option<Server>>,
    address: SocketAddr,
    moto: String,
    asked: Log,
}

impl S3Proxy {
    async fn to(moto: &Moto) -> Self {
        let asked = Log::default();
        let server = listen(SocketAddr::from(([127, 0, 0, 1], 0)), moto.url(), &asked).await;
        Self {
            address: server.address(),
            server: Mutex::new(Some(server)),
            moto: moto.url(),
            asked,
        }
    }

    fn env(&self) -> [(&'static str, String); 1] {
        [("AWS_ENDPOINT_URL_S3", format!("http://{}", self.address))]
    }

    /// Closes the socket and every connection.
    fn away(&self) {
        self.server.lock().unwrap().take();
    }

    async fn back(&self) {
        let server = listen(self.address, self.moto.clone(), &self.asked).await;
        *self.server.lock().unwrap() = Some(server);
    }

    /// Method and path of each request since the last call, without the query that the SDK adds.
    fn take(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked
            .into_iter()
            .map(|asked| asked.split('?').next().unwrap_or_default().to_owned())
            .collect()
    }

    fn segments(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap().clone();
        asked
            .iter()
            .filter_map(|asked| Some(asked.strip_prefix("PUT ")?.split('?').next()?.to_owned()))
            .filter(|path| path.contains("/segments/"))
            .collect()
    }
}

async fn listen(address: SocketAddr, moto: String, asked: &Log) -> Server {
    let (log, client) = (Arc::clone(asked), Client::default());
    let server = Server::start(address, move |request, _| {
        log.lock()
            .unwrap()
            .push(format!("{} {}", request.method(), request.uri()));
        pass(request, moto.clone(), client.clone())
    });
    server.await.unwrap()
}

async fn pass(request: server::ServerRequest, upstream: String, client: Client) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let body = server::read_body(body, LARGEST).await.ok_or(Hangup)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = http::Request::builder()
        .method(parts.method)
        .uri(format!("{upstream}{path}"));
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| !["host", "expect", "content-length"].contains(&name.as_str()))
    {
        onward = onward.header(name, value);
    }
    let answer = client
        .send(onward.body(body.into()).map_err(|_| Hangup)?)
        .await
        .map_err(|_| Hangup)?;
    let (head, body) = answer.into_parts();
    let mut answer = http::Response::new(server::full(body));
    *answer.status_mut() = head.status;
    for (name, value) in head.headers.iter().filter(|(name, _)| {
        !["transfer-encoding", "connection", "content-length"].contains(&name.as_str())
    }) {
        answer.headers_mut().append(name, value.clone());
    }
    Ok(answer)
}

/// Both ends, S3, and the proxy in front of it.
struct SpoolSite {
    gateway: Gateway,
    home: ScriptedHome,
    moto: Moto,
    proxy: S3Proxy,
}

const STATE: &str = "/spool/home/state.json";

/// 250 samples of the home and five of the forwarder's own.
const SAMPLES: u64 = 255;

impl SpoolSite {
    async fn new(samples: usize) -> Self {
        let moto = Moto::start(&[]).await.unwrap();
        moto.create_bucket("spool").await.unwrap();
        let proxy = S3Proxy::to(&moto).await;
        Self {
            gateway: gateway().await,
            home: scripted(samples).await,
            moto,
            proxy,
        }
    }

    fn config(&self) -> TestConfig {
        TestConfig::new(&self.home.address(), &self.gateway)
    }

    /// Starts a function whose spool is in S3.
    async fn start(&self, config: &TestConfig) -> RunningFunction {
        self.start_by(&self.proxy, config).await
    }

    async fn start_by(&self, proxy: &S3Proxy, config: &TestConfig) -> RunningFunction {
        let yaml = config
            .yaml()
            .replace(&format!("file://{SPOOL}"), "s3://spool/home");
        let env = proxy.env();
        RunningFunction::start_with(
            &yaml,
            &env.each_ref().map(|(name, value)| (*name, value.as_str())),
        )
        .await
    }
}

fn errors(report: &Value) -> String {
    report["errors"].to_string()
}

/// With 130 samples and a capacity of 100, the 30 that exceed it leave for S3 at once, where the
/// spool of a Lambda function is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_exceeds_the_capacity_is_in_s3_at_once() {
    let site = SpoolSite::new(125).await;
    site.gateway.faults().add(Fault::always(FaultAction::Hang));
    let config = TestConfig {
        queue: "capacity: 100, max_samples_per_send: 50, max_shards: 1",
        ..site.config()
    };
    let running = site.start(&config).await;
    let looking = async {
        wait_for("the first segment", AMPLE, || async {
            !site.proxy.segments().is_empty()
        })
        .await
        .unwrap();
        let object = site.proxy.segments()[0].trim_start_matches('/').to_owned();
        wait_for("it can be read", AMPLE, || async {
            site.moto
                .get(&object)
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await
        .unwrap();
        let segment = site.moto.get(&object).await.unwrap();
        amp_forwarder::spool::segment::peek(segment.body())
            .unwrap()
            .iter()
            .map(|entry| entry.samples)
            .collect::<Vec<_>>()
    };
    let (report, spooled) = tokio::join!(running.tick(FORWARD, Duration::from_secs(6)), looking);
    assert_eq!(spooled, [30]);
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"ledger": {"scraped": 130, "owed_after": 130}}),
    );
    assert_has(&report, &json!({"spool": {"samples": 130, "segments": 2}}));

    site.gateway.faults().clear();
    let report = running.tick(DRAIN, AMPLE).await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"owed_before": 130, "written": 130}}),
    );
    let stats = site.gateway.stats();
    assert_eq!(stats.stored, 130, "{stats:?}");
    assert_eq!(stats.repeated, 0, "{stats:?}");
    assert_eq!(stats.out_of_order, 0, "{stats:?}");
    assert_eq!(stats.max_in_flight, 1, "{stats:?}");
    let state = site.moto.get(STATE.trim_start_matches('/')).await.unwrap();
    let state: Value = serde_json::from_slice(state.body()).unwrap();
    assert!(
        state["lease"].is_null()
            && state["remotes"]
                .as_object()
                .unwrap()
                .values()
                .all(|remote| remote["segments"] == 0),
        "{state}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_tick_makes_two_requests_and_a_cold_one_three() {
    let site = SpoolSite::new(250).await;
    let (get, list, put) = (
        format!("GET {STATE}"),
        "GET /spool/".to_owned(),
        format!("PUT {STATE}"),
    );
    for process in 0..2 {
        let running = site.start(&site.config()).await;
        for tick in 0..3 {
            let report = running.tick(FORWARD, AMPLE).await;
            assert_eq!(report["outcome"], "ok", "{report}");
            let expected = match (process, tick) {
                // Without a state there may be segments of an earlier one, so the very first tick
                // lists them.
                (0, 0) => vec![&get, &list, &put, &put],
                (_, 0) => vec![&get, &put, &put],
                _ => vec![&put, &put],
            };
            assert_eq!(
                site.proxy.take().iter().collect::<Vec<_>>(),
                expected,
                "process {process}, tick {tick}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_s3_a_cold_function_scrapes_nothing_and_says_where_it_looked() {
    let site = SpoolSite::new(250).await;
    site.proxy.away();
    let running = site.start(&site.config()).await;
    let report = running.tick(FORWARD, Duration::from_secs(4)).await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "failed", "ledger": {"scraped": 0}}),
    );
    assert_eq!(site.home.requests().len(), 0);
    assert_eq!(site.gateway.stats().requests, 0);
    let errors = errors(&report);
    for word in [
        "spool: ",
        "s3://spool/home/state.json",
        "AWS_ENDPOINT_URL_S3",
    ] {
        assert!(errors.contains(word), "no {word:?} in {errors}");
    }

    site.proxy.back().await;
    let report = running.tick(FORWARD, AMPLE).await;
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": SAMPLES}}),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_s3_a_warm_function_that_owes_nothing_goes_on_degraded() {
    let site = SpoolSite::new(250).await;
    let running = site.start(&site.config()).await;
    assert_eq!(running.tick(FORWARD, AMPLE).await["outcome"], "ok");
    site.proxy.away();
    site.home.serve(Page::text(exposition(250, now_ms())));
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "degraded", "ledger": {"written": SAMPLES}}),
    );
    assert!(
        errors(&report).contains("s3://spool/home/state.json"),
        "{report}"
    );

    // Without a store, samples that cannot be sent are lost.
    site.gateway.faults().add(Fault::always(FaultAction::Hang));
    site.home.serve(Page::text(exposition(250, now_ms())));
    let report = running.tick(FORWARD, Duration::from_secs(15)).await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "failed", "ledger": {"lost": SAMPLES}}),
    );

    site.proxy.back().await;
    site.gateway.faults().clear();
    let report = running.tick(FORWARD, AMPLE).await;
    // The home still shows the lost samples, so they are sent in the end.
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": SAMPLES}}),
    );
    assert_in_order(&site.gateway.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_that_goes_away_in_mid_tick_costs_what_cannot_be_sent() {
    let site = SpoolSite::new(250).await;
    // The batches have 100, 100 and 55 samples.
    site.gateway.faults().add(Fault {
        metric: Some("up".to_owned()),
        ..Fault::always(FaultAction::Hang)
    });
    let running = site.start(&site.config()).await;
    let leaving = async {
        wait_for("the first request", AMPLE, || async {
            site.gateway.stats().requests > 0
        })
        .await
        .unwrap();
        site.proxy.away();
    };
    let (report, ()) = tokio::join!(running.tick(FORWARD, Duration::from_secs(5)), leaving);
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "failed", "ledger": {"written": 200, "lost": 55}}),
    );
    let errors = errors(&report);
    for word in [
        "are lost",
        "s3://spool/home/segments/",
        "AWS_ENDPOINT_URL_S3",
        "waits for the lease to end",
    ] {
        assert!(errors.contains(word), "no {word:?} in {errors}");
    }

    site.proxy.back().await;
    site.gateway.faults().clear();
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_has(&report, &json!({"outcome": "ok", "previous": "killed"}));
    assert_eq!(site.gateway.stats().out_of_order, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_functions_at_once_one_works() {
    let site = SpoolSite::new(250).await;
    let first = site.start(&site.config()).await;
    let proxy = S3Proxy::to(&site.moto).await;
    let second = site.start_by(&proxy, &site.config()).await;
    site.gateway.faults().add(Fault::always(FaultAction::Hang));
    let others = async {
        // Three batches of up to 100 samples, on a shard each.
        wait_for("the first one posts all that it can", AMPLE, || async {
            site.gateway.stats().requests == SAMPLES.div_ceil(100)
        })
        .await
        .unwrap();
        let (asked, posted) = (site.home.requests().len(), site.gateway.stats().requests);
        // Its time is too short to wait for the other function's end.
        let busy = second.tick(FORWARD, Duration::from_secs(5)).await;
        assert_eq!(busy["outcome"], "busy", "{busy}");
        assert_balanced(&busy);
        assert!(
            errors(&busy).contains("another tick holds the lease"),
            "{busy}"
        );
        assert_eq!(site.home.requests().len(), asked);
        assert_eq!(site.gateway.stats().requests, posted);
        assert!(
            proxy
                .take()
                .iter()
                .all(|asked| *asked == format!("GET {STATE}")),
            "it touched something"
        );
        // This tick has enough time.
        second.tick(FORWARD, AMPLE).await
    };
    let release = async {
        wait_for("the second one waits", AMPLE, || async {
            proxy.asked.lock().unwrap().len() > 1
        })
        .await
        .unwrap();
        site.gateway.faults().clear();
    };
    let (worked, waited, ()) = tokio::join!(
        first.tick(FORWARD, Duration::from_secs(12)),
        others,
        release
    );
    for report in [&worked, &waited] {
        assert_balanced(report);
    }
    // Whether the first function's batches were answered in the end or handed over, all of them
    // arrive, in order.
    assert_eq!(waited["outcome"], "ok", "{waited}");
    let written = |report: &Value| report["ledger"]["written"].as_u64().unwrap();
    assert!(
        written(&worked) + written(&waited) >= SAMPLES,
        "{worked} {waited}"
    );
    assert_in_order(&site.gateway.stats());
    let stored = site.gateway.stored();
    assert_eq!(
        stored
            .iter()
            .filter(|sample| sample.labels["__name__"] == "m")
            .count(),
        250
    );
}
