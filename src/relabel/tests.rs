//! Tables. What they say was asked of Go and of Prometheus 3.5; `tests/real/corpus` asks again.

use super::*;

fn labels(text: &str) -> Labels<'static> {
    let mut labels = Labels::default();
    for pair in text.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        labels.set(name.to_owned(), value.to_owned());
    }
    labels.finish();
    labels
}

fn shown(labels: &mut Labels<'_>) -> String {
    labels.finish();
    labels
        .iter()
        .map(|label| format!("{}={}", label.name, label.value))
        .collect::<Vec<_>>()
        .join(" ")
}

fn written(action: &str) -> RuleSpec {
    RuleSpec {
        action: Action::named(action).unwrap(),
        ..RuleSpec::default()
    }
}

/// `action source,source/regex/target/replacement`; a `-` keeps the default.
fn rule(text: &str) -> RuleSpec {
    let (action, rest) = text.split_once(' ').unwrap();
    let mut fields = rest.split('/');
    let mut next = || fields.next().filter(|field| *field != "-");
    let mut rule = written(action);
    rule.source_labels = next().map(|names| names.split(',').map(str::to_owned).collect());
    rule.regex = next().map(str::to_owned);
    rule.target_label = next().unwrap_or_default().to_owned();
    if let Some(replacement) = next() {
        rule.replacement = replacement.to_owned();
    }
    rule.modulus = next().map_or(0, |modulus| modulus.parse().unwrap());
    rule
}

fn relabelled(rules: &[&str], before: &str) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|text| Rule::new(rule(text)).unwrap_or_else(|error| panic!("{text}: {error}")))
        .collect();
    let mut labels = labels(before);
    if apply(&rules, &mut labels).unwrap() {
        shown(&mut labels)
    } else {
        "dropped".to_owned()
    }
}

