//! The status page: one look says whether all is well, and what is not.
//!
//! It needs nothing from elsewhere and runs no script. The browser asks for it again by itself.

use std::fmt::Write as _;

use amp_forwarder::report::{Outcome, plain_line};

use super::view::{LastTick, ShownRun, TickMark};
use crate::format::{count, many, size, span};

const STYLE: &str = "
:root{color-scheme:light dark;--ok:#1a7f37;--warn:#9a6700;--bad:#cf222e;--line:#8885}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.1rem;font-weight:600;margin:0}
h2{font-size:1.1rem;margin:2rem 0 .3rem}
.state{font-size:1.6rem;font-weight:600;margin:.4rem 0}
.ok{color:var(--ok)}.warn{color:var(--warn)}.bad{color:var(--bad)}
@media(prefers-color-scheme:dark){:root{--ok:#3fb950;--warn:#d29922;--bad:#f85149}}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600}td.n,th.n{text-align:right}
.wide{overflow-x:auto}li{margin:.3rem 0;overflow-wrap:anywhere}
svg{display:block;width:100%;height:3rem}
footer{margin:2.5rem 0;opacity:.75}";

/// The whole page.
pub(super) fn html(run: &ShownRun, now_ms: i64) -> String {
    let mut out = String::with_capacity(8 << 10);
    let (class, state) = headline(run, now_ms);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"10\"><title>{title} · amp-forwarder</title>\
         <style>{STYLE}</style></head><body><h1>amp-forwarder</h1>\
         <p class=\"state {class}\">{title}</p><p>{detail}</p>",
        title = escape(&state.title),
        detail = escape(&state.detail),
    );
    ticks(&mut out, run);
    homes(&mut out, run, now_ms);
    remotes(&mut out, run, now_ms);
    problems(&mut out, run, now_ms);
    let since = span(now_ms.saturating_sub(run.started_ms));
    let _ = write!(
        out,
        "<footer>Version {}, running for {since}. The page reloads itself every ten seconds. \
         <a href=\"/metrics\">Metrics</a> · <a href=\"/-/ready\">ready?</a></footer></body></html>",
        env!("CARGO_PKG_VERSION")
    );
    out
}

/// The sentence at the top, and what it rests on.
struct Headline {
    title: String,
    detail: String,
}

fn headline(run: &ShownRun, now_ms: i64) -> (&'static str, Headline) {
    let Some(last) = &run.last else {
        let (scraped, written) = run.live.samples();
        let detail = format!(
            "The first tick is at work: {} samples scraped, {} written so far.",
            count(scraped),
            count(written)
        );
        return (
            "warn",
            Headline {
                title: "Starting".to_owned(),
                detail,
            },
        );
    };
    let ago = span(now_ms.saturating_sub(last.ended_ms));
    let owed: u64 = run
        .counters
        .remotes
        .values()
        .map(|remote| remote.ledger.owed_after)
        .sum();
    let waiting = match last.spool.oldest_ms {
        Some(oldest_ms) if owed > 0 => format!(
            " {} in the spool, the oldest for {}.",
            if owed == 1 {
                "1 sample waits".to_owned()
            } else {
                format!("{} samples wait", count(owed))
            },
            span(now_ms.saturating_sub(oldest_ms))
        ),
        _ => String::new(),
    };
    let (class, title, what) = verdict(run, last, owed, now_ms);
    let (scrapes, _) = run.live.scrapes();
    let (_, written) = run.live.samples();
    let detail = format!(
        "{what}{waiting} The last tick ended {ago} ago, and the tables are as it left them. Up to \
         now: {}, {} written.",
        many(scrapes, "scrape"),
        many(written, "sample")
    );
    (
        class,
        Headline {
            title: title.to_owned(),
            detail,
        },
    )
}

/// The class of the sentence, the sentence, and its reason.
fn verdict(
    run: &ShownRun,
    last: &LastTick,
    owed: u64,
    now_ms: i64,
) -> (&'static str, &'static str, &'static str) {
    match run.ready(now_ms) {
        Err(_) if last.outcome != Outcome::Failed => ("bad", "It stands still", "No tick ends."),
        Err(_) => (
            "bad",
            "Samples do not get through",
            "The last tick failed: see below.",
        ),
        Ok(()) => match last.outcome {
            Outcome::Ok => ("ok", "All is well", "Everything was scraped and delivered."),
            _ if last.failing > 0 => (
                "bad",
                "A home does not answer",
                "Its last scrape failed: see below.",
            ),
            Outcome::Partial if owed > 0 => (
                "warn",
                "Samples wait",
                "They are kept, and are sent before newer ones.",
            ),
            Outcome::Partial => ("warn", "Not everything arrived", "See the problems below."),
            Outcome::Degraded => (
                "warn",
                "The spool does not answer",
                "Samples are sent, but could not be kept.",
            ),
            Outcome::Busy => (
                "warn",
                "Another forwarder is at work",
                "It holds the lease, and this one waits for it.",
            ),
            Outcome::Failed => ("bad", "Samples do not get through", "The last tick failed."),
        },
    }
}

/// A bar for each of the last ticks, as high as the samples that it wrote.
fn ticks(out: &mut String, run: &ShownRun) {
    if run.ticks.is_empty() {
        return;
    }
    let most = run
        .ticks
        .iter()
        .map(|tick| tick.written)
        .max()
        .unwrap_or(0)
        .max(1);
    let _ = write!(
        out,
        "<h2>Ticks</h2><svg viewBox=\"0 0 1200 48\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Samples written by each of the last {} ticks\">",
        run.ticks.len()
    );
    let first = 120_usize.saturating_sub(run.ticks.len());
    for (place, tick) in run.ticks.iter().enumerate() {
        // A tick that wrote nothing is seen as well.
        let height = 4 + tick.written * 44 / most;
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"8\" height=\"{height}\" fill=\"var(--{})\"><title>\
             {}: {} samples written, {:?}</title></rect>",
            (first + place) * 10,
            48 - height,
            colour(tick),
            escape(&crate::format::time(tick.ended_ms)),
            count(tick.written),
            tick.outcome
        );
    }
    out.push_str("</svg>");
}

fn colour(tick: &TickMark) -> &'static str {
    match tick.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "bad",
        _ => "warn",
    }
}

