//! How much of the store a remote may use.

use crate::config;

/// Bounds of one remote's part of the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Largest size of a segment in bytes, but for a single batch that is larger.
    pub segment_bytes: usize,
    /// Largest size of all segments together in bytes. The oldest are evicted beyond that.
    pub max_bytes: u64,
    /// ArchiveBound of `rejected/`: batches that were refused for good.
    pub rejected: ArchiveBound,
    /// ArchiveBound of `expired/`: batches that were too old for the remote.
    pub expired: ArchiveBound,
}

/// How much is kept for people in a folder of batches that will never be sent. The oldest objects
/// are deleted beyond that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveBound {
    /// Most objects; with 0 nothing is kept.
    pub objects: u64,
    /// Largest size of all objects together in bytes.
    pub bytes: u64,
}

impl From<&config::SpoolConfig> for SpoolLimits {
    fn from(spool: &config::SpoolConfig) -> Self {
        let bound = |kept: config::ArchiveLimits| ArchiveBound {
            objects: kept.max_objects,
            bytes: kept.max_bytes,
        };
        Self {
            segment_bytes: spool.segment_bytes,
            max_bytes: spool.max_bytes,
            rejected: bound(spool.rejected),
            expired: bound(spool.expired),
        }
    }
}
