//! A streaming decoder of a remote-read answer: `ReadResponse`, series by series.
//!
//! `ReadResponse { repeated QueryResult results = 1 }`, `QueryResult { repeated TimeSeries
//! timeseries = 1 }`; `TimeSeries` is remote write's own message. Source: prometheus/prometheus
//! `prompb/remote.proto`, `prompb/types.proto`.
//!
//! The decoder is given the uncompressed answer in blocks. It shows each series once, as soon as
//! all of its bytes are there, and keeps nothing of it: the labels as the bytes they have on the
//! wire, which identify the series, and iterators over its samples. What a block ends within comes
//! again at the start of the next one.

use std::ops::Range;

use prost::Message as _;

use crate::prompb::messages::Histogram;
use crate::prompb::{TimedFloat, wire};

/// Field 1, length-delimited: `ReadResponse.results`, `QueryResult.timeseries`,
/// `TimeSeries.labels`.
const FIRST: u64 = 0x0a;

/// Longest series that is taken as a whole, in bytes. See [`super::snappy::MAX_UNCONSUMED`].
pub const MAX_SERIES: usize = super::snappy::MAX_UNCONSUMED - 64 * 1024;

/// Cause of the error about a series that is longer than [`MAX_SERIES`].
const TOO_LONG: &str = "a series is longer than is taken";

/// Why an answer is no `ReadResponse`, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the answer: {cause}")]
pub struct MalformedResponse {
    /// Bytes of the uncompressed answer before the place where it starts to be wrong.
    pub offset: u64,
    /// What was found there.
    pub cause: &'static str,
}

impl MalformedResponse {
    /// Whether a series was longer than [`MAX_SERIES`]. A shorter range gives a shorter one.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.cause == TOO_LONG
    }
}

/// One series of an answer, with its samples in the order of the answer.
#[derive(Debug, Clone, Copy)]
pub struct ReadSeries<'a> {
    /// Which query of the request it answers, from 0.
    pub query: usize,
    /// The fields `TimeSeries.labels` as they are on the wire. They identify the series.
    pub labels: &'a [u8],
    /// All fields behind the labels.
    fields: &'a [u8],
    /// Offset of `labels` in the answer.
    pub(super) offset: u64,
}

/// A label of a [`ReadSeries`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLabel {
    /// Where the name is in [`ReadSeries::labels`].
    pub name: Range<usize>,
    /// Where the value is in [`ReadSeries::labels`].
    pub value: Range<usize>,
}

/// Where in the nested messages the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Between results.
    Response,
    /// Within a result, of which this many bytes are left.
    Result { left: u64 },
}

/// What the start of a block holds.
enum Step {
    /// A field of this many bytes that was dealt with.
    Taken(usize),
    /// The block ends within a field.
    Incomplete,
}

/// Decodes one answer.
#[derive(Debug)]
pub struct ReadResponseDecoder {
    level: Level,
    results: usize,
    offset: u64,
}

impl Default for ReadResponseDecoder {
    fn default() -> Self {
        Self {
            level: Level::Response,
            results: 0,
            offset: 0,
        }
    }
}

