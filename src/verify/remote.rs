//! The remote's end: read by remote read where it has it, else by its query API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Uri};
use url::Url;

use super::answer::{AnswerReader, AnsweredSeries};
use super::compare::Span;
use super::error::{EndError, EndFault};
use super::query::{self, QueriedSeries};
use super::value::{Precision, TimedPrint};
use crate::config::RemoteWrite;
use crate::net::aws::AwsError;
use crate::net::sign::Signer;
use crate::net::{
    ClientOptions, Exchange, HttpClient, HttpReply, Peer, redacted, signing_identity,
};
use crate::read::request::{self, TimeRange};
use crate::selector::{MatchOp, Matcher, Selector};
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, Labels};
use crate::time::Clock;

/// Bytes of an answer that is not 200 which are read.
const ERROR_BYTES: usize = 4096;

/// Metrics that one query names at most.
const METRICS_PER_QUERY: usize = 200;

/// Why a remote cannot be read as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum RemoteEndError {
    /// Nothing is known of where this receiver answers queries.
    #[error(
        "remote {remote}: where {url} answers queries is not known; name it with --query-url, such \
         as http://host:9090/api/v1/query"
    )]
    UnknownUrl {
        /// Name of the remote.
        remote: String,
        /// Its address.
        url: String,
    },
    /// The identity that signs could not be found.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Where a remote is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadUrls {
    /// Remote read, where there may be one.
    pub read: Option<Url>,
    /// The query API.
    pub query: Url,
}

impl ReadUrls {
    /// Follows from the address that samples are posted to: AMP, Prometheus and VictoriaMetrics,
    /// Cortex and Mimir. `None` for any other.
    #[must_use]
    pub fn of(remote_write: &Url) -> Option<Self> {
        // AMP has no remote read.
        const KNOWN: [(&str, Option<&str>, &str); 3] = [
            ("/api/v1/remote_write", None, "/api/v1/query"),
            ("/api/v1/write", Some("/api/v1/read"), "/api/v1/query"),
            (
                "/api/v1/push",
                Some("/prometheus/api/v1/read"),
                "/prometheus/api/v1/query",
            ),
        ];
        KNOWN.into_iter().find_map(|(write, read, query)| {
            let prefix = remote_write.path().strip_suffix(write)?;
            let at = |path: &str| {
                let mut url = remote_write.clone();
                url.set_path(&format!("{prefix}{path}"));
                url
            };
            Some(Self {
                read: read.map(at),
                query: at(query),
            })
        })
    }
}

/// A remote that can be read.
pub struct RemoteEnd {
    pub(super) name: String,
    /// Whether the remote takes the label `__replica__` off series that have `cluster` as well.
    pub(super) drops_replica: bool,
    urls: ReadUrls,
    headers: HeaderMap,
    client: HttpClient,
    signer: Option<Signer>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

/// What is asked of a remote.
pub(super) struct RemoteQuestion<'a> {
    /// Samples in this span.
    pub(super) span: &'a Span,
    /// Metrics of which there may be samples, with the number of those at home.
    pub(super) metrics: &'a [(&'a str, u64)],
    /// Labels that all of their series have.
    pub(super) equal: &'a [(String, String)],
    /// Largest answer in bytes, before compression.
    pub(super) max_bytes: u64,
    /// Most samples that one query should give.
    pub(super) max_samples: u64,
}

