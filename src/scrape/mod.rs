//! From a target to batches: one scrape is a transaction, as in Prometheus.

mod body;
mod error;
pub mod exposition;
pub mod fetch;
pub mod intake;
mod lawful;
mod media;
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
