//! Links.

use std::path::{Component, Path, PathBuf};

use super::markdown::{Page, root};

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// What is wrong with a link of a page, if anything.
fn problem(page: &Page, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let place = if path.is_empty() {
        page.path.clone()
    } else {
        normal(&page.path.parent().unwrap().join(path))
    };
    if !root().join(&place).exists() {
        return Some(format!("there is no {}", place.display()));
    }
    let anchor = anchor?;
    let there = Page::read(&place.display().to_string());
    let anchors = there.anchors();
    (!anchors.contains(anchor)).then(|| format!("{} has no #{anchor}", place.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut problems = Vec::new();
    let mut count = 0;
    for page in Page::all() {
        for link in page.links() {
            count += 1;
            if let Some(problem) = problem(&page, link.text) {
                problems.push(format!("{}:{}: {problem}", page.name(), link.line));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 150, "{count}");
}

#[test]
fn a_wrong_link_is_found() {
    let page = Page {
        path: "docs/a.md".into(),
        text: "# A (b)\n\n[x](#a-b)".to_owned(),
    };
    assert_eq!(page.links()[0].text, "#a-b");
    assert!(page.anchors().contains("a-b"));
    for wrong in [
        "b.md",
        "../README.md#step-1",
        "spool.md#nowhere",
        "http://x",
    ] {
        assert!(problem(&page, wrong).is_some(), "{wrong}");
    }
    for right in ["../README.md", "spool.md#the-lease", "../src", "https://x"] {
        assert_eq!(problem(&page, right), None, "{right}");
    }
}

/// A page that no other one names would not be found.
#[test]
fn every_page_is_linked_from_the_front_page() {
    let front = Page::read("README.md");
    let linked: Vec<_> = front.links().iter().map(|link| link.text).collect();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("docs/{name}");
        assert!(linked.contains(&path.as_str()), "{path}");
    }
}
