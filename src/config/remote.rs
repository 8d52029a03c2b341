//! `remote_write`: addresses, headers and signatures of remotes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::http::{auth_name, read_http};
use super::keys::{REMOTE, SIGV4};
use super::metadata::read_metadata_config;
use super::model::{RemoteWrite, SigV4, amp_region};
use super::problem::{PLACEHOLDER, shown};
use super::queue::read_queue;
use super::reader::{Reader, Section, StringKind};
use super::rules::read_rules;
use super::yaml::Node;

const RULES: &str = "write_relabel_configs";

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

/// Reads all remotes.
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
        let line = reader.positions.of(&path).line;
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
                    "found the same url with the same write_relabel_configs in an entry without a \
                     name"
                        .to_owned(),
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
    label(&mut remotes);
    remotes
}

/// Names the entries for people. Where host and workspace are those of another entry without a
/// name, or the name of one, the hash tells them apart.
fn label(remotes: &mut [RemoteWrite]) {
    let short: Vec<_> = remotes
        .iter()
        .map(|remote| remote.name.clone().unwrap_or_else(|| address(&remote.url)))
        .collect();
    for (remote, label) in remotes.iter_mut().zip(&short) {
        let is_unique = short.iter().filter(|other| *other == label).count() == 1;
        remote.label = if is_unique || remote.name.is_some() {
            label.clone()
        } else {
            format!("{label} {}", remote.unnamed_id)
        };
    }
}

/// Host and port of a URL, and the workspace if it is one of AMP.
fn address(url: &Url) -> String {
    let mut address = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        address.push_str(&format!(":{port}"));
    }
    let mut parts = url.path().split('/');
    if parts.by_ref().any(|part| part == "workspaces")
        && let Some(workspace) = parts.next().filter(|part| !part.is_empty())
    {
        address.push_str(&format!("/{workspace}"));
    }
    address
}

// config/config.go RemoteWriteConfig.UnmarshalYAML
fn read_entry(reader: &mut Reader<'_>, node: &Node, path: String) -> Option<RemoteWrite> {
    let section = reader.section(node, path, &REMOTE);
    let mut url = read_url(reader, &section);
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
    let mut sigv4 = read_sigv4(reader, &section);
    let unnamed_id = url.as_ref().map(|url| unnamed_id(url, section.node(RULES)));
    if let (Some(sigv4), Some(url)) = (&mut sigv4, &mut url) {
        if sigv4.region.is_none() {
            sigv4.region = amp_region(url).map(str::to_owned);
        }
        clean_path(url);
    }
    let write_relabel_configs = read_rules(
        reader,
        &section,
        RULES,
        "relabeling rule in remote write config",
    );
    let http = read_http(reader, &section);
    if let (Some(auth), Some(_)) = (&http.auth, &sigv4) {
        // config/config.go validateAuthConfigs
        let message = format!(
            "at most one of basic_auth, authorization, oauth2, or sigv4 must be configured. \
             Currently configured: [{} sigv4]",
            auth_name(auth)
        );
        reader.error_at(
            &section.path_of("sigv4"),
            message,
            "remove all but one; AMP takes sigv4",
        );
    }
    let queue = read_queue(reader, &section, sigv4.is_some());
    let name = reader.filled_string(&section, "name", StringKind::Plain);
    let send_native_histograms = reader
        .boolean(&section, "send_native_histograms")
        .unwrap_or(false);
    let metadata = read_metadata_config(reader, &section);
    Some(RemoteWrite {
        name,
        unnamed_id: unnamed_id?,
        label: String::new(),
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

/// The name of an entry without a name. Its rules count as they are written.
fn unnamed_id(url: &Url, rules: Option<&Node>) -> String {
    let mut text = url.as_str().to_owned();
    if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
        text.push(' ');
        rules.describe(&mut text);
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// Cleans the path of a URL whose requests are signed, as Prometheus does before it signs: no empty
/// segment, and no slash at the end. // sigv4 sigv4.go RoundTrip, Go path.Clean
fn clean_path(url: &mut Url) {
    let segments: Vec<_> = url
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let path = format!("/{}", segments.join("/"));
    url.set_path(&path);
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
                "the URL of AMP is \
                 https://aps-workspaces.<region>.amazonaws.com/workspaces/<id>/api/v1/remote_write",
            );
        }
        return None;
    };
    if text.contains(PLACEHOLDER) {
        reader.error_at(
            &path,
            format!("found the placeholder {PLACEHOLDER}"),
            "write the id of the workspace; aws amp list-workspaces shows it",
        );
    }
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
        reader.refuse_at(
            &path,
            vec![section.path.clone()],
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
            reader.error_at(
                &path,
                "authorization header must be changed via the basic_auth, authorization, \
                 oauth2, or sigv4 parameter",
                "remove it",
            );
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

// sigv4 sigv4_config.go Validate
fn read_sigv4(reader: &mut Reader<'_>, remote: &Section<'_>) -> Option<SigV4> {
    if reader.is_empty(remote, "sigv4") {
        reader.warn_at(
            &remote.path_of("sigv4"),
            "found nothing under sigv4: requests are not signed, as in Prometheus",
            "write sigv4: {} to sign with the defaults",
        );
    }
    let section = &reader.subsection(remote, "sigv4", &SIGV4)?;
    let before = reader.problems.len();
    let secret_key = reader.secret(section, "secret_key");
    let mut given = |key, kind| reader.filled_string(section, key, kind);
    let mut sigv4 = SigV4 {
        region: given("region", StringKind::Plain),
        access_key: given("access_key", StringKind::Hidden),
        secret_key,
        profile: given("profile", StringKind::Plain),
        role_arn: given("role_arn", StringKind::Plain),
        external_id: given("external_id", StringKind::Hidden),
        use_fips_sts_endpoint: false,
        service_name: given("service_name", StringKind::Plain).unwrap_or_else(|| "aps".into()),
        site_role_arn: None,
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
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified \
                 in the SigV4 config: found {found} without {missing}"
            ),
            "give both or none; with none, the role of the function, the environment or the \
             profile is used",
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
