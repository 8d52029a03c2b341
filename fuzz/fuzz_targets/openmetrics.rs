//! OpenMetrics.
#![no_main]

mod record;

use amp_forwarder::scrape::openmetrics::OpenMetricsParser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((steps, body)) = record::steps(data) else {
        return;
    };
    let parser = || {
        let mut parser = OpenMetricsParser::default();
        move |block: &[u8], last: bool, sink: &mut record::Record| parser.parse(block, last, sink)
    };
    record::agree(parser, body, steps, record::a_text_value);
});
