//! A tick's time as the holder of the lease: from taking it to releasing it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::plan::Plan;
use super::remote::Lane;
use crate::config::Config;
use crate::report::{
    Incident, IncidentKind, OrphanReport, REPORTED, SpoolReport, TickCounts, counted,
};
use crate::spool::access::StoreAccess;
use crate::spool::lease::{LeaseClient, LeaseFence, PreviousEnd, ReleaseError, TakeError, Tenure};
use crate::spool::name::RemoteDir;
use crate::spool::outbox::{self, Outbox, SpoolLimits};
use crate::spool::state::{Backlog, JobState, RemoteRecord, SpoolState, TimestampTable};
use crate::spool::store::Store;
use crate::spool::table;
use crate::time::{Clock, Deadlines};

/// Lateness that is usual for the tick that a schedule starts next.
const LATE: Duration = Duration::from_secs(2);

/// Longest time for deleting old tables of last timestamps: nothing waits for it to succeed.
const TABLES_TIME: Duration = Duration::from_secs(2);

/// The spool of a process. It takes the lease for each tick, and only the holder of the lease may
/// use the backlogs.
pub(super) struct TickSpool {
    keeper: LeaseClient,
    limits: SpoolLimits,
}

/// The ways in which a tick can begin.
pub(super) enum LeaseOutcome {
    /// The tick holds the lease.
    Leased(Box<LeasedSpool>),
    /// The tick runs without a spool: there is none, or the store is down and nothing is in it.
    Without {
        /// Incident that reports the store as down, if there is one.
        degraded: Option<Incident>,
    },
    /// Another tick holds the lease, so this one touches nothing.
    Busy(Incident),
    /// The spool is unavailable, and the tick must not run without it.
    Down(Incident),
}

/// The spool under the lease: the backlogs of all remotes.
pub(super) struct LeasedSpool {
    tenure: Tenure,
    /// The store under the lease.
    pub(super) access: StoreAccess,
    /// Backlogs, one for each remote of the configuration, in its order.
    pub(super) outboxes: Vec<Outbox>,
    /// Records of remotes that the configuration does not name.
    orphans: BTreeMap<RemoteDir, RemoteRecord>,
    /// What happened in the spool of those remotes.
    orphan_incidents: Vec<Incident>,
    /// Samples that were lost there.
    pub(super) orphans_lost: u64,
    /// Samples that each outbox owed when the tick began.
    pub(super) owed_before: Vec<u64>,
}

