//! `forwardctl estimate`

mod bill;
mod prices;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::config::{Config, parse_duration};
use amp_forwarder::setup;
use amp_forwarder::tick::{Forwarder, World};
use amp_forwarder::time::SystemClock;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::bill::{Deployment, Egress, Line, Load, bill};
use self::prices::Prices;
use self::seen::{INTERVALS, Metric, STEP, Seen};
use super::{CommandError, CommandOutcome, format, load};

/// Share of a classic histogram's samples that its native form saves at most ("up to 75 % lower
/// metering costs": AWS Cloud Operations blog, Introducing native histogram support in Amazon
/// Managed Service for Prometheus). How AMP counts one is not documented.
const NATIVE_SAVES: f64 = 0.75;

#[derive(clap::Args)]
pub(super) struct EstimateArguments {
    /// How long to watch for samples that repeat from scrape to scrape, in whole minutes; 0s: one
    /// look, all taken for new
    #[arg(long, value_name = "D", default_value = "1m", value_parser = minutes)]
    watch: Duration,
    /// Whose prices [default: the region of the AMP address, else us-east-1]
    #[arg(long)]
    region: Option<String>,
    /// Megabytes of the function
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(128..=10240))]
    memory: u32,
    /// The function runs on Graviton
    #[arg(long)]
    arm64: bool,
    /// How the function reaches AMP
    #[arg(long, value_enum, default_value = "endpoint")]
    egress: Egress,
    /// Availability zones that the endpoint or NAT gateway is in
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=6))]
    zones: u8,
    /// Reckon without the free tier: other things of the account use it up
    #[arg(long)]
    no_free_tier: bool,
    /// Metrics to list, those that cost most first
    #[arg(long, default_value_t = 10)]
    top: usize,
}

/// All intervals fit into it.
fn minutes(text: &str) -> Result<Duration, String> {
    let duration =
        parse_duration(text).filter(|duration| duration.as_millis().is_multiple_of(60_000));
    duration.ok_or_else(|| "not whole minutes: write 1m, 5m or 0s".to_owned())
}

pub(super) async fn run(
    arguments: &EstimateArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let watch = arguments.watch;
    let config = load(config).await?.config;
    let region = arguments.region.clone().unwrap_or_else(|| region(&config));
    let prices =
        Prices::of(&region).map_err(|error| CommandError::Failed(format!("prices: {error}")))?;
    let watched = look(config, watch, json).await?;
    let deployment = Deployment {
        memory_mb: f64::from(arguments.memory),
        arm64: arguments.arm64,
        egress: arguments.egress,
        zones: f64::from(arguments.zones),
        free_tier: !arguments.no_free_tier,
    };
    let estimate = Estimate::of(&watched, &prices, deployment, arguments.top);
    if json {
        println!("{}", estimate.json());
    } else {
        print!("{}", estimate.text(watch, deployment));
    }
    Ok(CommandOutcome::Success)
}

/// The first remote that is AMP decides.
fn region(config: &Config) -> String {
    let region = |entry: &amp_forwarder::config::RemoteWrite| {
        entry
            .amp_region()
            .map(str::to_owned)
            .or_else(|| entry.sigv4.as_ref().and_then(|sigv4| sigv4.region.clone()))
    };
    config
        .remote_write
        .iter()
        .find_map(region)
        .unwrap_or_else(|| "us-east-1".to_owned())
}

struct Watched {
    seen: Seen,
    /// The slowest.
    scrape: Duration,
}

