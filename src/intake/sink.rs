//! What a source gives to the intake: samples by the raw bytes of their series, labels on demand.
//!
//! The same series come back with each scrape, so a source first shows a sample together with the
//! raw bytes of its series. It works out labels only when the [`Sink`] does not know these bytes.

use crate::prompb::Value;
use crate::series::ExposedLabel;

/// A sample as it stands in an exposition.
#[derive(Debug, Clone, Copy)]
pub struct Exposed<'a> {
    /// The series' raw bytes, value and timestamp aside: its identity within one target.
    pub series: &'a [u8],
    /// In the text formats NaN is always the canonical one: they cannot expose a stale marker.
    pub value: Value<'a>,
    /// Milliseconds since 1970, when the exposition gives a timestamp.
    pub timestamp_ms: Option<i64>,
}

/// Takes the samples of one scrape.
pub trait Sink {
    /// How many bytes the next series has if the exposition goes on as the last one did. Only a
    /// hint, but never of a series with a newline in it.
    fn expected(&self) -> Option<usize> {
        None
    }

    /// Takes the sample if its series is known, and says whether it did.
    ///
    /// # Errors
    /// [`Refused`] fails the scrape.
    fn known(&mut self, sample: &Exposed<'_>) -> Result<bool, Refused>;

    /// Takes a sample of a series that [`Sink::known`] did not know. The metric name is the label
    /// `__name__`.
    ///
    /// # Errors
    /// [`Refused`] fails the scrape.
    fn resolved(
        &mut self,
        sample: &Exposed<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refused>;

    /// There is a sample, but its names are not valid UTF-8: it counts as scraped, and the parse
    /// ends.
    fn unreadable(&mut self) {}
}

/// Why a well-formed exposition fails its scrape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
