//! A walk through the bytes of a request that allocates nothing. A body from the spool may claim
//! anything, and a decoded entry takes many times its bytes, so entries are counted before they are
//! decoded.

use std::ops::Range;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::error::SplitError;
use crate::prompb::messages::TimeSeries;

/// Most memory that one decoded entry may take, in bytes, estimated. A series of ours takes some
/// kilobytes.
const MAX_ENTRY_MEMORY: usize = 16 << 20;

/// Longest labels of one entry, in bytes with what surrounds them. No receiver takes longer ones,
/// and an export has those of many entries in memory at once.
const MAX_LABELS: usize = 64 << 10;

/// Memory of a decoded label in addition to its text.
const LABEL_MEMORY: usize = 96;
/// Memory of a decoded float sample.
const SAMPLE_MEMORY: usize = 16;
/// Memory of a decoded histogram in addition to its buckets.
const HISTOGRAM_MEMORY: usize = 320;
/// Memory that a byte of a histogram takes at most: a difference of one byte becomes eight.
const BUCKET_MEMORY: usize = 8;

/// What the samples of some entries have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryCounts {
    /// Number of entries.
    pub(super) entries: usize,
    /// Number of samples, floats and histograms.
    pub(super) samples: u64,
    /// Oldest timestamp, milliseconds since 1970; the largest number without a sample.
    pub(super) min_ms: i64,
    /// Newest timestamp, milliseconds since 1970; the smallest number without a sample.
    pub(super) max_ms: i64,
}

impl EntryCounts {
    /// Counts the entries of a request, or of a part of one that ends between two entries.
    pub(super) fn of(raw: &[u8]) -> Result<Self, SplitError> {
        let mut counts = Self {
            entries: 0,
            samples: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        };
        for message in spans(raw) {
            counts.entries += 1;
            counts.add(&raw[message?])?;
        }
        Ok(counts)
    }

    /// Adds one message `TimeSeries`.
    fn add(&mut self, series: &[u8]) -> Result<(), SplitError> {
        for field in fields(series) {
            let timestamp = match field? {
                (2, FieldValue::Bytes(sample)) => varint_of(sample, 2)?,
                (4, FieldValue::Bytes(histogram)) => varint_of(histogram, 15)?,
                _ => continue,
            };
            self.samples += 1;
            self.min_ms = self.min_ms.min(timestamp);
            self.max_ms = self.max_ms.max(timestamp);
        }
        Ok(())
    }
}

/// Where the message `TimeSeries` of each entry is. Each entry is one field 1 of the request; any
/// other field is an error.
pub(super) fn spans(raw: &[u8]) -> impl Iterator<Item = Result<Range<usize>, SplitError>> + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        let end = raw.len() - rest.len();
        let span = match field {
            Ok((1, FieldValue::Bytes(message))) => Ok(end - message.len()..end),
            Ok((tag, _)) => Err(SplitError::Protobuf(format!(
                "field {tag} is no time series"
            ))),
            Err(error) => Err(error),
        };
        // Nothing follows the first error.
        if span.is_err() {
            rest = &[];
        }
        Some(span)
    })
}

/// Decodes an entry, unless it would take more memory than an entry of ours ever does.
pub(super) fn decode_entry(series: &[u8]) -> Result<TimeSeries, SplitError> {
    let (mut memory, mut labels) = (0, 0);
    for field in fields(series) {
        memory += match field? {
            (1, FieldValue::Bytes(label)) => {
                labels += label.len();
                LABEL_MEMORY + label.len()
            }
            (2, FieldValue::Bytes(_)) => SAMPLE_MEMORY,
            (4, FieldValue::Bytes(histogram)) => HISTOGRAM_MEMORY + BUCKET_MEMORY * histogram.len(),
            _ => 0,
        };
    }
    if memory > MAX_ENTRY_MEMORY {
        return Err(SplitError::TooLarge {
            found: memory,
            most: MAX_ENTRY_MEMORY,
        });
    }
    if labels > MAX_LABELS {
        return Err(SplitError::TooLarge {
            found: labels,
            most: MAX_LABELS,
        });
    }
    Ok(TimeSeries::decode(series)?)
}

/// The value of a field, as far as it is looked at.
enum FieldValue<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The last varint in field `wanted` of a message, 0 when there is none, as protobuf has it.
pub(super) fn varint_of(message: &[u8], wanted: u32) -> Result<i64, SplitError> {
    let mut found = 0;
    for field in fields(message) {
        if let (tag, FieldValue::Varint(value)) = field?
            && tag == wanted
        {
            found = value as i64;
        }
    }
    Ok(found)
}

/// The fields of a message with their numbers. Nothing follows the first error.
fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u32, FieldValue<'_>), SplitError>> + '_ {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, FieldValue<'a>), SplitError> {
    let (tag, wire_type) = decode_key(rest)?;
    let value = match wire_type {
        WireType::Varint => FieldValue::Varint(decode_varint(rest)?),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
            FieldValue::Bytes(take(rest, length)?)
        }
        WireType::SixtyFourBit => {
            take(rest, 8)?;
            FieldValue::Fixed
        }
        WireType::ThirtyTwoBit => {
            take(rest, 4)?;
            FieldValue::Fixed
        }
        WireType::StartGroup | WireType::EndGroup => {
            return Err(SplitError::Protobuf("a group".to_owned()));
        }
    };
    Ok((tag, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], SplitError> {
    let Some((taken, left)) = rest.split_at_checked(length) else {
        return Err(SplitError::Protobuf("it ends within an entry".to_owned()));
    };
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_would_fill_memory_is_not_decoded() {
        // Two bytes a label, which would take a hundred when decoded.
        let labels = [0x0a, 0x00].repeat(MAX_ENTRY_MEMORY / LABEL_MEMORY + 1);
        let error = decode_entry(&labels).unwrap_err();
        assert!(matches!(error, SplitError::TooLarge { .. }), "{error}");
        // A text that an export would have in memory for each of its runs.
        let mut label = vec![0x0a];
        prost::encoding::encode_varint(MAX_LABELS as u64, &mut label);
        label.resize(label.len() + MAX_LABELS, b'a');
        let mut text = vec![0x0a];
        prost::encoding::encode_varint(label.len() as u64, &mut text);
        text.extend_from_slice(&label);
        let error = decode_entry(&text).unwrap_err();
        assert!(
            matches!(error, SplitError::TooLarge { most, .. } if most == MAX_LABELS),
            "{error}"
        );
        // One byte a bucket, which would take eight.
        let deltas = vec![0_u8; MAX_ENTRY_MEMORY / BUCKET_MEMORY];
        let mut histogram = vec![0x62];
        prost::encoding::encode_varint(deltas.len() as u64, &mut histogram);
        histogram.extend_from_slice(&deltas);
        let mut series = vec![0x22];
        prost::encoding::encode_varint(histogram.len() as u64, &mut series);
        series.extend_from_slice(&histogram);
        let error = decode_entry(&series).unwrap_err();
        assert!(matches!(error, SplitError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_timestamp_is_the_last_one_and_zero_without_one() {
        assert_eq!(varint_of(&[0x10, 5, 0x10, 7], 2), Ok(7));
        assert_eq!(varint_of(&[], 2), Ok(0));
        assert_eq!(varint_of(&[0x78, 9], 15), Ok(9));
        assert!(varint_of(&[0x10], 2).is_err());
        assert!(varint_of(&[0x13], 2).is_err(), "a group");
    }
}
