//! From the bytes on the wire to blocks that a parser takes: decompression, limits, and what a
//! block leaves for the next one.
//!
//! [`ExpositionBody`] has the shape of a buffered reader: [`push`](ExpositionBody::push) a chunk,
//! then, while [`fill`](ExpositionBody::fill) says that there is something, parse
//! [`buffer`](ExpositionBody::buffer) and [`consume`](ExpositionBody::consume) what was parsed.

use bytes::Bytes;

use super::gzip::{GzipDecoder, GzipError};

/// Bytes that a block holds at first, and the most of a plain body that is parsed at once. A block
/// grows for a longer entry, up to [`MAX_ENTRY`], and for a large compressed body, up to
/// [`LARGE_BLOCK`].
pub(super) const BLOCK: usize = 64 * 1024;

/// Bytes that a block of a compressed body holds once as many of it have come. The inflater copies
/// its window of 32 KiB whenever a block is full, so large bodies come in large blocks. In still
/// larger ones they take as long.
const LARGE_BLOCK: usize = 4 * BLOCK;

/// Bytes of a plain body that are first appended to an entry that a chunk has cut: most lines are
/// shorter.
const STEP: usize = 512;

/// Longest entry (mostly a line) that is taken, in bytes. AMP takes labels of at most 2048 bytes
/// and at most 150 of them in a series.
pub const MAX_ENTRY: usize = 1024 * 1024;

/// The `Content-Encoding` of a body.
#[derive(Debug)]
enum Coding {
    Identity,
    Gzip(Box<GzipDecoder>),
}

/// Decodes a body, and hands it out in blocks.
///
/// A plain body is parsed where its chunks are in memory, without a copy, but for the entries that
/// the border of two chunks cuts. Such an entry is completed in `block`. A compressed body is
/// always decoded into `block`.
#[derive(Debug)]
pub(super) struct ExpositionBody {
    coding: Coding,
    /// The chunk that was pushed last, and how much of it was taken.
    chunk: Bytes,
    taken: usize,
    /// Decoded bytes that were not consumed yet are `block[..filled]`.
    block: Vec<u8>,
    filled: usize,
    /// How many of the `filled` bytes the last fill has added.
    added: usize,
    source: BlockSource,
    /// Whether the decoder may hold more output for input that it has taken.
    pending: bool,
    total: u64,
}

/// What the buffer refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockSource {
    /// The next bytes of the chunk, this many.
    Chunk(usize),
    /// The block.
    Block,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is not gzip, or it is damaged.
    #[error("gzip: {0}")]
    Gzip(#[from] GzipError),
    /// The compressed stream ends early.
    #[error("gzip: the body ends within the compressed stream")]
    Truncated,
    /// The body has an entry that is longer than any exposition has.
    #[error("an entry is longer than {MAX_ENTRY} bytes")]
    EntryTooLong,
}

impl ExpositionBody {
    /// A body of which nothing has arrived yet.
    #[must_use]
    pub(super) fn new(gzip: bool) -> Self {
        let coding = if gzip {
            Coding::Gzip(Box::new(GzipDecoder::new()))
        } else {
            Coding::Identity
        };
        Self {
            coding,
            chunk: Bytes::new(),
            taken: 0,
            block: vec![0; BLOCK],
            filled: 0,
            added: 0,
            source: BlockSource::Block,
            pending: false,
            total: 0,
        }
    }

