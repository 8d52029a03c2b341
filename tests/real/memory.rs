//! A large home, and a function with little memory.

use std::process::Command;
use std::time::Duration;

use amp_forwarder_support::cgroup::ControlGroup;
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::gateway::options::GatewayOptions;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::Moto;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{SPOOL, TestConfig, assert_balanced, assert_has, credentials, spooling};

const SERIES: usize = 100_000;
const LIMIT_KB: u64 = 64 * 1024;

/// An exposition of about 270 bytes a line, as federated series have.
fn federated(series: usize, at_ms: i64) -> String {
    let mut text = String::with_capacity(series * 280);
    for index in 0..series {
        let (family, pod, node) = (index % 400, index / 400, index % 7);
        text.push_str(&format!(
            "container_network_transmit_packets_total_{family:03}{{\
             container=\"prometheus-{family}\",endpoint=\"https-metrics\",\
             id=\"/kubepods/besteffort/pod{pod:08x}\",instance=\"10.0.{node}.12:10250\",\
             interface=\"eth0\",job=\"kubelet\",namespace=\"monitoring\",node=\"worker-{node}\",\
             pod=\"app-{pod:05}-x7k2p\",service=\"kubelet\"}} {index}.25 {at_ms}\n"
        ));
    }
    text
}

/// CPU time and memory of a process since its start.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Peak resident memory, kB.
    pub(crate) peak_kb: u64,
    /// CPU time in user and kernel mode, to a hundredth of a second.
    pub(crate) cpu: Duration,
}

