//! From text to a [`Config`], or to all errors that keep it from loading.

use super::env::Env;
use super::forwarder::read_forwarder;
use super::global::read_global;
use super::job::read_scrape_configs;
use super::keys::ROOT;
use super::lint::lint;
use super::model::Config;
use super::problem::{ConfigErrors, Problem};
use super::reader::{OwnRefusal, Reader};
use super::remote::read_remote_write;
use super::site::site_of;
use super::source::Source;
use super::yaml::{Document, parse};

/// A configuration that loads, with its warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Slips that are valid and probably wrong, in the order of the file.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a `forwarder.yml`. `origin` is its path or S3 address ([`Source`]): messages start
    /// with it, and relative paths in the configuration start in its folder.
    ///
    /// Keys, defaults and validation are those of Prometheus 3.5, but for these defaults:
    ///
    /// | key | Prometheus | here | why |
    /// | --- | --- | --- | --- |
    /// | `queue_config.retry_on_http_429` | false | true with `sigv4` | AMP stored nothing |
    /// | `queue_config.sample_age_limit` | none | 55m with `sigv4` | AMP refuses samples of 1h |
    ///
    /// # Errors
    /// Fails with the first place that is no YAML, or else with all errors at once, in the order of
    /// the file. Each has a line, and mostly advice on what to write instead.
    ///
    /// # Examples
    /// ```
    /// use amp_forwarder::config::Config;
    ///
    /// let text = "
    /// scrape_configs:
    ///   - job_name: federate
    ///     honor_labels: true
    ///     metrics_path: /federate
    ///     params: {'match[]': ['{job=~\".+\"}']}
    ///     static_configs: [{targets: ['${HOME_PROMETHEUS}']}]
    /// remote_write:
    ///   - url: https://receiver.example/api/v1/write
    /// ";
    /// let env = |name: &str| (name == "HOME_PROMETHEUS").then(|| "192.0.2.10:9090".to_owned());
    /// let loaded = Config::load(text, &env, "forwarder.yml")?;
    /// assert_eq!(loaded.config.scrape_configs[0].static_configs[0].targets, ["192.0.2.10:9090"]);
    /// assert!(loaded.warnings.is_empty());
    ///
    /// let errors = Config::load("scrape_configs: []", &env, "forwarder.yml").unwrap_err();
    /// assert!(errors.to_string().contains("scrape_configs: found no job, expected at least one"));
    /// # Ok::<(), amp_forwarder::config::ConfigErrors>(())
    /// ```
    pub fn load(text: &str, env: Env<'_>, origin: &str) -> Result<LoadedConfig, ConfigErrors> {
        let fail = |problems| ConfigErrors::new(origin, problems);
        let document = parse(text).map_err(|problem| fail(vec![problem]))?;
        load_document(&document, env, Some(origin)).map_err(|failure| fail(failure.problems))
    }
}

/// Why a tree does not load.
pub(super) struct LoadFailure {
    pub(super) problems: Vec<Problem>,
    /// Those of the problems that Prometheus does not have.
    pub(super) refusals: Vec<OwnRefusal>,
}

/// Reads a tree. A prometheus.yml has no `origin`, and `${NAME}` in its plain strings is no
/// variable.
pub(super) fn load_document(
    document: &Document,
    env: Env<'_>,
    origin: Option<&str>,
) -> Result<LoadedConfig, LoadFailure> {
    let mut reader = Reader::new(
        env,
        origin.is_some(),
        origin.and_then(|origin| Source::parse(origin).ok()),
    );
    reader.problems.extend(document.problems.iter().cloned());
    reader.warnings.extend(document.warnings.iter().cloned());
    let root = reader.section(&document.root, String::new(), &ROOT);

    // Remotes come first: whether one of them signs changes the defaults of jobs.
    let remote_write = read_remote_write(&mut reader, &root);
    let signed = remote_write.iter().any(|remote| remote.sigv4.is_some());
    let (global, defaults) = read_global(&mut reader, &root, signed);
    let scrape_configs = read_scrape_configs(&mut reader, &root, &global, &defaults);
    let forwarder = read_forwarder(&mut reader, &root, &scrape_configs);

    if !reader.problems.is_empty() {
        return Err(LoadFailure {
            problems: reader.problems,
            refusals: reader.refusals,
        });
    }
    let config = Config {
        global,
        scrape_configs,
        remote_write,
        forwarder,
        site: site_of(env),
        role_arn: None,
    };
    let mut warnings = reader.warnings;
    warnings.extend(lint(&config, &reader.positions));
    warnings.sort_by_key(Problem::position);
    Ok(LoadedConfig { config, warnings })
}
