//! The protobuf exposition, and what is made of its native histograms.
#![no_main]

mod record;

use amp_forwarder::intake::histogram_limits::{HistogramLimits, compact, validate};
use amp_forwarder::prompb::Value;
use amp_forwarder::scrape::protobuf::{HistogramFormats, ProtobufParser};
use libfuzzer_sys::fuzz_target;

/// A valid histogram stays one at any resolution, with no bucket more; a compact one is as compact
/// as can be.
fn check(value: Value<'_>) {
    let mut bytes = Vec::new();
    value.encode(7, &mut bytes);
    assert_eq!(bytes.len(), value.field_len(7));
    let Value::Histogram(histogram) = value else {
        return;
    };
    let valid = validate(histogram).is_ok();
    let mut again = histogram.clone();
    compact(&mut again);
    assert!(!valid || format!("{again:?}") == format!("{histogram:?}"));
    for limits in [HistogramLimits::new(3, 0.0), HistogramLimits::new(0, 2.0)] {
        if let Ok(Some(coarser)) = limits.apply(histogram) {
            assert!(
                !valid || validate(&coarser).is_ok(),
                "{histogram:?} {coarser:?}"
            );
            assert!(coarser.schema < histogram.schema && coarser.count == histogram.count);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else {
        return;
    };
    let Some((steps, body)) = record::steps(data) else {
        return;
    };
    let histograms = HistogramFormats {
        native: how & 1 == 0,
        always_classic: how & 2 != 0,
    };
    let parser = || {
        let mut parser = ProtobufParser::new(histograms);
        move |block: &[u8], last: bool, sink: &mut record::Record| parser.parse(block, last, sink)
    };
    record::agree(parser, body, steps, check);
});
