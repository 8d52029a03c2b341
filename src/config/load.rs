//! From text to a [`Config`], or to every reason why not.

use super::env::Env;
use super::forwarder::read_forwarder;
use super::global::read_global;
use super::job::read_scrape_configs;
use super::keys::ROOT;
use super::lint::lint;
use super::model::Config;
use super::problem::{ConfigErrors, Problem};
use super::reader::Reader;
use super::remote::read_remote_write;
use super::source::Source;
use super::yaml::{Document, parse};

/// A configuration that loads, and what is doubtful in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Slips that are valid and still wrong, in the order of the file.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a `forwarder.yml`. `origin` is where it is ([`super::Source`]): messages call it so,
    /// and relative paths are beside it.
    ///
    /// Keys, defaults and validation are Prometheus' (3.5), but for these defaults:
    ///
    /// | key | Prometheus | here | why |
    /// | --- | --- | --- | --- |
    /// | `queue_config.retry_on_http_429` | false | true with `sigv4` | AMP throttles with 429 and has stored nothing then |
    /// | `queue_config.sample_age_limit` | none | 55m with `sigv4` | AMP refuses samples older than an hour |
    ///
    /// # Errors
    /// Text that is no YAML; else all errors at once, in the order of the file.
    pub fn load(text: &str, env: Env<'_>, origin: &str) -> Result<LoadedConfig, ConfigErrors> {
        let fail = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            ConfigErrors {
                origin: origin.to_owned(),
                problems,
            }
        };
        let document = parse(text).map_err(|problem| fail(vec![problem]))?;
        load_document(&document, env, Some(origin)).map_err(fail)
    }
}

/// Reads a tree. There is no `origin` for a prometheus.yml, where `${NAME}` in plain strings is no
/// variable.
pub(super) fn load_document(
    document: &Document,
    env: Env<'_>,
    origin: Option<&str>,
) -> Result<LoadedConfig, Vec<Problem>> {
    let mut reader = Reader::new(
        env,
        origin.is_some(),
        origin.and_then(|origin| Source::parse(origin).ok()),
    );
    reader.problems.extend(document.problems.iter().cloned());
    reader.warnings.extend(document.warnings.iter().cloned());
    let root = reader.section(&document.root, String::new(), &ROOT);

    let remote_write = read_remote_write(&mut reader, &root);
    let signed = remote_write.iter().any(|remote| remote.sigv4.is_some());
    let (global, inherited) = read_global(&mut reader, &root, signed);
    let scrape_configs = read_scrape_configs(&mut reader, &root, &global, &inherited);
    let forwarder = read_forwarder(&mut reader, &root);

    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let config = Config {
        global,
        scrape_configs,
        remote_write,
        forwarder,
    };
    let mut warnings = reader.warnings;
    warnings.extend(lint(&config, &reader.places));
    warnings.sort_by_key(|warning| (warning.line, warning.column));
    Ok(LoadedConfig { config, warnings })
}
