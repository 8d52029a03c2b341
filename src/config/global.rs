//! `global`: its own settings, and those that jobs take over from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::GLOBAL;
use super::limits::{ScrapeLimits, read_limits};
use super::model::Global;
use super::naming::{GlobalNaming, read_global_naming};
use super::protocols::{self, FormatDefaults};
use super::reader::{Reader, Section, StringKind};

// config/config.go DefaultGlobalConfig
const SCRAPE_INTERVAL: Duration = Duration::from_secs(60);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings that jobs take over from `global`, besides its times.
pub(super) struct JobDefaults {
    pub(super) limits: ScrapeLimits,
    pub(super) naming: GlobalNaming,
    pub(super) extra_scrape_metrics: bool,
    pub(super) formats: FormatDefaults,
}

/// Reads `global`. `signed` says whether a remote signs its requests, which changes the names that
/// jobs take by default. // config/config.go GlobalConfig.UnmarshalYAML
pub(super) fn read_global(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    signed: bool,
) -> (Global, JobDefaults) {
    let mut global = Global {
        scrape_interval: SCRAPE_INTERVAL,
        scrape_timeout: SCRAPE_TIMEOUT,
        external_labels: BTreeMap::new(),
    };
    let Some(section) = reader.subsection(root, "global", &GLOBAL) else {
        let defaults = JobDefaults {
            limits: ScrapeLimits::default(),
            naming: read_global_naming(reader, None, signed),
            extra_scrape_metrics: false,
            formats: FormatDefaults::default(),
        };
        return (global, defaults);
    };
    global.scrape_interval =
        positive(reader.duration(&section, "scrape_interval")).unwrap_or(SCRAPE_INTERVAL);
    global.scrape_timeout = read_timeout(reader, &section, global.scrape_interval)
        .unwrap_or(SCRAPE_TIMEOUT.min(global.scrape_interval));
    global.external_labels =
        reader.string_map(&section, "external_labels", StringKind::ExternalLabel);
    check_label_names(
        reader,
        &section.path_of("external_labels"),
        &global.external_labels,
    );
    let defaults = JobDefaults {
        limits: read_limits(reader, &section, ScrapeLimits::default()),
        naming: read_global_naming(reader, Some(&section), signed),
        extra_scrape_metrics: reader
            .boolean(&section, "extra_scrape_metrics")
            .unwrap_or(false),
        formats: protocols::read_global(reader, &section),
    };
    (global, defaults)
}

fn read_timeout(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    interval: Duration,
) -> Option<Duration> {
    let timeout = positive(reader.duration(section, "scrape_timeout"))?;
    if timeout > interval {
        let message = format!(
            "global scrape timeout greater than scrape interval: \
             found {timeout:?}, expected at most {interval:?}"
        );
        reader.error_at(
            &section.path_of("scrape_timeout"),
            message,
            "lower it, or raise scrape_interval",
        );
    }
    Some(timeout.min(interval))
}

/// Reports an empty label name. Prometheus 3 takes any other one: YAML text is UTF-8 already.
pub(super) fn check_label_names(
    reader: &mut Reader<'_>,
    path: &str,
    labels: &BTreeMap<String, String>,
) {
    if labels.contains_key("") {
        reader.error_at(
            path,
            "\"\" is not a valid label name",
            "give the label a name",
        );
    }
}

/// A duration of 0 counts as not set, as in Prometheus.
pub(super) fn positive(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}
