//! One rule: its fields, their validation, and its effect on a label set.

use std::fmt;

use md5::{Digest, Md5};

use super::case;
use super::pattern::{Pattern, PatternError};
use super::template::Template;
use crate::series::Labels;

/// Most bytes of names and values that relabelling may add to a label set, in addition to doubling
/// it. Prometheus has no such bound; rules that repeat a value (`$1$1`) would take all memory after
/// thirty of them.
pub const MAX_ADDED: usize = 64 << 10;

/// The effect of a rule. `source` is the values of its source labels, joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the filled-in replacement when the pattern matches.
    Replace,
    /// Drops label sets whose source does not match the pattern.
    Keep,
    /// Drops label sets whose source matches the pattern.
    Drop,
    /// Drops label sets whose source is not equal to the target label.
    KeepEqual,
    /// Drops label sets whose source is equal to the target label.
    DropEqual,
    /// Sets the target label to a hash of the source, modulo `modulus`.
    HashMod,
    /// Copies the labels whose names match to names made from theirs.
    LabelMap,
    /// Removes the labels whose names match.
    LabelDrop,
    /// Removes the labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
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

    /// The action of that name, which may be in upper or lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = case::lower(name);
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, action)| *action)
    }

    /// The names of all actions.
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

/// The fields of a rule, as written. [`Default`] has the values of fields that are not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Names of the labels whose values are joined. `None` means that the field is not written,
    /// which some actions require; they refuse an empty list.
    pub source_labels: Option<Vec<String>>,
    /// Text between the joined values. Default `;`.
    pub separator: String,
    /// Pattern. `None` means `(.*)`; some actions allow no pattern to be written.
    pub regex: Option<String>,
    /// Divisor of a hash. Default 0, which `hashmod` refuses.
    pub modulus: u64,
    /// Name of the label to set; empty by default.
    pub target_label: String,
    /// Template of the new value or name. Default `$1`.
    pub replacement: String,
    /// Effect of the rule. Default `replace`.
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
    /// The regular expression is invalid.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `hashmod` has no modulus, or 0.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    NoModulus,
    /// The action sets or compares a label, and none is named.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(Action),
    /// The action takes no replacement.
    #[error("'replacement' can not be set for {0} action")]
    Replacement(Action),
    /// `labelmap` has an empty replacement.
    #[error("\"\" is invalid 'replacement' for labelmap action")]
    EmptyReplacement,
    /// The action only compares labels, and another field is written.
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    MoreThanLabels(Action),
    /// The action only looks at names, and another field is written.
    #[error("{0} action requires only 'regex', and no other fields")]
    MoreThanRegex(Action),
}

/// Relabelling made a label set too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "relabelling more than doubles the labels of a series, by over {MAX_ADDED} bytes: look for a \
     rule that repeats a value"
)]
pub struct SizeError;

/// A validated and compiled rule.
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
    /// Validates and compiles a rule. // model/relabel/relabel.go (*Config).Validate
    ///
    /// # Errors
    /// Fails with Prometheus' first objection: a pattern that RE2 refuses, or a field that the
    /// action requires or does not allow.
    ///
    /// # Examples
    /// ```
    /// use amp_forwarder::relabel::{Action, Rule, RuleSpec};
    ///
    /// let error = Rule::new(RuleSpec {
    ///     action: Action::HashMod,
    ///     target_label: "shard".to_owned(),
    ///     ..RuleSpec::default()
    /// });
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "relabel configuration for hashmod requires non-zero modulus"
    /// );
    /// ```
    pub fn new(written: RuleSpec) -> Result<Self, RuleError> {
        let pattern = Pattern::new(written.regex.as_deref().unwrap_or(REGEX))?;
        validate(&written)?;
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

    /// The rule as it is understood, with every default filled in.
    #[must_use]
    pub fn spec(&self) -> RuleSpec {
        RuleSpec {
            source_labels: Some(self.source_labels.clone()),
            separator: self.separator.clone(),
            regex: Some(self.pattern.as_str().to_owned()),
            modulus: self.modulus,
            target_label: self.target_label.as_str().to_owned(),
            replacement: self.replacement.as_str().to_owned(),
            action: self.action,
        }
    }

    /// Whether the pattern matches the joined source labels. `None` for actions that do not ask
    /// this.
    pub(super) fn matches(&self, joined: &str) -> Option<bool> {
        match self.action {
            Action::Keep | Action::Drop | Action::Replace => Some(self.pattern.is_match(joined)),
            _ => None,
        }
    }

    /// Applies the rule. Returns whether the label set is kept. It may have at most `most` bytes
    /// afterwards. `joined` is scratch space. // model/relabel/relabel.go relabel
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
        // A value that is copied unchanged from one label is still in the exposition, and its
        // position there is kept: the copy needs no bytes of its own.
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
        // The labels that were there before, as model/labels (*Builder).Range goes through them.
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
            // A name that is set twice counts twice, so the bound is twice as high.
            if bytes > 2 * most {
                return Err(SizeError);
            }
            labels.set_at(mapped, value, value_at);
        }
        Ok(())
    }
}

/// Checks the fields that the action requires or does not allow, in Prometheus' order.
fn validate(written: &RuleSpec) -> Result<(), RuleError> {
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
    let action = *action;
    if action == HashMod && *modulus == 0 {
        return Err(RuleError::NoModulus);
    }
    // Any other text is a valid name in the scheme utf8.
    let has_target = matches!(
        action,
        Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual
    );
    if has_target && target_label.is_empty() {
        return Err(RuleError::NoTarget(action));
    }
    if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual) && replacement != REPLACEMENT
    {
        return Err(RuleError::Replacement(action));
    }
    if action == LabelMap && replacement.is_empty() {
        return Err(RuleError::EmptyReplacement);
    }
    let plain = *modulus == 0 && separator == SEPARATOR && replacement == REPLACEMENT;
    if matches!(action, KeepEqual | DropEqual) && (regex.is_some() || !plain) {
        return Err(RuleError::MoreThanLabels(action));
    }
    if matches!(action, LabelDrop | LabelKeep)
        && (source_labels.is_some() || !target_label.is_empty() || !plain)
    {
        return Err(RuleError::MoreThanRegex(action));
    }
    Ok(())
}
