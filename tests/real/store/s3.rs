//! Errors that only S3 has.

use std::time::{Duration, Instant as WallInstant};

use amp_forwarder::spool::store::s3::S3Store;
use amp_forwarder::spool::store::{FailureKind, Store, StoreError};
use amp_forwarder_support::process::Port;
use bytes::Bytes;
use tokio::time::Instant;

use crate::moto::{MotoS3, sdk};
use crate::proxy::{Proxy, ProxyMode};
use crate::suite::{content, soon};

const BODY: Bytes = Bytes::from_static(b"body");

async fn through_proxy() -> (MotoS3, Proxy, S3Store) {
    let moto = MotoS3::start(&[]).await;
    moto.create_bucket("spool").await;
    let proxy = Proxy::start(moto.port).await;
    let store = S3Store::new("spool", "", &sdk(proxy.port, "test", "test").await);
    (moto, proxy, store)
}

fn says(error: &StoreError, kind: FailureKind, words: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}: lacks {word:?}");
    }
    assert!(!error.to_string().contains("test-secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_after_the_write_is_told_apart() {
    let (moto, proxy, store) = through_proxy().await;
    let direct = moto.store("spool", "").await;
    let etag = store
        .put_if_absent("state.json", BODY, soon())
        .await
        .unwrap()
        .value;

    proxy.set(ProxyMode::CutAnswer);
    let lost = store
        .put_if_absent("segments/a/1", BODY, soon())
        .await
        .unwrap_err();
    says(
        &lost,
        FailureKind::NoAnswer,
        &["spool: put s3://spool/segments/a/1"],
    );
    assert_eq!(content(&direct, "segments/a/1").await, Some(BODY));
    let lost = store
        .put_if_match("state.json", Bytes::from_static(b"new"), &etag, soon())
        .await
        .unwrap_err();
    says(&lost, FailureKind::NoAnswer, &["state.json"]);
    assert_eq!(
        content(&direct, "state.json").await.as_deref(),
        Some(&b"new"[..])
    );
    let lost = store.delete("segments/a/1", soon()).await.unwrap_err();
    says(&lost, FailureKind::NoAnswer, &["spool: delete"]);
    assert_eq!(content(&direct, "segments/a/1").await, None);

    // The repeated request finds the result of its own first try. Only the caller can know that.
    proxy.set(ProxyMode::Pass);
    says(
        &store
            .put_if_match("state.json", Bytes::from_static(b"new"), &etag, soon())
            .await
            .unwrap_err(),
        FailureKind::Changed,
        &["412"],
    );
    store.delete("segments/a/1", soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_on_the_way_may_pass_the_next_time() {
    let (_moto, proxy, store) = through_proxy().await;
    store
        .put_if_absent("segments/a/1", BODY, soon())
        .await
        .unwrap();
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    proxy.set(ProxyMode::Answer(format!(
        "HTTP/1.1 206 Partial Content\r\ndate: {date}\r\netag: \"1\"\r\ncontent-length: 4\r\n\
         content-range: bytes 0-3/4\r\nconnection: close\r\n\r\nbo"
    )));
    let cut = store.get("segments/a/1", 100, soon()).await.unwrap_err();
    says(&cut, FailureKind::NoAnswer, &["segments/a/1"]);
    proxy.answer("400 Bad Request", "RequestTimeout");
    let late = store
        .put_if_absent("segments/a/2", BODY, soon())
        .await
        .unwrap_err();
    says(&late, FailureKind::Busy, &["RequestTimeout"]);
    proxy.set(ProxyMode::Pass);
    assert_eq!(content(&store, "segments/a/1").await, Some(BODY));
    store
        .put_if_absent("segments/a/2", BODY, soon())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_is_left_at_the_deadline() {
    let (moto, proxy, store) = through_proxy().await;
    proxy.set(ProxyMode::Hang);
    let started = WallInstant::now();
    let deadline = Instant::now() + Duration::from_millis(400);
    let slow = store
        .put_if_absent("slow", BODY, deadline)
        .await
        .unwrap_err();
    says(
        &slow,
        FailureKind::NoAnswer,
        &["no answer within", "more time"],
    );
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        content(&moto.store("spool", "").await, "slow").await,
        Some(BODY),
        "it may have happened, and here it has"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_refuse_mean_what_they_say() {
    let (_moto, proxy, store) = through_proxy().await;
    let rows = [
        (
            "503 Slow Down",
            "SlowDown",
            FailureKind::Busy,
            "503 SlowDown",
        ),
        (
            "409 Conflict",
            "ConditionalRequestConflict",
            FailureKind::Busy,
            "409",
        ),
        (
            "412 Precondition Failed",
            "PreconditionFailed",
            FailureKind::Changed,
            "412",
        ),
        (
            "500 Internal Server Error",
            "InternalError",
            FailureKind::NoAnswer,
            "InternalError",
        ),
        (
            "403 Forbidden",
            "AccessDenied",
            FailureKind::Denied,
            "s3:PutObject",
        ),
        (
            "507 Insufficient Storage",
            "StorageFull",
            FailureKind::Full,
            "make room",
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            FailureKind::Denied,
            "AWS_REGION",
        ),
    ];
    for (status, code, kind, words) in rows {
        proxy.answer(status, code);
        let error = store
            .put_if_absent("refused", BODY, soon())
            .await
            .unwrap_err();
        says(&error, kind, &[words, "as the test wants it"]);
        assert!(error.time.is_some(), "{error}");
    }
    proxy.answer("503 Slow Down", "SlowDown");
    says(
        &store.get("refused", 10, soon()).await.unwrap_err(),
        FailureKind::Busy,
        &["spool: get"],
    );
    says(
        &store.list("refused", None, soon()).await.unwrap_err(),
        FailureKind::Busy,
        &["spool: list"],
    );
    says(
        &store.delete("refused", soon()).await.unwrap_err(),
        FailureKind::Busy,
        &["spool: delete"],
    );
    // Nothing of it was done, and nothing was retried by the SDK.
    proxy.set(ProxyMode::Pass);
    assert_eq!(content(&store, "refused").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_not_there_was_not_asked() {
    let port = Port::reserve().unwrap();
    let store = S3Store::new(
        "spool",
        "",
        &sdk(port.number(), "test", "test-secret").await,
    );
    let error = store
        .put_if_absent("state.json", BODY, soon())
        .await
        .unwrap_err();
    says(
        &error,
        FailureKind::Unreachable,
        &["connect http://127.0.0.1", "refused"],
    );
    assert_eq!(error.time, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_no_empty_spool() {
    let moto = MotoS3::start(&[]).await;
    let error = moto
        .store("nowhere", "")
        .await
        .get("state.json", 10, soon())
        .await
        .unwrap_err();
    says(
        &error,
        FailureKind::Denied,
        &["NoSuchBucket", "create the bucket"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_wrong_and_roles_that_may_nothing_are_denied() {
    // Permissions are checked after the bucket, the user and the key were made.
    let moto = MotoS3::start(&[("INITIAL_NO_AUTH_ACTION_COUNT", "3")]).await;
    moto.create_bucket("spool").await;
    let (access_key, secret_key) = moto.powerless_user().await;

    let unknown = S3Store::new(
        "spool",
        "",
        &sdk(moto.port, "AKIAUNKNOWN", "test-secret").await,
    );
    says(
        &unknown.get("state.json", 10, soon()).await.unwrap_err(),
        FailureKind::Denied,
        &["403 InvalidAccessKeyId", "renew them"],
    );
    let wrong = S3Store::new(
        "spool",
        "",
        &sdk(moto.port, &access_key, "test-secret").await,
    );
    says(
        &wrong
            .put_if_absent("state.json", BODY, soon())
            .await
            .unwrap_err(),
        FailureKind::Denied,
        &["403 SignatureDoesNotMatch", "renew them"],
    );
    let powerless = S3Store::new("spool", "", &sdk(moto.port, &access_key, &secret_key).await);
    says(
        &powerless
            .put_if_absent("state.json", BODY, soon())
            .await
            .unwrap_err(),
        FailureKind::Denied,
        &["403 AccessDenied", "s3:PutObject"],
    );
    says(
        &powerless.list("", None, soon()).await.unwrap_err(),
        FailureKind::Denied,
        &["s3:ListBucket"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_anew_is_not_deleted() {
    let moto = MotoS3::start(&[]).await;
    moto.create_bucket("spool").await;
    let store = moto.store("spool", "").await;
    let put = store.put_if_absent("segments/a/1", BODY, soon()).await;
    let etag = put.unwrap().value;
    let new = Bytes::from_static(b"new");
    let put = store.put_if_match("segments/a/1", new.clone(), &etag, soon());
    let newer = put.await.unwrap().value;
    let refused = store.delete_if_match("segments/a/1", &etag, soon()).await;
    says(&refused.unwrap_err(), FailureKind::Changed, &["delete"]);
    assert_eq!(content(&store, "segments/a/1").await, Some(new));
    for gone in [false, true] {
        let deleted = store.delete_if_match("segments/a/1", &newer, soon()).await;
        assert!(deleted.is_ok(), "{gone}: {:?}", deleted.err());
        assert_eq!(content(&store, "segments/a/1").await, None);
    }
}
