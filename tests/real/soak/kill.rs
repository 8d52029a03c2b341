//! Kills at the moments that matter. The moments are found from outside, by the gateway's counts
//! and the spool's directory.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use amp_forwarder::spool::segment;
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};

const POLL: Duration = Duration::from_millis(1);

/// Size in bytes above which a draft is a segment; state.json is smaller.
const SEGMENT: u64 = 20_000;

/// The moment of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kill {
    /// Batches of a segment are being sent, and some of the tick's samples were stored.
    Draining,
    /// The samples in memory are being written to the spool.
    Flushing,
    /// All batches of a segment were answered, and it is still there.
    Answered,
}

impl Kill {
    pub(super) const ALL: [Self; 3] = [Self::Draining, Self::Flushing, Self::Answered];
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "draining",
            Self::Flushing => "flushing",
            Self::Answered => "between an answer and the deletion of its segment",
        })
    }
}

/// Waits for the moment to kill a tick.
pub(super) struct KillWatch<'a> {
    kill: Option<Kill>,
    gateway: &'a Gateway,
    spool: PathBuf,
    process: u32,
    /// Number of earlier kills of this kind.
    before: usize,
    /// The lock of the spool's directory. While it is held, the function cannot write.
    lock: Option<File>,
}

impl<'a> KillWatch<'a> {
    pub(super) fn new(
        kill: Option<Kill>,
        gateway: &'a Gateway,
        spool: PathBuf,
        process: u32,
        before: usize,
    ) -> Self {
        Self {
            kill,
            gateway,
            spool,
            process,
            before,
            lock: None,
        }
    }

    /// Returns when the moment has come. The process must then be killed at once.
    pub(super) async fn wait(&mut self) {
        match self.kill {
            Some(Kill::Draining) => self.draining().await,
            Some(Kill::Flushing) => self.flushing().await,
            Some(Kill::Answered) => self.answered().await,
            None => std::future::pending().await,
        }
    }

    /// Lets the function write again. Returns whether it could not.
    pub(super) fn release(&mut self) -> bool {
        self.lock.take().is_some()
    }

    async fn draining(&self) {
        let stored = self.gateway.stats().stored;
        until(|| {
            let stats = self.gateway.stats();
            stats.stored > stored && stats.in_flight > 0 && !segments(&self.spool).is_empty()
        })
        .await;
    }

    /// Waits for a flush: before the first segment of the tick, or between two of them.
    async fn flushing(&mut self) {
        let known: BTreeSet<_> = segments(&self.spool).into_iter().collect();
        let requests = self.gateway.stats().requests;
        // What is posted in vain is written later.
        until(|| {
            let stats = self.gateway.stats();
            stats.requests + stats.in_flight > requests
        })
        .await;
        if self.before % 2 == 1 {
            until(|| {
                segments(&self.spool)
                    .iter()
                    .any(|segment| !known.contains(segment))
            })
            .await;
        }
        let drafts: BTreeSet<_> = drafts(&self.spool)
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        let lock = OpenOptions::new()
            .write(true)
            .open(self.spool.join(".lock"))
            .unwrap();
        until(|| lock.try_lock().is_ok()).await;
        self.lock = Some(lock);
        until(|| {
            self::drafts(&self.spool)
                .iter()
                .any(|(path, size)| !drafts.contains(path) && *size > SEGMENT)
        })
        .await;
    }

    /// Holds the answers back until the whole segment is being sent, then stops the process: the
    /// answers arrive, and it cannot read them.
    async fn answered(&self) {
        self.gateway
            .faults()
            .add(Fault::always(FaultAction::Delay { ms: 200 }));
        loop {
            let mut head: Option<(PathBuf, u64)> = None;
            until(|| {
                let Some(first) = segments(&self.spool).into_iter().next() else {
                    return false;
                };
                if head.as_ref().is_none_or(|(known, _)| *known != first) {
                    let batches = fs::read(&first)
                        .ok()
                        .and_then(|bytes| segment::peek(&bytes).ok())
                        .map_or(0, |entries| entries.len() as u64);
                    head = (batches > 0).then_some((first, batches));
                }
                head.as_ref()
                    .is_some_and(|(_, batches)| self.gateway.stats().in_flight == *batches)
            })
            .await;
            let Some((head, batches)) = head else {
                continue;
            };
            let answered = |gateway: &Gateway| {
                gateway
                    .stats()
                    .statuses
                    .get(&200)
                    .copied()
                    .unwrap_or_default()
            };
            let before = answered(self.gateway);
            self.signal("-STOP");
            let started = Instant::now();
            until(|| {
                self.gateway.stats().in_flight == 0 || started.elapsed() > Duration::from_secs(3)
            })
            .await;
            if answered(self.gateway) - before == batches && head.exists() {
                return;
            }
            self.signal("-CONT");
        }
    }

    fn signal(&self, signal: &str) {
        Command::new("kill")
            .args([signal, &self.process.to_string()])
            .status()
            .unwrap();
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(POLL).await;
    }
}

/// The segments of a spool with one remote, oldest first.
fn segments(spool: &Path) -> Vec<PathBuf> {
    let remotes = fs::read_dir(spool.join("segments"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = remotes
        .flat_map(|remote| fs::read_dir(remote.path()).into_iter().flatten().flatten())
        .map(|file| file.path())
        .collect();
    found.sort();
    found
}

/// Files that are being written, with their size so far.
fn drafts(spool: &Path) -> Vec<(PathBuf, u64)> {
    let drafts = fs::read_dir(spool.join(".tmp"))
        .into_iter()
        .flatten()
        .flatten();
    drafts
        .filter_map(|draft| Some((draft.path(), draft.metadata().ok()?.len())))
        .collect()
}

/// The samples in a spool while no function runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpoolContent {
    /// Number of samples in all segments.
    pub(super) samples: u64,
    /// Number of samples in the oldest segment.
    pub(super) head: u64,
}

/// Counts the samples of a spool while no function runs.
pub(super) fn spooled(spool: &Path) -> SpoolContent {
    let samples = |path: &PathBuf| {
        segment::peek(&fs::read(path).unwrap())
            .unwrap()
            .iter()
            .map(|entry| u64::from(entry.samples))
            .sum::<u64>()
    };
    let each: Vec<_> = segments(spool).iter().map(samples).collect();
    SpoolContent {
        samples: each.iter().sum(),
        head: each.first().copied().unwrap_or_default(),
    }
}
