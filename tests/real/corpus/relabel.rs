//! Relabelling: rules, patterns, templates and the mapping of case, over expositions that make
//! their meanings visible.

use std::fmt::Write as _;

/// One exposition under the rules of one job.
pub(super) struct RelabelCase {
    pub(super) name: String,
    /// Keys of the job, in YAML.
    pub(super) job: String,
    pub(super) exposition: String,
}

/// Values that patterns and templates are tried on.
const VALUES: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "ba",
    "aa",
    "aaa",
    "aB",
    "Ab",
    "AB",
    "c",
    "C",
    "abc",
    "ax",
    "xb",
    "xa",
    "bx",
    "x",
    "xy",
    "xyz",
    "z",
    "k",
    "K",
    "\u{212a}",
    "s",
    "ſ",
    "é",
    "É",
    "éé",
    "ß",
    "ẞ",
    "0",
    "5",
    "09",
    "٣",
    "½",
    "_",
    "-",
    "--",
    "+",
    ",",
    ".",
    "a.b",
    "axb",
    "a.bx",
    "[",
    "]",
    "a]",
    ".]",
    "&",
    "~",
    "^",
    "{",
    "a{",
    "a{2}",
    "a{,5}",
    "a{01}",
    "x{abc}",
    "aa{",
    "<",
    ">",
    "<>-_",
    "(",
    ")",
    "|",
    "*",
    "\\",
    "/",
    "#a b",
    " ",
    "\t",
    "\r",
    "\u{b}",
    "\u{c}",
    "\u{a0}",
    "\n",
    "a\n",
    "a\nb",
    "a\n\nb",
    "\u{1}S\u{0}",
    "\u{7}",
    "\u{fffd}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{10ffff}",
    "α",
    "Α",
    "aα",
    "σ",
    "ς",
    "Σ",
    "日",
    "éé日",
    "𐌀",
    "a-b",
    "foo.example.com:9090",
    "0123456789",
    "aaaaaaaaaa",
];