/// Reads `/proc`; `None` when the process has ended.
pub(crate) fn usage(process: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak_kb = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Usage {
        peak_kb,
        cpu: Duration::from_millis(ticks * 10),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_series_fit_into_64_mebibytes() {
    let body = federated(SERIES, now_ms());
    assert!(
        body.len() / SERIES > 250,
        "{} bytes a line",
        body.len() / SERIES
    );
    let home = ScriptedHome::start(Page::text(body)).await.unwrap();
    let gateway = counting_gateway().await;
    let config = TestConfig {
        queue: "max_samples_per_send: 1000, max_shards: 200, capacity: 2500",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let directory = TempDir::new().unwrap();
    std::fs::write(
        directory.path().join("forwarder.yml"),
        spooling(
            &config
                .yaml()
                .replace("scrape_timeout: 1s", "scrape_timeout: 30s"),
            directory.path(),
        ),
    )
    .unwrap();
    let program =
        std::env::var("FORWARDCTL").unwrap_or_else(|_| env!("CARGO_BIN_EXE_forwardctl").to_owned());
    let mut command = Command::new(program);
    command
        .args(["run", "--once"])
        .current_dir(directory.path())
        .env_clear()
        .envs(credentials());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut used = Usage::default();
    let status = loop {
        if let Some(now) = usage(child.id()) {
            used.peak_kb = used.peak_kb.max(now.peak_kb);
            used.cpu = used.cpu.max(now.cpu);
        }
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    println!("peak {} kB, CPU {} ms", used.peak_kb, used.cpu.as_millis());
    assert!(status.success());
    assert_eq!(gateway.stats().samples, SERIES as u64 + 5);
    assert!(
        used.peak_kb > 1024 && used.peak_kb < LIMIT_KB,
        "peak resident memory: {} kB",
        used.peak_kb
    );
}

/// A gateway that counts samples and decodes nothing.
async fn counting_gateway() -> Gateway {
    Gateway::start(GatewayOptions {
        count_only: true,
        ..GatewayOptions::default()
    })
    .await
    .unwrap()
}

/// A configuration with the queue of the README's example and a spool in S3.
fn config_with_s3(home: &ScriptedHome, gateway: &Gateway) -> String {
    let config = TestConfig {
        interval: "15s",
        queue: "max_samples_per_send: 1000, max_shards: 200, capacity: 2500",
        forwarder: "deadline_margin: 3s",
        ..TestConfig::new(&home.address(), gateway)
    };
    config
        .yaml()
        .replace("scrape_timeout: 1s", "scrape_timeout: 10s")
        .replace("overflow_after: 0s", "overflow_after: 5s")
        .replace(&format!("file://{SPOOL}"), "s3://spool/home")
}

/// Gives the home new samples of so many series after each scrape. Never returns.
async fn serve_new_samples(home: &ScriptedHome, series: usize) {
    let mut scrapes = 0;
    loop {
        if home.requests().len() > scrapes {
            scrapes = home.requests().len();
            let page = tokio::task::spawn_blocking(move || federated(series, now_ms()))
                .await
                .unwrap();
            home.serve(Page::text(page));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A function of 128 MB has a fourteenth of the processor that 1,769 MB give it.
const SHARE: u32 = 14;

/// A minute of scrapes of 100,000 new samples each, while the receiver answers nothing. `FUNCTION`
/// names another build of the function; only a release must meet the limit of CPU time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_128_megabytes_a_minute_without_the_receiver_is_in_s3_in_time() {
    const TIME_OUT: Duration = Duration::from_secs(68);
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("spool").await.unwrap();
    let home = ScriptedHome::start(Page::text(federated(SERIES, now_ms())))
        .await
        .unwrap();
    let gateway = counting_gateway().await;
    gateway.faults().add(Fault::always(FaultAction::Hang));
    let yaml = config_with_s3(&home, &gateway);
    let api = RuntimeApi::start().await.unwrap();
    let other = std::env::var("FUNCTION").ok();
    let program = other
        .clone()
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_amp-forwarder").to_owned());
    let mut options = FunctionOptions::new(program, &api.runtime_api(), &yaml);
    options
        .env
        .push(("AWS_ENDPOINT_URL_S3".to_owned(), moto.url()));
    let function = Function::start(&options).unwrap();

    let answer = tokio::select! {
        answer = api.invoke(include_str!("../../events/rule.json"), TIME_OUT) => answer.unwrap(),
        () = serve_new_samples(&home, SERIES) => unreachable!(),
    };
    let report = match answer {
        InvocationResult::Answer(report) => report,
        InvocationResult::Error(error) => panic!("{error}\n{}", function.log()),
    };
    let Usage { peak_kb, cpu: time } = usage(function.id()).unwrap();
    println!(
        "{} scrapes, peak {peak_kb} kB, CPU {time:?}, {:?} at 128 MB: {}",
        report["scrapes"].as_array().unwrap().len(),
        time * SHARE,
        report["spool"]
    );
    assert_balanced(&report);
    let ledger = |name: &str| report["ledger"][name].as_u64().unwrap();
    assert!(
        report["scrapes"].as_array().unwrap().len() >= 4 && ledger("scraped") >= 4 * SERIES as u64,
        "{report}"
    );
    assert_has(
        &report,
        &json!({"ledger": {"written": 0, "lost": 0, "rolled_back": 0}}),
    );
    assert_eq!(
        ledger("owed_after"),
        ledger("scraped") - ledger("unchanged") - ledger("filtered"),
        "{report}"
    );
    assert_eq!(report["spool"]["samples"], ledger("owed_after"), "{report}");
    assert!(
        peak_kb > 1024 && peak_kb < 128 * 1024,
        "peak resident memory: {peak_kb} kB"
    );
    assert!(
        other.is_none() || time * SHARE < Duration::from_secs(60),
        "CPU time: {time:?}"
    );
}

/// Series of a home with three remotes: each remote has its own cache, queue and segments.
const SHARED_SERIES: usize = 40_000;

/// The configuration with the remote three times.
fn with_three_remotes(yaml: &str) -> String {
    let (before, rest) = yaml.split_once("remote_write:\n").unwrap();
    let (entry, after) = rest.split_once("forwarder:").unwrap();
    let named = |name| entry.replace("- url:", &format!("- name: {name}\n    url:"));
    let entries = ["one", "two", "three"].map(named).concat();
    format!("{before}remote_write:\n{entries}forwarder:{after}")
}

/// What a tick of a function reports that must not have ended for want of memory.
async fn reported(api: &RuntimeApi, function: &Function, event: &'static str) -> Value {
    let answer = api.invoke(event, Duration::from_secs(40)).await;
    let report = match answer.unwrap_or_else(|error| panic!("{error}\n{}", function.log())) {
        InvocationResult::Answer(report) => report,
        InvocationResult::Error(error) => panic!("{error}\n{}", function.log()),
    };
    let peak_kb = usage(function.id()).expect("it is alive").peak_kb;
    println!(
        "peak {peak_kb} kB, of which {} count: {}, {}",
        report["memory"]["peak_bytes"], report["ledger"], report["spool"]
    );
    assert_balanced(&report);
    assert!(
        peak_kb > 1024 && peak_kb < 128 * 1024,
        "peak resident memory: {peak_kb} kB, {report}"
    );
    report
}

/// Bodies on their way to the store, segments that are loaded and what the heads of three spools
/// are sent from are on top of caches and queues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_128_megabytes_three_remotes_fill_their_spools_and_empty_them() {
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("spool").await.unwrap();
    let home = ScriptedHome::start(Page::text(federated(SHARED_SERIES, now_ms())))
        .await
        .unwrap();
    let gateway = counting_gateway().await;
    gateway.faults().add(Fault::always(FaultAction::Hang));
    let yaml = with_three_remotes(&config_with_s3(&home, &gateway)).replace("15s", "10s");
    let (api, folder) = (RuntimeApi::start().await.unwrap(), TempDir::new().unwrap());
    let function = env!("CARGO_BIN_EXE_amp-forwarder");
    let program = folder.path().join("in-group.sh");
    // Only root may make control groups. The peak is measured in any case.
    let group = ControlGroup::of_memory(128).and_then(|group| {
        group.wrap(function.as_ref(), &program)?;
        Ok(group)
    });
    if let Err(error) = &group {
        println!("no control group, so only the peak is measured: {error:#}");
    }
    let program = group.as_ref().map_or(function.into(), |_| program.clone());
    let mut options = FunctionOptions::new(program, &api.runtime_api(), &yaml);
    // The template sets the threshold.
    let threshold = ("MALLOC_MMAP_THRESHOLD_".to_owned(), "1048576".to_owned());
    let store = ("AWS_ENDPOINT_URL_S3".to_owned(), moto.url());
    options.env.extend([store, threshold]);
    let function = Function::start(&options).unwrap();

    let filled = tokio::select! {
        report = reported(&api, &function, include_str!("../../events/rule.json")) => report,
        () = serve_new_samples(&home, SHARED_SERIES) => unreachable!(),
    };
    let owed = filled["ledger"]["owed_after"].as_u64().unwrap();
    assert!(owed >= 3 * 2 * SHARED_SERIES as u64, "{filled}");
    assert_has(&filled, &json!({"ledger": {"lost": 0, "rolled_back": 0}}));
    assert_eq!(filled["spool"]["samples"], owed, "{filled}");

    gateway.faults().clear();
    let emptied = reported(&api, &function, include_str!("../../events/drain.json")).await;
    assert_has(
        &emptied,
        &json!({"ledger": {"written": owed, "lost": 0, "owed_after": 0}}),
    );
}
