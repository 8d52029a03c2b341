//! What a source gives to the intake: samples by the raw bytes of their series, labels on demand.
//!
//! The same series come back with each scrape, so a source first shows a sample together with the
//! raw bytes of its series. It works out labels only when the [`Sink`] does not know these bytes.

use crate::prompb::Value;
use crate::series::ExposedLabel;

/// A sample as a source shows it.
#[derive(Debug, Clone, Copy)]
pub struct ExposedSample<'a> {
    /// Raw bytes of the series, without value and timestamp. They identify the series within one
    /// target.
    pub series: &'a [u8],
    /// The value. In the text formats a NaN is always the canonical one, because they cannot expose
    /// a stale marker.
    pub value: Value<'a>,
    /// Milliseconds since 1970, if the source gives a timestamp.
    pub timestamp_ms: Option<i64>,
}

/// Takes the samples of one scrape.
pub trait Sink {
    /// Length in bytes of the next series if the exposition goes on as the previous one did. It is
    /// only a hint, but it is never given for a series with a newline in it.
    fn expected(&self) -> Option<usize> {
        None
    }

    /// Takes the sample if its series is known. The result says whether it did.
    ///
    /// # Errors
    /// A [`Refusal`] ends the source's work and fails the scrape.
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal>;

    /// Takes a sample of a series that [`Sink::known`] did not know. The metric name is the label
    /// `__name__`.
    ///
    /// # Errors
    /// A [`Refusal`] ends the source's work and fails the scrape.
    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal>;

    /// Counts a sample whose names are not valid UTF-8. The source's work ends with it.
    fn unreadable(&mut self) {}
}

/// Why a well-formed sample fails its scrape, in Prometheus' words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);
