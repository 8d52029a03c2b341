//! `scrape_configs`: jobs and their targets.

use std::collections::HashMap;
use std::time::Duration;

use super::global::{JobDefaults, check_label_names, positive};
use super::http::read_http;
use super::keys::{SCRAPE, STATIC};
use super::limits::read_limits;
use super::model::{Global, ScrapeConfig, StaticConfig};
use super::naming::read_naming;
use super::problem::{PLACEHOLDER, shown};
use super::protocols;
use super::reader::{Reader, Section, StringKind};
use super::rules::read_rules;
use super::target::{TargetError, checked_address};
use super::yaml::Node;

/// Most targets of all jobs together.
const MAX_TARGETS: usize = u16::MAX as usize;

/// Reads all jobs.
pub(super) fn read_scrape_configs(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    global: &Global,
    defaults: &JobDefaults,
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
    let mut lines_by_name: HashMap<String, usize> = HashMap::new();
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
        let config = read_scrape_config(reader, node, path.clone(), global, defaults);
        let line = reader.positions.of(&path).line;
        if !config.job_name.is_empty()
            && let Some(first) = lines_by_name.insert(config.job_name.clone(), line)
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
    let groups = configs.iter().flat_map(|config| &config.static_configs);
    let targets: usize = groups.map(|group| group.targets.len()).sum();
    if targets > MAX_TARGETS {
        reader.error_at(
            "scrape_configs",
            format!("found {targets} targets, expected at most {MAX_TARGETS}"),
            "let the home Prometheus scrape them: they come with /federate",
        );
    }
    configs
}

// config/config.go ScrapeConfig.UnmarshalYAML, Validate
fn read_scrape_config(
    reader: &mut Reader<'_>,
    node: &Node,
    path: String,
    global: &Global,
    defaults: &JobDefaults,
) -> ScrapeConfig {
    let before = reader.problems.len();
    let section = reader.section(node, path, &SCRAPE);
    let job_name = read_job_name(reader, &section, before);
    let scrape_interval =
        positive(reader.duration(&section, "scrape_interval")).unwrap_or(global.scrape_interval);
    let scrape_timeout = read_timeout(reader, &section, &job_name, scrape_interval)
        .unwrap_or(global.scrape_timeout.min(scrape_interval));
    let static_configs = reader.list(&section, "static_configs");
    let before_rules = reader.problems.len();
    let relabel_configs = read_rules(
        reader,
        &section,
        "relabel_configs",
        "target relabeling rule in scrape config",
    );
    let rules_are_valid = reader.problems.len() == before_rules;
    let metric_relabel_configs = read_rules(
        reader,
        &section,
        "metric_relabel_configs",
        "metric relabeling rule in scrape config",
    );
    let http = read_http(reader, &section);
    let metrics_path = reader
        .string(&section, "metrics_path", StringKind::Plain)
        .unwrap_or_else(|| "/metrics".into());
    let formats = protocols::read_job(
        reader,
        &section,
        &job_name,
        &metrics_path,
        &defaults.formats,
    );
    let scheme = reader
        .string(&section, "scheme", StringKind::Plain)
        .unwrap_or_else(|| "http".into());
    let params = reader.lists_map(&section, "params");
    let mut switch = |key, default| reader.boolean(&section, key).unwrap_or(default);
    let config = ScrapeConfig {
        job_name,
        scrape_interval,
        scrape_timeout,
        scheme,
        metrics_path,
        params,
        honor_labels: switch("honor_labels", false),
        honor_timestamps: switch("honor_timestamps", true),
        track_timestamps_staleness: switch("track_timestamps_staleness", false),
        extra_scrape_metrics: switch("extra_scrape_metrics", defaults.extra_scrape_metrics),
        enable_compression: switch("enable_compression", true),
        static_configs: static_configs
            .into_iter()
            .map(|(node, path)| read_static_config(reader, node, path))
            .collect(),
        relabel_configs,
        metric_relabel_configs,
        limits: read_limits(reader, &section, defaults.limits),
        naming: read_naming(reader, &section, defaults.naming),
        http,
        scrape_protocols: formats.protocols,
        fallback_scrape_protocol: formats.fallback,
        histograms: formats.histograms,
    };
    // Without the rules that are invalid the targets would be other ones.
    if rules_are_valid {
        check_targets(reader, &config, &section);
    }
    config
}

/// Reads the job's name. It reports an empty name only when no problem of the name or the section
/// was reported since the first `before`.
fn read_job_name(reader: &mut Reader<'_>, section: &Section<'_>, before: usize) -> String {
    let name = reader
        .string(section, "job_name", StringKind::Plain)
        .unwrap_or_default();
    let path = section.path_of("job_name");
    let is_reported = reader.problems[before..]
        .iter()
        .any(|problem| problem.path == path || problem.path == section.path);
    if name.is_empty() && !is_reported {
        reader.error_at(
            &path,
            "job_name is empty, expected a name",
            "it becomes the label job",
        );
    }
    name
}

fn read_timeout(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    job_name: &str,
    interval: Duration,
) -> Option<Duration> {
    let timeout = positive(reader.duration(section, "scrape_timeout"))?;
    if timeout > interval {
        let message = format!(
            "scrape timeout greater than scrape interval for scrape config with job name {}: \
             found {timeout:?}, expected at most {interval:?}",
            shown(job_name)
        );
        reader.error_at(
            &section.path_of("scrape_timeout"),
            message,
            "lower it, or raise scrape_interval",
        );
    }
    Some(timeout.min(interval))
}

/// Reports the targets with which Prometheus does not load the job, and those that have an interval
/// of their own. // config/config.go checkStaticTargets
fn check_targets(reader: &mut Reader<'_>, config: &ScrapeConfig, section: &Section<'_>) {
    for (g, group) in config.static_configs.iter().enumerate() {
        for (t, target) in group.targets.iter().enumerate() {
            if target.contains(PLACEHOLDER) {
                reader.error_at(
                    &format!("{}[{g}].targets[{t}]", section.path_of("static_configs")),
                    format!("found the placeholder {PLACEHOLDER}"),
                    "write host:port of the home Prometheus",
                );
            }
            let url = config
                .populate(target, &group.labels)
                .map(|target| target.url);
            let error = match (checked_address(target), url) {
                (Err(error @ TargetError::Hostname(_)), _) if config.relabel_configs.is_empty() => {
                    error
                }
                (_, Some(Err(error @ TargetError::OwnInterval(_)))) => error,
                _ => continue,
            };
            reader.error_at(
                &format!("{}[{g}].targets[{t}]", section.path_of("static_configs")),
                error.to_string(),
                "write host:port; scheme and path have keys of their own in the job",
            );
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
    let targets = reader.strings(&section, "targets", StringKind::Plain);
    let labels = reader.string_map(&section, "labels", StringKind::Plain);
    check_label_names(reader, &section.path_of("labels"), &labels);
    StaticConfig {
        targets: targets.into_iter().map(|(target, _)| target).collect(),
        labels,
    }
}
