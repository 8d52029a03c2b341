//! Targets: where to scrape, and the labels that its series get.

use std::collections::BTreeMap;

use url::Url;
use url::form_urlencoded::Serializer;

use crate::config::ScrapeConfig;

/// One address of a scrape job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its place among all targets of the configuration.
    pub index: u16,
    /// The job's place in `scrape_configs`.
    pub job: usize,
    /// What is fetched.
    pub url: Url,
    /// Added to its series, sorted by name. None starts with `__`.
    pub labels: Vec<(String, String)>,
    /// How many targets its job has.
    pub siblings: usize,
}

impl Target {
    /// The label `instance`.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.labels.iter().find(|(name, _)| name == "instance").map_or("", |(_, value)| value)
    }
}

/// The targets of all jobs, in the order of the configuration.
///
/// # Errors
/// The address that makes no URL, and why.
pub fn targets(jobs: &[ScrapeConfig]) -> Result<Vec<Target>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        let first = targets.len();
        for group in &job.static_configs {
            for address in &group.targets {
                let index = u16::try_from(targets.len()).map_err(|_| "more than 65535 targets".to_owned())?;
                targets.push(Target { index, job: place, url: url(job, address)?, labels: labels(job, address, &group.labels), siblings: 0 });
            }
        }
        let siblings = targets.len() - first;
        targets[first..].iter_mut().for_each(|target| target.siblings = siblings);
    }
    Ok(targets)
}

/// `scrape/target.go` `PopulateLabels`: a label of the target wins over the job's name; labels starting with `__` are internal.
fn labels(job: &ScrapeConfig, address: &str, own: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut labels = BTreeMap::from([("job", job.job_name.as_str()), ("instance", address)]);
    labels.extend(own.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str())));
    let public = labels.into_iter().filter(|(name, value)| !name.starts_with("__") && !value.is_empty());
    public.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Parameters are sorted by key, as Go's `url.Values.Encode` sorts them.
fn url(job: &ScrapeConfig, address: &str) -> Result<Url, String> {
    let text = format!("{}://{address}{}", job.scheme.as_str(), job.metrics_path);
    let mut url = Url::parse(&text).map_err(|error| format!("job \"{}\", target \"{address}\": {error}", job.job_name))?;
    let mut query = Serializer::new(String::new());
    for (name, values) in &job.params {
        for value in values {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    url.set_query((!query.is_empty()).then_some(&query));
    Ok(url)
}
