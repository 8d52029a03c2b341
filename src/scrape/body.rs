//! From the bytes on the wire to blocks that a parser takes: decompression, limits, and what a
//! block leaves for the next one.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes that a block holds at first, and that are parsed at once. It grows for a longer entry, up
/// to [`MAX_ENTRY`].
pub(super) const BLOCK: usize = 64 * 1024;

/// Bytes of a plain body that are put behind an entry that was cut, at first: most lines are
/// shorter.
const STEP: usize = 512;

/// Longest entry (a line, mostly) that is taken. Labels of AMP have at most 2048 bytes, and a
/// series 150 of them.
pub const MAX_ENTRY: usize = 1024 * 1024;

/// `Content-Encoding`.
#[derive(Debug)]
enum Coding {
    Identity,
    Gzip {
        inflate: Box<Decompress>,
        /// Between members: the body may end here.
        clean: bool,
    },
}

/// Collects decoded bytes. A plain body is parsed where it stands ([`Blocks::is_in_place`]), but
/// for the entries that its pieces cut.
#[derive(Debug)]
pub(super) struct Blocks {
    coding: Coding,
    block: Vec<u8>,
    filled: usize,
    /// Of `filled`, what the last call of [`Blocks::feed`] put there.
    fed: usize,
    total: u64,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not gzip, or damaged.
    #[error("gzip: {0}")]
    Gzip(String),
    /// The compressed stream ends early.
    #[error("gzip: the body ends within the compressed stream")]
    Cut,
    /// An entry that no exposition has.
    #[error("an entry is longer than {MAX_ENTRY} bytes")]
    EntryTooLong,
}

impl Blocks {
    /// For one body.
    #[must_use]
    pub(super) fn new(gzip: bool) -> Self {
        // 15 bits is the largest window, which any gzip may use.
        let coding = if gzip {
            Coding::Gzip {
                inflate: Box::new(Decompress::new_gzip(15)),
                clean: false,
            }
        } else {
            Coding::Identity
        };
        Self {
            coding,
            block: vec![0; BLOCK],
            filled: 0,
            fed: 0,
            total: 0,
        }
    }

    /// Whether the body's next bytes may be parsed as they come: it is not compressed, and nothing
    /// is left over.
    #[must_use]
    pub(super) fn is_in_place(&self) -> bool {
        self.filled == 0 && matches!(self.coding, Coding::Identity)
    }

    /// Counts bytes that were parsed in place, and keeps those behind them: an entry that is cut.
    ///
    /// # Errors
    /// [`BodyError`] ends the scrape.
    pub(super) fn keep(&mut self, parsed: usize, mut rest: &[u8]) -> Result<(), BodyError> {
        self.total += parsed as u64;
        while !rest.is_empty() {
            rest = &rest[self.feed(rest)?..];
        }
        Ok(())
    }

    /// Decodes bytes into the block, as far as it has room, and returns how many of `input` it
    /// took. A block that is full and of which nothing was [`taken`](Self::taken) grows.
    ///
    /// # Errors
    /// [`BodyError`] ends the scrape.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        if self.filled == self.block.len() {
            if self.filled >= MAX_ENTRY {
                return Err(BodyError::EntryTooLong);
            }
            self.block.resize(self.filled * 2, 0);
        }
        let room = &mut self.block[self.filled..];
        let (consumed, produced) = match &mut self.coding {
            Coding::Identity => {
                // Little more than what the entry lacks: what follows it is parsed in place.
                let length = input.len().min(room.len()).min(self.filled.max(STEP));
                room[..length].copy_from_slice(&input[..length]);
                (length, length)
            }
            Coding::Gzip { inflate, clean } => {
                if *clean && !input.is_empty() {
                    // Go's reader takes concatenated members for one stream.
                    **inflate = Decompress::new_gzip(15);
                    *clean = false;
                }
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(input, room, FlushDecompress::None)
                    .map_err(|error| BodyError::Gzip(error.to_string()))?;
                *clean = status == Status::StreamEnd;
                (
                    (inflate.total_in() - before.0) as usize,
                    (inflate.total_out() - before.1) as usize,
                )
            }
        };
        (self.filled, self.fed) = (self.filled + produced, produced);
        self.total += produced as u64;
        Ok(consumed)
    }

    /// Whether the decoder may hold more output for input that it has taken: feed it nothing once
    /// more.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.filled == self.block.len()
    }

    /// The bytes to be parsed.
    #[must_use]
    pub(super) fn filled(&self) -> &[u8] {
        &self.block[..self.filled]
    }

    /// Forgets the bytes at the start that were parsed. Of a plain body it also gives back what was
    /// fed behind an entry that is whole now: how many bytes of the last input come again.
    pub(super) fn taken(&mut self, length: usize) -> usize {
        let left = self.filled - length;
        if matches!(self.coding, Coding::Identity) && length > 0 && left <= self.fed {
            (self.filled, self.fed) = (0, 0);
            self.total -= left as u64;
            return left;
        }
        self.block.copy_within(length..self.filled, 0);
        self.filled = left;
        0
    }

    /// Uncompressed bytes so far.
    #[must_use]
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Ends the body: what is left to be parsed. `newline`: with the one that Prometheus appends to
    /// a text.
    ///
    /// # Errors
    /// [`BodyError::Cut`].
    pub(super) fn finish(&mut self, newline: bool) -> Result<&[u8], BodyError> {
        // An empty body is fine whatever its encoding says.
        if let Coding::Gzip {
            inflate,
            clean: false,
        } = &self.coding
            && inflate.total_in() > 0
        {
            return Err(BodyError::Cut);
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

    /// The whole body, given in pieces of this size and parsed line by line.
    fn decode(is_gzip: bool, wire: &[u8], piece: usize) -> Result<Vec<u8>, BodyError> {
        let mut blocks = Blocks::new(is_gzip);
        let mut out = Vec::new();
        for mut rest in wire.chunks(piece) {
            loop {
                let lines =
                    |bytes: &[u8]| memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
                if blocks.is_in_place() {
                    let parsed = lines(rest);
                    out.extend_from_slice(&rest[..parsed]);
                    blocks.keep(parsed, &rest[parsed..])?;
                    break;
                }
                let taken = blocks.feed(rest)?;
                let full = blocks.is_full();
                let parsed = lines(blocks.filled());
                out.extend_from_slice(&blocks.filled()[..parsed]);
                rest = &rest[taken - blocks.taken(parsed)..];
                if rest.is_empty() && !full {
                    break;
                }
            }
        }
        assert_eq!(blocks.total(), (out.len() + blocks.filled().len()) as u64);
        out.extend_from_slice(blocks.finish(true)?);
        Ok(out)
    }

    #[test]
    fn bodies_come_out_whole_however_they_come_in() {
        let mut text: Vec<u8> = (0..20_000)
            .flat_map(|at| format!("foo{{a=\"{at}\"}} {at}\n").into_bytes())
            .collect();
        // Longer than a block.
        text.extend_from_slice(&[b'x'; 3 * BLOCK]);
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

    #[test]
    fn what_is_no_whole_gzip_fails() {
        let wire = gzip(b"foo 1\nbar 2\n");
        for length in 1..wire.len() {
            assert_eq!(
                decode(true, &wire[..length], 4),
                Err(BodyError::Cut),
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
