//! Types and help texts of metrics. `/federate` loses them, so they are read from the home's
//! `/api/v1/metadata` now and then, and sent as remote-write metadata. All of it is best effort:
//! never spooled, in no ledger, after the samples.

mod read;
mod request;

pub use read::{MetadataError, address, read};
pub use request::{Bounds, requests};

/// Metrics that are sent at most: AMP takes metadata of so many.
pub const MOST: usize = 20_000;

/// What is known of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// `MetricMetadata.MetricType` (prompb/types.proto).
    pub kind: i32,
    /// Its help text.
    pub help: String,
    /// Its unit; mostly none.
    pub unit: String,
}
