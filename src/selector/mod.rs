//! Vector selectors as `match[]` has them, such as `up{job=~"node|blackbox"}`.
//!
//! `/federate` takes selectors as text and parses them itself; remote read takes matchers. The
//! grammar is that of Prometheus' `ParseMetricSelector` (`promql/parser/generated_parser.y`
//! `vector_selector`, `lex.go` `lexInsideBraces`, `util/strutil/quote.go` `Unquote`).

mod matcher;
mod parser;

pub use matcher::{MatchOp, Matcher, Selector, SelectorError, needed};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let Selector { matchers } = match Selector::parse(text) {
            Ok(selector) => selector,
            Err(error) => return error.to_string(),
        };
        let op = |op| match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let matchers: Vec<_> = matchers
            .iter()
            .map(|matcher| format!("{}{}{:?}", matcher.label, op(matcher.op), matcher.value))
            .collect();
        matchers.join(" ")
    }

    #[test]
    fn selectors_are_read_as_prometheus_reads_them() {
        for (text, expected) in [
            ("up", r#"__name__="up""#),
            (" a:b_0 ", r#"__name__="a:b_0""#),
            ("{}", ""),
            (r#"{job="a",}"#, r#"job="a""#),
            (
                r#"up{job=~"a|b", x !~ '.+'}"#,
                r#"job=~"a|b" x!~".+" __name__="up""#,
            ),
            (
                r#"{"a metric", "a label"!=`b\n`}"#,
                r#"__name__="a metric" a label!="b\\n""#,
            ),
            (r#"{__name__=~".+"}"#, r#"__name__=~".+""#),
            (
                r#"{a="\"\\\n\x41\101\u00e9\U0001F600"}"#,
                r#"a="\"\\\nAAé😀""#,
            ),
            (r#"{a='\'"'}"#, r#"a="'\"""#),
            ("{ # why\n on = \"by\" }", r#"on="by""#),
            ("by{on=\"\"}", r#"on="" __name__="by""#),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_home_would_refuse_is_an_error_with_its_place() {
        for (text, expected) in [
            (
                "",
                "character 1: found the end, expected a metric name or {",
            ),
            (
                "%7Bjob%3D",
                "character 1: found %, expected a metric name or {",
            ),
            (
                "job=\"a\"",
                "character 4: found =, expected the end: each match[] holds one selector",
            ),
            ("{job=a}", "character 6: found a, expected a quoted value"),
            ("{job}", "character 5: found }, expected =, !=, =~ or !~"),
            (
                "{job=\u{201c}a\u{201d}}",
                "character 6: found the typographic quote \u{201c}, expected a quoted value",
            ),
            ("{job=\"a\"", "character 9: found the end, expected , or }"),
            ("{job=\"a}", "character 6: unterminated quoted string"),
            ("{,}", "character 2: found ,, expected a label or }"),
            ("{a=\"b\" c=\"d\"}", "character 8: found c, expected , or }"),
            ("{a=\"\\q\"}", "character 6: unknown escape sequence \\q"),
            ("{a=\"\\xzz\"}", "character 6: \\x needs 2 digits"),
            (
                "{a=\"\\xff\"}",
                "character 4: the string is not valid UTF-8: no label has such a value",
            ),
            (
                "{a=\"\\ud800\"}",
                "character 6: escape sequence is an invalid Unicode code point",
            ),
            (
                "a{b=\"c\"} or d",
                "character 10: found o, expected the end: each match[] holds one selector",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(
            shown("{a=~\"(\"}").starts_with("character 2: "),
            "{}",
            shown("{a=~\"(\"}")
        );
    }

    #[test]
    fn a_selector_of_everything_makes_the_others_needless() {
        let parse = |texts: &[&str]| {
            let selectors = texts.iter().map(|text| Selector::parse(text).unwrap());
            needed(selectors.collect())
        };
        assert_eq!(
            parse(&[r#"{job=~".+"}"#, r#"{__name__=~".+"}"#]),
            parse(&[r#"{__name__=~".+"}"#])
        );
        assert_eq!(parse(&["{}", "up"]).len(), 1);
        assert_eq!(parse(&["up", "up", "down"]).len(), 2);
        // A job may be empty, so this does not select every series.
        assert_eq!(parse(&[r#"{job=~".+"}"#, "up"]).len(), 2);
        assert!(!parse(&[r#"{__name__=~"a.*"}"#])[0].selects_all());
    }

    #[test]
    fn a_missing_label_is_an_empty_one() {
        let value = |name: &str| match name {
            "__name__" => "up",
            "job" => "node",
            _ => "",
        };
        for (text, selected) in [
            ("up", true),
            ("down", false),
            ("{}", true),
            (r#"up{job="node"}"#, true),
            (r#"{job!="node"}"#, false),
            (r#"{job=~"no"}"#, false),
            (r#"{job=~"no.*"}"#, true),
            (r#"{job!~"no.*"}"#, false),
            (r#"{instance=""}"#, true),
            (r#"{instance=~".+"}"#, false),
            (r#"{instance!="a"}"#, true),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.selects(value), selected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-c{}=~!,\"'`\\\\ x0-7u#\n\u{e9}]{0,40}") {
            let _ = Selector::parse(&text);
        }

        #[test]
        fn any_value_comes_back_from_quotes(value in "\\PC{0,30}") {
            let text = format!("{{a={value:?}}}");
            // Rust's own quoting has \u{…}, which Go's has not.
            prop_assume!(!text.contains("\\u{") && !text.contains("\\0"));
            prop_assert_eq!(&Selector::parse(&text).unwrap().matchers[0].value, &value);
        }
    }
}
