//! Slips that load and still do the wrong thing. Each warning is true whenever it is given.

use std::time::Duration;

use super::http::{Auth, HttpConfig};
use super::model::{Config, QueueConfig, RemoteWrite, Scheme, ScrapeConfig};
use super::naming::NameValidation;
use super::problem::{Problem, shown};
use super::reader::Places;
use super::target::Populated;
use super::units::format_duration;

/// AMP's limit for a request body.
const AMP_MAX_REQUEST_BYTES: usize = 1_000_000;
/// AMP refuses older samples.
const AMP_MAX_AGE: Duration = Duration::from_secs(3600);

struct Findings<'a> {
    places: &'a Places,
    warnings: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        let (line, column) = self.places.of(path);
        self.warnings.push(Problem {
            line,
            column,
            path: path.into(),
            message: message.into(),
            fix: fix.into(),
        });
    }
}

pub(super) fn lint(config: &Config, places: &Places) -> Vec<Problem> {
    let mut findings = Findings {
        places,
        warnings: Vec::new(),
    };
    let labels = &config.global.external_labels;
    for (has, lacks, why) in [
        (
            "cluster",
            "__replica__",
            "AMP deduplicates only series that carry both",
        ),
        (
            "__replica__",
            "cluster",
            "AMP deduplicates only series that carry both",
        ),
    ] {
        if labels.contains_key(has) && !labels.contains_key(lacks) {
            let message = format!("found {has} without {lacks}: {why}");
            let fix = if has == "cluster" {
                "add __replica__ when two forwarders send the same series, else leave cluster as it is".to_owned()
            } else {
                "add cluster, the same for all replicas".to_owned()
            };
            findings.add(&format!("global.external_labels.{has}"), message, fix);
        }
    }
    let amp = config
        .remote_write
        .iter()
        .any(|remote| is_amp(remote) && remote.sigv4.is_some());
    for (i, job) in config.scrape_configs.iter().enumerate() {
        let path = format!("scrape_configs[{i}]");
        lint_job(job, &path, &mut findings);
        if amp && job.naming.validation == NameValidation::Utf8 {
            let message = "UTF-8 names are taken: AMP refuses a request with a name beyond letters, digits and underscores";
            findings.add(
                &format!("{path}.metric_name_validation_scheme"),
                message,
                "write metric_name_validation_scheme: legacy",
            );
        }
        lint_http(&job.http, &path, &mut findings);
    }
    for (i, remote) in config.remote_write.iter().enumerate() {
        let path = format!("remote_write[{i}]");
        lint_queue(remote, &path, &mut findings);
        lint_url(remote, &path, &mut findings);
        lint_http(&remote.http, &path, &mut findings);
        if is_amp(remote) && config.forwarder.max_request_bytes > AMP_MAX_REQUEST_BYTES {
            findings.add(
                "forwarder.max_request_bytes",
                format!(
                    "found {}: AMP answers 413 to a request above 1 MB",
                    config.forwarder.max_request_bytes
                ),
                "lower it to 1000000, or remove the key",
            );
        }
    }
    findings.warnings
}

fn lint_job(job: &ScrapeConfig, path: &str, findings: &mut Findings<'_>) {
    if job
        .static_configs
        .iter()
        .all(|group| group.targets.is_empty())
    {
        findings.add(
            &format!("{path}.static_configs"),
            "found no target: the job scrapes nothing",
            "add targets: [host:port]",
        );
    }
    let mut kept = 0;
    for (g, group) in job.static_configs.iter().enumerate() {
        for (t, target) in group.targets.iter().enumerate() {
            let Ok(Some(Populated {
                address: target, ..
            })) = job.populate(target, &group.labels)
            else {
                continue;
            };
            kept += 1;
            let url = format!("{}://{target}/", job.scheme.as_str());
            let address = url::Url::parse(&url).ok();
            if !address.is_some_and(|url| {
                url.path() == "/"
                    && url.query().is_none()
                    && url.fragment().is_none()
                    && url.username().is_empty()
            }) {
                let path = format!("{path}.static_configs[{g}].targets[{t}]");
                findings.add(
                    &path,
                    "found no address that can be reached",
                    "write host:port",
                );
            }
        }
    }
    if kept == 0
        && job
            .static_configs
            .iter()
            .any(|group| !group.targets.is_empty())
    {
        findings.add(
            &format!("{path}.relabel_configs"),
            "found rules that drop each target: the job scrapes nothing",
            "keep one",
        );
    }
    if let Some((before, query)) = job.metrics_path.split_once('?') {
        let message = if query.contains("match") {
            "found a ? in the path, where it is escaped: the selectors never arrive"
        } else {
            "found a ? in the path, where it is escaped"
        };
        findings.add(
            &format!("{path}.metrics_path"),
            message,
            format!("write metrics_path: {before} and put the rest into params"),
        );
    }
    if let Some(selectors) = job.params.get("match[]") {
        for (i, selector) in selectors.iter().enumerate() {
            lint_selector(selector, &format!("{path}.params.match[][{i}]"), findings);
        }
    }
    if job
        .metrics_path
        .trim_end_matches('/')
        .ends_with("/federate")
    {
        lint_federate(job, path, findings);
    }
}

