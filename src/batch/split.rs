//! Splits a batch in halves after a 413, and decodes one for people.

use std::ops::Range;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::Batch;
use crate::prompb::messages::{TimeSeries, WriteRequest};

/// Longest uncompressed body that is decoded, in bytes. Our own bodies end at
/// `forwarder.max_request_bytes`.
const MAX_RAW_BYTES: usize = 64 << 20;

/// A body that is no remote-write request of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The body is not in snappy's block format.
    #[error("cannot decompress the batch: {0}")]
    Snappy(String),
    /// The body is larger than anything that we write.
    #[error("the batch says that it holds {0} bytes, more than {MAX_RAW_BYTES}")]
    TooLarge(usize),
    /// The uncompressed body is not a `WriteRequest`.
    #[error("cannot decode the batch: {0}")]
    Protobuf(String),
}

impl From<prost::DecodeError> for SplitError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protobuf(error.to_string())
    }
}

/// Splits a batch into a first and a second half, by entries. `None` when it holds one entry.
///
/// Entries are copied byte by byte: a sample is never encoded twice.
///
/// # Errors
/// Fails when the body is not a remote-write request. The batch then cannot be made smaller, and
/// the caller has to give it up.
pub fn split(batch: &Batch) -> Result<Option<(Batch, Batch)>, SplitError> {
    let raw = decompress(&batch.body.to_bytes())?;
    let entries = entries(&raw)?;
    if entries.len() < 2 {
        return Ok(None);
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    Ok(Some((encode(&raw, first)?, encode(&raw, second)?)))
}

pub(super) fn decompress(body: &[u8]) -> Result<Vec<u8>, SplitError> {
    let length =
        snap::raw::decompress_len(body).map_err(|error| SplitError::Snappy(error.to_string()))?;
    if length > MAX_RAW_BYTES {
        return Err(SplitError::TooLarge(length));
    }
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| SplitError::Snappy(error.to_string()))
}

/// Decodes the request of a batch, for people and tests: it is too slow for the hot path.
///
/// # Errors
/// Fails when the body is not a remote-write request.
///
/// ```
/// use amp_forwarder::batch::{Batch, decode};
///
/// // An empty request: snappy's block of no bytes.
/// let body = vec![0].into();
/// let batch = Batch { body, samples: 0, raw_len: 0, min_ms: 0, max_ms: 0 };
/// assert!(decode(&batch).unwrap().timeseries.is_empty());
/// ```
pub fn decode(batch: &Batch) -> Result<WriteRequest, SplitError> {
    Ok(WriteRequest::decode(&*decompress(&batch.body.to_bytes())?)?)
}

struct EntrySpan {
    /// The field of the request, with its key and length.
    whole: Range<usize>,
    /// The message `TimeSeries` in that field.
    message: Range<usize>,
}

fn entries(raw: &[u8]) -> Result<Vec<EntrySpan>, SplitError> {
    // Only the outer fields are read here: every entry is one field 1 of the request.
    let mut entries = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let start = raw.len() - rest.len();
        let (tag, wire_type) = decode_key(&mut rest)?;
        if (tag, wire_type) != (1, WireType::LengthDelimited) {
            return Err(SplitError::Protobuf(format!(
                "field {tag} is no time series"
            )));
        }
        let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        let from = raw.len() - rest.len();
        rest = rest
            .get(length..)
            .ok_or_else(|| SplitError::Protobuf("it ends within an entry".to_owned()))?;
        entries.push(EntrySpan {
            whole: start..from + length,
            message: from..from + length,
        });
    }
    Ok(entries)
}

