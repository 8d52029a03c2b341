//! What AMP itself has discarded of requests that it took, by reason, as CloudWatch counts it.
//!
//! The forwarder cannot see this: AMP answers 200 and drops some samples all the same. CloudWatch
//! is asked with signed requests of its JSON protocol, without its SDK crate, which would be large
//! for two calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Config, HttpConfig, RemoteWrite, SigV4};
use crate::net::sign::Signer;
use crate::net::{ClientOptions, Exchange, HttpClient, Peer, signing_identity};
use crate::report::plain_line;
use crate::time::{Clock, millis};

/// Time for one call, connection included.
const CALL: Duration = Duration::from_secs(10);

/// Largest answer in bytes.
const LARGEST: usize = 4 << 20;

/// Width of CloudWatch's points, seconds.
const PERIOD: i64 = 300;

/// Most metrics that are asked for. AMP knows about a dozen reasons.
const MOST: usize = 100;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// What one AMP workspace has discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscardedSamples {
    /// `name` of the `remote_write` entry, or else its host and workspace.
    pub remote: String,
    /// Id of the workspace.
    pub workspace: String,
    /// Start of the span, milliseconds since 1970. It ends now.
    pub since_ms: i64,
    /// Samples by reason, the most first. Other senders to the workspace count as well.
    pub reasons: Vec<DiscardReason>,
    /// Why CloudWatch did not say, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Samples that were discarded for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscardReason {
    /// The reason as AMP names it.
    pub reason: String,
    /// Number of samples.
    pub samples: u64,
    /// What to do about it.
    pub advice: &'static str,
}

