//! What exceeds the capacity: segments in S3 or a directory, in order, until they are delivered.

#[cfg(feature = "cli")]
pub mod export;
pub mod inspect;
pub mod lease;
pub mod name;
pub mod outbox;
pub mod retry;
pub mod segment;
pub mod state;
pub mod store;
