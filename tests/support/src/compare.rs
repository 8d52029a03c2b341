//! Compares two ends, sample by sample.

use std::fmt;

use crate::Labels;
use crate::query::Samples;

/// One sample of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Labels of its series.
    pub labels: Labels,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its value.
    pub value: f64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        write!(
            f,
            "{{{}}} {} @{}",
            labels.join(","),
            self.value,
            self.timestamp
        )
    }
}

/// The result of a comparison.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Comparison {
    /// Number of samples that both ends have: series, timestamp and value are equal.
    pub agreeing: usize,
    /// Samples that were expected and are absent.
    pub lost: Vec<Point>,
    /// Samples that are present and were not expected.
    pub extra: Vec<Point>,
    /// Samples that both ends have with different values.
    pub different: Vec<Difference>,
}

/// One timestamp of one series, with two values.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The sample that was expected.
    pub expected: Point,
    /// The value that was found in its place.
    pub found: f64,
}

impl Comparison {
    /// Whether something was compared and nothing is wrong on either side.
    pub fn is_exact(&self) -> bool {
        self.agreeing > 0
            && self.lost.is_empty()
            && self.extra.is_empty()
            && self.different.is_empty()
    }
}

/// Compares what is `expected` with what was `found`.
pub fn compare(expected: &Samples, found: &Samples) -> Comparison {
    let mut comparison = Comparison::default();
    let point = |labels: &Labels, timestamp: i64, bits: u64| Point {
        labels: labels.clone(),
        timestamp,
        value: f64::from_bits(bits),
    };
    for (labels, samples) in expected {
        let others = found.get(labels);
        for (&timestamp, &bits) in samples {
            match others.and_then(|others| others.get(&timestamp)) {
                Some(&other) if other == bits => comparison.agreeing += 1,
                Some(&other) => comparison.different.push(Difference {
                    expected: point(labels, timestamp, bits),
                    found: f64::from_bits(other),
                }),
                None => comparison.lost.push(point(labels, timestamp, bits)),
            }
        }
    }
    for (labels, samples) in found {
        let others = expected.get(labels);
        let unknown = samples
            .iter()
            .filter(|(timestamp, _)| !others.is_some_and(|others| others.contains_key(timestamp)));
        comparison
            .extra
            .extend(unknown.map(|(&timestamp, &bits)| point(labels, timestamp, bits)));
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rows: &[(&str, i64, f64)]) -> Samples {
        let mut samples = Samples::new();
        for (name, timestamp, value) in rows {
            let labels = Labels::from([("__name__".to_owned(), (*name).to_owned())]);
            samples
                .entry(labels)
                .or_default()
                .insert(*timestamp, crate::query::value_bits(*value));
        }
        samples
    }

    #[test]
    fn each_kind() {
        let expected = samples(&[
            ("a", 1, 1.0),
            ("a", 2, f64::NAN),
            ("b", 1, 0.0),
            ("c", 1, 1.0),
        ]);
        let found = samples(&[
            ("a", 1, 1.0),
            ("a", 2, -f64::NAN),
            ("a", 3, 1.0),
            ("b", 1, -0.0),
            ("d", 1, 1.0),
        ]);
        let comparison = compare(&expected, &found);
        assert_eq!(comparison.agreeing, 2);
        assert_eq!(comparison.lost.len(), 1);
        assert_eq!(comparison.lost[0].labels["__name__"], "c");
        assert_eq!(
            comparison
                .extra
                .iter()
                .map(|point| (point.labels["__name__"].as_str(), point.timestamp))
                .collect::<Vec<_>>(),
            [("a", 3), ("d", 1)]
        );
        assert_eq!(comparison.different.len(), 1, "-0 is not 0");
        assert!(!comparison.is_exact());
        assert!(
            !compare(&Samples::new(), &Samples::new()).is_exact(),
            "nothing compared is no success"
        );
        assert!(compare(&expected, &expected).is_exact());
    }
}
