//! The segments of a remote whose samples wait to be sent, oldest first, and how many samples that
//! is.
//!
//! The last release said how many samples wait in all segments together. How they are spread over
//! the segments is only known after looking into each, which costs a call. So the samples of all
//! segments that nothing has looked into yet are one number, `unattributed`, and each segment takes
//! its samples out of it once its contents are known.

use std::collections::VecDeque;

use crate::spool::name::SegmentName;
use crate::spool::state::Backlog;

/// Most ranges of segments that `state.json` names as uncounted.
const MOST_RANGES: usize = 1000;

/// A segment in the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BacklogSegment {
    /// Name of the segment, which is its place in the order.
    pub(crate) name: SegmentName,
    /// Size of the object in bytes.
    pub(crate) bytes: u64,
    /// What is in it, or `None` until it was looked into.
    pub(crate) contents: Option<Contents>,
    /// Whether the sum of the last release has its samples.
    pub(crate) in_sum: bool,
}

/// What is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Samples in batches that are not answered yet.
    pub(crate) samples: u64,
    /// Oldest timestamp in it, milliseconds since 1970; `None` for a segment without batches.
    pub(crate) oldest_ms: Option<i64>,
}

/// The backlog of a remote, segment by segment.
#[derive(Debug, Default)]
pub(crate) struct SegmentBacklog {
    /// Sorted by name: oldest first.
    segments: VecDeque<BacklogSegment>,
    /// Samples of the segments whose contents are not known yet.
    unattributed: u64,
    /// Samples that turned out to be in the backlog although the sum did not contain them, since
    /// [`SegmentBacklog::take_found`].
    found: u64,
    /// Oldest timestamp according to the last release, for as long as the oldest segment is the
    /// same and was not looked into.
    oldest_ms: Option<i64>,
}

impl SegmentBacklog {
    /// The backlog of these segments, sorted by name, with the sums of the last release.
    pub(crate) fn new(segments: Vec<BacklogSegment>, released: &Backlog) -> Self {
        Self {
            segments: segments.into(),
            unattributed: released.samples,
            found: 0,
            oldest_ms: released.oldest_ms,
        }
    }

