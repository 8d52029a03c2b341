//! Spools that are damaged, or cannot be used.

use super::{SAMPLES, SpoolFixture};

#[tokio::test]
async fn every_damaged_object_is_reported() {
    let spool = SpoolFixture::after_an_outage().await;
    let ran = spool.runs(&["spool", "verify"]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let whole = std::fs::read(&spool.segments()[0]).unwrap();
    let plant = |name: &str, bytes: &[u8]| {
        std::fs::write(spool.path().join("segments/amp").join(name), bytes).unwrap();
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    plant("0000000000-00000001-0000.seg", &flipped);
    plant("0000000000-00000002-0000.seg", &whole[..whole.len() - 1]);
    plant("notes.txt", b"milk, eggs");
    let ran = spool.runs(&["spool", "verify"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let reported = |name: &str, why: &str| {
        ran.out
            .lines()
            .any(|line| line.contains(name) && line.contains(why))
    };
    assert!(
        reported("0000000000-00000001-0000.seg", "checksum")
            && reported("0000000000-00000002-0000.seg", "truncated"),
        "{}",
        ran.out
    );
    assert!(
        reported("notes.txt", "not a segment") && ran.out.contains("3 of "),
        "{}",
        ran.out
    );
    let ran = spool
        .runs(&["spool", "verify", "--folder", "rejected"])
        .await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let ran = spool
        .runs(&["spool", "show", "0000000000-00000002-0000.seg"])
        .await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("truncated"), "{}", ran.err);

    // Readable segments are exported in spite of the damaged ones.
    let ran = spool.runs(&["spool", "export"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.ends_with("# EOF\n")
            && ran
                .out
                .lines()
                .filter(|line| line.starts_with("m{"))
                .count()
                == 125,
        "{}",
        ran.out
    );
    assert_eq!(
        ran.err
            .lines()
            .filter(|line| line.starts_with("left out: "))
            .count(),
        3,
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_spool_that_cannot_be_used_says_why() {
    let spool = SpoolFixture::after_an_outage().await;
    let state = spool.path().join("state.json");
    std::fs::write(&state, r#"{"version":3}"#).unwrap();
    for arguments in [&["status"][..], &["spool", "drain"]] {
        let ran = spool.runs(arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}");
        assert!(
            ran.err.contains("version 3") && ran.err.contains("bring the newer program back"),
            "{}",
            ran.err
        );
    }
    // The segments can be listed without a readable state.
    assert_eq!(
        spool.json(&["spool", "ls"]).await["remotes"][0]["samples"],
        SAMPLES
    );
    std::fs::write(&state, "no json").unwrap();
    let ran = spool.runs(&["status"]).await;
    assert!(
        ran.code == Some(1) && ran.err.contains("remove that one object"),
        "{}",
        ran.err
    );

    let file = SpoolFixture::new().await;
    std::fs::write(file.path(), "a file").unwrap();
    for arguments in [&["status"][..], &["spool", "ls"], &["spool", "export"]] {
        let ran = file.runs(arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.out);
        assert!(
            ran.err.starts_with("spool: ")
                && ran.err.contains("name another one in forwarder.spool.url"),
            "{}",
            ran.err
        );
    }
}