/// Scrapes all targets at each step, as a cold process would: a preview needs no credentials and
/// posts nothing.
async fn look(mut config: Config, watch: Duration, json: bool) -> Result<Watched, CommandError> {
    let memory_limit = config.forwarder.memory_limit_bytes(None);
    config.remote_write.truncate(1);
    let world = World {
        home: Box::new(setup::home(&config, Duration::from_secs(STEP * 2))),
        remotes: Vec::new(),
        clock: Arc::new(SystemClock),
        rng: fastrand::Rng::new(),
        store: None,
    };
    let forwarder = Forwarder::new(config, world, memory_limit)
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let steps = watch.as_secs() / STEP;
    let bar = format::bar(steps + 1, "scrapes", json);
    let started = Instant::now();
    let mut watched = Watched {
        seen: Seen::default(),
        scrape: Duration::ZERO,
    };
    for step in 0..=steps {
        tokio::time::sleep_until(started + Duration::from_secs(step * STEP)).await;
        let previews = forwarder.preview(None, Duration::MAX).await;
        for preview in &previews {
            if let Some(error) = &preview.scraped.error {
                return Err(CommandError::Failed(format!(
                    "{} {}: {error}",
                    preview.job, preview.instance
                )));
            }
            watched.scrape = watched.scrape.max(preview.scraped.duration);
        }
        let batches: Vec<_> = previews
            .iter()
            .flat_map(|preview| &preview.scraped.commits)
            .flat_map(|committed| &committed.scrapes)
            .flatten()
            .collect();
        watched
            .seen
            .scraped(&batches)
            .map_err(|error| CommandError::Failed(error.to_string()))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(watched)
}

struct Estimate<'a> {
    prices: &'a Prices,
    series: u64,
    /// One for each interval.
    bills: Vec<Bill>,
    top: Vec<Top>,
    metrics: usize,
    histograms: Histograms,
}

/// A month at one interval.
struct Bill {
    samples: f64,
    lines: Vec<Line>,
}

/// A metric's share of a month at one interval.
#[derive(Clone, Copy, Default)]
struct Share {
    samples: f64,
    dollars: f64,
}

struct Top {
    name: String,
    series: u64,
    months: Vec<Share>,
}

struct Histograms {
    series: u64,
    /// What native ones would save at most.
    months: Vec<Share>,
}

impl Bill {
    fn dollars(&self) -> f64 {
        self.lines.iter().map(|line| line.dollars).sum()
    }
}

impl<'a> Estimate<'a> {
    fn of(watched: &Watched, prices: &'a Prices, deployment: Deployment, top: usize) -> Self {
        let seen = &watched.seen;
        let load = |index: usize, samples: f64| Load {
            interval_seconds: INTERVALS[index] as f64,
            samples,
            scraped: seen.samples as f64 / seen.steps as f64,
            sample_bytes: seen.bytes as f64 / seen.samples.max(1) as f64,
            scrape_seconds: watched.scrape.as_secs_f64(),
        };
        // Metrics share what is free, so one alone is reckoned at the list price.
        let list_price = prices
            .item("amp_ingestion")
            .map_or(0.0, prices::Item::first);
        let months = |metric: &Metric| -> Vec<Share> {
            let each = seen
                .per_scrape(metric)
                .into_iter()
                .enumerate()
                .map(|(index, samples)| load(index, samples).month());
            each.map(|samples| Share {
                samples,
                dollars: samples * list_price,
            })
            .collect()
        };
        let bills = (0..INTERVALS.len()).map(|index| {
            let load = load(
                index,
                seen.metrics()
                    .map(|(_, metric)| seen.per_scrape(metric)[index])
                    .sum(),
            );
            Bill {
                samples: load.month(),
                lines: bill(prices, deployment, load),
            }
        });
        let mut all: Vec<_> = seen
            .metrics()
            .map(|(name, metric)| Top {
                name: name.to_owned(),
                series: metric.series,
                months: months(metric),
            })
            .collect();
        all.sort_by(|a, b| {
            b.months[0]
                .samples
                .total_cmp(&a.months[0].samples)
                .then_with(|| a.name.cmp(&b.name))
        });
        let mut histograms = Histograms {
            series: 0,
            months: vec![Share::default(); INTERVALS.len()],
        };
        for (_, metric) in seen.histograms() {
            histograms.series += metric.series;
            for (sum, share) in histograms.months.iter_mut().zip(months(metric)) {
                sum.samples += share.samples;
                sum.dollars += share.dollars * NATIVE_SAVES;
            }
        }
        let (metrics, bills) = (all.len(), bills.collect());
        all.truncate(top);
        Self {
            prices,
            series: seen.series(),
            bills,
            top: all,
            metrics,
            histograms,
        }
    }

