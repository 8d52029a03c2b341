//! A streaming decoder of snappy's block format, with a window of 64 KiB.
//!
//! A remote-read answer is one snappy block. The library `snap` decodes such a block only as a
//! whole; this decoder needs neither the whole input nor the whole output in memory. It can do so
//! because an encoder works on fragments of 64 KiB one by one (golang/snappy `encode.go`
//! `maxBlockSize`, google/snappy `kBlockSize`), so no copy reaches back further than that. A block
//! with a copy that does is refused, and the error says so.
//!
//! The format (google/snappy `format_description.txt`): a varint with the length of the output,
//! then elements. The two low bits of an element's first byte, its tag, say what it is: a literal
//! (0), or a copy of earlier output whose offset has 11 bits (1), 16 bits (2) or 32 bits (3).
//!
//! The decoder has the shape of a buffered reader: [`push`](SnappyDecoder::push) a chunk, then,
//! while [`fill`](SnappyDecoder::fill) says that there is something, look at
//! [`buffer`](SnappyDecoder::buffer) and [`consume`](SnappyDecoder::consume) what was used.

use bytes::Bytes;

/// How far back a copy may reach, in bytes.
pub const WINDOW: usize = 64 * 1024;

/// Bytes of output that one call of [`SnappyDecoder::fill`] aims at.
const BLOCK: usize = 64 * 1024;

/// Longest run of bytes that may stay unconsumed, and so the longest entry that a consumer can ask
/// for as a whole, in bytes.
pub const MAX_UNCONSUMED: usize = 1024 * 1024;

/// Longest output of a copy element, in bytes.
const MAX_COPY: usize = 64;

/// Bytes that are copied at once where that is faster than copying exactly what is asked for.
const STRIDE: usize = 16;

/// Room behind the aim of a fill: one copy may go beyond it, and its last stride beyond that.
const SLACK: usize = MAX_COPY + STRIDE;

/// Bytes of input that a short element has at most: a tag, and a literal of one stride.
const SHORT: usize = 1 + STRIDE;

/// Longest element without the bytes of a literal: a tag and four bytes of length or offset.
const MAX_HEADER: usize = 5;

/// Why a body is not a snappy block that can be decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The body ends before the output is complete.
    #[error("snappy: the body ends after {produced} of {expected} bytes of output")]
    Truncated {
        /// Bytes of output that were decoded.
        produced: u64,
        /// Bytes of output that the preamble names.
        expected: u64,
    },
    /// The preamble is no length of at most 32 bits.
    #[error("snappy: the body does not start with a length")]
    Preamble,
    /// The output is longer than the caller allows.
    #[error("snappy: {expected} bytes of output are more than the {limit} that are allowed")]
    TooLong {
        /// Bytes of output that the preamble names.
        expected: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// An element would produce more output than the preamble names.
    #[error("snappy: there is more output than the {expected} bytes of the preamble")]
    Overrun {
        /// Bytes of output that the preamble names.
        expected: u64,
    },
    /// A copy refers to output before the first byte, or has the offset 0.
    #[error("snappy: a copy refers {offset} bytes back after {produced} bytes of output")]
    Offset {
        /// The copy's offset in bytes.
        offset: u64,
        /// Bytes of output before it.
        produced: u64,
    },
    /// A copy reaches back further than the window.
    #[error(
        "snappy: a copy refers {offset} bytes back, and only {WINDOW} are kept: the body was not \
         compressed in fragments of 64 KiB, as Prometheus' library does"
    )]
    BeyondWindow {
        /// The copy's offset in bytes.
        offset: u64,
    },
    /// The consumer has left more than [`MAX_UNCONSUMED`] bytes.
    #[error("snappy: an entry is longer than {MAX_UNCONSUMED} bytes")]
    EntryTooLong,
}

