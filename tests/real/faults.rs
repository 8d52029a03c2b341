//! What the gateway does to the function, and what comes of it.

use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Action, Fault};
use amp_forwarder_support::gateway::options::{Key, Limits, Options, SECRET_KEY};
use amp_forwarder_support::home::Page;
use amp_forwarder_support::now_ms;
use serde_json::{Value, json};

use crate::common::{AMPLE, Config, Running, assert_balanced, exposition, gateway, scripted};

const FORWARD: &str = include_str!("../../events/forward.json");

/// 250 samples of the home and five of our own, in three batches.
const SAMPLES: u64 = 255;

/// One scrape against a gateway with faults.
async fn tick(gateway: &Gateway, limit: Duration) -> Value {
    let home = scripted(250).await;
    let running = Running::start(&Config::new(&home.address(), gateway).yaml()).await;
    let report = running.tick(FORWARD, limit).await;
    assert_balanced(&report);
    report
}

fn respond(status: u16, body: &str, retry_after: Option<&str>) -> Action {
    let headers = retry_after.map(|value| ("retry-after".to_owned(), value.to_owned())).into_iter().collect();
    Action::Respond { status, body: body.to_owned(), headers }
}

#[tokio::test]
async fn what_passes_is_retried_until_all_is_written() {
    let troubles = [
        respond(500, "internal", None),
        respond(503, "busy", Some("0")),
        respond(408, "", None),
        respond(429, "{\"message\":\"Rate exceeded\"}", None),
        Action::Reset,
        Action::StoreAndReset,
        Action::StoreAndClose,
    ];
    for trouble in troubles {
        let gateway = gateway().await;
        gateway.faults().add(Fault::times(trouble.clone(), 4));
        let report = tick(&gateway, AMPLE).await;
        assert_eq!((&report["outcome"], &report["ledger"]["written"]), (&json!("ok"), &json!(SAMPLES)), "{trouble:?}: {report}");
        assert_eq!(gateway.stored().len() as u64, SAMPLES, "{trouble:?}");
        let stats = gateway.stats();
        assert_eq!((stats.requests, stats.out_of_order, stats.concurrent), (3 + 4, 0, 0), "{trouble:?}");
        let stored_first = matches!(trouble, Action::StoreAndReset | Action::StoreAndClose);
        assert_eq!(stats.repeated > 0, stored_first, "{trouble:?}: {stats:?}");
    }
}

#[tokio::test]
async fn retry_after_holds_for_all_shards() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::once(respond(429, "ingestion rate limit (1) exceeded", Some("2"))));
    let started = Instant::now();
    let report = tick(&gateway, AMPLE).await;
    assert_eq!(report["ledger"]["written"], SAMPLES, "{report}");
    assert!(started.elapsed() >= Duration::from_secs(2));
    let journal = gateway.journal();
    let refused = journal.iter().find(|entry| entry.status == Some(429)).unwrap();
    let later: Vec<_> = journal.iter().filter(|entry| entry.arrived > refused.answered.unwrap() + Duration::from_millis(100)).collect();
    assert!(!later.is_empty() && later.iter().all(|entry| entry.arrived >= refused.answered.unwrap() + Duration::from_millis(1_900)));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split() {
    let limits = Limits { request_bytes: 2_000, ..Limits::default() };
    let gateway = Gateway::start(Options { limits, ..Options::default() }).await.unwrap();
    let report = tick(&gateway, AMPLE).await;
    assert_eq!((&report["outcome"], &report["ledger"]["written"]), (&json!("ok"), &json!(SAMPLES)), "{report}");
    assert!(gateway.stats().statuses[&413] > 0 && gateway.stored().len() as u64 == SAMPLES);
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_never_repeated() {
    let gateway = gateway().await;
    let home = scripted(0).await;
    let now = now_ms();
    home.serve(Page::text(format!("{}old{{job=\"j\"}} 1 {}\n", exposition(250, now), now - 2 * 3_600_000)));
    let running = Running::start(&Config::new(&home.address(), &gateway).yaml()).await;
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_eq!(report["outcome"], "partial", "{report}");
    // The batch that holds it counts as a whole; AMP has stored the rest of it.
    assert_eq!((&report["ledger"]["rejected"], &report["ledger"]["written"]), (&json!(56), &json!(200)), "{report}");
    assert_eq!((gateway.stored().len(), gateway.stats().requests), (255, 3));
    let errors = report["errors"].to_string();
    assert!(errors.contains("too old") || errors.contains("timestamp"), "{errors}");
}

#[tokio::test]
async fn who_is_denied_stops_and_says_why() {
    let key = Key { secret: SECRET_KEY.to_owned(), session_token: Some("example-session-token".to_owned()), allowed: false };
    let gateway = Gateway::start(Options { keys: [("AKIDEXAMPLE".to_owned(), key)].into(), ..Options::default() }).await.unwrap();
    let report = tick(&gateway, AMPLE).await;
    assert_eq!((&report["outcome"], &report["ledger"]["lost"]), (&json!("failed"), &json!(SAMPLES)), "{report}");
    assert!(report["errors"].to_string().contains("aps:RemoteWrite"), "{report}");
    // Each of the three shards may have asked twice before the first was told no.
    assert!(gateway.stats().requests <= 6, "{:?}", gateway.stats());
}

#[tokio::test]
async fn an_outage_within_a_tick_loses_nothing() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::lasting(Action::Hang, Duration::from_secs(3)));
    let home = scripted(250).await;
    let yaml = Config::new(&home.address(), &gateway).yaml().replace("    sigv4", "    remote_timeout: 1s\n    sigv4");
    let running = Running::start(&yaml).await;
    let report = running.tick(FORWARD, AMPLE).await;
    assert_eq!((&report["outcome"], &report["ledger"]["written"]), (&json!("ok"), &json!(SAMPLES)), "{report}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_keep_the_tick_beyond_its_deadline() {
    let gateway = gateway().await;
    gateway.faults().add(Fault::always(Action::Hang));
    let started = Instant::now();
    let report = tick(&gateway, Duration::from_secs(3)).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!((&report["outcome"], &report["ledger"]["lost"]), (&json!("failed"), &json!(SAMPLES)), "{report}");
    assert!(report["errors"].to_string().contains("out of time"), "{report}");
}

/// After a loss the warm process sends everything again that it still sees.
#[tokio::test]
async fn what_was_lost_is_sent_when_the_home_still_shows_it() {
    let gateway = gateway().await;
    let home = scripted(250).await;
    let running = Running::start(&Config::new(&home.address(), &gateway).yaml()).await;
    gateway.faults().add(Fault::times(respond(404, "no such workspace", None), 3));
    let report = running.tick(FORWARD, AMPLE).await;
    assert!(report["ledger"]["lost"].as_u64().unwrap() > 0, "{report}");
    gateway.faults().clear();
    let report = running.tick(FORWARD, AMPLE).await;
    assert_eq!((&report["outcome"], &report["ledger"]["written"]), (&json!("ok"), &json!(SAMPLES)), "{report}");
}
