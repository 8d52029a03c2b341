//! The configuration as it is understood, with every default filled in and secrets hidden. Keys and
//! their order are those of Prometheus' own page /config.

use std::collections::BTreeMap;
use std::time::Duration;

use super::emit::emit;
use super::http::{Auth, HttpConfig, OAuth2, ProxyConfig, TlsConfig, TlsVersion};
use super::model::{Config, RemoteWrite, ScrapeConfig, SigV4};
use super::naming::NameValidation;
use super::problem::Position;
use super::secret::{SecretPart, SecretSource};
use super::units::format_duration;
use super::yaml::{MapEntry, Node, NodeValue};
use crate::relabel::Rule;

/// What is shown in the place of a secret, as Prometheus shows it.
pub(super) const HIDDEN: &str = "<secret>";

impl Config {
    /// The configuration as YAML: the keys of Prometheus with the values that count here, and
    /// secrets hidden.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut global = EffectiveSection::default();
        global.duration("scrape_interval", self.global.scrape_interval);
        global.duration("scrape_timeout", self.global.scrape_timeout);
        global.texts("external_labels", &self.global.external_labels);
        let mut root = EffectiveSection::default();
        root.add("global", global.node());
        root.list("scrape_configs", self.scrape_configs.iter().map(job));
        root.list("remote_write", self.remote_write.iter().map(remote));
        emit(&root.node())
    }
}

/// A mapping that is being written.
#[derive(Default)]
struct EffectiveSection(Vec<MapEntry>);

impl EffectiveSection {
    fn add(&mut self, key: &str, value: Node) {
        self.0.push(MapEntry {
            key: key.to_owned(),
            position: Position::START,
            value,
        });
    }

    fn node(self) -> Node {
        of(NodeValue::Map(self.0))
    }

    /// Adds a string. An empty one is as good as none.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.add(key, text(value));
        }
    }

    /// Adds a number, a boolean or another word.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "most values are numbers and booleans"
    )]
    fn plain(&mut self, key: &str, value: impl ToString) {
        self.add(key, plain(value.to_string()));
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.plain(key, format_duration(value));
    }

    fn list(&mut self, key: &str, items: impl Iterator<Item = Node>) {
        let items: Vec<_> = items.collect();
        if !items.is_empty() {
            self.add(key, of(NodeValue::List(items)));
        }
    }

    fn texts(&mut self, key: &str, values: &BTreeMap<String, String>) {
        if !values.is_empty() {
            let mut section = Self::default();
            for (name, value) in values {
                section.add(name, text(value));
            }
            self.add(key, section.node());
        }
    }

    /// Adds a secret under `key`, or the file that holds it under `file`.
    fn secret(&mut self, key: &str, file: &str, secret: Option<&SecretSource>) {
        match secret {
            Some(SecretSource::File(source)) => self.text(file, &source.to_string()),
            Some(source) => self.add(key, text(&hidden(source))),
            None => {}
        }
    }
}

fn of(value: NodeValue) -> Node {
    Node {
        position: Position::START,
        value,
    }
}

fn text(value: &str) -> Node {
    of(NodeValue::Scalar {
        text: value.to_owned(),
        plain: false,
    })
}

fn plain(text: String) -> Node {
    of(NodeValue::Scalar { text, plain: true })
}

/// A secret without its text. The names of those that are kept in AWS stay.
fn hidden(source: &SecretSource) -> String {
    match source {
        SecretSource::File(source) => source.to_string(),
        SecretSource::Inline(parts) => parts
            .iter()
            .map(|part| match part {
                SecretPart::Text(_) => HIDDEN.to_owned(),
                SecretPart::Stored(stored) => format!("${{{stored}}}"),
            })
            .collect(),
    }
}

