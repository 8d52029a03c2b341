//! Logs: JSON on standard output in Lambda, readable on standard error elsewhere.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

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

/// Starts logging as JSON, as Lambda's log format wants it.
pub fn start_json(env: &dyn Fn(&str) -> Option<String>) {
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter(env)))
        .try_init();
}

/// Starts logging for people.
pub fn start_readable(env: &dyn Fn(&str) -> Option<String>) {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && env("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours);
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter(env)))
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

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
