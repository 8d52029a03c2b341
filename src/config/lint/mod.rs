//! Slips that load and still do the wrong thing. Each warning is true whenever it is given.

mod findings;
mod job;
mod remote;
mod selector;

use findings::Findings;
use job::lint_job;
use remote::{is_amp, lint_queue, lint_url};

use super::http::{Auth, HttpConfig};
use super::model::Config;
use super::naming::NameValidation;
use super::problem::Problem;
use super::reader::Positions;

/// AMP's limit for a request body.
const AMP_MAX_REQUEST_BYTES: usize = 1_000_000;

pub(super) fn lint(config: &Config, places: &Positions) -> Vec<Problem> {
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
