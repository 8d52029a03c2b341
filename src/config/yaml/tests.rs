use super::*;
use crate::config::source::MAX_BYTES;

fn plain(node: &Node) -> String {
    match &node.value {
        NodeValue::Scalar { text, plain: true } => text.clone(),
        NodeValue::Scalar { text, plain: false } => format!("'{text}'"),
        NodeValue::List(items) => format!(
            "[{}]",
            items.iter().map(plain).collect::<Vec<_>>().join(" ")
        ),
        NodeValue::Map(entries) => {
            format!(
                "{{{}}}",
                entries
                    .iter()
                    .map(|e| format!("{}={}", e.key, plain(&e.value)))
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        }
    }
}

fn read(text: &str) -> String {
    match parse(text) {
        Ok(document) if document.problems.is_empty() => plain(&document.root),
        Ok(document) => document
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn trees() {
    for (text, expected) in [
        ("", ""),
        ("a: 1\nb: 'x'", "{a=1 b='x'}"),
        ("a: [1, \"2\"]", "{a=[1 '2']}"),
        ("a: &x {k: 1}\nb: *x", "{a={k=1} b={k=1}}"),
        ("a: !!str 5", "{a='5'}"),
        // Merges apply where they stand; the earlier of several wins.
        (
            "x: &x {a: 1, b: 1}\ny:\n  <<: *x\n  b: 2",
            "{x={a=1 b=1} y={a=1 b=2}}",
        ),
        ("x: &x {b: 1}\ny:\n  b: 2\n  <<: *x", "{x={b=1} y={b=1}}"),
        (
            "x: &x {a: 1}\nz: &z {a: 3, c: 3}\ny:\n  <<: [*x, *z]",
            "{x={a=1} z={a=3 c=3} y={a=1 c=3}}",
        ),
        ("'<<': 1", "{<<=1}"),
        // Sections of both add up, field by field; lists and single values do not.
        (
            "x: &x {q: {a: 1, b: [1]}, n: {c: {d: 1}}}\ny:\n  <<: *x\n  q: {b: [2], e: 3}\n  n: {c: {f: 2}}",
            "{x={q={a=1 b=[1]} n={c={d=1}}} y={q={a=1 b=[2] e=3} n={c={d=1 f=2}}}}",
        ),
        (
            "x: &x {params: {a: [1]}, headers: {k: v}}\ny: {<<: *x, params: {b: [2]}, headers: {l: w}}",
            "{x={params={a=[1]} headers={k=v}} y={params={a=[1] b=[2]} headers={k=v l=w}}}",
        ),
        (
            "x: &x {q: {a: 1}}\ny:\n  q: {a: 2, b: 2}\n  <<: *x",
            "{x={q={a=1}} y={q={a=1 b=2}}}",
        ),
        // Nothing, written out, removes the section of the base.
        (
            "x: &x {q: {a: 1}}\ny: {<<: *x, q: }",
            "{x={q={a=1}} y={q=}}",
        ),
        // Their decoding starts afresh.
        (
            "x: &x {sigv4: {a: 1}, http_headers: {k: {}}}\ny: {<<: *x, sigv4: {b: 2}, http_headers: {l: {}}}",
            "{x={sigv4={a=1} http_headers={k={}}} y={sigv4={b=2} http_headers={l={}}}}",
        ),
        (
            "x: &x {k: {}}\nhttp_headers: {l: {}, <<: *x}",
            "{x={k={}} http_headers={k={}}}",
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn duplicates_are_all_reported() {
    let problems = read("a: 1\nb: {c: 1, c: 2}\na: 3\n");
    assert!(
        problems.contains(
            "line 2, b.c: found the key \"c\" again, expected it once; it is also on line 2"
        ),
        "{problems}"
    );
    assert!(
        problems.contains(
            "line 3, a: found the key \"a\" again, expected it once; it is also on line 1"
        ),
        "{problems}"
    );
}

#[test]
fn a_name_in_a_map_comes_once_merged_or_not() {
    for text in [
        "x: &x {params: {a: [1]}}\ny: {<<: *x, params: {a: [2]}}",
        "x: &x {a: 1}\nlabels: {<<: *x, a: 2}",
        "x: &x {a: 1}\nlabels: {a: 2, <<: *x}",
        "x: &x {a: 1}\nz: &z {a: 2}\nheaders: {<<: [*x, *z]}",
    ] {
        let problems = read(text);
        assert!(
            problems.contains("a: found the key \"a\" again, expected it once"),
            "{text}\n{problems}"
        );
    }
}

#[test]
fn bounds() {
    let deep = "[".repeat(70);
    assert!(
        read(&deep).contains("nested more than 64 deep"),
        "{}",
        read(&deep)
    );
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..8 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(
        read(&laughs).contains("more than 400000 values"),
        "{}",
        read(&laughs)
    );
    assert!(read(&" ".repeat(MAX_BYTES as usize + 1)).contains("expected at most"));
    assert!(read("a: 1\n\0b: 2").starts_with("line 2: found a NUL"));
    assert!(
        read("a: &x [*x]").contains("alias"),
        "{}",
        read("a: &x [*x]")
    );
}

#[test]
fn malformed_text_has_a_line() {
    assert!(
        read("a: 1\n  b: 2").starts_with("line 2: not valid YAML"),
        "{}",
        read("a: 1\n  b: 2")
    );
    assert!(
        read("a: !thing 1").contains("found the tag"),
        "{}",
        read("a: !thing 1")
    );
    assert!(
        read("{a: 1}: b").contains("as a key"),
        "{}",
        read("{a: 1}: b")
    );
}

#[test]
fn a_second_document_is_warned_of() {
    let document = parse("a: 1\n---\nb: 2\n").unwrap();
    assert_eq!(plain(&document.root), "{a=1}");
    assert_eq!(document.warnings[0].line, 2);
}
