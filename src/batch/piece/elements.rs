//! Snappy's elements, written one by one.
//!
//! A block is a sequence of elements (google/snappy `format_description.txt`). The two low bits of
//! an element's first byte are its kind: 0 is a literal, whose bytes follow; 1 and 2 are copies,
//! with one or two bytes of distance back in the uncompressed bytes.

/// Bytes of a literal whose length is in its first byte.
const SHORT_LITERAL: usize = 60;

/// Bytes of a copy with two bytes of distance.
const LONGEST_COPY: usize = 64;

/// Copies that are shorter gain nothing.
pub(super) const SHORTEST_COPY: usize = 4;

/// Bytes that the shortest form of a copy takes at most.
const SMALL_COPY: usize = 11;

/// The distances of that form are smaller.
const NEAR: usize = 1 << 11;

/// Appends bytes as they are.
#[inline]
pub(super) fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    // A longer length would take a third byte.
    for bytes in bytes.chunks(1 << 16) {
        let last = bytes.len() - 1;
        if last < SHORT_LITERAL {
            out.push((last as u8) << 2);
        } else if let Ok(last) = u8::try_from(last) {
            out.extend_from_slice(&[60 << 2, last]);
        } else {
            let [low, high] = (last as u16).to_le_bytes();
            out.extend_from_slice(&[61 << 2, low, high]);
        }
        out.extend_from_slice(bytes);
    }
}

/// Appends a copy of `length` bytes, at least [`SHORTEST_COPY`], from this distance, which is less
/// than 64 KiB.
#[inline]
pub(super) fn copy(out: &mut Vec<u8>, mut length: usize, distance: usize) {
    let [low, high] = (distance as u16).to_le_bytes();
    while length > 0 {
        let now = match length {
            ..=LONGEST_COPY => length,
            // What is left is long enough for the shortest form.
            65..68 => LONGEST_COPY - SHORTEST_COPY,
            _ => LONGEST_COPY,
        };
        if is_small(now, distance) {
            let tag = 1 | ((now - SHORTEST_COPY) as u8) << 2 | high << 5;
            out.extend_from_slice(&[tag, low]);
        } else {
            out.extend_from_slice(&[2 | ((now - 1) as u8) << 2, low, high]);
        }
        length -= now;
    }
}

/// Bytes of the element of a copy of at most 64 bytes.
#[inline]
pub(super) fn copy_len(length: usize, distance: usize) -> usize {
    if is_small(length, distance) { 2 } else { 3 }
}

#[inline]
fn is_small(length: usize, distance: usize) -> bool {
    (SHORTEST_COPY..=SMALL_COPY).contains(&length) && distance < NEAR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompb::wire;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn elements_say_what_was_written(
            first in 1..70_000_usize,
            copies in prop::collection::vec((4..300_usize, 0..65_535_usize), 0..20),
        ) {
            let mut raw: Vec<u8> = (0..first).map(|at| ((at * at) >> 3) as u8).collect();
            let mut elements = Vec::new();
            literal(&mut elements, &raw);
            for (length, distance) in copies {
                let distance = 1 + distance % raw.len().min(65_535);
                let before = elements.len();
                copy(&mut elements, length, distance);
                if length <= LONGEST_COPY {
                    prop_assert_eq!(elements.len() - before, copy_len(length, distance));
                }
                (0..length).for_each(|_| raw.push(raw[raw.len() - distance]));
            }
            let mut block = Vec::new();
            wire::varint(&mut block, raw.len() as u64);
            block.extend_from_slice(&elements);
            prop_assert!(snap::raw::Decoder::new().decompress_vec(&block).unwrap() == raw);
        }
    }
}
