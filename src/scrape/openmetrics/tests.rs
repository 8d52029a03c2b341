//! What the parser makes of each trap of the format, however the bytes are cut and whatever the
//! sink knows.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::intake::Refusal;
use crate::prompb::Value;
use crate::scrape::exposition::{ParseError, ParsePosition};
use crate::series::ExposedLabel;
use crate::series::float;

/// Remembers the series it has seen, as a cache does.
#[derive(Debug, Default, Clone)]
struct Memory {
    series: BTreeMap<Vec<u8>, String>,
    given: Vec<String>,
    resolved: usize,
}

impl Memory {
    fn take(&mut self, labels: &str, sample: &ExposedSample<'_>) {
        let Value::Float(value) = sample.value else {
            panic!("OpenMetrics has no native histograms")
        };
        let timestamp = sample
            .timestamp_ms
            .map(|at| format!(" @{at}"))
            .unwrap_or_default();
        self.given
            .push(format!("{labels} {}{timestamp}", float::json(value)));
    }
}

impl Sink for Memory {
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let Some(labels) = self.series.get(sample.series).cloned() else {
            return Ok(false);
        };
        self.take(&labels, sample);
        Ok(true)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let name = |name: &str| {
            if name == "__name__" {
                String::new()
            } else {
                name.to_owned()
            }
        };
        let labels: Vec<_> = labels
            .iter()
            .map(|label| format!("{}={:?}", name(&label.name), label.value))
            .collect();
        let labels = labels.join(" ");
        self.resolved += 1;
        self.take(&labels, sample);
        self.series.insert(sample.series.to_vec(), labels);
        Ok(())
    }
}

fn parse(
    text: &[u8],
    ends: impl IntoIterator<Item = usize>,
    sink: &mut Memory,
) -> Result<(), ParseError> {
    let mut parser = OpenMetricsParser::default();
    let mut done = 0;
    let ends = ends
        .into_iter()
        .map(|end| (end.min(text.len()), false))
        .chain([(text.len(), true)]);
    for (end, last) in ends {
        match parser.parse(&text[done..end.max(done)], last, sink) {
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
    assert_eq!(done, text.len());
    Ok(())
}

/// The one result of a text: in one block, in every two, byte by byte, and by a sink that knows it
/// all.
fn parsed(text: &[u8]) -> (Vec<String>, Result<(), ParseError>) {
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
        let mut warm = Memory {
            series: whole.series.clone(),
            ..Memory::default()
        };
        assert_eq!(parse(text, ends, &mut warm), ended);
        assert_eq!((&warm.given, warm.resolved), (&whole.given, 0));
    }
    (whole.given, ended)
}

#[test]
fn what_is_taken() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("foo 1\n", &["=\"foo\" 1"]),
        (
            "foo 1 2\nfoo 1 -0.0015\nfoo 1 1e3\n",
            &["=\"foo\" 1 @2000", "=\"foo\" 1 @-1", "=\"foo\" 1 @1000000"],
        ),
        ("foo 1 1520879607.789\n", &["=\"foo\" 1 @1520879607789"]),
        (
            "foo{a=\"x 1 2\",b=\"\\n\\\"\"} 1 2\n",
            &["=\"foo\" a=\"x 1 2\" b=\"\\n\\\"\" 1 @2000"],
        ),
        (
            "{\"a.b\",\"c d\"=\"e\",} 1\nfoo{} 2\n",
            &["=\"a.b\" c d=\"e\" 1", "=\"foo\" 2"],
        ),
        (
            "foo_total 1 # {} 5\nfoo_total 2 # {a=\"b\",} 5 -3\nfoo_total 3 4 # {\"a b\"=\"c\"} 0.5\n",
            &[
                "=\"foo_total\" 1",
                "=\"foo_total\" 2",
                "=\"foo_total\" 3 @4000",
            ],
        ),
        (
            "# HELP foo \n# HELP foo  x \\n\n# TYPE foo unknown\n# UNIT foo_s s\n# UNIT foo \n# TYPE \"a b\" stateset\n",
            &[],
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE g gaugehistogram\nx{le=\"2\"} 1\n# TYPE s summary\nx{quantile=\"1\"} 1\n",
            &[
                "=\"h_bucket\" le=\"1.0\" 1",
                "=\"x\" le=\"2\" 1",
                "=\"x\" quantile=\"1.0\" 1",
            ],
        ),
        (
            "# TYPE foo counter\nfoo_total 1\nfoo_created 1520872607.123\n",
            &["=\"foo_total\" 1", "=\"foo_created\" 1520872607.123"],
        ),
        (
            "foo NaN\nfoo +Inf\nfoo -inf\n",
            &["=\"foo\" NaN", "=\"foo\" +Inf", "=\"foo\" -Inf"],
        ),
        (
            "foo{a=\"\0\"} 1\n# HELP foo \0\n",
            &["=\"foo\" a=\"\\0\" 1"],
        ),
    ];
    for (text, expected) in cases {
        for end in ["# EOF", "# EOF\n"] {
            let (given, ended) = parsed(format!("{text}{end}").as_bytes());
            assert_eq!(ended, Ok(()), "{}", text.escape_debug());
            assert_eq!(given, *expected, "{}", text.escape_debug());
        }
    }
}

