//! The segments in memory: the head, which is being sent, and the next one, which was prefetched.
//!
//! A batch of the head is answered once the remote has taken or refused it. The head leaves when
//! all of its batches are answered.

use super::backlog::Contents;
use crate::batch::{self, Batch};
use crate::spool::name::SegmentName;
use crate::spool::segment::IndexEntry;
use crate::spool::state::HeadProgress;
use crate::spool::store::Etag;

/// Most segments in memory: the head and the next one.
const MOST: usize = 2;

/// The oldest segment of a remote, as it is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Name of the segment.
    pub name: SegmentName,
    /// The batches that are not answered yet, with their places in the segment. At least one.
    pub batches: Vec<(u32, Batch)>,
    /// Whether some of the batches may have been answered before a kill. A refusal of such a batch
    /// may only mean that the remote has it.
    pub repeated: bool,
}

/// The segments in memory, and how far a segment was sent by the tick before.
#[derive(Debug, Default)]
pub(crate) struct Window {
    loaded: Vec<LoadedSegment>,
    /// The batches of one segment that earlier ticks had an answer for. Used up when it is loaded.
    resume: Option<HeadProgress>,
    /// The oldest segment that a killed tick left. Some of its batches may have been answered.
    doubtful: Option<SegmentName>,
}

#[derive(Debug)]
struct LoadedSegment {
    name: SegmentName,
    batches: Vec<Batch>,
    /// Whether each batch was answered.
    answered: Vec<bool>,
    /// The object's etag as it was read.
    etag: Option<Etag>,
}

impl LoadedSegment {
    fn is_done(&self) -> bool {
        self.answered.iter().all(|answered| *answered)
    }

    /// The batches without an answer, with their places in the segment.
    fn unanswered(&self) -> impl Iterator<Item = (u32, &Batch)> {
        (0_u32..)
            .zip(&self.batches)
            .zip(&self.answered)
            .filter(|(_, answered)| !**answered)
            .map(|(batch, _)| batch)
    }
}

impl Window {
    /// A window without segments.
    pub(crate) fn new(resume: Option<HeadProgress>, doubtful: Option<SegmentName>) -> Self {
        Self {
            loaded: Vec::new(),
            resume,
            doubtful,
        }
    }

    fn get(&self, name: SegmentName) -> Option<&LoadedSegment> {
        self.loaded.iter().find(|loaded| loaded.name == name)
    }

    fn get_mut(&mut self, name: SegmentName) -> Option<&mut LoadedSegment> {
        self.loaded.iter_mut().find(|loaded| loaded.name == name)
    }

    /// Whether the segment is in memory.
    pub(crate) fn contains(&self, name: SegmentName) -> bool {
        self.get(name).is_some()
    }

    /// Notes the etag with which a segment was read.
    pub(crate) fn note_etag(&mut self, name: SegmentName, etag: Etag) {
        if let Some(loaded) = self.get_mut(name) {
            loaded.etag = Some(etag);
        }
    }

    /// The etag of a segment that is in memory.
    pub(crate) fn etag(&self, name: SegmentName) -> Option<Etag> {
        self.get(name)?.etag.clone()
    }

    /// Whether one more segment may be loaded ahead of its turn.
    pub(crate) fn has_room(&self) -> bool {
        self.loaded.len() < MOST
    }

