//! Reads raw samples by Prometheus' query API. They are exact: the shortest decimal that it prints
//! reads back as the same float.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::Labels;
use crate::http::Client;

/// Samples of series by timestamp in milliseconds, oldest first; values are the bits of floats.
/// Every NaN has the same bits, because the query API does not distinguish them (and shows no stale
/// markers).
pub type Samples = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// The bits of a value in [`Samples`].
pub fn value_bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

/// A Prometheus' query API.
#[derive(Debug, Clone)]
pub struct Querier {
    url: String,
    client: Client,
}

#[derive(Deserialize)]
struct QueryAnswer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<ResultSeries>,
}

#[derive(Deserialize)]
struct ResultSeries {
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, String)>,
    value: Option<(f64, String)>,
    /// Native histograms, as the JSON of the API.
    #[serde(default)]
    histograms: Vec<(f64, serde_json::Value)>,
}

impl Querier {
    /// Makes a client for the query API of a server, e.g. `http://127.0.0.1:9090`.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: Client::default(),
        }
    }

    /// Reads all raw float samples of `selector` with `from_ms <= timestamp <= to_ms`.
    ///
    /// # Errors
    /// Fails when the server does not answer, or refuses the query.
    pub async fn raw(&self, selector: &str, from_ms: i64, to_ms: i64) -> Result<Samples> {
        // The range is left-open in 3.x and closed in 2.x. So the query asks for a millisecond more
        // and cuts here.
        let range = (to_ms - from_ms + 1).max(1);
        let series = self.query(&format!("{selector}[{range}ms]"), to_ms).await?;
        let mut samples = Samples::new();
        for ResultSeries { metric, values, .. } in series {
            let mut of_series = BTreeMap::new();
            for (seconds, text) in values {
                let timestamp = (seconds * 1000.0).round() as i64;
                if (from_ms..=to_ms).contains(&timestamp) {
                    of_series.insert(timestamp, parse(&text)?);
                }
            }
            if !of_series.is_empty() {
                samples.insert(metric, of_series);
            }
        }
        Ok(samples)
    }

    /// Reads the native histogram samples of `selector` as the JSON of the query API, by series and
    /// timestamp.
    ///
    /// # Errors
    /// Fails as [`Self::raw`] does.
    pub async fn raw_histograms(
        &self,
        selector: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<BTreeMap<Labels, BTreeMap<i64, serde_json::Value>>> {
        let range = (to_ms - from_ms + 1).max(1);
        let series = self.query(&format!("{selector}[{range}ms]"), to_ms).await?;
        let histograms = |series: ResultSeries| {
            let at = |(seconds, histogram): (f64, serde_json::Value)| {
                ((seconds * 1000.0).round() as i64, histogram)
            };
            (
                series.metric,
                series
                    .histograms
                    .into_iter()
                    .map(at)
                    .collect::<BTreeMap<_, _>>(),
            )
        };
        Ok(series
            .into_iter()
            .map(histograms)
            .filter(|(_, histograms)| !histograms.is_empty())
            .collect())
    }

    /// Evaluates an expression that gives one number or nothing, e.g. `count({__name__=~".+"})`.
    ///
    /// # Errors
    /// Fails as [`Self::raw`] does.
    pub async fn value(&self, expression: &str) -> Result<Option<f64>> {
        self.value_at(expression, crate::now_ms()).await
    }

    /// Evaluates an expression at a time; see [`Self::value`].
    ///
    /// # Errors
    /// Fails as [`Self::raw`] does.
    pub async fn value_at(&self, expression: &str, at_ms: i64) -> Result<Option<f64>> {
        let series = self.query(expression, at_ms).await?;
        series
            .into_iter()
            .find_map(|series| series.value)
            .map(|(_, text)| parse(&text).map(f64::from_bits))
            .transpose()
    }

    async fn query(&self, expression: &str, at_ms: i64) -> Result<Vec<ResultSeries>> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", expression)
            .append_pair("time", &format!("{}.{:03}", at_ms / 1000, at_ms % 1000))
            .finish();
        let url = format!("{}/api/v1/query", self.url);
        let response = self
            .client
            .post(&url, "application/x-www-form-urlencoded", form)
            .await?;
        let answer: QueryAnswer = serde_json::from_slice(response.body())
            .with_context(|| format!("{url}: {}", response.status()))?;
        ensure!(
            answer.status == "success",
            "{url}: {expression}: {}",
            answer.error.unwrap_or_default()
        );
        Ok(answer.data.map(|data| data.result).unwrap_or_default())
    }
}

fn parse(text: &str) -> Result<u64> {
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text
            .parse()
            .with_context(|| format!("not a value: {text}"))?,
    };
    Ok(value_bits(value))
}
