//! Cuts batches in time, down into an entry that holds several samples.
//!
//! A receiver that finds one timestamp out of its bounds drops the whole entry (Cortex,
//! `pkg/ingester/ingester.go` `Push`), so samples that are too old are taken out one by one. And an
//! entry that is alone in its batch can be made smaller only by cutting it.

use super::Batch;
use super::blocks::BlockCompressor;
use super::error::SplitError;
use super::split::{decompress, split};
use super::walk::varint_of;
use crate::prompb::wire;

/// Most samples of one entry whose times are compared. The largest body has room for fewer samples
/// of ours: 18 bytes are the fewest that one with a value takes.
const MAX_TIMES: usize = 1 << 20;

/// The two sides of a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeCut {
    /// The samples before the time of the cut. None without any.
    pub before: Option<Batch>,
    /// The samples from that time on. None without any.
    pub from: Option<Batch>,
}

/// The halves of a batch that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halves {
    /// The half that is posted first.
    pub first: Batch,
    /// The other half.
    pub second: Batch,
    /// Whether both hold samples of one series. Then the first half must be answered before the
    /// second one is posted, or its samples would be out of order.
    pub ordered: bool,
}

/// Splits a batch in halves: by entries, or in time if it holds one entry. `None` when it holds one
/// sample.
///
/// # Errors
/// Fails when the body is not a remote-write request. The batch then cannot be made smaller, and
/// the caller has to give it up.
pub fn halve(batch: &Batch) -> Result<Option<Halves>, SplitError> {
    if let Some((first, second)) = split(batch)? {
        return Ok(Some(Halves {
            first,
            second,
            ordered: false,
        }));
    }
    let Some(middle_ms) = middle_ms(&decompress(batch)?)? else {
        return Ok(None);
    };
    let cut = cut_in_time(batch, middle_ms)?;
    let halves = cut.before.zip(cut.from).map(|(first, second)| Halves {
        first,
        second,
        ordered: true,
    });
    Ok(halves)
}

/// Cuts a batch into the samples before `from_ms`, milliseconds since 1970, and the others. Samples
/// are copied byte by byte. An entry that has samples on both sides becomes two, with the same
/// labels.
///
/// Memory is needed for the uncompressed body and the compressed sides only: the body may come from
/// anybody who may write the spool.
///
/// # Errors
/// Fails when the body is not the remote-write request that the batch describes.
pub fn cut_in_time(batch: &Batch, from_ms: i64) -> Result<TimeCut, SplitError> {
    let raw = decompress(batch)?;
    let before = side(&raw, |at| at < from_ms)?;
    let from = side(&raw, |at| at >= from_ms)?;
    let samples = |side: &Option<Batch>| side.as_ref().map_or(0, |side| u64::from(side.samples));
    let found = samples(&before) + samples(&from);
    if found != u64::from(batch.samples) {
        let said = batch.samples;
        return Err(SplitError::Samples { said, found });
    }
    Ok(TimeCut { before, from })
}

/// What one side of a cut has of an entry: some of its samples, and everything else.
struct EntryPart {
    /// Length of its message `TimeSeries` in bytes.
    length: usize,
    samples: u32,
    min_ms: i64,
    max_ms: i64,
}

impl EntryPart {
    fn of(entry: &RawField<'_>, belongs: &impl Fn(i64) -> bool) -> Result<Self, SplitError> {
        let mut part = Self {
            length: 0,
            samples: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        };
        for field in fields(entry.content) {
            let field = field?;
            match field.timestamp_ms()? {
                Some(at) if belongs(at) => {
                    part.samples += 1;
                    part.min_ms = part.min_ms.min(at);
                    part.max_ms = part.max_ms.max(at);
                }
                Some(_) => continue,
                None => {}
            }
            part.length += field.whole.len();
        }
        Ok(part)
    }
}

