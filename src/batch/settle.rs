//! How a scrape leaves samples to another one, and what becomes of them when that one ends.

use super::left::{LeftSample, LeftValue};
use super::writer::{StagedScrape, Writer};
use crate::prompb::{TimedValue, Value};
use crate::series::SeriesId;
use crate::series::cache::Transaction;

impl Writer {
    /// Leaves a sample to the scrape that has taken one of its series.
    #[cold]
    pub(super) fn leave(
        &mut self,
        staged: &mut StagedScrape,
        series: SeriesId,
        raw: &[u8],
        sample: TimedValue<'_>,
    ) {
        // A marker has no raw bytes. It says that a target does not show the series any more, and
        // another one does.
        if raw.is_empty() {
            staged.counts.filtered += 1;
            staged.counts.duplicates += 1;
            return;
        }
        staged.left += 1;
        let sample = LeftSample {
            by: staged.transaction,
            is_committed: false,
            to: self.cache.holder(series),
            key: self.cache.key(series),
            raw: raw.into(),
            value: match sample.value {
                Value::Float(float) => LeftValue::Float(float),
                Value::Histogram(histogram) => LeftValue::Histogram(Box::new(histogram.clone())),
            },
            timestamp_ms: sample.timestamp_ms,
        };
        self.left.push(sample);
    }

