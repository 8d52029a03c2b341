//! What the parser makes of each trap of the format, however the bytes are cut and whatever the
//! sink knows.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::intake::Refusal;
use crate::prompb::Value;
use crate::scrape::exposition::{ParseError, ParsePosition};
use crate::series::ExposedLabel;
use crate::series::float;
use crate::series::labels::NAME;

/// Labels as resolved, value's bits, timestamp.
type Given = (Vec<(String, String)>, u64, Option<i64>);

fn bits(value: Value<'_>) -> u64 {
    match value {
        Value::Float(value) => value.to_bits(),
        Value::Histogram(_) => panic!("text has no native histograms"),
    }
}

/// Remembers the series it has seen, as a cache does.
#[derive(Debug, Default)]
struct Memory {
    series: BTreeMap<Vec<u8>, Vec<(String, String)>>,
    given: Vec<Given>,
    resolved: usize,
    /// Lengths that it expects in turn, be they right or not.
    lengths: Vec<usize>,
    asked: Cell<usize>,
}

impl Memory {
    fn warm(series: BTreeMap<Vec<u8>, Vec<(String, String)>>, first: usize) -> Self {
        let lengths = series
            .keys()
            .filter(|series| !series.contains(&b'\n'))
            .map(Vec::len)
            .collect();
        Self {
            series,
            lengths,
            asked: Cell::new(first),
            ..Self::default()
        }
    }
}

impl Sink for Memory {
    fn expected(&self) -> Option<usize> {
        self.asked.set(self.asked.get() + 1);
        self.lengths
            .get(self.asked.get() % self.lengths.len().max(1))
            .copied()
    }

    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let known = self.series.get(sample.series);
        self.given
            .extend(known.map(|labels| (labels.clone(), bits(sample.value), sample.timestamp_ms)));
        Ok(known.is_some())
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        for ExposedLabel { name, value, span } in labels {
            let Some(span) = span else { continue };
            assert_eq!(
                &sample.series[span.value as usize..][..value.len()],
                value.as_bytes()
            );
            assert!(
                name == NAME
                    || &sample.series[span.name as usize..][..name.len()] == name.as_bytes()
            );
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|label| (label.name.to_string(), label.value.to_string()))
            .collect();
        self.resolved += 1;
        self.lengths
            .extend((!sample.series.contains(&b'\n')).then_some(sample.series.len()));
        self.series.insert(sample.series.to_vec(), labels.clone());
        self.given
            .push((labels, bits(sample.value), sample.timestamp_ms));
        Ok(())
    }
}

/// Parses with the newline that a body gets at its end, in blocks that end at these places, and
/// gives an error without its excerpt.
fn parse(
    text: &[u8],
    ends: impl IntoIterator<Item = usize>,
    sink: &mut Memory,
) -> Result<(), ParseError> {
    let body = [text, b"\n"].concat();
    let mut parser = TextParser::default();
    let mut done = 0;
    for end in ends
        .into_iter()
        .map(|end| end.min(text.len()))
        .chain([body.len()])
    {
        match parser.parse(&body[done..end.max(done)], end == body.len(), sink) {
            Ok(taken) => done += taken,
            Err(ExpositionError::Malformed(error)) => {
                let message = error
                    .message
                    .split(" in \"")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                return Err(ParseError { message, ..error });
            }
            Err(ExpositionError::Refusal(refused)) => panic!("{refused}"),
        }
    }
    assert_eq!(done, body.len());
    Ok(())
}

/// The one result of a text: in one block, in every two, byte by byte, and by a sink that knows it
/// all.
fn parsed(text: &[u8]) -> (Vec<Given>, Result<(), ParseError>) {
    let mut whole = Memory::default();
    let ended = parse(text, [], &mut whole);
    let splits = (0..=text.len())
        .map(|at| vec![at])
        .chain([(0..=text.len()).collect()]);
    for ends in splits {
        let mut cut = Memory::default();
        assert_eq!(
            parse(text, ends.clone(), &mut cut),
            ended,
            "{} cut at {ends:?}",
            text.escape_ascii()
        );
        assert_eq!(
            cut.given,
            whole.given,
            "{} cut at {ends:?}",
            text.escape_ascii()
        );
        let mut warm = Memory::warm(whole.series.clone(), ends[0]);
        assert_eq!(parse(text, ends, &mut warm), ended);
        assert_eq!((&warm.given, warm.resolved), (&whole.given, 0));
    }
    (whole.given, ended)
}

