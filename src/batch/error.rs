//! Why a batch cannot be split or decoded.

/// A body that is no remote-write request of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The body is not in snappy's block format.
    #[error("cannot decompress the batch: {0}")]
    Snappy(String),
    /// The body, or an entry of it, would take more memory than anything that we write.
    #[error("the batch would take {found} bytes of memory, more than {most}")]
    TooLarge {
        /// Bytes that it would take.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// The body is not as long as the batch says.
    #[error("the batch says that it holds {said} bytes, and its body says {found}")]
    Length {
        /// Uncompressed bytes according to the batch.
        said: u32,
        /// Uncompressed bytes according to the body.
        found: usize,
    },
    /// The body does not hold as many samples as the batch says.
    #[error("the batch says that it holds {said} samples, and its body has {found}")]
    Samples {
        /// Number of samples according to the batch.
        said: u32,
        /// Number of samples in the body.
        found: u64,
    },
    /// The uncompressed body is not a `WriteRequest`.
    #[error("cannot decode the batch: {0}")]
    Protobuf(String),
}

impl From<prost::DecodeError> for SplitError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protobuf(error.to_string())
    }
}
