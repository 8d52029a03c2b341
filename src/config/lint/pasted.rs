//! Slips of configurations that were copied from elsewhere.

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::config::effective::HIDDEN;
use crate::config::http::{Auth, HttpConfig};
use crate::config::model::Config;
use crate::config::problem::shown;
use crate::config::secret::SecretSource;
use crate::relabel::{Rule, apply_to_map};

/// Looks for such slips in the whole configuration.
pub(super) fn lint_pasted(config: &Config, findings: &mut Findings<'_>) {
    let labels = &config.global.external_labels;
    lint_labels(labels, "global.external_labels", findings);
    for (i, job) in config.scrape_configs.iter().enumerate() {
        let path = format!("scrape_configs[{i}]");
        lint_secrets(&job.http, &path, findings);
        for (g, group) in job.static_configs.iter().enumerate() {
            let path = format!("{path}.static_configs[{g}].labels");
            lint_labels(&group.labels, &path, findings);
        }
        lint_names(
            &job.metric_relabel_configs,
            &format!("{path}.metric_relabel_configs"),
            "a scrape with such a series fails",
            findings,
        );
    }
    for (i, remote) in config.remote_write.iter().enumerate() {
        let path = format!("remote_write[{i}]");
        lint_secrets(&remote.http, &path, findings);
        let sigv4 = remote.sigv4.as_ref();
        let key = sigv4.and_then(|sigv4| sigv4.secret_key.as_ref());
        lint_secret(key, &format!("{path}.sigv4.secret_key"), findings);
        lint_names(
            &remote.write_relabel_configs,
            &format!("{path}.write_relabel_configs"),
            "receivers refuse a series without a name",
            findings,
        );
    }
}

/// Looks for secrets that were copied from Prometheus' page /config, which hides them.
fn lint_secrets(http: &HttpConfig, path: &str, findings: &mut Findings<'_>) {
    let mut secrets: Vec<(&str, Option<&SecretSource>)> = Vec::new();
    match &http.auth {
        None => {}
        Some(Auth::Basic { password, .. }) => {
            secrets.push(("basic_auth.password", password.as_ref()));
        }
        Some(Auth::Authorization { credentials, .. }) => {
            secrets.push(("authorization.credentials", credentials.as_ref()));
        }
        Some(Auth::OAuth2(oauth2)) => {
            secrets.push(("oauth2.client_secret", oauth2.client_secret.as_ref()));
        }
    }
    for (key, secret) in secrets {
        lint_secret(secret, &format!("{path}.{key}"), findings);
    }
}

/// Looks at one secret.
fn lint_secret(secret: Option<&SecretSource>, path: &str, findings: &mut Findings<'_>) {
    let text = secret.and_then(SecretSource::constant);
    if text.is_some_and(|text| text.expose() == HIDDEN) {
        findings.add(
            path,
            "found <secret>, which is how Prometheus' page /config hides the secret itself",
            "write the secret, ${ssm:name} or ${secretsmanager:id}",
        );
    }
}

/// Looks for variables of Kubernetes, which nothing fills in here.
fn lint_labels(labels: &BTreeMap<String, String>, path: &str, findings: &mut Findings<'_>) {
    for (name, value) in labels {
        let variable = value
            .split_once("$(")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(variable, _)| variable);
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if let Some(variable) = variable.filter(|variable| is_name(variable)) {
            findings.add(
                &format!("{path}.{name}"),
                format!("found {}, which is sent as it stands", shown(value)),
                format!("write ${{{variable}}} for the environment variable"),
            );
        }
    }
}

/// Looks for rules that leave series without a name.
fn lint_names(rules: &[Rule], path: &str, consequence: &str, findings: &mut Findings<'_>) {
    const NAME: &str = "__name__";
    let series: BTreeMap<_, _> = [(NAME, "up"), ("instance", "home:9090"), ("job", "home")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for at in 0..rules.len() {
        let Ok(Some(left)) = apply_to_map(&rules[at..=at], &series) else {
            continue;
        };
        if !left.contains_key(NAME) {
            findings.add(
                &format!("{path}[{at}]"),
                format!("the rule removes __name__: {consequence}"),
                "let its regex spare __name__",
            );
        }
    }
}
