//! The format of a segment: one object of the spool, batches of one scrape.
//!
//! # What it must do
//! - A segment is written whole, once, and never changed: there is no appending and no recovering
//!   of halves. Whoever writes it has all of it in memory, so that lengths and checksums can stand
//!   in front of what they speak of.
//! - The batches in it are the very bytes that are posted. Neither writing nor reading looks into
//!   them, and reading copies none of them.
//! - How much is owed can be told from the first bytes of the object ([`peek`]): after a kill, many
//!   segments are counted and not read.
//! - Whatever a disk, a network or a stranger makes of it is noticed: each byte stands under a
//!   checksum (CRC-32C, as in S3 and in Prometheus' WAL).
//! - A program that meets a segment of a newer one leaves it alone, and knows it for certain: a
//!   damaged version is not a newer one.
//! - Its size is bounded ([`parts`]), as two of them are in memory while the backlog drains.
//!
//! # Layout
//! Integers are little-endian.
//! ```text
//! at   bytes
//! ┌────────────────────────────── prefix: the same in each version ──┐
//! │ 0    8   magic "AMPFWSEG"                                        │
//! │ 8    2   version, 1                                              │
//! │ 10   2   kind: 0 owed or expired, 1 refused (with a note)        │
//! │ 12   4   CRC-32C of bytes 0 to 12                                │
//! ├────────────────────────────── head ──────────────────────────────┤
//! │ 16   8   length of the whole segment                             │
//! │ 24   4   number of batches, n                                    │
//! │ 28   2   note: HTTP status, 0 for none                           │
//! │ 30   2   note: length of the message, m                          │
//! ├────────────────────────────── index: n times ────────────────────┤
//! │      8   length of the body                                      │
//! │      4   samples                                                 │
//! │      4   length of the body, uncompressed                        │
//! │      8   oldest timestamp, milliseconds since 1970               │
//! │      8   newest timestamp                                        │
//! │      4   CRC-32C of the body                                     │
//! ├──────────────────────────────────────────────────────────────────┤
//! │      m   message, UTF-8                                          │
//! │      4   CRC-32C of everything before it                         │
//! ├────────────────────────────── bodies, end to end ────────────────┤
//! │      …                                                           │
//! └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # Writing
//! [`write`] makes the bytes, the store puts them under a name that nobody used before: an object
//! is there as a whole or not at all. S3 promises that; a directory is made to by writing
//! elsewhere, fsync and rename. A segment is deleted once, after all of its batches were answered.
//!
//! # Reading, and what can be wrong
//! Checked in this order; the first that fails names the error.
//!
//! | found | error | what the queue does with it |
//! | --- | --- | --- |
//! | other magic, or version 0 | [`SegmentError::Foreign`] | moves it to `rejected/` |
//! | the prefix contradicts its checksum | [`SegmentError::Checksum`] | moves it to `rejected/` |
//! | a version above ours, vouched for by the checksum | [`SegmentError::Newer`] | leaves it; the remote is blocked until the newer program is back |
//! | fewer bytes than the length says, or than a prefix has | [`SegmentError::Truncated`] | moves it to `rejected/` |
//! | more bytes than that | [`SegmentError::Trailing`] | moves it to `rejected/` |
//! | head, index or a body contradict their checksum: torn, or a flipped bit | [`SegmentError::Checksum`] | moves it to `rejected/` |
//! | all checksums hold and the numbers contradict each other | [`SegmentError::Malformed`] | moves it to `rejected/` |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::CrcAlgorithm;

use crate::batch::Batch;
use crate::prompb::RequestBody;

/// First bytes of each segment of any version.
pub const MAGIC: &[u8; 8] = b"AMPFWSEG";
/// What this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;
/// Longest message of a note; a longer one is cut.
pub const MAX_MESSAGE: usize = 4096;

const PREFIX: usize = 16;
const HEAD: usize = PREFIX + 16;
const ENTRY: usize = 36;
const CRC: usize = 4;

/// What [`peek`] needs at most for a segment of this many batches.
#[must_use]
pub const fn peek_bytes(batches: usize) -> usize {
    HEAD + batches * ENTRY + MAX_MESSAGE + CRC
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Their bodies are slices of the bytes that were read.
    pub batches: Vec<Batch>,
    /// Why they were refused.
    pub note: Option<Note>,
}

