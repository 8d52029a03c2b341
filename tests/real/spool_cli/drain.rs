//! The delivery of a backlog, also of one that is adopted.

use amp_forwarder_support::gateway::faults::Fault;
use serde_json::json;

use super::{SAMPLES, SpoolFixture, denied};
use crate::common::assert_has;

#[tokio::test]
async fn a_backlog_is_drained() {
    let spool = SpoolFixture::after_an_outage().await;
    assert_eq!(spool.gateway.stored().len(), 0);
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out, "130 samples written; nothing is owed any more\n");
    assert!(
        !ran.err.contains('\u{1b}') && !ran.err.contains("/130"),
        "no bar without a terminal: {}",
        ran.err
    );
    assert_eq!(spool.gateway.stored().len() as u64, SAMPLES);
    assert!(spool.segments().is_empty(), "{:?}", spool.segments());
    assert_eq!(spool.gateway.stats().out_of_order, 0);
    let drained = spool.json(&["spool", "drain"]).await;
    assert_has(
        &drained,
        &json!({"outcome": "drained", "slices": 1, "ledger": {"owed_before": 0}}),
    );
}

#[tokio::test]
async fn the_backlog_of_a_renamed_remote_or_of_another_place_is_adopted() {
    for other_place in [false, true] {
        let spool = SpoolFixture::after_an_outage().await;
        let config = spool.folder.path().join("forwarder.yml");
        let yaml = std::fs::read_to_string(&config).unwrap();
        let old = spool.folder.path().join("spool");
        let elsewhere = format!("file://{}", spool.folder.path().join("old").display());
        let mut adopt = vec!["spool", "adopt", "amp"];
        if other_place {
            std::fs::rename(&old, spool.folder.path().join("old")).unwrap();
            adopt.extend(["--from", &elsewhere]);
        } else {
            let still_named = spool.runs(&adopt).await;
            assert_eq!(still_named.code, Some(2), "{}", still_named.err);
        }
        std::fs::write(&config, yaml.replace("name: amp", "name: new")).unwrap();
        if !other_place {
            let ran = spool.runs(&["spool", "drain", "--json"]).await;
            assert!(
                ran.out.contains("forwardctl spool adopt amp"),
                "{}",
                ran.out
            );
        }
        let ran = spool.runs(&adopt).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(
            ran.out,
            "130 samples of amp are owed to new now; the next tick sends them\n"
        );
        let nothing = spool.runs(&adopt).await;
        assert_eq!(nothing.code, Some(1), "{}", nothing.out);
        assert!(nothing.err.contains("there is no backlog of amp"));
        let drained = spool.json(&["spool", "drain"]).await;
        assert_has(
            &drained,
            &json!({"outcome": "drained", "ledger": {"written": SAMPLES}}),
        );
        assert_eq!(spool.gateway.stored().len() as u64, SAMPLES);
    }
}

#[tokio::test]
async fn a_drain_that_gets_nowhere_says_why_and_ends() {
    let spool = SpoolFixture::after_an_outage().await;
    spool.gateway.faults().add(Fault::always(denied()));
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.contains("130 samples still owed") && ran.err.contains("403"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(spool.json(&["status"]).await["spool"]["samples"], SAMPLES);
}
