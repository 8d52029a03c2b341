//! A sink that remembers its samples, as a cache would, and the checks that every parser must pass.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Debug;

use amp_forwarder::intake::{ExposedSample, Refusal, Sink};
use amp_forwarder::prompb::Value;
use amp_forwarder::scrape::exposition::ExpositionError;
use amp_forwarder::series::ExposedLabel;

/// A sample as the sink got it.
#[derive(Debug, PartialEq)]
struct RecordedSample {
    series: Vec<u8>,
    value: String,
    timestamp_ms: Option<i64>,
}

#[derive(Default)]
pub struct Record {
    known: BTreeSet<Vec<u8>>,
    samples: Vec<RecordedSample>,
    labels: Vec<Vec<(String, String)>>,
    check: Option<fn(Value<'_>)>,
    /// Lengths of the next series that the sink expects in turn, right or wrong.
    lengths: Vec<usize>,
    asked: Cell<usize>,
}

impl Record {
    fn take(&mut self, sample: &ExposedSample<'_>) {
        if let Some(check) = self.check {
            check(sample.value);
        }
        let value = match sample.value {
            Value::Float(value) => value.to_bits().to_string(),
            Value::Histogram(histogram) => format!("{histogram:?} {}", histogram.sum.to_bits()),
        };
        self.samples.push(RecordedSample {
            series: sample.series.to_vec(),
            value,
            timestamp_ms: sample.timestamp_ms,
        });
    }
}

impl Sink for Record {
    fn expected(&self) -> Option<usize> {
        self.asked.set(self.asked.get() + 1);
        self.lengths
            .get(self.asked.get() % self.lengths.len().max(1))
            .copied()
    }

    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let known = self.known.contains(sample.series);
        if known {
            self.take(sample);
        }
        Ok(known)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        for label in labels {
            // Labels are encoded later from their place in the series, so it must hold
            // the parsed text.
            if let Some(span) = label.span {
                assert_eq!(
                    &sample.series[span.value as usize..][..label.value.len()],
                    label.value.as_bytes()
                );
                if label.name != "__name__" {
                    assert_eq!(
                        &sample.series[span.name as usize..][..label.name.len()],
                        label.name.as_bytes()
                    );
                }
            }
        }
        self.known.insert(sample.series.to_vec());
        self.labels.push(
            labels
                .iter()
                .map(|label| {
                    (
                        label.name.clone().into_owned(),
                        label.value.clone().into_owned(),
                    )
                })
                .collect(),
        );
        self.take(sample);
        Ok(())
    }
}

/// Feeds a body to a parser in blocks of these steps, or at once without any step. The parser gets
/// a block, whether it is the last one, and the sink.
fn parse<P: FnMut(&[u8], bool, &mut Record) -> Result<usize, ExpositionError>>(
    mut parser: P,
    body: &[u8],
    steps: &[u8],
    sink: &mut Record,
) -> Option<String> {
    let (mut done, mut end, mut steps) = (0, 0, steps.iter().cycle());
    loop {
        end = steps.next().map_or(body.len(), |step| {
            (end + 1 + usize::from(*step % 32)).min(body.len())
        });
        let last = end == body.len();
        match parser(&body[done..end], last, sink) {
            Ok(taken) => done += taken,
            // The excerpt in the message is left out: it ends where the block does.
            Err(ExpositionError::Malformed(error)) => {
                return Some(format!(
                    "{}: {}",
                    error.place,
                    error.message.split(" in \"").next().unwrap_or_default()
                ));
            }
            Err(ExpositionError::Refusal(refused)) => panic!("{refused}"),
        }
        if last {
            assert_eq!(done, body.len(), "the last block is taken whole");
            return None;
        }
    }
}

/// Asserts that any bytes are samples or an error with a place, and that the result does not depend
/// on the blocks or on the series that the sink knows.
pub fn agree<P, N>(parser: N, body: &[u8], steps: &[u8], check: fn(Value<'_>))
where
    N: Fn() -> P,
    P: FnMut(&[u8], bool, &mut Record) -> Result<usize, ExpositionError>,
{
    let same = |what: &dyn Debug, is: bool| assert!(is, "{what:?}");
    let mut whole = Record {
        check: Some(check),
        ..Record::default()
    };
    let ended = parse(parser(), body, &[], &mut whole);
    let mut cut = Record::default();
    let ended_cut = parse(
        parser(),
        body,
        if steps.is_empty() { &[0] } else { steps },
        &mut cut,
    );
    same(&(&ended, &ended_cut), ended == ended_cut);
    same(
        &(&whole.samples, &cut.samples),
        whole.samples == cut.samples,
    );
    same(&(&whole.labels, &cut.labels), whole.labels == cut.labels);
    for steps in [&[][..], steps] {
        let lengths = whole
            .known
            .iter()
            .filter(|series| !series.contains(&b'\n'))
            .map(Vec::len)
            .collect();
        let mut warm = Record {
            known: whole.known.clone(),
            lengths,
            ..Record::default()
        };
        let ended_warm = parse(parser(), body, steps, &mut warm);
        same(&(&ended, &ended_warm), ended == ended_warm);
        same(
            &(&whole.samples, &warm.samples),
            whole.samples == warm.samples,
        );
        assert!(warm.labels.is_empty());
    }
}

/// Splits the input: its first bytes are the steps by which the rest is cut.
pub fn steps(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&steps, data) = data.split_first()?;
    Some(data.split_at(usize::from(steps % 8).min(data.len())))
}

/// Asserts that a text format can express the value.
#[allow(dead_code, reason = "not of protobuf")]
pub fn a_text_value(value: Value<'_>) {
    let Value::Float(value) = value else {
        panic!("no text format has native histograms")
    };
    assert!(!value.is_nan() || value.to_bits() == amp_forwarder::scrape::text::NORMAL_NAN);
}
