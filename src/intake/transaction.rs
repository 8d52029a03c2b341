//! One scrape's intake as a transaction: its samples are committed together, or not at all.

use std::cell::RefCell;

use super::rules::{IntakeRules, Tally};
use super::{Intake, Refusal};
use crate::batch::{Batch, SampleCounts, StagedScrape, WindowStart, Writer};
use crate::report::Ledger;
use crate::series::cache::Transaction;

/// What a scrape gives to one remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteCommit {
    /// What became of the samples that were given to the remote's writer.
    pub counts: SampleCounts,
    /// Samples that were dropped because their scrape failed.
    pub rolled_back: u64,
    /// The batches of each scrape number. There is one number, unless a series came more than once.
    pub scrapes: Vec<Vec<Batch>>,
}

impl RemoteCommit {
    /// The counts as a ledger, as far as they are final: fresh samples are still to be sent.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            scraped: self.counts.scraped + self.rolled_back,
            filtered: self.counts.filtered,
            unchanged: self.counts.unchanged,
            rolled_back: self.rolled_back,
            ..Ledger::default()
        }
    }
}

/// The intake of one scrape, from its begin to its commit, for all remotes.
///
/// A scrape that fails still commits something: [`IntakeTransaction::roll_back`] drops its samples,
/// and then stale markers and reports such as `up` follow as after any scrape.
pub struct IntakeTransaction<'a> {
    writers: &'a [RefCell<Writer>],
    rules: IntakeRules<'a>,
    staged: Vec<StagedScrape>,
    tally: Tally,
    /// Samples that each remote has lost to roll-backs.
    rolled_back: Vec<u64>,
    /// For each remote the transaction that was rolled back, and to which others may have left
    /// samples.
    failed: Vec<Transaction>,
}

impl<'a> IntakeTransaction<'a> {
    /// Begins a transaction for each writer. The rules' remotes are in the order of the writers.
    #[must_use]
    pub fn begin(writers: &'a [RefCell<Writer>], rules: IntakeRules<'a>) -> Self {
        let staged = writers
            .iter()
            .map(|writer| writer.borrow_mut().begin(rules.target.id))
            .collect();
        Self {
            writers,
            rules,
            staged,
            tally: Tally::default(),
            rolled_back: vec![0; writers.len()],
            failed: Vec::new(),
        }
    }

    /// Begins a transaction of a window for each writer. The rules' remotes and `starts` are in the
    /// order of the writers. A remote without a start takes everything as new.
    #[must_use]
    pub fn begin_window(
        writers: &'a [RefCell<Writer>],
        rules: IntakeRules<'a>,
        starts: &[WindowStart],
    ) -> Self {
        let starts = starts.iter().copied();
        let starts = starts.chain(std::iter::repeat(WindowStart::default()));
        let staged = writers
            .iter()
            .zip(starts)
            .map(|(writer, start)| writer.borrow_mut().begin_window(rules.target.id, start))
            .collect();
        Self {
            writers,
            rules,
            staged,
            tally: Tally::default(),
            rolled_back: vec![0; writers.len()],
            failed: Vec::new(),
        }
    }

