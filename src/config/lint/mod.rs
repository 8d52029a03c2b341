//! Slips that load and still do the wrong thing. A warning is given only where it is certainly
//! true.

mod credentials;
mod findings;
mod job;
mod pasted;
mod remote;
mod selector;

use credentials::has_credentials;
use findings::Findings;
use job::lint_job;
use pasted::lint_pasted;
use remote::{is_amp, lint_encryption, lint_queue, lint_url};

use super::http::{Auth, HttpConfig};
use super::model::Config;
use super::naming::NameValidation;
use super::problem::Problem;
use super::reader::Positions;

/// Largest request body that AMP takes, in bytes.
const AMP_MAX_REQUEST_BYTES: usize = 1_000_000;

/// Looks for slips in a valid configuration.
pub(super) fn lint(config: &Config, positions: &Positions) -> Vec<Problem> {
    let mut findings = Findings {
        positions,
        warnings: Vec::new(),
    };
    lint_replica_labels(config, &mut findings);
    lint_pasted(config, &mut findings);
    let has_amp = config
        .remote_write
        .iter()
        .any(|remote| is_amp(remote) && remote.sigv4.is_some());
    for (i, job) in config.scrape_configs.iter().enumerate() {
        let path = format!("scrape_configs[{i}]");
        lint_job(job, &path, &mut findings);
        if has_amp && job.naming.validation == NameValidation::Utf8 {
            findings.add(
                &format!("{path}.metric_name_validation_scheme"),
                "UTF-8 names are taken: AMP refuses a request that holds a name with anything \
                 but letters, digits and underscores",
                "write metric_name_validation_scheme: legacy",
            );
        }
        lint_http(&job.http, &path, &mut findings);
        if job.scheme == "http" && has_credentials(&job.http) {
            findings.add(
                &format!("{path}.scheme"),
                "found http with credentials: anybody on the way can read them",
                "write scheme: https",
            );
        }
    }
    for (i, remote) in config.remote_write.iter().enumerate() {
        let path = format!("remote_write[{i}]");
        lint_queue(remote, &path, &mut findings);
        lint_url(remote, &path, &mut findings);
        lint_http(&remote.http, &path, &mut findings);
        lint_encryption(remote, &path, &mut findings);
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

/// AMP removes the duplicates of two replicas only by these two labels together.
fn lint_replica_labels(config: &Config, findings: &mut Findings<'_>) {
    const CLUSTER: &str = "cluster";
    const REPLICA: &str = "__replica__";
    let labels = &config.global.external_labels;
    for (has, lacks, fix) in [
        (
            CLUSTER,
            REPLICA,
            "add __replica__ when two forwarders send the same series, \
             else leave cluster as it is",
        ),
        (REPLICA, CLUSTER, "add cluster, the same for all replicas"),
    ] {
        if labels.contains_key(has) && !labels.contains_key(lacks) {
            findings.add(
                &format!("global.external_labels.{has}"),
                format!(
                    "found {has} without {lacks}: AMP deduplicates only series that carry both"
                ),
                fix,
            );
        }
    }
}

fn lint_http(http: &HttpConfig, path: &str, findings: &mut Findings<'_>) {
    let mut tls = vec![(&http.tls, format!("{path}.tls_config"))];
    if let Some(Auth::OAuth2(oauth2)) = &http.auth {
        tls.push((&oauth2.tls, format!("{path}.oauth2.tls_config")));
    }
    if let Some(Auth::OAuth2(oauth2)) = &http.auth
        && oauth2.token_url.scheme() == "http"
    {
        findings.add(
            &format!("{path}.oauth2.token_url"),
            "found http: anybody on the way can read the client's secret and the tokens",
            "write https",
        );
    }
    for (tls, path) in tls {
        if tls.insecure_skip_verify {
            findings.add(
                &format!("{path}.insecure_skip_verify"),
                "INSECURE: the server's certificate is not verified: anybody on the way can \
                 pose as the server, read the credentials and change the samples",
                "put the certificate of the server's authority, or the server's own, into ca_file, \
                 and a name that it holds into server_name",
            );
        }
    }
}
