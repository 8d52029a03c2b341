//! The figures of a fleet, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::receiver::Received;
use super::run::{FleetOptions, FleetTick, SiteMemory};
use crate::bench::report::{bytes, grouped};

/// Most ticks that were not fine are shown.
const TROUBLES: usize = 5;

/// What a fleet did.
#[derive(Debug, Clone)]
pub struct FleetResults {
    /// Its size.
    pub options: FleetOptions,
    /// Time from the first invocation to the last answer.
    pub took: Duration,
    /// All ticks, in the order of their ends.
    pub ticks: Vec<FleetTick>,
    /// Memory of each process after each site that it met for the first time.
    pub memory: Vec<Vec<SiteMemory>>,
    /// Number of samples that each site has shown.
    pub shown: BTreeMap<String, u64>,
    /// What the receiver got.
    pub received: Received,
    /// Number of S3 calls by kind.
    pub s3_calls: BTreeMap<String, u64>,
}

impl FleetResults {
    /// Samples that a site has shown and that did not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let received = |site: &str| self.received.by_site.get(site).copied().unwrap_or_default();
        let shown = self.shown.iter();
        shown
            .map(|(site, shown)| shown.saturating_sub(received(site)))
            .sum()
    }

    /// Ticks that were not fine.
    pub fn troubles(&self) -> impl Iterator<Item = &str> {
        self.ticks.iter().filter_map(|tick| tick.trouble.as_deref())
    }

    /// Whether every sample arrived once and in order, and every site was served in each round.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let received = &self.received;
        let spoiled = received.out_of_order + received.repeated + received.unreadable;
        let expected = (self.options.rounds * self.options.series) as u64;
        self.lost() == 0
            && spoiled == 0
            && self.troubles().next().is_none()
            && self.shown.len() == self.options.sites
            && self.shown.values().all(|shown| *shown == expected)
    }

    /// Resident memory that one more site takes, averaged over all processes, bytes.
    #[must_use]
    pub fn memory_per_site(&self) -> Option<u64> {
        let grown = self.memory.iter().filter_map(|memory| {
            let (first, last) = (memory.first()?, memory.last()?);
            let sites = last
                .sites
                .checked_sub(first.sites)
                .filter(|sites| *sites > 0)?;
            Some(last.resident.saturating_sub(first.resident) / sites as u64)
        });
        let grown: Vec<u64> = grown.collect();
        let count = grown.len() as u64;
        (count > 0).then(|| grown.iter().sum::<u64>() / count)
    }

    /// The figures as tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let options = &self.options;
        let mut text = format!(
            "{} sites of {} series, {} processes of {} MB, {} ticks of each site in {:.0} s{}\n\n\
             | tick | number | time, median | 95 % | CPU, median | 95 % |\n\
             | --- | --- | --- | --- | --- | --- |\n",
            grouped(options.sites as u64),
            options.series,
            options.processes,
            options.memory_mb,
            options.rounds,
            self.took.as_secs_f64(),
            if options.paced {
                ""
            } else {
                ", without pauses"
            }
        );
        for (kind, cold) in [("cold", true), ("warm", false)] {
            let ticks: Vec<_> = self.ticks.iter().filter(|tick| tick.cold == cold).collect();
            let took = Spread::of(ticks.iter().map(|tick| tick.took));
            let cpu = Spread::of(ticks.iter().map(|tick| tick.cpu));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {kind} | {} | {} | {} | {} | {} |",
                grouped(ticks.len() as u64),
                ms(took.median),
                ms(took.most),
                ms(cpu.median),
                ms(cpu.most)
            );
        }
        let waited = Spread::of(self.ticks.iter().map(|tick| tick.waited));
        let kept = self.ticks.iter().map(|tick| tick.kept_bytes).max();
        let _ = writeln!(
            text,
            "\n| | |\n| --- | --- |\n| wait for a free process, 95 % | {} |\n\
             | kept of a site, by its own account | {} |\n\
             | resident memory for one more site | {} |",
            ms(waited.most),
            bytes(kept.unwrap_or_default()),
            bytes(self.memory_per_site().unwrap_or_default())
        );
        self.s3(&mut text);
        self.memory_table(&mut text);
        self.verdict(&mut text);
        text
    }

    fn s3(&self, text: &mut String) {
        let ticks = self.ticks.len().max(1) as f64;
        text.push_str("\n| S3 call | number | a tick |\n| --- | --- | --- |\n");
        for (call, number) in &self.s3_calls {
            let share = *number as f64 / ticks;
            let _ = writeln!(text, "| {call} | {} | {share:.2} |", grouped(*number));
        }
    }

    /// Memory of the process that has met the most sites.
    fn memory_table(&self, text: &mut String) {
        let Some(memory) = self.memory.iter().max_by_key(|memory| memory.len()) else {
            return;
        };
        text.push_str("\n| sites that a process has met | resident memory |\n| --- | --- |\n");
        for wanted in [1, 10, 50, 100, 200, 500, 1000] {
            if let Some(found) = memory.iter().find(|found| found.sites == wanted) {
                let _ = writeln!(text, "| {wanted} | {} |", bytes(found.resident));
            }
        }
        if let Some(last) = memory.last() {
            let _ = writeln!(text, "| {} | {} |", last.sites, bytes(last.resident));
        }
    }

    fn verdict(&self, text: &mut String) {
        let received = &self.received;
        let _ = writeln!(
            text,
            "\n{} samples of the homes arrived, {} of the forwarder's own: {} lost, {} out of \
             order, {} repeated",
            grouped(received.by_site.values().sum()),
            grouped(received.own),
            self.lost(),
            received.out_of_order,
            received.repeated
        );
        for trouble in self.troubles().take(TROUBLES) {
            let _ = writeln!(text, "not fine: {trouble}");
        }
    }
}

/// A median and what 95 of 100 do not exceed.
struct Spread {
    median: Duration,
    most: Duration,
}

impl Spread {
    fn of(values: impl Iterator<Item = Duration>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        let at = |percent: usize| {
            let index = (values.len() * percent / 100).min(values.len().saturating_sub(1));
            values.get(index).copied().unwrap_or_default()
        };
        Self {
            median: at(50),
            most: at(95),
        }
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
