//! Forwards a home Prometheus' `/federate` to Amazon Managed Service for Prometheus.

pub mod batch;
pub mod config;
pub mod net;
pub mod scrape;
pub mod send;
pub mod series;
pub mod time;