fn job(job: &ScrapeConfig) -> Node {
    let mut section = EffectiveSection::default();
    section.text("job_name", &job.job_name);
    section.plain("honor_labels", job.honor_labels);
    section.plain("honor_timestamps", job.honor_timestamps);
    section.plain("track_timestamps_staleness", job.track_timestamps_staleness);
    let mut params = EffectiveSection::default();
    for (name, values) in &job.params {
        let values = values.iter().map(|value| text(value)).collect();
        params.add(name, of(NodeValue::List(values)));
    }
    if !params.0.is_empty() {
        section.add("params", params.node());
    }
    section.duration("scrape_interval", job.scrape_interval);
    section.duration("scrape_timeout", job.scrape_timeout);
    let protocols = job
        .scrape_protocols
        .iter()
        .map(|protocol| text(protocol.name()));
    section.list("scrape_protocols", protocols);
    let fallback = job.fallback_scrape_protocol;
    section.text(
        "fallback_scrape_protocol",
        fallback.map_or("", |one| one.name()),
    );
    section.plain("scrape_native_histograms", job.histograms.native);
    section.plain(
        "always_scrape_classic_histograms",
        job.histograms.always_classic,
    );
    section.text("metrics_path", &job.metrics_path);
    section.text("scheme", &job.scheme);
    section.plain("enable_compression", job.enable_compression);
    section.plain("extra_scrape_metrics", job.extra_scrape_metrics);
    limits(&mut section, job);
    let validation = match job.naming.validation {
        NameValidation::Legacy => "legacy",
        NameValidation::Utf8 => "utf8",
    };
    section.text("metric_name_validation_scheme", validation);
    section.text("metric_name_escaping_scheme", job.naming.escaping.as_str());
    http(&mut section, &job.http);
    section.list("relabel_configs", job.relabel_configs.iter().map(rule));
    section.list(
        "metric_relabel_configs",
        job.metric_relabel_configs.iter().map(rule),
    );
    let groups = job.static_configs.iter().map(|group| {
        let mut section = EffectiveSection::default();
        section.list("targets", group.targets.iter().map(|target| text(target)));
        section.texts("labels", &group.labels);
        section.node()
    });
    section.list("static_configs", groups);
    section.node()
}

fn limits(section: &mut EffectiveSection, job: &ScrapeConfig) {
    let limits = &job.limits;
    section.plain("body_size_limit", limits.body_size);
    section.plain("sample_limit", limits.samples);
    section.plain("target_limit", limits.targets);
    section.plain("label_limit", limits.labels);
    section.plain("label_name_length_limit", limits.label_name_length);
    section.plain("label_value_length_limit", limits.label_value_length);
    section.plain("native_histogram_bucket_limit", job.histograms.bucket_limit);
    let factor = job.histograms.min_bucket_factor;
    section.plain("native_histogram_min_bucket_factor", factor);
}

fn remote(remote: &RemoteWrite) -> Node {
    let mut section = EffectiveSection::default();
    section.text("name", remote.name.as_deref().unwrap_or_default());
    section.text("url", remote.url.as_str());
    section.duration("remote_timeout", remote.remote_timeout);
    section.texts("headers", &remote.headers);
    section.list(
        "write_relabel_configs",
        remote.write_relabel_configs.iter().map(rule),
    );
    section.plain("send_native_histograms", remote.send_native_histograms);
    http(&mut section, &remote.http);
    let queue = &remote.queue;
    let mut inner = EffectiveSection::default();
    inner.plain("capacity", queue.capacity);
    inner.plain("max_shards", queue.max_shards);
    inner.plain("min_shards", queue.min_shards);
    inner.plain("max_samples_per_send", queue.max_samples_per_send);
    inner.duration("batch_send_deadline", queue.batch_send_deadline);
    inner.duration("min_backoff", queue.min_backoff);
    inner.duration("max_backoff", queue.max_backoff);
    inner.plain("retry_on_http_429", queue.retry_on_http_429);
    inner.duration(
        "sample_age_limit",
        queue.sample_age_limit.unwrap_or_default(),
    );
    section.add("queue_config", inner.node());
    let mut inner = EffectiveSection::default();
    inner.plain("send", remote.metadata.send);
    inner.duration("send_interval", remote.metadata.send_interval);
    inner.plain("max_samples_per_send", remote.metadata.max_samples_per_send);
    section.add("metadata_config", inner.node());
    if let Some(sigv4) = &remote.sigv4 {
        section.add("sigv4", signature(sigv4));
    }
    section.node()
}

fn signature(sigv4: &SigV4) -> Node {
    let mut section = EffectiveSection::default();
    section.text("region", sigv4.region.as_deref().unwrap_or_default());
    section.text(
        "access_key",
        sigv4.access_key.as_deref().unwrap_or_default(),
    );
    section.secret("secret_key", "", sigv4.secret_key.as_ref());
    section.text("profile", sigv4.profile.as_deref().unwrap_or_default());
    section.text("role_arn", sigv4.role_arn.as_deref().unwrap_or_default());
    if sigv4.external_id.is_some() {
        section.text("external_id", HIDDEN);
    }
    section.plain("use_fips_sts_endpoint", sigv4.use_fips_sts_endpoint);
    section.text("service_name", &sigv4.service_name);
    section.node()
}