fn lint_http(http: &HttpConfig, path: &str, findings: &mut Findings<'_>) {
    let mut tls = vec![(&http.tls, format!("{path}.tls_config"))];
    if let Some(Auth::OAuth2(oauth2)) = &http.auth {
        tls.push((&oauth2.tls, format!("{path}.oauth2.tls_config")));
    }
    for (tls, path) in tls {
        if tls.insecure_skip_verify {
            findings.add(
                &format!("{path}.insecure_skip_verify"),
                "INSECURE: the server's certificate is not verified: anybody on the way can pose as the server, read the credentials and change the samples",
                "name the server's own authority, or its very certificate, in ca_file, and a name that it has in server_name",
            );
        }
    }
}

fn lint_federate(job: &ScrapeConfig, path: &str, findings: &mut Findings<'_>) {
    if job.params.get("match[]").is_none_or(Vec::is_empty) {
        let fix = match job.params.keys().find(|key| key.starts_with("match")) {
            Some(key) => format!("write 'match[]' in place of {}", shown(key)),
            None => "add params: {'match[]': ['{job=~\".+\"}']}".to_owned(),
        };
        findings.add(
            &format!("{path}.params"),
            "found no match[]: /federate answers with nothing at all",
            fix,
        );
    }
    if !job.honor_labels {
        findings.add(
            &format!("{path}.honor_labels"),
            "honor_labels is false on /federate: job and instance of the home become exported_job and exported_instance",
            "write honor_labels: true",
        );
    }
    if !job.honor_timestamps {
        findings.add(
            &format!("{path}.honor_timestamps"),
            "honor_timestamps is false on /federate: each scrape makes new samples of values that have not changed, and each is billed",
            "remove the key",
        );
    }
}

/// `{job=".+"}`: an equality where a regular expression was meant.
fn lint_selector(selector: &str, path: &str, findings: &mut Findings<'_>) {
    for matcher in matchers(selector) {
        let regex = [".+", ".*", "|"]
            .iter()
            .any(|part| matcher.value.contains(part));
        if regex && matcher.operator == "=" {
            let message = format!(
                "found {}={}: an equality, only for the very text {}",
                matcher.name,
                shown(matcher.value),
                shown(matcher.value)
            );
            findings.add(
                path,
                message,
                format!(
                    "for a regular expression write {}=~{}",
                    matcher.name,
                    shown(matcher.value)
                ),
            );
        } else if regex && matcher.operator == "!=" {
            let message = format!(
                "found {}!={}: excludes only the very text {}",
                matcher.name,
                shown(matcher.value),
                shown(matcher.value)
            );
            findings.add(
                path,
                message,
                format!(
                    "for a regular expression write {}!~{}",
                    matcher.name,
                    shown(matcher.value)
                ),
            );
        }
    }
}

struct Matcher<'a> {
    name: &'a str,
    operator: &'a str,
    value: &'a str,
}

