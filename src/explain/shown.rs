//! How the home shows a series: its labels, its newest value and the time of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::config::ScrapeConfig;
use crate::home::{Home, HomeMethod, HomeRequest, Target};
use crate::intake::{ExposedSample, Refusal, Sink};
use crate::net::{NetError, redacted};
use crate::prompb::Value;
use crate::scrape::exposition::ExpositionError;
use crate::scrape::text::TextParser;
use crate::series::{ExposedLabel, float};

/// Time for the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer in bytes. It is for people, who look at a few series.
const LARGEST: usize = 4 << 20;

/// A series as the home shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownSeries {
    /// Its labels, with the metric's name as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Its newest value, as the text format writes it.
    pub value: String,
    /// Time of that value, milliseconds since 1970; none if the home gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
}

/// Why the home does not say how it shows a series.
#[derive(Debug, thiserror::Error)]
pub enum ShownSeriesError {
    /// The target has no usable address.
    #[error("the target cannot be scraped: {0}")]
    NoUrl(String),
    /// There was no answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The answer is an error of the home.
    #[error("{address}: HTTP {status}: is this a Prometheus, and may it be asked?")]
    Status {
        /// The address that was asked.
        address: String,
        /// Status of the answer.
        status: u16,
    },
    /// The answer has more series than people look at.
    #[error("the answer has more than {LARGEST} bytes: name the series more closely")]
    TooLarge,
    /// The answer is no exposition.
    #[error("the answer cannot be read: {0}")]
    Exposition(#[from] ExpositionError),
}

/// Asks a target of a federation for the series that `selector` selects, as text.
///
/// # Errors
/// [`ShownSeriesError`]; its text says what to do.
pub async fn shown(
    home: &dyn Home,
    job: &ScrapeConfig,
    target: &Target,
    selector: &str,
) -> Result<Vec<ShownSeries>, ShownSeriesError> {
    let mut url = match &target.url {
        Ok(url) => url.clone(),
        Err(error) => return Err(ShownSeriesError::NoUrl(error.to_string())),
    };
    let others: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name != "match[]")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair("match[]", selector);
    let accept = format!(
        "text/plain;version=1.0.0;escaping={};q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
        job.naming.escaping.as_str()
    );
    let request = HomeRequest {
        job: target.job,
        url: &url,
        method: HomeMethod::Get {
            accept: &accept,
            compression: false,
        },
        timeout: TIMEOUT,
    };
    let mut answer = home.send(request).await?;
    if answer.status != 200 {
        return Err(ShownSeriesError::Status {
            address: redacted(&url),
            status: answer.status,
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.body.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err(ShownSeriesError::TooLarge);
        }
    }
    body.push(b'\n');
    let mut found = SeriesList::default();
    TextParser::default().parse(&body, true, &mut found)?;
    Ok(found.0)
}

/// Collects all series of an exposition.
#[derive(Default)]
struct SeriesList(Vec<ShownSeries>);

impl Sink for SeriesList {
    fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let value = match sample.value {
            Value::Float(value) => float::json(value),
            Value::Histogram(_) => "a native histogram".to_owned(),
        };
        self.0.push(ShownSeries {
            labels: labels
                .iter()
                .map(|label| (label.name.to_string(), label.value.to_string()))
                .collect(),
            value,
            timestamp_ms: sample.timestamp_ms,
        });
        Ok(())
    }
}
