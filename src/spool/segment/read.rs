//! Reading a segment.

use bytes::{Buf, Bytes};

use super::{
    CRC, ChecksumScope, ENTRY, HEAD, IndexEntry, MAGIC, MAX_BATCHES, Note, PREFIX,
    SAMPLES_PER_BYTE, Segment, SegmentError, crc,
};
use crate::batch::Batch;

/// Reads a whole segment and checks every byte of it. The bodies are slices of `bytes`.
///
/// # Errors
/// The bytes are not a segment that this program can read. The table in the module's documentation
/// says what each error means.
pub fn read(bytes: &Bytes) -> Result<Segment, SegmentError> {
    let head = head(bytes)?;
    // No checksum vouches for the length yet, but it tells a torn segment from a damaged one.
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
        // This is in range: `index` has checked that the lengths add up to the object.
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

/// The index of a segment, from its first bytes alone. The bodies are not needed, and not checked.
///
/// # Errors
/// The bytes are not the start of a segment that this program can read. With
/// [`SegmentError::Truncated`] they end before the index does, and `expected` bytes are enough.
pub fn peek(start: &[u8]) -> Result<Vec<IndexEntry>, SegmentError> {
    let head = head(start)?;
    index(start, &head)
}

/// What prefix and head say.
struct Preamble {
    /// 0 without a note, 1 with one.
    kind: u16,
    /// HTTP status of the note.
    status: u16,
    /// Length of the whole segment in bytes.
    length: u64,
    /// Number of batches.
    batches: usize,
    /// Where the message begins, behind the index.
    message: usize,
    /// Where the bodies begin.
    bodies: usize,
}

fn head(bytes: &[u8]) -> Result<Preamble, SegmentError> {
    // As much of the magic as there is: something shorter can still be a torn segment.
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
    // The checksum holds, so the version is what was written: a damaged segment is never taken
    // for one of a newer program.
    match version {
        0 => return Err(SegmentError::Foreign),
        1 => {}
        newer => return Err(SegmentError::Newer(newer)),
    }
    if bytes.len() < HEAD {
        return Err(truncated(HEAD));
    }
    // Head and index are read before their checksum is known to hold. A damaged number may be
    // anything, hence the saturating arithmetic.
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
        // When all bytes are there, the index claims more than there is.
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
    if head.batches > MAX_BATCHES {
        return Err(SegmentError::Malformed("more batches than a segment has"));
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
        if u64::from(entry.samples) > entry.length.saturating_mul(SAMPLES_PER_BYTE) {
            return Err(SegmentError::Malformed(
                "more samples than its bytes can hold",
            ));
        }
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