impl ReadResponseDecoder {
    /// Shows the series that are complete in this block, and returns how many of its bytes are done
    /// with. The rest comes again, with more behind it.
    ///
    /// # Errors
    /// [`MalformedResponse`] when the bytes are no `ReadResponse`; else the error of `show`, which
    /// ends the work. The answer must be dropped as a whole in either case.
    pub fn decode<E: From<MalformedResponse>>(
        &mut self,
        block: &[u8],
        mut show: impl FnMut(&ReadSeries<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut done = 0;
        while done < block.len() {
            let rest = &block[done..];
            let step = match self.level {
                Level::Response => self.enter_result(rest)?,
                Level::Result { left } => {
                    // Fields of the result end with it, whatever follows.
                    let within =
                        usize::try_from(left).map_or(rest, |left| rest.get(..left).unwrap_or(rest));
                    self.take_series(within, left, &mut show)?
                }
            };
            let Step::Taken(len) = step else { break };
            done += len;
            self.offset += len as u64;
            self.leave_results();
        }
        Ok(done)
    }

    /// Results that have begun so far, the empty ones included.
    #[must_use]
    pub fn results(&self) -> usize {
        self.results
    }

    /// Ends the answer: there must be one result for each query.
    ///
    /// # Errors
    /// [`MalformedResponse`] when the answer ends within a message, or has another number of
    /// results.
    pub fn finish(&self, unconsumed: usize, queries: usize) -> Result<(), MalformedResponse> {
        if unconsumed > 0 || self.level != Level::Response {
            return Err(self.malformed(0, "it ends within a message"));
        }
        if self.results != queries {
            return Err(self.malformed(0, "it has not one result for each query"));
        }
        Ok(())
    }

    fn malformed(&self, at: usize, cause: &'static str) -> MalformedResponse {
        MalformedResponse {
            offset: self.offset + at as u64,
            cause,
        }
    }

    /// Leaves the result whose last byte was taken, and those that are empty.
    fn leave_results(&mut self) {
        if self.level == (Level::Result { left: 0 }) {
            self.level = Level::Response;
        }
    }

    fn enter_result(&mut self, rest: &[u8]) -> Result<Step, MalformedResponse> {
        let mut at = 0;
        let Some(header) = self.header(rest, &mut at)? else {
            return Ok(Step::Incomplete);
        };
        match header {
            Header::Message { tag: FIRST, len } => {
                self.results += 1;
                self.level = Level::Result { left: len };
                Ok(Step::Taken(at))
            }
            _ => Err(self.malformed(0, "an unknown field of ReadResponse")),
        }
    }

    fn take_series<E: From<MalformedResponse>>(
        &mut self,
        rest: &[u8],
        left: u64,
        show: &mut impl FnMut(&ReadSeries<'_>) -> Result<(), E>,
    ) -> Result<Step, E> {
        let mut at = 0;
        let Some(header) = self.header(rest, &mut at)? else {
            return self.incomplete(rest, left).map_err(E::from);
        };
        let Header::Message { tag: FIRST, len } = header else {
            return Err(self.malformed(0, "an unknown field of QueryResult").into());
        };
        if len > left.saturating_sub(at as u64) {
            return Err(self
                .malformed(0, "a series is longer than its result")
                .into());
        }
        let len = match usize::try_from(len) {
            Ok(len) if len <= MAX_SERIES => len,
            _ => return Err(self.malformed(0, TOO_LONG).into()),
        };
        let Some(message) = rest.get(at..at + len) else {
            return Ok(Step::Incomplete);
        };
        show(&self.series(message, at)?)?;
        self.level = Level::Result {
            left: left - (at + len) as u64,
        };
        Ok(Step::Taken(at + len))
    }

    /// The rest of a block is too short for a header. That is fine unless its result ends there.
    fn incomplete(&self, rest: &[u8], left: u64) -> Result<Step, MalformedResponse> {
        if rest.len() as u64 == left {
            return Err(self.malformed(rest.len(), "a result ends within a field"));
        }
        Ok(Step::Incomplete)
    }

    /// Reads the header of a field. `None` means that the bytes end within it.
    fn header(&self, bytes: &[u8], at: &mut usize) -> Result<Option<Header>, MalformedResponse> {
        let (Some(tag), Some(len)) = (wire::read_varint(bytes, at), wire::read_varint(bytes, at))
        else {
            // A varint of more than ten bytes never ends.
            return match bytes.len() {
                0..20 => Ok(None),
                _ => Err(self.malformed(0, "a field's header is no varint")),
            };
        };
        Ok(Some(match tag & 7 {
            2 => Header::Message { tag, len },
            _ => Header::Other,
        }))
    }

    /// Cuts a `TimeSeries` into its labels and what follows them.
    fn series<'a>(
        &self,
        message: &'a [u8],
        start: usize,
    ) -> Result<ReadSeries<'a>, MalformedResponse> {
        let mut at = 0;
        while message.get(at) == Some(&wire::LABEL) {
            let mut end = at + 1;
            let len = wire::read_varint(message, &mut end)
                .and_then(|len| usize::try_from(len).ok())
                .filter(|&len| len <= message.len() - end)
                .ok_or_else(|| self.malformed(start + at, "a label is longer than its series"))?;
            at = end + len;
        }
        Ok(ReadSeries {
            query: self.results - 1,
            labels: &message[..at],
            fields: &message[at..],
            offset: self.offset + start as u64,
        })
    }
}

enum Header {
    Message { tag: u64, len: u64 },
    Other,
}

impl<'a> ReadSeries<'a> {
    fn malformed(&self, at: usize, cause: &'static str) -> MalformedResponse {
        MalformedResponse {
            offset: self.offset + at as u64,
            cause,
        }
    }