/// The entries with those of their samples whose time belongs to this side. Entries without any are
/// left out. None when all are.
fn side(raw: &[u8], belongs: impl Fn(i64) -> bool) -> Result<Option<Batch>, SplitError> {
    // The length stands before a compressed body, so it is counted first.
    let mut length = 0;
    for entry in entries_of(raw) {
        let part = EntryPart::of(&entry?, &belongs)?;
        if part.samples > 0 {
            length += wire::field_len(part.length);
        }
    }
    let mut kept = BlockCompressor::new(length);
    let mut head = Vec::new();
    let (mut samples, mut min_ms, mut max_ms) = (0, i64::MAX, i64::MIN);
    for entry in entries_of(raw) {
        let entry = entry?;
        let part = EntryPart::of(&entry, &belongs)?;
        if part.samples == 0 {
            continue;
        }
        head.clear();
        head.push(wire::TIME_SERIES);
        wire::varint(&mut head, part.length as u64);
        kept.write(&head)?;
        for field in fields(entry.content) {
            let field = field?;
            if field.timestamp_ms()?.is_none_or(&belongs) {
                kept.write(field.whole)?;
            }
        }
        samples += part.samples;
        min_ms = min_ms.min(part.min_ms);
        max_ms = max_ms.max(part.max_ms);
    }
    if samples == 0 {
        return Ok(None);
    }
    Ok(Some(Batch {
        body: kept.finish()?,
        samples,
        // It fits: a side is at most as long as the whole, whose length has 32 bits.
        raw_len: length as u32,
        min_ms,
        max_ms,
    }))
}

/// The entries of a request. Any other field of it is an error.
fn entries_of(raw: &[u8]) -> impl Iterator<Item = Result<RawField<'_>, SplitError>> {
    fields(raw).map(|field| match field {
        Ok(field) if field.tag != wire::TIME_SERIES => {
            Err(malformed("a field of the request is no time series"))
        }
        field => field,
    })
}

/// The time at which a cut leaves samples on both sides, as nearly as many as it can. None when all
/// samples are of one time.
fn middle_ms(raw: &[u8]) -> Result<Option<i64>, SplitError> {
    let mut times = Vec::new();
    for entry in fields(raw) {
        for field in fields(entry?.content) {
            times.extend(field?.timestamp_ms()?);
            if times.len() > MAX_TIMES {
                return Err(SplitError::TooLarge {
                    found: times.len() * size_of::<i64>(),
                    most: MAX_TIMES * size_of::<i64>(),
                });
            }
        }
    }
    times.sort_unstable();
    let oldest = times.first().copied();
    let later = |at: &&i64| Some(**at) != oldest;
    Ok(times[times.len() / 2..].iter().find(later).copied())
}

/// A field of a message, as it is on the wire.
struct RawField<'a> {
    /// Its key, if that is one byte; 0 otherwise.
    tag: u8,
    whole: &'a [u8],
    /// What a length stands before; empty for other fields.
    content: &'a [u8],
}

impl RawField<'_> {
    /// The timestamp of a sample, in the message `TimeSeries`. None for other fields.
    fn timestamp_ms(&self) -> Result<Option<i64>, SplitError> {
        Ok(match self.tag {
            wire::SAMPLE => Some(varint_of(self.content, 2)?),
            wire::HISTOGRAM => Some(varint_of(self.content, 15)?),
            _ => None,
        })
    }
}

/// The fields of a message. Nothing follows the first error.
fn fields(message: &[u8]) -> impl Iterator<Item = Result<RawField<'_>, SplitError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let start = at;
        let field = next_field(message, &mut at);
        if field.is_none() {
            at = message.len();
        }
        Some(field.ok_or_else(|| {
            malformed(if start == 0 {
                "a message does not begin with a field"
            } else {
                "it ends within a field"
            })
        }))
    })
}

fn next_field<'a>(message: &'a [u8], at: &mut usize) -> Option<RawField<'a>> {
    let start = *at;
    let key = wire::read_varint(message, at)?;
    let content = match key & 7 {
        0 => {
            wire::read_varint(message, at)?;
            *at..*at
        }
        1 => *at + 8..*at + 8,
        2 => {
            let length = usize::try_from(wire::read_varint(message, at)?).ok()?;
            *at..at.checked_add(length)?
        }
        5 => *at + 4..*at + 4,
        _ => return None,
    };
    *at = content.end;
    Some(RawField {
        tag: u8::try_from(key).unwrap_or(0),
        whole: message.get(start..content.end)?,
        content: message.get(content)?,
    })
}

