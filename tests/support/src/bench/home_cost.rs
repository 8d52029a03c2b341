//! What the same samples cost the home: a real Prometheus answers four federations, and one remote
//! read of four samples a series.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use super::tsdb::Database;
use super::usage;
use crate::http::Client;
use crate::now_ms;
use crate::process::{Prometheus, PrometheusOptions, V3_5};
use crate::read;

/// Number of series in the home.
const SERIES: usize = 20_000;
/// Time between two samples of a series.
const INTERVAL: Duration = Duration::from_secs(15);
/// Samples of a series, and federations that show as many.
const SAMPLES: usize = 4;
/// Each is measured as often, and the cheapest one counts.
const REPEATS: usize = 5;
/// What the forwarder accepts first.
const ACCEPT: &str = "application/vnd.google.protobuf;\
                      proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// CPU seconds that a home spends on a million samples, in user and kernel mode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HomeCost {
    /// Number of its series.
    pub series: usize,
    /// As federations, compressed protobuf.
    pub federation: f64,
    /// As one remote read.
    pub read: f64,
}

/// Fills a Prometheus 3.5 with samples and measures both ways out of it.
///
/// # Errors
/// Fails when the program is missing, or answers with too few samples.
pub async fn measure() -> Result<HomeCost> {
    let home = Prometheus::start(PrometheusOptions {
        receiver: true,
        scrape_itself: false,
        ..PrometheusOptions::home(V3_5, Vec::new())
    })
    .await?;
    let database = Database::new(SERIES, INTERVAL);
    let interval_ms = INTERVAL.as_millis() as i64;
    let end_ms = now_ms();
    let start_ms = end_ms - SAMPLES as i64 * interval_ms + 1;
    let client = Client::default();
    for body in database.write_requests(start_ms, end_ms) {
        let request = http::Request::post(home.remote_write_url())
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .body(Full::new(body))?;
        let answer = client.send(request).await?;
        ensure!(answer.status().is_success(), "write: {}", answer.status());
    }
    let samples = (SERIES * SAMPLES) as f64;
    let (mut federation, mut reading) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..REPEATS {
        let before = usage::cpu(home.id())?;
        for _ in 0..SAMPLES {
            federate(&client, &home).await?;
        }
        let between = usage::cpu(home.id())?;
        let answer = read::read(&home.url(), "__name__", start_ms, end_ms).await?;
        let after = usage::cpu(home.id())?;
        let read: usize = answer.iter().map(|series| series.samples.len()).sum();
        ensure!(read == SERIES * SAMPLES, "{read} samples were read");
        federation = federation.min((between - before).as_secs_f64() / samples * 1e6);
        reading = reading.min((after - between).as_secs_f64() / samples * 1e6);
    }
    Ok(HomeCost {
        series: SERIES,
        federation,
        read: reading,
    })
}

async fn federate(client: &Client, home: &Prometheus) -> Result<()> {
    let request = http::Request::get(format!(
        "{}/federate?match[]=%7B__name__%21%3D%22%22%7D",
        home.url()
    ))
    .header("accept", ACCEPT)
    .header("accept-encoding", "gzip")
    .body(Full::<Bytes>::default())?;
    let answer = client.send(request).await?;
    ensure!(answer.status() == 200, "federate: {}", answer.status());
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.as_bytes().to_vec())
    };
    ensure!(
        header("content-encoding").as_deref() == Some(b"gzip"),
        "the exposition is not compressed"
    );
    // A series of this home has about 12 bytes even in a compressed exposition.
    ensure!(
        answer.body().len() > SERIES * 10,
        "an exposition of {} bytes",
        answer.body().len()
    );
    Ok(())
}