    /// Takes what was left to a scrape that ends now, or by it, into `staged`: the scrape itself
    /// when it has succeeded, or else its reports.
    ///
    /// # Errors
    /// As [`Stage::push`](super::stage::Stage::push).
    pub fn settle_left(
        &mut self,
        ended: Transaction,
        succeeded: bool,
        staged: &mut StagedScrape,
    ) -> Result<(), snap::Error> {
        if succeeded {
            // Whoever takes these samples counts them.
            staged.counts.scraped -= std::mem::take(&mut staged.left);
        }
        if self.left.is_empty() {
            return Ok(());
        }
        for mut left in self.left.take() {
            left.is_committed |= left.by == ended && succeeded;
            // Its own scrape has failed.
            if !left.is_committed && (left.by == ended || !self.cache.is_open(left.by)) {
                continue;
            }
            // A third scrape may have taken a newer sample meanwhile.
            let series = self.cache.find(left.key);
            let holder = series.and_then(|series| self.cache.holder(series));
            let is_other = |&to: &Transaction| to != ended && to != staged.transaction;
            let waits_for = left.to.filter(|&to| self.cache.is_open(to));
            left.to = waits_for.or(holder).filter(is_other);
            match series {
                // Until its own scrape has ended, nobody else counts it.
                _ if !left.is_committed => self.left.push(left),
                Some(series) if left.to.is_none() => {
                    self.cache.reclaim(staged.transaction, series);
                    self.write(staged, series, &left.raw, left.sample(), false)?;
                }
                // The series was forgotten because memory was short.
                None => {
                    staged.counts.scraped += 1;
                    staged.counts.filtered += 1;
                }
                Some(_) => self.left.push(left),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::decode;
    use crate::batch::stage::BatchLimits;
    use crate::series::cache::SeriesKey;
    use crate::series::{Labels, TargetId};

    /// Two scrapes that are under way and show the same series.
    struct Shared {
        writer: Writer,
        sent: Vec<i64>,
    }

    impl Shared {
        fn new() -> Self {
            let limits = BatchLimits {
                samples: 100,
                bytes: 100_000,
            };
            Self {
                writer: Writer::new(limits),
                sent: Vec::new(),
            }
        }

        fn begin(&mut self, target: u16) -> StagedScrape {
            self.writer.begin(TargetId(target))
        }

        fn show(&mut self, staged: &mut StagedScrape, timestamp_ms: i64) {
            let key = SeriesKey::new(staged.transaction.target(), b"a");
            let mut labels = Labels::default();
            labels.set("__name__", "a");
            labels.finish();
            let known = self.writer.cache.find(key);
            let series =
                known.unwrap_or_else(|| self.writer.insert(staged, key, Some(&labels), false));
            let sample = TimedValue {
                value: Value::Float(timestamp_ms as f64),
                timestamp_ms,
            };
            self.writer
                .write(staged, series, b"a", sample, false)
                .unwrap();
        }

        /// Commits a scrape. Returns how many samples were given, taken and filtered.
        fn commit(&mut self, mut staged: StagedScrape) -> (u64, u64, u64) {
            let transaction = staged.transaction;
            self.writer
                .settle_left(transaction, true, &mut staged)
                .unwrap();
            let counts = staged.counts;
            for batch in self.writer.commit(staged).unwrap().iter().flatten() {
                let request = decode(batch).unwrap();
                let samples = request.timeseries.iter().flat_map(|series| &series.samples);
                self.sent.extend(samples.map(|sample| sample.timestamp));
            }
            (counts.scraped, counts.fresh, counts.filtered)
        }

        fn fail(&mut self, staged: StagedScrape) -> (u64, u64, u64) {
            let transaction = staged.transaction;
            let target = transaction.target();
            let mut reports = self.writer.begin_reports(target, &staged);
            self.writer.rollback(staged);
            self.writer
                .settle_left(transaction, false, &mut reports)
                .unwrap();
            self.commit(reports)
        }

        fn assert_settled(&self) {
            assert!(self.writer.left.is_empty());
            assert_eq!(self.writer.left.memory(), 0);
        }
    }

    #[test]
    fn what_was_left_to_a_scrape_that_fails_goes_with_its_reports() {
        let mut shared = Shared::new();
        let (mut first, mut second) = (shared.begin(0), shared.begin(1));
        shared.show(&mut first, 100);
        shared.show(&mut second, 120);
        assert_eq!(shared.commit(second), (0, 0, 0), "nobody knows yet");
        let mut third = shared.begin(1);
        shared.show(&mut third, 130);
        assert_eq!(shared.commit(third), (0, 0, 0));
        assert!(shared.writer.left.memory() > 0);
        assert_eq!(shared.fail(first), (2, 2, 0));
        assert_eq!(shared.sent, [120, 130]);
        shared.assert_settled();
    }

    #[test]
    fn what_was_left_to_a_scrape_that_succeeds_is_sent_if_it_is_newer() {
        for (at_ms, sent) in [(120, &[100, 120][..]), (100, &[100]), (90, &[100])] {
            let mut shared = Shared::new();
            let (mut first, mut second) = (shared.begin(0), shared.begin(1));
            shared.show(&mut first, 100);
            shared.show(&mut second, at_ms);
            shared.commit(second);
            let filtered = 2 - sent.len() as u64;
            assert_eq!(shared.commit(first), (2, sent.len() as u64, filtered));
            assert_eq!(shared.sent, sent, "{at_ms}");
            shared.assert_settled();
        }
    }

    #[test]
    fn a_scrape_takes_back_what_it_left_to_one_that_has_ended() {
        for first_fails in [true, false] {
            let mut shared = Shared::new();
            let (mut first, mut second) = (shared.begin(0), shared.begin(1));
            shared.show(&mut first, 100);
            shared.show(&mut second, 120);
            if first_fails {
                shared.fail(first);
            } else {
                shared.commit(first);
            }
            shared.show(&mut second, 140);
            assert_eq!(shared.commit(second), (2, 2, 0));
            assert!(shared.sent.ends_with(&[120, 140]), "{:?}", shared.sent);
            shared.assert_settled();
        }
    }

    #[test]
    fn what_a_scrape_that_fails_has_left_is_not_sent() {
        for second_is_first in [true, false] {
            let mut shared = Shared::new();
            let (mut first, mut second) = (shared.begin(0), shared.begin(1));
            shared.show(&mut first, 100);
            shared.show(&mut second, 120);
            if second_is_first {
                shared.fail(second);
                shared.fail(first);
            } else {
                shared.fail(first);
                shared.fail(second);
            }
            assert!(shared.sent.is_empty(), "{:?}", shared.sent);
            shared.assert_settled();
        }
    }

    #[test]
    fn a_sample_whose_series_was_forgotten_is_counted_once() {
        for second_fails in [true, false] {
            let mut shared = Shared::new();
            let (mut first, mut second) = (shared.begin(0), shared.begin(1));
            shared.show(&mut first, 100);
            shared.show(&mut second, 120);
            shared.writer.forget_untaken();
            assert_eq!(shared.fail(first), (0, 0, 0));
            if second_fails {
                assert_eq!(shared.fail(second), (0, 0, 0));
            } else {
                assert_eq!(shared.commit(second), (1, 0, 1));
            }
            shared.assert_settled();
        }
    }

    #[test]
    fn a_third_scrape_may_have_the_series_when_the_first_one_ends() {
        let mut shared = Shared::new();
        let (mut first, mut second) = (shared.begin(0), shared.begin(1));
        shared.show(&mut first, 100);
        shared.show(&mut second, 120);
        shared.fail(first);
        let mut third = shared.begin(2);
        shared.show(&mut third, 110);
        assert_eq!(shared.commit(second), (0, 0, 0), "left once more");
        assert_eq!(shared.commit(third), (2, 2, 0));
        assert_eq!(shared.sent, [110, 120]);
        shared.assert_settled();
    }
}
