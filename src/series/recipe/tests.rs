use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::series::{ExposedLabel, LabelSpan};

/// Written, and copied to another store, a recipe gives the same labels, however long it is.
#[test]
fn recipes_of_all_lengths_stand_side_by_side() {
    let (mut literals, mut recipes, mut places) = (LiteralPool::default(), Vec::new(), Vec::new());
    let sets: Vec<Labels<'_>> = [0_usize, 1, 30, 127, 128, 3_000]
        .into_iter()
        .map(labels)
        .collect();
    for labels in &sets {
        places.push(recipes.len());
        write(labels, true, &mut literals, &mut recipes);
    }
    let (mut other, mut copies) = (LiteralPool::default(), Vec::new());
    for (labels, place) in sets.iter().zip(places) {
        let mut expected = Vec::new();
        labels.iter().for_each(|label| {
            put_label(&mut expected, label.name.as_bytes(), label.value.as_bytes());
        });
        let recipe = at(&recipes, place);
        let (copied, mut encoded) = (copies.len(), Vec::new());
        copy(recipe, &literals, &mut other, &mut copies);
        encode(recipe, &[], &literals, &mut encoded);
        assert!(encoded == expected && labels_len(recipe) == expected.len());
        encoded.clear();
        encode(at(&copies, copied), &[], &other, &mut encoded);
        assert!(encoded == expected);
    }
}

fn labels(number: usize) -> Labels<'static> {
    let mut labels = Labels::default();
    (0..number).for_each(|at| labels.set(format!("label{at}"), format!("value{at}")));
    labels.finish();
    labels
}

/// Raw bytes of a series under construction, with the labels that they show.
#[derive(Default)]
struct RawSeries {
    raw: Vec<u8>,
    exposed: Vec<ExposedLabel<'static>>,
}

/// How the raw bytes show a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As the field that is sent.
    Field,
    /// Likewise, but with a length of the value that has a byte too many.
    LongField,
    /// As in text.
    Text,
}

impl RawSeries {
    fn new<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str, Form)>) -> Self {
        let mut series = Self::default();
        for (name, value, form) in labels {
            series.push(name, value, form);
        }
        series
    }

    fn push(&mut self, name: &str, value: &str, form: Form) {
        let raw = &mut self.raw;
        let (before, between, behind) = match form {
            Form::Field => {
                let mut field = Vec::new();
                put_label(&mut field, name.as_bytes(), value.as_bytes());
                let value_at = field.len() - value.len();
                let length = 1 + wire::varint_len(value.len() as u64);
                let name_at = value_at - length - name.len();
                (
                    field[..name_at].to_vec(),
                    field[name_at + name.len()..value_at].to_vec(),
                    &b""[..],
                )
            }
            Form::LongField => {
                assert!(name.len() + value.len() < 100, "it is to be simple");
                let lengths = [name.len() + value.len() + 5, name.len(), value.len()];
                let [all, name, value] = lengths.map(|length| length as u8);
                let between = vec![wire::LABEL_VALUE, value | 0x80, 0];
                let before = vec![wire::LABEL, all, wire::LABEL_NAME, name];
                (before, between, &b""[..])
            }
            Form::Text => (b",".to_vec(), b"=\"".to_vec(), &b"\""[..]),
        };
        raw.extend_from_slice(&before);
        let name_at = raw.len() as u32;
        raw.extend_from_slice(name.as_bytes());
        raw.extend_from_slice(&between);
        let value_at = raw.len() as u32;
        raw.extend_from_slice(value.as_bytes());
        raw.extend_from_slice(behind);
        self.exposed.push(ExposedLabel {
            name: name.to_owned().into(),
            value: value.to_owned().into(),
            span: Some(LabelSpan {
                name: name_at,
                value: value_at,
            }),
        });
    }

    /// Writes the recipe of the labels after `rules`, with runs and without. The labels of both,
    /// and of copies of both, are the same. Returns the kinds of the steps with runs.
    fn steps(&self, portable: bool, rules: impl Fn(&mut Labels<'_>)) -> Vec<u64> {
        let mut singly = Labels::exposed(&self.exposed);
        rules(&mut singly);
        singly.finish();
        let in_runs = singly.clone().within(&self.raw);
        let mut expected = Vec::new();
        singly.iter().for_each(|label| {
            put_label(&mut expected, label.name.as_bytes(), label.value.as_bytes());
        });
        let raw = if portable { &[][..] } else { &self.raw };
        let [in_runs, singly] = [in_runs, singly].map(|labels| {
            let (mut pool, mut recipe) = (LiteralPool::default(), Vec::new());
            write(&labels, portable, &mut pool, &mut recipe);
            let (mut other, mut copied) = (LiteralPool::default(), Vec::new());
            // Other ids than in the first store.
            other.id(b"another literal");
            copy(at(&recipe, 0), &pool, &mut other, &mut copied);
            for (recipe, pool) in [(&recipe, &pool), (&copied, &other)] {
                let mut encoded = Vec::new();
                encode(at(recipe, 0), raw, pool, &mut encoded);
                assert_eq!(encoded, expected, "{labels:?}");
                assert_eq!(labels_len(at(recipe, 0)), expected.len(), "{labels:?}");
            }
            recipe
        });
        let (length, kinds) = (in_runs.len(), kinds(at(&in_runs, 0)));
        assert!(length <= singly.len(), "{kinds:?} has {length} bytes");
        kinds
    }
}

