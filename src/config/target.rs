//! The labels of a target before its first scrape: what the job gives it, and what
//! `relabel_configs` make of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Scheme, ScrapeConfig};
use super::units::{format_duration, parse_duration};
use crate::relabel;
use crate::series::Labels;

/// A target after relabelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Populated {
    /// `host:port`.
    pub address: String,
    /// Of its URL.
    pub scheme: Scheme,
    /// Of its URL.
    pub metrics_path: String,
    /// URL parameters: the job's, the first value of each as relabelled.
    pub params: BTreeMap<String, Vec<String>>,
    /// Never more than the interval.
    pub scrape_timeout: Duration,
    /// Added to its series, sorted by name. None starts with `__`.
    pub labels: Vec<(String, String)>,
}

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";

impl ScrapeConfig {
    /// Makes a target of an address and the labels of its group; none when `relabel_configs` drop
    /// it. // scrape/target.go PopulateLabels
    ///
    /// # Errors
    /// Why Prometheus would not scrape it.
    pub fn populate(
        &self,
        address: &str,
        own: &BTreeMap<String, String>,
    ) -> Result<Option<Populated>, String> {
        let labels = self.discovered(address, own);
        let mut relabelled = Labels::default();
        for (name, value) in &labels {
            relabelled.set(name.as_str(), value.as_str());
        }
        if !relabel::apply(&self.relabel_configs, &mut relabelled)
            .map_err(|error| error.to_string())?
        {
            return Ok(None);
        }
        let address = relabelled.get(ADDRESS).to_owned();
        if address.is_empty() {
            return Err("no address".to_owned());
        }
        // config/config.go CheckTargetAddress. A URL may hold a password.
        if address.contains('/') {
            let shown = if address.contains('@') {
                "the address".to_owned()
            } else {
                format!("{address:?}")
            };
            return Err(format!("{shown} is not a valid hostname"));
        }
        let scrape_timeout = self.own_times(
            relabelled.get(SCRAPE_INTERVAL),
            relabelled.get(SCRAPE_TIMEOUT),
        )?;
        let scheme = match relabelled.get(SCHEME) {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                return Err(format!(
                    "unsupported protocol scheme {other:?}: expected http or https"
                ));
            }
        };
        if relabelled.get("instance").is_empty() {
            relabelled.set("instance", address.clone());
        }
        relabelled.finish();
        // scrape/target.go URL
        let mut params = self.params.clone();
        for label in relabelled.iter() {
            if let Some(name) = label.name.strip_prefix(PARAM) {
                let values = params.entry(name.to_owned()).or_default();
                values.splice(..values.len().min(1), [label.value.to_string()]);
            }
        }
        let public = relabelled
            .iter()
            .filter(|label| !label.name.starts_with("__"));
        Ok(Some(Populated {
            address,
            scheme,
            metrics_path: relabelled.get(METRICS_PATH).to_owned(),
            params,
            scrape_timeout,
            labels: public
                .map(|label| (label.name.to_string(), label.value.to_string()))
                .collect(),
        }))
    }

    /// `scrape/target.go` `PopulateDiscoveredLabels`: a label of the target wins over what the job
    /// says.
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

    /// The time-out of a target that was relabelled.
    fn own_times(&self, interval: &str, timeout: &str) -> Result<Duration, String> {
        let parse = |what: &str, text: &str| match parse_duration(text) {
            None if text.is_empty() => Err(format!(
                "error parsing scrape {what}: empty duration string"
            )),
            None => Err(format!(
                "error parsing scrape {what}: not a valid duration string: {text:?}"
            )),
            Some(duration) if duration.is_zero() => Err(format!("scrape {what} cannot be 0")),
            Some(duration) => Ok(duration),
        };
        let (own_interval, own_timeout) =
            (parse("interval", interval)?, parse("timeout", timeout)?);
        if own_timeout > own_interval {
            return Err(format!(
                "scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})"
            ));
        }
        if own_interval != self.scrape_interval {
            return Err(format!(
                "{SCRAPE_INTERVAL} is {interval}, and targets of one job have one interval here: give it a job of its own"
            ));
        }
        Ok(own_timeout)
    }
}
