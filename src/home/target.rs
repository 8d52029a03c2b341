//! Targets: the addresses to scrape, and the labels that their series get.

use std::time::Duration;

use url::Url;

use crate::config::{PopulatedTarget, ScrapeConfig, TargetError};
use crate::series::TargetId;

/// A scrape job: its place in `scrape_configs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub usize);

impl JobId {
    /// The job's place as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// One address of a scrape job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Place among all targets of the configuration.
    pub id: TargetId,
    /// The job to which the target belongs.
    pub job: JobId,
    /// URL of the exposition with its parameters, or the reason why the target cannot be scraped.
    pub url: Result<Url, TargetError>,
    /// Labels that its series get, sorted by name. None starts with `__`.
    pub labels: Vec<(String, String)>,
    /// Longest time of a scrape: the job's, unless relabelling changed it.
    pub scrape_timeout: Duration,
    /// Number of targets of its job.
    pub siblings: usize,
}

impl Target {
    /// The label `instance`.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.labels
            .iter()
            .find(|(name, _)| name == "instance")
            .map_or("", |(_, value)| value)
    }
}

/// The targets of all jobs, in the order of the configuration, without those that `relabel_configs`
/// drop.
///
/// # Errors
/// Fails when there are more than 65535 targets.
pub fn targets(jobs: &[ScrapeConfig]) -> Result<Vec<Target>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        let first = targets.len();
        for group in &job.static_configs {
            for address in &group.targets {
                let Some(populated) = job.populate(address, &group.labels) else {
                    continue;
                };
                // The last number is that of the forwarder itself.
                let id = u16::try_from(targets.len())
                    .ok()
                    .map(TargetId)
                    .filter(|id| id.0 < u16::MAX)
                    .ok_or("more than 65535 targets")?;
                let PopulatedTarget {
                    url,
                    labels,
                    scrape_timeout,
                } = populated;
                // What relabelling made the same is scraped once (scrape/scrape.go sync).
                if targets[first..]
                    .iter()
                    .all(|known| known.url != url || known.labels != labels)
                {
                    targets.push(Target {
                        id,
                        job: JobId(place),
                        url,
                        labels,
                        scrape_timeout,
                        siblings: 0,
                    });
                }
            }
        }
        let siblings = targets.len() - first;
        targets[first..]
            .iter_mut()
            .for_each(|target| target.siblings = siblings);
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_target_that_cannot_be_scraped_stops_no_other_one() {
        let text = "scrape_configs:\n- job_name: a\n  metrics_path: federate\n  static_configs: \
            [{targets: ['192.168.1.300:9090', 'h:1', 'b:99999', 'c:1 ']}]\n- job_name: b\n  \
            scheme: ftp\n  static_configs: [{targets: [h]}]\nremote_write: [{url: 'http://r/'}]\n";
        let loaded = Config::load(text, &|_| None, "f.yml").unwrap();
        let found: Vec<_> = targets(&loaded.config.scrape_configs)
            .unwrap()
            .iter()
            .map(|target| {
                let url = target.url.as_ref().map(Url::to_string).unwrap_or_default();
                format!("{} {url}", target.instance())
            })
            .collect();
        assert_eq!(
            found,
            [
                "192.168.1.300:9090 ",
                "h:1 http://h:1/federate",
                "b:99999 ",
                "c:1  ",
                "h ",
            ]
        );
        let faulty = loaded
            .warnings
            .iter()
            .filter(|warning| warning.message.contains("its up is 0"));
        assert_eq!(faulty.count(), 4, "{:?}", loaded.warnings);
    }
}
