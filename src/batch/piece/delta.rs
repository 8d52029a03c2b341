//! An entry as what differs from the entry before it.
//!
//! The series that stand next to each other in an exposition mostly share a name and most labels.
//! Entries have their labels in order, so two of them are compared label by label, and what is
//! equal becomes copies. No copy reaches further than the entry before: an entry's elements stay
//! right whatever comes or goes further ahead.

use std::cmp::Ordering;

use super::elements::{SHORTEST_COPY, copy, literal};
use super::patch::TIME_FIELD;
use crate::prompb::wire;

/// An entry of a request, its tag and length included.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEntry<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes before those that change from scrape to scrape.
    pub(super) head: usize,
}

/// Appends the elements of an entry. `before` is the entry before it, if there is one in the piece.
/// `same_time`: both end with the same timestamp, which is copied, too.
pub(super) fn write(
    out: &mut Vec<u8>,
    before: Option<RawEntry<'_>>,
    entry: RawEntry<'_>,
    same_time: bool,
) {
    let RawEntry { bytes, head } = entry;
    let written = before.map_or(0, |before| write_head(out, before, &bytes[..head]));
    if same_time {
        literal(out, &bytes[written..bytes.len() - TIME_FIELD]);
        copy(out, TIME_FIELD, bytes.len());
    } else {
        literal(out, &bytes[written..]);
    }
}

/// Appends the elements of a head, as far as the last copy goes, and returns how much that is. The
/// bytes behind it are part of the literal that follows.
fn write_head(out: &mut Vec<u8>, before: RawEntry<'_>, head: &[u8]) -> usize {
    let length = before.bytes.len();
    let before = &before.bytes[..before.head];
    // `at` and `from` are places in the two heads, and `written` is how much the elements say.
    let (mut at, mut from, mut written) = (0, 0, 0);
    let (mut field, mut other) = (HeadField::first(head), HeadField::first(before));
    loop {
        let equal = common_prefix(&head[at..], &before[from..]);
        if equal >= SHORTEST_COPY {
            literal(out, &head[written..at]);
            copy(out, equal, length - from + at);
            written = at + equal;
        }
        (at, from) = (at + equal, from + equal);
        if at == head.len() || from == before.len() {
            return written;
        }
        // Labels are sorted by name. Behind a difference the comparison goes on with the ends of
        // two values of one name, or passes over a label that the other entry has not.
        field.go_to(at);
        other.go_to(from);
        match field.order().cmp(&other.order()) {
            Ordering::Equal => {
                let equal = common_suffix(&head[at..field.end], &before[from..other.end]);
                (at, from) = (field.end - equal, other.end - equal);
            }
            Ordering::Less => (at, from) = (field.end, other.start),
            Ordering::Greater => (at, from) = (field.start.max(written), other.end),
        }
    }
}

/// A field of a head: tag and length of the entry, a label, or the start of the sample.
struct HeadField<'a> {
    head: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> HeadField<'a> {
    /// Tag and length of the entry.
    fn first(head: &'a [u8]) -> Self {
        let mut end = 1;
        let _ = wire::read_varint(head, &mut end);
        let (start, end) = (0, end.min(head.len()));
        Self { head, start, end }
    }

    /// Goes on to the field that has this place.
    fn go_to(&mut self, place: usize) {
        while self.end <= place {
            self.start = self.end;
            let mut at = self.start + 1;
            let length = wire::read_varint(self.head, &mut at).unwrap_or(0) as usize;
            self.end = at.saturating_add(length).min(self.head.len());
        }
    }

    /// Where the field stands among all that a head may have: by its kind and the label's name.
    fn order(&self) -> (u8, &'a [u8]) {
        if self.start == 0 {
            return (0, &[]);
        }
        if self.head[self.start] != wire::LABEL {
            return (2, &[]);
        }
        let mut at = self.start + 1;
        let _ = wire::read_varint(self.head, &mut at);
        at += 1;
        let length = wire::read_varint(self.head, &mut at).unwrap_or(0) as usize;
        (1, self.head.get(at..at + length).unwrap_or_default())
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let (words, _) = one.as_chunks::<8>();
    let (others, _) = other.as_chunks::<8>();
    for (number, (word, other)) in words.iter().zip(others).enumerate() {
        let difference = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return 8 * number + difference.trailing_zeros() as usize / 8;
        }
    }
    let whole = 8 * words.len().min(others.len());
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(byte, other)| byte == other).count()
}

fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let bytes = one.iter().rev().zip(other.iter().rev());
    bytes.take_while(|(byte, other)| byte == other).count()
}