    /// The labels in the order of the answer, as places in [`ReadSeries::labels`]. Names and values
    /// are not checked to be UTF-8.
    pub fn labels(&self) -> impl Iterator<Item = Result<ReadLabel, MalformedResponse>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            (at < self.labels.len()).then(|| {
                read_label(self.labels, &mut at)
                    .ok_or_else(|| self.malformed(at, "a label is no Label message"))
                    .inspect_err(|_| at = self.labels.len())
            })
        })
    }

    /// The float samples in the order of the answer.
    pub fn samples(&self) -> impl Iterator<Item = Result<TimedFloat, MalformedResponse>> + use<'a> {
        let series = *self;
        series.messages(wire::SAMPLE).map(move |message| {
            let (at, message) = message?;
            sample(message).ok_or_else(|| series.malformed(at, "a sample is no Sample message"))
        })
    }

    /// The native histograms in the order of the answer.
    pub fn histograms(
        &self,
    ) -> impl Iterator<Item = Result<Histogram, MalformedResponse>> + use<'a> {
        let series = *self;
        series.messages(wire::HISTOGRAM).map(move |message| {
            let (at, message) = message?;
            Histogram::decode(message)
                .map_err(|_| series.malformed(at, "a histogram is no Histogram message"))
        })
    }

    /// The fields with this tag, with the offset of each. Exemplars and unknown messages are passed
    /// over; a label behind a sample is an error, because it would belong to the series' identity.
    fn messages(
        self,
        tag: u8,
    ) -> impl Iterator<Item = Result<(usize, &'a [u8]), MalformedResponse>> + use<'a> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.fields.len() {
                let start = self.labels.len() + at;
                match self.field(&mut at) {
                    Some((found, message)) if found == tag => return Some(Ok((start, message))),
                    Some((found, _)) if found != wire::LABEL => {}
                    _ => {
                        at = self.fields.len();
                        let cause = "a field of a series cannot be read";
                        return Some(Err(self.malformed(start, cause)));
                    }
                }
            }
            None
        })
    }

    /// Reads one length-delimited field with a tag of one byte, as all fields of `TimeSeries` are.
    #[inline]
    fn field(&self, at: &mut usize) -> Option<(u8, &'a [u8])> {
        let tag = *self.fields.get(*at)?;
        if tag & 0x87 != 2 {
            return None;
        }
        *at += 1;
        let len = usize::try_from(wire::read_varint(self.fields, at)?).ok()?;
        let start = *at;
        let end = start.checked_add(len)?;
        let message = self.fields.get(start..end)?;
        *at = end;
        Some((tag, message))
    }
}

/// Reads the fields `TimeSeries.labels`, as [`ReadSeries::labels`] gives them. `None` when one is
/// no `Label` message.
pub(super) fn read_labels(bytes: &[u8]) -> Option<Vec<ReadLabel>> {
    let (mut at, mut labels) = (0, Vec::new());
    while at < bytes.len() {
        labels.push(read_label(bytes, &mut at)?);
    }
    Some(labels)
}

fn read_label(bytes: &[u8], at: &mut usize) -> Option<ReadLabel> {
    *at += 1;
    let len = usize::try_from(wire::read_varint(bytes, at)?).ok()?;
    let end = at.checked_add(len)?;
    let mut string = |tag: u8| {
        if *at == end || *bytes.get(*at)? != tag {
            // Proto3 leaves out an empty string.
            return Some(*at..*at);
        }
        *at += 1;
        let len = usize::try_from(wire::read_varint(bytes, at)?).ok()?;
        let start = *at;
        *at = start
            .checked_add(len)
            .filter(|&string_end| string_end <= end)?;
        Some(start..*at)
    };
    let name = string(wire::LABEL_NAME)?;
    let value = string(wire::LABEL_VALUE)?;
    (*at == end).then_some(ReadLabel { name, value })
}

