//! Where a window starts and ends, as pure functions of the clocks.
//!
//! All times are the home's. What the home has not made visible yet must not be asked for as if it
//! were complete: the upper end of a window is what both clocks agree to be past, less `settle`.

use std::time::Duration;

use super::request::TimeRange;
use crate::time::millis;

/// Windows end on multiples of this many milliseconds, so that a window that is read again makes
/// the same entries.
pub const WINDOW_GRID_MS: i64 = 5_000;

/// Resolution of the header `Date`, in milliseconds.
pub(super) const DATE_RESOLUTION_MS: i64 = 1_000;

/// Time up to which an answer is complete, milliseconds since 1970, before it is put on the grid.
///
/// `asked_at_ms` is our clock when the request was sent. `date_ms` is the header `Date`, which the
/// home writes with the first byte, after it took its snapshot: at most `until_headers` after. A
/// clock of ours that is behind only makes windows shorter. Samples younger than `settle` wait for
/// the next window.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use amp_forwarder::read::window::upper_end_ms;
///
/// let (headers_took, settle) = (Duration::from_millis(300), Duration::from_secs(15));
/// assert_eq!(upper_end_ms(100_000, Some(100_000), headers_took, settle), 83_700);
/// // Our clock is the earlier one, or there is no other.
/// assert_eq!(upper_end_ms(90_000, Some(100_000), headers_took, settle), 75_000);
/// assert_eq!(upper_end_ms(90_000, None, headers_took, settle), 75_000);
/// ```
#[must_use]
pub fn upper_end_ms(
    asked_at_ms: i64,
    date_ms: Option<i64>,
    until_headers: Duration,
    settle: Duration,
) -> i64 {
    let past = date_ms.map_or(asked_at_ms, |date_ms| {
        date_ms
            .saturating_sub(millis(until_headers))
            .saturating_sub(DATE_RESOLUTION_MS)
            .min(asked_at_ms)
    });
    past.saturating_sub(millis(settle))
}

/// Latest time that is worth asking for, milliseconds since 1970, before it is put on the grid: of
/// what comes later, [`upper_end_ms`] takes nothing, because `Date` has a resolution of a second.
/// `now_ms` is the home's clock as far as it is known.
///
/// ```
/// use std::time::Duration;
/// use amp_forwarder::read::window::{askable_end_ms, upper_end_ms};
///
/// let settle = Duration::from_secs(15);
/// for (asked_at_ms, headers_took_ms) in [(60_500, 20), (60_980, 20), (60_000, 3_999)] {
///     let date_ms = (asked_at_ms + headers_took_ms as i64) / 1_000 * 1_000;
///     let headers_took = Duration::from_millis(headers_took_ms);
///     let taken_ms = upper_end_ms(asked_at_ms, Some(date_ms), headers_took, settle);
///     assert!(taken_ms <= askable_end_ms(asked_at_ms, settle));
/// }
/// ```
#[must_use]
pub fn askable_end_ms(now_ms: i64, settle: Duration) -> i64 {
    now_ms
        .saturating_sub(millis(settle))
        .saturating_sub(DATE_RESOLUTION_MS)
}

/// Distance of the ends of windows in milliseconds: [`WINDOW_GRID_MS`], or the least multiple of
/// `resolution_ms` that is not less, because no window may end within a span of which it ships the
/// newest sample.
///
/// ```
/// use amp_forwarder::read::window::grid_ms;
///
/// assert_eq!([0, 1_000, 2_000, 7_000, 60_000].map(grid_ms), [5_000, 5_000, 6_000, 7_000, 60_000]);
/// ```
#[must_use]
pub fn grid_ms(resolution_ms: i64) -> i64 {
    if resolution_ms <= 0 {
        return WINDOW_GRID_MS;
    }
    // Resolutions come from a configuration, so that they are far below the largest number.
    let spans = (WINDOW_GRID_MS - 1) / resolution_ms + 1;
    spans.saturating_mul(resolution_ms)
}

/// The newest time on the grid that is not after `at_ms`.
#[must_use]
pub fn on_grid(at_ms: i64, grid_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(grid_ms.max(1))
}