/// A series as a short text: `name{label=value}` with Rust's escapes, in the order of the
/// exposition.
fn shown((labels, bits, timestamp): &Given) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{}={value:?}", if name == NAME { "" } else { name }))
        .collect();
    let timestamp = timestamp
        .map(|timestamp| format!(" @{timestamp}"))
        .unwrap_or_default();
    format!(
        "{} {}{timestamp}",
        labels.join(" "),
        float::json(f64::from_bits(*bits))
    )
}

#[test]
fn what_is_taken() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"foo 1", &["=\"foo\" 1"]),
        (b"\n  \n\t\nfoo 1\n\n", &["=\"foo\" 1"]),
        (b"  foo 1\n", &["=\"  foo\" 1"]),
        (b"  {\"foo\"} 1\n", &["=\"foo\" 1"]),
        (b"# c\r\nfoo 1\n", &["=\"foo\" 1"]),
        (b"foo 1\n\0bar{", &["=\"foo\" 1"]),
        (
            b"foo-1\nfoo{a=\"b\"}2\n",
            &["=\"foo\" -1", "=\"foo\" a=\"b\" 2"],
        ),
        (b"foo\t \t-0\t 7 \t\n", &["=\"foo\" -0 @7"]),
        (
            b"foo inf\nfoo -INFINITY\nfoo nAn\nfoo 5.\nfoo .5\nfoo 1e-400\n",
            &[
                "=\"foo\" +Inf",
                "=\"foo\" -Inf",
                "=\"foo\" NaN",
                "=\"foo\" 5",
                "=\"foo\" 0.5",
                "=\"foo\" 0",
            ],
        ),
        (b"foo 1 00123\n", &["=\"foo\" 1 @123"]),
        (
            b"foo 1 9223372036854775807\n",
            &["=\"foo\" 1 @9223372036854775807"],
        ),
        (b"foo{} 1\nfoo { } 1\n", &["=\"foo\" 1", "=\"foo\" 1"]),
        (
            b"foo { a = \"1\" , b=\"2\" , } 1\n",
            &["=\"foo\" a=\"1\" b=\"2\" 1"],
        ),
        (
            b"foo{a=\"1\" b=\"2\"c=\"3\"} 1\n",
            &["=\"foo\" a=\"1\" b=\"2\" c=\"3\" 1"],
        ),
        (
            b"foo{a=\"x 1\nfoo 2\ny\"} 3\n",
            &["=\"foo\" a=\"x 1\\nfoo 2\\ny\" 3"],
        ),
        (
            b"foo{a=\"\\\\ \\\" \\n \\t \\\"} 1\"} 1\n",
            &["=\"foo\" a=\"\\\\ \\\" \\n \\\\t \\\"} 1\" 1"],
        ),
        (b"foo{a=\"}{,=#\"} 1\n", &["=\"foo\" a=\"}{,=#\" 1"]),
        (b"foo{a=\"b\0c\"} 1\n", &["=\"foo\" a=\"b\\0c\" 1"]),
        (b"foo{a=\"1\",a=\"\"} 1\n", &["=\"foo\" a=\"1\" a=\"\" 1"]),
        (
            b"{a=\"1\",\"m.n\",\"b c\"=\"2\"} 1\n",
            &["=\"m.n\" a=\"1\" b c=\"2\" 1"],
        ),
        (b"{\"m \\\"\\\\\\n\"} 1\n", &["=\"m \\\"\\\\\\n\" 1"]),
        (b"{\"\"} 1\n", &["=\"\" 1"]),
        (
            b"{\"foo 1 2\"} 3\n{\"foo} 1\"} 2\n",
            &["=\"foo 1 2\" 3", "=\"foo} 1\" 2"],
        ),
        (
            b"#HELP 1\n# EOF\n# HELP foo\n# HELP foo \\\\ \n# TYPE foo counter\n#\nfoo 1\n",
            &["=\"foo\" 1"],
        ),
        (
            b"# TYPE h histogram\nx{le=\"1\",quantile=\"1\"} 1\n",
            &["=\"x\" le=\"1.0\" quantile=\"1\" 1"],
        ),
        (
            b"# TYPE s summary\nx{le=\"1\",quantile=\"1e6\"} 1\n",
            &["=\"x\" le=\"1\" quantile=\"1e+06\" 1"],
        ),
        (
            b"# TYPE h histogram\n# TYPE s untyped\nx{le=\"1\"} 1\n",
            &["=\"x\" le=\"1\" 1"],
        ),
        (
            b"# TYPE h histogram\nx{le=\"1\"} 1\n# TYPE s gauge\nx{le=\"1\"} 2\n",
            &["=\"x\" le=\"1.0\" 1", "=\"x\" le=\"1.0\" 2"],
        ),
    ];
    for (text, expected) in cases {
        let (given, ended) = parsed(text);
        assert_eq!(ended, Ok(()), "{}", text.escape_ascii());
        assert_eq!(
            given.iter().map(shown).collect::<Vec<_>>(),
            *expected,
            "{}",
            text.escape_ascii()
        );
    }
    let (given, _) = parsed(b"foo nan\n");
    assert_eq!(given[0].1, NORMAL_NAN);
}

