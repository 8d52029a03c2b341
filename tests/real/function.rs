//! The function under the Lambda runtime API: its events, answers and deadline.

use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::SampleValue;
use amp_forwarder_support::home::{Page, ScriptedHome, Trouble};
use amp_forwarder_support::lambda::{Emulator, Function, FunctionOptions, InvocationResult};
use amp_forwarder_support::now_ms;
use serde_json::{Value, json};

use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_has, exposition, gateway, scripted,
    spooling,
};

/// The metrics of the tick's EMF lines.
fn metrics(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some())
        .collect()
}

#[tokio::test]
async fn each_sample_event_is_answered() {
    let (home, gateway) = (scripted(125).await, gateway().await);
    let running = RunningFunction::start(&TestConfig::new(&home.address(), &gateway).yaml()).await;

    // Both shapes of the schedule, and no payload at all, mean forward. The slot of the minute is
    // served once.
    let first = running
        .tick(include_str!("../../events/scheduler.json"), AMPLE)
        .await;
    assert_balanced(&first);
    assert_has(
        &first,
        &json!({"outcome": "ok", "ledger": {"written": 130}}),
    );
    for again in [include_str!("../../events/rule.json"), "null", "{}", ""] {
        let report = running.tick(again, AMPLE).await;
        assert_eq!(report["outcome"], "ok", "{report}");
        assert!(report["scrapes"].as_array().unwrap().len() <= 1, "{report}");
    }

    // An event by hand scrapes once, now. The home shows the same samples, so only the forwarder's
    // own are new.
    let report = running
        .tick(include_str!("../../events/forward.json"), AMPLE)
        .await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"ledger": {"written": 5, "unchanged": 125}}),
    );

    let stored = gateway.stats().stored;
    let report = running
        .tick(include_str!("../../events/dry-run.json"), AMPLE)
        .await;
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"dry_run": true, "ledger": {"owed_after": 130, "written": 0}}),
    );
    assert_eq!(gateway.stats().stored, stored);

    let report = running
        .tick(include_str!("../../events/drain.json"), AMPLE)
        .await;
    assert_has(&report, &json!({"outcome": "ok", "scrapes": []}));

    let status = running
        .tick(include_str!("../../events/status.json"), AMPLE)
        .await;
    assert_eq!(status["jobs"][0]["job"], "federate");
    assert!(
        status["jobs"][0]["last_slot_ms"].as_i64().unwrap() > now_ms() - 120_000,
        "{status}"
    );
    assert_eq!(status["spool"]["lease"]["state"], "free", "{status}");
    assert_eq!(status["remotes"][0]["samples"], 0, "{status}");

    let check = running
        .tick(include_str!("../../events/check.json"), AMPLE)
        .await;
    assert_eq!(check["ok"], true, "{check}");
    assert_eq!(gateway.stats().stored, stored);

    let emf = metrics(&running.function.log());
    assert_eq!(emf[0]["Written"], 130);
    assert_eq!(emf[0]["level"], "INFO");
}