    /// Takes the next chunk from the wire. The previous one must be used up: [`fill`](Self::fill)
    /// has returned `false`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if matches!(self.coding, Coding::Identity) {
            // All that has arrived of a plain body counts at once.
            self.total += chunk.len() as u64;
        }
        self.chunk = chunk;
        self.taken = 0;
    }

    /// Makes the next bytes available in [`buffer`](Self::buffer). `false` means that the chunk is
    /// used up. What an earlier buffer held and nobody consumed stays at the front, and a block
    /// that is full of such bytes grows.
    ///
    /// # Errors
    /// [`BodyError`] ends the scrape.
    pub(super) fn fill(&mut self) -> Result<bool, BodyError> {
        let rest = self.chunk.len() - self.taken;
        if rest == 0 && !self.pending {
            return Ok(false);
        }
        if self.filled == 0 && matches!(self.coding, Coding::Identity) {
            // At most a block at a time: the caller looks at its limits in between.
            self.source = BlockSource::Chunk(rest.min(BLOCK));
            return Ok(true);
        }
        self.source = BlockSource::Block;
        self.decode()?;
        self.pending = self.filled == self.block.len() && matches!(self.coding, Coding::Gzip(_));
        Ok(true)
    }

    /// Makes the block larger if it is full, or too small for what the body has turned out to be.
    fn grow(&mut self) -> Result<(), BodyError> {
        if self.filled == self.block.len() {
            if self.filled >= MAX_ENTRY {
                return Err(BodyError::EntryTooLong);
            }
            self.block.resize(self.filled * 2, 0);
        }
        let is_large = matches!(self.coding, Coding::Gzip(_)) && self.total >= LARGE_BLOCK as u64;
        if is_large && self.block.len() < LARGE_BLOCK {
            self.block.resize(LARGE_BLOCK, 0);
        }
        Ok(())
    }

    /// Decodes the rest of the chunk into the block, as far as there is room.
    fn decode(&mut self) -> Result<(), BodyError> {
        self.grow()?;
        let input = &self.chunk[self.taken..];
        let room = &mut self.block[self.filled..];
        let (consumed, produced) = match &mut self.coding {
            Coding::Identity => {
                // Little more than the entry lacks, because what follows it is parsed in place.
                let length = input.len().min(room.len()).min(self.filled.max(STEP));
                room[..length].copy_from_slice(&input[..length]);
                (length, length)
            }
            Coding::Gzip(gzip) => {
                let progress = gzip.decode(input, room)?;
                self.total += progress.produced as u64;
                (progress.consumed, progress.produced)
            }
        };
        self.taken += consumed;
        self.filled += produced;
        self.added = produced;
        Ok(())
    }

    /// The bytes that are to be parsed now.
    #[must_use]
    pub(super) fn buffer(&self) -> &[u8] {
        match self.source {
            BlockSource::Chunk(length) => &self.chunk[self.taken..self.taken + length],
            BlockSource::Block => &self.block[..self.filled],
        }
    }

    /// Gives back the buffer, of which the first `parsed` bytes are done with.
    ///
    /// # Errors
    /// [`BodyError`] ends the scrape.
    pub(super) fn consume(&mut self, parsed: usize) -> Result<(), BodyError> {
        match self.source {
            BlockSource::Chunk(length) => self.consume_in_place(parsed, length),
            BlockSource::Block => {
                self.consume_block(parsed);
                Ok(())
            }
        }
    }

    fn consume_in_place(&mut self, parsed: usize, length: usize) -> Result<(), BodyError> {
        self.taken += parsed;
        let is_last_piece = self.taken - parsed + length == self.chunk.len();
        if parsed > 0 && !is_last_piece {
            // The next piece starts with the entry that this one has cut.
            return Ok(());
        }
        // The chunk ends within an entry, or the entry is longer than a block: it moves to the
        // block, where the bytes that complete it can follow.
        let end = self.taken - parsed + length;
        while self.taken < end {
            self.copy_until(end)?;
        }
        Ok(())
    }

    /// Copies bytes of the chunk up to `end` into the block, as far as there is room.
    fn copy_until(&mut self, end: usize) -> Result<(), BodyError> {
        let whole = self.chunk.clone();
        self.chunk.truncate(end);
        let copied = self.decode();
        self.chunk = whole;
        copied
    }

    fn consume_block(&mut self, parsed: usize) {
        let left = self.filled - parsed;
        if matches!(self.coding, Coding::Identity) && parsed > 0 && left <= self.added {
            // The entry that was cut is whole now and parsed. What was copied behind it is still in
            // the chunk: it is parsed there.
            self.taken -= left;
            (self.filled, self.added) = (0, 0);
            return;
        }
        self.block.copy_within(parsed..self.filled, 0);
        self.filled = left;
    }

    /// Uncompressed bytes that have arrived so far.
    #[must_use]
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Ends the body, and gives the bytes that are left to be parsed. `newline` appends the newline
    /// that Prometheus appends to a text.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the compressed stream is not complete.
    pub(super) fn finish(&mut self, newline: bool) -> Result<&[u8], BodyError> {
        // An empty body is fine whatever its encoding says.
        if let Coding::Gzip(gzip) = &self.coding
            && !gzip.is_between_members()
        {
            return Err(BodyError::Truncated);
        }
        self.block.truncate(self.filled);
        if newline {
            self.block.push(b'\n');
        }
        Ok(&self.block)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes the whole body, which comes in chunks of this size and is parsed line by line.
    fn decode(is_gzip: bool, wire: &[u8], chunk: usize) -> Result<Vec<u8>, BodyError> {
        let mut body = ExpositionBody::new(is_gzip);
        let mut out = Vec::new();
        for chunk in wire.chunks(chunk) {
            body.push(Bytes::copy_from_slice(chunk));
            while body.fill()? {
                let buffer = body.buffer();
                let parsed = memchr::memrchr(b'\n', buffer).map_or(0, |newline| newline + 1);
                out.extend_from_slice(&buffer[..parsed]);
                body.consume(parsed)?;
            }
        }
        let total = body.total();
        let rest = body.finish(true)?;
        assert_eq!(total, (out.len() + rest.len() - 1) as u64);
        out.extend_from_slice(rest);
        Ok(out)
    }

    #[test]
    fn bodies_come_out_whole_however_they_come_in() {
        let mut text: Vec<u8> = (0..20_000)
            .flat_map(|at| format!("foo{{a=\"{at}\"}} {at}\n").into_bytes())
            .collect();
        // Longer than a block.
        text.extend_from_slice(&[b'x'; 3 * BLOCK]);
        text.push(b'\n');
        text.extend_from_slice(&[b'x'; 3 * LARGE_BLOCK]);
        let expected = [&text[..], b"\n"].concat();
        let two_members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        for piece in [7, 1000, BLOCK, usize::MAX >> 1] {
            assert!(
                decode(false, &text, piece) == Ok(expected.clone()),
                "{piece}"
            );
            assert!(
                decode(true, &gzip(&text), piece) == Ok(expected.clone()),
                "{piece}"
            );
            assert!(
                decode(true, &two_members, piece) == Ok(expected.clone()),
                "{piece}"
            );
        }
        assert_eq!(decode(true, &gzip(b""), 3), Ok(b"\n".to_vec()));
        assert_eq!(decode(true, b"", 1), Ok(b"\n".to_vec()));
    }

    /// Decodes a body of this length line by line. Returns how long its block is at last.
    fn block_len(is_gzip: bool, length: usize) -> usize {
        let text = b"foo 1\n".repeat(length / 6);
        let wire = if is_gzip { gzip(&text) } else { text };
        let mut body = ExpositionBody::new(is_gzip);
        // Chunks cut lines, which then pass through the block of a plain body, too.
        for chunk in wire.chunks(1000) {
            body.push(Bytes::copy_from_slice(chunk));
            while body.fill().unwrap() {
                let buffer = body.buffer();
                let parsed = memchr::memrchr(b'\n', buffer).map_or(0, |newline| newline + 1);
                body.consume(parsed).unwrap();
            }
        }
        body.block.len()
    }

    #[test]
    fn only_large_compressed_bodies_have_large_blocks() {
        for (is_gzip, length, expected) in [
            (true, LARGE_BLOCK - BLOCK, BLOCK),
            (true, 2 * LARGE_BLOCK, LARGE_BLOCK),
            (true, 40 * LARGE_BLOCK, LARGE_BLOCK),
            (false, 40 * LARGE_BLOCK, BLOCK),
        ] {
            let block = block_len(is_gzip, length);
            assert_eq!(block, expected, "gzip: {is_gzip}, {length} bytes");
        }
    }

    #[test]
    fn what_is_no_whole_gzip_fails() {
        let wire = gzip(b"foo 1\nbar 2\n");
        for length in 1..wire.len() {
            assert_eq!(
                decode(true, &wire[..length], 4),
                Err(BodyError::Truncated),
                "{length}"
            );
        }
        let mut damaged = wire.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(decode(true, &damaged, 4), Err(BodyError::Gzip(_))));
        assert!(matches!(
            decode(true, b"foo 1\nbar 2\nqux 3\n", 100),
            Err(BodyError::Gzip(_))
        ));
        assert!(decode(true, &[&wire[..], b"garbage behind it"].concat(), 100).is_err());
    }

    #[test]
    fn an_entry_has_a_longest_length() {
        assert_eq!(
            decode(false, &[b'x'; MAX_ENTRY + 1], BLOCK),
            Err(BodyError::EntryTooLong)
        );
        assert_eq!(
            decode(true, &gzip(&[b'x'; MAX_ENTRY + 1]), 100),
            Err(BodyError::EntryTooLong)
        );
    }
}
