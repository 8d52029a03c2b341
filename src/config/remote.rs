//! `remote_write`: where samples go, the queue before it, and the signature.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::http::{auth_name, read_http};
use super::keys::{QUEUE, REMOTE, SIGV4};
use super::metadata::read_metadata_config;
use super::model::{QueueConfig, RemoteWrite, SigV4};
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::rules::read_rules;
use super::yaml::Node;

/// Samples this old are not sent to AMP, which refuses them from an hour on.
const AMP_SAMPLE_AGE_LIMIT: Duration = Duration::from_secs(55 * 60);
// config/config.go DefaultRemoteWriteConfig
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

// config/config.go reservedHeaders
const RESERVED_HEADERS: [&str; 16] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

pub(super) fn read_remote_write(reader: &mut Reader<'_>, root: &Section<'_>) -> Vec<RemoteWrite> {
    let items = reader.list(root, "remote_write");
    if items.is_empty()
        && !reader
            .problems
            .iter()
            .any(|problem| problem.path == "remote_write")
    {
        reader.error_at(
            "remote_write",
            "found no receiver, expected at least one",
            "add the remote write URL of the AMP workspace, with sigv4",
        );
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut remotes = Vec::new();
    for (node, path) in items {
        if node.is_null() {
            reader.error_at(
                &path,
                "empty or null remote write config section",
                "remove the dash or fill the entry in",
            );
            continue;
        }
        let Some(remote) = read_entry(reader, node, path.clone()) else {
            continue;
        };
        let (line, _) = reader.places.of(&path);
        if let Some(first) = seen.insert(remote.id(), line) {
            // Prometheus refuses two equal entries when it applies the configuration.
            let (key, message) = match &remote.name {
                Some(name) => (
                    "name",
                    format!(
                        "found multiple remote write configs with job name {}",
                        shown(name)
                    ),
                ),
                None => (
                    "url",
                    "found the same url in an entry without a name".to_owned(),
                ),
            };
            reader.error_at(
                &format!("{path}.{key}"),
                format!("{message}; the other is on line {first}"),
                "give each entry a name of its own",
            );
        }
        remotes.push(remote);
    }
    remotes
}

// config/config.go RemoteWriteConfig.UnmarshalYAML
fn read_entry(reader: &mut Reader<'_>, node: &Node, path: String) -> Option<RemoteWrite> {
    let section = reader.section(node, path, &REMOTE);
    let url = read_url(reader, &section);
    let remote_timeout = reader
        .duration(&section, "remote_timeout")
        .unwrap_or(REMOTE_TIMEOUT);
    if remote_timeout.is_zero() {
        reader.error_at(
            &section.path_of("remote_timeout"),
            "found 0, expected a duration above 0",
            "",
        );
    }
    let headers = reader.string_map(&section, "headers", StringKind::Hidden);
    check_headers(reader, &section.path_of("headers"), &headers);
    if reader.is_empty(&section, "sigv4") {
        let path = section.path_of("sigv4");
        let at = reader.places.of(&path);
        reader.warn(
            at,
            &path,
            "found nothing under sigv4: requests are not signed, as in Prometheus",
            "write sigv4: {} to sign with the defaults",
        );
    }
    let sigv4 = reader.entry(&section, "sigv4").and_then(|entry| {
        let path = section.path_of("sigv4");
        let section = reader.section(&entry.value, path, &SIGV4);
        read_sigv4(reader, &section)
    });
    let write_relabel_configs = read_rules(
        reader,
        &section,
        "write_relabel_configs",
        "relabeling rule in remote write config",
    );
    let http = read_http(reader, &section);
    if let (Some(auth), Some(_)) = (&http.auth, &sigv4) {
        // config/config.go validateAuthConfigs
        let message = format!(
            "at most one of basic_auth, authorization, oauth2, or sigv4 must be configured. Currently configured: [{} sigv4]",
            auth_name(auth)
        );
        reader.error_at(
            &section.path_of("sigv4"),
            message,
            "remove all but one; AMP takes sigv4",
        );
    }
    let queue_node = reader
        .entry(&section, "queue_config")
        .map(|entry| &entry.value);
    let queue = read_queue(
        reader,
        queue_node,
        section.path_of("queue_config"),
        sigv4.is_some(),
    );
    let name = reader
        .string(&section, "name", StringKind::Plain)
        .filter(|name| !name.is_empty());
    let send_native_histograms = reader
        .boolean(&section, "send_native_histograms")
        .unwrap_or(false);
    let metadata = read_metadata_config(reader, &section);
    Some(RemoteWrite {
        name,
        url: url?,
        remote_timeout,
        headers,
        write_relabel_configs,
        queue,
        metadata,
        sigv4,
        send_native_histograms,
        http,
    })
}

fn read_url(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Url> {
    let path = section.path_of("url");
    let before = reader.problems.len();
    // Never shown: it may hold a password.
    let text = reader.string(section, "url", StringKind::Hidden);
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        if reader.problems.len() == before {
            reader.error_at(
                &path,
                "url for remote_write is empty",
                "AMP's is https://aps-workspaces.<region>.amazonaws.com/workspaces/<id>/api/v1/remote_write",
            );
        }
        return None;
    };
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(error) => {
            reader.error_at(
                &path,
                format!("found no valid URL: {error}"),
                "write https://host/path",
            );
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        reader.error_at(
            &path,
            format!(
                "found the scheme {}, expected http or https",
                shown(url.scheme())
            ),
            "write https://host/path",
        );
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        reader.error_at(
            &path,
            "found credentials in the URL, which are not supported",
            "write them under basic_auth",
        );
        return None;
    }
    Some(url)
}

// config/config.go validateHeaders
fn check_headers(reader: &mut Reader<'_>, path: &str, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        let path = format!("{path}.{name}");
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            reader.error_at(&path, "authorization header must be changed via the basic_auth, authorization, oauth2, or sigv4 parameter", "remove it");
        } else if RESERVED_HEADERS.contains(&lower.as_str()) {
            reader.error_at(
                &path,
                format!(
                    "{} is a reserved header. It must not be changed",
                    shown(name)
                ),
                "remove it",
            );
        } else if HeaderName::from_bytes(name.as_bytes()).is_err() {
            reader.error_at(
                &path,
                format!("found {}, expected the name of a header", shown(name)),
                "letters, digits and dashes",
            );
        } else if HeaderValue::from_str(value).is_err() {
            reader.error_at(
                &path,
                "found control characters in the value of a header",
                "remove line breaks",
            );
        }
    }
}

