//! `global`: what it says itself, and what jobs take over from it.

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

/// What jobs take over from `global`, besides its times.
pub(super) struct JobDefaults {
    pub(super) limits: ScrapeLimits,
    pub(super) naming: GlobalNaming,
    pub(super) extra_scrape_metrics: bool,
    pub(super) formats: FormatDefaults,
}

// config/config.go GlobalConfig.UnmarshalYAML
pub(super) fn read_global(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    signed: bool,
) -> (Global, JobDefaults) {
    let mut global = Global {
        scrape_interval: SCRAPE_INTERVAL,
        scrape_timeout: SCRAPE_TIMEOUT,
        external_labels: Default::default(),
    };
    let Some(entry) = reader.entry(root, "global") else {
        let naming = read_global_naming(reader, None, signed);
        return (
            global,
            JobDefaults {
                limits: ScrapeLimits::default(),
                naming,
                extra_scrape_metrics: false,
                formats: FormatDefaults::default(),
            },
        );
    };
    let section = reader.section(&entry.value, "global".into(), &GLOBAL);
    global.scrape_interval =
        positive(reader.duration(&section, "scrape_interval")).unwrap_or(SCRAPE_INTERVAL);
    global.scrape_timeout = match positive(reader.duration(&section, "scrape_timeout")) {
        Some(timeout) if timeout > global.scrape_interval => {
            reader.error_at(
                &section.path_of("scrape_timeout"),
                format!("global scrape timeout greater than scrape interval: found {timeout:?}, expected at most {:?}", global.scrape_interval),
                "lower it, or raise scrape_interval",
            );
            global.scrape_interval
        }
        Some(timeout) => timeout,
        None => SCRAPE_TIMEOUT.min(global.scrape_interval),
    };
    global.external_labels =
        reader.string_map(&section, "external_labels", StringKind::ExternalLabel);
    check_label_names(
        reader,
        &section.path_of("external_labels"),
        &global.external_labels,
    );
    let inherited = JobDefaults {
        limits: read_limits(reader, &section, ScrapeLimits::default()),
        naming: read_global_naming(reader, Some(&section), signed),
        extra_scrape_metrics: reader
            .boolean(&section, "extra_scrape_metrics")
            .unwrap_or(false),
        formats: protocols::read_global(reader, &section),
    };
    (global, inherited)
}

/// Prometheus 3 takes any name that is not empty; YAML text is UTF-8 already.
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

pub(super) fn positive(duration: Option<Duration>) -> Option<Duration> {
    // As Prometheus: 0 is not set.
    duration.filter(|duration| !duration.is_zero())
}
