//! Slips in a remote.

use std::time::Duration;

use super::credentials::{has_credentials, is_credential};
use super::findings::Findings;
use crate::config::model::{QueueConfig, RemoteWrite, SigV4};
use crate::config::problem::shown;
use crate::config::units::format_duration;

/// Age from which AMP refuses samples.
const AMP_MAX_AGE: Duration = Duration::from_secs(3600);

/// Looks for slips in a remote's queue.
pub(super) fn lint_queue(remote: &RemoteWrite, path: &str, findings: &mut Findings<'_>) {
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

/// Looks for slips in a remote's address and signature.
pub(super) fn lint_url(remote: &RemoteWrite, path: &str, findings: &mut Findings<'_>) {
    let url_path = format!("{path}.url");
    let is_amp = is_amp(remote);
    let text = remote.url.path();
    if is_amp && !text.trim_end_matches('/').ends_with("/api/v1/remote_write") {
        findings.add(
            &url_path,
            format!("found the path {}, which takes no samples", shown(text)),
            "write /workspaces/<id>/api/v1/remote_write",
        );
    }
    if !is_amp {
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
    lint_signature(remote, sigv4, path, findings);
    let tenants = remote
        .headers
        .keys()
        .filter(|name| name.eq_ignore_ascii_case("x-scope-orgid"));
    for name in tenants {
        findings.add(
            &format!("{path}.headers.{name}"),
            "AMP refuses requests with X-Scope-OrgID",
            "remove it: the workspace is in the URL",
        );
    }
}

/// Looks for credentials and samples that travel unencrypted. A token may also be in the headers or
/// the address.
pub(super) fn lint_encryption(remote: &RemoteWrite, path: &str, findings: &mut Findings<'_>) {
    if remote.url.scheme() != "http" {
        return;
    }
    let has_credentials = remote.sigv4.is_some()
        || has_credentials(&remote.http)
        || remote.headers.keys().any(|name| is_credential(name))
        || !remote.url.username().is_empty()
        || remote
            .url
            .query_pairs()
            .any(|(name, _)| is_credential(&name));
    let message = if has_credentials {
        "found http with credentials: anybody on the way can read them, and the samples"
    } else if is_amp(remote) {
        "found http: samples travel unencrypted"
    } else {
        return;
    };
    findings.add(&format!("{path}.url"), message, "write https");
}

/// Looks for slips in the signature of requests to AMP.
fn lint_signature(remote: &RemoteWrite, sigv4: &SigV4, path: &str, findings: &mut Findings<'_>) {
    if let (Some(region), Some(signed)) = (remote.amp_region(), &sigv4.region)
        && region != signed
    {
        let message = format!(
            "found the region {}, but the URL is in {}: AMP answers 403",
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
            "found {}: requests to AMP must be signed for aps, or it answers 403",
            shown(&sigv4.service_name)
        );
        findings.add(
            &format!("{path}.sigv4.service_name"),
            message,
            "remove the key",
        );
    }
}

/// Whether the remote is an AMP workspace.
pub(super) fn is_amp(remote: &RemoteWrite) -> bool {
    remote.amp_region().is_some()
}