#[test]
fn what_is_refused_and_where() {
    let cases: &[(&[u8], u64, u64, &str)] = &[
        (b"foo 1\n", 2, 1, "data does not end with # EOF"),
        (b"foo 1", 1, 6, "data does not end with # EOF"),
        (b"# EO", 1, 5, "data does not end with # EOF"),
        (b"# EOF\n\n", 2, 1, "unexpected data after # EOF"),
        (b"# EOFfoo", 1, 1, "unexpected data after # EOF"),
        (b"foo 1\n\n# EOF", 2, 1, "expected a valid start token"),
        (b"# a comment\n# EOF", 1, 1, "expected a valid start token"),
        (b"#EOF", 1, 1, "expected a valid start token"),
        (b" foo 1\n# EOF", 1, 1, "expected a valid start token"),
        (b"foo  1\n# EOF", 1, 4, "expected value after metric"),
        (b"foo\t1\n# EOF", 1, 4, "expected value after metric"),
        (b"foo 1 \n# EOF", 1, 6, "expected next entry"),
        (b"foo\n# EOF", 1, 4, "expected value after metric"),
        (b"foo 1\r\n# EOF", 1, 4, "invalid value"),
        (b"foo 1 NaN\n# EOF", 1, 6, "invalid timestamp"),
        (b"foo 1 +Inf\n# EOF", 1, 6, "invalid timestamp"),
        (b"foo 1 2 3\n# EOF", 1, 8, "expected next entry"),
        (
            b"foo{a=\"1\" b=\"2\"} 1\n# EOF",
            1,
            10,
            "expected comma or brace close",
        ),
        (
            b"foo{a=\"1\", b=\"2\"} 1\n# EOF",
            1,
            11,
            "expected label name",
        ),
        (b"foo{,} 1\n# EOF", 1, 5, "expected label name"),
        (b"foo{a=\"x\ny\"} 1\n# EOF", 1, 7, "expected label value"),
        (
            b"foo{a=\"\xff\"} 1\n# EOF",
            1,
            7,
            "invalid UTF-8 label value",
        ),
        (b"{a=\"b\"} 1\n# EOF", 1, 1, "metric name not set"),
        (b"foo{\"bar\"} 1\n# EOF", 1, 5, "metric name already set"),
        (
            b"foo 1 # {a=\"b\"}\n# EOF",
            1,
            16,
            "expected value after exemplar labels",
        ),
        (b"foo 1 # {\"a\"} 1\n# EOF", 1, 13, "expected label name"),
        (b"foo 1 # {} x\n# EOF", 1, 11, "invalid value"),
        (
            b"foo 1 # {} 1 NaN\n# EOF",
            1,
            13,
            "invalid exemplar timestamp",
        ),
        (b"foo 1 # {} 1 1 1\n# EOF", 1, 15, "expected next entry"),
        (b"# HELP foo\n# EOF", 1, 11, "expected text in HELP"),
        (
            b"# HELP 1 x\n# EOF",
            1,
            8,
            "expected metric name after HELP",
        ),
        (
            b"# HELP foo \xff\n# EOF",
            1,
            11,
            "help text is not valid UTF-8",
        ),
        (b"# TYPE foo untyped\n# EOF", 1, 11, "invalid metric type"),
        (b"# UNIT foo s\n# EOF", 1, 11, "unit \"s\" not a suffix"),
        (b"# UNIT foos s\n# EOF", 1, 12, "unit \"s\" not a suffix"),
        (b"foo\0 1\n# EOF", 1, 4, "expected value after metric"),
        (b"foo 1\0\n# EOF", 1, 4, "expected value after metric"),
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
}

#[test]
fn nonsense_behind_a_value_comes_too_late_for_its_sample() {
    for (text, given) in [
        ("foo 1 \n", 1),
        ("foo 1  2\n", 1),
        ("foo 1 # x\n", 1),
        ("foo 1 #x\n", 0),
        ("foo 1 2 \n", 0),
        ("foo 1 # {} x\n", 0),
    ] {
        let (found, ended) = parsed(format!("bar 1\n{text}bar 2\n# EOF\n").as_bytes());
        assert!(ended.is_err(), "{text:?}");
        assert_eq!(found.len(), 1 + given, "{text:?}");
    }
}

/// Lines that are nearly right.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "(foo|bar|a)( |\\{a=\"[x \\\\]{0,2}\"(,|,le=\"1\")?\\} )",
        4 => "[0-9]{1,3}( [0-9]{1,5}(\\.[0-9])?)?( # \\{\\} 1)?\n",
        1 => "# (HELP|TYPE|UNIT) foo (counter|histogram|text)?\n",
        1 => "# EOF\n?",
        1 => "\\{\"m( 1)?\"\\} ",
        1 => "[ \t\n#{}\",=\\\\0-9a]{1,3}",
    ];
    let bytes = prop_oneof![9 => piece.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 1..3)];
    vec(bytes, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn blocks_and_memory_change_nothing(text in soup(), mut ends in vec(0usize..200, 0..6)) {
        ends.sort_unstable();
        let mut whole = Memory::default();
        let ended = parse(&text, [], &mut whole);
        for series in [BTreeMap::new(), whole.series.clone()] {
            let mut cut = Memory { series, ..Memory::default() };
            prop_assert_eq!(&parse(&text, ends.clone(), &mut cut), &ended);
            prop_assert_eq!(&cut.given, &whole.given);
        }
    }
}