fn malformed(cause: &str) -> SplitError {
    SplitError::Protobuf(cause.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::decode;
    use super::*;
    use crate::prompb::messages::{Histogram, Label, Sample, TimeSeries, WriteRequest};

    fn entry(name: &str, floats: &[i64], histograms: &[i64]) -> TimeSeries {
        let sample = |&timestamp| Sample {
            value: timestamp as f64,
            timestamp,
        };
        let histogram = |&timestamp| Histogram {
            sum: 1.5,
            timestamp,
            ..Histogram::default()
        };
        TimeSeries {
            labels: vec![Label {
                name: "__name__".to_owned(),
                value: name.to_owned(),
            }],
            samples: floats.iter().map(sample).collect(),
            histograms: histograms.iter().map(histogram).collect(),
        }
    }

    fn batch(timeseries: &[TimeSeries]) -> Batch {
        let request = WriteRequest {
            timeseries: timeseries.to_vec(),
        };
        let raw = request.encode_to_vec();
        let times = || {
            timeseries.iter().flat_map(|entry| {
                let floats = entry.samples.iter().map(|sample| sample.timestamp);
                floats.chain(entry.histograms.iter().map(|histogram| histogram.timestamp))
            })
        };
        Batch {
            body: snap::raw::Encoder::new().compress_vec(&raw).unwrap().into(),
            samples: times().count() as u32,
            raw_len: raw.len() as u32,
            min_ms: times().min().unwrap_or(i64::MAX),
            max_ms: times().max().unwrap_or(i64::MIN),
        }
    }

    #[test]
    fn a_cut_goes_through_entries() {
        let whole = batch(&[
            entry("a", &[1, 2, 3], &[]),
            entry("b", &[1], &[]),
            entry("c", &[3], &[]),
            entry("d", &[], &[1, 2, 3]),
        ]);
        let cut = cut_in_time(&whole, 2).unwrap();
        let before = [
            entry("a", &[1], &[]),
            entry("b", &[1], &[]),
            entry("d", &[], &[1]),
        ];
        let from = [
            entry("a", &[2, 3], &[]),
            entry("c", &[3], &[]),
            entry("d", &[], &[2, 3]),
        ];
        assert_eq!(cut.before, Some(batch(&before)));
        assert_eq!(cut.from, Some(batch(&from)));
        let all = TimeCut {
            before: None,
            from: Some(whole.clone()),
        };
        assert_eq!(cut_in_time(&whole, 1), Ok(all));
        let none = TimeCut {
            before: Some(whole.clone()),
            from: None,
        };
        assert_eq!(cut_in_time(&whole, 4), Ok(none));
    }

    #[test]
    fn halves_of_one_entry_are_in_order_and_others_need_none() {
        let halves = halve(&batch(&[entry("a", &[1, 2, 3, 4, 5], &[])]))
            .unwrap()
            .unwrap();
        assert_eq!(halves.first, batch(&[entry("a", &[1, 2], &[])]));
        assert_eq!(halves.second, batch(&[entry("a", &[3, 4, 5], &[])]));
        assert!(halves.ordered);
        let entries = [entry("a", &[1, 2], &[]), entry("b", &[1, 2], &[])];
        let halves = halve(&batch(&entries)).unwrap().unwrap();
        assert_eq!(halves.first, batch(&entries[..1]));
        assert_eq!(halves.second, batch(&entries[1..]));
        assert!(!halves.ordered);
        for single in [
            entry("a", &[1], &[]),
            entry("a", &[], &[2]),
            entry("a", &[2, 2], &[]),
        ] {
            assert_eq!(halve(&batch(&[single])), Ok(None));
        }
    }

    #[test]
    fn what_the_encoder_would_lose_is_copied_to_both_sides() {
        // A sample of a zero that was written, and an unknown field 9 of the entry.
        let sample = |at| [&[wire::SAMPLE, 11, 0x09][..], &[0; 8], &[0x10, at]].concat();
        let message = [sample(1), sample(2), vec![0x48, 0x01]].concat();
        let mut raw = Vec::new();
        wire::field(&mut raw, wire::TIME_SERIES, &message);
        let whole = Batch {
            body: snap::raw::Encoder::new().compress_vec(&raw).unwrap().into(),
            samples: 2,
            raw_len: raw.len() as u32,
            min_ms: 1,
            max_ms: 2,
        };
        let cut = cut_in_time(&whole, 2).unwrap();
        for (side, at) in [(cut.before, 1), (cut.from, 2)] {
            let side = side.unwrap();
            let mut expected = Vec::new();
            let message = [sample(at), vec![0x48, 0x01]].concat();
            wire::field(&mut expected, wire::TIME_SERIES, &message);
            assert_eq!(decompress(&side), Ok(expected));
        }
    }

    #[test]
    fn a_body_from_elsewhere_is_an_error() {
        for raw in [
            &b"\x0a\x7fshort"[..],
            b"\x0a",
            b"\x0b",
            b"\x1a\x00",
            b"\x0a\x03\x12\x05\x10",
        ] {
            let batch = Batch {
                body: snap::raw::Encoder::new().compress_vec(raw).unwrap().into(),
                samples: 1,
                raw_len: raw.len() as u32,
                min_ms: 0,
                max_ms: 0,
            };
            assert!(cut_in_time(&batch, 0).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_batch_that_lies_about_its_samples_is_not_cut() {
        let honest = batch(&[entry("a", &[1, 2, 3], &[]), entry("b", &[2], &[])]);
        for said in [0, 3, 5, u32::MAX] {
            let lying = Batch {
                samples: said,
                ..honest.clone()
            };
            let error = SplitError::Samples { said, found: 4 };
            assert_eq!(cut_in_time(&lying, 2), Err(error));
        }
    }

    #[test]
    fn times_that_would_fill_memory_are_not_gathered() {
        // A sample without a value and a time takes two bytes on the wire.
        let samples = MAX_TIMES + 1;
        let message = [wire::SAMPLE, 0].repeat(samples);
        let mut raw = Vec::new();
        wire::field(&mut raw, wire::TIME_SERIES, &message);
        let batch = Batch {
            body: snap::raw::Encoder::new().compress_vec(&raw).unwrap().into(),
            samples: samples as u32,
            raw_len: raw.len() as u32,
            min_ms: 0,
            max_ms: 0,
        };
        let halves = halve(&batch);
        assert!(
            matches!(halves, Err(SplitError::TooLarge { .. })),
            "{halves:?}"
        );
    }

    proptest! {
        /// Every sample is on one side, and both sides together are the batch.
        #[test]
        fn nothing_is_lost_by_a_cut(
            entries in vec((vec(0..50_i64, 0..6), any::<bool>()), 1..6),
            from_ms in 0..50_i64,
        ) {
            let entries: Vec<_> = entries.into_iter().enumerate().map(|(number, (times, floats))| {
                let name = number.to_string();
                if floats { entry(&name, &times, &[]) } else { entry(&name, &[], &times) }
            }).collect();
            let whole = batch(&entries);
            let cut = cut_in_time(&whole, from_ms).unwrap();
            let samples = |side: &Option<Batch>| side.as_ref().map_or(0, |batch| batch.samples);
            prop_assert_eq!(samples(&cut.before) + samples(&cut.from), whole.samples);
            for (side, is_before) in [(&cut.before, true), (&cut.from, false)] {
                let Some(side) = side else { continue };
                let is_here = |at: &i64| (*at < from_ms) == is_before;
                let mut expected = Vec::new();
                for mut entry in entries.clone() {
                    entry.samples.retain(|sample| is_here(&sample.timestamp));
                    entry.histograms.retain(|histogram| is_here(&histogram.timestamp));
                    if !entry.samples.is_empty() || !entry.histograms.is_empty() {
                        expected.push(entry);
                    }
                }
                prop_assert_eq!(side, &batch(&expected));
                prop_assert_eq!(decode(side).unwrap().timeseries, expected);
            }
        }
    }
}
