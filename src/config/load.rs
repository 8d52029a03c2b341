//! From text to a [`Config`], or to every reason why not.

use std::collections::HashMap;
use std::time::Duration;

use super::env::Env;
use super::http::read_http;
use super::keys::{FORWARDER, GLOBAL, METRICS, ROOT, SCRAPE, SPOOL, STATIC};
use super::limits::{ScrapeLimits, read_limits};
use super::lint::lint;
use super::metadata::read_metadata;
use super::model::{Config, Forwarder, Global, Metrics, Scheme, ScrapeConfig, StaticConfig};
use super::naming::{GlobalNaming, read_global_naming, read_naming};
use super::problem::{ConfigErrors, Problem, shown};
use super::protocols::{self, Formats};
use super::reader::{Reader, Section, Text};
use super::relabel::read_rules;
use super::remote::read_remote_write;
use super::source::Source;
use super::spool::read_spool;
use super::yaml::{Document, Node, parse};

// config/config.go DefaultGlobalConfig
const SCRAPE_INTERVAL: Duration = Duration::from_secs(60);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// A configuration that loads, and what is doubtful in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
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
    pub fn load(text: &str, env: Env<'_>, origin: &str) -> Result<Loaded, ConfigErrors> {
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
) -> Result<Loaded, Vec<Problem>> {
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
    Ok(Loaded { config, warnings })
}

/// What jobs take over from `global`, besides its times.
struct Inherited {
    limits: ScrapeLimits,
    naming: GlobalNaming,
    extra_scrape_metrics: bool,
    formats: Formats,
}

// config/config.go GlobalConfig.UnmarshalYAML
fn read_global(reader: &mut Reader<'_>, root: &Section<'_>, signed: bool) -> (Global, Inherited) {
    let mut global = Global {
        scrape_interval: SCRAPE_INTERVAL,
        scrape_timeout: SCRAPE_TIMEOUT,
        external_labels: Default::default(),
    };
    let Some(entry) = reader.entry(root, "global") else {
        let naming = read_global_naming(reader, None, signed);
        return (
            global,
            Inherited {
                limits: ScrapeLimits::default(),
                naming,
                extra_scrape_metrics: false,
                formats: Formats::default(),
            },
        );
    };
    let section = reader.section(&entry.value, "global".into(), &GLOBAL);
    global.scrape_interval =
        positive(reader.duration(&section, "scrape_interval")).unwrap_or(SCRAPE_INTERVAL);
    global.scrape_timeout = match positive(reader.duration(&section, "scrape_timeout")) {
        Some(timeout) if timeout > global.scrape_interval => {
            reader.error_at(
                &section.path_of("scrape_timeout"),
                format!("global scrape timeout greater than scrape interval: found {timeout:?}, expected at most {:?}", global.scrape_interval),
                "lower it, or raise scrape_interval",
            );
            global.scrape_interval
        }
        Some(timeout) => timeout,
        None => SCRAPE_TIMEOUT.min(global.scrape_interval),
    };
    global.external_labels = reader.string_map(&section, "external_labels", Text::ExternalLabel);
    check_label_names(
        reader,
        &section.path_of("external_labels"),
        &global.external_labels,
    );
    let inherited = Inherited {
        limits: read_limits(reader, &section, ScrapeLimits::default()),
        naming: read_global_naming(reader, Some(&section), signed),
        extra_scrape_metrics: reader
            .boolean(&section, "extra_scrape_metrics")
            .unwrap_or(false),
        formats: protocols::read_global(reader, &section),
    };
    (global, inherited)
}

/// Prometheus 3 takes any name that is not empty; YAML text is UTF-8 already.
fn check_label_names(
    reader: &mut Reader<'_>,
    path: &str,
    labels: &std::collections::BTreeMap<String, String>,
) {
    if labels.contains_key("") {
        reader.error_at(
            path,
            "\"\" is not a valid label name",
            "give the label a name",
        );
    }
}

fn positive(duration: Option<Duration>) -> Option<Duration> {
    // As Prometheus: 0 is not set.
    duration.filter(|duration| !duration.is_zero())
}

