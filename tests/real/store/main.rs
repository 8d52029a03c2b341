//! All stores keep the same promises: a directory, S3 over HTTP (moto), and the simulation's. Their
//! errors can be told apart.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "all of this is a test, on the machine's clock"
)]

mod dir;
mod moto;
mod proxy;
mod role;
mod s3;
mod suite;

use std::sync::Arc;

use amp_forwarder::spool::store::dir::DirStore;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::time::SystemClock;

use moto::MotoS3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_promises_of_a_store() {
    let place = tempfile::tempdir().unwrap();
    let store = DirStore::new(&place.path().join("state/spool"));
    suite::run(&store).await;
    suite::races(&store).await;
    suite::keys(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_keeps_the_promises_of_a_store() {
    let moto = MotoS3::start(&[]).await;
    moto.create_bucket("spool").await;
    // There are no races here: moto checks a condition and writes without a lock in between, so
    // that two of eight writers succeed now and then.
    let store = moto.store("spool", "some/prefix").await;
    suite::run(&store).await;
    suite::keys(&store).await;
}

#[tokio::test]
async fn the_simulations_store_keeps_the_promises_of_a_store() {
    let store = MemoryStore::new(Arc::new(SystemClock));
    suite::run(&store).await;
    suite::races(&store).await;
}
