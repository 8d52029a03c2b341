//! Errors that only a directory has.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use amp_forwarder::spool::store::dir::DirStore;
use amp_forwarder::spool::store::{FailureKind, NOT_A_FILE, Store};
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
    let (old, young) = ("0".repeat(32), "1".repeat(32));
    // A file whose name is not that of a draft is somebody else's.
    for (name, age) in [(old.as_str(), 7200), (&young, 60), ("notes", 7200)] {
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
    let mut left: Vec<_> = fs::read_dir(&tmp)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [young.as_str(), "notes"]);
}

/// Permissions of a file or folder, without its kind.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_made_is_for_its_user_alone() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("state/spool");
    DirStore::new(&root)
        .put_if_absent("segments/amp/one", Bytes::from_static(b"1"), soon())
        .await
        .unwrap();
    for (path, expected) in [
        ("", 0o700),
        (".tmp", 0o700),
        (".lock", 0o600),
        ("segments", 0o700),
        ("segments/amp", 0o700),
        ("segments/amp/one", 0o600),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
}

/// A directory of somebody else, with a file that the spool must not touch.
struct Elsewhere {
    place: tempfile::TempDir,
    root: std::path::PathBuf,
    secret: std::path::PathBuf,
}

impl Elsewhere {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (root, other) = (place.path().join("spool"), place.path().join("other"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&other).unwrap();
        let secret = other.join("0".repeat(32));
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
        let file = OpenOptions::new().write(true).open(&secret).unwrap();
        file.set_modified(long_ago).unwrap();
        Self {
            place,
            root,
            secret,
        }
    }

    fn other(&self) -> std::path::PathBuf {
        self.place.path().join("other")
    }

    /// Asserts that nothing was read, made or deleted outside of the spool.
    fn is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.other())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(names, [self.secret.as_path()]);
        assert_eq!(fs::read(&self.secret).unwrap(), b"secret");
    }
}

#[tokio::test]
async fn no_link_leads_out_of_the_directory() {
    for link in [".tmp", "segments", "segments/amp"] {
        let elsewhere = Elsewhere::new();
        let at = elsewhere.root.join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(elsewhere.other(), &at).unwrap();
        let store = DirStore::new(&elsewhere.root);
        let name = "0".repeat(32);
        let key = format!("segments/amp/{name}");
        let put = store
            .put_if_absent("segments/amp/new", Bytes::from_static(b"x"), soon())
            .await
            .unwrap_err();
        assert_eq!(put.kind, FailureKind::Denied, "{link}: {put}");
        if link == "segments/amp" {
            let read = store.get(&key, 10, soon()).await.unwrap_err();
            assert_eq!(read.kind, FailureKind::Denied, "{link}: {read}");
            store.delete(&key, soon()).await.unwrap_err();
            let listed = store.list("segments/", None, soon()).await.unwrap().value;
            assert_eq!(listed.entries[0].size, NOT_A_FILE);
        }
        elsewhere.is_untouched();
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_no_object_and_keeps_nobody_waiting() {
    let elsewhere = Elsewhere::new();
    let folder = elsewhere.root.join("segments/amp");
    fs::create_dir_all(&folder).unwrap();
    symlink(&elsewhere.secret, folder.join("link")).unwrap();
    symlink("/nonexistent", folder.join("dangling")).unwrap();
    symlink(&elsewhere.secret, elsewhere.root.join(".lock")).unwrap();
    for pipe in [folder.join("pipe"), elsewhere.root.join("state.json")] {
        let made = Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
    }
    let store = DirStore::new(&elsewhere.root);
    let listed = store.list("segments/", None, soon()).await.unwrap().value;
    assert_eq!(listed.entries.len(), 3);
    assert!(listed.entries.iter().all(|entry| entry.size == NOT_A_FILE));
    for key in [
        "segments/amp/link",
        "segments/amp/dangling",
        "segments/amp/pipe",
        "state.json",
        "segments/amp",
    ] {
        let read = store.get(key, 10, soon()).await.unwrap_err();
        assert_eq!(read.kind, FailureKind::Denied, "{key}: {read}");
        let exists = store
            .put_if_absent(key, Bytes::from_static(b"x"), soon())
            .await
            .unwrap_err();
        assert_eq!(
            exists.kind,
            FailureKind::Denied,
            "the lock is a link: {exists}"
        );
    }
    fs::remove_file(elsewhere.root.join(".lock")).unwrap();
    let exists = store
        .put_if_absent("segments/amp/dangling", Bytes::from_static(b"x"), soon())
        .await
        .unwrap_err();
    assert_eq!(exists.kind, FailureKind::Changed, "{exists}");
    // Only the link goes.
    store.delete("segments/amp/link", soon()).await.unwrap();
    elsewhere.is_untouched();
}

#[tokio::test]
async fn no_key_leads_out_of_the_directory() {
    let elsewhere = Elsewhere::new();
    let store = DirStore::new(&elsewhere.root);
    let name = "0".repeat(32);
    for key in [
        format!("../other/{name}"),
        format!("segments/../../other/{name}"),
        format!("segments/./{name}"),
        format!("segments//{name}"),
        elsewhere.secret.display().to_string(),
    ] {
        let errors = [
            store.get(&key, 10, soon()).await.unwrap_err(),
            store.delete(&key, soon()).await.unwrap_err(),
            store
                .put_if_absent(&key, Bytes::from_static(b"x"), soon())
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, FailureKind::Denied, "{key}: {error}");
        }
    }
    elsewhere.is_untouched();
}
