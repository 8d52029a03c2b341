//! Lease, jobs and backlog as `state.json` has them, which is read without taking the lease.

mod discarded;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::discarded::{DiscardReason, DiscardedSamples, discarded};
use crate::config::Config;
use crate::report::OwnCounters;
use crate::spool::inspect::{self, StateSnapshot};
use crate::spool::lease::LookError;
use crate::spool::name::RemoteDir;
use crate::spool::state::{Backlog, HeadProgress, JobState, Lease, SpoolState, TargetReads};
use crate::spool::store::Store;

/// The answer to the action `status`.
///
/// The backlog is that of the last release. It is out of date while a tick is at work, and after a
/// tick was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Time of the reading by the store's clock, milliseconds since 1970.
    pub time_ms: i64,
    /// The jobs of the configuration in its order, then those that only the spool knows.
    pub jobs: Vec<JobStatus>,
    /// The remotes of the configuration in its order, then those that only the spool knows.
    pub remotes: Vec<RemoteStatus>,
    /// The spool as a whole.
    pub spool: SpoolStatus,
    /// What the forwarder has done since it first ran with this spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<OwnCounters>,
}

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    /// The job's `job_name`.
    pub job: String,
    /// Whether the configuration names it.
    pub configured: bool,
    /// The newest slot that was served, milliseconds since 1970.
    pub last_slot_ms: Option<i64>,
    /// For each remote, the time up to which every sample of the job is delivered or stored in the
    /// spool, milliseconds since 1970.
    pub watermarks: BTreeMap<RemoteDir, i64>,
    /// For each target, how far the home's TSDB was read for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<String, TargetReads>,
}

/// The backlog of a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteStatus {
    /// The remote's folder in the spool.
    pub remote: RemoteDir,
    /// Its name for people: without a `name`, host and workspace instead of the folder's hash.
    pub label: String,
    /// Whether the configuration names it. The backlog of a remote that is not configured stays in
    /// the spool until it is.
    pub configured: bool,
    /// Segments, samples and bytes that wait for it.
    #[serde(flatten)]
    pub backlog: Backlog,
    /// Progress of the delivery of the oldest segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadProgress>,
}

/// The spool: where it is, who holds it, what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpoolStatus {
    /// Address of the store, an S3 URL or a path.
    pub address: String,
    /// Whether it has a `state.json`, which the first tick writes.
    pub exists: bool,
    /// Epoch of its latest holder.
    pub epoch: u64,
    /// Whether a tick holds it.
    pub lease: LeaseStatus,
    /// Segments, samples and bytes that wait for any remote.
    #[serde(flatten)]
    pub backlog: Backlog,
}

/// The state of the lease at the time of the reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LeaseStatus {
    /// The last holder released it.
    Free,
    /// A tick holds it.
    Held(Lease),
    /// It expired without a release, because its holder was killed.
    Ended(Lease),
}

impl Status {
    /// Reads `state.json` and compares it with the configuration. `now_ms` is used only when the
    /// store does not give its own time.
    ///
    /// # Errors
    /// When the store cannot be read or its `state.json` cannot be used.
    pub async fn look(config: &Config, store: &dyn Store, now_ms: i64) -> Result<Self, LookError> {
        let StateSnapshot { state, time } = inspect::state(store).await?;
        Ok(Self::new(
            config,
            store.address(),
            state,
            time.map_or(now_ms, |time| time.date_ms),
        ))
    }

    fn new(config: &Config, address: &str, state: Option<SpoolState>, time_ms: i64) -> Self {
        let exists = state.is_some();
        let SpoolState {
            epoch,
            lease,
            jobs,
            remotes,
            counters,
            ..
        } = state.unwrap_or_default();
        let mut backlog = Backlog::default();
        remotes
            .values()
            .for_each(|remote| backlog.add(&remote.backlog));
        let lease = match lease {
            None => LeaseStatus::Free,
            Some(lease) if time_ms < lease.until_ms => LeaseStatus::Held(lease),
            Some(lease) => LeaseStatus::Ended(lease),
        };
        let job_names = config
            .scrape_configs
            .iter()
            .map(|job| job.job_name.clone())
            .collect();
        let remote_names = config
            .remote_write
            .iter()
            .map(|entry| RemoteDir::new(&entry.id()))
            .collect();
        let labels: BTreeMap<_, _> = config
            .remote_write
            .iter()
            .map(|entry| (RemoteDir::new(&entry.id()), entry.label.clone()))
            .collect();
        Self {
            time_ms,
            jobs: known_first(job_names, &jobs, |job, configured, known: &JobState| {
                let JobState {
                    last_slot_ms,
                    watermarks,
                    reads,
                    failing: _,
                } = known.clone();
                JobStatus {
                    job,
                    configured,
                    last_slot_ms,
                    watermarks,
                    reads,
                }
            }),
            remotes: known_first(remote_names, &remotes, |remote, configured, known| {
                let label = labels.get(&remote).cloned();
                RemoteStatus {
                    label: label.unwrap_or_else(|| remote.to_string()),
                    remote,
                    configured,
                    backlog: known.backlog,
                    head: known.head.clone(),
                }
            }),
            spool: SpoolStatus {
                address: address.to_owned(),
                exists,
                epoch,
                lease,
                backlog,
            },
            counters,
        }
    }

