//! The text format.
#![no_main]

mod record;

use amp_forwarder::scrape::text::TextParser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((steps, exposition)) = record::steps(data) else {
        return;
    };
    // Prometheus appends a line feed to every body, too.
    let body = [exposition, b"\n"].concat();
    let parser = || {
        let mut parser = TextParser::default();
        move |block: &[u8], last: bool, sink: &mut record::Record| parser.parse(block, last, sink)
    };
    record::agree(parser, &body, steps, record::a_text_value);
});
