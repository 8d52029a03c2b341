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
//! - Whatever a disk or a network makes of it by accident is noticed: each byte stands under a
//!   checksum (CRC-32C, as in S3 and in Prometheus' WAL). A checksum is no signature: who may write
//!   the spool may write a segment with samples of their own, and they are sent. Such a segment can
//!   lie about its batches, but not make a reader take more memory than any segment of ours, nor
//!   count more samples than its bytes can hold.
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
//! [`write()`] makes the bytes, the store puts them under a name that nobody used before: an object
//! is there as a whole or not at all. S3 promises that; a directory is made to by writing
//! elsewhere, fsync and rename. A segment is deleted once, after all of its batches were answered.
//!
//! # Reading, and what can be wrong
//! Checked in this order; the first that fails names the error.
//!
//! | found | error |
//! | --- | --- |
//! | other magic, or version 0 | [`Foreign`] |
//! | the prefix contradicts its checksum | [`Checksum`] |
//! | a version above ours, vouched for by the checksum | [`Newer`] |
//! | fewer bytes than the length says, or than a prefix has | [`Truncated`] |
//! | more bytes than that | [`Trailing`] |
//! | head, index or a body contradict their checksum: torn, or a flipped bit | [`Checksum`] |
//! | all checksums hold and the numbers contradict each other | [`Malformed`] |
//!
//! The queue leaves a segment of a newer version where it is, and the remote is blocked until the
//! newer program is back. It moves everything else that it cannot read to `rejected/`.
//!
//! [`Foreign`]: SegmentError::Foreign
//! [`Checksum`]: SegmentError::Checksum
//! [`Newer`]: SegmentError::Newer
//! [`Truncated`]: SegmentError::Truncated
//! [`Trailing`]: SegmentError::Trailing
//! [`Malformed`]: SegmentError::Malformed

mod error;
mod read;
mod write;

use crc32c::crc32c as crc;

pub use self::error::{ChecksumScope, SegmentError};
pub use self::read::{peek, read};
pub use self::write::write;

use crate::batch::Batch;

/// First bytes of each segment of any version.
pub const MAGIC: &[u8; 8] = b"AMPFWSEG";
/// What this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;
/// Longest message of a note; a longer one is cut.
pub const MAX_MESSAGE: usize = 4096;
/// Most batches of a segment. Each takes some hundred bytes of memory, whatever its body is, so an
/// index that claims millions would fill a small function.
pub const MAX_BATCHES: usize = 1 << 16;

/// Most samples that a byte of a body can hold: snappy makes at most 22 bytes of one, and a sample
/// takes at least two.
const SAMPLES_PER_BYTE: u64 = 11;

const PREFIX: usize = 16;
const HEAD: usize = PREFIX + 16;
const ENTRY: usize = 36;
const CRC: usize = 4;

/// Most bytes that [`peek`] needs for a segment of this many batches.
#[must_use]
pub const fn peek_bytes(batches: usize) -> usize {
    HEAD + batches * ENTRY + MAX_MESSAGE + CRC
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The batches. Their bodies are slices of the bytes that were read.
    pub batches: Vec<Batch>,
    /// Why the batches were refused; `None` if they were not.
    pub note: Option<Note>,
}

/// Why batches were refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// HTTP status of the answer.
    pub status: u16,
    /// Message of the answer, at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// What the index of a segment says about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Length of the body in bytes, compressed.
    pub length: u64,
    /// Number of samples.
    pub samples: u32,
    /// Length of the body in bytes, uncompressed.
    pub raw_len: u32,
    /// Oldest timestamp, milliseconds since 1970.
    pub min_ms: i64,
    /// Newest timestamp, milliseconds since 1970.
    pub max_ms: i64,
    /// CRC-32C of the body.
    crc: u32,
}

/// Size of a segment of these batches in bytes, without a note.
#[must_use]
pub fn size(batches: &[Batch]) -> usize {
    HEAD + CRC
        + batches
            .iter()
            .map(|batch| ENTRY + batch.body.len())
            .sum::<usize>()
}

/// Splits batches into parts, so that a segment of each part has at most `bytes` and at most
/// [`MAX_BATCHES`]. A batch that is larger than that is a part of its own.
#[must_use]
pub fn parts(batches: Vec<Batch>, bytes: usize) -> Vec<Vec<Batch>> {
    let mut parts: Vec<Vec<Batch>> = Vec::new();
    let mut filled = usize::MAX;
    for batch in batches {
        let more = ENTRY + batch.body.len();
        match parts.last_mut() {
            Some(part) if filled.saturating_add(more) <= bytes && part.len() < MAX_BATCHES => {
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

#[cfg(test)]
mod tests;
