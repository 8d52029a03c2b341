//! What is known to go wrong with remote reads of certain homes.

use super::HomeFacts;

impl HomeFacts {
    /// What is known to go wrong with reads of this home, each with the next step. What its answers
    /// would show in vain is not among them.
    #[must_use]
    pub fn traps(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        let config = self.config.as_ref();
        let has_native = self
            .flags
            .as_ref()
            .is_none_or(|flags| flags.native_histograms);
        if let Some(version) = &self.version {
            if version.is_within([2, 40, 0], [2, 44, 0]) && has_native {
                found.push(
                "before Prometheus 2.44 a read ends silently at the first native histogram: turn \
                 them off at home, or upgrade it",
            );
            }
            if version.is_within([3, 12, 0], [3, 13, 1]) {
                found.push(
                    "Prometheus 3.12.0 to 3.13.0 can answer with samples of the wrong chunk \
                 (prometheus#19134): upgrade the home to 3.13.1",
                );
            }
            let loses_bounds = version.is_within([0, 0, 0], [3, 10, 0]);
            if loses_bounds && config.is_some_and(|config| config.makes_custom_buckets) {
                found.push(
                    "before Prometheus 3.10 histograms with custom buckets \
                 (convert_classic_histograms_to_nhcb) lose their bounds when they are read: \
                 upgrade the home",
                );
            }
        }
        if config.is_some_and(|config| config.reads_others) {
            found.push(
            "the home has a remote_read of its own, so a read shows samples of others, and their \
             failures do not show: give it read_recent: false and required_matchers, or federate \
             a home without it",
        );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HomeConfig;
    use crate::read::facts::{HomeFlags, HomeVersion};

    #[test]
    fn each_version_has_its_traps() {
        let custom = HomeConfig {
            makes_custom_buckets: true,
            ..HomeConfig::default()
        };
        let flags = |native_histograms| {
            Some(HomeFlags {
                native_histograms,
                ..HomeFlags::default()
            })
        };
        for (version, config, flags, expected) in [
            ("2.42.0", None, None, &["before Prometheus 2.44"][..]),
            ("2.43.1", None, flags(true), &["before Prometheus 2.44"]),
            ("2.43.1", None, flags(false), &[]),
            ("2.44.0", None, None, &[]),
            ("2.53.1", None, None, &[]),
            (
                "3.5.0",
                Some(custom.clone()),
                None,
                &["before Prometheus 3.10"],
            ),
            ("3.10.0", Some(custom), None, &[]),
            ("3.12.0", None, None, &["Prometheus 3.12.0 to 3.13.0"]),
            ("3.13.0", None, None, &["Prometheus 3.12.0 to 3.13.0"]),
            ("3.13.1", None, None, &[]),
        ] {
            let facts = HomeFacts {
                version: HomeVersion::parse(version),
                config,
                flags,
                ..HomeFacts::default()
            };
            let traps = facts.traps();
            assert_eq!(traps.len(), expected.len(), "{version}: {traps:?}");
            for (trap, start) in traps.iter().zip(expected) {
                assert!(trap.starts_with(start), "{version}: {trap}");
            }
        }
        let facts = HomeFacts {
            config: Some(HomeConfig {
                reads_others: true,
                ..HomeConfig::default()
            }),
            ..HomeFacts::default()
        };
        assert!(facts.traps()[0].starts_with("the home has a remote_read"));
        assert_eq!(HomeFacts::default().traps(), [""; 0]);
    }
}
