//! Errors that only a directory has.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use amp_forwarder::spool::store::dir::DirStore;
use amp_forwarder::spool::store::{FailureKind, Store};
use bytes::Bytes;
use tokio::time::Instant;

use crate::suite::{content, soon};

/// The variable of the child process of this test; it holds the path of its spool.
const FULL: &str = "STORE_TEST_FULL";

/// A full file system needs root to make. A limit on the size of files does not, and stops a write
/// in its middle just the same.
#[tokio::test]
async fn a_full_directory_says_so_and_keeps_nothing_of_the_object() {
    let Some(root) = std::env::var_os(FULL) else {
        let place = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let output = Command::new("/bin/sh")
            // The signal of the limit would kill the process. When it is ignored, the write fails.
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact \
                 dir::a_full_directory_says_so_and_keeps_nothing_of_the_object",
            ])
            .arg(program)
            .env(FULL, place.path())
            // The output goes to pipes, because the limit would hold for a file, too.
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            place.path().join("small").exists(),
            "the test did not run in the limited process"
        );
        return;
    };
    let root = Path::new(&root);
    let store = DirStore::new(root);
    let full = store
        .put_if_absent("segments/large", Bytes::from(vec![1; 1 << 20]), soon())
        .await
        .unwrap_err();
    assert_eq!(full.kind, FailureKind::Full, "{full}");
    assert!(full.to_string().contains("make room"), "{full}");
    assert_eq!(content(&store, "segments/large").await, None);
    assert_eq!(
        fs::read_dir(root.join(".tmp")).unwrap().count(),
        0,
        "the draft is gone, too"
    );
    // A small object still fits.
    store
        .put_if_absent("small", Bytes::from_static(b"small"), soon())
        .await
        .unwrap();
}

#[tokio::test]
async fn something_else_in_its_place_is_denied() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("spool"), "a file").unwrap();
    let store = DirStore::new(&place.path().join("spool"));
    let error = store
        .put_if_absent("state.json", Bytes::from_static(b"x"), soon())
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Denied, "{error}");
    assert!(error.to_string().contains("forwarder.spool.url"), "{error}");
}

/// Not even root can make a file in these places, so the test does not depend on its user.
#[tokio::test]
async fn a_directory_that_cannot_be_written_to_is_denied_and_says_whose_it_must_be() {
    for place in ["/sys/kernel", "/sys/amp-forwarder"] {
        let error = DirStore::new(Path::new(place))
            .put_if_absent("state.json", Bytes::from_static(b"x"), soon())
            .await
            .unwrap_err();
        assert_eq!(error.kind, FailureKind::Denied, "{error}");
        let message = error.to_string();
        assert!(
            message.contains(place)
                && message.contains("let this user read and write the spool's directory"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_held_lock_keeps_others_waiting_until_their_deadline() {
    let place = tempfile::tempdir().unwrap();
    let store = DirStore::new(place.path());
    store
        .put_if_absent("one", Bytes::from_static(b"1"), soon())
        .await
        .unwrap();
    let lock = OpenOptions::new()
        .write(true)
        .open(place.path().join(".lock"))
        .unwrap();
    lock.lock().unwrap();
    let busy = store
        .put_if_absent(
            "two",
            Bytes::from_static(b"2"),
            Instant::now() + Duration::from_millis(100),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(busy.kind, FailureKind::Busy | FailureKind::NoAnswer),
        "{busy}"
    );
    assert_eq!(content(&store, "two").await, None);

    let waiting = store.put_if_absent("two", Bytes::from_static(b"2"), soon());
    let (done, ()) = tokio::join!(waiting, async { lock.unlock().unwrap() });
    done.unwrap();
}

#[tokio::test]
async fn drafts_that_a_kill_left_are_no_objects_and_go_in_time() {
    let place = tempfile::tempdir().unwrap();
    let store = DirStore::new(place.path());
    let tmp = place.path().join(".tmp");
    fs::create_dir(&tmp).unwrap();
    for (name, age) in [("old", 7200), ("young", 60)] {
        let draft = fs::File::create(tmp.join(name)).unwrap();
        draft
            .set_modified(std::time::SystemTime::now() - Duration::from_secs(age))
            .unwrap();
    }
    store
        .put_if_absent("one", Bytes::from_static(b"1"), soon())
        .await
        .unwrap();
    let listed = store.list("", None, soon()).await.unwrap().value.entries;
    assert_eq!(
        listed
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>(),
        ["one"]
    );
    let left: Vec<_> = fs::read_dir(&tmp)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["young"]);
}
