//! A series at both ends as a picture, with and without remote read.

use std::fmt::Write as _;

use super::table::Evidence;
use super::troubles::Troubles;
use crate::Labels;
use crate::query::Samples;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 20.0;
const PANEL: f64 = 120.0;
const TOP: f64 = 60.0;
/// The series that is drawn: it changes with each scrape, and its target stays.
const SERIES: [(&str, &str); 2] = [
    ("__name__", "scrape_duration_seconds"),
    ("job", "prometheus"),
];
/// Longest time between two samples that a line joins, milliseconds: the home scrapes each second.
const JOINED_MS: i64 = 1_600;

/// Where a moment and a value are in the picture.
struct Frame {
    from_ms: i64,
    until_ms: i64,
    largest: f64,
}

impl Frame {
    fn x(&self, at_ms: i64) -> f64 {
        let share = (at_ms - self.from_ms) as f64 / (self.until_ms - self.from_ms).max(1) as f64;
        LEFT + share * (WIDTH - 2.0 * LEFT)
    }

    fn y(&self, value: f64, bottom: f64) -> f64 {
        bottom - (value / self.largest) * (PANEL - 20.0)
    }
}

/// Draws the series at the receiver, above with remote read, below without it.
pub(super) fn svg(evidence: &Evidence, troubles: &Troubles) -> String {
    let (from_ms, until_ms) = evidence.span_ms();
    let home = points(&evidence.home, from_ms, until_ms);
    let frame = Frame {
        from_ms,
        until_ms,
        largest: home.iter().map(|(_, value)| *value).fold(1e-9, f64::max),
    };
    let height = TOP + 2.0 * (PANEL + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for trouble in &troubles.0 {
        let (x, end) = (frame.x(trouble.from_ms), frame.x(trouble.until_ms));
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"30\" width=\"{:.1}\" height=\"{}\" fill=\"#fff1e5\"/>\
             <text x=\"{x:.1}\" y=\"22\" fill=\"#953800\">{}</text>",
            (end - x).max(2.0),
            height - 40.0,
            trouble.what
        );
    }
    let ends = [
        (
            "at the receiver, mode: always",
            &evidence.received,
            "#1a7f37",
        ),
        (
            "at the receiver, by federation alone",
            &evidence.federated,
            "#8250df",
        ),
    ];
    for (number, (title, samples, colour)) in ends.into_iter().enumerate() {
        let bottom = TOP + number as f64 * (PANEL + 40.0) + PANEL;
        let arrived = points(samples, from_ms, until_ms);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\">{title}: {} of {} samples</text>",
            bottom + 18.0,
            arrived.len(),
            home.len()
        );
        for (at_ms, value) in &home {
            let (x, y) = (frame.x(*at_ms), frame.y(*value, bottom));
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.6\" fill=\"#afb8c1\"/>"
            );
        }
        draw(&mut svg, &frame, &arrived, bottom, colour);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws what arrived: points, and lines between those that follow each other.
fn draw(svg: &mut String, frame: &Frame, arrived: &[(i64, f64)], bottom: f64, colour: &str) {
    let mut before: Option<(i64, f64)> = None;
    for &(at_ms, value) in arrived {
        let (x, y) = (frame.x(at_ms), frame.y(value, bottom));
        if let Some((before_ms, before_value)) = before
            && at_ms - before_ms <= JOINED_MS
        {
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\" \
                 stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                frame.x(before_ms),
                frame.y(before_value, bottom)
            );
        }
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>"
        );
        before = Some((at_ms, value));
    }
}

/// The samples of the drawn series, without markers.
fn points(samples: &Samples, from_ms: i64, until_ms: i64) -> Vec<(i64, f64)> {
    let is_drawn = |labels: &Labels| {
        SERIES
            .iter()
            .all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
    };
    let drawn = samples.iter().filter(|(labels, _)| is_drawn(labels));
    let within = drawn.flat_map(|(_, samples)| samples.range(from_ms..=until_ms));
    within
        .map(|(at_ms, bits)| (*at_ms, f64::from_bits(*bits)))
        .filter(|(_, value)| !value.is_nan())
        .collect()
}
