//! The home's answer to `/api/v1/metadata`:
//! `{"status":"success","data":{"<metric>":[{"type":"…","help":"…","unit":"…"}]}}`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use url::Url;

use super::{MOST, Metric};
use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse, JobId};
use crate::net::{NetError, redacted};

/// Bytes of an answer. 20,000 metrics with a help text of a line each are 3 MB.
const LARGEST: usize = 16 << 20;

/// Why there is no metadata. Samples are not concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No whole answer.
    #[error("metadata: {0}")]
    Net(#[from] NetError),
    /// Anything but 200.
    #[error(
        "metadata {address}: the server returned HTTP status {status}: set forwarder.metadata.path, or switch it off"
    )]
    Status {
        /// Scheme, host, port and path.
        address: String,
        /// Its status.
        status: u16,
    },
    /// Not what Prometheus answers.
    #[error("metadata {address}: {cause}")]
    Body {
        /// Scheme, host, port and path.
        address: String,
        /// What was wrong with it.
        cause: String,
    },
}

/// Where the metadata of a federation's home is: the path, or else what stands beside `/federate`.
#[must_use]
pub fn address(federation: &Url, path: Option<&str>) -> Url {
    let mut url = federation.clone();
    let prefix = federation
        .path()
        .strip_suffix("/federate")
        .unwrap_or_default();
    url.set_path(&path.map_or_else(|| format!("{prefix}/api/v1/metadata"), str::to_owned));
    // Both bounds are as old as 2.42 at least; who does not know them answers with more.
    url.set_query(Some(&format!("limit={MOST}&limit_per_metric=1")));
    url
}

/// Asks the home, as its job does, within the time-out. One entry a metric: the first, as more mean
/// that targets disagree.
///
/// # Errors
/// [`MetadataError`].
pub async fn read(
    home: &dyn Home,
    job: JobId,
    url: &Url,
    timeout: Duration,
) -> Result<Vec<Metric>, MetadataError> {
    let address = redacted(url);
    let HomeResponse {
        status, mut body, ..
    } = home
        .send(HomeRequest {
            job,
            url,
            method: HomeMethod::Get {
                accept: "application/json",
                compression: false,
            },
            timeout,
        })
        .await?;
    if status != 200 {
        return Err(MetadataError::Status { address, status });
    }
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if text.len() + chunk.len() > LARGEST {
            return Err(MetadataError::Body {
                address,
                cause: format!("more than {LARGEST} bytes"),
            });
        }
        text.extend_from_slice(&chunk);
    }
    let told: Told = serde_json::from_slice(&text).map_err(|error| MetadataError::Body {
        address,
        cause: error.to_string(),
    })?;
    Ok(told.data.0)
}

#[derive(Deserialize)]
struct Told {
    data: Metrics,
}

struct Metrics(Vec<Metric>);

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Bounded)
    }
}

/// Reads [`MOST`] metrics and passes over the rest.
struct Bounded;

impl<'de> Visitor<'de> for Bounded {
    type Value = Metrics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata by metric")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
        let mut metrics = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if metrics.len() >= MOST {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let entries: Vec<Entry> = map.next_value()?;
            metrics.extend(
                entries
                    .into_iter()
                    .next()
                    .map(|Entry { kind, help, unit }| Metric {
                        name,
                        kind: number(&kind),
                        help,
                        unit,
                    }),
            );
        }
        Ok(Metrics(metrics))
    }
}

/// prompb/types.proto `MetricMetadata.MetricType`
fn number(kind: &str) -> i32 {
    match kind {
        "counter" => 1,
        "gauge" => 2,
        "histogram" => 3,
        "gaugehistogram" => 4,
        "summary" => 5,
        "info" => 6,
        "stateset" => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_answers_is_read() {
        let text = br#"{"status":"success","data":{
            "b":[{"type":"counter","help":"Some \"text\".","unit":""},{"type":"gauge","help":"another target's","unit":"s"}],
            "a":[{"type":"stateset","help":"","unit":"x"}], "c":[], "d":[{"type":"new"}]}}"#;
        let told: Told = serde_json::from_slice(text).unwrap();
        let metric = |name: &str, kind, help: &str, unit: &str| Metric {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        };
        assert_eq!(
            told.data.0,
            [
                metric("b", 1, "Some \"text\".", ""),
                metric("a", 7, "", "x"),
                metric("d", 0, "", "")
            ]
        );
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"data":[]}"#,
            r#"{"data":{"a":{}}}"#,
            r#"{"status":"error","error":"no"}"#,
        ] {
            assert!(
                serde_json::from_slice::<Told>(wrong.as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn no_more_than_a_receiver_takes() {
        let many: Vec<_> = (0..MOST + 5)
            .map(|at| format!("\"m{at}\":[{{\"type\":\"gauge\"}}]"))
            .collect();
        let told: Told =
            serde_json::from_str(&format!("{{\"data\":{{{}}}}}", many.join(","))).unwrap();
        assert_eq!(told.data.0.len(), MOST);
    }

    #[test]
    fn metadata_is_beside_federation() {
        let of = |url: &str, path| address(&url.parse().unwrap(), path).to_string();
        let query = "?limit=20000&limit_per_metric=1";
        assert_eq!(
            of("http://h:9090/federate?match[]=up", None),
            format!("http://h:9090/api/v1/metadata{query}")
        );
        assert_eq!(
            of("https://h/prom/federate", None),
            format!("https://h/prom/api/v1/metadata{query}")
        );
        assert_eq!(
            of("http://h/prom/federate", Some("/x/y")),
            format!("http://h/x/y{query}")
        );
    }
}
