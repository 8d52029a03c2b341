//! Forwards a home Prometheus' `/federate` to Amazon Managed Service for Prometheus.

pub mod batch;
pub mod check;
pub mod config;
pub mod event;
#[cfg(feature = "lambda")]
pub mod function;
pub mod home;
pub mod intake;
pub mod metadata;
pub mod net;
pub mod prompb;
pub mod queue;
pub mod relabel;
pub mod report;
pub mod scrape;
pub mod send;
pub mod series;
pub mod setup;
pub mod spool;
pub mod status;
pub mod tick;
pub mod time;
