//! Splits a batch in halves after a 413, and decodes one for people.

use prost::Message as _;

use super::Batch;
use super::blocks;
use super::error::SplitError;
use super::walk::{EntryCounts, decode_entry, spans};
use crate::prompb::messages::{TimeSeries, WriteRequest};

/// Longest uncompressed body that is read, in bytes: the largest `forwarder.max_request_bytes`.
const MAX_RAW_BYTES: usize = 16 << 20;

/// Splits a batch into a first and a second half, by entries. `None` when it holds one entry.
///
/// Entries are copied byte by byte: a sample is never encoded twice. Nothing is decoded, and memory
/// is needed for the uncompressed body and the two halves only. The samples are counted, so that
/// the halves have exactly those of the batch.
///
/// # Errors
/// Fails when the body is not the remote-write request that the batch describes, as in a segment
/// that somebody else wrote. The batch then cannot be made smaller, and the caller has to give it
/// up.
pub fn split(batch: &Batch) -> Result<Option<(Batch, Batch)>, SplitError> {
    let raw = decompress(batch)?;
    let counts = EntryCounts::of(&raw)?;
    if counts.samples != u64::from(batch.samples) {
        return Err(SplitError::Samples {
            said: batch.samples,
            found: counts.samples,
        });
    }
    if counts.entries < 2 {
        return Ok(None);
    }
    // The first half ends where the message of its last entry ends.
    let middle = match spans(&raw).nth(counts.entries / 2 - 1) {
        Some(last) => last?.end,
        None => return Ok(None),
    };
    let (first, second) = raw.split_at(middle);
    Ok(Some((compress(first)?, compress(second)?)))
}

/// Takes one entry out of a batch: the one at `place`, counted on from the first one after the
/// last. Returns the entry and the rest. `None` when the batch has fewer than two entries.
///
/// # Errors
/// Fails when the body is not the remote-write request that the batch describes.
pub fn single_out(batch: &Batch, place: usize) -> Result<Option<(Batch, Batch)>, SplitError> {
    let raw = decompress(batch)?;
    let counts = EntryCounts::of(&raw)?;
    if counts.entries < 2 {
        return Ok(None);
    }
    let mut start = 0;
    for (at, span) in spans(&raw).enumerate() {
        let end = span?.end;
        if at == place % counts.entries {
            let rest = [&raw[..start], &raw[end..]].concat();
            return Ok(Some((compress(&raw[start..end])?, compress(&rest)?)));
        }
        start = end;
    }
    Ok(None)
}

/// The uncompressed body. Its length is checked before memory is taken for it.
pub(super) fn decompress(batch: &Batch) -> Result<Vec<u8>, SplitError> {
    let body = batch.body.to_bytes();
    let found =
        snap::raw::decompress_len(&body).map_err(|error| SplitError::Snappy(error.to_string()))?;
    if u32::try_from(found) != Ok(batch.raw_len) {
        return Err(SplitError::Length {
            said: batch.raw_len,
            found,
        });
    }
    if found > MAX_RAW_BYTES {
        return Err(SplitError::TooLarge {
            found,
            most: MAX_RAW_BYTES,
        });
    }
    snap::raw::Decoder::new()
        .decompress_vec(&body)
        .map_err(|error| SplitError::Snappy(error.to_string()))
}

/// Decodes the request of a batch, for people and tests: it is too slow for the hot path, and takes
/// many times the memory of the body. What others may have written is read by [`entries`].
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
    Ok(WriteRequest::decode(&*decompress(batch)?)?)
}

/// Decodes the entries of a batch one after the other, in bounded memory: its body may come from
/// anybody who may write the spool.
///
/// # Errors
/// Fails when the body is not a remote-write request, or one of its entries would take more memory
/// than any of ours. All entries are looked at first, so that none of a broken batch is used.
pub fn entries(batch: &Batch) -> Result<impl Iterator<Item = TimeSeries>, SplitError> {
    let raw = decompress(batch)?;
    for span in spans(&raw) {
        decode_entry(&raw[span?])?;
    }
    let mut at = 0;
    Ok(std::iter::from_fn(move || {
        let span = spans(raw.get(at..)?).next()?.ok()?;
        let entry = decode_entry(&raw[at + span.start..at + span.end]).ok();
        at += span.end;
        entry
    }))
}

