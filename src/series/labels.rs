//! A series' labels on their way from the exposition to the wire. They are worked out only for
//! series that were not seen before.

use std::borrow::Cow;

use super::exposed::ExposedLabel;

/// The label of the metric name.
pub const NAME: &str = "__name__";

/// A label, and its place in the raw bytes of its series if it is there verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLabel<'a> {
    /// Name, valid UTF-8 and not empty in a finished set.
    pub name: Cow<'a, str>,
    /// Value, valid UTF-8 and not empty in a finished set.
    pub value: Cow<'a, str>,
    /// Offset of the value in the raw bytes. None when it was decoded, relabelled or added.
    pub value_at: Option<u32>,
    /// Offset of the name in the raw bytes, likewise.
    pub name_at: Option<u32>,
    /// Whether it was set after the set was exposed or finished. Such labels come last.
    added: bool,
}

/// A label set under construction, with the order and the duplicates of `model/labels` `Builder`:
/// sorted only after [`Labels::finish`], and unique unless a name was exposed twice.
///
/// ```
/// use amp_forwarder::series::Labels;
///
/// let mut labels = Labels::default();
/// labels.set("job", "node");
/// labels.set("__name__", "up");
/// labels.set("instance", ""); // An empty value removes the label.
/// labels.finish();
/// let names: Vec<_> = labels.iter().map(|label| &*label.name).collect();
/// assert_eq!(names, ["__name__", "job"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    labels: Vec<PlacedLabel<'a>>,
    /// The raw bytes of the series, if they are known.
    raw: &'a [u8],
}

impl<'a> Labels<'a> {
    /// The labels as exposed, sorted as Prometheus' parsers sort them.
    #[must_use]
    pub fn exposed(exposed: &'a [ExposedLabel<'a>]) -> Self {
        let mut labels: Vec<_> = exposed
            .iter()
            .map(|label| PlacedLabel {
                name: Cow::Borrowed(&*label.name),
                value: Cow::Borrowed(&*label.value),
                value_at: label.span.map(|span| span.value),
                // The metric name's label name is in no text format.
                name_at: label
                    .span
                    .filter(|_| label.name != NAME)
                    .map(|span| span.name),
                added: false,
            })
            .collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        Self { labels, raw: &[] }
    }

    /// The same labels with the raw bytes of their series, in which their places are.
    #[must_use]
    pub fn within(self, raw: &'a [u8]) -> Self {
        Self { raw, ..self }
    }

    /// The raw bytes of the series, or none if they are not known.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The label of that name, even with an empty value. Of several labels it is the one that was
    /// set, else the first.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&PlacedLabel<'a>> {
        let mut found = self.labels.iter().filter(|label| label.name == name);
        let first = found.next()?;
        Some(found.find(|label| label.added).unwrap_or(first))
    }

    /// The value that [`Labels::find`] finds, or an empty one.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |label| &label.value)
    }

    /// Sets a label; an empty value removes it (`model/labels` `Builder.Set`).
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.set_at(name, value, None);
    }

    /// Sets a label whose value is verbatim in the raw bytes of the series, at this offset.
    pub fn set_at(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
        value_at: Option<u32>,
    ) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.labels.retain(|label| label.name != name);
        } else {
            self.put(PlacedLabel {
                name,
                value,
                value_at,
                name_at: None,
                added: true,
            });
        }
    }

    /// Gives a label another name, and replaces the label that had that name.
    pub fn set_moved(&mut self, name: impl Into<Cow<'a, str>>, moved: PlacedLabel<'a>) {
        self.put(PlacedLabel {
            name: name.into(),
            name_at: None,
            added: true,
            ..moved
        });
    }

    /// Replaces only the first label of a name that was exposed twice, so that the name stays a
    /// duplicate (`model/labels` `Builder.Labels`).
    fn put(&mut self, label: PlacedLabel<'a>) {
        let mut places = (0..self.labels.len()).filter(|&at| self.labels[at].name == label.name);
        let first = places.next();
        match places.find(|&at| self.labels[at].added).or(first) {
            Some(at) if self.labels[at].added => self.labels[at] = label,
            place => {
                if let Some(at) = place {
                    self.labels.remove(at);
                }
                self.labels.push(label);
            }
        }
    }

    /// Removes the labels whose names `stays` does not accept.
    pub fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.labels.retain(|label| stays(&label.name));
    }

    /// Name, value and place of the labels of some names, in the order of `model/labels`
    /// `Builder.Range`.
    #[must_use]
    pub fn snapshot(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String, Option<u32>)> {
        let shown = |label: &&PlacedLabel<'a>| {
            wanted(&label.name)
                && (label.added
                    || !self
                        .labels
                        .iter()
                        .any(|other| other.added && other.name == label.name))
        };
        self.labels
            .iter()
            .filter(shown)
            .map(|label| {
                (
                    label.name.to_string(),
                    label.value.to_string(),
                    label.value_at,
                )
            })
            .collect()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.labels
            .iter()
            .map(|label| label.name.len() + label.value.len())
            .sum()
    }

    /// Removes all labels of each name that has an empty value anywhere (`model/labels`
    /// `Builder.Reset`).
    pub fn drop_emptied(&mut self) {
        let emptied: Vec<_> = self
            .labels
            .iter()
            .filter(|label| label.value.is_empty())
            .map(|label| label.name.clone())
            .collect();
        if !emptied.is_empty() {
            self.labels.retain(|label| !emptied.contains(&label.name));
        }
    }

    /// Drops empty labels and sorts.
    pub fn finish(&mut self) {
        self.labels.retain(|label| !label.value.is_empty());
        self.labels.sort_by(|a, b| a.name.cmp(&b.name));
        self.labels.iter_mut().for_each(|label| label.added = false);
    }

    /// A name that a finished set holds twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        self.labels
            .windows(2)
            .find(|pair| pair[0].name == pair[1].name)
            .map(|pair| &*pair[0].name)
    }

    /// Whether no label is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels in their present order.
    pub fn iter(&self) -> std::slice::Iter<'_, PlacedLabel<'a>> {
        self.labels.iter()
    }

    /// A hash that is equal for equal finished sets, in any process.
    #[must_use]
    pub fn hash(&self) -> u64 {
        // In one go: a call for each part would cost more than the hash.
        let mut bytes = Vec::with_capacity(self.bytes() + 2 * self.labels.len());
        for label in &self.labels {
            // Neither separator can stand in UTF-8.
            bytes.extend_from_slice(label.name.as_bytes());
            bytes.push(0xff);
            bytes.extend_from_slice(label.value.as_bytes());
            bytes.push(0xfe);
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}
