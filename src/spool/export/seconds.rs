//! Timestamps in seconds, as OpenMetrics writes them.

/// A timestamp in seconds that Prometheus reads back as the same milliseconds. It multiplies the
/// float by 1000 and cuts the fraction off (`model/textparse/openmetricsparse.go`
/// `parseSeriesEndOfLine`), which makes 1000 of 1.001 s.
pub(super) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let size = ms.unsigned_abs();
    let plain = if size.is_multiple_of(1000) {
        format!("{sign}{}", size / 1000)
    } else {
        format!("{sign}{}.{:03}", size / 1000, size % 1000)
    };
    let read_back = |text: &str| {
        text.parse::<f64>()
            .is_ok_and(|seconds| (seconds * 1000.0) as i64 == ms)
    };
    if read_back(&plain) {
        return plain;
    }
    let nudged = (1..10).map(|nudge| format!("{sign}{}.{:03}000{nudge}", size / 1000, size % 1000));
    nudged
        .into_iter()
        .find(|text| read_back(text))
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prometheus_reads_the_timestamps_that_were_meant(
            ms in prop_oneof![0_i64..5_000_000_000_000, -100_000_i64..100_000],
        ) {
            prop_assert_eq!((seconds(ms).parse::<f64>().unwrap() * 1000.0) as i64, ms);
        }
    }
}
