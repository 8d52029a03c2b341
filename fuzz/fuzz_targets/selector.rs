//! Any text is a selector or an error that has its place in the text; what is read, written with
//! plain quotes, is read as the same again.
#![no_main]

use amp_forwarder::selector::{MatchOp, Selector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => {
            assert!(error.at <= text.chars().count());
            return;
        }
    };
    let written: Vec<_> = selector
        .matchers
        .iter()
        .map(|matcher| {
            let op = match matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Regex => "=~",
                MatchOp::NotRegex => "!~",
            };
            format!("{}{op}{}", quoted(&matcher.label), quoted(&matcher.value))
        })
        .collect();
    let written = format!("{{{}}}", written.join(","));
    assert_eq!(Selector::parse(&written), Ok(selector), "{written}");
});

fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}
