//! One rule: what may be written in it, and what it does to a label set.

use std::fmt;

use md5::{Digest, Md5};

use super::case;
use super::pattern::{Pattern, PatternError};
use super::template::Template;
use crate::series::Labels;

/// Bytes of names and values that relabelling may add to a label set, beside as many as it had.
/// Prometheus knows no bound; a rule that repeats a value (`$1$1`) would take all memory within
/// thirty rules.
pub const MAX_ADDED: usize = 64 << 10;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets a label to the filled-in replacement when the pattern matches.
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops what is not equal to the target label.
    KeepEqual,
    /// Drops what is equal to the target label.
    DropEqual,
    /// Sets a label to the hash of the source labels, modulo.
    HashMod,
    /// Copies labels to names made from theirs.
    LabelMap,
    /// Removes labels by name.
    LabelDrop,
    /// Removes all other labels.
    LabelKeep,
    /// Sets a label to the source in lower case.
    Lowercase,
    /// Sets a label to the source in upper case.
    Uppercase,
}

impl Action {
    const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    /// The action of that name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = case::lower(name);
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, action)| *action)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL
                .iter()
                .find(|(_, action)| action == self)
                .map_or("", |(name, _)| name),
        )
    }
}

/// A rule as written; [`Default`] is what holds for keys that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// None: not written, which is something else than an empty list for some actions.
    pub source_labels: Option<Vec<String>>,
    /// Default `;`.
    pub separator: String,
    /// Default: `(.*)`, which some actions allow only if it is not written.
    pub regex: Option<String>,
    /// Default 0.
    pub modulus: u64,
    /// Default: none.
    pub target_label: String,
    /// Default `$1`.
    pub replacement: String,
    /// Default `replace`.
    pub action: Action,
}

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

impl Default for RuleSpec {
    // model/relabel/relabel.go DefaultRelabelConfig
    fn default() -> Self {
        Self {
            source_labels: None,
            separator: SEPARATOR.to_owned(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action: Action::Replace,
        }
    }
}

/// Why a rule is refused, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Its regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// What it has beside its action, or lacks.
    #[error("{0}")]
    Fields(String),
}

/// Relabelling made more than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "relabelling more than doubles the labels of a series, by over {MAX_ADDED} bytes: look for a rule that repeats a value"
)]
pub struct SizeError;

/// A rule that can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    pattern: Pattern,
    modulus: u64,
    target_label: Template,
    replacement: Template,
}

impl Rule {
    /// Checks and compiles a rule. // model/relabel/relabel.go (*Config).Validate
    ///
    /// # Errors
    /// [`RuleError`]: the first objection that Prometheus has.
    pub fn new(written: RuleSpec) -> Result<Self, RuleError> {
        let pattern = Pattern::new(written.regex.as_deref().unwrap_or(REGEX))?;
        validate(&written).map_err(RuleError::Fields)?;
        let RuleSpec {
            source_labels,
            separator,
            modulus,
            target_label,
            replacement,
            action,
            ..
        } = written;
        Ok(Self {
            action,
            source_labels: source_labels.unwrap_or_default(),
            separator,
            pattern,
            modulus,
            target_label: Template::new(&target_label),
            replacement: Template::new(&replacement),
        })
    }

