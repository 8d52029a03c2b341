//! Arbitrary windows, as several processes read them.

use super::*;

/// A series of a simulated home, and how much of it is visible at each read: a prefix in time.
fn arbitrary_series() -> impl Strategy<Value = (Samples, Vec<u8>)> {
    let sample = (
        1..8_000_i64,
        prop_oneof![
            6 => Just(Kind::Float),
            1 => Just(Kind::Marker),
            2 => Just(Kind::Histogram),
        ],
    );
    (vec(sample, 0..25), vec(0..4_u8, 12)).prop_map(|(steps, lateness)| {
        let mut now = EPOCH_MS;
        let samples = steps.into_iter().map(|(step, kind)| {
            now += step;
            (now, kind)
        });
        (samples.collect(), lateness)
    })
}

/// What a process does between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// Another process goes on.
    Cold,
    /// The read fails, and comes again.
    Fails,
}

proptest! {
    /// However the samples are cut into windows, whatever becomes visible late, and whoever reads:
    /// the receiver has each sample once, and a cold process sends what a warm one does.
    #[test]
    fn the_receiver_has_what_the_home_has(
        series in vec(arbitrary_series(), 1..6),
        windows in vec((1_000..40_000_i64, prop_oneof![
            Just(Between::Nothing),
            Just(Between::Cold),
            Just(Between::Fails),
        ]), 12),
        samples in 1..12_usize,
        bytes in prop_oneof![60..500_usize, Just(100_000)],
    ) {
        const NAMES: [&str; 6] = ["a", "a2", "b", "b2", "b3", "c"];
        let late_ms = 5_000;
        let overlap_ms = 3 * late_ms;
        let limits = BatchLimits { samples, bytes };
        let (mut warm, mut cold) = (Process::new(limits, 1), Process::new(limits, 1));
        let mut receiver = Receiver::default();
        let mut watermark_ms = EPOCH_MS;
        let mut complete = false;
        let last = series.iter().filter_map(|(samples, _)| samples.last()).map(|last| last.0).max();
        let end = (last.unwrap_or(EPOCH_MS) + overlap_ms, Between::Nothing, true);
        let mut until_ms = EPOCH_MS;
        let windows = windows.into_iter().map(|(step, between)| {
            until_ms += step;
            (until_ms, between, false)
        });
        let reads: Vec<_> = windows.take_while(|window| window.0 < end.0).chain([end]).collect();
        for (number, (until_ms, between, is_last)) in reads.into_iter().enumerate() {
            let shown: BTreeMap<_, _> = NAMES.iter().copied().zip(&series).map(|(name, (all, lateness))| {
                let late_ms = if is_last { 0 } else { i64::from(lateness[number % 12]) * late_ms };
                let visible = all.iter().filter(|(at, _)| {
                    *at >= watermark_ms - overlap_ms && *at <= until_ms - late_ms
                });
                (name, visible.copied().collect::<Samples>())
            }).filter(|(_, shown)| !shown.is_empty()).collect();
            let starts = [WindowStart { watermark_ms, complete, ..WindowStart::default() }];
            if between == Between::Fails {
                let lost = warm.read(&starts, &shown, false);
                prop_assert_eq!(fresh(&lost[0]), 0);
            }
            if between == Between::Cold {
                cold = cold.successor(watermark_ms - overlap_ms);
            }
            let commits = warm.read(&starts, &shown, true);
            prop_assert_eq!(&cold.read(&starts, &shown, true)[0].scrapes, &commits[0].scrapes);
            receiver.take(&commits[0].scrapes);
            // A prefix may be shorter than the one that an earlier read saw only in this model.
            (watermark_ms, complete) = (until_ms, true);
        }
        for (name, (all, _)) in NAMES.iter().zip(&series) {
            let expected: BTreeMap<i64, (Kind, u64)> = all
                .iter()
                .map(|&(at, kind)| (at, (kind, value(at, kind).to_bits())))
                .collect();
            let stored = receiver.0.get(*name).cloned().unwrap_or_default();
            prop_assert_eq!(stored, expected, "{}", name);
        }
    }
}
