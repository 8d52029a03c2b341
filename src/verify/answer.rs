//! The answer of a remote read, series by series, whichever end gives it.

use bytes::Bytes;

use super::error::AnswerError;
use super::value::{TimedPrint, ValuePrint};
use crate::read::response::{ReadResponseDecoder, ReadSeries};
use crate::read::snappy::SnappyDecoder;
use crate::series::ExposedLabel;

/// Decodes one answer as it arrives.
pub(super) struct AnswerReader {
    snappy: SnappyDecoder,
    decoder: ReadResponseDecoder,
}

/// One series of an answer.
pub(super) struct AnsweredSeries<'a> {
    pub(super) labels: Vec<ExposedLabel<'a>>,
    /// Its samples, oldest first.
    pub(super) samples: Vec<TimedPrint>,
}

impl AnswerReader {
    /// Refuses an answer of more than `max_bytes` before compression.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            snappy: SnappyDecoder::new(max_bytes),
            decoder: ReadResponseDecoder::default(),
        }
    }

    /// Takes the next chunk of the body, and shows the series that are complete.
    pub(super) fn push(
        &mut self,
        chunk: Bytes,
        show: &mut impl FnMut(AnsweredSeries<'_>),
    ) -> Result<(), AnswerError> {
        self.snappy.push(chunk);
        while self.snappy.fill()? {
            let used =
                self.decoder
                    .decode(self.snappy.buffer(), |series| -> Result<(), AnswerError> {
                        show(answered(series)?);
                        Ok(())
                    })?;
            self.snappy.consume(used);
        }
        Ok(())
    }

    /// Ends the answer to a request of this many queries.
    pub(super) fn finish(&self, queries: usize) -> Result<(), AnswerError> {
        self.snappy.finish()?;
        let unconsumed = self.snappy.buffer().len();
        Ok(self.decoder.finish(unconsumed, queries)?)
    }
}

fn answered<'a>(series: &ReadSeries<'a>) -> Result<AnsweredSeries<'a>, AnswerError> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| AnswerError::Text);
    let mut labels = Vec::new();
    for label in series.labels() {
        let label = label?;
        labels.push(ExposedLabel {
            name: text(&series.labels[label.name])?.into(),
            value: text(&series.labels[label.value])?.into(),
            span: None,
        });
    }
    let mut samples = Vec::new();
    for sample in series.samples() {
        let sample = sample?;
        samples.push(TimedPrint {
            timestamp_ms: sample.timestamp_ms,
            print: ValuePrint::float(sample.value),
        });
    }
    for histogram in series.histograms() {
        let histogram = histogram?;
        samples.push(TimedPrint {
            timestamp_ms: histogram.timestamp,
            print: ValuePrint::histogram(&histogram),
        });
    }
    samples.sort_by_key(|sample| sample.timestamp_ms);
    Ok(AnsweredSeries { labels, samples })
}