/// Decodes one snappy block.
#[derive(Debug)]
pub struct SnappyDecoder {
    limit: u64,
    /// Length of the output, once the preamble has been read.
    expected: Option<u64>,
    /// Bytes of output that no element has announced yet.
    unannounced: u64,
    /// Bytes of output that were dropped from the front of `output`.
    dropped: u64,
    /// The chunk that was pushed last, and how much of it was read.
    chunk: Bytes,
    read: usize,
    /// The start of an element, or of the preamble, that the previous chunks have cut.
    cut: Cut,
    /// Bytes of the current literal that are still to come.
    literal_left: usize,
    /// Output: `output[..end]`, of which `output[consumed..end]` is the buffer.
    output: Vec<u8>,
    consumed: usize,
    end: usize,
}

/// The bytes of an element's header that have arrived, when a chunk ends within it.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

/// One element of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Literal { len: usize },
    Copy { len: usize, offset: usize },
}

impl Element {
    /// Length of the header that starts with this tag, the tag included.
    #[inline]
    fn header_len(tag: u8) -> usize {
        match tag & 3 {
            0 => match tag >> 2 {
                len @ 60..=63 => usize::from(len) - 58,
                _ => 1,
            },
            1 => 2,
            2 => 3,
            _ => 5,
        }
    }

    /// Reads a header of [`Element::header_len`] bytes.
    #[inline]
    fn parse(header: &[u8]) -> Self {
        let tag = header[0];
        let operand = header[1..]
            .iter()
            .rev()
            .fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
        let len = usize::from(tag >> 2);
        match tag & 3 {
            0 if len < 60 => Self::Literal { len: len + 1 },
            0 => Self::Literal { len: operand + 1 },
            1 => Self::Copy {
                len: (len & 7) + 4,
                offset: usize::from(tag >> 5) << 8 | operand,
            },
            _ => Self::Copy {
                len: len + 1,
                offset: operand,
            },
        }
    }
}