/// Takes a series of a remote: its label set, finished, its samples, oldest first, and how exact
/// they are.
pub(super) type ShowSeries<'a> = &'a mut dyn FnMut(&Labels<'_>, &[TimedPrint], Precision);

impl RemoteEnd {
    /// Prepares to read a remote. With a `query_url` it is read by that query API, and else as
    /// follows from where samples are posted to. No request is made yet.
    ///
    /// # Errors
    /// [`RemoteEndError`]: a person must name the query API, a region or credentials.
    pub async fn new(
        config: &RemoteWrite,
        query_url: Option<&Url>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RemoteEndError> {
        let urls = match query_url {
            Some(url) => Some(ReadUrls {
                read: None,
                query: url.clone(),
            }),
            None => ReadUrls::of(&config.url),
        };
        let urls = urls.ok_or_else(|| RemoteEndError::UnknownUrl {
            remote: config.label.clone(),
            url: redacted(&config.url),
        })?;
        let signer = match &config.sigv4 {
            Some(sigv4) => Some(Signer::new(
                signing_identity(sigv4, &clock).await?,
                &sigv4.service_name,
            )),
            None => None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            if let (Ok(name), Ok(mut value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))),
        );
        let options = ClientOptions {
            clock: Arc::clone(&clock),
            ..ClientOptions::default()
        };
        Ok(Self {
            name: config.label.clone(),
            drops_replica: config.sigv4.is_some(),
            urls,
            headers,
            client: HttpClient::new(&config.http, options, Peer::Remote),
            signer,
            clock,
            timeout: config.remote_timeout,
        })
    }

    /// How exactly the remote can be compared, as far as it is known by now.
    pub(super) fn precision(&self) -> Precision {
        if self.urls.read.is_some() {
            Precision::Bits
        } else {
            Precision::Query
        }
    }

    /// Shows the remote's series. The first answer decides whether there is remote read.
    pub(super) async fn read(
        &mut self,
        question: &RemoteQuestion<'_>,
        show: ShowSeries<'_>,
    ) -> Result<(), EndError> {
        if let Some(url) = self.urls.read.clone() {
            match self.remote_read(&url, question, &mut *show).await {
                Err(error) if error.fault == EndFault::NotOffered => self.urls.read = None,
                ended => return ended,
            }
        }
        for metrics in groups(question.metrics, question.max_samples) {
            self.query(&metrics, question, &mut *show).await?;
        }
        Ok(())
    }

    async fn remote_read(
        &self,
        url: &Url,
        question: &RemoteQuestion<'_>,
        show: ShowSeries<'_>,
    ) -> Result<(), EndError> {
        let address = redacted(url);
        let matcher = |label: &str, op, value: &str| Matcher {
            label: label.to_owned(),
            op,
            value: value.to_owned(),
        };
        let mut matchers: Vec<_> = question
            .equal
            .iter()
            .map(|(name, value)| matcher(name, MatchOp::Equal, value))
            .collect();
        matchers.push(match question.metrics {
            [(name, _)] => matcher(NAME, MatchOp::Equal, name),
            _ => matcher(NAME, MatchOp::NotEqual, ""),
        });
        let range = TimeRange {
            start_ms: *question.span.start(),
            end_ms: *question.span.end(),
        };
        let body = request::body(&[Selector { matchers }], range)
            .map_err(|error| EndError::new(EndFault::Final, &address, error.to_string()))?;
        let mut reply = self.post(url, &request::headers(), body).await?;
        let headers = reply.take_headers();
        let is_read = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-protobuf"));
        if !is_read {
            let cause = "the answer is no remote read";
            return Err(EndError::new(EndFault::NotOffered, &address, cause));
        }
        let mut reader = AnswerReader::new(question.max_bytes);
        let mut take = |series: AnsweredSeries<'_>| {
            let mut labels = Labels::exposed(&series.labels);
            labels.finish();
            show(&labels, &series.samples, Precision::Bits);
        };
        while let Some(chunk) = reply.chunk().await? {
            reader
                .push(chunk, &mut take)
                .map_err(|error| error.at(&address))?;
        }
        reader.finish(1).map_err(|error| error.at(&address))
    }

    async fn query(
        &self,
        metrics: &[&str],
        question: &RemoteQuestion<'_>,
        show: ShowSeries<'_>,
    ) -> Result<(), EndError> {
        let url = &self.urls.query;
        let address = redacted(url);
        let form = query::form(metrics, question.equal, question.span);
        let headers = [(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        )];
        let mut reply = self.post(url, &headers, form.into()).await?;
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > question.max_bytes {
                let cause = format!("the answer is longer than {} bytes", question.max_bytes);
                return Err(EndError::new(EndFault::TooMuch, &address, cause));
            }
        }
        let mut malformed = false;
        let mut take = |series: QueriedSeries| {
            let Some(samples) = series.samples(question.span) else {
                malformed = true;
                return;
            };
            let exposed: Vec<_> = series
                .metric
                .iter()
                .map(|(name, value)| ExposedLabel {
                    name: name.as_str().into(),
                    value: value.as_str().into(),
                    span: None,
                })
                .collect();
            let mut labels = Labels::exposed(&exposed);
            labels.finish();
            if !samples.is_empty() {
                show(&labels, &samples, Precision::Query);
            }
        };
        query::read(&body, &mut take)
            .map_err(|cause| EndError::new(EndFault::Passing, &address, cause))?;
        if malformed {
            let cause = "a value is no number";
            return Err(EndError::new(EndFault::Final, &address, cause));
        }
        Ok(())
    }

    /// Posts, and returns an answer whose status is 200.
    async fn post(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<HttpReply, EndError> {
        let address = redacted(url);
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url
            .as_str()
            .parse::<Uri>()
            .map_err(|error| EndError::new(EndFault::Final, &address, error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().extend(headers.iter().cloned());
        if let Some(signer) = &self.signer {
            signer
                .sign(&mut request, self.clock.now_ms(), false, self.timeout)
                .await
                .map_err(|error| EndError::signing(&address, &error))?;
        }
        let exchange = Exchange {
            timeout: self.timeout,
            signed: self.signer.is_some(),
            ..Exchange::default()
        };
        let mut reply = self.client.send(request, exchange).await?;
        if reply.status() == 200 {
            return Ok(reply);
        }
        let status = reply.status();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = reply.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_BYTES {
                break;
            }
        }
        let body = reply.without_secrets(&body, ERROR_BYTES);
        // AWS answers a bad signature with the canonical request, which holds the session token.
        let harmless = body
            .split("The Canonical String")
            .next()
            .unwrap_or_default();
        Err(EndError::status(&address, status, harmless.as_bytes()))
    }
}

/// Groups metrics so that no query gives too many samples.
fn groups<'a>(metrics: &[(&'a str, u64)], max_samples: u64) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    let mut samples = 0;
    for &(name, count) in metrics {
        match groups.last_mut() {
            Some(group) if group.len() < METRICS_PER_QUERY && samples + count <= max_samples => {
                group.push(name);
                samples += count;
            }
            _ => {
                groups.push(vec![name]);
                samples = count;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_follow_from_where_samples_are_posted_to() {
        for (write, expected) in [
            (
                "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
                Some((
                    None,
                    "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/query",
                )),
            ),
            (
                "http://h:9090/prom/api/v1/write",
                Some((
                    Some("http://h:9090/prom/api/v1/read"),
                    "http://h:9090/prom/api/v1/query",
                )),
            ),
            (
                "http://mimir/api/v1/push",
                Some((
                    Some("http://mimir/prometheus/api/v1/read"),
                    "http://mimir/prometheus/api/v1/query",
                )),
            ),
            ("http://thanos/api/v1/receive", None),
        ] {
            let found = ReadUrls::of(&write.parse().unwrap());
            let found = found
                .as_ref()
                .map(|urls| (urls.read.as_ref().map(Url::as_str), urls.query.as_str()));
            assert_eq!(found, expected, "{write}");
        }
    }

    #[test]
    fn a_query_names_as_many_metrics_as_its_answer_may_hold() {
        let metrics = [("a", 5), ("b", 5), ("c", 1), ("d", 100), ("e", 1)];
        assert_eq!(
            groups(&metrics, 10),
            [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]
        );
        assert_eq!(groups(&[], 10), Vec::<Vec<&str>>::new());
    }
}
