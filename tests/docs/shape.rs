//! The shape of the pages.

use super::markdown::{Page, root};

/// Most lines of the front page.
const FRONT_LINES: usize = 150;

/// Most columns of a line.
const COLUMNS: usize = 100;

fn columns(line: &str) -> usize {
    line.chars().count()
}

#[test]
fn the_front_page_is_read_at_one_look() {
    let front = Page::read("README.md");
    let lines: Vec<_> = front.text.lines().collect();
    assert!(lines.len() <= FRONT_LINES, "{} lines", lines.len());
    for (index, line) in lines.iter().enumerate() {
        let columns = columns(line);
        assert!(columns <= COLUMNS, "line {}: {columns}: {line}", index + 1);
    }
}

/// A table or a transcript may be wider: a row cannot be broken.
#[test]
fn prose_has_a_hundred_columns() {
    let mut wide = Vec::new();
    for page in Page::all() {
        // A line break within a sentence of Japanese would be shown as a space. The other two are
        // written by programs.
        let is_exempt = ["README.ja.md", "infra/cdk/API.md", "benches"];
        if is_exempt.iter().any(|path| page.path.starts_with(path)) {
            continue;
        }
        for line in page.prose() {
            // An address has no place to break.
            let is_one_word = !line.text.trim().contains(' ');
            if columns(line.text) > COLUMNS && !is_one_word {
                wide.push(format!("{}:{}", page.name(), line.line));
            }
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

/// A promise names its test, and the test is there.
#[test]
fn each_promise_has_its_test() {
    let front = Page::read("README.md");
    let (_, promises) = front.text.split_once("\n## What it promises\n").unwrap();
    let (promises, _) = promises.split_once("\n## ").unwrap();
    let mut count = 0;
    for promise in promises.split("\n- **").skip(1) {
        let targets: Vec<_> = promise
            .split("[test](")
            .skip(1)
            .map(|rest| rest.split_once(')').unwrap().0)
            .collect();
        assert!(!targets.is_empty(), "{promise}");
        for target in targets {
            let test = std::fs::read_to_string(root().join(target)).unwrap();
            let has_test = test.contains("#[test]") || test.contains("#[tokio::test");
            assert!(has_test || target.contains("/sim/"), "{target}");
        }
        count += 1;
    }
    assert_eq!(count, 6);
}
