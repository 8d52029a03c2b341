//! The windows in which a range is compared.

use std::collections::VecDeque;

use super::compare::Span;

/// Shortest window that is halved, milliseconds.
const SHORTEST_MS: i64 = 10_000;

/// Windows that are still to be compared.
#[derive(Debug)]
pub(super) struct Windows(VecDeque<Span>);

impl Windows {
    /// Cuts a range into windows of this length, in the order of time.
    pub(super) fn of(range: &Span, length_ms: i64) -> Self {
        let mut windows = VecDeque::new();
        let mut start = *range.start();
        while start <= *range.end() {
            let end = (*range.end()).min(start + length_ms - 1);
            windows.push_back(start..=end);
            start = end + 1;
        }
        Self(windows)
    }

    /// Puts the windows into an order in which those that are compared first are spread over the
    /// whole range. So a verification that runs out of time has looked everywhere.
    pub(super) fn spread(self) -> Self {
        let count = self.0.len();
        let bits = usize::BITS - count.next_power_of_two().leading_zeros() - 1;
        let windows = (0..count.next_power_of_two())
            .map(|place| match bits {
                0 => 0,
                _ => place.reverse_bits() >> (usize::BITS - bits),
            })
            .filter_map(|place| self.0.get(place).cloned())
            .collect();
        Self(windows)
    }

    /// The next window.
    pub(super) fn next(&mut self) -> Option<Span> {
        self.0.pop_front()
    }

    /// Puts a window back in two halves. `false`: it is too short for that.
    pub(super) fn halve(&mut self, window: &Span) -> bool {
        let (start, end) = (*window.start(), *window.end());
        if end - start + 1 < SHORTEST_MS {
            return false;
        }
        let middle = start + (end - start) / 2;
        self.0.push_front(middle + 1..=end);
        self.0.push_front(start..=middle);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut windows: Windows) -> Vec<Span> {
        std::iter::from_fn(|| windows.next()).collect()
    }

    proptest! {
        #[test]
        fn every_moment_is_in_one_window(
            start in 0_i64..1_000, length in 1_i64..5_000, window in 1_i64..700, spread: bool,
        ) {
            let range = start..=start + length - 1;
            let windows = Windows::of(&range, window);
            let mut windows = all(if spread { windows.spread() } else { windows });
            windows.sort_by_key(|window| *window.start());
            let mut next = start;
            for window in windows {
                prop_assert_eq!(*window.start(), next);
                next = window.end() + 1;
            }
            prop_assert_eq!(next, range.end() + 1);
        }
    }

    #[test]
    fn what_is_spread_begins_at_both_halves() {
        let starts = |windows: Windows| -> Vec<i64> {
            all(windows).iter().map(|window| *window.start()).collect()
        };
        assert_eq!(
            starts(Windows::of(&(0..=59), 10).spread()),
            [0, 40, 20, 10, 50, 30]
        );
        assert_eq!(starts(Windows::of(&(0..=5), 10).spread()), [0]);
    }

    #[test]
    fn a_window_is_halved_until_it_is_too_short() {
        let mut windows = Windows::of(&(0..=19_999), 20_000);
        let whole = windows.next().unwrap();
        assert!(windows.halve(&whole));
        assert_eq!(windows.next(), Some(0..=9_999));
        assert_eq!(windows.next(), Some(10_000..=19_999));
        assert!(!windows.halve(&(0..=9_998)));
    }
}
