//! The labels of a target before its first scrape: what the job gives it, and what
//! `relabel_configs` make of it.
//!
//! A target that cannot be scraped stops nothing else. It keeps its labels, so that its `up` is 0,
//! and the lint reports it with its line.

mod error;
mod url;

use std::collections::BTreeMap;
use std::time::Duration;

use ::url::Url;

use self::error::SCRAPE_INTERVAL;
pub use self::error::TargetError;
pub(super) use self::url::checked_address;
use self::url::target_url;
use super::model::ScrapeConfig;
use super::units::{format_duration, parse_duration};
use crate::relabel;

/// A target after relabelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulatedTarget {
    /// URL of the exposition with its parameters, or the reason why the target cannot be scraped.
    pub url: Result<Url, TargetError>,
    /// Time-out of one scrape, at most the scrape interval.
    pub scrape_timeout: Duration,
    /// Labels that are added to the target's series, sorted by name. No name starts with `__`.
    pub labels: Vec<(String, String)>,
}

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const INSTANCE: &str = "instance";

impl ScrapeConfig {
    /// Makes a target of an address and the labels of its group. Returns `None` when
    /// `relabel_configs` drop it. // scrape/target.go PopulateLabels
    ///
    /// Prometheus logs and leaves out a target whose relabelled address or times are wrong. Here it
    /// has an `up` that is 0, like any other target that cannot be scraped.
    #[must_use]
    pub fn populate(
        &self,
        address: &str,
        own: &BTreeMap<String, String>,
    ) -> Option<PopulatedTarget> {
        let discovered = self.discovered(address, own);
        let (mut labels, times) = match relabel::apply_to_map(&self.relabel_configs, &discovered) {
            Ok(Some(labels)) => {
                let times =
                    self.own_timeout(get(&labels, SCRAPE_INTERVAL), get(&labels, SCRAPE_TIMEOUT));
                (labels, times)
            }
            Ok(None) => return None,
            Err(error) => (discovered, Err(error.into())),
        };
        let (url, scrape_timeout) = match times {
            Ok(scrape_timeout) => (self.url(&labels), scrape_timeout),
            Err(error) => (Err(error), self.scrape_timeout),
        };
        let relabelled = labels.get(ADDRESS).cloned();
        labels
            .entry(INSTANCE.to_owned())
            .or_insert_with(|| relabelled.unwrap_or_else(|| address.to_owned()));
        Some(PopulatedTarget {
            url,
            scrape_timeout,
            labels: labels
                .into_iter()
                .filter(|(name, _)| !name.starts_with("__"))
                .collect(),
        })
    }

    fn url(&self, labels: &BTreeMap<String, String>) -> Result<Url, TargetError> {
        target_url(
            get(labels, SCHEME),
            checked_address(get(labels, ADDRESS))?,
            get(labels, METRICS_PATH),
            &self.relabelled_params(labels),
        )
    }

    /// The labels of a target before relabelling. A label of the target wins over what the job
    /// says. // `scrape/target.go` `PopulateDiscoveredLabels`
    fn discovered(
        &self,
        address: &str,
        own: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<_, _> = own
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        labels.insert(ADDRESS.to_owned(), address.to_owned());
        let params = self
            .params
            .iter()
            .filter_map(|(name, values)| Some((format!("{PARAM}{name}"), values.first()?.clone())));
        let job = [
            ("job", self.job_name.clone()),
            (SCRAPE_INTERVAL, format_duration(self.scrape_interval)),
            (SCRAPE_TIMEOUT, format_duration(self.scrape_timeout)),
            (METRICS_PATH, self.metrics_path.clone()),
            (SCHEME, self.scheme.clone()),
        ];
        for (name, value) in job
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .chain(params)
        {
            labels.entry(name).or_insert(value);
        }
        labels
    }

    /// The job's URL parameters. A `__param_` label replaces the first value of its parameter. //
    /// scrape/target.go URL
    fn relabelled_params(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> BTreeMap<String, Vec<String>> {
        let mut params = self.params.clone();
        for (label, value) in labels {
            if let Some(name) = label.strip_prefix(PARAM) {
                let values = params.entry(name.to_owned()).or_default();
                values.splice(..values.len().min(1), [value.clone()]);
            }
        }
        params
    }

    /// The time-out of a relabelled target, whose interval must be the job's.
    fn own_timeout(&self, interval: &str, timeout: &str) -> Result<Duration, TargetError> {
        let own_interval = parse_setting("interval", interval)?;
        let own_timeout = parse_setting("timeout", timeout)?;
        if own_timeout > own_interval {
            return Err(TargetError::Timeout {
                timeout: timeout.to_owned(),
                interval: interval.to_owned(),
            });
        }
        if own_interval != self.scrape_interval {
            return Err(TargetError::OwnInterval(interval.to_owned()));
        }
        Ok(own_timeout)
    }
}

fn get<'l>(labels: &'l BTreeMap<String, String>, name: &str) -> &'l str {
    labels.get(name).map_or("", String::as_str)
}

fn parse_setting(setting: &'static str, text: &str) -> Result<Duration, TargetError> {
    match parse_duration(text) {
        None if text.is_empty() => Err(TargetError::EmptyDuration(setting)),
        None => Err(TargetError::Duration {
            setting,
            text: text.to_owned(),
        }),
        Some(duration) if duration.is_zero() => Err(TargetError::ZeroDuration(setting)),
        Some(duration) => Ok(duration),
    }
}