#[test]
fn what_is_refused_and_where() {
    let cases: &[(&[u8], u64, u64, &str)] = &[
        (b"foo 1\r\n", 1, 5, "invalid value"),
        (b"# TYPE foo counter\r\n", 1, 11, "invalid metric type"),
        (
            b"ok 1\n\xef\xbb\xbffoo 1\n",
            2,
            1,
            "expected a valid start token",
        ),
        (b"foo\0 1\n", 1, 4, "invalid value"),
        (b"foo 1 \0\n", 1, 7, "expected timestamp or new record"),
        (b"foo{\0a=\"b\"} 1\n", 1, 5, "expected label name"),
        (b"foo 1e400\n", 1, 5, "invalid value"),
        (b"foo -NaN\n", 1, 5, "invalid value"),
        (b"foo 0x1p4\n", 1, 5, "invalid value"),
        (b"foo 1_0\n", 1, 5, "invalid value"),
        (b"foo 1 -5\n", 1, 7, "expected timestamp or new record"),
        (b"foo 1 1.5\n", 1, 8, "expected next entry after timestamp"),
        (
            b"foo 1 9223372036854775808\n",
            1,
            7,
            "timestamp out of range",
        ),
        (b"foo 1 2#c\n", 1, 8, "expected next entry after timestamp"),
        (b"foo 1 # {} 1\n", 1, 7, "expected timestamp or new record"),
        (b"foo\n", 1, 4, "expected value after metric"),
        (
            b"foo{a=\"x\ny\"} 1\nfoo{,} 1\n",
            3,
            5,
            "expected label name",
        ),
        (b"foo{a=\"1\",,} 1\n", 1, 11, "expected label name"),
        (b"foo{a:b=\"q\"} 1\n", 1, 6, "expected equal"),
        (b"foo{a='1'} 1\n", 1, 7, "expected label value"),
        (b"foo{a=\"1\n\xff\"} 1\n", 1, 7, "invalid UTF-8 label value"),
        (b"foo{a=\"\\\n\"} 1\n", 1, 7, "expected label value"),
        (b"foo{\"bar\"} 1\n", 1, 5, "metric name already set"),
        (b"{a=\"1\"} 1\n", 1, 1, "metric name not set"),
        (b"{foo} 1\n", 1, 5, "expected equal"),
        (
            b"{\"\xff\"} 1\n",
            1,
            3,
            "invalid metric name or label names",
        ),
        (
            b"foo{\"\xff\"=\"\"} 1\n",
            1,
            6,
            "invalid metric name or label names",
        ),
        (b"# HELP 1x y\n", 1, 8, "expected metric name after HELP"),
        (b"# HELP x \xff\n", 1, 9, "help text is not valid UTF-8"),
        (b"# TYPE foo unknown\n", 1, 11, "invalid metric type"),
        (b"# TYPE foo  counter\n", 1, 11, "invalid metric type"),
        (b"# TYPE foo counter \n", 1, 11, "invalid metric type"),
        (b"# TYPE foo\n", 1, 11, "invalid metric type"),
        (
            b"ok 1\n\nfoo{a=\"b",
            3,
            9,
            "the exposition ends within an entry",
        ),
    ];
    for (text, line, column, message) in cases {
        let (_, ended) = parsed(text);
        let error = ended.expect_err(&text.escape_ascii().to_string());
        let place = ParsePosition::Text {
            line: *line,
            column: *column,
        };
        assert!(
            error.place == place && error.message.starts_with(message),
            "{}: {error}",
            text.escape_ascii()
        );
    }
    let (given, ended) = parsed(b"foo 1\nbar 2\nbad{ 3\nqux 4");
    assert_eq!((given.len(), ended.is_err()), (2, true));
}