fn homes(out: &mut String, run: &ShownRun, now_ms: i64) {
    if run.scrapes.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Homes</h2><div class=\"wide\"><table><tr><th>Job<th>Address<th>Last scrape\
         <th class=\"n\">Samples<th class=\"n\">Took</tr>",
    );
    for ((job, instance), scrape) in &run.scrapes {
        let (class, verdict) = if scrape.up {
            ("ok", "answered")
        } else {
            ("bad", "failed")
        };
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td><span class=\"{class}\">{verdict}</span> {} ago\
             <td class=\"n\">{}<td class=\"n\">{} ms</tr>",
            escape(job),
            escape(instance),
            span(now_ms.saturating_sub(scrape.start_ms)),
            count(scrape.samples),
            count(scrape.duration_ms)
        );
    }
    out.push_str("</table></div>");
}

fn remotes(out: &mut String, run: &ShownRun, now_ms: i64) {
    if run.counters.remotes.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Remotes</h2><div class=\"wide\"><table><tr><th>Remote<th>Newest sample\
         <th class=\"n\">Written<th class=\"n\">Waiting<th class=\"n\">Refused\
         <th class=\"n\">Too old<th class=\"n\">Lost</tr>",
    );
    for (remote, sums) in &run.counters.remotes {
        let newest = sums.newest_ms.map_or("none yet".to_owned(), |newest_ms| {
            format!("{} old", span(now_ms.saturating_sub(newest_ms)))
        });
        let ledger = &sums.ledger;
        let _ = write!(
            out,
            "<tr><td>{}<td>{newest}<td class=\"n\">{}{}{}{}{}</tr>",
            escape(remote),
            count(ledger.written),
            number(ledger.owed_after, "warn"),
            number(ledger.rejected, "bad"),
            number(ledger.expired, "bad"),
            number(ledger.lost, "bad"),
        );
    }
    out.push_str("</table></div>");
    if let Some(last) = run.last.as_ref().filter(|last| last.spool.segments > 0) {
        let _ = write!(
            out,
            "<p>The spool holds {}, {}.</p>",
            many(last.spool.segments, "segment"),
            size(last.spool.bytes)
        );
    }
}

/// A cell with a number that should be 0.
fn number(number: u64, class: &str) -> String {
    let class = if number > 0 { class } else { "" };
    format!("<td class=\"n {class}\">{}", count(number))
}

fn problems(out: &mut String, run: &ShownRun, now_ms: i64) {
    if run.problems.is_empty() {
        return;
    }
    out.push_str("<h2>Problems</h2><ul>");
    for problem in &run.problems {
        let ago = span(now_ms.saturating_sub(problem.at_ms));
        let _ = write!(
            out,
            "<li>{} <small>({ago} ago)</small></li>",
            escape(&problem.text)
        );
    }
    out.push_str("</ul>");
}

/// A text from elsewhere as HTML: it is shown, and is no part of the page.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain_line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::view::RunView;
    use super::*;

    #[test]
    fn no_text_from_elsewhere_becomes_a_part_of_the_page() {
        assert_eq!(
            escape("<script>alert(\"1\")</script>&'\u{1b}[2J"),
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}[2J"
        );
        let view = RunView::new(0, &[], Arc::default());
        let page = html(&view.shown(), 5_000);
        assert!(page.contains("Starting"), "{page}");
        assert!(!page.contains("<script") && !page.contains("://"), "{page}");
    }
}