const PATTERNS: &[&str] = &[
    "",
    ".",
    ".*",
    "(.*)",
    "a|b",
    "(?-s:.*)",
    "(?-s).",
    "(?s-s:.)",
    "a)|(b",
    r"a)|\B|(b",
    r"\d+",
    r"\D+",
    r"\w+",
    r"\W",
    r"\s",
    r"\S+",
    r"[\s]",
    r"[^\S]",
    r"[^\d]",
    r"[\D]",
    r"[^\W]",
    r"é\b",
    r"é\B",
    r"\b\w\b",
    r"\B.\B",
    r"a\b-\bb",
    "[[a]",
    "[a&&b]",
    "[a~~b]",
    "[+--]",
    r"[\d-z]",
    r"[\w-]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[a-b-c]",
    "[[:alpha:]-]",
    "[[:^alpha:]]",
    "[[:space:]]",
    "[[:punct:]]",
    "[[:word:]]+",
    "[[:cntrl:]]",
    "[[:print:]]",
    "[[:graph:]]",
    "[^[:ascii:]]",
    "[[.a.]]",
    "[[=a=]]",
    r"[\]\[]",
    r"[\^]",
    r"[\n\t]",
    r"[\x{41}-\x{5a}]",
    r"[\101-\132]",
    "a{",
    "a{2",
    "x{abc}",
    "a{,5}",
    "a{01}",
    "a{2}",
    "a{2,}?",
    "a{1,2}",
    "a{0}",
    "a{0,0}b",
    "(a){0}(b)",
    "(a|b){2}",
    "a*(?i)*",
    "a*?",
    "(?U)a+",
    "(?U)(a+?)(.*)",
    r"\Qa.b\E.",
    r"\Qa\E*",
    r"\Q\E",
    r"\Q[\E",
    r"\01\123\0",
    r"\x41\x{42}?",
    r"\a|\f|\v",
    r"\n|\t|\r",
    r"\<\>\-\_",
    r"\.|\/|\\",
    r"[\x{D7FF}-\x{E000}]",
    r"[^\x{D800}]",
    r"[^\x00-\x{10FFFF}]",
    r"\pN",
    r"\PN",
    r"\pL+",
    r"\p{Lu}",
    r"\p{lu}",
    r"\P{Lu}",
    r"\p{^Greek}",
    r"\P{^Greek}",
    r"\p{Greek}+",
    r"\p{greek}",
    r"[\p{Lu}\pN]",
    r"[^\pL]",
    r"\p{Cs}",
    r"\P{Cs}",
    r"\p{Any}",
    r"\p{ASCII}",
    r"\p{old italic}",
    r"\p{Han}",
    r"\p{Zs}",
    r"\pC",
    r"\p{Nd}",
    "(?i)k",
    "(?i)K",
    "(?i)[s]",
    "(?i)[^s]",
    "(?i)ß",
    "(?i)σ",
    r"(?i)\w",
    r"(?i)\W",
    r"(?i)[[:upper:]]",
    r"(?i)\p{Lu}",
    r"(?i)\P{Lu}",
    r"(?i)[^\pL]",
    "(?i:a)b",
    "a(?i)b|c",
    "((?i)a)b",
    "(?i)(?-i)a",
    "(?m:^a$)",
    "(?m)a$\n^b",
    "(?m)^a$\n*^b$",
    "(?m:^)*a",
    "a$",
    "^a",
    r"(?:\A)*a\z*",
    "^*$*",
    "()|(?:)*",
    "(|a)*",
    "(|a)+",
    "(a|)*",
    "(?P<1a>x)(?P<b>y)",
    "(?<b>x)(y)?",
    "é+日?",
    "(a*)*",
    "(a*)+",
    "(?:a?)*?b",
    ".{2}",
    ".{1,3}?",
    "(a+)(a+)",
    "(a+?)(a*)",
    "(?:(a)|b)*",
    "a||b",
    "|a",
    "#a b",
    "a{1000}",
    "(.+):([0-9]+)",
];

const TEMPLATES: &[&str] = &[
    "$1",
    "${1}",
    "$0",
    "$1y",
    "${1}y",
    "$1-$2",
    "$2$1",
    "$$1",
    "$$",
    "$$$1",
    "$",
    "a$",
    "$-",
    "${",
    "${1",
    "${}",
    "${ 1}",
    "${foo bar}",
    "$ 1",
    "$01",
    "${01}",
    "$3",
    "$12",
    "$999999999",
    "$9999999999",
    "$n",
    "${n}",
    "${n}x",
    "$nx",
    "$n-",
    "$nope.",
    "$é.",
    "${é}.",
    "$1é",
    "$1€",
    "$Ⅷ",
    "$٣.",
    "$_",
    "$1$n$1",
    "plain",
    "",
];

const TARGETS: &[&str] = &[
    "out", "$1", "${1}_t", "$1$2", "a b", "é", "$", "${1", "$n", "$nope", "__tmp", "__name__", "x",
];

