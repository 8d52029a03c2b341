//! Writing a segment.

use bytes::{BufMut, Bytes, BytesMut};
use crc32c::crc32c_append;

use super::{MAGIC, MAX_MESSAGE, Note, VERSION, crc, size};
use crate::batch::Batch;
use crate::prompb::RequestBody;

/// The bytes of a segment of these batches, with a note if they were refused.
///
/// ```
/// use amp_forwarder::batch::Batch;
/// use amp_forwarder::spool::segment;
///
/// let batch = Batch {
///     body: vec![1, 2, 3].into(),
///     samples: 7,
///     raw_len: 9,
///     min_ms: 1_000,
///     max_ms: 2_000,
/// };
/// let bytes = segment::write(&[batch.clone()], None);
/// assert_eq!(segment::read(&bytes).unwrap().batches, [batch]);
///
/// // The first bytes are enough to count its samples.
/// let index = segment::peek(&bytes[..bytes.len() - 3]).unwrap();
/// assert_eq!(index[0].samples, 7);
/// ```
#[must_use]
pub fn write(batches: &[Batch], note: Option<&Note>) -> Bytes {
    let message = note.map_or("", |note| cut(&note.message));
    let length = size(batches) + message.len();
    let mut out = BytesMut::with_capacity(length);
    // Prefix, with its checksum.
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(u16::from(note.is_some()));
    out.put_u32_le(crc(&out));
    // Head.
    out.put_u64_le(length as u64);
    out.put_u32_le(batches.len() as u32);
    out.put_u16_le(note.map_or(0, |note| note.status));
    out.put_u16_le(message.len() as u16);
    // Index.
    for batch in batches {
        out.put_u64_le(batch.body.len() as u64);
        out.put_u32_le(batch.samples);
        out.put_u32_le(batch.raw_len);
        out.put_i64_le(batch.min_ms);
        out.put_i64_le(batch.max_ms);
        out.put_u32_le(body_crc(&batch.body));
    }
    // Note, and the checksum of everything up to here. Each body has its own in the index.
    out.put_slice(message.as_bytes());
    out.put_u32_le(crc(&out));
    for piece in batches.iter().flat_map(|batch| batch.body.pieces()) {
        out.put_slice(piece);
    }
    out.freeze()
}

/// The message up to [`MAX_MESSAGE`] bytes, cut between two characters.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

fn body_crc(body: &RequestBody) -> u32 {
    let pieces = body.pieces().iter();
    pieces.fold(0, |crc, piece| crc32c_append(crc, piece))
}
