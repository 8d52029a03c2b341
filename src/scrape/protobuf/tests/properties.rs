//! Families of any kind, and bytes that are none.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn metrics() -> impl Strategy<Value = Vec<MetricMessage>> {
    let text = || prop_oneof!["[a-z]{1,4}", "[^\0]{1,5}"];
    let metric = (
        vec((text(), prop_oneof![Just(String::new()), text()]), 0..4),
        any::<f64>(),
        any::<i64>(),
    );
    let metric = metric.prop_map(|(labels, value, timestamp_ms)| {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        MetricMessage {
            untyped: single(value),
            gauge: single(value),
            timestamp_ms,
            ..labelled(&labels)
        }
    });
    vec(metric, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(families in vec(("[^\0]{1,6}", metrics()), 0..4), mut ends in vec(0usize..200, 0..6)) {
        ends.sort_unstable();
        let families: Vec<_> = families.into_iter().map(|(name, metrics)| family(&name, MetricType::Untyped, metrics)).collect();
        let body = body(&families);
        let mut memory = Memory::default();
        prop_assert_eq!(parse(&body, ends, HistogramFormats::default(), &mut memory), Ok(()));
        let mut expected = Vec::new();
        for family in &families {
            for metric in &family.metrics {
                let labels = metric.labels.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
                let labels: Vec<_> = [("__name__".to_owned(), family.name.clone())].into_iter().chain(labels).collect();
                let value = Value::Float(metric.untyped.unwrap().value.unwrap());
                let timestamp_ms = (metric.timestamp_ms != 0).then_some(metric.timestamp_ms);
                expected.push(shown(&labels, &ExposedSample { series: b"", value, timestamp_ms }));
            }
        }
        prop_assert_eq!(memory.given, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..64), at in 0usize..64) {
        if let Some(first) = bytes.first_mut() {
            *first %= 64;
        }
        let mut whole = Memory::default();
        let ended = parse(&bytes, [], HistogramFormats::default(), &mut whole);
        let mut cut = Memory::default();
        prop_assert_eq!(parse(&bytes, [at], HistogramFormats::default(), &mut cut), ended);
        prop_assert_eq!(cut.given, whole.given);
    }
}
