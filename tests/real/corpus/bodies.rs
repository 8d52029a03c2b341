//! Bodies that are too long for the tables, and answers that are wrong as a whole.

use std::fmt::Write as _;

use amp_forwarder_support::home::{Page, Trouble};

use super::Case;

/// Bytes per entry that no exposition of a Prometheus needs.
const OVERLONG: usize = amp_forwarder::scrape::MAX_ENTRY + 1;

/// Bodies of many blocks.
pub(super) fn many_lines() -> Vec<Case> {
    let many: String = (0..5_000).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "foo{{a=\"{at}\",b=\"{}\"}} {at}", "x".repeat(at % 50));
        text
    });
    let with_end = |end: &str| Page::text(format!("{many}{end}"));
    let whole = || Page::text(many.clone());
    vec![
        Case::new("many lines, in many blocks", "", whole()),
        Case::new("an error behind many lines", "", with_end("broken\n")),
        Case::new(
            "a label twice behind many lines",
            "",
            with_end("foo{a=\"\",c=\"1\",c=\"2\"} 1\nbar 1\n"),
        ),
        Case::new(
            "sample_limit within many lines",
            "sample_limit: 1234",
            whole(),
        ),
        Case::new(
            "body_size_limit within many lines",
            "body_size_limit: 100KB",
            whole(),
        ),
        Case::new("a cut connection", "", whole().trouble(Trouble::Cut(1_000))),
        Case::new(
            "a cut connection, not compressed",
            "enable_compression: false",
            whole().trouble(Trouble::Cut(100_000)),
        ),
    ]
}

/// Entries that are longer than a block.
pub(super) fn long_entries() -> Vec<Case> {
    let labelled = |value: String| Page::text(format!("foo{{a=\"{value}\"}} 1\nbar 2\n"));
    let overlong = format!("foo{{a=\"{}\"}} 1\n", "y".repeat(OVERLONG));
    vec![
        Case::new(
            "a label longer than a block",
            "",
            labelled("y".repeat(200_000)),
        ),
        Case::new("a label of many lines", "", labelled("z\n".repeat(100_000))),
        Case::new(
            "a comment longer than a block",
            "",
            Page::text(format!("# {}\nbar 2\n", "y".repeat(200_000))),
        ),
        Case::new(
            "labels in the hundreds",
            "",
            Page::text(labels_in_the_hundreds()),
        ),
        Case {
            differs: Some(
                "memory is bounded: an entry has at most 1 MiB, and AMP takes labels of 2048 bytes",
            ),
            ..Case::new("an overlong entry", "", Page::text(overlong))
        },
    ]
}

/// Status codes and content encodings.
pub(super) fn answers() -> Vec<Case> {
    let encoded = |coding: &str| plain(Page::text("foo 1\n"), coding);
    vec![
        Case::new("a wrong status", "", Page::status(500, "foo 1\n")),
        Case::new("another good status", "", Page::status(204, "")),
        Case::new("not gzip", "", encoded("gzip")),
        Case::new("a coding that was not asked for", "", encoded("deflate")),
        Case::new("GZIP", "", encoded("GZIP")),
    ]
}

fn labels_in_the_hundreds() -> String {
    let labels: Vec<_> = (0..300).rev().map(|at| format!("l{at}=\"{at}\"")).collect();
    format!("foo{{{}}} 1\n", labels.join(","))
}

/// A body that is not encoded as its header says.
fn plain(mut page: Page, content_encoding: &str) -> Page {
    page.gzip = false;
    page.headers
        .insert("content-encoding".to_owned(), content_encoding.to_owned());
    page
}
