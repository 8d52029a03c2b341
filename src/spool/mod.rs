//! What exceeds the capacity: segments in S3 or a directory, in order, until they are delivered.

pub mod name;
pub mod segment;
pub mod store;
