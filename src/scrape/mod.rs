//! From a target to batches: one scrape is a transaction, as in Prometheus.

mod body;
mod entry;
mod error;
pub mod exposition;
pub mod fetch;
pub mod histogram;
pub mod intake;
mod lawful;
mod media;
pub mod openmetrics;
mod parser;
pub mod protobuf;
mod run;
pub mod target;
pub mod text;

pub use body::MAX_ENTRY;
pub use error::ScrapeError;
pub use fetch::{Home, HttpHome};
pub use run::{Committed, Scraped, Scraper};
pub use target::{Target, targets};

#[cfg(test)]
mod relabel_tests;
#[cfg(test)]
mod tests;
