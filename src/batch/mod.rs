//! Remote-write request bodies: built once from borrowed labels, compressed, staged until their
//! scrape commits.

mod blocks;
mod compressor;
mod cut;
mod entry;
mod error;
mod left;
mod open;
mod piece;
mod settle;
mod split;
pub mod stage;
mod walk;
mod window;
mod writer;

use crate::prompb::RequestBody;
pub use cut::{Halves, TimeCut, cut_in_time, halve};
pub use error::SplitError;
pub use split::{decode, entries, single_out, split};
pub use window::SeriesWindow;
pub use writer::{SampleCounts, StagedScrape, Writer};

pub use crate::series::cache::{EarlierSamples, WindowStart};

/// One remote-write request body (`WriteRequest`, remote write 1.0, snappy block format) with what
/// must be known of it without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The compressed body, just as it is posted.
    pub body: RequestBody,
    /// Samples in it. A `TimeSeries` entry has one, or those of a window in time order.
    pub samples: u32,
    /// Uncompressed bytes.
    pub raw_len: u32,
    /// Oldest timestamp, milliseconds since 1970.
    pub min_ms: i64,
    /// Newest timestamp, milliseconds since 1970.
    pub max_ms: i64,
}

/// Number of samples in these batches.
#[must_use]
pub fn samples<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> u64 {
    batches
        .into_iter()
        .map(|batch| u64::from(batch.samples))
        .sum()
}

#[cfg(test)]
mod tests;
