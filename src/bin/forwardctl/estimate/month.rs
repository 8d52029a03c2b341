//! Turns observations of the home into the cost of a month, for each interval.

use super::bill::{BillLine, Deployment, MonthlyLoad, PUTS, PUTS_ALWAYS, bill};
use super::observations::{INTERVALS, MetricObservations, Observations};
use super::prices::{PriceItem, Prices};
use super::raw::RawMinute;

/// Share of a classic histogram's samples that its native form saves at most ("up to 75 % lower
/// metering costs": AWS Cloud Operations blog, Introducing native histogram support in Amazon
/// Managed Service for Prometheus). AWS does not document how AMP counts a native histogram.
const NATIVE_SAVES: f64 = 0.75;

/// The cost of a month. Every list has one element for each of [`INTERVALS`].
pub(super) struct Estimate<'a> {
    pub(super) prices: &'a Prices,
    /// Distinct series seen.
    pub(super) series: u64,
    pub(super) bills: Vec<MonthlyBill>,
    /// The bill with `mode: always`, or why nothing is known of it.
    pub(super) always: Result<MonthlyBill, String>,
    /// The metrics with the most samples, in falling order.
    pub(super) top: Vec<TopMetric>,
    /// Distinct metric names seen, of which `top` lists some.
    pub(super) metrics: usize,
    pub(super) histograms: HistogramSavings,
}

/// The bill of a month at one interval.
pub(super) struct MonthlyBill {
    /// New samples in the month.
    pub(super) samples: f64,
    pub(super) lines: Vec<BillLine>,
}

/// One metric's share of a month at one interval, at the list price.
#[derive(Clone, Copy, Default)]
pub(super) struct MonthlyShare {
    /// New samples in the month.
    pub(super) samples: f64,
    pub(super) dollars: f64,
}

/// A metric and what its samples cost.
pub(super) struct TopMetric {
    pub(super) name: String,
    pub(super) series: u64,
    pub(super) months: Vec<MonthlyShare>,
}

/// What native histograms would save in the place of the classic ones.
pub(super) struct HistogramSavings {
    /// Series of all classic histograms.
    pub(super) series: u64,
    /// Samples of the classic histograms, and the dollars that native ones would save at most.
    pub(super) months: Vec<MonthlyShare>,
}

impl MonthlyBill {
    fn new(
        prices: &Prices,
        deployment: Deployment,
        observations: &Observations,
        interval: usize,
    ) -> Self {
        let samples = observations
            .metrics()
            .map(|(_, metric)| observations.per_scrape(metric)[interval])
            .sum();
        let load = load(observations, interval, samples);
        Self {
            samples: load.samples_per_month(),
            lines: bill(prices, deployment, load),
        }
    }

    /// The bill of a home that is read: every sample of a minute in one short tick.
    fn always(prices: &Prices, deployment: Deployment, raw: RawMinute) -> Self {
        let load = MonthlyLoad {
            interval_seconds: 60.0,
            samples: raw.samples,
            scraped: raw.read,
            sample_bytes: raw.bytes / raw.samples.max(1.0),
            scrape_seconds: raw.seconds,
            puts: PUTS_ALWAYS,
        };
        Self {
            samples: load.samples_per_month(),
            lines: bill(prices, deployment, load),
        }
    }

    /// The sum of all lines.
    pub(super) fn dollars(&self) -> f64 {
        self.lines.iter().map(|line| line.dollars).sum()
    }
}

impl<'a> Estimate<'a> {
    /// Computes all bills, and the `top` most expensive metrics.
    pub(super) fn new(
        observations: &Observations,
        raw: Result<RawMinute, String>,
        prices: &'a Prices,
        deployment: Deployment,
        top: usize,
    ) -> Self {
        // The free tier and the cheaper tiers apply to all metrics together, so a single metric is
        // computed at the first tier's price.
        let list_price = prices
            .item("amp_ingestion")
            .map_or(0.0, PriceItem::first_price);
        let mut all = top_metrics(observations, list_price);
        let metrics = all.len();
        all.truncate(top);
        Self {
            prices,
            series: observations.series(),
            bills: (0..INTERVALS.len())
                .map(|interval| MonthlyBill::new(prices, deployment, observations, interval))
                .collect(),
            always: raw.map(|raw| MonthlyBill::always(prices, deployment, raw)),
            top: all,
            metrics,
            histograms: histogram_savings(observations, list_price),
        }
    }
}

/// What the home gives at one interval, when it has `samples` new samples in each scrape.
fn load(observations: &Observations, interval: usize, samples: f64) -> MonthlyLoad {
    MonthlyLoad {
        interval_seconds: INTERVALS[interval] as f64,
        samples,
        scraped: observations.samples as f64 / observations.steps as f64,
        sample_bytes: observations.bytes as f64 / observations.samples.max(1) as f64,
        scrape_seconds: observations.slowest_scrape.as_secs_f64(),
        puts: PUTS,
    }
}

/// One metric's share of a month, for each interval.
fn months(
    observations: &Observations,
    metric: &MetricObservations,
    list_price: f64,
) -> Vec<MonthlyShare> {
    let per_scrape = observations.per_scrape(metric).into_iter().enumerate();
    per_scrape
        .map(|(interval, samples)| load(observations, interval, samples).samples_per_month())
        .map(|samples| MonthlyShare {
            samples,
            dollars: samples * list_price,
        })
        .collect()
}

/// All metrics, those with the most samples first. The shortest interval decides; names break ties.
fn top_metrics(observations: &Observations, list_price: f64) -> Vec<TopMetric> {
    let mut all: Vec<_> = observations
        .metrics()
        .map(|(name, metric)| TopMetric {
            name: name.to_owned(),
            series: metric.series,
            months: months(observations, metric, list_price),
        })
        .collect();
    all.sort_by(|a, b| {
        b.months[0]
            .samples
            .total_cmp(&a.months[0].samples)
            .then_with(|| a.name.cmp(&b.name))
    });
    all
}

fn histogram_savings(observations: &Observations, list_price: f64) -> HistogramSavings {
    let mut savings = HistogramSavings {
        series: 0,
        months: vec![MonthlyShare::default(); INTERVALS.len()],
    };
    for (_, metric) in observations.histograms() {
        savings.series += metric.series;
        let shares = months(observations, metric, list_price);
        for (sum, share) in savings.months.iter_mut().zip(shares) {
            sum.samples += share.samples;
            sum.dollars += share.dollars * NATIVE_SAVES;
        }
    }
    savings
}
