//! The report of a verification as text.

use std::fmt::Write as _;

use amp_forwarder::report::plain_line;
use amp_forwarder::verify::{Precision, RemoteVerification, VerifyReport, VerifyUnit};

use crate::format::{count, span, table, time};

/// The report for people.
pub(super) fn text(report: &VerifyReport) -> String {
    let mut text = String::new();
    let unit = match report.unit {
        VerifyUnit::Samples => "samples",
        VerifyUnit::Slots => "slots",
    };
    let _ = writeln!(
        text,
        "{} to {}, {} compared by {unit}",
        time(report.from_ms),
        time(report.to_ms),
        span(report.compared_ms),
    );
    let was_read = report.compared_ms > 0 || report.unread.is_empty();
    for remote in &report.remotes {
        text.push_str(&of_remote(remote, unit));
        // What could not be read says nothing about the samples.
        if let Some(reason) = remote.reason.as_ref().filter(|_| was_read) {
            let _ = writeln!(text, "  likely reason: {reason}");
        }
    }
    for range in &report.unread {
        let _ = writeln!(
            text,
            "UNREAD {} to {}: {}",
            time(range.from_ms),
            time(range.to_ms),
            plain_line(&range.error)
        );
    }
    let verdict = match report.completeness {
        None if was_read => "FAIL: nothing was compared".to_owned(),
        None => "FAIL: nothing was compared, because nothing could be read".to_owned(),
        Some(_) if report.ok => format!("ok: no {unit} are missing"),
        Some(_) if report.unread.is_empty() => {
            format!("FAIL: {} complete", percent(report.completeness))
        }
        Some(_) => format!(
            "FAIL: {} complete in what could be read, and some of the range could not",
            percent(report.completeness)
        ),
    };
    text.push_str(&verdict);
    text.push('\n');
    text
}

/// Rounds down: what is not complete is never shown as 100 %.
fn percent(share: Option<f64>) -> String {
    let share = share.unwrap_or_default();
    format!("{:.3} %", (share * 1000.0).floor() / 1000.0)
}

fn of_remote(remote: &RemoteVerification, unit: &str) -> String {
    let counts = &remote.counts;
    let mut text = format!("remote {}\n", plain_line(&remote.remote));
    let rows = [
        (format!("{unit} at home"), counts.home),
        ("samples at the remote".to_owned(), counts.remote),
        ("missing".to_owned(), counts.missing),
        ("different".to_owned(), counts.different),
        ("foreign".to_owned(), counts.foreign),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, number)| vec![format!("  {name}"), count(number)])
        .collect();
    text.push_str(&table(&rows));
    if remote.precision == Precision::Query {
        let _ = writeln!(
            text,
            "  read by its query API: stale markers were not compared ({} at home)",
            count(counts.uncompared_markers)
        );
    }
    if let Some((first, last)) = remote.missing_ms {
        let _ = writeln!(text, "  missing from {} to {}", time(first), time(last));
    }
    if !remote.metrics.is_empty() {
        let mut rows = vec![
            ["  METRIC", "MISSING", "DIFFERENT"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(remote.metrics.iter().map(|metric| {
            vec![
                format!("  {}", plain_line(&metric.metric)),
                count(metric.missing),
                count(metric.different),
            ]
        }));
        text.push_str(&table(&rows));
        let more = remote.deviating_metrics - remote.metrics.len() as u64;
        if more > 0 {
            let _ = writeln!(text, "  and {} more metrics", count(more));
        }
    }
    for example in &remote.examples {
        let _ = writeln!(
            text,
            "  {} at {}: {} at home, {} at the remote",
            plain_line(&example.series),
            time(example.timestamp_ms),
            example.home,
            example.remote.as_deref().unwrap_or("nothing"),
        );
    }
    text
}
