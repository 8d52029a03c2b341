//! Forwards a home Prometheus' `/federate` to Amazon Managed Service for Prometheus.

pub mod batch;
pub mod config;
pub mod net;
pub mod send;
pub mod time;
