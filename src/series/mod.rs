//! Series: label sets, and the memory of what was made of each.

pub mod cache;
mod exposed;
pub mod float;
mod ids;
pub mod labels;
mod last_timestamps;
mod recipe;
mod staleness;
pub mod text;

pub use cache::SeriesCache;
pub use exposed::{ExposedLabel, LabelSpan};
pub use ids::{SeriesId, TargetId};
pub use labels::{Labels, PlacedLabel};
pub use last_timestamps::{LastTimestamp, LastTimestamps, LastTimestampsError};
