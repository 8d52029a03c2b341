//! Types and help texts of metrics. `/federate` loses them, so they are read from the home's
//! `/api/v1/metadata` now and then, and sent as remote-write metadata. All of it is best effort: it
//! follows the samples, is never spooled, and no ledger counts it.

mod read;
mod request;

pub use read::{MetadataError, address, read};
pub use request::{RequestBounds, requests};

/// Largest number of metrics whose metadata is sent. AMP takes no more.
pub const MAX_METRICS: usize = 20_000;

/// Type, help text and unit of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// Name of the family.
    pub name: String,
    /// Type of the family, as a number of `MetricMetadata.MetricType` (prompb/types.proto).
    pub kind: i32,
    /// Help text of the family.
    pub help: String,
    /// Unit of the family. It is mostly empty.
    pub unit: String,
}
