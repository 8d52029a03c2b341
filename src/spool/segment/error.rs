//! What can be wrong with the bytes of a segment.

use super::VERSION;

/// Why bytes are not a segment that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The bytes do not begin like a segment.
    #[error("not a segment: it does not begin like one")]
    Foreign,
    /// A newer version of this program wrote it.
    #[error(
        "a segment of version {0}, and this program reads up to {VERSION}: \
         bring the newer program back, or let it finish the spool"
    )]
    Newer(u16),
    /// The end of the segment is missing.
    #[error("truncated: {found} bytes of {expected}")]
    Truncated {
        /// Number of bytes that the segment should have.
        expected: u64,
        /// Number of bytes that are there.
        found: u64,
    },
    /// Something follows the end of the segment.
    #[error("{found} bytes where {expected} should be")]
    Trailing {
        /// Number of bytes that the segment should have.
        expected: u64,
        /// Number of bytes that are there.
        found: u64,
    },
    /// The segment is torn or damaged.
    #[error("the {0} does not match its checksum")]
    Checksum(ChecksumScope),
    /// All checksums hold, and the numbers contradict each other: a mistake of the program that
    /// wrote it.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// The part of a segment that a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumScope {
    /// Magic and version.
    Prefix,
    /// Head, index and note.
    Index,
    /// The body of the batch with this number, from 0.
    Batch(u32),
}

impl std::fmt::Display for ChecksumScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix => f.write_str("prefix"),
            Self::Index => f.write_str("index"),
            Self::Batch(number) => write!(f, "batch {number}"),
        }
    }
}
