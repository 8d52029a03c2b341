//! Checks that memory stays within `memory_limit`.

use std::collections::HashMap;

use amp_forwarder::report::{IncidentKind, Report};

use crate::world::SimWorld;

/// Bytes that one remote may hold beyond the limit, for the forwarder's own series and for stale
/// markers.
const FIXED: u64 = 20 << 10;

/// Bytes that are parsed before the limit is checked again.
const BLOCK: u64 = 64 << 10;

/// Bytes of memory that one parsed byte may take: the cache of its series, its batch, and the
/// buffers that encode and compress it when a scrape ends, which stay allocated.
const GROWTH: u64 = 4;

/// Upper bound of the forwarder's memory.
pub(crate) struct Memory {
    limit: u64,
    /// Longest block so far, by job and instance.
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
            + report.remotes.len() as u64 * (FIXED + GROWTH * self.blocks.values().sum::<u64>());
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
