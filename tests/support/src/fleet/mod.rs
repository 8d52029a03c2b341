//! `make fleet`: a thousand sites that one function serves.
//!
//! The homes are one server, which answers as Prometheus does at the path of each site
//! ([`homes`]). The receiver counts what it gets and looks at the order of each series
//! ([`receiver`]). S3 is moto, which holds each site's configuration and spool; its log has every
//! call. The function runs in several processes, each behind a runtime API, and each site is
//! invoked once a minute at its own second, as schedules do it ([`run`]). What came of it is
//! printed by [`report`].
//!
//! Nothing here is a network: there is no TLS, no distance, and no limit of AWS.

pub mod homes;
pub mod receiver;
pub mod report;
pub mod run;

pub use report::FleetResults;
pub use run::{FleetOptions, run};