/// The `name operator "value"` parts of a selector; what is no matcher is passed over.
fn matchers(selector: &str) -> Vec<Matcher<'_>> {
    let mut found = Vec::new();
    let mut rest = selector;
    let mut before = selector;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let head = &before[..before.len() - rest.len() + start];
        let quote = &rest[start..=start];
        let body = &rest[start + 1..];
        let Some(end) = closing(body, quote) else {
            break;
        };
        let head = head.trim_end();
        let name = head.trim_end_matches(['=', '!', '~']);
        let operator = &head[name.len()..];
        let name = name.trim_end();
        let name = &name[name.rfind(['{', ',']).map_or(0, |at| at + 1)..];
        found.push(Matcher {
            name: name.trim(),
            operator,
            value: &body[..end],
        });
        rest = &body[end + 1..];
        before = rest;
    }
    found
}

/// Where a string ends; back-quoted ones know no escapes.
fn closing(body: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    body.bytes().position(|byte| {
        let ends = !escaped && [byte] == quote.as_bytes();
        escaped = byte == b'\\' && !escaped && quote != "`";
        ends
    })
}

fn lint_queue(remote: &RemoteWrite, path: &str, findings: &mut Findings<'_>) {
    let queue = &remote.queue;
    if queue.capacity < queue.max_samples_per_send {
        let message = format!(
            "capacity {} is below max_samples_per_send {}: no batch is larger than {}",
            queue.capacity, queue.max_samples_per_send, queue.capacity
        );
        let key = if queue.capacity == QueueConfig::defaults(false).capacity {
            "max_samples_per_send"
        } else {
            "capacity"
        };
        findings.add(
            &format!("{path}.queue_config.{key}"),
            message,
            "make capacity a few times max_samples_per_send",
        );
    }
    if is_amp(remote)
        && remote.sigv4.is_some()
        && queue
            .sample_age_limit
            .is_none_or(|limit| limit > AMP_MAX_AGE)
    {
        let found = queue
            .sample_age_limit
            .map_or("0s, which is no limit".to_owned(), format_duration);
        let message = format!("found {found}: AMP refuses samples older than 1h");
        findings.add(
            &format!("{path}.queue_config.sample_age_limit"),
            message,
            "remove the key: 55m is the default with sigv4",
        );
    }
}

fn lint_url(remote: &RemoteWrite, path: &str, findings: &mut Findings<'_>) {
    let url_path = format!("{path}.url");
    let text = remote.url.path();
    let amp = is_amp(remote);
    if amp || remote.sigv4.is_some() {
        if text.ends_with("/remote_write/") {
            findings.add(
                &url_path,
                "found a slash after remote_write: AMP answers 403",
                "remove the slash",
            );
        } else if amp && !text.ends_with("/api/v1/remote_write") {
            let message = format!("found the path {}, which takes no samples", shown(text));
            findings.add(
                &url_path,
                message,
                "write /workspaces/<id>/api/v1/remote_write",
            );
        }
    }
    if !amp {
        return;
    }
    let Some(sigv4) = &remote.sigv4 else {
        findings.add(
            &url_path,
            "found no sigv4: AMP answers 403 to a request that is not signed",
            "add sigv4: {region: <region>} to the entry",
        );
        return;
    };
    if let (Some(region), Some(signed)) = (remote.amp_region(), &sigv4.region)
        && region != signed
    {
        let message = format!(
            "found the region {} beside a URL in {}: AMP answers 403",
            shown(signed),
            shown(region)
        );
        findings.add(
            &format!("{path}.sigv4.region"),
            message,
            format!("write region: {region}, or correct the URL"),
        );
    }
    if sigv4.service_name != "aps" {
        let message = format!(
            "found {}: AMP is signed for aps and answers 403",
            shown(&sigv4.service_name)
        );
        findings.add(
            &format!("{path}.sigv4.service_name"),
            message,
            "remove the key",
        );
    }
    for name in remote
        .headers
        .keys()
        .filter(|name| name.eq_ignore_ascii_case("x-scope-orgid"))
    {
        findings.add(
            &format!("{path}.headers.{name}"),
            "AMP refuses requests with X-Scope-OrgID",
            "remove it: the workspace is in the URL",
        );
    }
    if remote.url.scheme() == Scheme::Http.as_str() {
        findings.add(
            &url_path,
            "found http: samples travel unencrypted",
            "write https",
        );
    }
}

fn is_amp(remote: &RemoteWrite) -> bool {
    remote.amp_region().is_some()
}
