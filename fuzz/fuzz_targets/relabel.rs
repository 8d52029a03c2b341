//! Any rules compile or are refused with a reason, and what they make of labels is bounded, and the
//! same each time.
//!
//! Lines: of each rule an action, a pattern, a target label, a replacement; the last line is a
//! value.
#![no_main]

use amp_forwarder::relabel::{Action, MAX_ADDED, Rule, RuleSpec, apply};
use amp_forwarder::series::Labels;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<_> = text.split('\n').collect();
    let mut rules = Vec::new();
    for lines in lines.chunks_exact(4).take(8) {
        let names: Vec<_> = Action::names().collect();
        let action = Action::named(names[lines[0].len() % names.len()]).unwrap();
        let written = RuleSpec {
            source_labels: (!matches!(action, Action::LabelDrop | Action::LabelKeep))
                .then(|| vec!["x".to_owned(), "y".to_owned()]),
            regex: (!matches!(action, Action::KeepEqual | Action::DropEqual))
                .then(|| lines[1].to_owned()),
            modulus: if action == Action::HashMod {
                1 + lines[0].len() as u64
            } else {
                0
            },
            target_label: if matches!(action, Action::LabelDrop | Action::LabelKeep) {
                String::new()
            } else {
                lines[2].to_owned()
            },
            replacement: if matches!(action, Action::Replace | Action::LabelMap) {
                lines[3].to_owned()
            } else {
                "$1".to_owned()
            },
            action,
            ..RuleSpec::default()
        };
        match Rule::new(written) {
            Ok(rule) => rules.push(rule),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let made = || {
        let mut labels = Labels::default();
        for (name, value) in [
            ("__name__", "m"),
            ("x", lines[lines.len() - 1]),
            ("y", "é"),
            ("my_x", "1"),
        ] {
            labels.set(name, value);
        }
        labels.finish();
        let before = labels.bytes();
        let outcome = apply(&rules, &mut labels);
        labels.finish();
        if outcome == Ok(true) {
            assert!(labels.bytes() <= 2 * before + MAX_ADDED);
        }
        (outcome, labels)
    };
    assert_eq!(made(), made());
});
