//! The parts of a batch that are still owed, in the order in which they are posted.
//!
//! Parts of one entry hold samples of one series, so each is answered before the next one is
//! posted. That order must outlive the delivery: batches that it gives back may go out side by side
//! later. So parts of one entry are given back as one batch.

use std::rc::Rc;

use crate::batch::{Batch, SplitError, cut_in_time, halve, single_out, split};

/// A batch, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) batch: Batch,
    /// The batch of a single entry that the part was cut from.
    entry: Option<Rc<Batch>>,
    /// Whether the batch can be cut in time, as far as is known.
    pub(super) can_be_cut: bool,
    /// Whether the batch can be halved, as far as is known.
    pub(super) can_be_halved: bool,
    /// Whether its samples may be stored already.
    pub(super) in_doubt: bool,
}

/// The batches that a delivery gives back.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// All of them, in the order of posting.
    pub(super) batches: Vec<Batch>,
    /// Those whose samples may be stored already.
    pub(super) in_doubt: Vec<Batch>,
}

/// The parts of a batch that are still owed.
pub(super) struct OwedParts {
    /// A stack: the part that is delivered next is the last one.
    parts: Vec<Part>,
}

impl OwedParts {
    pub(super) fn new(batch: Batch, in_doubt: bool) -> Self {
        let whole = Part {
            batch,
            entry: None,
            can_be_cut: true,
            can_be_halved: true,
            in_doubt,
        };
        Self { parts: vec![whole] }
    }

    /// Puts a part back as the next one.
    pub(super) fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Takes the next part.
    pub(super) fn next(&mut self) -> Option<Part> {
        self.parts.pop()
    }

    /// Splits a part that is too large.
    ///
    /// # Errors
    /// Gives the part back when it has a single sample, or with the error when it is no request.
    pub(super) fn halve(&mut self, part: Part) -> Result<(), (Part, Option<SplitError>)> {
        let halves = match halve(&part.batch) {
            Ok(Some(halves)) => halves,
            Ok(None) => return Err((part, None)),
            Err(error) => return Err((part, Some(error))),
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
                can_be_halved: true,
                in_doubt: part.in_doubt,
            });
        }
        Ok(())
    }

    /// Splits a part by entries.
    ///
    /// # Errors
    /// Gives the part back when it has a single entry, or is no request.
    pub(super) fn split(&mut self, part: Part) -> Result<(), Part> {
        let Ok(Some((first, second))) = split(&part.batch) else {
            return Err(part);
        };
        for batch in [second, first] {
            let half = Part {
                batch,
                ..part.clone()
            };
            self.parts.push(half);
        }
        Ok(())
    }

    /// The parts that are left, the next one first.
    pub(super) fn into_parts(self) -> impl Iterator<Item = Part> {
        self.parts.into_iter().rev()
    }

    /// Takes one entry out of a part, the one at this place counted from the front and over again.
    /// Returns it and the rest. `None` when there are not two entries.
    pub(super) fn single_out(part: &Part, place: usize) -> Option<(Part, Part)> {
        let (entry, rest) = single_out(&part.batch, place).ok()??;
        let apart = |batch| Part {
            batch,
            ..part.clone()
        };
        Some((apart(entry), apart(rest)))
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

    /// Ends the delivery before these parts: the batches that are still owed, in their order. The
    /// parts of an entry are one batch again, without the samples that were answered.
    pub(super) fn give_up(mut self, next: Vec<Part>) -> GivenUp {
        self.parts.extend(next.into_iter().rev());
        let mut given_up = GivenUp::default();
        let mut last: Option<Rc<Batch>> = None;
        for part in self.parts.into_iter().rev() {
            let Some(entry) = part.entry else {
                given_up.push(part.batch, part.in_doubt);
                continue;
            };
            if last.as_ref().is_some_and(|last| Rc::ptr_eq(last, &entry)) {
                continue;
            }
            // Everything from the first part on is owed. A batch that was cut can be cut again.
            let rest = cut_in_time(&entry, part.batch.min_ms).ok();
            let batch = rest.and_then(|rest| rest.from).unwrap_or(part.batch);
            given_up.push(batch, part.in_doubt);
            last = Some(entry);
        }
        given_up
    }
}

impl GivenUp {
    fn push(&mut self, batch: Batch, in_doubt: bool) {
        if in_doubt {
            self.in_doubt.push(batch.clone());
        }
        self.batches.push(batch);
    }
}