/// Rules, and lines that they are tried on.
const RULES: &[(&str, &str)] = &[
    ("{target_label: new, replacement: v}", "m 1\n"),
    ("{target_label: x, replacement: ''}", "m{x=\"1\"} 1\n"),
    ("{target_label: x, replacement: }", "m{x=\"1\"} 1\n"),
    (
        "{source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"2\"} 1\nm{y=\"2\"} 1\nm{x=\"1\"} 3\n",
    ),
    (
        "{source_labels: [x, y], target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\nm{y=\"2\"} 1\nm 1\n",
    ),
    (
        "{source_labels: [x, y], separator: '', target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x, y], separator: , target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x, y], separator: ' - ', regex: '(.*) - (.*)', target_label: z, \
         replacement: '$2 $1'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: , target_label: y, replacement: was-empty}",
        "m{x=\"1\"} 1\nm{y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: '', target_label: y, replacement: was-empty}",
        "m{x=\"1\"} 1\nm{y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: 5, target_label: 1, replacement: 6}",
        "m{x=\"5\"} 1\n",
    ),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"a b\"} 1\n",
    ),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"n\"} 1\nn{x=\"n\"} 2\nm{x=\"o\"} 3\n",
    ),
    (
        "{target_label: __name__, replacement: same}",
        "m 1\nn 2\no 1\n",
    ),
    ("{target_label: __name__, replacement: ''}", "m 1\n"),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"n\"} 1\nm 2\n",
    ),
    (
        "{action: Keep, source_labels: [__name__], regex: m.*}",
        "m 1\nm2 1\nn 1\n",
    ),
    (
        "{action: KEEP, source_labels: [x], regex: '1|2'}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"12\"} 1\nm 1\n",
    ),
    ("{action: keep}", "m 1\n"),
    ("{action: keep, regex: x}", "m 1\n"),
    ("{action: keep, source_labels: [nope], regex: ''}", "m 1\n"),
    (
        "{action: drop, source_labels: [__name__], regex: m.*}",
        "m 1\nm 2\nm2 1\nn 1\n",
    ),
    (
        "{action: drop, source_labels: [x, y], regex: '1;2'}",
        "m{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\n",
    ),
    ("{action: drop}", "m 1\nn 1\n"),
    ("{action: drop, regex: x}", "m 1\n"),
    (
        "{action: keepequal, source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"1\"} 1\nm{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\nn 1\n",
    ),
    (
        "{action: dropequal, source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"1\"} 1\nm{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\nn 1\n",
    ),
    (
        "{action: keepequal, source_labels: [x, y], target_label: z}",
        "m{x=\"1\",y=\"1\",z=\"1;1\"} 1\nm{x=\"1\",y=\"1\"} 1\n",
    ),
    (
        "{action: keepequal, target_label: x}",
        "m{x=\"1\"} 1\nm 2\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 8, target_label: h}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"é\"} 1\nm 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x, __name__], modulus: 18446744073709551615, \
         target_label: h}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 0x10, target_label: 'a b', regex: \
         nope, separator: x}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 2, target_label: __tmp}, {action: \
         keep, source_labels: [__tmp], regex: 1}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: my_(.*)}",
        "m{my_x=\"1\",my_y=\"2\",y=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: '(x|y)', replacement: 'out_$1'}",
        "m{x=\"1\",y=\"2\",z=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x|y|z', replacement: one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\nm{y=\"4\"} 2\n",
    ),
    (
        "{target_label: x, replacement: last}, {action: labelmap, regex: 'x|y|z', replacement: \
         one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\n",
    ),
    (
        "{target_label: w, replacement: last}, {action: labelmap, regex: 'w|x|y|z', \
         replacement: one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\n",
    ),
    (
        "{target_label: x, replacement: a}, {target_label: x, replacement: ''}, {target_label: \
         x, replacement: b}, {action: labelmap, regex: 'x|y', replacement: one}",
        "m{y=\"2\",x=\"1\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x', replacement: __name__}",
        "m{x=\"n\"} 1\n",
    ),
    (
        "{action: labelmap, regex: '(x)|y', replacement: '$1'}",
        "m{y=\"2\"} 1\nm{x=\"1\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x)|(y', replacement: '<$1>'}",
        "m{xx=\"2\",yy=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x)|(|y', replacement: '-'}",
        "m{axb=\"2\"} 1\n",
    ),
    (
        "{action: labelmap, regex: x, replacement: 'a b'}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: labeldrop, regex: x.*}",
        "m{x=\"1\",xy=\"2\",y=\"3\"} 1\n",
    ),
    (
        "{action: labeldrop, regex: x}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 2\nm 3\nm{x=\"4\"} 3\n",
    ),
    ("{action: labeldrop, regex: __name__}", "m 1\n"),
    ("{action: labeldrop, regex: 'job|instance'}", "m 1\n"),
    (
        "{action: labelkeep, regex: '__name__|corpus_case|x'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{action: labelkeep, regex: 'corpus_case|x'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{action: labelkeep, regex: nope}",
        "m{x=\"1\",y=\"2\"} 1\nn 2\n",
    ),
    (
        "{action: lowercase, source_labels: [x], target_label: x}",
        "m{x=\"FooÉ\"} 1\nm 2\n",
    ),
    (
        "{action: uppercase, source_labels: [x, y], target_label: z, regex: nope}",
        "m{x=\"fooé\",y=\"b\"} 1\nm{z=\"gone?\"} 2\n",
    ),
    (
        "{action: lowercase, source_labels: [nope], target_label: x}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{source_labels: [exported_job, job], target_label: j}",
        "m{job=\"own\"} 1\nm 2\n",
    ),
    (
        "{source_labels: [x], target_label: instance}, {action: labeldrop, regex: job}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: drop, source_labels: [__name__], regex: up}",
        "up 1\nm 1\n",
    ),
    (
        "{source_labels: [x], regex: (.*), target_label: y, replacement: $1$1}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: drop, source_labels: [x], regex: 1}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{action: labeldrop, regex: x}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{target_label: x, replacement: 3}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{source_labels: [x], target_label: y}",
        "m{x=\"\",y=\"1\"} 1\n",
    ),
    (
        "{source_labels: [a], target_label: b}, {source_labels: [b], target_label: c}, \
         {action: labeldrop, regex: 'a|b'}",
        "m{a=\"1\"} 1\nm{b=\"1\"} 2\n",
    ),
    (
        "{action: drop, source_labels: [x], regex: drop}, {source_labels: [x], target_label: y}",
        "m{x=\"drop\"} 1\nm{x=\"stay\"} 2\n",
    ),
];

