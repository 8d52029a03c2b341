//! The promises of every store.

use std::time::Duration;

use amp_forwarder::spool::store::{Etag, FailureKind, Op, PAGE, Store};
use amp_forwarder_support::now_ms;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) async fn run(store: &dyn Store) {
    objects(store).await;
    conditions(store).await;
    clock(store).await;
    deadlines(store).await;
    listing(store).await;
}

pub(crate) async fn content(store: &dyn Store, key: &str) -> Option<Bytes> {
    match store.get(key, u64::MAX, soon()).await {
        Ok(object) => {
            assert!(object.value.is_whole());
            Some(object.value.bytes)
        }
        Err(error) if error.kind == FailureKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

async fn objects(store: &dyn Store) {
    let missing = store.get("state.json", 10, soon()).await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing}");
    assert_eq!(missing.op, Op::Get, "{missing}");
    // The very first tick learns the store's time from this answer.
    assert!(missing.time.is_some());
    assert!(missing.to_string().contains("state.json"), "{missing}");

    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (key, body) in [
        ("o/text", &b"0123456789"[..]),
        ("o/empty", b""),
        ("o/large", &large),
        ("o/a b%20+\u{e9}&?=~", b"odd"),
    ] {
        store
            .put_if_absent(key, Bytes::copy_from_slice(body), soon())
            .await
            .unwrap();
        assert_eq!(content(store, key).await.as_deref(), Some(body), "{key}");
    }
    let part = store.get("o/text", 4, soon()).await.unwrap().value;
    assert_eq!(part.bytes, &b"0123"[..]);
    assert_eq!(part.size, 10, "the size of the whole object");
    assert!(!part.is_whole());

    store.delete("o/text", soon()).await.unwrap();
    assert_eq!(content(store, "o/text").await, None);
    // A delete whose answer was lost is repeated like this.
    store.delete("o/text", soon()).await.unwrap();
    store.delete("never/there", soon()).await.unwrap();
    assert_eq!(content(store, "o/empty").await.as_deref(), Some(&b""[..]));
}

/// A key with a part `..` or `.` would become another one on its way. It is refused, and nothing
/// happens to that other object.
pub(crate) async fn keys(store: &dyn Store) {
    let body = Bytes::from_static(b"another's");
    store
        .put_if_absent("keys/one", body.clone(), soon())
        .await
        .unwrap();
    for key in [
        "keys/x/../one",
        "keys/./one",
        "./keys/one",
        "keys/x/..",
        "keys//one",
    ] {
        let new = Bytes::from_static(b"new");
        let refusals = [
            store.get(key, 10, soon()).await.map(|_| ()),
            store.delete(key, soon()).await.map(|_| ()),
            store.put_if_absent(key, new, soon()).await.map(|_| ()),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert_eq!(error.kind, FailureKind::Denied, "{key}: {error}");
        }
    }
    assert_eq!(content(store, "keys/one").await, Some(body));
}

async fn conditions(store: &dyn Store) {
    let first = store
        .put_if_absent("c/one", Bytes::from_static(b"1"), soon())
        .await
        .unwrap()
        .value;
    let exists = store
        .put_if_absent("c/one", Bytes::from_static(b"2"), soon())
        .await
        .unwrap_err();
    assert_eq!(exists.kind, FailureKind::Changed, "{exists}");
    assert_eq!(content(store, "c/one").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(
        store
            .get("c/one", u64::MAX, soon())
            .await
            .unwrap()
            .value
            .etag,
        first
    );

    let second = store
        .put_if_match("c/one", Bytes::from_static(b"3"), &first, soon())
        .await
        .unwrap()
        .value;
    assert_ne!(first, second);
    let changed = store
        .put_if_match("c/one", Bytes::from_static(b"4"), &first, soon())
        .await
        .unwrap_err();
    assert_eq!(changed.kind, FailureKind::Changed, "{changed}");
    assert_eq!(content(store, "c/one").await.as_deref(), Some(&b"3"[..]));
    let third = store
        .put_if_match("c/one", Bytes::from_static(b"5"), &second, soon())
        .await
        .unwrap()
        .value;

    store.delete("c/one", soon()).await.unwrap();
    let gone = store
        .put_if_match("c/one", Bytes::from_static(b"6"), &third, soon())
        .await
        .unwrap_err();
    assert_eq!(gone.kind, FailureKind::Changed, "{gone}");
    assert_eq!(content(store, "c/one").await, None);
    store
        .put_if_absent("c/one", Bytes::from_static(b"7"), soon())
        .await
        .unwrap();
}

/// Of several writers at once, exactly one succeeds, and the others get an error.
pub(crate) async fn races(store: &dyn Store) {
    let writes = (0..8_u8).map(|n| async move {
        (
            n,
            store
                .put_if_absent("r/new", Bytes::from(vec![n]), soon())
                .await,
        )
    });
    let base = winner(
        store,
        "r/new",
        join_all(writes)
            .await
            .into_iter()
            .map(|(n, done)| (n, done.map(|answer| answer.value))),
    )
    .await;
    let writes = (10..18_u8).map(|n| {
        let base = base.clone();
        async move {
            (
                n,
                store
                    .put_if_match("r/new", Bytes::from(vec![n]), &base, soon())
                    .await,
            )
        }
    });
    winner(
        store,
        "r/new",
        join_all(writes)
            .await
            .into_iter()
            .map(|(n, done)| (n, done.map(|answer| answer.value))),
    )
    .await;
}

async fn winner(
    store: &dyn Store,
    key: &str,
    tries: impl Iterator<Item = (u8, Result<Etag, amp_forwarder::spool::store::StoreError>)>,
) -> Etag {
    let mut won = Vec::new();
    for (n, done) in tries {
        match done {
            Ok(etag) => won.push((n, etag)),
            Err(error) => assert!(
                matches!(error.kind, FailureKind::Changed | FailureKind::Busy),
                "{error}"
            ),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    let (n, etag) = won.remove(0);
    assert_eq!(content(store, key).await.as_deref(), Some(&[n][..]));
    etag
}

async fn clock(store: &dyn Store) {
    let before = now_ms();
    let time = store.get("o/empty", 1, soon()).await.unwrap().time;
    let after = now_ms();
    assert!(
        time.date_ms + time.coarse_ms >= before && time.date_ms <= after,
        "{before} {time:?} {after}"
    );
    assert!(time.sent <= time.received);
}

async fn deadlines(store: &dyn Store) {
    let error = store
        .put_if_absent("d/late", Bytes::from_static(b"x"), Instant::now())
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Unreachable, "{error}");
    let error = store.delete("o/empty", Instant::now()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unreachable, "{error}");
    assert_eq!(content(store, "d/late").await, None);
    assert!(content(store, "o/empty").await.is_some());
}

async fn listing(store: &dyn Store) {
    let empty = store.list("l/", None, soon()).await.unwrap().value;
    assert!(empty.entries.is_empty() && !empty.more);

    let mut keys: Vec<String> = (0..PAGE + 50).map(|n| format!("l/b/{n:05}")).collect();
    // Names that sort differently as bytes than as words or paths: `l/a-`, `l/a/`, `l/a0`.
    keys.extend(
        [
            "l/a/x",
            "l/a-/x",
            "l/a0",
            "l/B",
            "l/_",
            "l/\u{e9}",
            "l/c/d/e/f",
        ]
        .map(str::to_owned),
    );
    stream::iter(&keys)
        .for_each_concurrent(16, |key| async move {
            store
                .put_if_absent(key, Bytes::from_static(b"12345"), soon())
                .await
                .unwrap();
        })
        .await;
    keys.sort_unstable();

    let mut listed: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let page = store
            .list("l/", listed.last().map(String::as_str), soon())
            .await
            .unwrap()
            .value;
        pages += 1;
        assert!(page.entries.len() <= PAGE && page.entries.iter().all(|entry| entry.size == 5));
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, 2);
    assert_eq!(listed, keys);

    let keys = |page: amp_forwarder::spool::store::Page| {
        page.entries
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>()
    };
    let few = store.list("l/a", None, soon()).await.unwrap().value;
    assert_eq!(keys(few), ["l/a-/x", "l/a/x", "l/a0"]);
    let few = store
        .list("l/a/", Some("l/a/x"), soon())
        .await
        .unwrap()
        .value;
    assert_eq!(keys(few), [""; 0]);
    // A listing has only objects: no lock and no drafts.
    let all = store.list("", None, soon()).await.unwrap().value;
    assert!(
        all.entries.iter().all(|entry| !entry.key.starts_with('.')),
        "{:?}",
        all.entries[0]
    );
}