#[test]
fn an_error_shows_its_line() {
    let mut parser = TextParser::default();
    let stop = parser
        .parse(
            b"foo 1\nfoo{a=\"b\" nonsense 2\nbar 3\n",
            true,
            &mut Memory::default(),
        )
        .unwrap_err();
    let text = stop.to_string();
    assert_eq!(
        text,
        "line 2, column 20: expected equal, got INVALID in \"foo{a=\\\"b\\\" nonsense 2\""
    );
}

/// Writes a series as some client might.
fn written(name: &str, labels: &[(String, String)], style: &[u8]) -> String {
    let escaped = |text: &str, newlines: bool| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        if newlines {
            text.replace('\n', "\\n")
        } else {
            text
        }
    };
    let mut styles = style.iter().copied().cycle();
    let mut next = |of: u8| styles.next().unwrap_or(0) % of;
    let plain = |name: &str| {
        name.bytes().all(name_byte) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit()
    };
    let blank = |kind: u8| ["", " ", "\t"][usize::from(kind)];
    let mut inside = Vec::new();
    for (label, value) in labels {
        let label = if plain(label) && next(2) == 0 {
            label.clone()
        } else {
            format!("\"{}\"", escaped(label, true))
        };
        inside.push(format!(
            "{label}{}={}\"{}\"",
            blank(next(3)),
            blank(next(3)),
            escaped(value, next(2) == 0)
        ));
    }
    let bare = plain(name) && next(2) == 0;
    if !bare {
        inside.insert(
            usize::from(next(4)).min(inside.len()),
            format!("\"{}\"", escaped(name, true)),
        );
    }
    let comma = [",", " , ", ",\t"][usize::from(next(3))];
    let trailing = if inside.is_empty() || next(2) == 0 {
        ""
    } else {
        comma
    };
    let braces = if inside.is_empty() && next(2) == 0 {
        String::new()
    } else {
        format!("{{{}{trailing}}}", inside.join(comma))
    };
    format!("{}{braces}", if bare { name } else { "" })
}

fn name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Text that is hard to quote; no NUL, which only label values may hold.
fn hard() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,6}", "[ \t\n\\\\\"{}=,#a1é😀]{0,8}", "[^\0]{0,6}"]
}

/// Lines that are nearly right.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "(foo|bar|a)( |\t|-)?",
        4 => "[0-9]{1,3}( [0-9]{1,14})?\n",
        2 => "\\{a=\"[x \\\\\n\"]{0,3}\"\\} ",
        2 => "(# )?(HELP|TYPE) foo (counter|histogram|text)\n",
        1 => "\\{\"m( 1)?\"(,le=\"1\")?\\}",
        1 => "[ \t\n#{}\",=\\\\0-9a]{1,3}",
    ];
    let bytes = prop_oneof![9 => piece.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 1..3)];
    vec(bytes, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        name in hard(),
        labels in vec((hard(), hard()), 0..5),
        value: f64,
        timestamp in proptest::option::of(0..=i64::MAX),
        style in vec(any::<u8>(), 16),
    ) {
        let text = format!("{} {value}{}\n", written(&name, &labels, &style), timestamp.map(|at| format!(" {at}")).unwrap_or_default());
        let mut memory = Memory::default();
        let text = format!("{text}{text}# c\n{text}");
        prop_assert_eq!(parse(text.as_bytes(), [], &mut memory), Ok(()), "{}", text);
        let mut expected = labels;
        expected.insert(0, (NAME.to_owned(), name));
        let bits = if value.is_nan() { NORMAL_NAN } else { value.to_bits() };
        prop_assert_eq!(memory.given, vec![(expected, bits, timestamp); 3], "{}", text);
        prop_assert_eq!(memory.resolved, 1);
    }

    #[test]
    fn blocks_and_memory_change_nothing(text in soup(), mut ends in vec(0usize..200, 0..6)) {
        ends.sort_unstable();
        let mut whole = Memory::default();
        let ended = parse(&text, [], &mut whole);
        for (series, first) in [(BTreeMap::new(), 0), (whole.series.clone(), 0), (whole.series.clone(), 1), (whole.series.clone(), 2)] {
            let mut cut = Memory::warm(series, first);
            prop_assert_eq!(&parse(&text, ends.clone(), &mut cut), &ended);
            prop_assert_eq!(&cut.given, &whole.given);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in vec(any::<u8>(), 0..64), at in 0usize..64) {
        let mut whole = Memory::default();
        let ended = parse(&text, [], &mut whole);
        let mut cut = Memory::default();
        prop_assert_eq!(parse(&text, [at], &mut cut), ended);
        prop_assert_eq!(cut.given, whole.given);
    }
}
