//! docs/configuration.md beside the program: its keys, its defaults and its examples.

use std::collections::{BTreeMap, BTreeSet};

use super::super::keys::{ALL, Table};
use super::{config, load};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The heading of the keys that jobs and remotes share.
const HTTP_CLIENT: &str = "HTTP client";

/// A row of a table of keys.
struct DocumentedKey {
    key: &'static str,
    /// The default, where the table has one.
    default: Option<&'static str>,
    /// The default where a remote signs, if that is another one.
    signed: Option<&'static str>,
}

/// What stands between the backticks with which a text starts.
fn quoted(text: &'static str) -> Option<&'static str> {
    let (inner, _) = text.trim().strip_prefix('`')?.split_once('`')?;
    Some(inner)
}

/// The rows of the page by the heading above them.
fn documented() -> BTreeMap<&'static str, Vec<DocumentedKey>> {
    let mut sections: BTreeMap<_, Vec<DocumentedKey>> = BTreeMap::new();
    let mut heading = "";
    for line in PAGE.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().trim_matches('`');
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", key, default, remark, ""] = cells[..] else {
            continue;
        };
        let rows = sections.entry(heading).or_default();
        let signed = remark.contains("with `sigv4`") || remark.contains("signs with `sigv4`");
        if let Some(key) = quoted(key) {
            rows.push(DocumentedKey {
                key,
                default: quoted(default),
                signed: quoted(remark).filter(|_| signed),
            });
        } else if key.contains("[HTTP client]") {
            rows.push(DocumentedKey {
                key: HTTP_CLIENT,
                default: None,
                signed: None,
            });
        }
    }
    sections
}

/// The heading of a table of the program, where it is another one than the table's name.
fn heading_of(table: &Table) -> Option<&'static str> {
    Some(match table.name {
        // Their keys stand in the text.
        "the top level" | "a static_configs entry" | "rejected or expired of forwarder.spool" => {
            return None;
        }
        "a scrape_configs entry" => "scrape_configs",
        "a relabel rule" => "relabel_configs",
        "a remote_write entry" => "remote_write",
        "a header of http_headers" => "http_headers",
        name => name,
    })
}

#[test]
fn the_page_has_exactly_the_keys_of_the_program() {
    let sections = documented();
    let keys = |heading: &str| -> BTreeSet<&str> {
        let rows = sections
            .get(heading)
            .unwrap_or_else(|| panic!("no keys below {heading}"));
        rows.iter().map(|row| row.key).collect()
    };
    for table in ALL {
        let taken: BTreeSet<_> = table.keys().collect();
        let Some(heading) = heading_of(table) else {
            for key in taken {
                assert!(PAGE.contains(&format!("`{key}`")), "{}: {key}", table.name);
            }
            continue;
        };
        let mut found = keys(heading);
        if found.remove(HTTP_CLIENT) {
            found.extend(keys(HTTP_CLIENT));
        }
        assert_eq!(found, taken, "{heading}");
    }
}

/// A configuration with a job, a remote and a key of a section.
fn with_key(heading: &str, key: &str, value: &str, is_signed: bool) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let value = if value.chars().all(is_word) {
        value.to_owned()
    } else {
        format!("'{value}'")
    };
    let entry = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: {value}")
    };
    let at = |wanted: &str| {
        if wanted == heading {
            entry.clone()
        } else {
            String::new()
        }
    };
    let section = |name: &str| format!("{}: {{{}}}", name.rsplit('.').next().unwrap(), at(name));
    let signature = if is_signed {
        format!("{{region: r, {}}}", at("sigv4"))
    } else {
        "~".to_owned()
    };
    format!(
        "global: {{{}}}\n\
         scrape_configs:\n\
         - job_name: j\n  static_configs: [{{targets: ['h:1']}}]\n  {}\n  {}\n  \
         metric_relabel_configs: [{{source_labels: [a], target_label: b, {}}}]\n\
         remote_write:\n\
         - url: https://receiver/api/v1/write\n  {}\n  {}\n  {}\n  sigv4: {signature}\n\
         forwarder: {{{}}}\n",
        at("global"),
        section("tls_config"),
        at("scrape_configs"),
        at("relabel_configs"),
        at("remote_write"),
        section("queue_config"),
        section("metadata_config"),
        [
            at("forwarder"),
            section("forwarder.spool"),
            section("forwarder.metadata"),
            section("forwarder.remote_read"),
            section("forwarder.metrics"),
            section("forwarder.own_series"),
        ]
        .iter()
        .filter(|entry| !entry.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(", "),
    )
}

#[test]
fn a_default_of_the_page_changes_nothing() {
    let mut compared = 0;
    for (heading, rows) in documented() {
        for row in rows {
            for (is_signed, default) in [(false, row.default), (true, row.signed.or(row.default))] {
                let Some(default) = default else { continue };
                // Both stand in a job as well as in a remote.
                let section = if heading == HTTP_CLIENT {
                    "remote_write"
                } else {
                    heading
                };
                let written = config(&with_key(section, row.key, default, is_signed));
                let left_out = config(&with_key(section, "", "", is_signed));
                assert_eq!(written, left_out, "{heading}, {}: {default}", row.key);
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared}");
}

/// The blocks of a page that are written in a language.
fn blocks(page: &'static str, language: &str) -> Vec<String> {
    page.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language))
        .map(|block| block.replace("ws-…", "ws-0a1b"))
        .collect()
}

#[test]
fn the_examples_load_without_a_warning() {
    let front = include_str!("../../../README.md");
    for page in [front, PAGE] {
        let examples = blocks(page, "yaml\n");
        assert_eq!(examples.len(), 1);
        let loaded = load(&examples[0]).unwrap();
        assert_eq!(loaded.warnings, []);
    }
    assert_eq!(blocks(front, "yaml\n"), blocks(PAGE, "yaml\n"));
}