    /// The rules that the intake follows.
    #[must_use]
    pub fn rules(&self) -> &IntakeRules<'a> {
        &self.rules
    }

    /// What the intake has counted so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The sink for the next block of samples. It borrows all writers.
    pub fn intake(&mut self) -> Intake<'_> {
        Intake::new(self.rules, self.writers, &mut self.staged, &mut self.tally)
    }

    /// Bytes that the transaction holds until it ends.
    #[must_use]
    pub fn staged_memory(&self) -> usize {
        self.sides()
            .map(|(writer, staged)| writer.borrow().staged_memory(staged))
            .sum()
    }

    /// Forgets the tally: nothing of the source's answer counts.
    pub fn forget_tally(&mut self) {
        self.tally = Tally::default();
    }

    /// Forgets which series were shown: the answer did not come whole, so it says nothing about the
    /// series that it lacks.
    pub fn untrack(&mut self) {
        for (writer, staged) in self.sides() {
            writer.borrow_mut().untrack(staged);
        }
    }

    /// Drops all samples. What follows (stale markers and reports) belongs to a scrape that failed.
    pub fn roll_back(&mut self) {
        let target = self.rules.target.id;
        let reports = self
            .sides()
            .map(|(writer, staged)| writer.borrow_mut().begin_reports(target, staged))
            .collect();
        let failed = std::mem::replace(&mut self.staged, reports);
        for ((writer, staged), rolled_back) in
            self.writers.iter().zip(failed).zip(&mut self.rolled_back)
        {
            *rolled_back += staged.counts.scraped;
            self.failed.push(staged.transaction());
            writer.borrow_mut().rollback(staged);
        }
    }

    /// Ends the transaction without a commit: it leaves no sample, no report and no count.
    pub fn abandon(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        for (writer, staged) in self.writers.iter().zip(staged) {
            writer.borrow_mut().rollback(staged);
        }
    }

    /// Takes what other scrapes have left to this one, which failed. It comes before the stale
    /// markers, which are newer.
    fn settle_failed(&mut self) -> Result<(), Refusal> {
        let failed = std::mem::take(&mut self.failed);
        for ((writer, staged), failed) in self.writers.iter().zip(&mut self.staged).zip(failed) {
            writer
                .borrow_mut()
                .settle_left(failed, false, staged)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
        }
        Ok(())
    }

    /// Forgets the series of which no sample was ever taken: there is no memory for them.
    pub fn forget_untaken(&mut self) {
        for writer in self.writers {
            writer.borrow_mut().forget_untaken();
        }
    }

    /// Writes a stale marker for each series that the target no longer shows. After a roll-back
    /// these are all of its series. A window has none: the home's own markers are among its
    /// samples, and it may be too short for a series to show itself.
    ///
    /// # Errors
    /// [`Refusal`] when a batch could not be compressed.
    pub fn mark_stale(&mut self) -> Result<(), Refusal> {
        self.settle_failed()?;
        for (writer, staged) in self.writers.iter().zip(&mut self.staged) {
            writer
                .borrow_mut()
                .mark_stale(staged, self.rules.start_ms)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
        }
        Ok(())
    }

    /// Commits what is staged: one entry for each remote. The transaction holds nothing afterwards.
    ///
    /// # Errors
    /// [`Refusal`] when a batch could not be compressed. Roll back then, and commit the reports.
    pub fn commit(&mut self) -> Result<Vec<RemoteCommit>, Refusal> {
        self.settle_failed()?;
        for (writer, staged) in self.writers.iter().zip(&mut self.staged) {
            let transaction = staged.transaction();
            writer
                .borrow_mut()
                .settle_left(transaction, true, staged)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
        }
        let staged = std::mem::take(&mut self.staged);
        let mut commits = Vec::with_capacity(self.writers.len());
        for ((writer, staged), &rolled_back) in
            self.writers.iter().zip(staged).zip(&self.rolled_back)
        {
            let counts = staged.counts;
            let scrapes = writer
                .borrow_mut()
                .commit(staged)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
            commits.push(RemoteCommit {
                counts,
                rolled_back,
                scrapes,
            });
        }
        Ok(commits)
    }

    /// What is left to say when not even the reports could be committed: how many samples were
    /// rolled back.
    #[must_use]
    pub fn empty_commits(&self) -> Vec<RemoteCommit> {
        self.rolled_back
            .iter()
            .map(|&rolled_back| RemoteCommit {
                rolled_back,
                ..RemoteCommit::default()
            })
            .collect()
    }

    fn sides(&self) -> impl Iterator<Item = (&'a RefCell<Writer>, &StagedScrape)> {
        self.writers.iter().zip(&self.staged)
    }
}
