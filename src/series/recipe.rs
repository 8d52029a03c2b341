//! How to encode the labels of a known series from the raw bytes that come again with each scrape.
//!
//! Names and values of labels mostly stand in these bytes just as they go on the wire, so a recipe
//! is a list of places, some thirty bytes a series, and the labels themselves are not kept. What
//! does not stand there (the target's labels, decoded or relabelled values) is kept once, in
//! [`LiteralPool`], however many series share it.
//!
//! A recipe is `length of the rest, labels' encoded length, step…`, all varints. A step is a kind
//! in the three low bits of its first varint: raw pair `(name's place, name's length, gap, value's
//! length)`, metric name `(value's place, value's length)`, literal label `(id)`, literal name with
//! raw value `(id, value's place, value's length)`, and the raw pair that stands two bytes behind
//! the last raw value, as in `",name="value"`: `(name's length, value's length)`.

use hashbrown::HashTable;

use super::labels::{Labels, NAME};
use crate::prompb::wire;

/// Name and value are raw bytes.
const PAIR: u64 = 0;
/// The value of `__name__` is raw bytes.
const METRIC: u64 = 1;
/// The whole label is a literal.
const LITERAL: u64 = 2;
/// The name is a literal, the value raw bytes.
const NAMED: u64 = 3;
/// Name and value are raw bytes right behind the last value.
const NEXT: u64 = 4;
/// Number of bits of a step's kind.
const BITS: u32 = 3;
const KIND: u64 = (1 << BITS) - 1;

/// Bytes from a raw value to the name of the next pair, and from that to its value.
const GAP: u64 = 2;

/// Encoded bytes that series share, each kept once.
#[derive(Debug, Default)]
pub(super) struct LiteralPool {
    bytes: Vec<u8>,
    /// End of each literal in `bytes`. It starts where the one before ends.
    ends: Vec<u32>,
    ids: HashTable<u32>,
}

fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

impl LiteralPool {
    fn get(&self, id: u64) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 {
            0
        } else {
            self.ends[id - 1] as usize
        };
        &self.bytes[start..self.ends[id] as usize]
    }

    fn id(&mut self, literal: &[u8]) -> u64 {
        let Self { bytes, ends, ids } = self;
        let at = |id: u32| {
            let start = if id == 0 {
                0
            } else {
                ends[id as usize - 1] as usize
            };
            &bytes[start..ends[id as usize] as usize]
        };
        let hashed = hash(literal);
        if let Some(&id) = ids.find(hashed, |&id| at(id) == literal) {
            return u64::from(id);
        }
        let id = ends.len() as u32;
        ids.insert_unique(hashed, id, |&id| hash(at(id)));
        bytes.extend_from_slice(literal);
        ends.push(bytes.len() as u32);
        u64::from(id)
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4 + self.ids.capacity() * 6
    }
}

