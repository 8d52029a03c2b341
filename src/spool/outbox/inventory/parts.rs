//! The numbers of the parts of a scrape: no two segments of a remote ever have the same name.

use std::collections::HashMap;

use crate::spool::name::SegmentName;

/// A scrape as the names of its segments have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ScrapeId {
    /// Epoch of the tick that wrote it.
    pub(crate) epoch: u64,
    /// Number of the scrape in that epoch, from 1.
    pub(crate) scrape: u64,
}

impl From<SegmentName> for ScrapeId {
    fn from(name: SegmentName) -> Self {
        Self {
            epoch: name.epoch(),
            scrape: name.scrape(),
        }
    }
}

/// A scrape that has as many parts as names can number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPartLeft {
    /// The scrape.
    pub(crate) scrape: ScrapeId,
    /// The number that has no name.
    pub(crate) part: u32,
}

/// The next part of each scrape that this tick has named a segment of.
#[derive(Debug, Default)]
pub(crate) struct PartNumbers {
    next: HashMap<ScrapeId, u32>,
}

impl PartNumbers {
    /// A name for the next segment of the scrape, which sorts behind all others of it. `used` are
    /// names that exist or may exist.
    pub(crate) fn next(
        &mut self,
        scrape: ScrapeId,
        used: impl Iterator<Item = SegmentName>,
    ) -> Result<SegmentName, NoPartLeft> {
        let after_used = used
            .filter(|name| ScrapeId::from(*name) == scrape)
            .map(|name| name.part() + 1)
            .max()
            .unwrap_or_default();
        // A name that this tick gave out counts even when nothing was written under it: a write
        // without an answer may still take place.
        let after_given = self.next.get(&scrape).copied().unwrap_or_default();
        let part = after_used.max(after_given);
        let name = SegmentName::new(scrape.epoch, scrape.scrape, part)
            .ok_or(NoPartLeft { scrape, part })?;
        self.next.insert(scrape, part + 1);
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::name::MAX_PART;

    fn name(scrape: u64, part: u32) -> SegmentName {
        SegmentName::new(1, scrape, part).unwrap()
    }

    #[test]
    fn a_name_is_behind_those_that_exist_and_those_that_were_given_out() {
        let scrape = ScrapeId {
            epoch: 1,
            scrape: 7,
        };
        let mut parts = PartNumbers::default();
        let used = [name(6, 9), name(7, 2), name(7, 0)];
        assert_eq!(parts.next(scrape, used.into_iter()), Ok(name(7, 3)));
        assert_eq!(parts.next(scrape, used.into_iter()), Ok(name(7, 4)));
        assert_eq!(parts.next(scrape, [].into_iter()), Ok(name(7, 5)));
        let last = [name(7, MAX_PART)];
        for _ in 0..2 {
            assert_eq!(
                parts.next(scrape, last.into_iter()),
                Err(NoPartLeft {
                    scrape,
                    part: MAX_PART + 1
                })
            );
        }
    }
}
