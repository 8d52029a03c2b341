//! The home's answer to `/api/v1/metadata`:
//! `{"status":"success","data":{"<metric>":[{"type":"…","help":"…","unit":"…"}]}}`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use url::Url;

use super::{FamilyMetadata, MAX_METRICS};
use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse, JobId};
use crate::net::{NetError, redacted};

/// Largest answer in bytes. 20,000 metrics with a help text of one line each are 3 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Metadata that could not be read. Samples are not concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The home gave no whole answer.
    #[error("metadata: {0}")]
    Net(#[from] NetError),
    /// The status of the answer is not 200.
    #[error(
        "metadata {address}: the server returned HTTP status {status}: set \
         forwarder.metadata.path, or switch metadata off"
    )]
    Status {
        /// Scheme, host, port and path of the home's metadata.
        address: String,
        /// HTTP status of the answer.
        status: u16,
    },
    /// The answer is not one of Prometheus, or is too large.
    #[error("metadata {address}: {cause}")]
    Body {
        /// Scheme, host, port and path of the home's metadata.
        address: String,
        /// Fault of the answer.
        cause: String,
    },
}

/// Returns the address of the metadata of a federation's home: the given path, or the path next to
/// `/federate`.
///
/// ```
/// let federation = "http://prom.home:9090/prom/federate?match[]=up".parse().unwrap();
/// let address = amp_forwarder::metadata::address(&federation, None);
/// assert_eq!(address.path(), "/prom/api/v1/metadata");
/// ```
#[must_use]
pub fn address(federation: &Url, path: Option<&str>) -> Url {
    let mut url = federation.clone();
    let prefix = federation
        .path()
        .strip_suffix("/federate")
        .unwrap_or_default();
    url.set_path(&path.map_or_else(|| format!("{prefix}/api/v1/metadata"), str::to_owned));
    // Prometheus 2.42 already has both parameters. A server without them answers with more, and the
    // rest is skipped.
    url.set_query(Some(&format!("limit={MAX_METRICS}&limit_per_metric=1")));
    url
}

/// Reads the metadata of a home with the HTTP client of a job, within the time-out. Each metric
/// gets its first entry: further ones mean that targets disagree.
///
/// # Errors
/// [`MetadataError`] when there is no whole answer, or it is not one of Prometheus. The caller
/// tries again later.
pub async fn read(
    home: &dyn Home,
    job: JobId,
    url: &Url,
    timeout: Duration,
) -> Result<Vec<FamilyMetadata>, MetadataError> {
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
        if text.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(MetadataError::Body {
                address,
                cause: format!("more than {MAX_ANSWER_BYTES} bytes"),
            });
        }
        text.extend_from_slice(&chunk);
    }
    let answer: MetadataAnswer =
        serde_json::from_slice(&text).map_err(|error| MetadataError::Body {
            address,
            cause: error.to_string(),
        })?;
    Ok(answer.data.0)
}

#[derive(Deserialize)]
struct MetadataAnswer {
    data: FamilyList,
}

struct FamilyList(Vec<FamilyMetadata>);

#[derive(Deserialize)]
struct MetadataEntry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

impl<'de> Deserialize<'de> for FamilyList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FamilyVisitor)
    }
}

/// Reads the first [`MAX_METRICS`] metrics and skips the rest.
struct FamilyVisitor;

impl<'de> Visitor<'de> for FamilyVisitor {
    type Value = FamilyList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata by metric")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FamilyList, A::Error> {
        let mut metrics = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if metrics.len() >= MAX_METRICS {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let entries: Vec<MetadataEntry> = map.next_value()?;
            metrics.extend(
                entries
                    .into_iter()
                    .next()
                    .map(|MetadataEntry { kind, help, unit }| FamilyMetadata {
                        name,
                        kind: number(&kind),
                        help,
                        unit,
                    }),
            );
        }
        Ok(FamilyList(metrics))
    }
}

/// The number of a type in prompb/types.proto `MetricMetadata.MetricType`.
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
            "b":[{"type":"counter","help":"Some \"text\".","unit":""},
                 {"type":"gauge","help":"another target's","unit":"s"}],
            "a":[{"type":"stateset","help":"","unit":"x"}], "c":[], "d":[{"type":"new"}]}}"#;
        let answer: MetadataAnswer = serde_json::from_slice(text).unwrap();
        let metric = |name: &str, kind, help: &str, unit: &str| FamilyMetadata {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        };
        assert_eq!(
            answer.data.0,
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
                serde_json::from_slice::<MetadataAnswer>(wrong.as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn no_more_than_a_receiver_takes() {
        let many: Vec<_> = (0..MAX_METRICS + 5)
            .map(|at| format!("\"m{at}\":[{{\"type\":\"gauge\"}}]"))
            .collect();
        let answer: MetadataAnswer =
            serde_json::from_str(&format!("{{\"data\":{{{}}}}}", many.join(","))).unwrap();
        assert_eq!(answer.data.0.len(), MAX_METRICS);
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
