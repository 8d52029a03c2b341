//! The end of a run, at which the backlog must arrive.

use std::collections::HashSet;
use std::time::Duration;

use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::segment;
use tokio::time::sleep;

use super::draw::{Kind, Tick};
use super::{Run, Seat};
use crate::events::Event;
use crate::strangers::{is_stranger, refusal};
use crate::world::{Key, lock};

impl Run {
    /// Ends all faults, and checks that the backlog arrives.
    pub(super) async fn end(&mut self, seats: &mut [Seat; 2]) {
        self.world.tell(|| "all faults end".to_owned());
        self.world.heal();
        // What belongs to somebody else stays closed.
        self.shared
            .objects
            .set_faults(|op, key, _| refusal(op, key).unwrap_or_default());
        if self.configuration > 0 {
            self.reconfigure(0, seats);
        }
        for _ in 0..8 {
            sleep(Duration::from_secs(100)).await;
            let tick = Tick {
                wait: Duration::ZERO,
                timeout: Duration::from_secs(90),
                kind: Kind::DrainOnly,
                process: 0,
                freeze_ms: 0,
                frozen_inside: None,
                renews_lease: false,
                skew_ms: None,
                configuration: None,
            };
            self.tick(seats, tick).await;
            if !self.world.findings().is_empty()
                || self
                    .owed
                    .as_ref()
                    .is_some_and(|owed| owed.iter().all(|owed| *owed == 0))
            {
                break;
            }
        }
        let left = self
            .shared
            .objects
            .keys()
            .into_iter()
            .filter(|key| key.starts_with("segments/") && !is_stranger(key))
            .count();
        if left > 0 && self.world.findings().is_empty() {
            self.world.found(
                "drain",
                format!("{left} segments are left though all faults have ended"),
            );
        }
        let kept = self.kept();
        for ((((receiver, kept), lost), claimed), unkept) in self
            .receivers
            .iter()
            .zip(&kept)
            .zip(&self.lost)
            .zip(&self.claimed)
            .zip(&self.unkept)
        {
            let is_missing = |sample: &&(Key, i64)| {
                let (key, timestamp_ms) = **sample;
                receiver.stored(key, timestamp_ms).is_none()
                    && !receiver.is_refused(key, timestamp_ms)
                    && !kept.contains(*sample)
            };
            let missing: Vec<_> = claimed.iter().filter(is_missing).collect();
            // A batch that was refused is kept, or still owed.
            let is_gone = |sample: &&(Key, i64)| {
                let (key, timestamp_ms) = **sample;
                receiver.is_rejected(key, timestamp_ms)
                    && receiver.stored(key, timestamp_ms).is_none()
                    && !kept.contains(*sample)
            };
            let gone = claimed.iter().filter(is_gone).count() as u64;
            if gone > *lost + *unkept {
                self.world.found(
                    "kept",
                    format!(
                        "{}: {gone} samples were refused and are not kept, {lost} were counted \
                         as lost",
                        receiver.name
                    ),
                );
            }
            if missing.len() as u64 > *lost {
                let mut names: Vec<_> = missing
                    .iter()
                    .map(|(key, timestamp_ms)| {
                        format!("{} at {timestamp_ms}", self.world.name(*key))
                    })
                    .collect();
                names.sort();
                self.world.found(
                    "missing",
                    format!(
                        "{}: {} samples, {lost} were counted as lost; {:?}",
                        receiver.name,
                        missing.len(),
                        names.first()
                    ),
                );
            }
        }
    }

    /// For each remote, what was refused or too old, and is kept, or was told to be gone.
    fn kept(&self) -> Vec<HashSet<(Key, i64)>> {
        let of = |dir: &RemoteDir| {
            let unkept: Vec<_> = lock(&self.shared.unkept)
                .iter()
                .filter_map(|bytes| segment::read(bytes).ok())
                .collect();
            let mut kept: HashSet<_> = unkept
                .iter()
                .flat_map(|segment| &segment.batches)
                .flat_map(|batch| self.samples(batch))
                .collect();
            for (folder, event) in [
                (Folder::Rejected, Event::SpoolRejected),
                (Folder::Expired, Event::SpoolExpired),
            ] {
                for batch in self
                    .objects(dir, folder)
                    .into_iter()
                    .flat_map(|(_, batches)| batches)
                {
                    self.world.hit(event);
                    kept.extend(self.samples(&batch));
                }
            }
            kept
        };
        self.dirs.iter().map(of).collect()
    }
}
