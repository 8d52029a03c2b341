//! The figures as Markdown.

use std::fmt::Write as _;

use super::compare::Measurement;
use super::programs::OURS;
use super::reads::WindowMeasurement;
use super::{Results, once};

/// One measurement as a line on standard error.
pub(super) fn line(measured: &Measurement) -> String {
    format!(
        "{:22} {:6.3} CPU s/M ({:.3} at least), peak {:>8}, {:>8} and {:6.1} requests a scrape, \
         {:.3} s to the last answer",
        measured.program,
        measured.cpu_per_million,
        measured.least_cpu_per_million,
        bytes(measured.peak_memory),
        bytes(measured.sent_bytes),
        measured.requests,
        measured.latency
    )
}

pub(crate) fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        large if large >= 1e9 => format!("{:.2} GB", large / 1e9),
        medium if medium >= 1e8 => format!("{:.0} MB", medium / 1e6),
        small => format!("{:.1} MB", small / 1e6),
    }
}

pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One measurement of windows as a line on standard error.
pub(super) fn window_line(measured: &WindowMeasurement) -> String {
    format!(
        "{:.3} CPU s/M ({:.3} at least, {:.3} in a first window), peak {}, {:.1} bytes a sample \
         ({:.1} from the home), {:.0} requests and {:.2} s a window",
        measured.cpu_per_million,
        measured.least_cpu_per_million,
        measured.cold_cpu_per_million,
        bytes(measured.peak_memory),
        measured.bytes_per_sample,
        measured.home_bytes_per_sample,
        measured.requests,
        measured.invocation
    )
}

/// The table of `mode: always`.
fn windows(results: &Results) -> String {
    if results.windows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "Remote read, `mode: always`: each window has four samples of a series and re-reads two. \
         Figures are for a million samples that are sent, and each is sent once.\n\n\
         | series | windows | CPU s / M samples | least | first window of a process | peak memory \
         | sent a sample | read a sample | requests a window | invocation |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for measured in &results.windows {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {} | {:.1} B | {:.1} B | {:.0} | {:.2} s |",
            grouped(measured.series as u64),
            measured.windows,
            measured.cpu_per_million,
            measured.least_cpu_per_million,
            measured.cold_cpu_per_million,
            bytes(measured.peak_memory),
            measured.bytes_per_sample,
            measured.home_bytes_per_sample,
            measured.requests,
            measured.invocation
        );
    }
    if let Some(cost) = &results.home_cost {
        let _ = writeln!(
            text,
            "\nA Prometheus 3.5 with {} series spends {:.2} CPU s on a million samples that it \
             shows as federations, and {:.2} CPU s on a million that are read from it.",
            grouped(cost.series as u64),
            cost.federation,
            cost.read
        );
    }
    text.push('\n');
    text
}

/// Writes the text and the tables of `results.md`.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = format!(
        "# Results of `make bench`\n\n\
         Measured on {}. Requests have {} samples, and no signature unless a row \
         says so; the receiver runs on the same \
         machine and answers at once. CPU time is user and kernel time after a warm-up, for a \
         million samples scraped. The column \"least\" has the cheapest of the measured scrapes: \
         other tenants of the machine's processor disturb it least. \
         \"ratio\" is CPU time beside that of the function without signatures.\n\n\
         | series | body | scrapes | forwarder | CPU s / M samples | ratio | least | peak memory \
         | sent a sample | requests a scrape | scrape to last answer |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        results.machine,
        super::programs::BATCH
    );
    for measured in &results.compared {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {}, every {} s | {} | {:.2} | {} | {:.2} | {} | {:.1} B | {:.0} | {:.2} s |",
            grouped(measured.series as u64),
            measured.body,
            measured.scrapes,
            measured.interval_seconds,
            measured.program,
            measured.cpu_per_million,
            ratio(measured, &results.compared),
            measured.least_cpu_per_million,
            bytes(measured.peak_memory),
            measured.sent_bytes as f64 / measured.samples,
            measured.requests,
            measured.latency
        );
    }
    text.push_str("\n![CPU time and memory by program](results.svg)\n\n");
    text.push_str(&windows(results));
    text.push_str("| single events | |\n| --- | --- |\n");
    if let Some(tick) = &results.cold_tick {
        let series = grouped(tick.series as u64);
        let _ = writeln!(
            text,
            "| first scrape of a fresh process, {series} series: request to last answer \
             | {:.2} s |",
            tick.latency
        );
        let _ = writeln!(
            text,
            "| from the start of that process to its answer | {:.2} s |",
            tick.whole
        );
    }
    if let Some(drain) = &results.drain {
        let _ = writeln!(
            text,
            "| drain of {} samples ({}) from a directory spool \
             | {:.1} M samples/s, {:.3} CPU s / M, peak {} |",
            grouped(drain.samples),
            bytes(drain.bytes),
            drain.samples_per_second / 1e6,
            drain.cpu_per_million,
            bytes(drain.peak_memory)
        );
    }
    if let Some(start) = &results.start {
        text.push_str(&function(start));
    }
    text
}

/// The CPU time of a row beside that of the function in the same case.
fn ratio(row: &Measurement, rows: &[Measurement]) -> String {
    let is_ours = |other: &&Measurement| {
        other.program == OURS && other.series == row.series && other.body == row.body
    };
    rows.iter().find(is_ours).map_or_else(String::new, |ours| {
        format!("{:.2}", row.cpu_per_million / ours.cpu_per_million)
    })
}

fn function(start: &once::StartUp) -> String {
    let mut text = format!(
        "| function: start to first runtime request | {:.1} ms, {} |\n",
        start.first_request * 1e3,
        bytes(start.memory)
    );
    let _ = writeln!(
        text,
        "| size of the program | {} |",
        bytes(start.program_bytes)
    );
    if start.zip_bytes > 0 {
        let _ = writeln!(text, "| size of the zip | {} |", bytes(start.zip_bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [grouped(0), grouped(100), grouped(1000), grouped(10_000_000)],
            ["0", "100", "1,000", "10,000,000"]
        );
        assert_eq!(
            [bytes(39_940_000), bytes(167_000_000), bytes(3_660_000_000)],
            ["39.9 MB", "167 MB", "3.66 GB"]
        );
    }
}