#[test]
fn actions() {
    for (rules, before, after) in [
        (&["replace a/-/b/-"][..], "a=1", "a=1 b=1"),
        (
            &["replace a,b/(.*);(.*)/c/$2-$1"],
            "a=1 b=2",
            "a=1 b=2 c=2-1",
        ),
        (&["replace a/x/b/y"], "a=1", "a=1"),
        (&["replace a/(.*)/a/"], "a=1 b=2", "b=2"),
        (&["replace -/-/b/y"], "a=1", "a=1 b=y"),
        (&["replace missing/-/a/-"], "a=1 b=2", "b=2"),
        (&["replace a/-/${1}_x/y"], "a=1", "1_x=y a=1"),
        (&["replace a/(x)?.*/$1/y"], "a=1", "a=1"),
        (&["keep a/1|2"], "a=1", "a=1"),
        (&["keep a/1|2"], "a=12", "dropped"),
        (&["keep missing/"], "a=1", "a=1"),
        (&["drop a/1.*"], "a=12", "dropped"),
        (&["drop a,b/1;2"], "a=1 b=2", "dropped"),
        (&["keepequal a/-/b"], "a=1 b=1", "a=1 b=1"),
        (&["keepequal a/-/b"], "a=1", "dropped"),
        (&["dropequal a/-/b"], "a=1 b=1", "dropped"),
        (&["dropequal a/-/b"], "a=1", "a=1"),
        (&["hashmod a/-/b/-/1000"], "a=foo", "a=foo b=696"),
        (
            &["hashmod a,b/-/c/-/18446744073709551615"],
            "a=foo b=bar",
            "a=foo b=bar c=15973639978189266750",
        ),
        (&["labelmap -/my_(.*)/-/-"], "my_a=1 b=2", "a=1 b=2 my_a=1"),
        (&["labelmap -/a|b/-/c"], "a=1 b=2", "a=1 b=2 c=2"),
        (
            &["replace b/-/a/-", "labelmap -/a|b/-/c"],
            "a=1 b=2",
            "a=2 b=2 c=2",
        ),
        (
            &["replace -/-/a/9", "labelmap -/a|b/-/c"],
            "a=1 b=2",
            "a=9 b=2 c=9",
        ),
        (&["labeldrop -/a.*"], "a=1 ab=2 b=3", "b=3"),
        (
            &["labelkeep -/a.*|__name__"],
            "__name__=m a=1 b=3",
            "__name__=m a=1",
        ),
        (&["lowercase a/-/b"], "a=FÖö", "a=FÖö b=föö"),
        (&["uppercase a,a/-/a"], "a=fö", "a=FÖ;FÖ"),
        (
            &["drop a/2", "replace a/-/b/-", "keep b/1"],
            "a=1",
            "a=1 b=1",
        ),
    ] {
        assert_eq!(relabelled(rules, before), after, "{rules:?} {before}");
    }
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    for (pattern, matching, others) in [
        ("", &[""][..], &["a"][..]),
        ("a|b", &["a", "b"], &["ab", "aa"]),
        (".*", &["", "a\nb"], &[]),
        ("(?-s:.*)", &["ab"], &["a\nb"]),
        ("a)|(b", &["a", "ax", "xb"], &["xa", "bx"]),
        (r"\d+", &["09"], &["٣"]),
        (r"\w+", &["aZ_9"], &["é"]),
        (r"\W", &["é", "-"], &["a"]),
        (
            r"[\s]",
            &[" ", "\t", "\n", "\r", "\x0c"],
            &["\u{a0}", "\x0b"],
        ),
        (r"[^\S]", &[" "], &["a", "\x0b"]),
        (r"é\b", &[], &["é"]),
        (r"é\B", &["é"], &[]),
        (r"\b\w\b", &["a"], &["é"]),
        ("[[a]", &["[", "a"], &["b"]),
        ("[a&&b]", &["a", "&", "b"], &[]),
        ("[a~~b]", &["~"], &[]),
        ("[+--]", &["+", ",", "-"], &["."]),
        (r"[\d-z]", &["5", "-", "z"], &["a"]),
        ("[]a]", &["]", "a"], &[]),
        ("[^]a]", &["b"], &["]", "a"]),
        ("[[:alpha:]-]", &["a", "-"], &["1", "é"]),
        ("[[:^alpha:]]", &["é", "1"], &["a"]),
        ("[[.a.]]", &["a]", ".]"], &["a"]),
        ("a{", &["a{"], &["a"]),
        ("x{abc}", &["x{abc}"], &[]),
        ("a{,5}", &["a{,5}"], &["aa"]),
        ("a{01}", &["a{01}"], &["a"]),
        ("a{2}", &["aa"], &["a"]),
        ("a{2,}?", &["aaa"], &["a"]),
        ("a*(?i)*", &["aa"], &["A"]),
        (r"\Qa.b\E.", &["a.bx"], &["axbx"]),
        (r"\Qa\E*", &["aa"], &[]),
        (r"\01\123\0", &["\x01S\0"], &[]),
        (r"\x41\x{42}\a\f\n\r\t\v", &["AB\x07\x0c\n\r\t\x0b"], &[]),
        (r"\<\>\-\_", &["<>-_"], &[]),
        (r"[\x{D800}]|b", &["b"], &["\u{fffd}"]),
        (
            r"[\x{D7FF}-\x{E000}]",
            &["\u{d7ff}", "\u{e000}"],
            &["\u{e001}"],
        ),
        (r"[^\x{D800}]", &["a"], &[]),
        (r"[^\x00-\x{10FFFF}]", &[], &["a"]),
        (r"\pN", &["٣", "½"], &["a"]),
        (r"\p{^Greek}\P{^Greek}", &["aα"], &["αa"]),
        (r"[\p{Lu}\pN]", &["É", "1"], &["é"]),
        (r"\p{Cs}?\P{Cs}", &["a"], &[]),
        (r"\p{old_italic}", &["𐌀"], &["a"]),
        ("(?i)k", &["k", "K", "\u{212a}"], &[]),
        ("(?i)[s]", &["ſ"], &[]),
        (r"(?i)\w", &["ſ"], &["é"]),
        (r"(?i)\W", &["é"], &["ſ"]),
        (r"(?i)[^\pL]", &["1"], &["a"]),
        ("(?i:a)b", &["Ab"], &["AB"]),
        ("a(?i)b|c", &["aB", "C"], &["AB"]),
        ("((?i)a)b", &["Ab"], &["AB"]),
        ("(?m:^a$)", &["a"], &["a\n"]),
        ("(?m)a$\n^b", &["a\nb"], &[]),
        ("a$", &["a"], &["a\n"]),
        (r"(?:\A)*a\z*", &["a"], &[]),
        ("^*$*", &[""], &["a"]),
        ("()|(?:)*", &[""], &[]),
        ("(?P<1a>x)(?<b>y)(?P<b>z)", &["xyz"], &[]),
        ("#a b", &["#a b"], &[]),
        ("é+日", &["éé日"], &[]),
    ] {
        let compiled = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in matching {
            assert!(compiled.is_match(text), "{pattern} {text:?}");
        }
        for text in others {
            assert!(!compiled.is_match(text), "{pattern} {text:?}");
        }
    }
}

