//! Rules of remote read: what a watermark promises, and what must have arrived in the end.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use amp_forwarder::batch::decode;
use amp_forwarder::config::RemoteReadMode;
use amp_forwarder::report::Report;
use amp_forwarder::spool::name::Folder;
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::{KEY, SpoolState, TargetReads};
use amp_forwarder::time::Clock as _;

use super::oracle;
use super::run::Run;
use super::tsdb::RawSample;
use crate::world::{Key, SimClock, identity};

/// Job and target of every run.
const JOB: &str = "home";
const PLACE: &str = "home:9090";

/// A sample that is not there: its series, its time or that of its slot, and a description.
type Missing = (Key, i64, String);

impl Run {
    /// The home's samples of a label set.
    fn samples_of(&self, key: Key, from_ms: i64, to_ms: i64) -> Vec<RawSample> {
        let mut samples: Vec<_> = self
            .home
            .tsdb
            .series
            .iter()
            .filter(|series| self.key(series) == Some(key))
            .flat_map(|series| series.range(from_ms, to_ms, i64::MAX).copied())
            .collect();
        samples.sort_by_key(|sample| sample.timestamp_ms);
        samples
    }

    /// Checks what a report says of the target with series, and that the next process will know it.
    pub(super) fn failing(&self, report: &Report) {
        let mut scrapes = report.scrapes.iter().filter(|scrape| scrape.job == JOB);
        let mut reads = report.reads.iter().filter(|read| read.job == JOB);
        let scrape = scrapes.next_back().map(|scrape| !scrape.up);
        let read = reads.next_back().map(|read| read.windows == 0);
        let Some(failed) = scrape.or(read) else {
            return;
        };
        let known = self
            .state()
            .filter(|state| state.lease.is_none())
            .and_then(|state| Some(state.jobs.get(JOB)?.failing.len() as u64));
        let counts = (report.failing, known.unwrap_or(report.failing));
        if counts != (u64::from(failed), u64::from(failed)) {
            self.world.found(
                "failing",
                format!("{counts:?} in the report and the state, failed: {failed}"),
            );
        }
    }

    pub(super) fn state(&self) -> Option<SpoolState> {
        SpoolState::read(&self.shared.objects.peek(KEY)?).ok()
    }

    /// What is durable of the reads of the target.
    pub(super) fn target_reads(&self) -> Option<TargetReads> {
        self.state()?.jobs.remove(JOB)?.reads.remove(PLACE)
    }

    /// The durable watermark of a remote, in the home's time.
    pub(super) fn watermark(&self, remote: usize) -> Option<i64> {
        let reads = self.target_reads()?;
        // One that somebody else has written is there until the first tick ends.
        let latest_ms = self.world.now_ms() + 30 * 86_400_000;
        let found = reads.watermarks.get(&self.dirs[remote]).copied();
        found.filter(|watermark_ms| *watermark_ms < latest_ms)
    }

    /// Samples that lie in the spool of a remote, and those that it has put aside as too old.
    fn spooled(&self, remote: usize) -> HashSet<(Key, i64)> {
        let folders = [Folder::Segments, Folder::Expired];
        let samples = folders.map(|folder| self.samples_in(remote, folder));
        samples.into_iter().flatten().collect()
    }

    /// Samples that lie in a folder of a remote, as often as they do.
    pub(super) fn samples_in(&self, remote: usize, folder: Folder) -> Vec<(Key, i64)> {
        let prefix = self.dirs[remote].prefix(folder);
        let keys = self.shared.objects.keys();
        keys.iter()
            .filter(|key| key.starts_with(&prefix))
            .filter_map(|key| segment::read(&self.shared.objects.peek(key)?).ok())
            .flat_map(|segment| segment.batches)
            .flat_map(|batch| decode(&batch).unwrap_or_default().timeseries)
            .flat_map(|series| {
                let labels = series.labels.iter();
                let pairs = labels.map(|label| (label.name.as_str(), label.value.as_str()));
                let key = self.world.key(&identity(pairs));
                let floats = series.samples.iter().map(|sample| sample.timestamp);
                let histograms = series.histograms.iter().map(|found| found.timestamp);
                let times: Vec<_> = floats.chain(histograms).collect();
                times.into_iter().map(move |at_ms| (key, at_ms))
            })
            .collect()
    }

    /// Time of the forwarder's and the home's clock, whichever is earlier.
    fn earlier_now_ms(&self) -> i64 {
        let ours_ms = SimClock(std::sync::Arc::clone(&self.world)).now_ms();
        self.home.now_ms().min(ours_ms)
    }

    fn settle_ms(&self) -> i64 {
        self.scenario
            .config
            .forwarder
            .remote_read
            .settle
            .as_millis() as i64
    }

