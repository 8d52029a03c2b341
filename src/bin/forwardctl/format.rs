//! Formats sizes, ages and tables for people, and shows progress on a terminal.

use std::io::IsTerminal;

use amp_forwarder::report::plain_line;
use amp_forwarder::time::{Clock, SystemClock};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// A size in bytes: `8.00 MiB`.
pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A number with separators: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A number of things: `1 object`, `2 objects`.
pub(super) fn many(number: u64, one: &str) -> String {
    format!(
        "{} {one}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// A time span in its two largest units: `3d 4h`, `2h 5m`, `3m 20s`, `45s`.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The age of a moment in milliseconds since 1970, or `-` without one.
pub(super) fn age(moment_ms: Option<i64>) -> String {
    moment_ms.map_or("-".to_owned(), |moment| {
        span(SystemClock.now_ms().saturating_sub(moment))
    })
}

/// A moment in milliseconds since 1970: `2026-11-22T17:05:56.123Z`.
pub(super) fn time(ms: i64) -> String {
    let time = DateTime::from_millis(ms);
    time.fmt(Format::DateTime)
        .unwrap_or_else(|_| format!("{ms} ms since 1970"))
}

/// A table whose columns are as wide as their widest cell, two spaces apart. The first row is the
/// heading. Each cell is one line, whatever it holds.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain_line(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A progress bar over `length` things. It is hidden with `json` and without a terminal.
pub(super) fn bar(length: u64, what: &'static str, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!(
        "{{bar:30}} {{human_pos}}/{{human_len}} {what} {{msg}} [{{elapsed}}, {{eta}} left]"
    );
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_spans_and_times_are_readable() {
        let spans = [
            (-5, "0s"),
            (59_999, "59s"),
            (200_000, "3m 20s"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ];
        assert_eq!(
            spans.map(|(ms, _)| span(ms)),
            spans.map(|(_, text)| text.to_owned())
        );
        assert_eq!(
            (
                size(8 << 20).as_str(),
                size(900).as_str(),
                count(1_234_567).as_str()
            ),
            ("8.00 MiB", "900 B", "1,234,567")
        );
        assert_eq!(
            (many(1, "object").as_str(), many(0, "object").as_str()),
            ("1 object", "0 objects")
        );
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["A", "B"]), row(["long", "x"]), row(["s", ""])]),
            "A     B\nlong  x\ns\n"
        );
        assert_eq!(
            table(&[row(["A", "B"]), row(["1\nforged", "\u{1b}[2J"])]),
            "A         B\n1\u{fffd}forged  \u{fffd}[2J\n"
        );
    }
}
