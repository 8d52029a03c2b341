//! What is held stays within `memory_limit`.

use std::collections::HashMap;

use amp_forwarder::report::{IncidentKind, Report};

use crate::world::SimWorld;

/// Bytes that one remote may hold beyond the limit: the series of our own, and stale markers.
const BESIDE: u64 = 20 << 10;

/// Bytes that are parsed before the limit is looked at again.
const BLOCK: u64 = 64 << 10;

/// Bytes that one of those may take: what is remembered of its series, its batch, and the buffers
/// that encode and compress it when a scrape ends, which stay.
const GROWTH: u64 = 4;

/// What the forwarder may hold.
pub(crate) struct Memory {
    limit: u64,
    /// By job and instance: the longest block so far.
    blocks: HashMap<(String, String), u64>,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            blocks: HashMap::new(),
        }
    }

    pub(crate) fn check(&mut self, world: &SimWorld, report: &Report) {
        for scrape in &report.scrapes {
            let block = self
                .blocks
                .entry((scrape.job.clone(), scrape.instance.clone()))
                .or_default();
            *block = scrape.bytes.min(BLOCK).max(*block);
        }
        let most = self.limit
            + report.remotes.len() as u64 * (BESIDE + GROWTH * self.blocks.values().sum::<u64>());
        if report.memory.peak_bytes > most || report.memory.kept_bytes > most {
            world.found(
                "memory",
                format!(
                    "{:?} with a limit of {}: {most} at most",
                    report.memory, self.limit
                ),
            );
        }
    }
}

/// Whether a report has an incident of that kind.
pub(crate) fn has(report: &Report, kind: IncidentKind) -> bool {
    report
        .incidents
        .iter()
        .any(|incident| incident.kind == kind)
}