    /// Applies the rule. Says whether the label set stays, of at most so many bytes. //
    /// model/relabel/relabel.go relabel
    pub(super) fn apply(
        &self,
        labels: &mut Labels<'_>,
        joined: &mut String,
        most: usize,
    ) -> Result<bool, SizeError> {
        joined.clear();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
            if joined.len() > most {
                return Err(SizeError);
            }
        }
        let target_label = self.target_label.as_str();
        match self.action {
            Action::Keep => return Ok(self.pattern.is_match(joined)),
            Action::Drop => return Ok(!self.pattern.is_match(joined)),
            Action::KeepEqual => return Ok(labels.get(target_label) == *joined),
            Action::DropEqual => return Ok(labels.get(target_label) != *joined),
            Action::Replace => self.replace(labels, joined, most),
            Action::Lowercase => labels.set(target_label.to_owned(), case::lower(joined)),
            Action::Uppercase => labels.set(target_label.to_owned(), case::upper(joined)),
            Action::HashMod => {
                let hash: [u8; 16] = Md5::digest(joined.as_bytes()).into();
                let last = hash[8..]
                    .iter()
                    .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                labels.set(
                    target_label.to_owned(),
                    last.checked_rem(self.modulus)
                        .unwrap_or_default()
                        .to_string(),
                );
            }
            Action::LabelMap => self.map(labels, most)?,
            Action::LabelDrop => labels.retain(|name| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.pattern.is_match(name)),
        }
        if labels.bytes() > most {
            Err(SizeError)
        } else {
            Ok(true)
        }
    }

    fn replace(&self, labels: &mut Labels<'_>, joined: &str, most: usize) {
        // No match, no change.
        let Some(groups) = self.pattern.groups(joined) else {
            return;
        };
        let mut target = String::new();
        self.target_label.expand(&groups, most, &mut target);
        if target.is_empty() {
            return;
        }
        let mut value = String::new();
        self.replacement.expand(&groups, most, &mut value);
        // A copied value may stand in the exposition just as it is.
        let source = match self.source_labels.as_slice() {
            [source] => labels.find(source).and_then(|label| label.value_at),
            _ => None,
        };
        let start = self
            .replacement
            .only_group()
            .and_then(|group| groups.range(group))
            .and_then(|range| u32::try_from(range.start).ok());
        let value_at = source.zip(start).map(|(source, start)| source + start);
        labels.set_at(target, value, value_at);
    }

    fn map(&self, labels: &mut Labels<'_>, most: usize) -> Result<(), SizeError> {
        let mut bytes = labels.bytes();
        // model/labels (*Builder).Range goes through what was there before.
        for (name, value, value_at) in labels.snapshot(|name| self.pattern.is_match(name)) {
            let mut mapped = String::new();
            let mut end = 0;
            for groups in self.pattern.each(&name) {
                let Some(whole) = groups.range(0) else {
                    continue;
                };
                mapped.push_str(name.get(end..whole.start).unwrap_or_default());
                self.replacement.expand(&groups, most, &mut mapped);
                end = whole.end;
            }
            mapped.push_str(name.get(end..).unwrap_or_default());
            bytes += mapped.len() + value.len();
            // Names that are set twice count twice: a label may be copied to where it is.
            if bytes > 2 * most {
                return Err(SizeError);
            }
            labels.set_at(mapped, value, value_at);
        }
        Ok(())
    }
}

fn validate(written: &RuleSpec) -> Result<(), String> {
    use Action::{
        DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace,
        Uppercase,
    };
    let RuleSpec {
        source_labels,
        separator,
        regex,
        modulus,
        target_label,
        replacement,
        action,
    } = written;
    if *action == HashMod && *modulus == 0 {
        return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
    }
    // Any other text is a valid name in the scheme utf8.
    if matches!(
        action,
        Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual
    ) && target_label.is_empty()
    {
        return Err(format!(
            "relabel configuration for {action} action requires 'target_label' value"
        ));
    }
    if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual) && replacement != REPLACEMENT
    {
        return Err(format!("'replacement' can not be set for {action} action"));
    }
    if *action == LabelMap && replacement.is_empty() {
        return Err("\"\" is invalid 'replacement' for labelmap action".to_owned());
    }
    let plain = *modulus == 0 && separator == SEPARATOR && replacement == REPLACEMENT;
    if matches!(action, KeepEqual | DropEqual) && (regex.is_some() || !plain) {
        return Err(format!(
            "{action} action requires only 'source_labels' and `target_label`, and no other fields"
        ));
    }
    if matches!(action, LabelDrop | LabelKeep)
        && (source_labels.is_some() || !target_label.is_empty() || !plain)
    {
        return Err(format!(
            "{action} action requires only 'regex', and no other fields"
        ));
    }
    Ok(())
}