impl TickSpool {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        config: &Config,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let intervals = config.scrape_configs.iter().map(|job| job.scrape_interval);
        let spare = intervals.min().unwrap_or_default().saturating_sub(LATE);
        Self {
            keeper: LeaseClient::new(store, clock, rng).with_spare(spare),
            limits: SpoolLimits::from(&config.forwarder.spool),
        }
    }

    /// Takes the lease and opens the backlogs of all remotes.
    pub(super) async fn begin(
        &mut self,
        plan: &Plan,
        planned: &Deadlines,
        lanes: &[Lane],
    ) -> LeaseOutcome {
        self.keeper.stop_waiting_at(plan.stop.clone());
        let taken = self.keeper.take(planned).await;
        // This is asked only after the attempt, because the attempt may just have met another
        // holder of the lease, which may have left a backlog.
        let may_go_without = self.keeper.may_go_without();
        let down = |text: String| {
            if may_go_without {
                LeaseOutcome::Without {
                    degraded: Some(Incident::new(IncidentKind::WithoutSpool, text)),
                }
            } else {
                LeaseOutcome::Down(Incident::new(IncidentKind::SpoolUnavailable, text))
            }
        };
        let tenure = match taken {
            Ok(tenure) => tenure,
            Err(error @ (TakeError::Busy { .. } | TakeError::Stopped)) => {
                return LeaseOutcome::Busy(Incident::new(
                    IncidentKind::LeaseHeld,
                    error.to_string(),
                ));
            }
            Err(error @ TakeError::Late) => {
                return LeaseOutcome::Busy(Incident::new(
                    IncidentKind::LeaseLate,
                    error.to_string(),
                ));
            }
            // The store gave no answer, so the holder of the lease is unknown. Whether the tick may
            // go on depends on our own last one.
            Err(error @ TakeError::Store(_)) => return down(error.to_string()),
            Err(error @ TakeError::State(_)) => {
                let kind = IncidentKind::SpoolUnavailable;
                return LeaseOutcome::Down(Incident::new(kind, error.to_string()));
            }
        };
        let access = tenure.access(&self.keeper);
        let remotes: Vec<_> = lanes
            .iter()
            .map(|lane| (lane.dir.clone(), self.limits))
            .collect();
        match outbox::open(&access, &tenure.state, &remotes).await {
            Ok(opened) => {
                let owed_before = opened
                    .outboxes
                    .iter()
                    .map(|outbox| outbox.backlog().samples)
                    .collect();
                LeaseOutcome::Leased(Box::new(LeasedSpool {
                    tenure,
                    access,
                    outboxes: opened.outboxes,
                    orphans: opened.orphans,
                    orphan_incidents: opened.incidents,
                    orphans_lost: opened.orphans_lost,
                    owed_before,
                }))
            }
            // The lease is left to expire, and the backlog stays in the store.
            Err(error) => {
                let kind = IncidentKind::SpoolUnavailable;
                LeaseOutcome::Down(Incident::new(kind, error.to_string()))
            }
        }
    }

    /// Notes that a tick without the store has ended.
    pub(super) fn went_without(&mut self) {
        self.keeper.went_without();
    }

    /// Renews the lease when it is time. Returns false when that is not, or no longer, possible.
    pub(super) async fn renew(&self, held: &LeasedSpool) -> bool {
        let Some(renewal) = held.tenure.deadlines.renewal() else {
            return false;
        };
        tokio::time::sleep_until(renewal).await;
        match self.keeper.renew(&held.tenure).await {
            Ok(is_renewed) => is_renewed,
            Err(error) => {
                tracing::error!("{error}: the tick ends with its lease");
                false
            }
        }
    }

    /// Asks the store how long the lease still lasts, after a suspension of the process.
    pub(super) async fn confirm(&self, held: &LeasedSpool) {
        self.keeper.confirm(&held.tenure).await;
    }

    /// Releases the lease with the new state of the spool. Returns the backlog, and an incident if
    /// the lease could not be released.
    pub(super) async fn release(
        &mut self,
        held: LeasedSpool,
        jobs: BTreeMap<String, JobState>,
        counts: &TickCounts,
        lanes: &[Lane],
    ) -> (SpoolReport, Option<Incident>) {
        let LeasedSpool {
            tenure,
            access,
            outboxes,
            orphans,
            ..
        } = held;
        let mut remotes = orphans;
        let mut backlog = Backlog::default();
        let mut orphaned = Vec::new();
        for (remote, record) in remotes
            .iter()
            .filter(|(_, record)| record.is_owed_anything())
        {
            backlog.add(&record.backlog);
            orphaned.push(OrphanReport {
                remote: remote.as_str().to_owned(),
                segments: record.backlog.segments,
                samples: record.backlog.samples,
                bytes: record.backlog.bytes,
                oldest_ms: record.backlog.oldest_ms,
            });
        }
        orphaned.truncate(REPORTED);
        for (lane, outbox) in lanes.iter().zip(&outboxes) {
            let summary = outbox.summary().await;
            backlog.add(&summary.backlog);
            remotes.insert(
                lane.dir.clone(),
                RemoteRecord {
                    metadata_ms: lane.metadata_ms.get(),
                    table: lane.table.stored(),
                    ..summary
                },
            );
        }
        // States of jobs that the configuration no longer names are kept: a job may return. The new
        // states come last in the chain and replace the old ones.
        let jobs = tenure.state.jobs.clone().into_iter().chain(jobs).collect();
        let mut counters = tenure.state.counters.clone().unwrap_or_default();
        counters.add(counts);
        let state = SpoolState {
            jobs,
            remotes,
            counters: Some(counters),
            ..tenure.state.clone()
        };
        // Before the release: after it, another process may be at work.
        remove_old_tables(lanes, &access).await;
        let released = self.keeper.release(tenure, state).await;
        if released.is_ok() {
            lanes.iter().for_each(|lane| lane.table.released());
        }
        let incident = released.err().map(|error| {
            let text = format!(
                "{error}; the next tick waits for the lease to end, and counts the backlog again"
            );
            Incident::new(IncidentKind::LeaseNotReleased, text)
        });
        (report(&backlog, orphaned), incident)
    }
}