fn compress(half: &[u8]) -> Result<Batch, SplitError> {
    let counts = EntryCounts::of(half)?;
    Ok(Batch {
        body: blocks::compress(half)?,
        // Both fit: a half is at most as long as the whole, whose numbers are 32 bits.
        samples: counts.samples as u32,
        raw_len: half.len() as u32,
        min_ms: counts.min_ms,
        max_ms: counts.max_ms,
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
        compress(&request.encode_to_vec()).unwrap()
    }

    fn decode(batch: &Batch) -> WriteRequest {
        WriteRequest::decode(&*decompress(batch).unwrap()).unwrap()
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
        let (first, second) = split(&compress(&raw).unwrap()).unwrap().unwrap();
        assert_eq!(decompress(&first).unwrap(), entry);
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

    /// A batch of this raw request, which says the truth about its length only.
    fn forged(raw: &[u8], samples: u32) -> Batch {
        let body = snap::raw::Encoder::new().compress_vec(raw).unwrap();
        Batch {
            body: body.into(),
            samples,
            raw_len: raw.len() as u32,
            min_ms: 0,
            max_ms: 0,
        }
    }

    #[test]
    fn a_body_from_elsewhere_is_an_error() {
        let body = |bytes: &[u8], raw_len| Batch {
            body: bytes.to_vec().into(),
            samples: 2,
            raw_len,
            min_ms: 0,
            max_ms: 0,
        };
        let huge = body(b"\xff\xff\xff\xff\x0f", u32::MAX);
        assert!(matches!(split(&huge), Err(SplitError::TooLarge { .. })));
        let torn = body(b"\x05\x00", 5);
        assert!(matches!(split(&torn), Err(SplitError::Snappy(_))));
        for raw in [&b"\x0a\x7fshort"[..], b"\x1a\x00", b"\x0b\x0c"] {
            let error = split(&forged(raw, 0)).unwrap_err();
            assert!(matches!(error, SplitError::Protobuf(_)), "{raw:?}: {error}");
        }
    }

    #[test]
    fn a_batch_that_lies_about_itself_is_not_split() {
        let honest = batch(&WriteRequest {
            timeseries: vec![series("a", 1), series("b", 2)],
        });
        let longer = Batch {
            raw_len: honest.raw_len + 1,
            ..honest.clone()
        };
        assert!(matches!(
            split(&longer),
            Err(SplitError::Length { said, found }) if said as usize == found + 1
        ));
        for samples in [0, 1, 3, u32::MAX] {
            let lying = Batch {
                samples,
                ..honest.clone()
            };
            let error = SplitError::Samples {
                said: samples,
                found: 2,
            };
            assert_eq!(split(&lying), Err(error));
        }
    }

    #[test]
    fn a_request_of_empty_entries_takes_no_memory_for_each_of_them() {
        // A megabyte of entries of two bytes each. Their list alone would be sixteen times as long.
        let raw = [0x0a, 0x00].repeat(500_000);
        let (first, second) = split(&forged(&raw, 0)).unwrap().unwrap();
        assert_eq!((first.raw_len, second.raw_len), (500_000, 500_000));
        assert_eq!((first.samples, second.samples), (0, 0));
        assert_eq!(entries(&forged(&raw, 0)).unwrap().count(), 500_000);
    }

    #[test]
    fn no_entry_of_a_broken_batch_is_used() {
        let mut raw = WriteRequest {
            timeseries: vec![series("a", 1), series("b", 2)],
        }
        .encode_to_vec();
        let whole: Vec<_> = entries(&forged(&raw, 2)).unwrap().collect();
        assert_eq!(whole, [series("a", 1), series("b", 2)]);
        // The second name is not UTF-8 any more.
        let at = raw.iter().rposition(|byte| *byte == b'b').unwrap();
        raw[at] = 0xff;
        assert!(entries(&forged(&raw, 2)).is_err());
    }
}
