//! What a home says of itself on the pages of its API, as far as reads depend on it.
//!
//! It is asked seldom, and nothing is a reason for failure: a proxy may pass `/federate` only. Then
//! what is worst among the samples that were seen must do (`overlap: auto`).

mod ask;
mod traps;
mod version;

use std::time::Duration;

pub use self::ask::{HomeApi, HomeClockReading};
pub use self::version::HomeVersion;
use crate::config::HomeConfig;
use crate::selector::{MatchOp, Selector};

/// Facts about a home. What could not be read is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HomeFacts {
    /// Version of the program (`/api/v1/status/buildinfo`).
    pub version: Option<HomeVersion>,
    /// Its configuration (`/api/v1/status/config`).
    pub config: Option<HomeConfig>,
    /// Its rules (`/api/v1/rules`).
    pub rules: Option<RuleTimings>,
    /// Its command line (`/api/v1/status/flags`).
    pub flags: Option<HomeFlags>,
}

/// When the rules of a home are evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleTimings {
    /// The longest interval of a group.
    pub longest_interval: Duration,
    /// The longest that the last evaluation of a group took.
    pub longest_evaluation: Duration,
}

/// What of a home's command line concerns reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeFlags {
    /// `--query.lookback-delta`: how old a sample `/federate` still shows.
    pub look_back: Option<Duration>,
    /// Whether native histograms are on by `--enable-feature`.
    pub native_histograms: bool,
}

impl HomeFacts {
    /// Whether nothing could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How late samples may become visible by the configuration of the home. `None` when neither
    /// its configuration nor its rules could be read.
    ///
    /// Measured on Prometheus 3.5: a target that hangs shows `up` 0 and stale markers after its
    /// `scrape_timeout`; one that is removed, its markers after 1.1 intervals; a rule, after its
    /// offset and the evaluation of its group; a group that is removed, after two intervals.
    #[must_use]
    pub fn implied_lateness(&self) -> Option<Duration> {
        if self.config.is_none() && self.rules.is_none() {
            return None;
        }
        let config = self.config.clone().unwrap_or_default();
        let rules = self.rules.unwrap_or(RuleTimings {
            longest_interval: if config.has_rules {
                config.evaluation_interval
            } else {
                Duration::ZERO
            },
            longest_evaluation: Duration::ZERO,
        });
        let late = [
            config.longest_timeout,
            config.longest_interval * 11 / 10,
            rules.longest_interval * 2,
            config.rule_query_offset + rules.longest_evaluation,
        ];
        late.into_iter().max()
    }

    /// The first external label of the home that a selector asks for by its value. A read looks for
    /// series without the label then (`storage/remote/read_handler.go`
    /// `filterExtLabelsFromMatchers`), and these are others than those that `/federate` shows.
    #[must_use]
    pub fn misread_label(&self, selectors: &[Selector]) -> Option<&str> {
        let external = &self.config.as_ref()?.external_labels;
        let asks = |(label, value): &&(String, String)| {
            let mut matchers = selectors.iter().flat_map(|selector| &selector.matchers);
            matchers.any(|matcher| {
                matcher.op == MatchOp::Equal && matcher.label == *label && matcher.value == *value
            })
        };
        external.iter().find(asks).map(|(label, _)| label.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_configuration_implies_how_late_samples_come() {
        let config = |interval, timeout, offset, has_rules| {
            Some(HomeConfig {
                longest_interval: seconds(interval),
                longest_timeout: seconds(timeout),
                evaluation_interval: seconds(60),
                rule_query_offset: seconds(offset),
                has_rules,
                ..HomeConfig::default()
            })
        };
        let rules = |interval, evaluation| {
            Some(RuleTimings {
                longest_interval: seconds(interval),
                longest_evaluation: seconds(evaluation),
            })
        };
        for (config, rules, expected) in [
            (None, None, None),
            (config(15, 10, 0, false), None, Some(16_500)),
            (config(30, 30, 0, false), None, Some(33_000)),
            // Without the page of the rules, the global interval must do.
            (config(15, 10, 0, true), None, Some(120_000)),
            (config(15, 10, 0, true), rules(15, 1), Some(30_000)),
            (config(15, 10, 40, true), rules(15, 3), Some(43_000)),
            (None, rules(30, 3), Some(60_000)),
            (None, rules(0, 0), Some(0)),
        ] {
            let facts = HomeFacts {
                config: config.clone(),
                rules,
                ..HomeFacts::default()
            };
            let late = facts.implied_lateness().map(|late| late.as_millis());
            assert_eq!(late, expected, "{config:?} {rules:?}");
        }
    }

    #[test]
    fn a_selector_that_names_an_external_label_is_misread() {
        let facts = HomeFacts {
            config: Some(HomeConfig {
                external_labels: vec![("cluster".to_owned(), "home".to_owned())],
                ..HomeConfig::default()
            }),
            ..HomeFacts::default()
        };
        for (selector, expected) in [
            ("{job=\"a\"}", None),
            ("{cluster=\"home\"}", Some("cluster")),
            ("{cluster=~\"home\"}", None),
            ("{cluster!=\"home\"}", None),
            ("up{job=\"a\", cluster=\"home\"}", Some("cluster")),
            // The series of others: they are found by a read as well.
            ("{cluster=\"other\"}", None),
        ] {
            let selectors = [Selector::parse(selector).unwrap()];
            assert_eq!(facts.misread_label(&selectors), expected, "{selector}");
        }
        let selectors = [Selector::parse("{cluster=\"home\"}").unwrap()];
        assert_eq!(HomeFacts::default().misread_label(&selectors), None);
    }
}