impl LeasedSpool {
    /// Returns the deadlines of the tick, which end before the lease does.
    pub(super) fn deadlines(&self) -> &Deadlines {
        &self.tenure.deadlines
    }

    /// Returns what notices that the process was suspended.
    pub(super) fn fence(&self) -> &LeaseFence {
        &self.tenure.fence
    }

    /// Returns the number of this tenure, with which the names of its segments begin.
    pub(super) fn epoch(&self) -> u64 {
        self.tenure.epoch
    }

    /// Returns whether this process also held the lease before, so that its series and slots are
    /// still up to date.
    pub(super) fn continued(&self) -> bool {
        self.tenure.continued
    }

    /// Returns whether the last holder did not release the lease.
    pub(super) fn after_a_kill(&self) -> bool {
        self.tenure.previous == PreviousEnd::Unclean
    }

    /// Returns the state of a job at the time the lease was taken.
    pub(super) fn job(&self, name: &str) -> JobState {
        self.tenure
            .state
            .jobs
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// Returns the table of last timestamps that the last holder has left for a remote.
    pub(super) fn table(&self, lane: &Lane) -> Option<TimestampTable> {
        self.tenure.state.remotes.get(&lane.dir)?.table.clone()
    }

    /// Returns the state as the last holder has left it.
    pub(super) fn released_state(&self) -> &SpoolState {
        &self.tenure.state
    }

    /// Writes a state down while the lease stays held.
    pub(super) async fn checkpoint(&self, state: SpoolState) -> Result<(), ReleaseError> {
        self.tenure.checkpoint(&self.access, state).await
    }

    /// Returns when a remote last got metadata, as far as the last holder knew.
    pub(super) fn metadata_ms(&self, lane: &Lane) -> Option<i64> {
        self.tenure.state.remotes.get(&lane.dir)?.metadata_ms
    }

    /// Returns whether there is a backlog of a remote that the configuration does not name.
    pub(super) fn has_orphans(&self) -> bool {
        self.orphans.values().any(RemoteRecord::is_owed_anything)
    }

    /// Returns an incident for each backlog of a remote that the configuration does not name, and
    /// for what happened in it.
    pub(super) fn orphans(&self) -> impl Iterator<Item = Incident> + '_ {
        let owed = self
            .orphans
            .iter()
            .filter(|(_, state)| state.is_owed_anything());
        let backlogs = owed.map(|(remote, state)| {
            let samples = state.backlog.samples;
            let owed = counted(samples, "sample", ["is", "are"]);
            let text = format!(
                "spool: {owed} owed to {0}, which the configuration does not name: this backlog \
                 stays until it does, or until `forwardctl spool adopt {0}` gives it to another \
                 remote; `forwardctl spool export --remote {0}` writes it to a file",
                remote.as_str()
            );
            Incident::new(IncidentKind::BacklogOrphaned, text)
                .for_remote(remote.as_str())
                .with_samples(samples)
        });
        backlogs.chain(self.orphan_incidents.iter().cloned())
    }
}

/// Deletes the tables of last timestamps that no state names any more. Those that a slow store does
/// not delete in time stay until another process sweeps them away.
async fn remove_old_tables(lanes: &[Lane], access: &StoreAccess) {
    let obsolete = lanes.iter().flat_map(|lane| {
        let tables = lane.table.take_obsolete().into_iter();
        tables.map(move |old| (lane, old))
    });
    let removing =
        obsolete.map(|(lane, old)| async move { table::remove(access, &lane.dir, &old).await });
    let _ = timeout(TABLES_TIME, join_all(removing)).await;
}

fn report(backlog: &Backlog, orphans: Vec<OrphanReport>) -> SpoolReport {
    SpoolReport {
        segments: backlog.segments,
        samples: backlog.samples,
        bytes: backlog.bytes,
        oldest_ms: backlog.oldest_ms,
        orphans,
    }
}
