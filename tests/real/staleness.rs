//! Stale markers on their way through the function and its spool.

use std::collections::BTreeMap;

use amp_forwarder_support::gateway::{Fault, Gateway, SampleValue};
use amp_forwarder_support::home::{Page, ScriptedHome};

use crate::common::{AMPLE, RunningFunction, TestConfig, assert_balanced, gateway};

const FORWARD: &str = include_str!("../../events/forward.json");
const STALE: SampleValue = SampleValue::Float(0x7ff0_0000_0000_0002);

/// Whether each sample of a metric is a stale marker, by metric, oldest first.
fn markers(gateway: &Gateway) -> BTreeMap<String, Vec<bool>> {
    let mut samples: BTreeMap<String, BTreeMap<i64, bool>> = BTreeMap::new();
    for sample in gateway.stored() {
        samples
            .entry(sample.labels["__name__"].clone())
            .or_default()
            .insert(sample.timestamp, sample.value == STALE);
    }
    samples
        .into_iter()
        .map(|(name, samples)| (name, samples.into_values().collect()))
        .collect()
}

#[tokio::test]
async fn what_a_target_shows_no_more_is_marked_once() {
    let (home, gateway) = (
        ScriptedHome::start(Page::text("")).await.unwrap(),
        gateway().await,
    );
    let running = RunningFunction::start(&TestConfig::new(&home.address(), &gateway).yaml()).await;
    let mut written = Vec::new();
    let pages = [
        Page::text("foo 1\nbar{a=\"\\\\\"} 2\n"),
        Page::text("foo 1\n"),
        Page::status(500, "foo 1\n"),
        Page::status(500, "foo 1\n"),
        Page::text("foo 1\n"),
    ];
    for (at, page) in (0..).zip(pages) {
        home.serve(page);
        // The markers of the failed scrape go through the spool.
        if at == 2 {
            gateway
                .faults()
                .add(Fault::times(Fault::status(503, "busy"), 1_000));
        } else {
            gateway.faults().clear();
        }
        let limit = if at == 2 { AMPLE / 10 } else { AMPLE };
        let report = running.tick(FORWARD, limit).await;
        assert_balanced(&report);
        written.push(report["ledger"]["written"].as_u64().unwrap());
    }
    // Each scrape adds five series of the forwarder's own. The fourth one sent what the third could
    // not.
    assert_eq!(written, [7, 7, 0, 11, 6]);
    let markers = markers(&gateway);
    assert_eq!(markers["foo"], [false, false, true, false]);
    assert_eq!(markers["bar"], [false, true]);
    assert_eq!(markers["up"], [false; 5]);
    let stats = gateway.stats();
    assert_eq!(stats.out_of_order, 0, "{stats:?}");
    assert_eq!(stats.repeated, 0, "{stats:?}");
    assert!(stats.refused.is_empty(), "{stats:?}");
}