impl SnappyDecoder {
    /// A decoder for one block, which refuses more than `limit` bytes of output.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            expected: None,
            unannounced: 0,
            dropped: 0,
            chunk: Bytes::new(),
            read: 0,
            cut: Cut::default(),
            literal_left: 0,
            output: vec![0; 2 * WINDOW + BLOCK + SLACK],
            consumed: 0,
            end: 0,
        }
    }

    /// Length of the output as the preamble names it, once that has arrived.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Takes the next chunk from the wire. The previous one must be used up: [`fill`](Self::fill)
    /// has returned `false`.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
        self.read = 0;
    }

    /// Decodes some more output behind what the consumer has left. `false` means that the chunk is
    /// used up.
    ///
    /// # Errors
    /// [`SnappyError`]: the answer is no good, and must be dropped as a whole.
    pub fn fill(&mut self) -> Result<bool, SnappyError> {
        if self.read == self.chunk.len() {
            return Ok(false);
        }
        if self.expected.is_none() && !self.read_preamble()? {
            return Ok(false);
        }
        self.make_room()?;
        let (before, aim) = (self.end, self.end + BLOCK);
        while self.end < aim {
            if self.literal_left == 0 && self.cut.len == 0 {
                self.take_short_elements(aim);
                if self.end >= aim {
                    break;
                }
            }
            if self.literal_left > 0 {
                if self.read == self.chunk.len() {
                    break;
                }
                self.copy_literal(aim);
                continue;
            }
            let Some(element) = self.next_element() else {
                break;
            };
            match element {
                Element::Literal { len } => {
                    self.announce(len)?;
                    self.literal_left = len;
                }
                Element::Copy { len, offset } => {
                    self.announce(len)?;
                    self.copy_output(len, offset)?;
                }
            }
        }
        Ok(self.end > before)
    }

    /// The output that was not consumed yet.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.output[self.consumed..self.end]
    }

    /// Marks the first bytes of the buffer as used.
    ///
    /// # Panics
    /// In debug builds, when there are fewer.
    pub fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.consumed);
        self.consumed += bytes;
    }

    /// Ends the block.
    ///
    /// # Errors
    /// [`SnappyError::Truncated`] when output is missing, [`SnappyError::Preamble`] when there was
    /// not even a length.
    pub fn finish(&self) -> Result<(), SnappyError> {
        let expected = self.expected.ok_or(SnappyError::Preamble)?;
        let missing = self.unannounced + self.literal_left as u64;
        if missing > 0 || self.cut.len > 0 {
            return Err(SnappyError::Truncated {
                produced: expected - missing,
                expected,
            });
        }
        Ok(())
    }

    /// Reads the varint at the start. `false` means that more input is needed.
    fn read_preamble(&mut self) -> Result<bool, SnappyError> {
        while self.read < self.chunk.len() {
            let byte = self.chunk[self.read];
            self.read += 1;
            self.cut.bytes[self.cut.len] = byte;
            self.cut.len += 1;
            if byte < 0x80 {
                let bytes = &self.cut.bytes[..self.cut.len];
                let expected = bytes
                    .iter()
                    .rev()
                    .fold(0_u64, |value, &byte| value << 7 | u64::from(byte & 0x7f));
                if expected > u64::from(u32::MAX) {
                    return Err(SnappyError::Preamble);
                }
                if expected > self.limit {
                    let limit = self.limit;
                    return Err(SnappyError::TooLong { expected, limit });
                }
                self.expected = Some(expected);
                self.unannounced = expected;
                self.cut = Cut::default();
                return Ok(true);
            }
            if self.cut.len == MAX_HEADER {
                return Err(SnappyError::Preamble);
            }
        }
        Ok(false)
    }

    /// Makes room for a block of output behind `end`. Output that was consumed and that no copy can
    /// reach any more is dropped from the front.
    fn make_room(&mut self) -> Result<(), SnappyError> {
        let needed = BLOCK + SLACK;
        if self.output.len() - self.end >= needed {
            return Ok(());
        }
        let kept_from = self.consumed.min(self.end.saturating_sub(WINDOW));
        self.output.copy_within(kept_from..self.end, 0);
        self.dropped += kept_from as u64;
        self.consumed -= kept_from;
        self.end -= kept_from;
        if self.output.len() - self.end < needed {
            if self.end - self.consumed > MAX_UNCONSUMED {
                return Err(SnappyError::EntryTooLong);
            }
            self.output.resize(self.output.len() * 2, 0);
        }
        Ok(())
    }

    /// Takes the header of the next element, which may have begun in an earlier chunk. `None` means
    /// that the chunk ends within the header; what there is of it is kept.
    #[inline]
    fn next_element(&mut self) -> Option<Element> {
        let input = &self.chunk[self.read..];
        if self.cut.len == 0 {
            let len = Element::header_len(*input.first()?);
            if let Some(header) = input.get(..len) {
                self.read += len;
                return Some(Element::parse(header));
            }
        }
        self.next_cut_element()
    }

    #[cold]
    fn next_cut_element(&mut self) -> Option<Element> {
        while self.read < self.chunk.len() {
            self.cut.bytes[self.cut.len] = self.chunk[self.read];
            self.cut.len += 1;
            self.read += 1;
            if self.cut.len == Element::header_len(self.cut.bytes[0]) {
                let element = Element::parse(&self.cut.bytes[..self.cut.len]);
                self.cut = Cut::default();
                return Some(element);
            }
        }
        None
    }

    /// Accounts for the output of an element before it is produced.
    #[inline]
    fn announce(&mut self, len: usize) -> Result<(), SnappyError> {
        match self.unannounced.checked_sub(len as u64) {
            Some(unannounced) => {
                self.unannounced = unannounced;
                Ok(())
            }
            None => Err(SnappyError::Overrun {
                expected: self.expected.unwrap_or(0),
            }),
        }
    }

    /// Decodes elements as long as they are short, whole and right, which nearly all of them are:
    /// a sample is some ten elements of a few bytes. The places are kept in registers, and what
    /// each element needs is compared with its bounds once. Whatever is not so simple is left to
    /// the caller, errors included.
    fn take_short_elements(&mut self, aim: usize) {
        let (chunk, output) = (&self.chunk[..], &mut self.output[..]);
        let (mut read, mut end, mut unannounced) = (self.read, self.end, self.unannounced);
        while end < aim {
            let head = chunk.get(read..).and_then(<[u8]>::first_chunk);
            let Some(head): Option<&[u8; SHORT]> = head else {
                break;
            };
            let tag = usize::from(head[0]);
            let (len, offset, header) = match tag & 3 {
                0 => ((tag >> 2) + 1, 0, 1),
                1 => (
                    ((tag >> 2) & 7) + 4,
                    (tag >> 5) << 8 | usize::from(head[1]),
                    2,
                ),
                2 => (
                    (tag >> 2) + 1,
                    usize::from(u16::from_le_bytes([head[1], head[2]])),
                    3,
                ),
                _ => break,
            };
            if len as u64 > unannounced {
                break;
            }
            if header == 1 {
                let to = output
                    .get_mut(end..)
                    .and_then(<[u8]>::first_chunk_mut::<STRIDE>);
                let (Some(to), Some(from)) = (to, head[1..].first_chunk::<STRIDE>()) else {
                    break;
                };
                if len > STRIDE {
                    break;
                }
                *to = *from;
                read += 1 + len;
            } else {
                if offset < STRIDE || offset > end || end + SLACK > output.len() {
                    break;
                }
                let from = end - offset;
                output.copy_within(from..from + STRIDE, end);
                for at in (STRIDE..len).step_by(STRIDE) {
                    output.copy_within(from + at..from + at + STRIDE, end + at);
                }
                read += header;
            }
            end += len;
            unannounced -= len as u64;
        }
        (self.read, self.end, self.unannounced) = (read, end, unannounced);
    }

    /// Copies as much of the current literal as the chunk has and the aim allows.
    #[inline]
    fn copy_literal(&mut self, aim: usize) {
        let input = &self.chunk[self.read..];
        let len = self.literal_left.min(input.len()).min(aim - self.end);
        if len <= STRIDE && input.len() >= STRIDE {
            // Most literals are short. What is copied too much is written over by what follows.
            self.output[self.end..self.end + STRIDE].copy_from_slice(&input[..STRIDE]);
        } else {
            self.output[self.end..self.end + len].copy_from_slice(&input[..len]);
        }
        self.end += len;
        self.read += len;
        self.literal_left -= len;
    }

    /// Repeats `len` bytes of output that start `offset` bytes back. They may overlap with what is
    /// written: then the bytes since `offset` are repeated as a pattern.
    #[inline]
    fn copy_output(&mut self, len: usize, offset: usize) -> Result<(), SnappyError> {
        let (from, to) = match self.end.checked_sub(offset) {
            Some(from) if (1..=WINDOW).contains(&offset) => (from, self.end),
            _ => return Err(self.offset_error(offset)),
        };
        if offset >= STRIDE {
            // Each stride reads only bytes that were written before, because it is no longer than
            // the offset. The last one may write too much; what follows writes over it.
            for at in (0..len).step_by(STRIDE) {
                self.output
                    .copy_within(from + at..from + at + STRIDE, to + at);
            }
        } else {
            for at in 0..len {
                self.output[to + at] = self.output[from + at];
            }
        }
        self.end += len;
        Ok(())
    }

    #[cold]
    fn offset_error(&self, offset: usize) -> SnappyError {
        let produced = self.dropped + self.end as u64;
        let offset = offset as u64;
        if offset == 0 || offset > produced {
            SnappyError::Offset { offset, produced }
        } else {
            SnappyError::BeyondWindow { offset }
        }
    }
}

#[cfg(test)]
mod tests;
