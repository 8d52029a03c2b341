//! The series that the forwarder makes itself, by each scrape.

use std::collections::HashSet;

use super::home::HomeTarget;
use super::remote::RemoteEnd;
use crate::config::Config;
use crate::intake::report_label_sets;
use crate::series::Labels;
use crate::tick::show_own_label_sets;

/// Their names (`scrape/scrape.go` `report`).
pub(super) const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// The label set as a remote stores it that takes `__replica__` off.
pub(super) fn without_replica(mut labels: Labels<'_>, drops_replica: bool) -> Labels<'_> {
    if drops_replica && labels.find("cluster").is_some() {
        labels.retain(|name| name != "__replica__");
    }
    labels
}

/// For each remote, the hashes of the series that the forwarder makes itself.
pub(super) fn own_series(
    config: &Config,
    targets: &[HomeTarget<'_>],
    remotes: &[RemoteEnd],
) -> Vec<HashSet<u64>> {
    let mut own = vec![HashSet::new(); remotes.len()];
    for target in targets {
        let rules = target.rules(&config.global.external_labels, &config.remote_write);
        for name in REPORTS {
            let sets = report_label_sets(&rules, name).unwrap_or_default();
            for ((labels, own), remote) in sets.into_iter().zip(&mut own).zip(remotes) {
                let labels = labels.map(|labels| without_replica(labels, remote.drops_replica));
                own.extend(labels.map(|labels| labels.hash()));
            }
        }
    }
    add_forwarders_series(config, targets.len(), remotes, &mut own);
    own
}

/// Adds the series of the forwarder itself (`forwarder.own_series`).
fn add_forwarders_series(
    config: &Config,
    targets: usize,
    remotes: &[RemoteEnd],
    own: &mut [HashSet<u64>],
) {
    show_own_label_sets(config, targets, &mut |sets| {
        for ((labels, own), remote) in sets.into_iter().zip(&mut *own).zip(remotes) {
            let labels = labels.map(|labels| without_replica(labels, remote.drops_replica));
            own.extend(labels.map(|labels| labels.hash()));
        }
    });
}
