//! How long a remote that is asked may give no answer before it is given up.

use std::time::Duration;

use tokio::time::Instant;

/// A remote whose last tick brought an answer is given up when none comes for this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for a remote that answered nothing in the last tick.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The same once in [`LONG_EVERY`] ticks without an answer. A receiver that needs longer than
/// [`PATIENCE`] for each answer would otherwise never be waited for.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// How often a remote that answers nothing is waited for longer, in ticks.
const LONG_EVERY: u32 = 16;

/// The answers of one remote over time, kept for the process.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Number of deliveries that are under way.
    under_way: usize,
    /// When the remote last gave a final answer, or when the first of the deliveries began that are
    /// under way, if that was later.
    progress: Option<Instant>,
    /// Whether the remote gave a final answer in this tick.
    has_answered: bool,
    /// Whether anything was to be delivered in this tick.
    was_asked: bool,
    /// Ticks in a row in which the remote was asked and gave no final answer.
    unanswered_ticks: u32,
    /// Longest time that a final answer took lately. It is halved with each tick.
    answer_time: Duration,
}

impl Patience {
    /// Begins a tick.
    pub(super) fn begin_tick(&mut self) {
        // Monotonic instants of an earlier tick mean nothing in this one.
        self.progress = None;
        if std::mem::take(&mut self.has_answered) {
            self.unanswered_ticks = 0;
            self.answer_time /= 2;
        } else if self.was_asked {
            self.unanswered_ticks = self.unanswered_ticks.saturating_add(1);
        }
        self.was_asked = false;
    }

    /// Records that a delivery begins. Returns whether no other one is under way.
    pub(super) fn begin_delivery(&mut self) -> bool {
        self.was_asked = true;
        self.under_way += 1;
        if self.under_way == 1 {
            self.progress = Some(Instant::now());
        }
        self.under_way == 1
    }

    /// Records that a delivery has ended.
    pub(super) fn end_delivery(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Records a final answer to a request that took this long.
    pub(super) fn answered(&mut self, took: Duration) {
        self.has_answered = true;
        self.answer_time = self.answer_time.max(took);
        self.progress = Some(Instant::now());
    }

    /// When the remote is given up, if no final answer comes before. `None` while it is not asked.
    pub(super) fn ends(&self) -> Option<Instant> {
        let patience = match self.unanswered_ticks {
            0 => PATIENCE,
            ticks if ticks % LONG_EVERY == 0 => LONG_PATIENCE,
            _ => SHORT_PATIENCE,
        };
        let patience = patience.max((self.answer_time * 2).min(LONG_PATIENCE));
        let progress = self.progress.filter(|_| self.under_way > 0);
        progress.map(|progress| progress + patience)
    }

    /// Whether the remote was asked in this tick, and gave no final answer.
    pub(super) fn is_silent(&self) -> bool {
        self.was_asked && !self.has_answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a remote may be silent from now on.
    fn left(patience: &Patience) -> Option<u64> {
        patience
            .ends()
            .map(|ends| (ends - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_begins_it_anew_and_silent_ticks_shorten_it() {
        let mut patience = Patience::default();
        assert_eq!(left(&patience), None);
        assert!(patience.begin_delivery());
        assert!(!patience.begin_delivery());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(left(&patience), Some(2));
        patience.answered(Duration::from_secs(1));
        patience.end_delivery();
        assert_eq!(left(&patience), Some(5));
        patience.end_delivery();
        assert_eq!(left(&patience), None, "nobody is asked");

        let mut silent = Vec::new();
        for _ in 0..18 {
            patience.begin_tick();
            patience.begin_delivery();
            silent.extend(left(&patience));
            assert!(patience.is_silent());
            patience.end_delivery();
        }
        assert_eq!(silent[..3], [5, 2, 2]);
        assert_eq!(silent[16..], [30, 2], "a slow receiver gets its chance");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_receiver_is_waited_for_as_long_as_its_answers_take() {
        let mut patience = Patience::default();
        patience.begin_delivery();
        patience.answered(Duration::from_secs(9));
        assert_eq!(left(&patience), Some(18));
        patience.begin_tick();
        patience.end_delivery();
        patience.begin_delivery();
        assert_eq!(left(&patience), Some(9));
        patience.answered(Duration::from_secs(40));
        assert_eq!(left(&patience), Some(30));
    }
}
