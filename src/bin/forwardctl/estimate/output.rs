//! An estimate as text for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::format::{count, table};
use super::bill::Deployment;
use super::month::{Estimate, HistogramSavings, MonthlyShare};
use super::observations::INTERVALS;

impl Estimate<'_> {
    /// The estimate as one JSON object, with every number unrounded.
    pub(super) fn json(&self) -> Value {
        let bills = INTERVALS.iter().zip(&self.bills).map(|(interval, bill)| {
            json!({
                "interval_s": interval,
                "samples_month": bill.samples,
                "lines": bill.lines,
                "dollars": bill.dollars(),
            })
        });
        let top = self.top.iter().map(|top| {
            json!({
                "metric": top.name,
                "series": top.series,
                "intervals": shares(&top.months, "dollars"),
            })
        });
        let always = match &self.always {
            Ok(bill) => json!({
                "samples_month": bill.samples,
                "lines": bill.lines,
                "dollars": bill.dollars(),
            }),
            Err(why) => json!({"unknown": why}),
        };
        json!({
            "series": self.series,
            "metrics": self.metrics,
            "intervals": bills.collect::<Vec<_>>(),
            "always": always,
            "top": top.collect::<Vec<_>>(),
            "classic_histograms": {
                "series": self.histograms.series,
                "intervals": shares(&self.histograms.months, "native_saves_dollars_at_most"),
            },
            "prices": {"region": self.prices.region, "date": self.prices.date},
        })
    }

    /// The estimate as tables, with the date and the source of the prices.
    pub(super) fn text(&self, watch: Duration, deployment: Deployment) -> String {
        let free_tier = if deployment.free_tier {
            "with"
        } else {
            "without"
        };
        let mut out = format!(
            "{} series of {} metrics; prices of {} as of {}, {free_tier} the free tier\n\n",
            count(self.series),
            self.metrics,
            self.prices.region,
            self.prices.date
        );
        out.push_str(&table(&self.bill_rows()));
        out.push_str(&self.remarks(watch));
        out.push('\n');
        out.push_str(&table(&self.top_rows()));
        if self.histograms.series > 0 {
            out.push_str(&savings(&self.histograms));
        }
        out
    }

    /// What the reader must know to judge the bill.
    fn remarks(&self, watch: Duration) -> String {
        let mut out = String::new();
        let mut lines = self.bills.iter().flat_map(|bill| &bill.lines);
        if lines.any(|line| line.unverified) {
            out.push_str(
                "* this price or quantity could not be verified: see the service's price page\n",
            );
        }
        out.push_str("not included: queries, the VPN, and traffic that leaves AWS\n");
        out.push_str(&match &self.always {
            Ok(_) => "every sample: forwarder.remote_read.mode: always, as the home held the last \
                      minute; with gaps an interval costs what stands in its column, outages \
                      included\n"
                .to_owned(),
            Err(why) => format!("mode: always cannot be estimated: {why}\n"),
        });
        if watch.is_zero() {
            out.push_str(
                "one scrape: every sample counts as new each time, so this is an upper bound \
                 (--watch 1m finds those that repeat)\n",
            );
        }
        let sources: Vec<_> = self.prices.sources().into_iter().collect();
        out.push_str(&format!("price pages: {}\n", sources.join(", ")));
        out
    }

    fn bill_rows(&self) -> Vec<Vec<String>> {
        let bills = || self.bills.iter().chain(&self.always);
        let samples = bills().map(|bill| count(bill.samples.round() as u64));
        let total = bills().map(|bill| dollars(bill.dollars()));
        let mut titles = heading(&["A MONTH"]);
        titles.extend(self.always.iter().map(|_| "every sample".to_owned()));
        let mut rows = vec![titles, row("samples", samples)];
        for (index, line) in self.bills[0].lines.iter().enumerate() {
            let mark = if line.unverified { " *" } else { "" };
            rows.push(row(
                &format!("{}{mark}", line.service),
                bills().map(|bill| dollars(bill.lines[index].dollars)),
            ));
        }
        rows.push(row("total", total));
        rows
    }

    fn top_rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![heading(&["COSTS MOST (at list price)", "series"])];
        for top in &self.top {
            let dollars = top.months.iter().map(|share| dollars(share.dollars));
            rows.push(row(
                &top.name,
                std::iter::once(count(top.series)).chain(dollars),
            ));
        }
        rows
    }
}

/// The shares of a month as JSON, one for each interval, with `dollars` as the key of their cost.
fn shares(months: &[MonthlyShare], dollars: &str) -> Vec<Value> {
    let share = |(interval, share): (&u64, &MonthlyShare)| {
        json!({
            "interval_s": interval,
            "samples_month": share.samples,
            dollars: share.dollars,
        })
    };
    INTERVALS.iter().zip(months).map(share).collect()
}

fn savings(histograms: &HistogramSavings) -> String {
    let months: Vec<_> = histograms
        .months
        .iter()
        .map(|share| dollars(share.dollars))
        .collect();
    format!(
        "\nclassic histograms: {} series; native ones would save up to {} \
         (AWS says \"up to\" 75 %, and does not document how AMP counts one)\n",
        count(histograms.series),
        months.join(" / ")
    )
}

/// The given column titles, then one for each interval.
fn heading(first: &[&str]) -> Vec<String> {
    first
        .iter()
        .map(|&first| first.to_owned())
        .chain(INTERVALS.map(|interval| format!("every {interval}s")))
        .collect()
}

fn row(first: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(cells).collect()
}

fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}