    pub(super) fn interval_ms(&self) -> i64 {
        self.scenario.config.scrape_configs[0]
            .scrape_interval
            .as_millis() as i64
    }

    /// Whether the watermarks are as far as they can be.
    pub(super) fn is_caught_up(&self) -> bool {
        let behind_ms = match self.scenario.mode {
            RemoteReadMode::Always => self.settle_ms() + 75_000,
            _ => 2 * self.interval_ms() + 75_000,
        };
        let enough_ms = self.earlier_now_ms() - behind_ms;
        (0..self.dirs.len()).all(|remote| {
            self.watermark(remote)
                .is_some_and(|watermark_ms| watermark_ms >= enough_ms)
        })
    }

    /// Time up to which everything is there that a watermark promises: what is later than `settle`
    /// may not have been visible when its window was read, and comes with the next one.
    fn promised_ms(&self, watermark_ms: i64) -> i64 {
        match self.scenario.mode {
            RemoteReadMode::Always => {
                watermark_ms + (self.settle_ms() - self.scenario.history.lateness_ms).min(0)
            }
            _ => watermark_ms,
        }
    }

    /// Checks what the durable watermarks promise: everything up to them is delivered or lies in the
    /// spool.
    pub(super) fn durable(&mut self) {
        for remote in 0..self.dirs.len() {
            let Some(watermark_ms) = self.watermark(remote) else {
                continue;
            };
            let is_first = self.checked_ms[remote] == i64::MIN;
            if !self.target_reads().is_some_and(|reads| reads.answered) {
                // The home has answered nothing yet: where reading begins is a guess in our time.
                if is_first {
                    self.first_ms[remote] = Some(watermark_ms);
                }
                continue;
            }
            let ahead_ms = watermark_ms - self.home.tsdb.clock.highest(self.world.now_ms());
            if ahead_ms > 1_000 {
                self.world.found(
                    "watermark",
                    format!("{ahead_ms} ms ahead of the home's clock"),
                );
            }
            let mut first_ms = self.first_ms[remote].unwrap_or(watermark_ms);
            if is_first {
                first_ms = first_ms.min(watermark_ms);
                // A clock that is set back lets reading begin anew, behind where a killed tick has
                // begun. What is older than what that one sent comes out of order.
                if self.scenario.mode == RemoteReadMode::Always {
                    first_ms = first_ms.max(self.killed_from_ms.unwrap_or(first_ms));
                }
            }
            self.first_ms[remote] = Some(first_ms);
            let to_ms = self.promised_ms(watermark_ms);
            let from_ms = self.checked_ms[remote].max(first_ms);
            self.check(remote, "watermark", from_ms, to_ms);
            self.checked_ms[remote] = to_ms.max(from_ms);
        }
    }

    /// Checks that everything has arrived.
    pub(super) fn arrived(&self) {
        for remote in 0..self.dirs.len() {
            if let (Some(first_ms), Some(watermark_ms)) =
                (self.first_ms[remote], self.watermark(remote))
            {
                self.check(remote, "missing", first_ms, self.promised_ms(watermark_ms));
            }
        }
    }

    /// Checks that what lies above `from_ms`, and not above `to_ms`, is stored or spooled.
    fn check(&self, remote: usize, rule: &str, from_ms: i64, to_ms: i64) {
        if from_ms >= to_ms {
            return;
        }
        let spooled = self.spooled(remote);
        let receiver = &self.receivers[remote];
        let has = |key: Key, at_ms: i64| {
            receiver.stored(key, at_ms).is_some()
                || receiver.is_refused(key, at_ms)
                || spooled.contains(&(key, at_ms))
        };
        let missing = match self.scenario.mode {
            RemoteReadMode::Always => self.missing_samples(from_ms, to_ms, has),
            _ => self.missing_slots(from_ms, to_ms, has),
        };
        if let Some((key, at_ms, first)) = missing.first() {
            let count = missing.len();
            let name = &receiver.name;
            for sample in self.samples_of(*key, at_ms - 60_000, at_ms + 20_000) {
                let there = has(*key, sample.timestamp_ms);
                self.world
                    .tell(|| format!("{name} has it {there}: {sample:?}"));
            }
            self.world.found(
                rule,
                format!("{name}: {count} in ({from_ms}, {to_ms}], such as {first}"),
            );
        }
    }

