//! Limits of a scrape, which jobs take over from `global`.

use super::reader::{Reader, Section};

/// Limits of a scrape. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// `body_size_limit`: size of the uncompressed body, in bytes, at which a scrape fails.
    pub body_size: u64,
    /// `sample_limit`: most samples of a scrape; one with more fails.
    pub samples: u64,
    /// `target_limit`: most targets of the job; with more, all its scrapes fail.
    pub targets: u64,
    /// `label_limit`: most labels of a series, the metric's name included; a scrape with more
    /// fails.
    pub labels: u64,
    /// `label_name_length_limit`: longest label name, in bytes.
    pub label_name_length: u64,
    /// `label_value_length_limit`: longest label value, in bytes.
    pub label_value_length: u64,
}

/// Reads the limits of a section. Those that are 0 or missing are inherited. // config/config.go
/// ScrapeConfig.Validate
pub(super) fn read_limits(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    inherited: ScrapeLimits,
) -> ScrapeLimits {
    let mut limits = inherited;
    if let Some(size) = reader
        .size(section, "body_size_limit")
        .filter(|size| *size > 0)
    {
        limits.body_size = size;
    }
    for (key, limit) in [
        ("sample_limit", &mut limits.samples),
        ("target_limit", &mut limits.targets),
        ("label_limit", &mut limits.labels),
        ("label_name_length_limit", &mut limits.label_name_length),
        ("label_value_length_limit", &mut limits.label_value_length),
    ] {
        if let Some(count) = reader.count(section, key).filter(|count| *count > 0) {
            *limit = count;
        }
    }
    // The key only changes what Prometheus' own pages show of dropped targets, but its value is
    // checked.
    let _ = reader.count(section, "keep_dropped_targets");
    limits
}
