//! Slips in a job.

use super::findings::Findings;
use super::selector::lint_selector;
use crate::config::model::ScrapeConfig;
use crate::config::problem::shown;
use crate::config::protocols::is_federation;

/// Looks for slips in a job.
pub(super) fn lint_job(job: &ScrapeConfig, path: &str, findings: &mut Findings<'_>) {
    lint_targets(job, path, findings);
    if let Some((before, query)) = job.metrics_path.split_once('?') {
        let message = if query.contains("match") {
            "found a ? in the path, where it is escaped: the selectors never arrive"
        } else {
            "found a ? in the path, where it is escaped"
        };
        findings.add(
            &format!("{path}.metrics_path"),
            message,
            format!("write metrics_path: {before} and put the rest into params"),
        );
    }
    if let Some(selectors) = job.params.get("match[]") {
        for (i, selector) in selectors.iter().enumerate() {
            lint_selector(selector, &format!("{path}.params.match[][{i}]"), findings);
        }
    }
    if is_federation(job.metrics_path.trim_end_matches('/')) {
        lint_federate(job, path, findings);
    }
}

fn lint_targets(job: &ScrapeConfig, path: &str, findings: &mut Findings<'_>) {
    let mut groups = job.static_configs.iter();
    if groups.all(|group| group.targets.is_empty()) {
        findings.add(
            &format!("{path}.static_configs"),
            "found no target: the job scrapes nothing",
            "add targets: [host:port]",
        );
        return;
    }
    let mut is_any_kept = false;
    for (g, group) in job.static_configs.iter().enumerate() {
        for (t, target) in group.targets.iter().enumerate() {
            let Some(target) = job.populate(target, &group.labels) else {
                continue;
            };
            is_any_kept = true;
            if let Err(error) = target.url {
                findings.add(
                    &format!("{path}.static_configs[{g}].targets[{t}]"),
                    format!("the target cannot be scraped, and its up is 0: {error}"),
                    "write host:port; scheme and path have keys of their own in the job",
                );
            }
        }
    }
    if !is_any_kept {
        findings.add(
            &format!("{path}.relabel_configs"),
            "found rules that drop every target: the job scrapes nothing",
            "keep one",
        );
    }
}

/// Looks for slips in a job that scrapes `/federate`.
fn lint_federate(job: &ScrapeConfig, path: &str, findings: &mut Findings<'_>) {
    if job.params.get("match[]").is_none_or(Vec::is_empty) {
        let fix = match job.params.keys().find(|key| key.starts_with("match")) {
            Some(key) => format!("write 'match[]' in place of {}", shown(key)),
            None => "add params: {'match[]': ['{job=~\".+\"}']}".to_owned(),
        };
        findings.add(
            &format!("{path}.params"),
            "found no match[]: /federate answers with no series",
            fix,
        );
    }
    if !job.honor_labels {
        findings.add(
            &format!("{path}.honor_labels"),
            "honor_labels is false on /federate: the labels job and instance of the home become \
             exported_job and exported_instance",
            "write honor_labels: true",
        );
    }
    if !job.honor_timestamps {
        findings.add(
            &format!("{path}.honor_timestamps"),
            "honor_timestamps is false on /federate: each scrape makes new samples of values that \
             have not changed, and AMP bills each of them",
            "remove the key",
        );
    }
}