    fn missing_samples(
        &self,
        from_ms: i64,
        to_ms: i64,
        has: impl Fn(Key, i64) -> bool,
    ) -> Vec<Missing> {
        let tsdb = &self.home.tsdb;
        let allowed_ms = self.scenario.history.lateness_ms;
        let expected = oracle::always(
            tsdb,
            |series| self.key(series),
            (from_ms + 1, to_ms),
            self.world.now_ms(),
        );
        let late: HashSet<_> = tsdb
            .series
            .iter()
            .flat_map(|series| series.samples().iter().map(move |sample| (series, sample)))
            .filter(|(_, sample)| {
                // A clock that was set back writes below what was already read.
                tsdb.clock.highest(sample.visible_ms) - sample.timestamp_ms > allowed_ms
            })
            .filter_map(|(series, sample)| Some((self.key(series)?, sample.timestamp_ms)))
            .collect();
        let overtaken = self.overtaken();
        expected
            .into_keys()
            .filter(|sample| !late.contains(sample) && !overtaken.contains(sample))
            .filter(|&(key, at_ms)| !has(key, at_ms))
            .map(|(key, at_ms)| (key, at_ms, format!("{} at {at_ms}", self.world.name(key))))
            .collect()
    }

    /// Samples that became visible after a newer one of another series with the same label set: for
    /// a receiver they are one series, which takes nothing that is older than what it has.
    pub(super) fn overtaken(&self) -> HashSet<(Key, i64)> {
        let mut of_key: BTreeMap<Key, Vec<&RawSample>> = BTreeMap::new();
        for series in &self.home.tsdb.series {
            if let Some(key) = self.key(series) {
                of_key.entry(key).or_default().extend(series.samples());
            }
        }
        let mut overtaken = HashSet::new();
        for (key, mut samples) in of_key {
            samples.sort_by_key(|sample| std::cmp::Reverse(sample.timestamp_ms));
            let mut first_visible_ms = i64::MAX;
            for same_time in samples.chunk_by(|a, b| a.timestamp_ms == b.timestamp_ms) {
                let visible = same_time.iter().map(|sample| sample.visible_ms);
                let (earliest, latest) = (visible.clone().min(), visible.max());
                if latest > Some(first_visible_ms) {
                    overtaken.insert((key, same_time[0].timestamp_ms));
                }
                first_visible_ms = first_visible_ms.min(earliest.unwrap_or(i64::MAX));
            }
        }
        overtaken
    }

    fn missing_slots(
        &self,
        from_ms: i64,
        to_ms: i64,
        has: impl Fn(Key, i64) -> bool,
    ) -> Vec<Missing> {
        let interval_ms = self.interval_ms();
        let hash = xxhash_rust::xxh3::xxh3_64(JOB.as_bytes());
        let offset_ms = (hash % interval_ms as u64) as i64;
        let first = (from_ms - offset_ms).div_euclid(interval_ms) * interval_ms + offset_ms;
        let mut missing = Vec::new();
        let mut slot_ms = first + interval_ms;
        while slot_ms <= to_ms {
            // A live scrape serves the slot a while after its time. One that comes after the read
            // of a gap does not: that read has what the slot itself showed, unless half of the tick
            // is over.
            let first_read_ms = self
                .answered_reads
                .iter()
                .copied()
                .find(|at_ms| (slot_ms..slot_ms + interval_ms).contains(at_ms));
            let mut moments: BTreeSet<i64> = self
                .scrapes
                .iter()
                .copied()
                .filter(|at_ms| (slot_ms..slot_ms + interval_ms).contains(at_ms))
                .filter(|at_ms| {
                    first_read_ms.is_none_or(|read_ms| *at_ms < read_ms)
                        || self.late_scrapes.contains(at_ms)
                })
                .flat_map(|at_ms| [at_ms, at_ms + 50])
                .collect();
            moments.insert(slot_ms);
            missing.extend(self.missing_in_slot(slot_ms, &moments, &has));
            slot_ms += interval_ms;
        }
        missing
    }

    fn missing_in_slot(
        &self,
        slot_ms: i64,
        moments: &BTreeSet<i64>,
        has: &impl Fn(Key, i64) -> bool,
    ) -> Vec<Missing> {
        let tsdb = &self.home.tsdb;
        let key = |series: &super::tsdb::HomeSeries| self.key(series);
        let mut of_key: BTreeMap<Key, (usize, Vec<i64>)> = BTreeMap::new();
        for &at_ms in moments {
            for shown in oracle::slot(tsdb, key, at_ms, at_ms) {
                let (times, one_of) = of_key.entry(shown.key).or_default();
                *times += 1;
                one_of.extend(shown.one_of);
            }
        }
        of_key
            .into_iter()
            // What one of the moments might not have shown need not be there.
            .filter(|(_, (times, _))| *times == moments.len())
            .filter(|(key, (_, one_of))| !one_of.iter().any(|&at_ms| has(*key, at_ms)))
            .map(|(key, (_, one_of))| {
                let text = format!(
                    "{} in slot {slot_ms}, one of {one_of:?}",
                    self.world.name(key)
                );
                (key, slot_ms, text)
            })
            .collect()
    }
}