    /// Names of all segments, oldest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = SegmentName> {
        self.segments.iter().map(|segment| segment.name)
    }

    /// Names of the segments whose samples are in no sum at all, oldest first.
    pub(crate) fn uncounted(&self) -> impl Iterator<Item = SegmentName> {
        // While there is a common number, the samples of unknown segments are in it.
        let is_exhausted = !self.has_unattributed();
        self.segments
            .iter()
            .filter(move |segment| segment.contents.is_none() && (is_exhausted || !segment.in_sum))
            .map(|segment| segment.name)
    }

    /// The same names as ranges: the first and the last of segments that follow each other. Empty
    /// when they are too scattered: then all are counted again.
    pub(crate) fn uncounted_ranges(&self) -> Vec<(SegmentName, SegmentName)> {
        let mut ranges: Vec<(SegmentName, SegmentName)> = Vec::new();
        let mut uncounted = self.uncounted().peekable();
        let mut goes_on = false;
        for name in self.names() {
            let is_uncounted = uncounted.next_if_eq(&name).is_some();
            match ranges.last_mut().filter(|_| goes_on) {
                Some(range) if is_uncounted => range.1 = name,
                _ if is_uncounted => ranges.push((name, name)),
                _ => {}
            }
            goes_on = is_uncounted;
        }
        if ranges.len() > MOST_RANGES {
            ranges.clear();
        }
        ranges
    }

    /// Names of the segments whose contents are not known, oldest first.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = SegmentName> {
        self.segments
            .iter()
            .filter(|segment| segment.contents.is_none())
            .map(|segment| segment.name)
    }

    /// Name of the oldest segment.
    pub(crate) fn oldest(&self) -> Option<SegmentName> {
        self.names().next()
    }

    /// Whether there is no segment.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether the segment is in the backlog.
    pub(crate) fn contains(&self, name: SegmentName) -> bool {
        self.get(name).is_some()
    }

    /// Whether the segment is in the backlog and its contents are not known.
    pub(crate) fn is_unknown(&self, name: SegmentName) -> bool {
        self.get(name)
            .is_some_and(|segment| segment.contents.is_none())
    }

    /// Size of a segment in bytes, if it is in the backlog.
    pub(crate) fn size(&self, name: SegmentName) -> Option<u64> {
        self.get(name).map(|segment| segment.bytes)
    }

    /// Size of all segments in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn get(&self, name: SegmentName) -> Option<&BacklogSegment> {
        self.segments.iter().find(|segment| segment.name == name)
    }

    fn contents_mut(&mut self, name: SegmentName) -> Option<&mut Contents> {
        self.segments
            .iter_mut()
            .find(|segment| segment.name == name)?
            .contents
            .as_mut()
    }

    /// Adds a segment in its place in the order.
    pub(crate) fn insert(&mut self, segment: BacklogSegment) {
        let at = self
            .segments
            .partition_point(|known| known.name < segment.name);
        self.segments.insert(at, segment);
    }

    /// Removes a segment, with its samples. Returns how many those were, or `None` when that is not
    /// known: then they are still in the sum.
    pub(crate) fn remove(&mut self, name: SegmentName) -> Option<u64> {
        let at = self
            .segments
            .iter()
            .position(|segment| segment.name == name)?;
        let segment = self.segments.remove(at)?;
        if at == 0 {
            // The time was that of this segment.
            self.oldest_ms = None;
        }
        segment.contents.map(|contents| contents.samples)
    }

    /// Records what is in a segment. Ignored when that is known, or the segment is not here.
    pub(crate) fn learn(&mut self, name: SegmentName, contents: Contents) {
        let Some(segment) = self
            .segments
            .iter_mut()
            .find(|segment| segment.name == name)
        else {
            return;
        };
        if segment.contents.is_some() {
            return;
        }
        segment.contents = Some(contents);
        // The samples move from the common number to the segment. More than that number holds were
        // missing in the sum.
        let in_sum = if segment.in_sum {
            contents.samples.min(self.unattributed)
        } else {
            0
        };
        self.found += contents.samples - in_sum;
        self.unattributed -= in_sum;
    }

    /// Takes answered samples out of a segment.
    pub(crate) fn answer(&mut self, name: SegmentName, samples: u64) {
        if let Some(contents) = self.contents_mut(name) {
            contents.samples = contents.samples.saturating_sub(samples);
        }
    }

    /// Takes all samples out of a segment.
    pub(crate) fn answer_all(&mut self, name: SegmentName) {
        self.answer(name, u64::MAX);
    }

    /// Counts samples once more that were answered, because they will be sent again: the segment
    /// holds more than the `left` samples that the caller still has to send.
    pub(crate) fn repeat_all_but(&mut self, name: SegmentName, left: u64) {
        let samples = self
            .get(name)
            .and_then(|segment| segment.contents)
            .map_or(0, |contents| contents.samples);
        self.found += samples.saturating_sub(left);
    }

    /// Whether the sum has samples that belong to no known segment.
    pub(crate) fn has_unattributed(&self) -> bool {
        self.unattributed > 0
    }

    /// Takes the samples that belong to no segment out of the sum, once the contents of all
    /// segments are known. Until then they may be in a segment that is not known, and it returns 0.
    pub(crate) fn take_unattributed(&mut self) -> u64 {
        if self.unknown().next().is_some() {
            return 0;
        }
        std::mem::take(&mut self.unattributed)
    }

    /// The oldest segment, when neither its contents nor the last release say how old it is.
    pub(crate) fn oldest_of_unknown_age(&self) -> Option<SegmentName> {
        self.segments
            .front()
            .filter(|segment| segment.contents.is_none() && self.oldest_ms.is_none())
            .map(|segment| segment.name)
    }

    /// Samples that are in the backlog though the sum did not contain them, since the last call.
    pub(crate) fn take_found(&mut self) -> u64 {
        std::mem::take(&mut self.found)
    }

    /// The sums, as far as they are known.
    pub(crate) fn sums(&self) -> Backlog {
        let known: u64 = self
            .segments
            .iter()
            .filter_map(|segment| segment.contents)
            .map(|contents| contents.samples)
            .sum();
        let oldest_ms = self.segments.front().and_then(|segment| {
            segment
                .contents
                .map_or(self.oldest_ms, |contents| contents.oldest_ms)
        });
        Backlog {
            segments: self.segments.len() as u64,
            samples: known.saturating_add(self.unattributed),
            bytes: self.bytes(),
            oldest_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(scrape: u64) -> SegmentName {
        SegmentName::new(1, scrape, 0).unwrap()
    }

    fn contents(samples: u64) -> Contents {
        Contents {
            samples,
            oldest_ms: Some(samples as i64),
        }
    }

    fn unknown(scrape: u64) -> BacklogSegment {
        BacklogSegment {
            name: name(scrape),
            bytes: 100,
            contents: None,
            in_sum: true,
        }
    }

    fn released(samples: u64) -> Backlog {
        Backlog {
            segments: 2,
            samples,
            bytes: 200,
            oldest_ms: Some(7),
        }
    }

    #[test]
    fn segments_take_their_samples_out_of_the_sum_of_the_last_release() {
        let mut backlog = SegmentBacklog::new(vec![unknown(1), unknown(2)], &released(30));
        assert_eq!(backlog.sums(), released(30));
        assert_eq!(
            backlog.uncounted().count(),
            0,
            "their samples are in the sum"
        );
        backlog.learn(name(1), contents(10));
        backlog.learn(name(1), contents(99));
        assert_eq!(
            backlog.sums(),
            Backlog {
                oldest_ms: Some(10),
                ..released(30)
            }
        );
        assert_eq!(backlog.take_unattributed(), 0, "the second one is unknown");
        backlog.learn(name(2), contents(20));
        assert!(!backlog.has_unattributed());
        assert_eq!((backlog.take_unattributed(), backlog.take_found()), (0, 0));
    }

    #[test]
    fn samples_that_the_last_release_did_not_count_are_found() {
        let mut backlog = SegmentBacklog::new(vec![unknown(1), unknown(2)], &released(30));
        backlog.learn(name(1), contents(40));
        assert_eq!(backlog.sums().samples, 40);
        assert_eq!(backlog.uncounted().count(), 1);
        assert_eq!((backlog.take_found(), backlog.take_found()), (10, 0));
    }

    #[test]
    fn samples_that_no_segment_has_are_left_over() {
        let mut backlog = SegmentBacklog::new(vec![unknown(1), unknown(2)], &released(30));
        assert_eq!(backlog.remove(name(1)), None, "nothing is known of it");
        backlog.learn(name(2), contents(20));
        assert_eq!(backlog.sums().samples, 30);
        assert_eq!(backlog.take_unattributed(), 10);
        assert_eq!(backlog.remove(name(2)), Some(20));
        assert_eq!(backlog.sums(), Backlog::default());
    }

    #[test]
    fn a_segment_that_is_gone_takes_its_time_with_it() {
        let mut backlog = SegmentBacklog::new(vec![unknown(1), unknown(2)], &released(30));
        assert_eq!(backlog.oldest_of_unknown_age(), None);
        backlog.remove(name(2));
        assert_eq!(backlog.sums().oldest_ms, Some(7), "the oldest is the same");
        backlog.insert(unknown(2));
        backlog.remove(name(1));
        assert_eq!(backlog.sums().oldest_ms, None);
        assert_eq!(backlog.oldest_of_unknown_age(), Some(name(2)));
    }

    #[test]
    fn segments_are_in_order_and_answers_reduce_them() {
        let mut backlog = SegmentBacklog::default();
        for scrape in [3, 1, 2] {
            backlog.insert(BacklogSegment {
                contents: Some(contents(10)),
                ..unknown(scrape)
            });
        }
        assert!(backlog.names().eq([1, 2, 3].map(name)));
        backlog.answer(name(1), 4);
        backlog.answer_all(name(2));
        assert_eq!(backlog.sums().samples, 16);
        backlog.answer(name(1), 100);
        assert_eq!(backlog.sums().samples, 10);
        backlog.repeat_all_but(name(3), 7);
        assert_eq!(backlog.take_found(), 3);
    }

    #[test]
    fn segments_that_the_sum_does_not_have_are_counted_apart() {
        let extra = |scrape| BacklogSegment {
            in_sum: false,
            ..unknown(scrape)
        };
        let segments = vec![
            extra(1),
            unknown(2),
            extra(3),
            extra(4),
            unknown(5),
            extra(6),
        ];
        let mut backlog = SegmentBacklog::new(segments, &released(30));
        assert!(backlog.uncounted().eq([1, 3, 4, 6].map(name)));
        let ranges = [(1, 1), (3, 4), (6, 6)].map(|(first, last)| (name(first), name(last)));
        assert_eq!(backlog.uncounted_ranges(), ranges);
        backlog.learn(name(3), contents(50));
        assert_eq!((backlog.sums().samples, backlog.take_found()), (80, 50));
        backlog.learn(name(2), contents(30));
        assert_eq!((backlog.sums().samples, backlog.take_found()), (80, 0));
        // The sum has nothing left for the other one.
        assert!(backlog.uncounted().eq([1, 4, 5, 6].map(name)));
        assert_eq!(backlog.uncounted_ranges()[1], (name(4), name(6)));
    }
}
