//! What the spool knows of lease, jobs and backlog: read from `state.json` alone, without the
//! lease.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Config;
use crate::spool::inspect::{self, Looked};
use crate::spool::lease::LookError;
use crate::spool::name::RemoteDir;
use crate::spool::state::{Backlog, HeadState, JobState, Lease, State};
use crate::spool::store::Store;

/// All of it. The backlog is what the last release said: while a tick is at work, or after one was
/// killed, it is older than the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// When it was read, by the store's clock.
    pub time_ms: i64,
    /// Those of the configuration first, in its order.
    pub jobs: Vec<JobStatus>,
    /// Those of the configuration first, in its order.
    pub remotes: Vec<RemoteStatus>,
    /// As a whole.
    pub spool: SpoolStatus,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    /// `job_name`.
    pub job: String,
    /// Whether the configuration names it.
    pub configured: bool,
    /// The newest slot that was served.
    pub last_slot_ms: Option<i64>,
    /// For each remote, the time up to which every sample of the job is delivered or durable in the
    /// spool.
    pub watermarks: BTreeMap<RemoteDir, i64>,
}

/// A remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteStatus {
    /// As the spool calls it.
    pub remote: RemoteDir,
    /// Whether the configuration names it. What is owed to another one stays until it does.
    pub configured: bool,
    /// What is owed to it.
    #[serde(flatten)]
    pub backlog: Backlog,
    /// How far the oldest segment is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadState>,
}

/// The spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpoolStatus {
    /// Where it is.
    pub address: String,
    /// Whether anything has used it.
    pub exists: bool,
    /// Of its latest holder.
    pub epoch: u64,
    /// Who holds it.
    pub lease: LeaseStatus,
    /// Owed to all remotes together.
    #[serde(flatten)]
    pub backlog: Backlog,
}

/// The lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LeaseStatus {
    /// Nobody holds it; the last one released it.
    Free,
    /// A tick is at work.
    Held(Lease),
    /// Its time is over and it was not released: its holder was killed.
    Ended(Lease),
}

impl Status {
    /// Reads the state.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(config: &Config, store: &dyn Store, now_ms: i64) -> Result<Self, LookError> {
        let Looked { state, time } = inspect::state(store).await?;
        Ok(Self::tell(
            config,
            store.address(),
            state,
            time.map_or(now_ms, |time| time.date_ms),
        ))
    }

    fn tell(config: &Config, address: &str, state: Option<State>, time_ms: i64) -> Self {
        let exists = state.is_some();
        let State {
            epoch,
            lease,
            jobs,
            remotes,
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
        Self {
            time_ms,
            jobs: known_first(job_names, &jobs, |job, configured, known: &JobState| {
                let JobState {
                    last_slot_ms,
                    watermarks,
                } = known.clone();
                JobStatus {
                    job,
                    configured,
                    last_slot_ms,
                    watermarks,
                }
            }),
            remotes: known_first(remote_names, &remotes, |remote, configured, known| {
                RemoteStatus {
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
        }
    }
}

/// What the configuration names, in its order, and then what only the spool knows.
fn known_first<K: Ord + Clone, V: Default, T>(
    configured: Vec<K>,
    known: &BTreeMap<K, V>,
    tell: impl Fn(K, bool, &V) -> T,
) -> Vec<T> {
    let names: BTreeSet<K> = configured.iter().cloned().collect();
    let none = V::default();
    let first = configured.into_iter().map(|name| {
        let known = known.get(&name).unwrap_or(&none);
        tell(name, true, known)
    });
    let rest = known
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, known)| tell(name.clone(), false, known));
    first.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> Config {
        let yaml = "scrape_configs:\n  - {job_name: home, static_configs: [{targets: ['192.0.2.1:9090']}]}\n\
                    remote_write:\n  - {name: amp, url: 'http://192.0.2.2/api/v1/remote_write'}\n";
        Config::load(yaml, &|_| None, "forwarder.yml")
            .unwrap()
            .config
    }

    #[test]
    fn a_spool_that_nobody_has_used_has_nothing_to_tell() {
        let told = json!(Status::tell(&config(), "/spool", None, 5_000));
        let expected = json!({
            "time_ms": 5_000,
            "jobs": [{"job": "home", "configured": true, "last_slot_ms": null, "watermarks": {}}],
            "remotes": [{"remote": "amp", "configured": true, "segments": 0, "samples": 0, "bytes": 0}],
            "spool": {"address": "/spool", "exists": false, "epoch": 0, "lease": {"state": "free"}, "segments": 0, "samples": 0, "bytes": 0},
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn what_only_the_spool_knows_is_told_as_well() {
        let state = json!({
            "version": 1, "epoch": 7, "lease": {"nonce": "ab", "epoch": 7, "until_ms": 9_000},
            "jobs": {"home": {"last_slot_ms": 4_000, "watermarks": {"amp": 3_000}}, "away": {}},
            "remotes": {"amp": {"segments": 2, "samples": 130, "bytes": 900, "oldest_ms": 1_000}, "old": {"segments": 1, "samples": 5, "bytes": 60, "oldest_ms": 500}},
        });
        let state = State::read(state.to_string().as_bytes()).unwrap();
        let told = Status::tell(&config(), "/spool", Some(state.clone()), 8_999);
        assert!(matches!(&told.spool.lease, LeaseStatus::Held(lease) if lease.until_ms == 9_000));
        assert_eq!(
            (told.spool.backlog.samples, told.spool.backlog.oldest_ms),
            (135, Some(500))
        );
        assert_eq!(
            told.jobs
                .iter()
                .map(|job| (job.job.as_str(), job.configured))
                .collect::<Vec<_>>(),
            [("home", true), ("away", false)]
        );
        assert_eq!(told.jobs[0].watermarks[&RemoteDir::new("amp")], 3_000);
        assert_eq!(
            told.remotes
                .iter()
                .map(|remote| (remote.remote.as_str(), remote.configured))
                .collect::<Vec<_>>(),
            [("amp", true), ("old", false)]
        );
        let late = Status::tell(&config(), "/spool", Some(state), 9_000);
        assert_eq!(
            json!(late)["spool"]["lease"],
            json!({"state": "ended", "nonce": "ab", "epoch": 7, "until_ms": 9_000})
        );
    }
}
