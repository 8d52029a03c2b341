//! README.ja.md says what the English pages say: the same commands, keys, figures and links.

use std::collections::BTreeSet;

use super::commands::shown;
use super::markdown::{Page, read, root};

const JAPANESE: &str = "README.ja.md";

fn commands(page: &Page) -> Vec<Vec<String>> {
    let blocks = page.blocks("console");
    blocks.iter().map(|block| shown(block)).collect()
}

/// The numbers of a text, such as `25`, `19.94`, `5,000` and `2026-11-22`.
fn numbers(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_digit() && !",.-".contains(c))
        .map(|number| number.trim_matches([',', '.', '-']))
        .filter(|number| !number.is_empty())
        .collect()
}

/// All texts that the Japanese page may quote.
fn english() -> String {
    let mut texts: Vec<_> = Page::all()
        .into_iter()
        .filter(|page| page.path.as_os_str() != JAPANESE)
        .map(|page| page.text)
        .collect();
    // Keys that are refused stand nowhere else.
    for entry in std::fs::read_dir(root().join("src/config/keys")).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    texts.concat()
}

#[test]
fn the_japanese_page_has_the_same_commands_and_the_same_configuration() {
    let (english, japanese) = (Page::read("README.md"), Page::read(JAPANESE));
    assert_eq!(commands(&japanese), commands(&english));
    let blocks = japanese.blocks("yaml");
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[..1], english.blocks("yaml"));
    // The rule that keeps the former sender's own series back, as the guide has it.
    let bare = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(bare(&read("infra/README.md")).contains(&bare(&blocks[1])));
}

#[test]
fn the_japanese_page_has_the_same_figures() {
    let (english, japanese) = (read("README.md"), read(JAPANESE));
    let (en, ja) = (numbers(&english), numbers(&japanese));
    // A single digit may be a word in English.
    let missing: Vec<_> = en
        .iter()
        .filter(|number| number.len() > 1 && !ja.contains(**number))
        .collect();
    assert!(missing.is_empty(), "not in {JAPANESE}: {missing:?}");
    let all = self::english();
    let known = numbers(&all);
    let made_up: Vec<_> = ja
        .iter()
        .filter(|number| !known.contains(**number))
        .collect();
    assert!(made_up.is_empty(), "only in {JAPANESE}: {made_up:?}");
    let prices = |text: &str| -> BTreeSet<String> {
        text.split('$')
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next())
            .map(|price| price.unwrap_or_default().trim_end_matches('.').to_owned())
            .filter(|price| !price.is_empty())
            .collect()
    };
    assert_eq!(prices(&japanese), prices(&english));
}

#[test]
fn the_japanese_page_names_keys_and_commands_that_exist() {
    let english = english();
    let unknown: Vec<_> = Page::read(JAPANESE)
        .inline_code()
        .into_iter()
        .filter(|code| !english.contains(code.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_japanese_page_leads_to_the_same_pages() {
    let (english, japanese) = (Page::read("README.md"), Page::read(JAPANESE));
    let targets = |page: &Page| -> BTreeSet<String> {
        page.links()
            .iter()
            .map(|link| link.text.to_owned())
            .filter(|target| !target.starts_with("README"))
            .collect()
    };
    assert_eq!(targets(&japanese), targets(&english));
}
