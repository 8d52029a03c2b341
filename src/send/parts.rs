//! The parts of a batch that are still owed, in the order in which they are posted.
//!
//! Parts of one entry hold samples of one series, so each is answered before the next one is
//! posted. That order must outlive the delivery: batches that it gives back may go out side by side
//! later. So parts of one entry are given back as one batch.

use std::rc::Rc;

use crate::batch::{Batch, SplitError, cut_in_time, halve};

/// A batch, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) batch: Batch,
    /// The batch of a single entry that the part was cut from.
    entry: Option<Rc<Batch>>,
    /// Whether it is known that the batch cannot be cut in time.
    pub(super) can_be_cut: bool,
}

/// The parts of a batch that are still owed.
pub(super) struct OwedParts {
    /// A stack: the part that is delivered next is the last one.
    parts: Vec<Part>,
}

impl OwedParts {
    pub(super) fn new(batch: Batch) -> Self {
        let whole = Part {
            batch,
            entry: None,
            can_be_cut: true,
        };
        Self { parts: vec![whole] }
    }

    /// Takes the next part.
    pub(super) fn next(&mut self) -> Option<Part> {
        self.parts.pop()
    }

    /// Splits a part that is too large.
    ///
    /// # Errors
    /// Gives the batch back when it has a single sample, or with the error when it is no request.
    pub(super) fn halve(&mut self, part: Part) -> Result<(), (Batch, Option<SplitError>)> {
        let halves = match halve(&part.batch) {
            Ok(Some(halves)) => halves,
            Ok(None) => return Err((part.batch, None)),
            Err(error) => return Err((part.batch, Some(error))),
        };
        let entry = match part.entry {
            None if halves.ordered => Some(Rc::new(part.batch)),
            entry => entry,
        };
        for batch in [halves.second, halves.first] {
            self.parts.push(Part {
                batch,
                entry: entry.clone(),
                can_be_cut: true,
            });
        }
        Ok(())
    }

    /// Takes the samples before `oldest_ms` out of a part, and returns them. The others are next. A
    /// part that cannot be cut is next as it is.
    pub(super) fn cut(&mut self, part: Part, oldest_ms: i64) -> Option<Batch> {
        match cut_in_time(&part.batch, oldest_ms) {
            Ok(cut) => {
                let young = cut.from.map(|batch| Part { batch, ..part });
                self.parts.extend(young);
                cut.before
            }
            Err(error) => {
                tracing::warn!("samples that are too old are sent all the same: {error}");
                self.parts.push(Part {
                    can_be_cut: false,
                    ..part
                });
                None
            }
        }
    }

    /// Ends the delivery before this part: the batches that are still owed, in their order. The
    /// parts of an entry are one batch again, without the samples that were answered.
    pub(super) fn give_up(mut self, part: Part) -> Vec<Batch> {
        self.parts.push(part);
        let mut batches = Vec::with_capacity(self.parts.len());
        let mut last: Option<Rc<Batch>> = None;
        for part in self.parts.into_iter().rev() {
            let Some(entry) = part.entry else {
                batches.push(part.batch);
                continue;
            };
            if last.as_ref().is_some_and(|last| Rc::ptr_eq(last, &entry)) {
                continue;
            }
            // Everything from the first part on is owed. A batch that was cut can be cut again.
            let rest = cut_in_time(&entry, part.batch.min_ms).ok();
            batches.push(rest.and_then(|rest| rest.from).unwrap_or(part.batch));
            last = Some(entry);
        }
        batches
    }
}
