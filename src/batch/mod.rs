//! Remote-write request bodies: built once from borrowed labels, compressed, staged until their
//! scrape commits.

mod chunk;
pub mod proto;
mod split;
pub mod stage;
mod value;
pub mod wire;
mod writer;

use crate::net::Body;
pub use split::{SplitError, decode, split};
pub use value::{Kind, Value};
pub use writer::{Counts, Staged, Writer};

/// One remote-write request body (`WriteRequest`, remote write 1.0, snappy block format) with what
/// must be known of it without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The compressed body, just as it is posted.
    pub body: Body,
    /// Samples in it, one a `TimeSeries` entry.
    pub samples: u32,
    /// Uncompressed bytes.
    pub raw_len: u32,
    /// Oldest timestamp, milliseconds since 1970.
    pub min_ms: i64,
    /// Newest timestamp, milliseconds since 1970.
    pub max_ms: i64,
}

#[cfg(test)]
mod tests;