/// Time at which the range of the next window starts, in milliseconds since 1970.
///
/// `watermark_ms` is the end of the last window, and `read_at_ms` the home's time when that window
/// was read (not later; unknown: the watermark itself). What was not visible then is younger than
/// `overlap` was then. So a window that was read long after its end needs no overlap behind it, and
/// a gap is filled without reading everything several times.
///
/// ```
/// use std::time::Duration;
/// use amp_forwarder::read::window::range_start_ms;
///
/// let overlap = Duration::from_secs(60);
/// assert_eq!(range_start_ms(100_000, Some(115_000), overlap), 55_000);
/// assert_eq!(range_start_ms(100_000, Some(3_600_000), overlap), 100_000);
/// assert_eq!(range_start_ms(100_000, None, overlap), 40_000);
/// ```
#[must_use]
pub fn range_start_ms(watermark_ms: i64, read_at_ms: Option<i64>, overlap: Duration) -> i64 {
    read_at_ms
        .unwrap_or(watermark_ms)
        .max(watermark_ms)
        .saturating_sub(millis(overlap))
        .min(watermark_ms)
}

impl TimeRange {
    /// Whether the range includes this time. Both ends belong to it.
    #[inline]
    #[must_use]
    pub fn contains(&self, at_ms: i64) -> bool {
        (self.start_ms..=self.end_ms).contains(&at_ms)
    }

    /// Length in milliseconds; 0 when the end is before the start.
    #[must_use]
    pub fn len_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms).max(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upper(asked_at: i64, date: Option<i64>, headers: u64, settle: u64) -> i64 {
        let millis = Duration::from_millis;
        upper_end_ms(asked_at, date, millis(headers), millis(settle))
    }

    #[test]
    fn the_upper_end_follows_the_earlier_clock() {
        for (asked_at, date, headers, settle, expected) in [
            // A slow first byte: the snapshot may be as old as the request.
            (100_000, Some(130_000), 30_000, 15_000, 84_000),
            // The home is two minutes behind us.
            (200_000, Some(80_000), 0, 15_000, 64_000),
            // The home is an hour ahead: only our clock is sure to be past.
            (200_000, Some(3_800_000), 500, 15_000, 185_000),
            (200_000, None, 90_000, 0, 200_000),
            (i64::MIN, Some(i64::MIN), u64::MAX, u64::MAX, i64::MIN),
        ] {
            assert_eq!(
                upper(asked_at, date, headers, settle),
                expected,
                "{asked_at} {date:?} {headers} {settle}"
            );
        }
    }

    proptest! {
        /// A sample that the home commits less than `settle` after its timestamp, by the home's
        /// clock, and that is not above the upper end, was visible in the snapshot.
        #[test]
        fn nothing_below_the_upper_end_comes_later(
            home_ahead in -100_000_i64..100_000,
            asked_at in 1_000_000_i64..2_000_000,
            to_snapshot in 0_i64..5_000,
            to_headers in 0_i64..40_000,
            lateness in 0_i64..=15_000,
            before_snapshot in -40_000_i64..40_000,
            dated in any::<bool>(),
        ) {
            // Without a Date only a home whose clock is not behind ours is known to be past.
            prop_assume!(dated || home_ahead >= 0);
            let snapshot = asked_at + home_ahead + to_snapshot;
            let headers = snapshot + to_headers;
            let date = dated.then_some(headers - headers.rem_euclid(1_000));
            let end = upper(asked_at, date, (to_snapshot + to_headers) as u64, 15_000);
            let timestamp = snapshot - before_snapshot;
            let visible = timestamp + lateness <= snapshot;
            prop_assert!(visible || timestamp > end, "{timestamp} {end} {snapshot}");
        }

        #[test]
        fn ends_lie_on_the_grid(at in any::<i64>(), resolution in 0_i64..400_000) {
            let grid = grid_ms(resolution);
            prop_assert!(grid >= WINDOW_GRID_MS && (resolution == 0 || grid % resolution == 0));
            prop_assume!(at > i64::MIN + grid);
            let end = on_grid(at, grid);
            prop_assert!(end <= at && at - end < grid && end % grid == 0);
        }
    }
}
