//! What `status`, `spool ls` and `spool show` say of a spool.

use amp_forwarder_support::home::Page;
use amp_forwarder_support::now_ms;
use serde_json::json;

use super::{SAMPLES, SpoolFixture};
use crate::common::{assert_has, exposition};

#[tokio::test]
async fn a_spool_that_is_not_there_yet_is_no_error() {
    let spool = SpoolFixture::new().await;
    for arguments in [&["status"][..], &["spool", "ls"], &["spool", "verify"]] {
        let ran = spool.runs(arguments).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            ran.out.contains("none yet") || ran.out.contains("no spool yet"),
            "{arguments:?}: {}",
            ran.out
        );
    }
    assert_eq!(spool.json(&["spool", "ls"]).await["remotes"], json!([]));
    assert_eq!(spool.json(&["spool", "verify"]).await["damaged"], json!([]));
    let status = spool.json(&["status"]).await;
    assert_has(
        &status,
        &json!({"spool": {"exists": false, "lease": {"state": "free"}}}),
    );
    let ran = spool.runs(&["spool", "export"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out, "# EOF\n");
    assert!(!spool.path().exists(), "looking makes nothing");
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("nothing is owed any more"), "{}", ran.out);
}

#[tokio::test]
async fn a_backlog_is_listed() {
    let spool = SpoolFixture::after_an_outage().await;
    let listed = spool.json(&["spool", "ls", "--long"]).await;
    let heap = &listed["remotes"][0];
    assert_has(
        heap,
        &json!({"folder": "segments", "remote": "amp", "samples": SAMPLES}),
    );
    let bytes: u64 = spool
        .segments()
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(heap["objects"], spool.segments().len());
    assert_eq!(heap["bytes"], bytes);
    let ran = spool.runs(&["spool", "ls"]).await;
    assert!(
        ran.out.starts_with("FOLDER ")
            && ran.out.contains("segments  amp ")
            && ran.out.contains(" 130 "),
        "{}",
        ran.out
    );
    let ran = spool.runs(&["spool", "ls", "--remote", "amq"]).await;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("unknown remote amq") && ran.err.contains("have: amp"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn the_status_shows_a_backlog() {
    let spool = SpoolFixture::after_an_outage().await;
    let status = spool.json(&["status"]).await;
    assert_eq!(status["spool"]["samples"], SAMPLES, "{status}");
    assert_eq!(status["remotes"][0]["samples"], SAMPLES, "{status}");
    assert_has(
        &status,
        &json!({"spool": {"lease": {"state": "free"}, "epoch": 1}}),
    );
    assert!(
        status["jobs"][0]["watermarks"]["amp"].as_i64().unwrap() > now_ms() - 120_000,
        "{status}"
    );
    let ran = spool.runs(&["status"]).await;
    assert!(
        ran.out.contains("130 samples in")
            && ran.out.contains("lease    free")
            && ran.out.contains("federate  20"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn a_segment_is_shown_by_its_key_its_name_or_its_path() {
    let spool = SpoolFixture::after_an_outage().await;
    let listed = spool.json(&["spool", "ls", "--long"]).await;
    let key = listed["objects"][0]["key"].as_str().unwrap();
    let name = key.rsplit('/').next().unwrap();
    for name in [
        key.to_owned(),
        name.to_owned(),
        spool.path().join(key).display().to_string(),
    ] {
        let shown = spool.json(&["spool", "show", &name]).await;
        let samples: u64 = shown["batches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|batch| batch["samples"].as_u64().unwrap())
            .sum();
        assert_has(&shown, &json!({"key": key, "epoch": 1, "samples": samples}));
    }
    assert!(
        spool
            .runs(&["spool", "show", name])
            .await
            .out
            .contains("of epoch 1")
    );
    let ran = spool
        .runs(&["spool", "show", "0000000099-00000000-0000.seg"])
        .await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("spool ls --long"), "{}", ran.err);
}

#[tokio::test]
async fn what_was_refused_is_shown_with_its_answer() {
    let spool = SpoolFixture::new().await;
    // Without this limit, the old sample would be taken out of its batch beforehand.
    let path = spool.folder.path().join("forwarder.yml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let yaml = yaml.replace("capacity: 2500", "capacity: 2500, sample_age_limit: 0s");
    std::fs::write(&path, yaml).unwrap();
    let now = now_ms();
    spool.home.serve(Page::text(format!(
        "{}old{{job=\"j\"}} 1 {}\n",
        exposition(20, now),
        now - 2 * 3_600_000
    )));
    spool.runs(&["run", "--once"]).await;
    let listed = spool
        .json(&["spool", "ls", "--folder", "rejected", "--long"])
        .await;
    let key = listed["objects"][0]["key"].as_str().unwrap();
    assert!(key.starts_with("rejected/amp/"), "{listed}");
    let shown = spool.json(&["spool", "show", key]).await;
    assert_eq!(shown["note"]["status"], 400, "{shown}");
    let message = shown["note"]["message"].as_str().unwrap();
    assert!(!message.is_empty());
    let ran = spool.runs(&["spool", "show", key]).await;
    assert!(
        ran.out.contains("refused with 400: ") && ran.out.contains(message.trim_end()),
        "{}",
        ran.out
    );
}