fn read_scrape_configs(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    global: &Global,
    inherited: &Inherited,
) -> Vec<ScrapeConfig> {
    let items = reader.list(root, "scrape_configs");
    if items.is_empty()
        && !reader
            .problems
            .iter()
            .any(|problem| problem.path == "scrape_configs")
    {
        reader.error_at(
            "scrape_configs",
            "found no job, expected at least one",
            "add a job that scrapes /federate of the home Prometheus",
        );
    }
    let mut jobs: HashMap<String, usize> = HashMap::new();
    let mut configs = Vec::new();
    for (node, path) in items {
        if node.is_null() {
            reader.error_at(
                &path,
                "empty or null scrape config section",
                "remove the dash or fill the entry in",
            );
            continue;
        }
        let config = read_scrape_config(reader, node, path.clone(), global, inherited);
        let (line, _) = reader.places.of(&path);
        if !config.job_name.is_empty()
            && let Some(first) = jobs.insert(config.job_name.clone(), line)
        {
            reader.error_at(
                &format!("{path}.job_name"),
                format!(
                    "found multiple scrape configs with job name {}; the other is on line {first}",
                    shown(&config.job_name)
                ),
                "rename one, or list all targets in one job",
            );
        }
        configs.push(config);
    }
    configs
}

// config/config.go ScrapeConfig.UnmarshalYAML, Validate
fn read_scrape_config(
    reader: &mut Reader<'_>,
    node: &Node,
    path: String,
    global: &Global,
    inherited: &Inherited,
) -> ScrapeConfig {
    let before = reader.problems.len();
    let section = reader.section(node, path, &SCRAPE);
    let job_name = reader
        .string(&section, "job_name", Text::Plain)
        .unwrap_or_default();
    let job_path = section.path_of("job_name");
    if job_name.is_empty()
        && !reader.problems[before..]
            .iter()
            .any(|problem| problem.path == job_path || problem.path == section.path)
    {
        reader.error_at(
            &job_path,
            "job_name is empty, expected a name",
            "it becomes the label job",
        );
    }
    let scrape_interval =
        positive(reader.duration(&section, "scrape_interval")).unwrap_or(global.scrape_interval);
    let scrape_timeout = match positive(reader.duration(&section, "scrape_timeout")) {
        Some(timeout) if timeout > scrape_interval => {
            reader.error_at(
                &section.path_of("scrape_timeout"),
                format!(
                    "scrape timeout greater than scrape interval for scrape config with job name {}: found {timeout:?}, expected at most {scrape_interval:?}",
                    shown(&job_name)
                ),
                "lower it, or raise scrape_interval",
            );
            scrape_interval
        }
        Some(timeout) => timeout,
        None => global.scrape_timeout.min(scrape_interval),
    };
    let static_configs = reader.list(&section, "static_configs");
    let before_rules = reader.problems.len();
    let relabel_configs = read_rules(
        reader,
        &section,
        "relabel_configs",
        "target relabeling rule in scrape config",
    );
    let rules_fine = reader.problems.len() == before_rules;
    let metric_relabel_configs = read_rules(
        reader,
        &section,
        "metric_relabel_configs",
        "metric relabeling rule in scrape config",
    );
    let http = read_http(reader, &section);
    let metrics_path = reader
        .string(&section, "metrics_path", Text::Plain)
        .unwrap_or_else(|| "/metrics".into());
    let (scrape_protocols, fallback_scrape_protocol, histograms) = protocols::read_job(
        reader,
        &section,
        &job_name,
        &metrics_path,
        &inherited.formats,
    );
    let config = ScrapeConfig {
        job_name,
        scrape_interval,
        scrape_timeout,
        scheme: read_scheme(reader, &section),
        metrics_path,
        params: reader.lists_map(&section, "params"),
        honor_labels: reader.boolean(&section, "honor_labels").unwrap_or(false),
        honor_timestamps: reader.boolean(&section, "honor_timestamps").unwrap_or(true),
        static_configs: static_configs
            .into_iter()
            .map(|(node, path)| read_static_config(reader, node, path))
            .collect(),
        relabel_configs,
        metric_relabel_configs,
        track_timestamps_staleness: reader
            .boolean(&section, "track_timestamps_staleness")
            .unwrap_or(false),
        limits: read_limits(reader, &section, inherited.limits),
        naming: read_naming(reader, &section, inherited.naming),
        extra_scrape_metrics: reader
            .boolean(&section, "extra_scrape_metrics")
            .unwrap_or(inherited.extra_scrape_metrics),
        enable_compression: reader
            .boolean(&section, "enable_compression")
            .unwrap_or(true),
        http,
        scrape_protocols,
        fallback_scrape_protocol,
        histograms,
    };
    // Without the rules that are wrong they would be other targets.
    if rules_fine {
        check_targets(reader, &config, &section);
    }
    config
}

