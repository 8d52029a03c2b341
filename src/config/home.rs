//! What the configuration of a home, as its page `/api/v1/status/config` shows it, says of remote
//! read: how late its samples become visible, and what it shows otherwise than `/federate` does.

use std::time::Duration;

use super::units::{parse_bool, parse_duration};
use super::yaml::{MapEntry, Node, NodeValue, parse};

/// `global.scrape_timeout` and `global.scrape_interval` where they are not given
/// (`config/config.go` `DefaultGlobalConfig`).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// The part of a home's configuration that reads depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeConfig {
    /// `external_labels`, which a read takes out of equality matchers.
    pub external_labels: Vec<(String, String)>,
    /// Whether it has a `remote_read` of its own, whose samples are among its answers.
    pub reads_others: bool,
    /// Whether a job turns classic histograms into native ones with custom buckets.
    pub makes_custom_buckets: bool,
    /// The longest `scrape_interval` of a job.
    pub longest_interval: Duration,
    /// The longest `scrape_timeout` of a job.
    pub longest_timeout: Duration,
    /// `global.evaluation_interval`, and `global.rule_query_offset`.
    pub evaluation_interval: Duration,
    /// How far behind the present rules look by default.
    pub rule_query_offset: Duration,
    /// Whether there are rules.
    pub has_rules: bool,
}

impl HomeConfig {
    /// Reads a prometheus.yml with its defaults filled in, as the home shows it. `None` when it is
    /// no YAML; what is not understood in it counts as absent.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let root = parse(text).ok()?.root;
        let global = value(&root, "global");
        let of_global = |key, default| duration(global, key).unwrap_or(default);
        let mut config = Self {
            external_labels: pairs(global.and_then(|global| value(global, "external_labels"))),
            reads_others: value(&root, "remote_read").is_some_and(|node| !node.is_empty()),
            makes_custom_buckets: is_true(global, "convert_classic_histograms_to_nhcb"),
            evaluation_interval: of_global("evaluation_interval", DEFAULT_INTERVAL),
            rule_query_offset: of_global("rule_query_offset", Duration::ZERO),
            has_rules: value(&root, "rule_files").is_some_and(|node| !node.is_empty()),
            ..Self::default()
        };
        let interval = of_global("scrape_interval", DEFAULT_INTERVAL);
        let timeout = of_global("scrape_timeout", DEFAULT_TIMEOUT);
        for job in items(value(&root, "scrape_configs")) {
            let of_job = |key, default| duration(Some(job), key).unwrap_or(default);
            let interval = of_job("scrape_interval", interval);
            config.longest_interval = config.longest_interval.max(interval);
            config.longest_timeout = config
                .longest_timeout
                .max(of_job("scrape_timeout", timeout.min(interval)));
            config.makes_custom_buckets |= is_true(Some(job), "convert_classic_histograms_to_nhcb");
        }
        Some(config)
    }
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.get(key).map(|entry| &entry.value)
}

fn scalar<'n>(section: Option<&'n Node>, key: &str) -> Option<&'n str> {
    match &value(section?, key)?.value {
        NodeValue::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn duration(section: Option<&Node>, key: &str) -> Option<Duration> {
    scalar(section, key).and_then(parse_duration)
}

fn is_true(section: Option<&Node>, key: &str) -> bool {
    scalar(section, key).and_then(parse_bool) == Some(true)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(NodeValue::List(items)) => items,
        _ => &[],
    }
}

fn pairs(node: Option<&Node>) -> Vec<(String, String)> {
    let Some(NodeValue::Map(entries)) = node.map(|node| &node.value) else {
        return Vec::new();
    };
    let pair = |entry: &MapEntry| match &entry.value.value {
        NodeValue::Scalar { text, .. } => Some((entry.key.clone(), text.clone())),
        _ => None,
    };
    entries.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_reads_is_found_in_a_homes_configuration() {
        let text = "global:\n  scrape_interval: 15s\n  scrape_timeout: 10s\n  \
                    evaluation_interval: 30s\n  rule_query_offset: 40s\n  external_labels:\n    \
                    cluster: home\n    replica: a\nrule_files:\n- /etc/rules/*.yml\n\
                    scrape_configs:\n- job_name: node\n  scrape_interval: 1m\n  \
                    scrape_timeout: 30s\n- job_name: fast\n  scrape_interval: 5s\n  \
                    convert_classic_histograms_to_nhcb: true\n\
                    remote_read:\n- url: http://other/api/v1/read\n";
        let expected = HomeConfig {
            external_labels: vec![
                ("cluster".to_owned(), "home".to_owned()),
                ("replica".to_owned(), "a".to_owned()),
            ],
            reads_others: true,
            makes_custom_buckets: true,
            longest_interval: Duration::from_secs(60),
            longest_timeout: Duration::from_secs(30),
            evaluation_interval: Duration::from_secs(30),
            rule_query_offset: Duration::from_secs(40),
            has_rules: true,
        };
        assert_eq!(HomeConfig::read(text), Some(expected));
    }

    #[test]
    fn what_is_absent_or_odd_counts_as_the_default() {
        for text in ["", "scrape_configs: 7", "global: []\nrule_files: []"] {
            let expected = HomeConfig {
                evaluation_interval: DEFAULT_INTERVAL,
                ..HomeConfig::default()
            };
            assert_eq!(HomeConfig::read(text), Some(expected), "{text}");
        }
        let one_job = HomeConfig::read("scrape_configs: [{job_name: a}]").unwrap();
        assert_eq!(
            (one_job.longest_interval, one_job.longest_timeout),
            (DEFAULT_INTERVAL, DEFAULT_TIMEOUT)
        );
        assert_eq!(HomeConfig::read("a: [b"), None);
    }
}
