//! The names that series may have, and how a home is asked to write other ones.

use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// `metric_name_validation_scheme`: the names of metrics and labels that a scrape takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameValidation {
    /// Names of ASCII letters, digits and underscores; names of metrics may hold colons as well.
    Legacy,
    /// Any names in UTF-8.
    Utf8,
}

/// `metric_name_escaping_scheme`: how a home is asked to write names that are not legacy ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEscaping {
    /// It writes them unchanged.
    AllowUtf8,
    /// It writes `_` for each character that is not legal.
    Underscores,
    /// Like underscores, but it writes `_dot_` for a dot and doubles each underscore.
    Dots,
    /// It writes `U__` before the name, and code points in hexadecimal.
    Values,
}

impl NameEscaping {
    /// The scheme's name in configurations and in the `Accept` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// The two schemes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// Names that the job takes.
    pub validation: NameValidation,
    /// Names that the home is asked for.
    pub escaping: NameEscaping,
}

/// The schemes of `global`, or the defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct GlobalNaming {
    naming: Naming,
    /// Whether `global` names the validation scheme.
    explicit: bool,
}

/// Reads the schemes of `global`. With a `signed` remote the default is legacy, because such a
/// remote is AMP, which refuses UTF-8 names. A scrape is committed as a whole for all remotes, so
/// this holds even if other remotes would take more.
pub(super) fn read_global_naming(
    reader: &mut Reader<'_>,
    section: Option<&Section<'_>>,
    signed: bool,
) -> GlobalNaming {
    let validation = section.and_then(|section| validation(reader, section));
    let escaping = section.and_then(|section| escaping(reader, section));
    let default = if signed && escaping != Some(NameEscaping::AllowUtf8) {
        NameValidation::Legacy
    } else {
        NameValidation::Utf8
    };
    let chosen = validation.unwrap_or(default);
    let naming = Naming {
        validation: chosen,
        escaping: escaping.unwrap_or(default_escaping(chosen)),
    };
    GlobalNaming {
        naming,
        explicit: validation.is_some(),
    }
}

/// Reads a job's schemes. // config/config.go ScrapeConfig.Validate
pub(super) fn read_naming(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    global: GlobalNaming,
) -> Naming {
    let own = validation(reader, section);
    let escaping = escaping(reader, section);
    // A job that asks for UTF-8 names takes them, unless `global` names another scheme: only our
    // own default may give way.
    let default = if escaping == Some(NameEscaping::AllowUtf8) && !global.explicit {
        NameValidation::Utf8
    } else {
        global.naming.validation
    };
    let chosen = own.unwrap_or(default);
    let escaping = escaping.unwrap_or(if own.is_none() {
        global.naming.escaping
    } else {
        default_escaping(chosen)
    });
    if escaping == NameEscaping::AllowUtf8 && chosen == NameValidation::Legacy {
        reader.error_at(
            &section.path_of("metric_name_escaping_scheme"),
            "utf8 metric names requested but validation scheme is not set to UTF8: \
             found allow-utf-8 with the validation scheme legacy",
            "write metric_name_escaping_scheme: underscores, \
             or metric_name_validation_scheme: utf8",
        );
    }
    Naming {
        validation: chosen,
        escaping,
    }
}

/// The default escaping for a validation scheme.
fn default_escaping(validation: NameValidation) -> NameEscaping {
    match validation {
        NameValidation::Legacy => NameEscaping::Underscores,
        NameValidation::Utf8 => NameEscaping::AllowUtf8,
    }
}

/// Reads one of the values that a key may have. An empty string counts as missing.
fn choice<T: Copy>(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    choices: &[(&str, T)],
) -> Option<T> {
    let text = reader.filled_string(section, key, StringKind::Plain)?;
    let found = choices.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        reader.error_at(
            &section.path_of(key),
            format!("found {}, expected {}", shown(&text), names.join(" or ")),
            "",
        );
    }
    found.map(|(_, value)| *value)
}

fn validation(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<NameValidation> {
    choice(
        reader,
        section,
        "metric_name_validation_scheme",
        &[
            ("legacy", NameValidation::Legacy),
            ("utf8", NameValidation::Utf8),
        ],
    )
}

fn escaping(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<NameEscaping> {
    let all = [
        NameEscaping::AllowUtf8,
        NameEscaping::Underscores,
        NameEscaping::Dots,
        NameEscaping::Values,
    ];
    choice(
        reader,
        section,
        "metric_name_escaping_scheme",
        &all.map(|scheme| (scheme.as_str(), scheme)),
    )
}