    /// The name of a remote for people.
    #[must_use]
    pub fn label<'a>(&'a self, remote: &'a RemoteDir) -> &'a str {
        let known = self.remotes.iter().find(|known| known.remote == *remote);
        known.map_or(remote.as_str(), |known| &known.label)
    }
}

/// Merges two lists: first the names of the configuration in its order, then those that only the
/// spool knows.
fn known_first<K: Ord + Clone, V: Default, T>(
    configured: Vec<K>,
    known: &BTreeMap<K, V>,
    make: impl Fn(K, bool, &V) -> T,
) -> Vec<T> {
    let names: BTreeSet<K> = configured.iter().cloned().collect();
    let none = V::default();
    let first = configured.into_iter().map(|name| {
        let known = known.get(&name).unwrap_or(&none);
        make(name, true, known)
    });
    let rest = known
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, known)| make(name.clone(), false, known));
    first.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> Config {
        let yaml = "scrape_configs:\n  \
                    - {job_name: home, static_configs: [{targets: ['192.0.2.1:9090']}]}\n\
                    remote_write:\n  - {name: amp, url: 'http://192.0.2.2/api/v1/remote_write'}\n";
        Config::load(yaml, &|_| None, "forwarder.yml")
            .unwrap()
            .config
    }

    #[test]
    fn an_unused_spool_has_only_the_names_of_the_configuration() {
        let status = json!(Status::new(&config(), "/spool", None, 5_000));
        let expected = json!({
            "time_ms": 5_000,
            "jobs": [{"job": "home", "configured": true, "last_slot_ms": null, "watermarks": {}}],
            "remotes": [
                {"remote": "amp", "label": "amp", "configured": true, "segments": 0, "samples": 0, "bytes": 0},
            ],
            "spool": {
                "address": "/spool",
                "exists": false,
                "epoch": 0,
                "lease": {"state": "free"},
                "segments": 0,
                "samples": 0,
                "bytes": 0,
            },
        });
        assert_eq!(status, expected);
    }

    #[test]
    fn a_remote_without_a_name_is_shown_by_host_and_workspace() {
        let yaml = "scrape_configs:\n  \
                    - {job_name: home, static_configs: [{targets: ['192.0.2.1:9090']}]}\n\
                    remote_write:\n  - url: 'https://aps-workspaces.eu-central-1.amazonaws.com/\
                    workspaces/ws-4711/api/v1/remote_write'\n";
        let loaded = Config::load(yaml, &|_| None, "forwarder.yml").unwrap();
        let status = Status::new(&loaded.config, "/spool", None, 5_000);
        let remote = &status.remotes[0];
        assert_eq!(
            remote.label,
            "aps-workspaces.eu-central-1.amazonaws.com/ws-4711"
        );
        assert_eq!(
            remote.remote.as_str(),
            loaded.config.remote_write[0].unnamed_id,
            "the folder keeps its name"
        );
        assert_eq!(status.label(&remote.remote), remote.label);
        let gone = RemoteDir::new("gone");
        assert_eq!(status.label(&gone), "gone");
    }

    #[test]
    fn jobs_and_remotes_that_only_the_spool_knows_are_listed() {
        let state = json!({
            "version": 1, "epoch": 7, "lease": {"nonce": "ab", "epoch": 7, "until_ms": 9_000},
            "jobs": {"home": {"last_slot_ms": 4_000, "watermarks": {"amp": 3_000}}, "away": {}},
            "remotes": {
                "amp": {"segments": 2, "samples": 130, "bytes": 900, "oldest_ms": 1_000},
                "old": {"segments": 1, "samples": 5, "bytes": 60, "oldest_ms": 500},
            },
        });
        let state = SpoolState::read(state.to_string().as_bytes()).unwrap();
        let status = Status::new(&config(), "/spool", Some(state.clone()), 8_999);
        assert!(matches!(&status.spool.lease, LeaseStatus::Held(lease) if lease.until_ms == 9_000));
        assert_eq!(
            (status.spool.backlog.samples, status.spool.backlog.oldest_ms),
            (135, Some(500))
        );
        assert_eq!(
            status
                .jobs
                .iter()
                .map(|job| (job.job.as_str(), job.configured))
                .collect::<Vec<_>>(),
            [("home", true), ("away", false)]
        );
        assert_eq!(status.jobs[0].watermarks[&RemoteDir::new("amp")], 3_000);
        assert_eq!(
            status
                .remotes
                .iter()
                .map(|remote| (remote.remote.as_str(), remote.configured))
                .collect::<Vec<_>>(),
            [("amp", true), ("old", false)]
        );
        let late = Status::new(&config(), "/spool", Some(state), 9_000);
        assert_eq!(
            json!(late)["spool"]["lease"],
            json!({"state": "ended", "nonce": "ab", "epoch": 7, "until_ms": 9_000})
        );
    }
}
