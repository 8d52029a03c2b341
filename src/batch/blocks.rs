//! Compression of a body that is written bit by bit, in little more memory than its result.
//!
//! A snappy encoder works on fragments of 64 KiB one by one (golang/snappy `encode.go`
//! `maxBlockSize`), and none refers to an earlier one. So the elements of the fragments, one after
//! the other behind the length of the whole, are the block that an encoder makes of the whole.

use bytes::Bytes;

use super::error::SplitError;
use crate::prompb::RequestBody;
use crate::prompb::wire;

/// Bytes that an encoder looks at together.
const FRAGMENT: usize = 64 << 10;

/// Compresses what is written to it.
pub(super) struct BlockCompressor {
    encoder: snap::raw::Encoder,
    /// What was written and is not compressed yet: less than a fragment.
    fragment: Vec<u8>,
    /// One fragment as a block of its own.
    block: Vec<u8>,
    pieces: Vec<Bytes>,
}

impl BlockCompressor {
    /// Makes the compressor of a body with this many bytes.
    pub(super) fn new(length: usize) -> Self {
        let mut preamble = Vec::new();
        wire::varint(&mut preamble, length as u64);
        Self {
            encoder: snap::raw::Encoder::new(),
            fragment: Vec::with_capacity(FRAGMENT.min(length)),
            block: vec![0; snap::raw::max_compress_len(FRAGMENT.min(length))],
            pieces: vec![preamble.into()],
        }
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// [`SplitError::Snappy`]; not known to happen.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), SplitError> {
        while self.fragment.len() + bytes.len() >= FRAGMENT {
            let (now, later) = bytes.split_at(FRAGMENT - self.fragment.len());
            self.fragment.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.fragment.extend_from_slice(bytes);
        Ok(())
    }

    /// The compressed body.
    ///
    /// # Errors
    /// [`SplitError::Snappy`]; not known to happen.
    pub(super) fn finish(mut self) -> Result<RequestBody, SplitError> {
        if !self.fragment.is_empty() {
            self.flush()?;
        }
        Ok(self.pieces.into_iter().collect())
    }

    fn flush(&mut self) -> Result<(), SplitError> {
        let compressed = self
            .encoder
            .compress(&self.fragment, &mut self.block)
            .map_err(|error| SplitError::Snappy(error.to_string()))?;
        // The fragment's own length, which the whole does not have, is a varint.
        let block = &self.block[..compressed];
        let preamble = block.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        self.pieces.push(Bytes::copy_from_slice(&block[preamble..]));
        self.fragment.clear();
        Ok(())
    }
}

/// Compresses a body that is there as a whole.
///
/// # Errors
/// [`SplitError::Snappy`]; not known to happen.
pub(super) fn compress(raw: &[u8]) -> Result<RequestBody, SplitError> {
    let mut blocks = BlockCompressor::new(raw.len());
    blocks.write(raw)?;
    blocks.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_body_is_what_the_encoder_makes_of_the_whole(
            seed in any::<u64>(),
            length in 0..300_000_usize,
            alphabet in 1..=255_u8,
            step in 1..100_000_usize,
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let raw: Vec<u8> = std::iter::repeat_with(|| rng.u8(..alphabet)).take(length).collect();
            let mut blocks = BlockCompressor::new(raw.len());
            for bytes in raw.chunks(step) {
                blocks.write(bytes).unwrap();
            }
            let expected = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
            prop_assert_eq!(&*blocks.finish().unwrap().to_bytes(), &*expected);
            prop_assert_eq!(&*compress(&raw).unwrap().to_bytes(), &*expected);
        }
    }
}