#[tokio::test]
async fn what_is_not_understood_is_a_typed_error() {
    let (home, gateway) = (scripted(5).await, gateway().await);
    let running = RunningFunction::start(&TestConfig::new(&home.address(), &gateway).yaml()).await;
    let cases = [
        (
            json!({"action": "drian"}),
            "unknown action \"drian\"; known actions: forward, drain, check, status, verify",
        ),
        (
            json!({"jobs": ["nope"]}),
            "unknown job nope; the configuration has: federate",
        ),
    ];
    for (event, message) in cases {
        let InvocationResult::Error(error) =
            running.api.invoke(event.to_string(), AMPLE).await.unwrap()
        else {
            panic!("{event} was answered")
        };
        assert_has(
            &error,
            &json!({"errorType": "EventError", "errorMessage": message}),
        );
    }
    assert_eq!(
        running.tick("{}", AMPLE).await["outcome"],
        "ok",
        "an error must not spoil the next invocation"
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_at_each_invocation() {
    let running =
        RunningFunction::start("scrape_configs: [{job_nmae: x}]\nremote_write: []\n").await;
    for _ in 0..2 {
        let invoked = running.api.invoke("{}", AMPLE).await.unwrap();
        assert_eq!(invoked.error_type(), Some("ConfigurationError"));
        let InvocationResult::Error(error) = invoked else {
            unreachable!()
        };
        let message = error["errorMessage"].as_str().unwrap();
        assert!(
            message.contains("job_nmae")
                && message.contains("job_name")
                && message.contains("line 1"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_tick_serves_its_slots_and_ends_before_its_deadline() {
    let (home, gateway) = (scripted(125).await, gateway().await);
    let config = TestConfig {
        interval: "1s",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let running = RunningFunction::start(&config.yaml()).await;
    let started = Instant::now();
    let report = running
        .tick(
            include_str!("../../events/scheduler.json"),
            Duration::from_secs(6),
        )
        .await;
    let took = started.elapsed();
    assert_balanced(&report);
    assert_eq!(report["outcome"], "ok", "{report}");
    let starts: Vec<i64> = report["scrapes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scrape| scrape["start_ms"].as_i64().unwrap())
        .collect();
    assert!((4..=7).contains(&starts.len()), "{starts:?}");
    // The first slot may be served late; the others are a second apart.
    assert!(
        starts[1..]
            .windows(2)
            .all(|pair| (900..=1100).contains(&(pair[1] - pair[0]))),
        "{starts:?}"
    );
    assert!(
        took > Duration::from_secs(3) && took < Duration::from_millis(5_600),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_home_that_is_away_is_up_zero_and_a_typed_error() {
    let (home, gateway) = (scripted(10).await, gateway().await);
    let running = RunningFunction::start(&TestConfig::new(&home.address(), &gateway).yaml()).await;
    home.serve_once(Page::status(503, "starting"));
    home.serve_once(Page::text(exposition(2000, now_ms())).trouble(Trouble::Cut(500)));
    home.serve_once(
        Page::text(exposition(2000, now_ms())).trouble(Trouble::Stall(500, Duration::from_secs(5))),
    );
    home.serve_once(Page::text("m 1\nm{ 2\n"));
    let expected = ["HTTP status 503", "body", "MTU", "line 2, column 4"];
    for expected in expected {
        let report = running
            .tick(include_str!("../../events/forward.json"), AMPLE)
            .await;
        assert_balanced(&report);
        assert_has(
            &report,
            &json!({"outcome": "failed", "ledger": {"written": 5}}),
        );
        let error = report["errors"][0].as_str().unwrap();
        assert!(
            error.contains(expected) && error.contains(&home.address()),
            "{error} does not say {expected}"
        );
    }
    let up: Vec<_> = gateway
        .stored()
        .into_iter()
        .filter(|sample| sample.labels["__name__"] == "up")
        .collect();
    assert_eq!(up.len(), 4);
    assert!(
        gateway
            .stored()
            .iter()
            .all(|sample| sample.labels["__name__"] != "m"),
        "a failed scrape leaves nothing"
    );
    let report = running
        .tick(include_str!("../../events/forward.json"), AMPLE)
        .await;
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": 16}}),
    );
    // Besides the ten samples and our five, there is a marker: the series before the malformed line
    // is gone, and Prometheus marks it as well (tests/real/corpus/sequences.rs, "a malformed line
    // behind a new series").
    let gone: Vec<_> = gateway
        .stored()
        .into_iter()
        .filter(|sample| sample.labels["__name__"] == "m" && !sample.labels.contains_key("i"))
        .collect();
    assert_eq!(
        gone.iter().map(|sample| sample.value).collect::<Vec<_>>(),
        [SampleValue::Float(0x7ff0_0000_0000_0002)]
    );
}

/// A second opinion on the protocol: cargo-lambda's own emulator.
#[tokio::test]
async fn under_cargo_lambda() {
    let (home, gateway) = (
        ScriptedHome::start(Page::text(exposition(125, now_ms())))
            .await
            .unwrap(),
        gateway().await,
    );
    let emulator = Emulator::start(AMPLE).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let config = spooling(
        &TestConfig::new(&home.address(), &gateway).yaml(),
        folder.path(),
    );
    let _function = Function::start(&FunctionOptions::new(
        env!("CARGO_BIN_EXE_amp-forwarder"),
        &emulator.runtime_api(),
        &config,
    ))
    .unwrap();
    let report = emulator
        .invoke(include_str!("../../events/scheduler.json"), AMPLE)
        .await
        .unwrap()
        .answer()
        .unwrap();
    assert_balanced(&report);
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"written": 130}}),
    );
    let invoked = emulator
        .invoke(r#"{"action": "nothing"}"#, AMPLE)
        .await
        .unwrap();
    assert_eq!(invoked.error_type(), Some("EventError"));
}
