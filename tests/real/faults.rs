//! Faults of the gateway, and their consequences in the function.

use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::gateway::options::{
    AccessKey, GatewayOptions, SECRET_KEY, WorkspaceLimits,
};
use amp_forwarder_support::home::Page;
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::{Value, json};

use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_has, assert_in_order, exposition,
    gateway, scripted,
};

const FORWARD: &str = include_str!("../../events/forward.json");

/// 250 samples of the home and five of the forwarder's own, in three batches.
const SAMPLES: u64 = 255;

/// Scrapes once against a gateway with faults.
async fn tick(gateway: &Gateway, limit: Duration) -> Value {
    let home = scripted(250).await;
    let running = RunningFunction::start(&TestConfig::new(&home.address(), gateway).yaml()).await;
    let report = running.tick(FORWARD, limit).await;
    assert_balanced(&report);
    report
}

fn respond(status: u16, body: &str, retry_after: Option<&str>) -> FaultAction {
    let headers = retry_after
        .map(|value| ("retry-after".to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    FaultAction::Respond {
        status,
        body: body.to_owned(),
        headers,
    }
}

#[tokio::test]
async fn what_passes_is_retried_until_all_is_written() {
    let troubles = [
        respond(500, "internal", None),
        respond(503, "busy", Some("0")),
        respond(408, "", None),
        respond(429, "{\"message\":\"Rate exceeded\"}", None),
        FaultAction::Reset,
        FaultAction::StoreAndReset,
        FaultAction::StoreAndClose,
    ];
    for trouble in troubles {
        let gateway = gateway().await;
        gateway.faults().add(Fault::times(trouble.clone(), 4));
        let report = tick(&gateway, AMPLE).await;
        assert_eq!(report["outcome"], "ok", "{trouble:?}: {report}");
        assert_eq!(
            report["ledger"]["written"], SAMPLES,
            "{trouble:?}: {report}"
        );
        assert_eq!(gateway.stored().len() as u64, SAMPLES, "{trouble:?}");
        let stats = gateway.stats();
        assert_eq!(stats.requests, 3 + 4, "{trouble:?}");
        assert_in_order(&stats);
        let stored_first = matches!(
            trouble,
            FaultAction::StoreAndReset | FaultAction::StoreAndClose
        );
        assert_eq!(stats.repeated > 0, stored_first, "{trouble:?}: {stats:?}");
    }
}

#[tokio::test]
async fn retry_after_holds_for_all_shards() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::once(respond(
        429,
        "ingestion rate limit (1) exceeded",
        Some("2"),
    )));
    let started = Instant::now();
    let report = tick(&gateway, AMPLE).await;
    assert_eq!(report["ledger"]["written"], SAMPLES, "{report}");
    assert!(started.elapsed() >= Duration::from_secs(2));
    let journal = gateway.journal();
    let refused = journal
        .iter()
        .find(|entry| entry.status == Some(429))
        .unwrap();
    let later: Vec<_> = journal
        .iter()
        .filter(|entry| entry.arrived > refused.answered.unwrap() + Duration::from_millis(100))
        .collect();
    assert!(
        !later.is_empty()
            && later
                .iter()
                .all(|entry| entry.arrived
                    >= refused.answered.unwrap() + Duration::from_millis(1_900))
    );
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split() {
    let limits = WorkspaceLimits {
        request_bytes: 2_000,
        ..WorkspaceLimits::default()
    };
    let gateway = Gateway::start(GatewayOptions {
        limits,
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let report = tick(&gateway, AMPLE).await;
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": SAMPLES}}),
    );
    assert!(gateway.stats().statuses[&413] > 0 && gateway.stored().len() as u64 == SAMPLES);
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_never_repeated() {
    let gateway = gateway().await;
    let home = scripted(0).await;
    let now = now_ms();
    home.serve(Page::text(format!(
        "{}old{{job=\"j\"}} 1 {}\n",
        exposition(250, now),
        now - 2 * 3_600_000
    )));
    let config = TestConfig::new(&home.address(), &gateway);
    // Without this limit, the old sample would be taken out of its batch beforehand.
    let yaml = config
        .yaml()
        .replace("capacity: 2500", "capacity: 2500, sample_age_limit: 0s");
    let running = RunningFunction::start(&yaml).await;
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_eq!(report["outcome"], "partial", "{report}");
    // The batch with the old sample counts as a whole; AMP has stored the rest of it.
    assert_has(
        &report,
        &json!({"ledger": {"rejected": 56, "written": 200}}),
    );
    assert_eq!(gateway.stored().len(), 255);
    assert_eq!(gateway.stats().requests, 3);
    let errors = report["errors"].to_string();
    assert!(
        errors.contains("too old") || errors.contains("timestamp"),
        "{errors}"
    );
}

#[tokio::test]
async fn who_is_denied_stops_and_says_why() {
    let key = AccessKey {
        secret: SECRET_KEY.to_owned(),
        session_token: Some("example-session-token".to_owned()),
        allowed: false,
    };
    let gateway = Gateway::start(GatewayOptions {
        keys: [("AKIDEXAMPLE".to_owned(), key)].into(),
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let report = tick(&gateway, AMPLE).await;
    assert_has(
        &report,
        &json!({"outcome": "failed", "ledger": {"owed_after": SAMPLES}}),
    );
    assert!(
        report["errors"].to_string().contains("aps:RemoteWrite"),
        "{report}"
    );
    // Each of the three shards may have posted twice before the first denial came.
    assert!(gateway.stats().requests <= 6, "{:?}", gateway.stats());
}

#[tokio::test]
async fn an_outage_within_a_tick_loses_nothing() {
    let gateway = gateway().await;
    gateway
        .faults()
        .add(Fault::lasting(FaultAction::Hang, Duration::from_secs(3)));
    let home = scripted(250).await;
    let yaml = TestConfig::new(&home.address(), &gateway)
        .yaml()
        .replace("    sigv4", "    remote_timeout: 1s\n    sigv4");
    let running = RunningFunction::start(&yaml).await;
    let report = running.tick(FORWARD, AMPLE).await;
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": SAMPLES}}),
    );
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_keep_the_tick_beyond_its_deadline() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::always(FaultAction::Hang));
    let home = scripted(250).await;
    let running = RunningFunction::start(&TestConfig::new(&home.address(), &gateway).yaml()).await;
    let started = Instant::now();
    let report = running.tick(FORWARD, Duration::from_secs(3)).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "partial", "ledger": {"owed_after": SAMPLES}}),
    );
    assert_eq!(report["spool"]["samples"], SAMPLES);
    assert!(
        report["errors"].to_string().contains("out of time"),
        "{report}"
    );

    // The backlog goes first, and is not sent twice.
    gateway.faults().clear();
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    let ledger = json!({"owed_before": SAMPLES, "written": SAMPLES + 5, "unchanged": 250});
    assert_has(&report, &json!({"outcome": "ok", "ledger": ledger}));
    let stats = gateway.stats();
    assert_eq!(stats.stored, SAMPLES + 5, "{stats:?}");
    assert_eq!(stats.repeated, 0, "{stats:?}");
    assert_eq!(stats.out_of_order, 0, "{stats:?}");
    assert!(files(&running).is_empty(), "{:?}", files(&running));
}