fn kinds(recipe: &[u8]) -> Vec<u64> {
    let (mut at, mut kinds) = (0, Vec::new());
    wire::read_varint(recipe, &mut at);
    while let Some(step) = wire::read_varint(recipe, &mut at) {
        kinds.push(step & KIND);
        (0..operands(step & KIND)).for_each(|_| {
            wire::read_varint(recipe, &mut at);
        });
    }
    kinds
}

const METRIC_NAME: (&str, &str, Form) = ("__name__", "http_requests_total", Form::Field);
const INSTANCE: (&str, &str, Form) = ("instance", "127.0.0.1:9100", Form::Field);
const JOB: (&str, &str, Form) = ("job", "node", Form::Field);
const MODE: (&str, &str, Form) = ("mode", "idle", Form::Field);

#[test]
fn neighbours_on_the_wire_are_one_step() {
    let all = RawSeries::new([METRIC_NAME, INSTANCE, JOB, MODE]);
    assert_eq!(all.steps(false, |_| ()), [RUN]);
    assert_eq!(all.steps(true, |_| ()), [LITERAL; 4], "portable");

    // What a rule adds, drops or renames ends the run, wherever it comes in order.
    let external = |labels: &mut Labels<'_>| labels.set("cluster", "home");
    assert_eq!(all.steps(false, external), [RUN, LITERAL, RUN]);
    let last = |labels: &mut Labels<'_>| labels.set("zone", "a");
    assert_eq!(all.steps(false, last), [RUN, LITERAL]);
    let replaced = |labels: &mut Labels<'_>| labels.set("job", "other");
    assert_eq!(all.steps(false, replaced), [RUN, LITERAL, RUN]);
    let dropped = |labels: &mut Labels<'_>| labels.set("job", "");
    assert_eq!(all.steps(false, dropped), [RUN, RUN]);
    let renamed = |labels: &mut Labels<'_>| {
        let job = labels.find("job").unwrap().clone();
        labels.set("job", "");
        labels.set_moved("jab", job);
    };
    assert_eq!(all.steps(false, renamed), [RUN, NAMED, RUN]);
    let cut = |labels: &mut Labels<'_>| {
        let at = labels.find("job").unwrap().value_at;
        labels.set_at("job", "no", at);
    };
    assert_eq!(all.steps(false, cut), [RUN, NAMED, RUN]);
}

#[test]
fn labels_that_are_no_neighbours_are_steps_of_their_own() {
    // The label set is sorted, the raw bytes are not.
    let unsorted = RawSeries::new([MODE, METRIC_NAME, JOB, INSTANCE]);
    assert_eq!(unsorted.steps(false, |_| ()), [RUN; 4]);
    // A source may write lengths that we would write shorter.
    let long = RawSeries::new([METRIC_NAME, ("instance", "a", Form::LongField), JOB, MODE]);
    assert_eq!(long.steps(false, |_| ()), [RUN, PAIR, RUN]);
    // An empty label is not sent.
    let empty = RawSeries::new([METRIC_NAME, ("instance", "", Form::Field), JOB, MODE]);
    assert_eq!(empty.steps(false, |_| ()), [RUN, RUN]);
    let text = RawSeries::new([("a", "1", Form::Text), ("b", "2", Form::Text)]);
    assert_eq!(text.steps(false, |_| ()), [PAIR, NEXT]);
}

#[test]
fn lengths_of_more_than_a_byte_are_in_runs() {
    for length in [
        1, 100, 113, 114, 115, 116, 117, 127, 128, 129, 16_384, 70_000,
    ] {
        let value = "v".repeat(length);
        let alone = RawSeries::new([("__name__", &*value, Form::Field)]);
        let kind = if length < 114 { RUN } else { METRIC };
        assert_eq!(alone.steps(false, |_| ()), [kind], "{length}");
        let labels = [METRIC_NAME, ("a", &*value, Form::Field), JOB];
        assert_eq!(RawSeries::new(labels).steps(false, |_| ()), [RUN]);
    }
}

proptest! {
    #[test]
    fn runs_encode_what_single_labels_encode(
        shown in vec((0..8_usize, "[a-e]{0,5}|[f-g]{100,140}", 0..6_usize), 0..8),
        rules in vec((0..10_usize, 0..8_usize, "[a-e]{0,3}"), 0..4),
        portable: bool,
    ) {
        const NAMES: [&str; 8] =
            ["__name__", "a", "bb", "cluster", "instance", "job", "mode", "zone"];
        let mut names = std::collections::BTreeSet::new();
        let shown = shown.iter().filter(|(name, ..)| names.insert(*name));
        let series = RawSeries::new(shown.map(|(name, value, form)| {
            let form = match form {
                0 if value.len() < 80 => Form::LongField,
                1 => Form::Text,
                _ => Form::Field,
            };
            (NAMES[*name], &**value, form)
        }));
        series.steps(portable, |labels| {
            for (rule, name, value) in &rules {
                let name = NAMES[*name];
                match (rule, labels.find(name).cloned()) {
                    (0..3, _) => labels.set(name, value.clone()),
                    (3..6, Some(moved)) if !moved.value.is_empty() => {
                        labels.set(name, "");
                        labels.set_moved(NAMES[rule - 3], moved);
                    }
                    (6..8, Some(found)) if found.value.len() > 1 => {
                        let cut = found.value[1..].to_owned();
                        labels.set_at(name, cut, found.value_at.map(|at| at + 1));
                    }
                    _ => labels.set(name, ""),
                }
            }
        });
    }
}
