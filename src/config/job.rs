//! `scrape_configs`: jobs and their targets.

use std::collections::HashMap;

use super::global::{JobDefaults, check_label_names, positive};
use super::http::read_http;
use super::keys::{SCRAPE, STATIC};
use super::limits::read_limits;
use super::model::{Global, Scheme, ScrapeConfig, StaticConfig};
use super::naming::read_naming;
use super::problem::shown;
use super::protocols;
use super::reader::{Reader, Section, StringKind};
use super::rules::read_rules;
use super::yaml::Node;

pub(super) fn read_scrape_configs(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    global: &Global,
    inherited: &JobDefaults,
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
    inherited: &JobDefaults,
) -> ScrapeConfig {
    let before = reader.problems.len();
    let section = reader.section(node, path, &SCRAPE);
    let job_name = reader
        .string(&section, "job_name", StringKind::Plain)
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
        .string(&section, "metrics_path", StringKind::Plain)
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
                    error.to_string(),
                    TARGET,
                );
            }
        }
    }
}

const TARGET: &str = "write host:port; scheme and path have keys of their own in the job";

fn read_scheme(reader: &mut Reader<'_>, section: &Section<'_>) -> Scheme {
    match reader
        .string(section, "scheme", StringKind::Plain)
        .as_deref()
    {
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
    let targets = reader.strings(&section, "targets", StringKind::Plain);
    let labels = reader.string_map(&section, "labels", StringKind::Plain);
    check_label_names(reader, &section.path_of("labels"), &labels);
    StaticConfig {
        targets: targets.into_iter().map(|(target, _)| target).collect(),
        labels,
    }
}
