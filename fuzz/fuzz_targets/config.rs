//! Any text is a configuration or a list of errors with lines; what `import` makes loads.
#![no_main]

use amp_forwarder::config::{Config, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let env = |name: &str| (name.len() % 2 == 0).then(|| name.to_lowercase());
    if let Err(errors) = Config::load(text, &env, "fuzz") {
        assert!(!errors.problems.is_empty());
        assert!(
            errors
                .problems
                .iter()
                .all(|problem| problem.line >= 1 && !problem.message.is_empty())
        );
    }
    if let Ok(imported) = import(text)
        && let Err(errors) = Config::load(&imported.yaml, &|_| None, "imported")
    {
        panic!("{errors}\n{}", imported.yaml);
    }
});