    /// Size of the batches in memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.loaded
            .iter()
            .flat_map(|loaded| &loaded.batches)
            .map(|batch| batch.body.len())
            .sum()
    }

    /// Adds a segment. Batches that an earlier tick had an answer for count as answered. Returns
    /// what is left in it.
    pub(crate) fn load(&mut self, name: SegmentName, batches: Vec<Batch>) -> Contents {
        let mut answered = vec![false; batches.len()];
        if let Some(resume) = self.resume.take_if(|resume| resume.segment == name) {
            for place in resume.answered {
                if let Some(answered) = answered.get_mut(place as usize) {
                    *answered = true;
                }
            }
        }
        let loaded = LoadedSegment {
            name,
            batches,
            answered,
            etag: None,
        };
        let contents = Contents {
            samples: batch::samples(loaded.unanswered().map(|(_, batch)| batch)),
            oldest_ms: loaded.batches.iter().map(|batch| batch.min_ms).min(),
        };
        self.loaded.push(loaded);
        contents
    }

    /// What is left in a segment with this index, which may be one that an earlier tick sent in
    /// part.
    pub(crate) fn contents_of(&self, name: SegmentName, index: &[IndexEntry]) -> Contents {
        let answered = match &self.resume {
            Some(resume) if resume.segment == name => resume.answered.as_slice(),
            _ => &[],
        };
        Contents {
            samples: (0_u32..)
                .zip(index)
                .filter(|(place, _)| !answered.contains(place))
                .map(|(_, entry)| u64::from(entry.samples))
                .sum(),
            oldest_ms: index.iter().map(|entry| entry.min_ms).min(),
        }
    }

    /// The batches of a loaded segment that are to be sent. None of them is left when it is done.
    pub(crate) fn head(&self, name: SegmentName) -> Option<Head> {
        let loaded = self.get(name)?;
        Some(Head {
            name,
            batches: loaded
                .unanswered()
                .map(|(place, batch)| (place, batch.clone()))
                .collect(),
            repeated: self.doubtful == Some(name),
        })
    }

    /// Marks a batch as answered. Returns its samples, or `None` when it was answered before or is
    /// not here.
    pub(crate) fn answer(&mut self, name: SegmentName, place: u32) -> Option<u64> {
        let loaded = self.get_mut(name)?;
        let at = place as usize;
        let answered = loaded.answered.get_mut(at).filter(|answered| !**answered)?;
        *answered = true;
        Some(u64::from(loaded.batches[at].samples))
    }

    /// Marks all batches of a segment as answered.
    pub(crate) fn answer_all(&mut self, name: SegmentName) {
        if let Some(loaded) = self.get_mut(name) {
            loaded.answered.fill(true);
        }
    }

    /// Whether a loaded segment has no batch left to send.
    pub(crate) fn is_done(&self, name: SegmentName) -> bool {
        self.get(name).is_some_and(LoadedSegment::is_done)
    }

    /// Whether a batch of a loaded segment was not answered yet.
    pub(crate) fn is_unanswered(&self, name: SegmentName, place: u32) -> bool {
        self.get(name)
            .is_some_and(|loaded| loaded.answered.get(place as usize) == Some(&false))
    }

    /// Drops a segment.
    pub(crate) fn remove(&mut self, name: SegmentName) {
        self.loaded.retain(|loaded| loaded.name != name);
    }

    /// How far the oldest segment was sent, for the next tick. None when it has no answered batch.
    pub(crate) fn progress(&self, oldest: Option<SegmentName>) -> Option<HeadProgress> {
        let oldest = oldest?;
        let progress = match self.get(oldest) {
            Some(loaded) => HeadProgress {
                segment: oldest,
                answered: (0_u32..)
                    .zip(&loaded.answered)
                    .filter(|(_, answered)| **answered)
                    .map(|(place, _)| place)
                    .collect(),
            },
            // This tick never loaded it: what the last one knew still holds.
            None => self
                .resume
                .clone()
                .filter(|resume| resume.segment == oldest)?,
        };
        (!progress.answered.is_empty()).then_some(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(samples: u32, at_ms: i64) -> Batch {
        Batch {
            body: vec![0; 60].into(),
            samples,
            raw_len: 120,
            min_ms: at_ms - 5,
            max_ms: at_ms,
        }
    }

    fn name(scrape: u64) -> SegmentName {
        SegmentName::new(1, scrape, 0).unwrap()
    }

    fn places(head: &Head) -> Vec<u32> {
        head.batches.iter().map(|(place, _)| *place).collect()
    }

    #[test]
    fn a_segment_is_done_when_each_batch_was_answered_once() {
        let mut window = Window::default();
        let contents = window.load(name(1), vec![batch(3, 100), batch(5, 50)]);
        assert_eq!((contents.samples, contents.oldest_ms), (8, Some(45)));
        assert_eq!(window.bytes(), 120);
        assert_eq!(window.answer(name(1), 1), Some(5));
        assert_eq!(window.answer(name(1), 1), None, "it was before");
        assert_eq!(window.answer(name(1), 2), None, "there is none");
        assert_eq!(window.answer(name(2), 0), None, "it is not loaded");
        assert!(window.is_unanswered(name(1), 0) && !window.is_unanswered(name(1), 1));
        assert!(!window.is_done(name(1)));
        assert_eq!(places(&window.head(name(1)).unwrap()), [0]);
        window.answer_all(name(1));
        assert!(window.is_done(name(1)) && !window.is_done(name(2)));
        assert_eq!(places(&window.head(name(1)).unwrap()), [0; 0]);
        window.remove(name(1));
        assert!(!window.contains(name(1)) && window.bytes() == 0);
    }

    #[test]
    fn what_an_earlier_tick_sent_is_not_sent_again() {
        let resume = HeadProgress {
            segment: name(1),
            answered: vec![0, 9],
        };
        let mut window = Window::new(Some(resume.clone()), Some(name(1)));
        assert_eq!(window.progress(Some(name(1))), Some(resume));
        assert_eq!(window.progress(Some(name(2))), None);
        assert_eq!(window.progress(None), None);
        window.load(name(2), vec![batch(1, 100)]);
        let contents = window.load(name(1), vec![batch(3, 100), batch(5, 50)]);
        assert_eq!((contents.samples, contents.oldest_ms), (5, Some(45)));
        let head = window.head(name(1)).unwrap();
        assert_eq!((places(&head), head.repeated), (vec![1], true));
        assert!(!window.head(name(2)).unwrap().repeated);
        // A place that the segment does not have is forgotten.
        let progress = window.progress(Some(name(1))).unwrap();
        assert_eq!(progress.answered, [0]);
    }

    #[test]
    fn two_segments_fill_it() {
        let mut window = Window::default();
        window.load(name(1), vec![batch(3, 100)]);
        assert!(window.has_room());
        window.load(name(2), vec![batch(3, 100)]);
        assert!(!window.has_room());
    }
}