/// Prometheus logs a target that cannot be, and scrapes the others; `promtool check config` refuses
/// it, and so do we.
fn check_targets(reader: &mut Reader<'_>, config: &ScrapeConfig, section: &Section<'_>) {
    for (g, group) in config.static_configs.iter().enumerate() {
        for (t, target) in group.targets.iter().enumerate() {
            if let Err(error) = config.populate(target, &group.labels) {
                reader.error_at(
                    &format!("{}[{g}].targets[{t}]", section.path_of("static_configs")),
                    error,
                    TARGET,
                );
            }
        }
    }
}

const TARGET: &str = "write host:port; scheme and path have keys of their own in the job";

fn read_scheme(reader: &mut Reader<'_>, section: &Section<'_>) -> Scheme {
    match reader.string(section, "scheme", Text::Plain).as_deref() {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => {
            reader.error_at(
                &section.path_of("scheme"),
                format!("found {}, expected http or https", shown(other)),
                "",
            );
            Scheme::Http
        }
    }
}

fn read_static_config(reader: &mut Reader<'_>, node: &Node, path: String) -> StaticConfig {
    if node.is_null() {
        reader.error_at(
            &path,
            "empty or null section in static_configs",
            "remove the dash or fill the entry in",
        );
    }
    let section = reader.section(node, path, &STATIC);
    let targets = reader.strings(&section, "targets", Text::Plain);
    let labels = reader.string_map(&section, "labels", Text::Plain);
    check_label_names(reader, &section.path_of("labels"), &labels);
    StaticConfig {
        targets: targets.into_iter().map(|(target, _)| target).collect(),
        labels,
    }
}

fn read_forwarder(reader: &mut Reader<'_>, root: &Section<'_>) -> Forwarder {
    let mut forwarder = Forwarder::default();
    let Some(entry) = reader.entry(root, "forwarder") else {
        return forwarder;
    };
    let section = reader.section(&entry.value, "forwarder".into(), &FORWARDER);
    if let Some(margin) = reader.duration(&section, "deadline_margin") {
        forwarder.deadline_margin = margin;
    }
    forwarder.memory_limit = reader.size(&section, "memory_limit");
    if forwarder.memory_limit == Some(0) {
        reader.error_at(
            "forwarder.memory_limit",
            "found 0, expected a size above 0",
            "remove the key for the default",
        );
    }
    if let Some(bytes) = reader.size(&section, "max_request_bytes") {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes > 0 => forwarder.max_request_bytes = bytes,
            _ => reader.error_at(
                "forwarder.max_request_bytes",
                format!("found {bytes}, expected a size above 0"),
                "remove the key for the default",
            ),
        }
    }
    if let Some(entry) = reader.entry(&section, "spool") {
        let section = reader.section(&entry.value, "forwarder.spool".into(), &SPOOL);
        forwarder.spool = read_spool(reader, &section);
    }
    forwarder.metadata = read_metadata(reader, &section);
    if let Some(entry) = reader.entry(&section, "metrics") {
        let section = reader.section(&entry.value, "forwarder.metrics".into(), &METRICS);
        forwarder.metrics = read_metrics(reader, &section);
    }
    forwarder
}

fn read_metrics(reader: &mut Reader<'_>, section: &Section<'_>) -> Metrics {
    let mut metrics = Metrics::default();
    if let Some(enabled) = reader.boolean(section, "enabled") {
        metrics.enabled = enabled;
    }
    if let Some(namespace) = reader.string(section, "namespace", Text::Plain) {
        // CloudWatch API reference, PutMetricData: Namespace
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#: ".contains(c);
        if namespace.trim().is_empty()
            || namespace.len() > 255
            || namespace.starts_with([':'])
            || !namespace.chars().all(allowed)
        {
            let message = format!(
                "found {}, expected 1 to 255 letters, digits, spaces and . _ - / # :, not starting with a colon",
                shown(&namespace)
            );
            reader.error_at(&section.path_of("namespace"), message, "");
        } else if namespace.starts_with("AWS/") {
            reader.error_at(
                &section.path_of("namespace"),
                format!("found {}: AWS keeps AWS/ for itself", shown(&namespace)),
                "choose another name",
            );
        } else {
            metrics.namespace = namespace;
        }
    }
    metrics
}