/// Reads a `Sample`. Fields of value zero are left out on the wire.
#[inline]
fn sample(message: &[u8]) -> Option<TimedFloat> {
    let mut read = TimedFloat {
        value: 0.0,
        timestamp_ms: 0,
    };
    let mut at = 0;
    while at < message.len() {
        let tag = message[at];
        at += 1;
        match tag {
            wire::SAMPLE_VALUE => {
                let bytes = message.get(at..at + 8)?;
                read.value = f64::from_le_bytes(bytes.try_into().ok()?);
                at += 8;
            }
            wire::SAMPLE_TIMESTAMP => {
                read.timestamp_ms = wire::read_varint(message, &mut at)? as i64;
            }
            _ => return None,
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::prompb::messages::{Label, Sample, TimeSeries};
    use crate::prompb::remote_read::{QueryResult, ReadResponse};

    /// Decodes an answer that comes in blocks of this size, and puts it together again.
    fn decode(answer: &[u8], block: usize) -> Result<ReadResponse, MalformedResponse> {
        let mut decoder = ReadResponseDecoder::default();
        let mut read = ReadResponse::default();
        let mut waiting = Vec::new();
        for piece in answer.chunks(block) {
            waiting.extend_from_slice(piece);
            let done = decoder.decode::<MalformedResponse>(&waiting, |series| {
                read.results
                    .resize_with(series.query + 1, QueryResult::default);
                read.results[series.query].timeseries.push(whole(series)?);
                Ok(())
            })?;
            waiting.drain(..done);
        }
        decoder.finish(waiting.len(), decoder.results)?;
        read.results
            .resize_with(decoder.results, QueryResult::default);
        Ok(read)
    }

    fn whole(series: &ReadSeries<'_>) -> Result<TimeSeries, MalformedResponse> {
        let text = |range: Range<usize>| String::from_utf8(series.labels[range].to_vec()).unwrap();
        let label = |label: Result<ReadLabel, _>| {
            label.map(|ReadLabel { name, value }| Label {
                name: text(name),
                value: text(value),
            })
        };
        let sample = |sample: Result<TimedFloat, _>| {
            sample.map(|sample| Sample {
                value: sample.value,
                timestamp: sample.timestamp_ms,
            })
        };
        Ok(TimeSeries {
            labels: series.labels().map(label).collect::<Result<_, _>>()?,
            samples: series.samples().map(sample).collect::<Result<_, _>>()?,
            histograms: series.histograms().collect::<Result<_, _>>()?,
        })
    }

    fn arbitrary_series() -> impl Strategy<Value = TimeSeries> {
        let label = ("[a-z_]{0,12}", "\\PC{0,200}").prop_map(|(name, value)| Label { name, value });
        let value = prop_oneof![
            Just(0.0),
            any::<f64>().prop_filter("no NaN", |v| !v.is_nan())
        ];
        let sample =
            (value, any::<i64>()).prop_map(|(value, timestamp)| Sample { value, timestamp });
        let histogram = (any::<i64>(), -4..9_i32).prop_map(|(timestamp, schema)| Histogram {
            timestamp,
            schema,
            positive_deltas: vec![1, -1],
            ..Histogram::default()
        });
        (vec(label, 0..5), vec(sample, 0..6), vec(histogram, 0..2)).prop_map(
            |(labels, samples, histograms)| TimeSeries {
                labels,
                samples,
                histograms,
            },
        )
    }

    fn arbitrary_answer() -> impl Strategy<Value = ReadResponse> {
        let result =
            vec(arbitrary_series(), 0..6).prop_map(|timeseries| QueryResult { timeseries });
        vec(result, 0..4).prop_map(|results| ReadResponse { results })
    }

    proptest! {
        #[test]
        fn an_answer_comes_back_whatever_its_blocks(
            answer in arbitrary_answer(),
            block in 1..3_000_usize,
        ) {
            prop_assert_eq!(decode(&answer.encode_to_vec(), block), Ok(answer));
        }

        #[test]
        fn every_cut_is_noticed(answer in arbitrary_answer(), cut in any::<prop::sample::Index>()) {
            let bytes = answer.encode_to_vec();
            prop_assume!(!bytes.is_empty());
            let cut = cut.index(bytes.len());
            let shorter = decode(&bytes[..cut], 100);
            // A cut between two results can be seen only by their number.
            let fewer = shorter.as_ref().is_ok_and(|read| read.results.len() < answer.results.len());
            prop_assert!(fewer || shorter.is_err(), "{:?}", shorter);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), block in 1..300_usize) {
            let _ = decode(&bytes, block);
        }
    }

    #[test]
    fn an_empty_result_is_what_prometheus_sends() {
        // As captured from Prometheus 3.5: snappy of "0a 00".
        let read = decode(&[0x0a, 0x00], 1).unwrap();
        assert_eq!(read.results, [QueryResult::default()]);
        let mut decoder = ReadResponseDecoder::default();
        assert_eq!(
            decoder.decode(&[], |_| Ok::<_, MalformedResponse>(())),
            Ok(0)
        );
        assert!(decoder.finish(0, 1).is_err(), "there is no result");
    }

    #[test]
    fn a_series_is_no_longer_than_its_result() {
        // Found by the fuzz target: the largest length, which no sum may pass.
        let longest = [&[0xff; 9][..], &[0x01]].concat();
        for (len, answer) in [
            (20, [&[0x0a, 20, 0x0a][..], &longest]),
            (3, [&[0x0a, 3, 0x0a], &[2]]),
        ] {
            let error = decode(&answer.concat(), 100).unwrap_err();
            assert_eq!(
                error,
                MalformedResponse {
                    offset: 2,
                    cause: "a series is longer than its result",
                },
                "{len}"
            );
        }
    }

    #[test]
    fn a_label_behind_a_sample_is_refused() {
        let series = [
            &[wire::LABEL, 6, 0x0a, 1, b'a', 0x12, 1, b'b'][..],
            &[wire::SAMPLE, 2, 0x10, 5],
            &[wire::LABEL, 6, 0x0a, 1, b'c', 0x12, 1, b'd'],
        ]
        .concat();
        let len = series.len() as u8;
        let answer = [&[0x0a, len + 2, 0x0a, len][..], &series].concat();
        let error = decode(&answer, 100).unwrap_err();
        assert_eq!(
            error,
            MalformedResponse {
                offset: 4 + 8 + 4,
                cause: "a field of a series cannot be read",
            }
        );
    }
}
