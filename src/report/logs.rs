//! Logs: JSON on standard output in Lambda, readable on standard error elsewhere.

use std::panic::PanicHookInfo;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// The level that is asked for: `AWS_LAMBDA_LOG_LEVEL`, else `RUST_LOG`, else INFO.
///
/// `RUST_LOG` may name targets (`amp_forwarder=debug,hyper=info`). Libraries are heard from ERROR
/// on unless they are named: what their warnings mean to us, our own errors say.
fn filter(get: &dyn Fn(&str) -> Option<String>) -> Targets {
    let ours = |level: LevelFilter| {
        Targets::new()
            .with_default(level.min(LevelFilter::ERROR))
            .with_targets([("amp_forwarder", level), ("forwardctl", level)])
    };
    if let Some(level) = get("AWS_LAMBDA_LOG_LEVEL").and_then(|level| level_of(&level)) {
        return ours(level);
    }
    match get("RUST_LOG").filter(|text| !text.is_empty()) {
        None => ours(LevelFilter::INFO),
        Some(text) => match level_of(&text) {
            Some(level) => ours(level),
            None => text.parse().unwrap_or_else(|_| ours(LevelFilter::INFO)),
        },
    }
}

/// Lambda's names, and the usual ones. FATAL is Lambda's alone.
fn level_of(text: &str) -> Option<LevelFilter> {
    if text.eq_ignore_ascii_case("fatal") {
        Some(LevelFilter::ERROR)
    } else {
        text.parse().ok()
    }
}

/// The level for lines that must not be filtered out.
#[must_use]
pub fn level_name(get: &dyn Fn(&str) -> Option<String>) -> String {
    get("AWS_LAMBDA_LOG_LEVEL")
        .filter(|level| level_of(level).is_some())
        .unwrap_or_else(|| "INFO".to_owned())
}

/// Starts logging as JSON, as Lambda's log format wants it. Panics are logged as well: the process
/// may end with them, so this line is all that says which site it was.
pub fn start_json(env: &dyn Fn(&str) -> Option<String>) {
    let _ = tracing_subscriber::registry()
        .with(json_layer().with_filter(filter(env)))
        .try_init();
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let location = panic.location().map(ToString::to_string);
    tracing::error!(
        location,
        "the forwarder panicked, which is a bug of it: {message}"
    );
}

/// One JSON object a line, with the fields of the event beside its message and the spans as a list.
fn json_layer<S>() -> fmt::Layer<S, fmt::format::JsonFields, fmt::format::Format<fmt::format::Json>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true)
}

/// Starts logging for people.
pub fn start_readable(env: &dyn Fn(&str) -> Option<String>) {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && env("NO_COLOR").is_none();
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours);
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter(env)))
        .try_init();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::spans;
    use tracing::Level;

    /// What is logged, line by line.
    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_which_tick_and_remote_it_is_of_whatever_its_level() {
        let buffer = LogBuffer::default();
        let writer = buffer.clone();
        let warnings = filter(&environment(&[("AWS_LAMBDA_LOG_LEVEL", "WARN")]));
        let layer = json_layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(warnings));
        tracing::subscriber::with_default(subscriber, || {
            let _tick = spans::tick(7).entered();
            let _remote = spans::remote("amp").entered();
            tracing::warn!(samples = 3, "not delivered yet");
            tracing::info!("nobody asked for this");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "not delivered yet");
        assert_eq!(line["samples"], 3);
        assert_eq!(line["spans"][0]["epoch"], 7);
        assert_eq!(line["spans"][1]["remote"], "amp");
    }

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            pairs
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn lambda_decides_before_rust_log() {
        let cases: &[(&'static [(&str, &str)], Level)] = &[
            (&[], Level::INFO),
            (&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")], Level::DEBUG),
            (&[("AWS_LAMBDA_LOG_LEVEL", "FATAL")], Level::ERROR),
            (
                &[("AWS_LAMBDA_LOG_LEVEL", "WARN"), ("RUST_LOG", "trace")],
                Level::WARN,
            ),
            (&[("RUST_LOG", "trace")], Level::TRACE),
            (
                &[("RUST_LOG", "amp_forwarder=debug,hyper=info")],
                Level::DEBUG,
            ),
            (&[("RUST_LOG", "not=a=level")], Level::INFO),
        ];
        for (pairs, expected) in cases {
            let targets = filter(&environment(pairs));
            for level in [
                Level::ERROR,
                Level::WARN,
                Level::INFO,
                Level::DEBUG,
                Level::TRACE,
            ] {
                assert_eq!(
                    targets.would_enable("amp_forwarder::tick", &level),
                    level <= *expected,
                    "{pairs:?} {level}"
                );
            }
            assert!(!targets.would_enable("rustls", &Level::DEBUG), "{pairs:?}");
        }
    }

    #[test]
    fn unfiltered_lines_bear_the_level_that_is_set() {
        assert_eq!(level_name(&environment(&[])), "INFO");
        assert_eq!(
            level_name(&environment(&[("AWS_LAMBDA_LOG_LEVEL", "WARN")])),
            "WARN"
        );
    }
}