/// Appends the recipe of a finished label set. A `portable` recipe needs no raw bytes, because a
/// stale marker is written when there are none any more.
pub(super) fn write(
    labels: &Labels<'_>,
    portable: bool,
    literals: &mut LiteralPool,
    out: &mut Vec<u8>,
) {
    let (start, mut scratch) = (out.len(), Vec::new());
    // One byte for the recipe's length, which `end` fills in. Nearly all recipes are that short.
    out.push(0);
    let length: usize = labels
        .iter()
        .map(|label| wire::field_len(label_len(label.name.len(), label.value.len())))
        .sum();
    wire::varint(out, length as u64);
    // Where the last raw value ends: the next pair is mostly two bytes behind it.
    let mut last_end = None;
    for label in labels.iter() {
        let (name_len, value_len) = (label.name.len() as u64, label.value.len() as u64);
        let (name_at, value_at) = if portable {
            (None, None)
        } else {
            (label.name_at, label.value_at)
        };
        let mut step = |operands: &[u64]| {
            operands
                .iter()
                .for_each(|&operand| wire::varint(out, operand));
        };
        // The shortest step that says where the label is, from the shortest kind to the longest.
        match (name_at.map(u64::from), value_at.map(u64::from)) {
            // `",name="value`: no place is written, only lengths.
            (Some(name), Some(value))
                if last_end.is_some_and(|end| name == end + GAP)
                    && value == name + name_len + GAP =>
            {
                step(&[name_len << BITS | NEXT, value_len]);
                last_end = Some(value + value_len);
            }
            // A pair at another place, or with other bytes between name and value.
            (Some(name), Some(value)) if value >= name + name_len => {
                step(&[
                    name << BITS | PAIR,
                    name_len,
                    value - name - name_len,
                    value_len,
                ]);
                last_end = Some(value + value_len);
            }
            // The metric's name: its label name `__name__` is in no text.
            (_, Some(value)) if label.name == NAME => {
                step(&[value << BITS | METRIC, value_len]);
                last_end = after_metric(value, value_len);
            }
            // A raw value under a name that a rule gave.
            (_, Some(value)) => {
                scratch.clear();
                wire::field(&mut scratch, wire::LABEL_NAME, label.name.as_bytes());
                step(&[literals.id(&scratch) << BITS | NAMED, value, value_len]);
                last_end = Some(value + value_len);
            }
            // A label that is not in the raw bytes: decoded, relabelled or added.
            (_, None) => {
                scratch.clear();
                put_label(&mut scratch, label.name.as_bytes(), label.value.as_bytes());
                step(&[literals.id(&scratch) << BITS | LITERAL]);
            }
        }
    }
    end(out, start);
}

/// Writes the length of the recipe that starts at `start` before it. A length of more than one byte
/// moves the recipe.
fn end(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start - 1) as u64;
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out[start] = short,
        _ => {
            let mut bytes = Vec::new();
            wire::varint(&mut bytes, length);
            out.splice(start..=start, bytes);
        }
    }
}

/// Where a raw value would end so that the next pair is [`GAP`] bytes behind it. A metric's name
/// has only a brace behind it, no quote and comma, so that this is one byte before its end.
fn after_metric(place: u64, length: u64) -> Option<u64> {
    (place + length).checked_sub(1)
}

fn label_len(name: usize, value: usize) -> usize {
    wire::field_len(name) + wire::field_len(value)
}

fn put_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let length = label_len(name.len(), value.len());
    // Nearly all labels are so short that each length is one byte.
    if let (Ok(length @ 0..0x80), Ok(name_len), Ok(value_len)) = (
        u8::try_from(length),
        u8::try_from(name.len()),
        u8::try_from(value.len()),
    ) {
        out.extend_from_slice(&[wire::LABEL, length, wire::LABEL_NAME, name_len]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[wire::LABEL_VALUE, value_len]);
        out.extend_from_slice(value);
        return;
    }
    out.push(wire::LABEL);
    wire::varint(out, length as u64);
    wire::field(out, wire::LABEL_NAME, name);
    wire::field(out, wire::LABEL_VALUE, value);
}

/// The recipe at this place, without its length.
#[inline]
pub(super) fn at(recipes: &[u8], place: usize) -> &[u8] {
    let mut at = place;
    let length = wire::read_varint(recipes, &mut at).unwrap_or(0) as usize;
    recipes.get(at..at + length).unwrap_or_default()
}

/// Length of the encoded labels in bytes.
pub(super) fn labels_len(recipe: &[u8]) -> usize {
    wire::read_varint(recipe, &mut 0).unwrap_or(0) as usize
}