/// Other keys of a job, rules for its series, and an exposition: how keys and rules act together.
const WITH_KEYS: &[(&str, &str, &str)] = &[
    (
        "sample_limit: 2",
        "{action: drop, source_labels: [__name__], regex: n}",
        "n 1\nm 1\nn{a=\"1\"} 1\nm2 1\n",
    ),
    (
        "sample_limit: 2",
        "{action: drop, source_labels: [__name__], regex: n}",
        "n 1\nm 1\nm2 1\nm3 1\nn 1\n",
    ),
    (
        "honor_labels: true",
        "{source_labels: [job], target_label: j}",
        "m{job=\"own\"} 1\nm 2\nm{job=\"\"} 3\n",
    ),
    (
        "label_limit: 4",
        "{action: labeldrop, regex: x.*}",
        "m{x1=\"1\",x2=\"2\",x3=\"3\"} 1\n",
    ),
    (
        "label_limit: 4",
        "{target_label: new, replacement: v}",
        "m 1\n",
    ),
    (
        "label_value_length_limit: 30",
        "{source_labels: [x], target_label: y, replacement: '$1$1'}",
        "m{x=\"0123456789012345678\"} 1\n",
    ),
];

/// Rules for the target.
const OF_TARGETS: &[&str] = &[
    "{target_label: __metrics_path__, replacement: /other}",
    "{source_labels: [__metrics_path__], target_label: path}",
    "{source_labels: [__scheme__, __scrape_interval__, __scrape_timeout__], target_label: all}",
    "{source_labels: [__address__], regex: '.*:(.*)', target_label: __address__, replacement: \
     'localhost:$1'}",
    "{target_label: instance, replacement: me}",
    "{target_label: job, replacement: other}",
    "{target_label: job, replacement: ''}",
    "{source_labels: [job], target_label: __tmp_x}, {source_labels: [__tmp_x], target_label: x}",
    "{target_label: __param_a, replacement: b}",
    "{source_labels: [__param_x, __param_z], target_label: p}",
    "{target_label: __param_x, replacement: c}",
    "{target_label: __param_x, replacement: ''}",
    "{action: labelmap, regex: '__meta_(.*)'}",
    "{action: labelmap, regex: '__(.*)__'}, {action: labeldrop, regex: address}",
    "{action: labeldrop, regex: '__meta_.*|own'}",
    "{action: keep, source_labels: [own], regex: '1'}",
    "{action: lowercase, source_labels: [own2], target_label: own2}",
    "{target_label: __scrape_timeout__, replacement: 3s}",
    "{action: hashmod, source_labels: [own], modulus: 7, target_label: shard}",
    "{target_label: __new, replacement: v}, {target_label: _new, replacement: v}",
];

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A series for each value, as label `x`.
fn tried<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    values.into_iter().fold(String::new(), |mut text, value| {
        let escaped = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = writeln!(text, "m{{x=\"{escaped}\",i=\"{}\"}} 1", text.len());
        text
    })
}

