//! A series' labels on their way from the exposition to the wire: few at a time, only for series not seen before.

use std::borrow::Cow;

use crate::scrape::exposition::{ExposedLabel, Span};

/// The label of the metric name.
pub const NAME: &str = "__name__";

/// A label, and where it stands in the raw bytes of its series if it stands there just as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label<'a> {
    /// Valid UTF-8, not empty in a finished set.
    pub name: Cow<'a, str>,
    /// Valid UTF-8, not empty in a finished set.
    pub value: Cow<'a, str>,
    /// The value's place in the raw bytes. None when it was decoded, relabelled or added.
    pub value_at: Option<u32>,
    /// The name's place, likewise.
    pub name_at: Option<u32>,
}

/// A label set under construction: sorted and unique only after [`Labels::finish`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    labels: Vec<Label<'a>>,
}

impl<'a> Labels<'a> {
    /// The labels as exposed.
    #[must_use]
    pub fn exposed(exposed: &'a [ExposedLabel<'a>]) -> Self {
        let labels = exposed
            .iter()
            .map(|label| Label {
                name: Cow::Borrowed(&*label.name),
                value: Cow::Borrowed(&*label.value),
                value_at: label.span.map(|span: Span| span.value),
                // The metric name's label name is in no text format.
                name_at: label.span.filter(|_| label.name != NAME).map(|span| span.name),
            })
            .collect();
        Self { labels }
    }

    /// The first value of that name, empty or not.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Label<'a>> {
        self.labels.iter().find(|label| label.name == name)
    }

    /// The first value of that name; a missing label is an empty one.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |label| &label.value)
    }

    /// Sets a label; an empty value removes it (`model/labels` `Builder.Set`).
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.labels.retain(|label| label.name != name);
        } else {
            self.put(Label { name, value, value_at: None, name_at: None });
        }
    }

    /// Gives a label another name, replacing what bore it.
    pub fn set_moved(&mut self, name: impl Into<Cow<'a, str>>, moved: Label<'a>) {
        self.put(Label { name: name.into(), name_at: None, ..moved });
    }

    /// Of a name that was exposed twice only the first is replaced, so that it stays a duplicate (`model/labels` `Builder.Labels`).
    fn put(&mut self, label: Label<'a>) {
        match self.labels.iter_mut().find(|present| present.name == label.name) {
            Some(present) => *present = label,
            None => self.labels.push(label),
        }
    }

    /// Removes all labels of each name that has an empty value anywhere (`model/labels` `Builder.Reset`).
    pub fn drop_emptied(&mut self) {
        let emptied: Vec<_> = self.labels.iter().filter(|label| label.value.is_empty()).map(|label| label.name.clone()).collect();
        if !emptied.is_empty() {
            self.labels.retain(|label| !emptied.contains(&label.name));
        }
    }

    /// Drops empty labels and sorts.
    pub fn finish(&mut self) {
        self.labels.retain(|label| !label.value.is_empty());
        self.labels.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// A name that a finished set holds twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        self.labels.windows(2).find(|pair| pair[0].name == pair[1].name).map(|pair| &*pair[0].name)
    }

    /// Whether no label is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels in their present order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label<'a>> {
        self.labels.iter()
    }

    /// Equal for equal finished sets, in any process.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        for label in &self.labels {
            // Neither separator can stand in UTF-8.
            hasher.update(label.name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(label.value.as_bytes());
            hasher.update(&[0xfe]);
        }
        hasher.digest()
    }
}
