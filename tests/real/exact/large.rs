//! What a read of a large home takes of its memory, and of the function's.

use std::time::Duration;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::options::GatewayOptions;
use amp_forwarder_support::process::{Prometheus, V3_5};
use amp_forwarder_support::{now_ms, wait_for};

use super::{home, job};
use crate::common::{RunningFunction, TestConfig, assert_balanced, assert_has};
use crate::memory::usage;
use crate::targets;

const TARGETS: usize = 10;
const SERIES: usize = 200_000;
/// Time of the home that is read, milliseconds: two windows at least.
const READ_MS: i64 = 150_000;
/// Largest peak of the function's resident memory, kB. It was 68,000.
const FUNCTION_KB: u64 = 96 * 1024;
/// What may be added to the peak of the home's resident memory while it is read, kB. It was 319,000
/// beside 367,000 before, what it scrapes meanwhile included. Go frees memory only when it has as
/// much garbage as data.
const HOME_KB: u64 = 512 * 1024;

async fn large_home() -> (Prometheus, Vec<amp_forwarder_support::http::Server>) {
    let mut targets = Vec::new();
    for _ in 0..TARGETS {
        targets.push(targets::counting("large", SERIES / TARGETS).await);
    }
    let jobs = targets.iter().enumerate();
    let jobs = jobs.map(|(number, target)| job(&format!("large{number}"), target, "15s"));
    let home = home(V3_5, jobs.collect(), "", &[]).await;
    let querier = home.querier();
    wait_for(
        "the home has all series",
        Duration::from_secs(90),
        || async {
            let count = querier.value("count(large)").await;
            count.is_ok_and(|count| count == Some(SERIES as f64))
        },
    )
    .await
    .unwrap();
    (home, targets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three and a half minutes: make soak"]
async fn two_hundred_thousand_series_are_read_within_bounds() {
    let (home, _targets) = large_home().await;
    let gateway = Gateway::start(GatewayOptions {
        count_only: true,
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let config = TestConfig {
        interval: "60s",
        queue: "max_samples_per_send: 2000, max_shards: 20, capacity: 20000",
        forwarder: "remote_read: {mode: always}",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let yaml = config
        .yaml()
        .replace("scrape_timeout: 1s", "scrape_timeout: 10s");
    let memory = [("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")];
    let running = RunningFunction::start_with(&yaml, &memory).await;
    let before = usage(home.id()).unwrap().peak_kb;
    let until_ms = now_ms() + READ_MS;
    let (mut written, mut windows) = (0, 0);
    let mut schedule = tokio::time::interval(Duration::from_secs(60));
    loop {
        schedule.tick().await;
        let report = running.tick("{}", Duration::from_secs(58)).await;
        assert_balanced(&report);
        // Nothing was federated in the place of a read that failed.
        assert_has(
            &report,
            &serde_json::json!({"outcome": "ok", "scrapes": [], "ledger": {"owed_after": 0}}),
        );
        let read = &report["reads"][0];
        assert_eq!(read["failed"], 0, "{report}");
        written += report["ledger"]["written"].as_u64().unwrap();
        windows += read["windows"].as_u64().unwrap();
        if read["safe_ms"]
            .as_i64()
            .is_some_and(|safe_ms| safe_ms >= until_ms)
        {
            break;
        }
    }
    let function = usage(running.function.id()).unwrap();
    let added = usage(home.id()).unwrap().peak_kb - before;
    println!(
        "{written} samples in {windows} windows: the function's peak is {} kB, its CPU {} ms, and \
         reads add {added} kB to the home's peak of {before} kB",
        function.peak_kb,
        function.cpu.as_millis()
    );
    // Each series has a sample every 15 s.
    assert!(
        written >= SERIES as u64 * (READ_MS / 15_000) as u64,
        "{written}"
    );
    assert!(function.peak_kb < FUNCTION_KB, "{} kB", function.peak_kb);
    assert!(added < HOME_KB, "{added} kB");
}