fn metric(rules: &str) -> String {
    format!("metric_relabel_configs: [{rules}]")
}

/// All cases.
pub(super) fn cases() -> Vec<RelabelCase> {
    let mut cases = Vec::new();
    let values = tried(VALUES.iter().copied());
    for pattern in PATTERNS {
        let rule = format!(
            "{{source_labels: [x], regex: {}, target_label: out, \
             replacement: '[$0][$1][$2][$b][$1a]'}}",
            quoted(pattern)
        );
        cases.push(RelabelCase {
            name: format!("pattern {pattern}"),
            job: metric(&rule),
            exposition: values.clone(),
        });
    }
    for template in TEMPLATES {
        let rule = format!(
            "{{source_labels: [x], regex: '(?P<n>.)(.*)', target_label: out, replacement: {}}}",
            quoted(template)
        );
        cases.push(RelabelCase {
            name: format!("template {template}"),
            job: metric(&rule),
            exposition: tried(VALUES.iter().copied().take(20)),
        });
    }
    for target in TARGETS {
        let rule = format!(
            "{{source_labels: [x], regex: '(?P<n>.)(.*)', target_label: {}, replacement: hit}}",
            quoted(target)
        );
        cases.push(RelabelCase {
            name: format!("target label {target}"),
            job: metric(&rule),
            exposition: tried(["a", "ab", "é", "9", ""]),
        });
    }
    let all: Vec<char> = ('\u{20}'..='\u{1e9ff}')
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect();
    let all: Vec<String> = all
        .chunks(200)
        .map(|chunk| chunk.iter().collect())
        .collect();
    for action in ["lowercase", "uppercase"] {
        let rule = format!("{{action: {action}, source_labels: [x], target_label: out}}");
        cases.push(RelabelCase {
            name: format!("{action} of every character"),
            job: metric(&rule),
            exposition: tried(all.iter().map(String::as_str)),
        });
    }
    cases.extend(tabled());
    cases
}

/// The cases of the tables of rules.
fn tabled() -> Vec<RelabelCase> {
    let mut cases = Vec::new();
    cases.extend(RULES.iter().map(|(rules, body)| RelabelCase {
        name: format!("rules {rules}"),
        job: metric(rules),
        exposition: (*body).to_owned(),
    }));
    let with_keys = WITH_KEYS.iter();
    cases.extend(with_keys.map(|(keys, rules, body)| RelabelCase {
        name: format!("{keys}, rules {rules}"),
        job: format!("{keys}\n  {}", metric(rules)),
        exposition: (*body).to_owned(),
    }));
    for rules in OF_TARGETS {
        let job = format!("params: {{x: [a, b], y: [c]}}\n  relabel_configs: [{rules}]");
        cases.push(RelabelCase {
            name: format!("target rules {rules}"),
            job,
            exposition: "m 1\nm{x=\"1\",own=\"2\"} 2\n".to_owned(),
        });
    }
    cases
}

/// Labels of the targets.
pub(super) const LABELS: &str = "own: '1', own2: ABC, __meta_a: m, __other: o";
