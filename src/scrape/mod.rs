//! From a target to batches: one scrape is a transaction, as in Prometheus.

mod accept;
mod body;
mod entry;
mod error;
pub mod exposition;
mod grammar;
mod gzip;
mod lexer;
mod media;
pub mod openmetrics;
mod parser;
pub mod protobuf;
mod refusal;
mod run;
pub mod text;

pub use body::MAX_ENTRY;
pub use error::ScrapeError;
pub use run::{ScrapeOutcome, Scraper};

#[cfg(test)]
mod relabel_tests;
#[cfg(test)]
mod tests;