#[test]
fn patterns_that_go_refuses() {
    for (pattern, reason) in [
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*??", "invalid nested repetition operator: `*??`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{5,2}", "invalid repeat count: `{5,2}`"),
        ("(a{500}){3}", "invalid repeat count: `{3}`"),
        ("((a{0}){500}){3}", "invalid repeat count: `{3}`"),
        ("(a{2,}){501}", "invalid repeat count: `{501}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        (r"\Q\E*", "missing argument to repetition operator: `*`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?-)", "invalid or unsupported Perl syntax: `(?-)`"),
        ("(?i--s)", "invalid or unsupported Perl syntax: `(?i--`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?P<é>a)", "invalid named capture: `(?P<é>`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\x", r"invalid escape sequence: `\x)$`"),
        (r"\x4", r"invalid escape sequence: `\x4)`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\x{}", r"invalid escape sequence: `\x{}`"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        (r"\p{Grek}", r"invalid character class range: `\p{Grek}`"),
        (
            r"\p{Alphabetic}",
            r"invalid character class range: `\p{Alphabetic}`",
        ),
        (r"\p{Emoji}", r"invalid character class range: `\p{Emoji}`"),
        (
            r"\p{Script=Greek}",
            r"invalid character class range: `\p{Script=Greek}`",
        ),
        (
            r"\p{isGreek}",
            r"invalid character class range: `\p{isGreek}`",
        ),
        (r"\p", r"invalid character class range: `\p)`"),
        (r"\p{Lu", r"invalid character class range: `\p{Lu)$`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a--]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        ("[]", "missing closing ]: `[])$`"),
        ("[a", "missing closing ]: `[a)$`"),
        ("(", "missing closing ): `^(?s:()$`"),
        ("\\", r"missing closing ): `^(?s:\)$`"),
        (r"\Qa.b", r"missing closing ): `^(?s:\Qa.b)$`"),
        (")", "unexpected ): `^(?s:))$`"),
    ] {
        match Pattern::new(pattern) {
            Ok(_) => panic!("{pattern} compiles"),
            Err(error) => assert_eq!(
                error.to_string(),
                format!("error parsing regexp: {reason}"),
                "{pattern}"
            ),
        }
    }
}

#[test]
fn patterns_are_bounded() {
    let nested = |depth: usize| "(".repeat(depth) + &")".repeat(depth);
    assert!(Pattern::new(&nested(200)).unwrap().is_match(""));
    assert!(Pattern::new(&"(?:a*(?i)".repeat(100)).is_err());
    assert!(
        Pattern::new(&nested(300))
            .unwrap_err()
            .to_string()
            .contains("nests too deeply")
    );
    assert!(Pattern::new(&"a*(?i)*".repeat(5_000)).is_ok());
    assert!(
        Pattern::new(&("a".to_owned() + &"(?i)*".repeat(5_000)))
            .unwrap_err()
            .to_string()
            .contains("nests too deeply")
    );
    assert_eq!(
        Pattern::new(&r"\pL{900}".repeat(10)).unwrap_err(),
        PatternError::TooLarge
    );
}

#[test]
fn templates() {
    for (template, expanded) in [
        ("$1", "x"),
        ("${1}", "x"),
        ("$0", "xy"),
        ("$1y", ""),
        ("${1}y", "xy"),
        ("$$1", "$1"),
        ("$", "$"),
        ("a$", "a$"),
        ("${1", "${1"),
        ("${}", "${}"),
        ("${foo bar}", "${foo bar}"),
        ("$ 1", "$ 1"),
        ("$01", ""),
        ("${01}", ""),
        ("$3", ""),
        ("$999999999999", ""),
        ("$n", "y"),
        ("${n}$n-", "yy-"),
        ("$nope.", "."),
        ("$é.", "."),
        ("$1é", ""),
        ("$1€", "x€"),
        ("$Ⅷ", "$Ⅷ"),
        ("$٣.", "."),
        ("$1$n$1", "xyx"),
    ] {
        let text = Rule::new(RuleSpec {
            source_labels: Some(vec!["a".into()]),
            regex: Some("(x)(?P<n>y)".into()),
            target_label: "out".into(),
            replacement: template.into(),
            ..RuleSpec::default()
        });
        let mut labels = labels("a=xy");
        assert!(apply(&[text.unwrap()], &mut labels).unwrap());
        assert_eq!(labels.get("out"), expanded, "{template}");
    }
}

#[test]
fn of_two_groups_with_one_name_the_one_that_matched_counts() {
    assert_eq!(
        relabelled(&["replace a/(?P<n>x)|(?P<n>y)/b/$n"], "a=y"),
        "a=y b=y"
    );
}

#[test]
fn case_maps_a_character_to_a_character() {
    for (text, lower, upper) in [
        ("aZé", "azé", "AZÉ"),
        ("ß", "ß", "ß"),
        ("İ", "i", "İ"),
        ("ı", "ı", "I"),
        ("ΑΣ", "ασ", "ΑΣ"),
        ("ς", "ς", "Σ"),
        ("ŉ", "ŉ", "ŉ"),
        ("ﬀ", "ﬀ", "ﬀ"),
        ("ᾀᾳῳ", "ᾀᾳῳ", "ᾈᾼῼ"),
        ("ᾈ", "ᾀ", "ᾈ"),
        ("ᾷ", "ᾷ", "ᾷ"),
        ("ǆǅ", "ǆǆ", "ǄǄ"),
        ("ſ", "ſ", "S"),
    ] {
        assert_eq!(
            (case::lower(text).as_str(), case::upper(text).as_str()),
            (lower, upper),
            "{text}"
        );
    }
}

#[test]
fn invalid_rules() {
    for (rule_text, reason) in [
        (
            "replace a",
            "relabel configuration for replace action requires 'target_label' value",
        ),
        (
            "hashmod a/-/b",
            "relabel configuration for hashmod requires non-zero modulus",
        ),
        (
            "hashmod a/-/-/-/5",
            "relabel configuration for hashmod action requires 'target_label' value",
        ),
        (
            "lowercase a/-/b/x",
            "'replacement' can not be set for lowercase action",
        ),
        (
            "keepequal a/(.*)/b",
            "keepequal action requires only 'source_labels' and `target_label`, and no other \
             fields",
        ),
        (
            "dropequal a/-/b/-/1",
            "dropequal action requires only 'source_labels' and `target_label`, and no other \
             fields",
        ),
        (
            "labeldrop b/a",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "labelkeep -/a/b",
            "labelkeep action requires only 'regex', and no other fields",
        ),
        (
            "labelmap -/a/-/",
            "\"\" is invalid 'replacement' for labelmap action",
        ),
        (
            "keep a/(",
            "error parsing regexp: missing closing ): `^(?s:()$`",
        ),
    ] {
        assert_eq!(
            Rule::new(rule(rule_text)).unwrap_err().to_string(),
            reason,
            "{rule_text}"
        );
    }
    assert_eq!(Action::named("KeepEqual"), Some(Action::KeepEqual));
    assert_eq!(Action::named("keep_equal"), None);
}

#[test]
fn what_relabelling_makes_is_bounded() {
    let double = Rule::new(rule("replace a/-/a/$1$1")).unwrap();
    let mut grown = labels("a=0123456789");
    assert_eq!(apply(&vec![double; 40], &mut grown), Err(SizeError));
    let many = Rule::new(rule("labelmap -/(.*)/-/${1}x")).unwrap();
    let mut grown = labels("a=0123456789");
    assert_eq!(apply(&vec![many; 2_000], &mut grown), Err(SizeError));
    let long = Rule::new(RuleSpec {
        replacement: "$1".repeat(100_000),
        ..rule("replace a/-/a")
    })
    .unwrap();
    let mut grown = Labels::default();
    grown.set("a", "x".repeat(100_000));
    assert_eq!(apply(&[long], &mut grown), Err(SizeError));
}
