//! A tick's time as the holder of the lease: from taking it to releasing it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::remote::Lane;
use crate::config::SpoolConfig;
use crate::report::{Incident, IncidentKind, SpoolReport};
use crate::spool::lease::{LeaseClient, PreviousEnd, TakeError, Tenure};
use crate::spool::name::RemoteDir;
use crate::spool::outbox::{self, Outbox, SpoolLimits};
use crate::spool::state::{Backlog, JobState, RemoteRecord, SpoolState};
use crate::spool::store::Store;
use crate::time::{Clock, Deadlines};

/// The spool of a process, and whether it may be used: the lease is taken here for each tick.
pub(super) struct TickSpool {
    keeper: LeaseClient,
    limits: SpoolLimits,
}

/// The ways in which a tick can begin.
pub(super) enum LeaseOutcome {
    /// With the lease.
    Leased(Box<LeasedSpool>),
    /// Without a spool: there is none, or it is down and there is nothing in it.
    Without {
        /// That it is down.
        degraded: Option<Incident>,
    },
    /// Another one is at work: nothing is touched.
    Busy(Incident),
    /// Nothing may be done without the spool.
    Down(Incident),
}

/// The spool under the lease: the backlogs of all remotes.
pub(super) struct LeasedSpool {
    tenure: Tenure,
    /// One for each remote.
    pub(super) outboxes: Vec<Outbox>,
    orphans: BTreeMap<RemoteDir, RemoteRecord>,
    /// Samples that each outbox owed when the tick began.
    pub(super) owed_before: Vec<u64>,
}

impl TickSpool {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        spool: &SpoolConfig,
        rng: &mut fastrand::Rng,
    ) -> Self {
        Self {
            keeper: LeaseClient::new(store, clock, rng),
            limits: SpoolLimits::from(spool),
        }
    }

    /// Takes the lease and opens what is owed.
    pub(super) async fn begin(&mut self, planned: &Deadlines, lanes: &[Lane]) -> LeaseOutcome {
        let taken = self.keeper.take(planned).await;
        // Now, and not before: it may just have met another one.
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
            Err(error @ TakeError::Busy { .. }) => {
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
                    outboxes: opened.outboxes,
                    orphans: opened.orphans,
                    owed_before,
                }))
            }
            // The lease ends by itself, and what is owed stays where it is.
            Err(error) => {
                let kind = IncidentKind::SpoolUnavailable;
                LeaseOutcome::Down(Incident::new(kind, error.to_string()))
            }
        }
    }

    /// The tick has ended that went on without the store.
    pub(super) fn went_without(&mut self) {
        self.keeper.went_without();
    }

    /// Releases the lease, and says what is owed now.
    pub(super) async fn release(
        &mut self,
        held: LeasedSpool,
        jobs: BTreeMap<String, JobState>,
        lanes: &[Lane],
    ) -> (SpoolReport, Option<Incident>) {
        let LeasedSpool {
            tenure,
            outboxes,
            orphans,
            ..
        } = held;
        let mut remotes = orphans;
        let mut backlog = Backlog::default();
        for (lane, outbox) in lanes.iter().zip(&outboxes) {
            let summary = outbox.summary().await;
            backlog.add(&summary.backlog);
            remotes.insert(
                lane.dir.clone(),
                RemoteRecord {
                    metadata_ms: lane.metadata_ms.get(),
                    ..summary
                },
            );
        }
        // What a job gave that the configuration no longer names may come back with it.
        let jobs = tenure.state.jobs.clone().into_iter().chain(jobs).collect();
        let state = SpoolState {
            jobs,
            remotes,
            ..tenure.state.clone()
        };
        let released = self.keeper.release(tenure, state).await;
        let incident = released.err().map(|error| {
            let text = format!(
                "{error}; the next tick waits for the lease to end, and counts what is owed anew"
            );
            Incident::new(IncidentKind::LeaseNotReleased, text)
        });
        (report(&backlog), incident)
    }
}

impl LeasedSpool {
    pub(super) fn deadlines(&self) -> Deadlines {
        self.tenure.deadlines
    }

    pub(super) fn epoch(&self) -> u64 {
        self.tenure.epoch
    }

    /// Whether what the process remembers of series and slots still holds.
    pub(super) fn continued(&self) -> bool {
        self.tenure.continued
    }

    pub(super) fn after_a_kill(&self) -> bool {
        self.tenure.previous == PreviousEnd::Unclean
    }

    /// What was known of a job when the lease was taken.
    pub(super) fn job(&self, name: &str) -> JobState {
        self.tenure
            .state
            .jobs
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// When a remote last got metadata, as far as the last holder knew.
    pub(super) fn metadata_ms(&self, lane: &Lane) -> Option<i64> {
        self.tenure.state.remotes.get(&lane.dir)?.metadata_ms
    }

    /// Backlogs of remotes that the configuration does not name.
    pub(super) fn orphans(&self) -> impl Iterator<Item = Incident> + '_ {
        let owed = self
            .orphans
            .iter()
            .filter(|(_, state)| state.backlog.segments > 0);
        owed.map(|(remote, state)| {
            let samples = state.backlog.samples;
            let text = format!(
                "spool: {samples} samples are owed to {}, which the configuration does not name: \
                 they stay until it does",
                remote.as_str()
            );
            Incident::new(IncidentKind::BacklogOrphaned, text)
                .for_remote(remote.as_str())
                .with_samples(samples)
        })
    }
}

fn report(backlog: &Backlog) -> SpoolReport {
    SpoolReport {
        segments: backlog.segments,
        samples: backlog.samples,
        bytes: backlog.bytes,
        oldest_ms: backlog.oldest_ms,
    }
}
