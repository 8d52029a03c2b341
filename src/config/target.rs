//! The labels of a target before its first scrape: what the job gives it, and what
//! `relabel_configs` make of it.
//!
//! This is checked while the configuration loads, as `promtool check config` does, so that a target
//! that cannot be scraped is reported with its line, together with all other errors.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Scheme, ScrapeConfig};
use super::units::{format_duration, parse_duration};
use crate::relabel::{self, SizeError};

/// A target after relabelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulatedTarget {
    /// `host:port`, without a scheme or a path.
    pub address: String,
    /// Scheme of the target's URL.
    pub scheme: Scheme,
    /// Path of the target's URL.
    pub metrics_path: String,
    /// URL parameters: the job's, with the first value of each as relabelled.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time-out of one scrape, at most the scrape interval.
    pub scrape_timeout: Duration,
    /// Labels that are added to the target's series, sorted by name. No name starts with `__`.
    pub labels: Vec<(String, String)>,
}

/// Why a target cannot be scraped, in Prometheus' words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Relabelling made the labels too large.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Relabelling removed the address.
    #[error("no address")]
    NoAddress,
    /// The address holds a slash. The text is the quoted address, or a description of it when it
    /// may hold a password.
    #[error("{0} is not a valid hostname")]
    Hostname(String),
    /// The scheme is neither `http` nor `https`.
    #[error("unsupported protocol scheme {0:?}: expected http or https")]
    Scheme(String),
    /// The interval or the time-out is empty.
    #[error("error parsing scrape {0}: empty duration string")]
    EmptyDuration(&'static str),
    /// The interval or the time-out is no duration.
    #[error("error parsing scrape {setting}: not a valid duration string: {text:?}")]
    Duration {
        /// `interval` or `timeout`.
        setting: &'static str,
        /// The text that is no duration.
        text: String,
    },
    /// The interval or the time-out is zero.
    #[error("scrape {0} cannot be 0")]
    ZeroDuration(&'static str),
    /// The time-out is longer than the interval.
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    Timeout {
        /// The time-out, as written.
        timeout: String,
        /// The interval, as written.
        interval: String,
    },
    /// The target has another interval than its job.
    #[error(
        "{SCRAPE_INTERVAL} is {0}, and targets of one job have one interval here: \
         give it a job of its own"
    )]
    OwnInterval(String),
}

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const INSTANCE: &str = "instance";

impl ScrapeConfig {
    /// Makes a target of an address and the labels of its group. Returns `None` when
    /// `relabel_configs` drop it. // scrape/target.go PopulateLabels
    ///
    /// # Errors
    /// Fails with the reason why Prometheus would not scrape the target, or why its job cannot have
    /// it here.
    pub fn populate(
        &self,
        address: &str,
        own: &BTreeMap<String, String>,
    ) -> Result<Option<PopulatedTarget>, TargetError> {
        let discovered = self.discovered(address, own);
        let Some(mut labels) = relabel::apply_to_map(&self.relabel_configs, &discovered)? else {
            return Ok(None);
        };
        let get = |labels: &BTreeMap<String, String>, name: &str| {
            labels.get(name).cloned().unwrap_or_default()
        };
        let address = checked_address(get(&labels, ADDRESS))?;
        let scrape_timeout = self.own_timeout(
            &get(&labels, SCRAPE_INTERVAL),
            &get(&labels, SCRAPE_TIMEOUT),
        )?;
        let scheme = match get(&labels, SCHEME).as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(TargetError::Scheme(other.to_owned())),
        };
        labels
            .entry(INSTANCE.to_owned())
            .or_insert_with(|| address.clone());
        Ok(Some(PopulatedTarget {
            address,
            scheme,
            metrics_path: get(&labels, METRICS_PATH),
            params: self.relabelled_params(&labels),
            scrape_timeout,
            labels: labels
                .into_iter()
                .filter(|(name, _)| !name.starts_with("__"))
                .collect(),
        }))
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
            (SCHEME, self.scheme.as_str().to_owned()),
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

/// config/config.go `CheckTargetAddress`
fn checked_address(address: String) -> Result<String, TargetError> {
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    if address.contains('/') {
        // An address with an @ may be a URL with a password: it is not shown.
        return Err(TargetError::Hostname(if address.contains('@') {
            "the address".to_owned()
        } else {
            format!("{address:?}")
        }));
    }
    Ok(address)
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
