//! What `forwarder.remote_read.resolution` leaves of the home's samples.

use std::time::Duration;

use super::compare::Span;
use super::value::{TimedPrint, ValuePrint};
use crate::read::resolution_span;
use crate::time::millis;

/// The span of the clock of which one sample of a series is sent, in milliseconds. Up to 1 all are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Resolution(i64);

impl Resolution {
    pub(super) fn new(resolution: Duration) -> Self {
        Self(millis(resolution))
    }

    fn sends_all(self) -> bool {
        self.0 <= 1
    }

    /// The range without a span at its end that has not ended: its newest sample is sent once it
    /// has. There is one span at least.
    pub(super) fn whole_spans(self, range: &Span) -> Span {
        if self.sends_all() {
            return range.clone();
        }
        let end_ms = range.end().div_euclid(self.0) * self.0;
        (*range.start()).min(end_ms - self.0 + 1)..=end_ms
    }

    /// The window with all of the spans that it begins and ends in: the newest sample of each may
    /// be outside of the window.
    pub(super) fn around(self, window: &Span) -> Span {
        if self.sends_all() {
            return window.clone();
        }
        let first = resolution_span(*window.start(), self.0);
        let last = resolution_span(*window.end(), self.0);
        first * self.0 + 1..=(last + 1) * self.0
    }

    /// The samples that are sent: of each span the newest, and every marker. The slice is sorted by
    /// time.
    pub(super) fn thin(self, samples: &[TimedPrint]) -> Vec<TimedPrint> {
        if self.sends_all() {
            return samples.to_vec();
        }
        let mut newest = None;
        let mut kept: Vec<_> = samples
            .iter()
            .rev()
            .filter(|sample| {
                let span = resolution_span(sample.timestamp_ms, self.0);
                sample.print == ValuePrint::Marker || newest.replace(span) != Some(span)
            })
            .copied()
            .collect();
        kept.reverse();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Resolution = Resolution(60_000);

    #[test]
    fn the_newest_of_each_span_and_every_marker_are_sent() {
        let float = |timestamp_ms| TimedPrint {
            timestamp_ms,
            print: ValuePrint::float(1.5),
        };
        let marker = |timestamp_ms| TimedPrint {
            timestamp_ms,
            print: ValuePrint::Marker,
        };
        let held = [
            float(1),
            float(15_000),
            // The target has come back within the minute.
            marker(20_000),
            float(50_000),
            // The end of a minute belongs to it.
            float(60_000),
            float(60_001),
            marker(70_000),
            float(130_000),
        ];
        let sent = [
            marker(20_000),
            float(60_000),
            float(60_001),
            marker(70_000),
            float(130_000),
        ];
        assert_eq!(MINUTE.thin(&held), sent);
        assert_eq!(Resolution::default().thin(&held), held);
    }

    #[test]
    fn windows_have_whole_spans() {
        for (window, around) in [
            (60_001..=180_000, 60_001..=180_000),
            (60_000..=180_001, 1..=240_000),
            (130_000..=131_000, 120_001..=180_000),
        ] {
            assert_eq!(MINUTE.around(&window), around, "{window:?}");
            assert_eq!(Resolution::default().around(&window), window);
        }
    }

    #[test]
    fn a_span_that_has_not_ended_is_not_compared() {
        for (range, compared) in [
            (10_001..=610_000, 10_001..=600_000),
            (10_001..=600_000, 10_001..=600_000),
            // Shorter than a span: the one before.
            (610_001..=640_000, 540_001..=600_000),
        ] {
            assert_eq!(MINUTE.whole_spans(&range), compared, "{range:?}");
            assert_eq!(Resolution::default().whole_spans(&range), range);
        }
    }
}