fn encode(raw: &[u8], entries: &[EntrySpan]) -> Result<Batch, SplitError> {
    let mut half = Vec::with_capacity(entries.iter().map(|entry| entry.whole.len()).sum());
    let (mut samples, mut min_ms, mut max_ms) = (0, i64::MAX, i64::MIN);
    for entry in entries {
        // The bytes are copied. The entry is decoded only for its timestamps, since decoding and
        // encoding would lose unknown fields and zeros that were written.
        half.extend_from_slice(&raw[entry.whole.clone()]);
        let series = TimeSeries::decode(&raw[entry.message.clone()])?;
        let floats = series.samples.iter().map(|sample| sample.timestamp);
        for timestamp in floats.chain(
            series
                .histograms
                .iter()
                .map(|histogram| histogram.timestamp),
        ) {
            samples += 1;
            min_ms = min_ms.min(timestamp);
            max_ms = max_ms.max(timestamp);
        }
    }
    let body = snap::raw::Encoder::new()
        .compress_vec(&half)
        .map_err(|error| SplitError::Snappy(error.to_string()))?;
    let raw_len = u32::try_from(half.len()).map_err(|_| SplitError::TooLarge(half.len()))?;
    Ok(Batch {
        body: body.into(),
        samples,
        raw_len,
        min_ms,
        max_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompb::messages::{Count, Histogram, Label, Sample, WriteRequest};

    fn series(name: &str, timestamp: i64) -> TimeSeries {
        TimeSeries {
            labels: vec![Label {
                name: "__name__".to_owned(),
                value: name.to_owned(),
            }],
            samples: vec![Sample {
                value: 1.5,
                timestamp,
            }],
            histograms: Vec::new(),
        }
    }

    fn batch(request: &WriteRequest) -> Batch {
        let raw = request.encode_to_vec();
        let entries = entries(&raw).unwrap();
        encode(&raw, &entries).unwrap()
    }

    fn decode(batch: &Batch) -> WriteRequest {
        WriteRequest::decode(&*decompress(&batch.body.to_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn halves_hold_each_entry_once_in_order_with_their_own_figures() {
        let mut all = vec![
            series("a", 5),
            series("b", 3),
            series("c", 9),
            series("d", 7),
        ];
        all.push(TimeSeries {
            histograms: vec![Histogram {
                count: Some(Count::Int(3)),
                sum: 1.0,
                timestamp: 11,
                ..Histogram::default()
            }],
            samples: Vec::new(),
            ..series("h", 0)
        });
        let whole = batch(&WriteRequest {
            timeseries: all.clone(),
        });
        assert_eq!((whole.samples, whole.min_ms, whole.max_ms), (5, 3, 11));

        let (first, second) = split(&whole).unwrap().unwrap();
        assert_eq!((first.samples, first.min_ms, first.max_ms), (2, 3, 5));
        assert_eq!((second.samples, second.min_ms, second.max_ms), (3, 7, 11));
        assert_eq!(first.raw_len + second.raw_len, whole.raw_len);
        let mut together = decode(&first).timeseries;
        together.extend(decode(&second).timeseries);
        assert_eq!(together, all);
    }

    #[test]
    fn what_the_encoder_would_lose_is_copied() {
        // A sample of -0 and an unknown field 9: prost would drop both.
        let message = [
            &[0x12, 0x0b, 0x09][..],
            &(-0.0_f64).to_le_bytes(),
            &[0x10, 0x05],
            &[0x48, 0x01],
        ]
        .concat();
        let entry = [&[0x0a, u8::try_from(message.len()).unwrap()][..], &message].concat();
        let raw = entry.repeat(2);
        let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        let (first, second) = split(&Batch {
            body: body.into(),
            samples: 2,
            raw_len: 0,
            min_ms: 0,
            max_ms: 0,
        })
        .unwrap()
        .unwrap();
        assert_eq!(decompress(&first.body.to_bytes()).unwrap(), entry);
        assert_eq!(first, second);
        assert_eq!((first.min_ms, first.max_ms), (5, 5));
    }

    #[test]
    fn one_entry_is_not_split() {
        assert_eq!(
            split(&batch(&WriteRequest {
                timeseries: vec![series("a", 1)]
            })),
            Ok(None)
        );
    }

    #[test]
    fn a_body_from_elsewhere_is_an_error() {
        let body = |bytes: &[u8]| Batch {
            body: bytes.to_vec().into(),
            samples: 2,
            raw_len: 0,
            min_ms: 0,
            max_ms: 0,
        };
        let compressed =
            |bytes: &[u8]| body(&snap::raw::Encoder::new().compress_vec(bytes).unwrap());
        assert!(matches!(
            split(&body(b"\xff\xff\xff\xff\x0f")),
            Err(SplitError::TooLarge(_))
        ));
        assert!(matches!(
            split(&body(b"\x05\x00")),
            Err(SplitError::Snappy(_))
        ));
        assert!(matches!(
            split(&compressed(b"\x0a\x7fshort")),
            Err(SplitError::Protobuf(_))
        ));
        assert!(matches!(
            split(&compressed(b"\x1a\x00")),
            Err(SplitError::Protobuf(_))
        ));
    }
}