/// File names of the segments in the function's spool.
fn files(running: &RunningFunction) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![running.folder.path().join("spool/segments")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    found.sort();
    found
}

/// With 130 samples and a capacity of 100, the 30 that exceed it leave for the spool at once, the
/// rest when the tick ends, and all of them follow in order.
#[tokio::test]
async fn exactly_what_exceeds_the_capacity_is_spooled_at_once() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::always(FaultAction::Hang));
    let home = scripted(125).await;
    let config = TestConfig {
        queue: "capacity: 100, max_samples_per_send: 50, max_shards: 1",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let running = RunningFunction::start(&config.yaml()).await;
    let ticking = running.tick(FORWARD, Duration::from_secs(4));
    let looking = async {
        wait_for("the first segment", AMPLE, || async {
            files(&running).len() == 1
        })
        .await
        .unwrap();
        let path = running.folder.path().join("spool/segments");
        let folder = std::fs::read_dir(path)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let segment = std::fs::read(folder.join(&files(&running)[0])).unwrap();
        let entries = amp_forwarder::spool::segment::peek(&segment).unwrap();
        entries
            .iter()
            .map(|entry| entry.samples)
            .collect::<Vec<_>>()
    };
    let (report, spooled) = tokio::join!(ticking, looking);
    assert_eq!(spooled, [30]);
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"ledger": {"scraped": 130, "owed_after": 130}}),
    );

    gateway.faults().clear();
    let report = running
        .tick(include_str!("../../events/drain.json"), AMPLE)
        .await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"owed_before": 130, "written": 130}}),
    );
    let stats = gateway.stats();
    assert_eq!(stats.stored, 130, "{stats:?}");
    assert_eq!(stats.out_of_order, 0, "{stats:?}");
    assert_eq!(stats.max_in_flight, 1, "{stats:?}");
    assert!(files(&running).is_empty());
}

/// A function dies with a backlog in the spool and while it holds the lease. The next one waits,
/// counts and delivers.
#[tokio::test]
async fn what_a_killed_function_had_spooled_is_delivered_by_the_next_one() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::always(FaultAction::Hang));
    let home = scripted(250).await;
    let yaml = TestConfig {
        queue: "capacity: 50, max_samples_per_send: 50, max_shards: 1",
        ..TestConfig::new(&home.address(), &gateway)
    }
    .yaml();
    let mut running = RunningFunction::start(&yaml).await;
    {
        let ticking = running.api.invoke(FORWARD, Duration::from_secs(5));
        let spooled = wait_for("segments", AMPLE, || async { !files(&running).is_empty() });
        tokio::select! {
            _ = ticking => panic!("the tick ended"),
            spooled = spooled => spooled.unwrap(),
        }
    }
    running.function.kill();
    gateway.faults().clear();

    let next = RunningFunction::start(&yaml.replace(
        "@SPOOL@",
        &running.folder.path().join("spool").display().to_string(),
    ))
    .await;
    let report = next.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_has(&report, &json!({"outcome": "ok", "previous": "killed"}));
    assert_eq!(report["ledger"]["owed_before"], 205, "{report}");
    let stats = gateway.stats();
    assert_eq!(stats.out_of_order, 0, "{stats:?}");
    assert!(stats.refused.is_empty(), "{stats:?}");
    assert_eq!(
        gateway
            .stored()
            .iter()
            .filter(|sample| sample.labels["__name__"] == "m")
            .count(),
        250
    );
}
