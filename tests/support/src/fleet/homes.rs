//! The homes of all sites, in one server: `/<site>/federate` is a Prometheus with its own samples.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;

use crate::http::{self as server, HandlerResult, Hangup, Server, ServerRequest};
use crate::now_ms;

/// Name of each series, by which the receiver knows the homes' samples from the forwarder's own.
pub const METRIC: &str = "container_network_transmit_packets_total";

/// Homes that listen.
#[derive(Debug)]
pub struct Homes {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Text of each series up to its value.
    series: Vec<String>,
    /// Number of scrapes that were answered, by site.
    scrapes: Mutex<BTreeMap<String, u64>>,
}

impl Homes {
    /// Starts homes of this many series each.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(series: usize) -> Result<Self> {
        let state = Arc::new(State {
            series: (0..series).map(one_series).collect(),
            scrapes: Mutex::default(),
        });
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| {
            let answer = answer(&shared, &request);
            async move { answer }
        });
        Ok(Self {
            server: server.await?,
            state,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Number of samples that each site has shown.
    pub fn shown(&self) -> BTreeMap<String, u64> {
        let scrapes = self.state.scrapes();
        let series = self.state.series.len() as u64;
        let shown = scrapes.iter();
        shown
            .map(|(site, scrapes)| (site.clone(), scrapes * series))
            .collect()
    }
}

impl State {
    fn scrapes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.scrapes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a series as a cluster's node exporter and cAdvisor have it, up to its value.
fn one_series(index: usize) -> String {
    let (pod, node) = (index / 20, index % 7);
    format!(
        "{METRIC}{{container=\"app-{index}\",instance=\"10.0.{node}.12:10250\",interface=\"eth0\",\
         job=\"kubelet\",namespace=\"monitoring\",node=\"worker-{node}\",\
         pod=\"app-{pod:05}-x7k2p\"}} "
    )
}

/// Answers a scrape, and 404 to whatever else a Prometheus has.
fn answer(state: &State, request: &ServerRequest) -> HandlerResult {
    let site = request.uri().path().strip_suffix("/federate");
    let Some(site) = site.and_then(|site| site.strip_prefix('/')) else {
        return Ok(server::respond(404, "404 page not found\n"));
    };
    let count = {
        let mut scrapes = state.scrapes();
        let count = scrapes.entry(site.to_owned()).or_default();
        *count += 1;
        *count
    };
    let at_ms = now_ms();
    let mut text = format!("# TYPE {METRIC} untyped\n");
    for (index, series) in state.series.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{series}{}.25 {at_ms}", count * 1000 + index as u64);
    }
    let asks_gzip = request
        .headers()
        .get("accept-encoding")
        .is_some_and(|value| value == "gzip");
    let mut response = http::Response::builder().header(
        "content-type",
        "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
    );
    let mut body = Bytes::from(text);
    if asks_gzip {
        response = response.header("content-encoding", "gzip");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).map_err(|_| Hangup)?;
        body = encoder.finish().map_err(|_| Hangup)?.into();
    }
    response.body(server::full(body)).map_err(|_| Hangup)
}
