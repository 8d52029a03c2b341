//! `forwarder.remote_read`: how samples that `/federate` did not show are read from the home.

use std::time::Duration;

use super::keys::REMOTE_READ;
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::units::{format_duration, parse_duration};

/// `forwarder.remote_read`. It concerns the jobs whose `metrics_path` ends in `/federate`; others
/// are scraped as ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReadConfig {
    /// When the home is asked by remote read. Default `gaps`.
    pub mode: RemoteReadMode,
    /// Path of remote read at the home. By default it is `/api/v1/read` in the place of
    /// `/federate` at the end of the job's `metrics_path`.
    pub path: Option<String>,
    /// Age below which samples wait for the next read, because the home may not show them all
    /// yet. Default 15s, at most 5m.
    pub settle: Duration,
    /// How far behind the watermark a read begins, for samples that became visible late. At most
    /// 5m. By default (`auto`) it is the worst lateness that was seen, or that the home's
    /// configuration implies.
    pub overlap: Option<Duration>,
    /// With `always`: the span of the clock in which at most one sample of a series is sent, the
    /// newest; stale markers are sent besides. At most 1h. Default 0s, which sends all samples.
    pub resolution: Duration,
    /// Most samples of one window. By default they follow from the memory limit.
    pub max_samples: Option<u64>,
}

/// When the home is asked by remote read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteReadMode {
    /// Samples are scraped from `/federate`, and the slots that were missed are read afterwards.
    Gaps,
    /// Every sample is read, and `/federate` is asked only while reads fail.
    Always,
    /// Nothing is read.
    Off,
}

/// Names of the modes, as the configuration has them.
const MODES: [RemoteReadMode; 3] = [
    RemoteReadMode::Gaps,
    RemoteReadMode::Always,
    RemoteReadMode::Off,
];

/// Largest `settle` and `overlap`.
const MAX_DELAY: Duration = Duration::from_secs(5 * 60);

/// Largest `resolution`: AMP takes no sample that is older than an hour.
const MAX_RESOLUTION: Duration = Duration::from_secs(3600);

impl RemoteReadMode {
    /// The mode as the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gaps => "gaps",
            Self::Always => "always",
            Self::Off => "off",
        }
    }
}

impl Default for RemoteReadConfig {
    fn default() -> Self {
        Self {
            mode: RemoteReadMode::Gaps,
            path: None,
            settle: Duration::from_secs(15),
            overlap: None,
            resolution: Duration::ZERO,
            max_samples: None,
        }
    }
}

/// Reads `forwarder.remote_read`.
pub(super) fn read_remote_read(
    reader: &mut Reader<'_>,
    forwarder: &Section<'_>,
) -> RemoteReadConfig {
    let mut config = RemoteReadConfig::default();
    let Some(section) = reader.subsection(forwarder, "remote_read", &REMOTE_READ) else {
        return config;
    };
    config.mode = read_mode(reader, &section).unwrap_or(config.mode);
    config.path = reader.absolute_path(&section, "path", "/api/v1/read");
    let fix = "remove the key for the default, 15s";
    config.settle = read_short(reader, &section, "settle", MAX_DELAY, fix).unwrap_or(config.settle);
    config.overlap = read_overlap(reader, &section);
    let fix = "remove the key to send all samples";
    config.resolution = read_short(reader, &section, "resolution", MAX_RESOLUTION, fix)
        .unwrap_or(config.resolution);
    let fix = "remove the key: the memory limit is a bound as well";
    config.max_samples = reader
        .positive_count(&section, "max_samples", fix)
        .map(|count| count as u64);
    if config.mode != RemoteReadMode::Always && !config.resolution.is_zero() {
        reader.warn_at(
            &section.path_of("resolution"),
            format!(
                "found a resolution with mode {}, where it has no effect",
                config.mode.as_str()
            ),
            "remove the key, or write mode: always",
        );
    }
    config
}

fn read_mode(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<RemoteReadMode> {
    let text = reader.string(section, "mode", StringKind::Plain)?;
    let mode = MODES.into_iter().find(|mode| mode.as_str() == text);
    if mode.is_none() {
        let message = format!("found {}, expected gaps, always or off", shown(&text));
        reader.error_at(
            &section.path_of("mode"),
            message,
            "remove the key for the default, gaps",
        );
    }
    mode
}

/// Reads a duration that is at most `most`.
fn read_short(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    most: Duration,
    fix: &str,
) -> Option<Duration> {
    let duration = reader.duration(section, key)?;
    if duration > most {
        let message = format!(
            "found {}, expected at most {}",
            format_duration(duration),
            format_duration(most)
        );
        reader.error_at(&section.path_of(key), message, fix);
        return None;
    }
    Some(duration)
}

/// Reads `overlap`, which is a duration or `auto`.
fn read_overlap(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Duration> {
    const FIX: &str = "write auto, or remove the key";
    let text = reader.string(section, "overlap", StringKind::Plain)?;
    if text == "auto" {
        return None;
    }
    let duration = parse_duration(&text);
    if duration.is_none_or(|duration| duration > MAX_DELAY) {
        let message = format!(
            "found {}, expected auto or a duration of at most {}",
            shown(&text),
            format_duration(MAX_DELAY)
        );
        reader.error_at(&section.path_of("overlap"), message, FIX);
    }
    duration
}