/// Asks CloudWatch what each AMP workspace of the configuration has discarded in the span `last`
/// that ends now. A remote that is no workspace, or does not sign, has no entry.
pub async fn discarded(
    config: &Config,
    clock: &Arc<dyn Clock>,
    last: Duration,
) -> Vec<DiscardedSamples> {
    let mut found = Vec::new();
    for entry in &config.remote_write {
        let (Some(workspace), Some(sigv4)) = (workspace(entry), &entry.sigv4) else {
            continue;
        };
        let now_ms = clock.now_ms();
        let since_ms = now_ms.saturating_sub(millis(last));
        let asked = match CloudWatch::new(sigv4, clock).await {
            Ok(service) => reasons(&service, &workspace, since_ms, now_ms).await,
            Err(error) => Err(error),
        };
        let (reasons, error) = match asked {
            Ok(reasons) => (reasons, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        found.push(DiscardedSamples {
            remote: entry.label.clone(),
            workspace,
            since_ms,
            reasons,
            error,
        });
    }
    found
}

/// The id of the workspace in the path of an AMP address, which may be that of an endpoint of
/// another name.
fn workspace(entry: &RemoteWrite) -> Option<String> {
    let mut segments = entry.url.path_segments()?;
    segments.find(|segment| *segment == "workspaces")?;
    segments.next().map(str::to_owned)
}

async fn reasons(
    service: &CloudWatch,
    workspace: &str,
    since_ms: i64,
    now_ms: i64,
) -> Result<Vec<DiscardReason>, String> {
    let metric = json!({
        "Namespace": "AWS/Prometheus",
        "MetricName": "DiscardedSamples",
        "Dimensions": [{"Name": "Workspace", "Value": workspace}],
    });
    let listed = service.call("ListMetrics", &metric, now_ms).await?;
    let metrics = listed["Metrics"].as_array().cloned().unwrap_or_default();
    let mut named: Vec<(String, &Value)> = Vec::new();
    for metric in &metrics {
        let is_new = named.iter().all(|(_, known)| *known != metric);
        if let Some(reason) = dimension(metric, "Reason").filter(|_| is_new) {
            named.push((reason, metric));
        }
    }
    named.truncate(MOST);
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let queries: Vec<_> = named
        .iter()
        .enumerate()
        .map(|(place, (_, metric))| {
            let metric = json!({
                "Namespace": metric["Namespace"],
                "MetricName": metric["MetricName"],
                "Dimensions": metric["Dimensions"],
            });
            json!({
                "Id": format!("m{place}"),
                "MetricStat": {"Metric": metric, "Period": PERIOD, "Stat": "Sum"},
            })
        })
        .collect();
    let request = json!({
        // Points are as wide as the period, and the one that holds the start belongs to it.
        "StartTime": since_ms / 1000 / PERIOD * PERIOD,
        "EndTime": now_ms / 1000 + 1,
        "MetricDataQueries": queries,
    });
    let sums = sums(service, &request, named.len(), now_ms).await?;
    // A reason has more than one metric where AMP tells its samples apart by something else, too.
    let mut by_reason: BTreeMap<String, f64> = BTreeMap::new();
    for ((reason, _), samples) in named.into_iter().zip(sums) {
        *by_reason.entry(reason).or_default() += samples;
    }
    let mut found: Vec<_> = by_reason
        .into_iter()
        .filter(|(_, samples)| *samples > 0.0)
        .map(|(reason, samples)| DiscardReason {
            advice: advice(&reason),
            reason,
            samples: samples.round() as u64,
        })
        .collect();
    found.sort_by_key(|reason| std::cmp::Reverse(reason.samples));
    Ok(found)
}

/// Sums of all values of the queries `m0`, `m1`, … of a request, over all pages of the answer.
async fn sums(
    service: &CloudWatch,
    request: &Value,
    queries: usize,
    now_ms: i64,
) -> Result<Vec<f64>, String> {
    let mut sums = vec![0.0; queries];
    let mut page = request.clone();
    loop {
        let answer = service.call("GetMetricData", &page, now_ms).await?;
        for result in answer["MetricDataResults"].as_array().into_iter().flatten() {
            let place = result["Id"].as_str().and_then(|id| id.strip_prefix('m'));
            let place = place.and_then(|place| place.parse::<usize>().ok());
            let values = result["Values"].as_array().into_iter().flatten();
            if let Some(sum) = place.and_then(|place| sums.get_mut(place)) {
                *sum += values.filter_map(Value::as_f64).sum::<f64>();
            }
        }
        match answer["NextToken"].as_str() {
            Some(token) if !token.is_empty() => {
                page = request.clone();
                page["NextToken"] = token.into();
            }
            _ => return Ok(sums),
        }
    }
}

fn dimension(metric: &Value, wanted: &str) -> Option<String> {
    let dimensions = metric["Dimensions"].as_array()?;
    let found = dimensions.iter().find(|it| it["Name"] == wanted)?;
    found["Value"].as_str().map(str::to_owned)
}

/// What to do about a reason. Its name has dashes or underscores, as the version of AMP has it.
fn advice(reason: &str) -> &'static str {
    let reason = reason.replace('_', "-");
    let has = |part: &str| reason.contains(part);
    if has("out-of-order") || has("new-value-for-timestamp") || has("duplicate") {
        "two senders of the same series: stop one, or give each another external label"
    } else if has("too-old") || has("max-sample-age") || has("out-of-bounds") {
        "AMP takes no sample that is older than an hour: see the backlog"
    } else if has("too-far-in-future") {
        "the home's clock is ahead: set it by NTP"
    } else if has("series-limit") {
        "too many series: drop some, or ask for a higher quota"
    } else if has("rate-limited") {
        "more samples a second than the quota: ask for a higher one"
    } else if has("label") || has("metric-name") {
        "AMP refuses these labels: rename or drop them by write_relabel_configs"
    } else if has("ha-tracker") || has("deduped") || has("deduplicat") {
        "samples of the replica that is not elected: as it should be"
    } else {
        "see the quotas of AMP"
    }
}

/// CloudWatch in one region, asked by one identity.
struct CloudWatch {
    signer: Signer,
    client: HttpClient,
    endpoint: String,
}

impl CloudWatch {
    async fn new(sigv4: &SigV4, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        let identity = signing_identity(sigv4, clock)
            .await
            .map_err(|error| error.to_string())?;
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = &identity.region;
        let suffix = if region.as_ref().starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let endpoint = variable("AWS_ENDPOINT_URL_CLOUDWATCH")
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| format!("https://monitoring.{region}.{suffix}"));
        let client = HttpClient::new(&HttpConfig::default(), ClientOptions::default(), Peer::Aws);
        Ok(Self {
            signer: Signer::new(identity, "monitoring"),
            client,
            endpoint: format!("{}/", endpoint.trim_end_matches('/')),
        })
    }

    async fn call(&self, operation: &str, body: &Value, now_ms: i64) -> Result<Value, String> {
        let failed = |cause: String| format!("CloudWatch {operation}: {cause}");
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self
            .endpoint
            .parse()
            .map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        let target = format!("GraniteServiceVersion20100801.{operation}");
        let target = HeaderValue::from_str(&target).map_err(|error| failed(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.0"),
        );
        headers.insert(TARGET, target);
        self.signer
            .sign(&mut request, now_ms, false, CALL)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let exchange = Exchange {
            timeout: CALL,
            signed: true,
            ..Exchange::default()
        };
        let mut reply = self
            .client
            .send(request, exchange)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let mut answer = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(|it| failed(it.to_string()))? {
            answer.extend_from_slice(&chunk);
            if answer.len() > LARGEST {
                return Err(failed(format!("the answer has more than {LARGEST} bytes")));
            }
        }
        let status = reply.status();
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()));
        }
        let said = reply.without_secrets(&answer, 300);
        let advice = match status {
            400 | 403 => {
                "; your identity needs cloudwatch:ListMetrics and cloudwatch:GetMetricData"
            }
            _ => "",
        };
        let said = plain_line(&said).into_owned();
        Err(failed(format!("HTTP {status}: {said}{advice}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_workspace_is_asked_about() {
        let yaml = "scrape_configs: [{job_name: a, static_configs: [{targets: [a]}]}]\n\
            remote_write:\n- url: https://vpce-1.example/workspaces/ws-1/api/v1/remote_write\n\
            - url: https://mimir.example/api/v1/push\n";
        let config = Config::load(yaml, &|_| None, "f.yml").unwrap().config;
        let found: Vec<_> = config.remote_write.iter().map(workspace).collect();
        assert_eq!(found, [Some("ws-1".to_owned()), None]);
    }

    #[test]
    fn each_reason_that_the_guide_names_has_advice() {
        for (reason, part) in [
            ("sample-out-of-order", "two senders"),
            ("new-value-for-timestamp", "two senders"),
            ("greater_than_max_sample_age", "an hour"),
            ("per_user_series_limit", "higher quota"),
            ("per_labelset_series_limit", "higher quota"),
            ("rate_limited", "samples a second"),
            ("label_value_too_long", "labels"),
            ("too_far_in_future", "NTP"),
            ("unheard-of", "quotas"),
        ] {
            assert!(
                advice(reason).contains(part),
                "{reason}: {}",
                advice(reason)
            );
        }
    }
}