/// Why batches were refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the answer.
    pub status: u16,
    /// Of the answer, at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// What the index says of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Compressed bytes.
    pub length: u64,
    /// Samples.
    pub samples: u32,
    /// Uncompressed bytes.
    pub raw_len: u32,
    /// Oldest timestamp.
    pub min_ms: i64,
    /// Newest timestamp.
    pub max_ms: i64,
    crc: u32,
}

/// Bytes that are no segment which this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Something else altogether.
    #[error("not a segment: it does not begin like one")]
    Foreign,
    /// Of a newer program.
    #[error(
        "a segment of version {0}, and this program reads up to {VERSION}: bring the newer program back, or let it finish the spool"
    )]
    Newer(u16),
    /// Its end is missing.
    #[error("truncated: {found} bytes of {expected}")]
    Truncated {
        /// That it should have.
        expected: u64,
        /// That are there.
        found: u64,
    },
    /// Something follows its end.
    #[error("{found} bytes where {expected} should be")]
    Trailing {
        /// That it should have.
        expected: u64,
        /// That are there.
        found: u64,
    },
    /// Torn or damaged.
    #[error("the {0} does not match its checksum")]
    Checksum(ChecksumScope),
    /// Whole, and wrong all the same: a mistake of its writer.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// What a checksum is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumScope {
    /// Magic and version.
    Prefix,
    /// Head, index and note.
    Index,
    /// The batch of this number, from 0.
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

fn crc(bytes: &[u8]) -> u32 {
    // CRC-32C is the 32-bit one of iSCSI; the upper half of the answer is empty.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn body_crc(body: &RequestBody) -> u32 {
    let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
    body.pieces().iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}

/// Bytes of a segment of these batches, without a note.
#[must_use]
pub fn size(batches: &[Batch]) -> usize {
    HEAD + CRC
        + batches
            .iter()
            .map(|batch| ENTRY + batch.body.len())
            .sum::<usize>()
}

/// Shares batches out so that a segment of each part has at most `bytes`. A batch that is larger by
/// itself makes a part of its own.
#[must_use]
pub fn parts(batches: Vec<Batch>, bytes: usize) -> Vec<Vec<Batch>> {
    let mut parts: Vec<Vec<Batch>> = Vec::new();
    let mut filled = usize::MAX;
    for batch in batches {
        let more = ENTRY + batch.body.len();
        match parts.last_mut() {
            Some(part) if filled.saturating_add(more) <= bytes => {
                filled += more;
                part.push(batch);
            }
            _ => {
                filled = HEAD + CRC + more;
                parts.push(vec![batch]);
            }
        }
    }
    parts
}

