//! What the tests and the demo of amp-forwarder run against: real programs where there are any, and
//! where there is none (AMP itself, Lambda itself), servers that answer as the sources say they do.
//!
//! - [`gateway`]: stands for AMP. Checks the signature, the headers and every sample as AMP does,
//!   keeps a journal, can be told to fail, and hands what it accepted to a real Prometheus.
//! - [`process`]: real Prometheus (three versions) and node exporter, on free ports, killed with
//!   their owner.
//! - [`home`]: a scripted exposition server, and a recorder that sits between the function and a
//!   real home.
//! - [`lambda`]: cargo-lambda's emulator, and a runtime API of our own with exact deadlines.
//! - [`tls`]: certificates for servers and clients.
//! - [`query`], [`read`] and [`compare`]: both ends, sample by sample.
//! - [`demo`]: all of them together, for `make demo`.
//! - [`bench`]: the forwarder beside its peers, for `make bench`.

pub mod bench;
pub mod compare;
pub mod demo;
pub mod exposition;
pub mod families;
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

/// Polls `condition` until it holds; the error names `what` when it did not within `limit`.
///
/// In place of fixed sleeps: returns as soon as the condition is there.
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
