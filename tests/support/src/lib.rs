//! The other side of amp-forwarder: what its tests, its demo and its benchmark run against.
//!
//! Where a real program exists, it is used. AMP and Lambda cannot run on this machine; servers that
//! answer as their sources say take their place.
//!
//! # A tour along the way of a sample
//!
//! 1. [`process`] starts real programs as child processes on free ports: Prometheus in three
//!    versions, node exporter, VictoriaMetrics, and moto for S3. They are killed with their owner.
//!    [`tools`] finds the programs that `make tools` fetched.
//! 2. [`home`] has homes for tests: one with scripted answers, and a recorder between the function
//!    and a real home, so that a test knows from the wire what was exposed. [`families`] are the
//!    messages of a protobuf exposition; [`exposition`] reads what a real home serves.
//! 3. [`lambda`] runs the function as Lambda does: under cargo-lambda's emulator, or under our own
//!    runtime API with exact deadlines.
//! 4. [`gateway`] takes the place of AMP. It checks the signature, the headers and every sample as
//!    AMP does, keeps a journal, fails when a test asks for it, and forwards what it accepted to a
//!    real Prometheus.
//! 5. [`query`] and [`read`] read both ends by the query API and by remote read; [`compare`]
//!    compares them sample by sample.
//!
//! [`http`] and [`tls`] are the servers, the client and the certificates of all of these. [`demo`]
//! puts everything together for `make demo`; [`bench`] measures the forwarder and its peers for
//! `make bench`, and [`fleet`] lets one function serve a thousand sites for `make fleet`.

pub mod bench;
pub mod cgroup;
pub mod compare;
pub mod demo;
pub mod exposition;
pub mod families;
pub mod fleet;
pub mod gateway;
pub mod home;
pub mod http;
pub mod lambda;
pub mod process;
pub mod query;
pub mod read;
pub mod tls;
pub mod tools;

pub use anyhow::Result;

/// A label set with `__name__`.
pub type Labels = std::collections::BTreeMap<String, String>;

/// Milliseconds since the Unix epoch, by this machine's clock.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// Polls `condition` until it holds, in the place of a fixed sleep.
///
/// # Errors
/// Fails with `what` in the message when the condition does not hold within `limit`.
pub async fn wait_for<F, Fut>(
    what: &str,
    limit: std::time::Duration,
    mut condition: F,
) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = std::time::Instant::now();
    while !condition().await {
        anyhow::ensure!(
            start.elapsed() < limit,
            "{what}: still not so after {limit:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}