/// The bytes of a segment.
#[must_use]
pub fn write(batches: &[Batch], note: Option<&Note>) -> Bytes {
    let message = note.map_or("", |note| cut(&note.message));
    let length = size(batches) + message.len();
    let mut out = BytesMut::with_capacity(length);
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(u16::from(note.is_some()));
    out.put_u32_le(crc(&out));
    out.put_u64_le(length as u64);
    out.put_u32_le(batches.len() as u32);
    out.put_u16_le(note.map_or(0, |note| note.status));
    out.put_u16_le(message.len() as u16);
    for batch in batches {
        out.put_u64_le(batch.body.len() as u64);
        out.put_u32_le(batch.samples);
        out.put_u32_le(batch.raw_len);
        out.put_i64_le(batch.min_ms);
        out.put_i64_le(batch.max_ms);
        out.put_u32_le(body_crc(&batch.body));
    }
    out.put_slice(message.as_bytes());
    out.put_u32_le(crc(&out));
    for piece in batches.iter().flat_map(|batch| batch.body.pieces()) {
        out.put_slice(piece);
    }
    out.freeze()
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Reads a whole segment and checks every byte of it.
///
/// # Errors
/// [`SegmentError`]; the table above says what each means.
pub fn read(bytes: &Bytes) -> Result<Segment, SegmentError> {
    let head = head(bytes)?;
    let found = bytes.len() as u64;
    if found < head.length {
        return Err(SegmentError::Truncated {
            expected: head.length,
            found,
        });
    }
    if found > head.length {
        return Err(SegmentError::Trailing {
            expected: head.length,
            found,
        });
    }
    let index = index(bytes, &head)?;
    let mut at = head.bodies;
    let mut batches = Vec::with_capacity(index.len());
    for (number, entry) in index.iter().enumerate() {
        // In range: `index` has added all of them up.
        let end = at + usize::try_from(entry.length).unwrap_or(usize::MAX);
        let body = bytes.slice(at..end);
        if crc(&body) != entry.crc {
            return Err(SegmentError::Checksum(ChecksumScope::Batch(number as u32)));
        }
        batches.push(Batch {
            body: body.into(),
            samples: entry.samples,
            raw_len: entry.raw_len,
            min_ms: entry.min_ms,
            max_ms: entry.max_ms,
        });
        at = end;
    }
    let message = std::str::from_utf8(&bytes[head.message..head.bodies - CRC])
        .map_err(|_| SegmentError::Malformed("a message that is not UTF-8"))?;
    let note = match head.kind {
        1 => Some(Note {
            status: head.status,
            message: message.to_owned(),
        }),
        _ => None,
    };
    Ok(Segment { batches, note })
}

/// What a segment holds, from its first bytes alone: none of the bodies is needed, and none is
/// checked.
///
/// # Errors
/// [`SegmentError`]; [`SegmentError::Truncated`] also when `start` ends before the index does: its
/// `expected` bytes are enough then.
pub fn peek(start: &[u8]) -> Result<Vec<IndexEntry>, SegmentError> {
    let head = head(start)?;
    index(start, &head)
}

struct Preamble {
    kind: u16,
    status: u16,
    length: u64,
    batches: usize,
    message: usize,
    bodies: usize,
}

fn head(bytes: &[u8]) -> Result<Preamble, SegmentError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(SegmentError::Foreign);
    }
    let truncated = |expected: usize| SegmentError::Truncated {
        expected: expected as u64,
        found: bytes.len() as u64,
    };
    if bytes.len() < PREFIX {
        return Err(truncated(PREFIX));
    }
    let mut prefix = &bytes[MAGIC.len()..];
    let (version, kind) = (prefix.get_u16_le(), prefix.get_u16_le());
    if crc(&bytes[..PREFIX - CRC]) != prefix.get_u32_le() {
        return Err(SegmentError::Checksum(ChecksumScope::Prefix));
    }
    match version {
        0 => return Err(SegmentError::Foreign),
        1 => {}
        newer => return Err(SegmentError::Newer(newer)),
    }
    if bytes.len() < HEAD {
        return Err(truncated(HEAD));
    }
    let mut rest = &bytes[PREFIX..];
    let length = rest.get_u64_le();
    let batches = rest.get_u32_le();
    let status = rest.get_u16_le();
    let message_len = usize::from(rest.get_u16_le());
    let batches = usize::try_from(batches).unwrap_or(usize::MAX);
    let message = HEAD.saturating_add(batches.saturating_mul(ENTRY));
    let bodies = message.saturating_add(message_len + CRC);
    Ok(Preamble {
        kind,
        status,
        length,
        batches,
        message,
        bodies,
    })
}

fn index(bytes: &[u8], head: &Preamble) -> Result<Vec<IndexEntry>, SegmentError> {
    if bytes.len() < head.bodies {
        // In a whole segment the length is right, so it is the index that claims too much.
        if bytes.len() as u64 >= head.length {
            return Err(SegmentError::Checksum(ChecksumScope::Index));
        }
        return Err(SegmentError::Truncated {
            expected: head.bodies as u64,
            found: bytes.len() as u64,
        });
    }
    let end = head.bodies - CRC;
    if crc(&bytes[..end]) != (&bytes[end..]).get_u32_le() {
        return Err(SegmentError::Checksum(ChecksumScope::Index));
    }
    let mut rest = &bytes[HEAD..head.message];
    let mut total = head.bodies as u64;
    let mut entries = Vec::with_capacity(head.batches);
    for _ in 0..head.batches {
        let entry = IndexEntry {
            length: rest.get_u64_le(),
            samples: rest.get_u32_le(),
            raw_len: rest.get_u32_le(),
            min_ms: rest.get_i64_le(),
            max_ms: rest.get_i64_le(),
            crc: rest.get_u32_le(),
        };
        total = total
            .checked_add(entry.length)
            .ok_or(SegmentError::Malformed("bodies longer than can be"))?;
        entries.push(entry);
    }
    if total != head.length {
        return Err(SegmentError::Malformed(
            "the bodies do not add up to its length",
        ));
    }
    if head.kind > 1 || (head.kind == 0 && (head.status, head.bodies - CRC) != (0, head.message)) {
        return Err(SegmentError::Malformed("an unknown kind"));
    }
    Ok(entries)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