fn rule(rule: &Rule) -> Node {
    let rule = rule.spec();
    let mut section = EffectiveSection::default();
    let labels = rule.source_labels.unwrap_or_default();
    section.list("source_labels", labels.iter().map(|label| text(label)));
    section.add("separator", text(&rule.separator));
    section.add("regex", text(&rule.regex.unwrap_or_default()));
    section.plain("modulus", rule.modulus);
    section.text("target_label", &rule.target_label);
    section.add("replacement", text(&rule.replacement));
    section.text("action", &rule.action.to_string());
    section.node()
}

fn http(section: &mut EffectiveSection, http: &HttpConfig) {
    match &http.auth {
        None => {}
        Some(Auth::Basic { username, password }) => {
            let mut inner = EffectiveSection::default();
            // A name is no secret, wherever it is kept.
            match username.as_ref().and_then(SecretSource::constant) {
                Some(name) => inner.text("username", name.expose()),
                None => inner.secret("username", "username_file", username.as_ref()),
            }
            inner.secret("password", "password_file", password.as_ref());
            section.add("basic_auth", inner.node());
        }
        Some(Auth::Authorization {
            scheme,
            credentials,
        }) => {
            let mut inner = EffectiveSection::default();
            inner.text("type", scheme);
            inner.secret("credentials", "credentials_file", credentials.as_ref());
            section.add("authorization", inner.node());
        }
        Some(Auth::OAuth2(oauth2)) => section.add("oauth2", token(oauth2)),
    }
    tls(section, &http.tls);
    section.plain("follow_redirects", http.follow_redirects);
    proxy(section, &http.proxy);
    let mut headers = EffectiveSection::default();
    for header in &http.headers {
        let mut inner = EffectiveSection::default();
        inner.list(
            "secrets",
            header.values.iter().map(|value| text(&hidden(value))),
        );
        headers.add(&header.name, inner.node());
    }
    if !headers.0.is_empty() {
        section.add("http_headers", headers.node());
    }
}

fn token(oauth2: &OAuth2) -> Node {
    let mut section = EffectiveSection::default();
    section.text("client_id", &oauth2.client_id);
    section.secret(
        "client_secret",
        "client_secret_file",
        oauth2.client_secret.as_ref(),
    );
    section.list("scopes", oauth2.scopes.iter().map(|scope| text(scope)));
    section.text("token_url", oauth2.token_url.as_str());
    let params = oauth2.endpoint_params.iter();
    let params = params.map(|(name, _)| (name.clone(), HIDDEN.to_owned()));
    section.texts("endpoint_params", &params.collect());
    tls(&mut section, &oauth2.tls);
    proxy(&mut section, &oauth2.proxy);
    section.node()
}

fn tls(section: &mut EffectiveSection, tls: &TlsConfig) {
    let mut inner = EffectiveSection::default();
    inner.secret("ca", "ca_file", tls.ca.as_ref());
    inner.secret("cert", "cert_file", tls.cert.as_ref());
    inner.secret("key", "key_file", tls.key.as_ref());
    inner.text(
        "server_name",
        tls.server_name.as_deref().unwrap_or_default(),
    );
    inner.plain("insecure_skip_verify", tls.insecure_skip_verify);
    for (key, version) in [
        ("min_version", tls.min_version),
        ("max_version", tls.max_version),
    ] {
        inner.text(
            key,
            match version {
                None => "",
                Some(TlsVersion::Tls12) => "TLS12",
                Some(TlsVersion::Tls13) => "TLS13",
            },
        );
    }
    section.add("tls_config", inner.node());
}

fn proxy(section: &mut EffectiveSection, proxy: &ProxyConfig) {
    if let Some(url) = proxy.http.as_ref().or(proxy.https.as_ref()) {
        // A password in it is not shown, and neither is a user.
        let shown = url::Url::parse(url.expose()).ok().and_then(|url| {
            let host = url.host_str()?;
            let port = url
                .port()
                .map_or_else(String::new, |port| format!(":{port}"));
            Some(format!("{}://{host}{port}", url.scheme()))
        });
        section.text("proxy_url", shown.as_deref().unwrap_or(HIDDEN));
    }
    section.text("no_proxy", &proxy.no_proxy);
    let names = proxy.connect_headers.iter();
    let names = names.map(|(name, _)| (name.clone(), HIDDEN.to_owned()));
    section.texts("proxy_connect_header", &names.collect());
}