    fn json(&self) -> Value {
        let each = |months: &[Share], dollars: &str| -> Vec<Value> {
            let shares = INTERVALS.iter().zip(months);
            shares.map(|(interval, share)| json!({"interval_s": interval, "samples_month": share.samples, dollars: share.dollars})).collect()
        };
        let bills = INTERVALS
            .iter()
            .zip(&self.bills)
            .map(|(interval, bill)| json!({"interval_s": interval, "samples_month": bill.samples, "lines": bill.lines, "dollars": bill.dollars()}));
        let top = self.top.iter().map(|top| json!({"metric": top.name, "series": top.series, "intervals": each(&top.months, "dollars")}));
        json!({
            "series": self.series,
            "metrics": self.metrics,
            "intervals": bills.collect::<Vec<_>>(),
            "top": top.collect::<Vec<_>>(),
            "classic_histograms": {"series": self.histograms.series, "intervals": each(&self.histograms.months, "native_saves_dollars_at_most")},
            "prices": {"region": self.prices.region, "date": self.prices.date},
        })
    }

    fn text(&self, watch: Duration, deployment: Deployment) -> String {
        let free = if deployment.free_tier {
            "with"
        } else {
            "without"
        };
        let (series, prices) = (format::count(self.series), self.prices);
        let mut out = format!(
            "{series} series of {} metrics; prices of {} as of {}, {free} the free tier\n\n",
            self.metrics, prices.region, prices.date
        );
        out.push_str(&format::table(&self.bill_rows()));
        if self
            .bills
            .iter()
            .flat_map(|bill| &bill.lines)
            .any(|line| line.unverified)
        {
            out.push_str("* a price or a quantity that could not be verified: look at the service's price page\n");
        }
        out.push_str("not in it: queries, the VPN, and what leaves AWS\n");
        if watch.is_zero() {
            out.push_str("one look: every sample is taken for new at each scrape, so this is an upper bound (--watch 1m looks which are)\n");
        }
        out.push('\n');
        let mut rows = vec![heading(&["COSTS MOST (at list price)", "series"])];
        for Top {
            name,
            series,
            months,
        } in &self.top
        {
            rows.push(
                [name.clone(), format::count(*series)]
                    .into_iter()
                    .chain(months.iter().map(|share| dollars(share.dollars)))
                    .collect(),
            );
        }
        out.push_str(&format::table(&rows));
        let Histograms { series, months } = &self.histograms;
        if *series > 0 {
            let saves: Vec<_> = months.iter().map(|share| dollars(share.dollars)).collect();
            out.push_str(&format!(
                "\nclassic histograms: {} series; native ones in their place would save up to {} (at 75 %, AWS' own \"up to\"; how AMP counts one is not documented)\n",
                format::count(*series),
                saves.join(" / ")
            ));
        }
        out
    }

    fn bill_rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![heading(&["A MONTH"])];
        let cells = |first: String, cells: Vec<String>| [vec![first], cells].concat();
        rows.push(cells(
            "samples".to_owned(),
            self.bills
                .iter()
                .map(|bill| format::count(bill.samples.round() as u64))
                .collect(),
        ));
        for (index, line) in self.bills[0].lines.iter().enumerate() {
            let mark = if line.unverified { " *" } else { "" };
            rows.push(cells(
                format!("{}{mark}", line.service),
                self.bills
                    .iter()
                    .map(|bill| dollars(bill.lines[index].dollars))
                    .collect(),
            ));
        }
        rows.push(cells(
            "total".to_owned(),
            self.bills
                .iter()
                .map(|bill| dollars(bill.dollars()))
                .collect(),
        ));
        rows
    }
}

fn heading(first: &[&str]) -> Vec<String> {
    first
        .iter()
        .map(|&first| first.to_owned())
        .chain(INTERVALS.map(|interval| format!("every {interval}s")))
        .collect()
}

fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}
