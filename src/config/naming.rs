//! Which names series may have, and how a home is asked to write the others.

use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// `metric_name_validation_scheme`: which names of metrics and labels a scrape takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameValidation {
    /// Letters, digits and underscores; in the names of metrics colons as well.
    Legacy,
    /// Any UTF-8.
    Utf8,
}

/// `metric_name_escaping_scheme`: what a home is asked to do with names that are not legacy ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEscaping {
    /// To leave them.
    AllowUtf8,
    /// To write `_` for what is not legal.
    Underscores,
    /// As underscores, but dots are `_dot_` and underscores are doubled.
    Dots,
    /// `U__`, and the code points in hexadecimal.
    Values,
}

impl NameEscaping {
    /// As configurations and the `Accept` header have it.
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

/// Both, of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// What is taken.
    pub validation: NameValidation,
    /// What is asked for.
    pub escaping: NameEscaping,
}

/// What `global` says, or nobody.
#[derive(Debug, Clone, Copy)]
pub(super) struct GlobalNaming {
    naming: Naming,
    /// `global` names the validation scheme.
    explicit: bool,
}

/// Reads `global`'s. `signed`: a remote signs by sigv4, so that it is AMP, which refuses UTF-8
/// names: legacy is then the default. A scrape is committed as a whole for all remotes, so the
/// scheme is the scrape's even if others would take more.
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
        escaping: escaping.unwrap_or(suits(chosen)),
    };
    GlobalNaming {
        naming,
        explicit: validation.is_some(),
    }
}

// config/config.go ScrapeConfig.Validate
pub(super) fn read_naming(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    global: GlobalNaming,
) -> Naming {
    let own = validation(reader, section);
    let escaping = escaping(reader, section);
    // Who asks for UTF-8 names wants them; only where nobody named a scheme does our own default
    // give way.
    let default = if escaping == Some(NameEscaping::AllowUtf8) && !global.explicit {
        NameValidation::Utf8
    } else {
        global.naming.validation
    };
    let chosen = own.unwrap_or(default);
    let escaping = escaping.unwrap_or(if own.is_none() {
        global.naming.escaping
    } else {
        suits(chosen)
    });
    if escaping == NameEscaping::AllowUtf8 && chosen == NameValidation::Legacy {
        reader.error_at(
            &section.path_of("metric_name_escaping_scheme"),
            "utf8 metric names requested but validation scheme is not set to UTF8: found allow-utf-8 beside the validation scheme legacy",
            "write metric_name_escaping_scheme: underscores, or metric_name_validation_scheme: utf8",
        );
    }
    Naming {
        validation: chosen,
        escaping,
    }
}

fn suits(validation: NameValidation) -> NameEscaping {
    match validation {
        NameValidation::Legacy => NameEscaping::Underscores,
        NameValidation::Utf8 => NameEscaping::AllowUtf8,
    }
}

/// One of the values that a key may have; nothing and an empty string are none.
fn choice<T: Copy>(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    choices: &[(&str, T)],
) -> Option<T> {
    let text = reader
        .string(section, key, StringKind::Plain)
        .filter(|text| !text.is_empty())?;
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