/// Appends the labels as `TimeSeries.labels`. `raw` are the series' raw bytes. A recipe is only
/// ever applied to the bytes that it was made from, so its places are inside them.
pub(super) fn encode(recipe: &[u8], raw: &[u8], literals: &LiteralPool, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut next = || wire::read_varint(recipe, &mut at).map(|value| value as usize);
    // The labels' length is of no use here. `last_end` follows the same rules as in `write`.
    let _ = next();
    let mut last_end = 0;
    while let Some(step) = next() {
        let place = step >> BITS;
        match step as u64 & KIND {
            PAIR => {
                let (Some(name_len), Some(gap), Some(value_len)) = (next(), next(), next()) else {
                    return;
                };
                let value = place + name_len + gap;
                put_label(
                    out,
                    &raw[place..place + name_len],
                    &raw[value..value + value_len],
                );
                last_end = value + value_len;
            }
            NEXT => {
                let (name, name_len) = (last_end + GAP as usize, place);
                let Some(value_len) = next() else { return };
                let value = name + name_len + GAP as usize;
                put_label(
                    out,
                    &raw[name..name + name_len],
                    &raw[value..value + value_len],
                );
                last_end = value + value_len;
            }
            METRIC => {
                let Some(value_len) = next() else { return };
                put_label(out, NAME.as_bytes(), &raw[place..place + value_len]);
                last_end = after_metric(place as u64, value_len as u64).unwrap_or(0) as usize;
            }
            LITERAL => out.extend_from_slice(literals.get(place as u64)),
            _ => {
                let (Some(value), Some(value_len)) = (next(), next()) else {
                    return;
                };
                let name = literals.get(place as u64);
                out.push(wire::LABEL);
                wire::varint(out, (name.len() + wire::field_len(value_len)) as u64);
                out.extend_from_slice(name);
                wire::field(out, wire::LABEL_VALUE, &raw[value..value + value_len]);
                last_end = value + value_len;
            }
        }
    }
}

/// Copies a recipe with its literals moved to another store.
pub(super) fn copy(recipe: &[u8], from: &LiteralPool, to: &mut LiteralPool, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut next = || wire::read_varint(recipe, &mut at);
    let start = out.len();
    out.push(0);
    wire::varint(out, next().unwrap_or(0));
    while let Some(step) = next() {
        // Only the ids of literals change; places and lengths are copied as they are.
        let kind = step & KIND;
        let operands = match kind {
            PAIR => 3,
            NEXT | METRIC => 1,
            LITERAL => 0,
            _ => 2,
        };
        let step = if kind == LITERAL || kind == NAMED {
            to.id(from.get(step >> BITS)) << BITS | kind
        } else {
            step
        };
        wire::varint(out, step);
        for _ in 0..operands {
            wire::varint(out, next().unwrap_or(0));
        }
    }
    end(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written, and copied to another store, a recipe gives the same labels, however long it is.
    #[test]
    fn recipes_of_all_lengths_stand_side_by_side() {
        let (mut literals, mut recipes, mut places) =
            (LiteralPool::default(), Vec::new(), Vec::new());
        let sets: Vec<Labels<'_>> = [0_usize, 1, 30, 127, 128, 3_000]
            .into_iter()
            .map(labels)
            .collect();
        for labels in &sets {
            places.push(recipes.len());
            write(labels, true, &mut literals, &mut recipes);
        }
        let (mut other, mut copies) = (LiteralPool::default(), Vec::new());
        for (labels, place) in sets.iter().zip(places) {
            let mut expected = Vec::new();
            labels.iter().for_each(|label| {
                put_label(&mut expected, label.name.as_bytes(), label.value.as_bytes());
            });
            let recipe = at(&recipes, place);
            let (copied, mut encoded) = (copies.len(), Vec::new());
            copy(recipe, &literals, &mut other, &mut copies);
            encode(recipe, &[], &literals, &mut encoded);
            assert!(encoded == expected && labels_len(recipe) == expected.len());
            encoded.clear();
            encode(at(&copies, copied), &[], &other, &mut encoded);
            assert!(encoded == expected);
        }
    }

    fn labels(number: usize) -> Labels<'static> {
        let mut labels = Labels::default();
        (0..number).for_each(|at| labels.set(format!("label{at}"), format!("value{at}")));
        labels.finish();
        labels
    }
}
