//! A large home on a small machine.

use std::process::Command;
use std::time::Duration;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::options::Options;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::now_ms;
use tempfile::TempDir;

use crate::common::{Config, credentials, spooling};

const SERIES: usize = 100_000;
const LIMIT_KB: u64 = 64 * 1024;

/// About 270 bytes a line, as federated series have.
fn federated(series: usize, at_ms: i64) -> String {
    let mut text = String::with_capacity(series * 280);
    for index in 0..series {
        let (family, pod, node) = (index % 400, index / 400, index % 7);
        text.push_str(&format!(
            "container_network_transmit_packets_total_{family:03}{{container=\"prometheus-{family}\",endpoint=\"https-metrics\",id=\"/kubepods/besteffort/pod{pod:08x}\",\
             instance=\"10.0.{node}.12:10250\",interface=\"eth0\",job=\"kubelet\",namespace=\"monitoring\",node=\"worker-{node}\",pod=\"app-{pod:05}-x7k2p\",service=\"kubelet\"}} \
             {index}.25 {at_ms}\n"
        ));
    }
    text
}

/// Peak resident memory (kB) and CPU time (clock ticks) of a process that lives.
fn usage(process: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((peak, fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_series_fit_into_64_mebibytes() {
    let body = federated(SERIES, now_ms());
    assert!(body.len() / SERIES > 250, "{} bytes a line", body.len() / SERIES);
    let home = ScriptedHome::start(Page::text(body)).await.unwrap();
    let gateway = Gateway::start(Options { count_only: true, ..Options::default() }).await.unwrap();
    let config = Config { queue: "max_samples_per_send: 1000, max_shards: 200, capacity: 2500", ..Config::new(&home.address(), &gateway) };
    let directory = TempDir::new().unwrap();
    std::fs::write(
        directory.path().join("forwarder.yml"),
        spooling(&config.yaml().replace("scrape_timeout: 1s", "scrape_timeout: 30s"), directory.path()),
    )
    .unwrap();
    let program = std::env::var("FORWARDCTL").unwrap_or_else(|_| env!("CARGO_BIN_EXE_forwardctl").to_owned());
    let mut command = Command::new(program);
    command.args(["run", "--once"]).current_dir(directory.path()).env_clear().envs(credentials());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut peak = (0, 0);
    let status = loop {
        peak = usage(child.id()).map_or(peak, |(memory, time)| (memory.max(peak.0), time.max(peak.1)));
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    println!("peak {} kB, CPU {} ms", peak.0, peak.1 * 10);
    assert!(status.success());
    assert_eq!(gateway.stats().samples, SERIES as u64 + 5);
    assert!(peak.0 > 1024 && peak.0 < LIMIT_KB, "peak resident memory: {} kB", peak.0);
}
