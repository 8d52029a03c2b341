//! The comparison as a picture: bars on a logarithmic scale, drawn without a library.

use std::fmt::Write as _;

use super::compare::Measurement;
use super::programs::Program;
use super::report::bytes;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 17.0;
/// In the order of [`Program::ALL`].
const COLOURS: [&str; 5] = ["#1a7f37", "#4ac26b", "#0969da", "#9a6700", "#8250df"];

/// One panel: its title, the figure that it shows of a row, and the text of that figure.
struct Panel {
    title: &'static str,
    figure: fn(&Measurement) -> f64,
    label: fn(f64) -> String,
}

const PANELS: [Panel; 2] = [
    Panel {
        title: "CPU seconds for a million samples (less is better)",
        figure: |row| row.cpu_per_million,
        label: |value| format!("{value:.2}"),
    },
    Panel {
        title: "peak memory (less is better)",
        figure: |row| row.peak_memory as f64,
        label: |value| bytes(value as u64),
    },
];

/// Draws all rows as SVG.
pub(super) fn svg(rows: &[Measurement]) -> String {
    let mut cases: Vec<PlotCase<'_>> = Vec::new();
    for row in rows {
        let case = PlotCase::of(row);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let panel_height = 44.0 + rows.len() as f64 * BAR + cases.len() as f64 * 12.0;
    let height = 40.0 + panel_height * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let is_shown = |program: Program| rows.iter().any(|row| row.program == program.name());
    let shown = (Program::ALL.into_iter().zip(COLOURS)).filter(|(program, _)| is_shown(*program));
    for (at, (program, colour)) in shown.enumerate() {
        let x = 10.0 + at as f64 * 170.0;
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"22\">{}</text>",
            colour,
            x + 18.0,
            program.name()
        );
    }
    for (at, panel) in PANELS.iter().enumerate() {
        draw(
            &mut svg,
            panel,
            rows,
            &cases,
            44.0 + at as f64 * panel_height,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The rows of one home, which are one group of bars.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PlotCase<'a> {
    series: usize,
    body: &'a str,
}

impl<'a> PlotCase<'a> {
    fn of(row: &'a Measurement) -> Self {
        Self {
            series: row.series,
            body: &row.body,
        }
    }
}

fn draw(svg: &mut String, panel: &Panel, rows: &[Measurement], cases: &[PlotCase<'_>], top: f64) {
    let figures = || rows.iter().map(panel.figure).filter(|figure| *figure > 0.0);
    // The scale starts half a decade below the least figure, so that the shortest bar can be seen.
    let (low, high) = (
        figures().fold(f64::MAX, f64::min).log10() - 0.5,
        figures().fold(f64::MIN_POSITIVE, f64::max).log10(),
    );
    let scale = |figure: f64| {
        ((figure.log10() - low) / (high - low).max(0.1)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}, logarithmic</text>",
        top + 14.0,
        panel.title
    );
    let mut y = top + 26.0;
    for case in cases {
        let of_case: Vec<&Measurement> = rows
            .iter()
            .filter(|row| PlotCase::of(row) == *case)
            .collect();
        let middle = y + of_case.len() as f64 * BAR / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} k series</text>",
            LEFT - 10.0,
            middle - 2.0,
            case.series / 1000
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#57606a\">{}</text>",
            LEFT - 10.0,
            middle + 12.0,
            case.body
        );
        for row in of_case {
            let figure = (panel.figure)(row);
            let length = scale(figure);
            let colour = Program::ALL
                .iter()
                .position(|program| program.name() == row.program)
                .map_or("#000000", |at| COLOURS[at]);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" \
                 fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
                BAR - 3.0,
                LEFT + length + 6.0,
                y + 11.5,
                (panel.label)(figure)
            );
            y += BAR;
        }
        y += 12.0;
    }
}