fn read_queue(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    path: String,
    signed: bool,
) -> QueueConfig {
    let mut queue = QueueConfig::defaults(signed);
    let Some(node) = node else {
        return queue;
    };
    let section = reader.section(node, path, &QUEUE);
    for (key, field) in [
        ("capacity", &mut queue.capacity),
        ("max_shards", &mut queue.max_shards),
        ("min_shards", &mut queue.min_shards),
        ("max_samples_per_send", &mut queue.max_samples_per_send),
    ] {
        let Some(count) = reader.count(&section, key) else {
            continue;
        };
        match usize::try_from(count) {
            Ok(count) if count > 0 => *field = count,
            _ => reader.error_at(
                &section.path_of(key),
                format!("found {count}, expected a number from 1"),
                "remove the key for the default",
            ),
        }
    }
    if queue.min_shards > queue.max_shards {
        reader.error_at(
            &section.path_of("min_shards"),
            format!(
                "found {}, expected at most max_shards, which is {}",
                queue.min_shards, queue.max_shards
            ),
            "lower it, or raise max_shards",
        );
    }
    for (key, field) in [
        ("batch_send_deadline", &mut queue.batch_send_deadline),
        ("min_backoff", &mut queue.min_backoff),
        ("max_backoff", &mut queue.max_backoff),
    ] {
        if let Some(duration) = reader.duration(&section, key) {
            *field = duration;
        }
    }
    if queue.min_backoff.is_zero() {
        reader.error_at(
            &section.path_of("min_backoff"),
            "found 0, expected a duration above 0",
            "retries would not pause at all",
        );
    } else if queue.max_backoff < queue.min_backoff {
        reader.error_at(
            &section.path_of("max_backoff"),
            format!(
                "found {:?}, expected at least min_backoff, which is {:?}",
                queue.max_backoff, queue.min_backoff
            ),
            "raise it, or lower min_backoff",
        );
    }
    if let Some(retry) = reader.boolean(&section, "retry_on_http_429") {
        queue.retry_on_http_429 = retry;
    }
    if let Some(limit) = reader.duration(&section, "sample_age_limit") {
        queue.sample_age_limit = (!limit.is_zero()).then_some(limit);
    }
    queue
}

impl QueueConfig {
    /// Prometheus' defaults; for a signed remote, an AMP workspace, with what suits that. //
    /// config/config.go DefaultQueueConfig
    #[must_use]
    pub fn defaults(signed: bool) -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: signed,
            sample_age_limit: signed.then_some(AMP_SAMPLE_AGE_LIMIT),
        }
    }
}

// sigv4 sigv4_config.go Validate
fn read_sigv4(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SigV4> {
    let before = reader.problems.len();
    let secret_key = reader.secret(section, "secret_key");
    let mut given = |key, kind| {
        reader
            .string(section, key, kind)
            .filter(|text| !text.is_empty())
    };
    let mut sigv4 = SigV4 {
        region: given("region", StringKind::Plain),
        access_key: given("access_key", StringKind::Hidden),
        secret_key,
        profile: given("profile", StringKind::Plain),
        role_arn: given("role_arn", StringKind::Plain),
        external_id: given("external_id", StringKind::Hidden),
        use_fips_sts_endpoint: false,
        service_name: given("service_name", StringKind::Plain).unwrap_or_else(|| "aps".into()),
    };
    sigv4.use_fips_sts_endpoint = reader
        .boolean(section, "use_fips_sts_endpoint")
        .unwrap_or(false);
    if reader.problems.len() > before {
        return Some(sigv4);
    }
    if sigv4.access_key.is_some() != sigv4.secret_key.is_some() {
        let (found, missing) = if sigv4.access_key.is_some() {
            ("access_key", "secret_key")
        } else {
            ("secret_key", "access_key")
        };
        reader.error_at(
            &section.path_of(found),
            format!(
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config: found {found} without {missing}"
            ),
            "give both, or none: then the role of the function, the environment or the profile is used",
        );
    }
    if sigv4.external_id.is_some() && sigv4.role_arn.is_none() {
        reader.error_at(
            &section.path_of("external_id"),
            "external_id can only be used with role_arn",
            "add role_arn, or remove it",
        );
    }
    Some(sigv4)
}
