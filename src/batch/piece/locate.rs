//! Reading snappy's elements.

use super::patch::SampleSlot;

/// Finds each slot's bytes in snappy's elements. False when one of them does not stand there as it
/// is, or is copied from.
pub(super) fn locate(elements: &[u8], slots: &mut [SampleSlot]) -> bool {
    let (mut at, mut raw, mut next) = (0, 0, 0);
    let little_endian = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    while let Some(&tag) = elements.get(at) {
        let (header, length, distance) = match (tag & 3, usize::from(tag >> 2)) {
            (0, short @ 0..60) => (1, short + 1, 0),
            (0, long) => (1 + long - 59, 1, 0),
            (1, bits) => (2, 4 + (bits & 7), (bits >> 3) << 8),
            (2, short) => (3, short + 1, 0),
            (_, short) => (5, short + 1, 0),
        };
        let Some(more) = elements.get(at + 1..at + header) else {
            return false;
        };
        let more = little_endian(more);
        at += header;
        if tag & 3 == 0 {
            let length = length + if header > 1 { more } else { 0 };
            while let Some(slot) = slots
                .get_mut(next)
                .filter(|slot| slot.start() < raw + length)
            {
                let end = usize::from(slot.end);
                let Ok(place) = u16::try_from(at + end - raw) else {
                    return false;
                };
                if slot.start() < raw || end > raw + length {
                    return false;
                }
                slot.at = place;
                next += 1;
            }
            (at, raw) = (at + length, raw + length);
            continue;
        }
        let distance = distance + more;
        let Some(source) = raw.checked_sub(distance) else {
            return false;
        };
        let source = source..source + length.min(distance);
        let copied = slots.partition_point(|slot| usize::from(slot.end) <= source.start);
        if slots
            .get(copied)
            .is_some_and(|slot| slot.start() < source.end)
            || slots
                .get(next)
                .is_some_and(|slot| slot.start() < raw + length)
        {
            return false;
        }
        raw += length;
    }
    next == slots.len()
}
