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
//!
//! In protobuf sources labels even stand as the whole fields that are sent. Such labels that are
//! neighbours there and in the label set are one step, a run: `(place, length)`.

use std::ops::Range;

mod literals;

pub(super) use self::literals::LiteralPool;
use super::labels::{Labels, NAME, PlacedLabel};
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
/// Labels that stand in the raw bytes as fields `TimeSeries.labels`, one behind the other.
const RUN: u64 = 5;
/// Number of bits of a step's kind.
const BITS: u32 = 3;
const KIND: u64 = (1 << BITS) - 1;

/// Bytes from a raw value to the name of the next pair, and from that to its value.
const GAP: u64 = 2;

/// Appends the recipe of a finished label set. A `portable` recipe needs no raw bytes, because a
/// stale marker is written when there are none any more.
pub(super) fn write(
    labels: &Labels<'_>,
    portable: bool,
    literals: &mut LiteralPool,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    // One byte for the recipe's length, which `end` fills in. Nearly all recipes are that short.
    out.push(0);
    let length: usize = labels
        .iter()
        .map(|label| wire::field_len(label_len(label.name.len(), label.value.len())))
        .sum();
    wire::varint(out, length as u64);
    let raw = if portable { &[] } else { labels.raw() };
    let mut steps = StepWriter {
        portable,
        literals,
        scratch: Vec::new(),
        last_end: None,
        out,
    };
    let mut rest = labels.iter().as_slice();
    while let Some((label, behind)) = rest.split_first() {
        rest = if let Some(run) = LabelRun::find(rest, raw, &mut steps.scratch) {
            steps.run(&run);
            &rest[run.labels..]
        } else {
            steps.label(label);
            behind
        };
    }
    end(out, start);
}

/// Labels that stand in the raw bytes as they are sent.
struct LabelRun {
    /// Their place in the raw bytes.
    place: Range<usize>,
    /// Number of labels.
    labels: usize,
}

impl LabelRun {
    /// The longest run that the labels start with. What is sent is compared with the raw bytes, so
    /// it is of no account what a rule did to a label, or whether the source writes its lengths as
    /// we do.
    fn find(labels: &[PlacedLabel<'_>], raw: &[u8], scratch: &mut Vec<u8>) -> Option<Self> {
        let mut run: Option<Self> = None;
        for label in labels {
            let Some(place) = field_place(label, raw, scratch) else {
                break;
            };
            match &mut run {
                None => run = Some(Self { place, labels: 1 }),
                Some(run) if run.place.end == place.start => {
                    (run.place.end, run.labels) = (place.end, run.labels + 1);
                }
                Some(_) => break,
            }
        }
        // The metric's name alone has a step that is as short, and shorter if only its value's
        // length is one byte.
        run.filter(|run| run.labels > 1 || run.place.len() < 0x80 || labels[0].name != NAME)
    }
}

/// Where in the raw bytes the whole field of the label stands, if it does. Name and value are there
/// at the places of the label, so only what stands around them is compared.
fn field_place(label: &PlacedLabel<'_>, raw: &[u8], scratch: &mut Vec<u8>) -> Option<Range<usize>> {
    let (name, value) = (label.name.as_bytes(), label.value.as_bytes());
    let length = label_len(name.len(), value.len());
    let end = label.value_at? as usize + value.len();
    let place = end.checked_sub(wire::field_len(length))?..end;
    let field = raw.get(place.clone())?;
    let is_field = if length < 0x80 {
        // Each length is one byte, as in `put_label`.
        let (head, behind) = field.split_first_chunk()?;
        let (shown, between) = behind.get(..name.len() + 2)?.split_last_chunk()?;
        *head
            == [
                wire::LABEL,
                length as u8,
                wire::LABEL_NAME,
                name.len() as u8,
            ]
            && *between == [wire::LABEL_VALUE, value.len() as u8]
            && (label.name_at == Some(place.start as u32 + head.len() as u32) || shown == name)
    } else {
        scratch.clear();
        put_label(scratch, name, value);
        field == scratch.as_slice()
    };
    is_field.then_some(place)
}

/// Writes the steps of one recipe.
struct StepWriter<'w> {
    portable: bool,
    literals: &'w mut LiteralPool,
    scratch: Vec<u8>,
    /// Where the last raw value ends: the next pair is mostly two bytes behind it.
    last_end: Option<u64>,
    out: &'w mut Vec<u8>,
}

impl StepWriter<'_> {
    fn step(&mut self, operands: &[u64]) {
        for &operand in operands {
            wire::varint(self.out, operand);
        }
    }

    fn run(&mut self, run: &LabelRun) {
        let (place, length) = (run.place.start as u64, run.place.len() as u64);
        self.step(&[place << BITS | RUN, length]);
        self.last_end = Some(place + length);
    }

    /// Writes the shortest step that says where the label is, from the shortest kind to the
    /// longest.
    fn label(&mut self, label: &PlacedLabel<'_>) {
        let (name_len, value_len) = (label.name.len() as u64, label.value.len() as u64);
        let (name_at, value_at) = if self.portable {
            (None, None)
        } else {
            (label.name_at, label.value_at)
        };
        match (name_at.map(u64::from), value_at.map(u64::from)) {
            // `",name="value`: no place is written, only lengths.
            (Some(name), Some(value))
                if self.last_end.is_some_and(|end| name == end + GAP)
                    && value == name + name_len + GAP =>
            {
                self.step(&[name_len << BITS | NEXT, value_len]);
                self.last_end = Some(value + value_len);
            }
            // A pair at another place, or with other bytes between name and value.
            (Some(name), Some(value)) if value >= name + name_len => {
                self.step(&[
                    name << BITS | PAIR,
                    name_len,
                    value - name - name_len,
                    value_len,
                ]);
                self.last_end = Some(value + value_len);
            }
            // The metric's name: its label name `__name__` is in no text.
            (_, Some(value)) if label.name == NAME => {
                self.step(&[value << BITS | METRIC, value_len]);
                self.last_end = after_metric(value, value_len);
            }
            // A raw value under a name that a rule gave.
            (_, Some(value)) => {
                self.scratch.clear();
                wire::field(&mut self.scratch, wire::LABEL_NAME, label.name.as_bytes());
                let name = self.literals.id(&self.scratch);
                self.step(&[name << BITS | NAMED, value, value_len]);
                self.last_end = Some(value + value_len);
            }
            // A label that is not in the raw bytes: decoded, relabelled or added.
            (_, None) => {
                self.scratch.clear();
                put_label(
                    &mut self.scratch,
                    label.name.as_bytes(),
                    label.value.as_bytes(),
                );
                let id = self.literals.id(&self.scratch);
                self.step(&[id << BITS | LITERAL]);
            }
        }
    }
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
    // The labels' length is of no use here. `last_end` follows the same rules as in `StepWriter`.
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
            RUN => {
                let Some(length) = next() else { return };
                last_end = place + length;
                out.extend_from_slice(&raw[place..last_end]);
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

/// Number of varints that follow the first one of a step.
fn operands(kind: u64) -> usize {
    match kind {
        PAIR => 3,
        NEXT | METRIC | RUN => 1,
        LITERAL => 0,
        _ => 2,
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
        let step = if kind == LITERAL || kind == NAMED {
            to.id(from.get(step >> BITS)) << BITS | kind
        } else {
            step
        };
        wire::varint(out, step);
        for _ in 0..operands(kind) {
            wire::varint(out, next().unwrap_or(0));
        }
    }
    end(out, start);
}

#[cfg(test)]
mod tests;
