//! The bill of a month, line by line, as pure sums.

use super::prices::Prices;

/// Hours in a month, as AWS counts them.
const MONTH_HOURS: f64 = 730.0;
const MONTH_SECONDS: f64 = MONTH_HOURS * 3600.0;
/// Invocations in a month, one each minute.
const TICKS: f64 = MONTH_SECONDS / 60.0;

const GIB: f64 = (1u64 << 30) as f64;

/// Months for which AMP keeps samples by default: 150 days.
const RETENTION_MONTHS: f64 = 150.0 * 24.0 / MONTH_HOURS;
/// Bytes that a stored sample takes, "typically 1 or 2 bytes" (aws.amazon.com/prometheus/pricing).
/// Labels come on top of them.
const STORED_BYTES: f64 = 2.0;

/// Megabytes of memory that come with one whole core (Lambda developer guide).
const CORE_MB: f64 = 1769.0;

/// CPU seconds for a million samples on a whole core, warm, without the network. `make bench` gives
/// 0.26 for plain text, 0.80 for gzip text and 0.97 for gzip protobuf (benches/results.md). The
/// difference changes the bill by cents.
const CPU_SECONDS_PER_MILLION: f64 = 0.6;

/// Billed seconds of a tick beyond its work: start of the runtime, lease, release.
const TICK_OVERHEAD_SECONDS: f64 = 0.1;

/// Bytes of the log lines of one tick, with the three lines that Lambda adds.
const TICK_LOG_BYTES: f64 = 2_000.0;

/// Number of metrics in the function's EMF line.
const METRICS: f64 = 10.0;
/// Number of alarms in the templates in infra/: ten, of which the one with a query is billed for
/// each metric that it finds. Two reasons for discarded samples are assumed.
const ALARMS: f64 = 11.0;
/// Number of dashboards in the templates in infra/.
const DASHBOARDS: f64 = 1.0;

/// How the function reaches AMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Egress {
    /// Through an interface endpoint made for it
    Endpoint,
    /// Through a NAT gateway made for it
    Nat,
    /// Over IPv6 through an egress-only gateway, which is free
    Ipv6,
    /// Through what the VPC already has
    Existing,
}

/// How the function is deployed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deployment {
    /// Memory of the function in megabytes.
    pub(super) memory_mb: f64,
    /// Whether the function runs on Graviton.
    pub(super) arm64: bool,
    pub(super) egress: Egress,
    /// Number of availability zones with an endpoint or a NAT gateway.
    pub(super) zones: f64,
    /// Whether the account's free tier is left for the function.
    pub(super) free_tier: bool,
}

/// What the home gives at one interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct MonthlyLoad {
    pub(super) interval_seconds: f64,
    /// New samples in each scrape: only these are sent.
    pub(super) samples: f64,
    /// All samples in each scrape: every one is parsed.
    pub(super) scraped: f64,
    /// Compressed bytes of one sample in a request.
    pub(super) sample_bytes: f64,
    /// Duration of one scrape, network included.
    pub(super) scrape_seconds: f64,
    /// Objects that a tick writes to S3.
    pub(super) puts: f64,
}

/// A tick takes the lease and releases it.
pub(super) const PUTS: f64 = 2.0;
/// With `mode: always` it writes the table of last timestamps as well.
pub(super) const PUTS_ALWAYS: f64 = 3.0;

/// One line of the bill.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct BillLine {
    pub(super) service: &'static str,
    /// Units that are used in a month.
    pub(super) quantity: f64,
    pub(super) unit: String,
    pub(super) dollars: f64,
    /// Address of the page that shows the price.
    pub(super) source: String,
    /// Whether the price was not read at its source, or the quantity is a guess.
    pub(super) unverified: bool,
}

impl MonthlyLoad {
    /// New samples in a month.
    pub(super) fn samples_per_month(&self) -> f64 {
        self.samples * MONTH_SECONDS / self.interval_seconds
    }

    /// Billed seconds of one tick.
    ///
    /// With an interval below a minute, a tick stays for its slots, the last of which lies, on
    /// average, half an interval before the end of the minute (src/tick/job/slots.rs). Otherwise a
    /// tick ends when its work is done.
    fn tick_seconds(&self, memory_mb: f64) -> f64 {
        let cpu = self.scraped / 1e6 * CPU_SECONDS_PER_MILLION * (CORE_MB / memory_mb).max(1.0);
        let work = self.scrape_seconds + cpu + TICK_OVERHEAD_SECONDS;
        if self.interval_seconds < 60.0 {
            60.0 - self.interval_seconds / 2.0 + work
        } else {
            work
        }
    }
}

/// A bill that grows line by line.
struct BillWriter<'a> {
    prices: &'a Prices,
    free_tier: bool,
    lines: Vec<BillLine>,
}

impl BillWriter<'_> {
    /// Adds a line whose quantity is known.
    fn add(&mut self, service: &'static str, item: &str, quantity: f64) {
        let Some(price) = self.prices.item(item) else {
            return;
        };
        self.lines.push(BillLine {
            service,
            quantity,
            unit: price.unit.clone(),
            dollars: price.cost(quantity, self.free_tier),
            source: price.source.clone(),
            unverified: price.unverified,
        });
    }

    /// Adds a line whose quantity is a guess.
    fn add_guess(&mut self, service: &'static str, item: &str, quantity: f64) {
        self.add(service, item, quantity);
        if let Some(line) = self.lines.last_mut() {
            line.unverified = true;
        }
    }
}

/// Computes the bill of a month. The services come in the same order for every load.
pub(super) fn bill(prices: &Prices, deployment: Deployment, load: MonthlyLoad) -> Vec<BillLine> {
    let mut bill = BillWriter {
        prices,
        free_tier: deployment.free_tier,
        lines: Vec::new(),
    };
    let samples = load.samples_per_month();
    bill.add("AMP ingestion", "amp_ingestion", samples);
    let stored = samples * RETENTION_MONTHS * STORED_BYTES / GIB;
    bill.add_guess("AMP storage", "amp_storage", stored);
    bill.add("Lambda requests", "lambda_requests", TICKS);
    let architecture = if deployment.arm64 {
        "lambda_arm64"
    } else {
        "lambda_x86_64"
    };
    let seconds = TICKS * load.tick_seconds(deployment.memory_mb);
    bill.add(
        "Lambda time",
        architecture,
        seconds * deployment.memory_mb / 1024.0,
    );
    bill.add("EventBridge Scheduler", "scheduler", TICKS);
    bill.add("S3 PUT", "s3_put", load.puts * TICKS);
    let sent = samples * load.sample_bytes / GIB;
    let hours = MONTH_HOURS * deployment.zones;
    match deployment.egress {
        Egress::Endpoint => {
            bill.add("AMP endpoint", "interface_endpoint", hours);
            bill.add("AMP endpoint, data", "interface_endpoint_gb", sent);
        }
        Egress::Nat => {
            bill.add("NAT gateway", "nat", hours);
            bill.add("NAT gateway, data", "nat_gb", sent);
        }
        Egress::Ipv6 | Egress::Existing => {}
    }
    bill.add("CloudWatch metrics", "cloudwatch_metric", METRICS);
    bill.add("CloudWatch alarms", "cloudwatch_alarm", ALARMS);
    bill.add("CloudWatch dashboard", "cloudwatch_dashboard", DASHBOARDS);
    let logged = TICKS * TICK_LOG_BYTES / GIB;
    bill.add("CloudWatch logs", "cloudwatch_logs_gb", logged);
    bill.lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Deployment = Deployment {
        memory_mb: 128.0,
        arm64: false,
        egress: Egress::Endpoint,
        zones: 2.0,
        free_tier: false,
    };
    const HOME: MonthlyLoad = MonthlyLoad {
        interval_seconds: 15.0,
        samples: 5_000.0,
        scraped: 5_000.0,
        sample_bytes: 10.0,
        scrape_seconds: 0.1,
        puts: PUTS,
    };

    fn line(lines: &[BillLine], service: &str) -> BillLine {
        lines
            .iter()
            .find(|line| line.service == service)
            .cloned()
            .unwrap()
    }

    #[test]
    fn a_month_by_hand() {
        let prices = Prices::new("us-east-1").unwrap();
        let lines = bill(&prices, ALONE, HOME);
        // 175,200 scrapes of 5,000 samples.
        let ingestion = line(&lines, "AMP ingestion");
        assert_eq!(ingestion.quantity, 876e6);
        assert!((ingestion.dollars - 78.84).abs() < 1e-6);
        // 43,800 ticks of 52.5 s and a bit, with 1/8 GB each.
        let time = line(&lines, "Lambda time");
        let work = 0.1 + 0.1 + 0.005 * CPU_SECONDS_PER_MILLION * 1769.0 / 128.0;
        assert!(
            (time.quantity - 43_800.0 * (52.5 + work) / 8.0).abs() < 1e-6,
            "{}",
            time.quantity
        );
        assert!((line(&lines, "S3 PUT").dollars - 0.438).abs() < 1e-9);
        assert!((line(&lines, "CloudWatch dashboard").dollars - 3.0).abs() < 1e-9);
        assert!((line(&lines, "AMP endpoint").dollars - 14.6).abs() < 1e-9);
        assert!((line(&lines, "AMP endpoint, data").quantity - 8.76e9 / GIB).abs() < 1e-9);
    }

    #[test]
    fn the_free_tier_egress_and_interval_change_what_they_should() {
        let prices = Prices::new("us-east-1").unwrap();
        let free = bill(
            &prices,
            Deployment {
                free_tier: true,
                egress: Egress::Ipv6,
                ..ALONE
            },
            MonthlyLoad {
                interval_seconds: 60.0,
                ..HOME
            },
        );
        // 219 M samples, 40 M of them free; the function's 43,800 ticks are free altogether.
        assert!((line(&free, "AMP ingestion").dollars - 16.11).abs() < 1e-6);
        assert_eq!(line(&free, "Lambda time").dollars, 0.0);
        assert_eq!(line(&free, "CloudWatch dashboard").dollars, 0.0);
        assert!(
            free.iter()
                .all(|line| !line.service.contains("endpoint") && !line.service.contains("NAT"))
        );
        let nat = bill(
            &prices,
            Deployment {
                egress: Egress::Nat,
                zones: 1.0,
                ..ALONE
            },
            HOME,
        );
        assert!((line(&nat, "NAT gateway").dollars - 32.85).abs() < 1e-9);
        let arm = bill(
            &prices,
            Deployment {
                arm64: true,
                ..ALONE
            },
            HOME,
        );
        assert!(line(&arm, "Lambda time").dollars < line(&nat, "Lambda time").dollars);
    }

    /// The load behind the table of infra/README.md: each series is new in each scrape, a sample
    /// takes 32 bytes of a request, as 100,000 real ones did, and a scrape takes half a second.
    fn guide_load(series: f64, interval_seconds: f64) -> MonthlyLoad {
        MonthlyLoad {
            interval_seconds,
            samples: series,
            scraped: series,
            sample_bytes: 32.0,
            scrape_seconds: 0.5,
            puts: PUTS,
        }
    }

    /// The same in exact mode, for a home that scrapes its targets every 15 s: one read a minute,
    /// and 18 bytes of a request for each of the four samples of a series (`make bench`).
    fn guide_load_of_every_sample(series: f64) -> MonthlyLoad {
        let samples = series * 4.0;
        MonthlyLoad {
            samples,
            scraped: samples,
            sample_bytes: 18.0,
            puts: PUTS_ALWAYS,
            ..guide_load(series, 60.0)
        }
    }

    /// A row of the guide's tables. `interval` is what its second column says.
    fn guide_row(series: f64, interval: &str, load: MonthlyLoad) -> String {
        let prices = Prices::new("us-east-1").unwrap();
        let list = Deployment {
            zones: 1.0,
            ..ALONE
        };
        let lines = bill(&prices, list, load);
        let sum = |services: &[&str]| {
            lines
                .iter()
                .filter(|line| services.contains(&line.service))
                .map(|line| line.dollars)
                .sum::<f64>()
        };
        let all = |free_tier| {
            bill(&prices, Deployment { free_tier, ..list }, load)
                .iter()
                .map(|line| line.dollars)
                .sum::<f64>()
        };
        format!(
            "| {series} | {interval} | {:.0} M | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} \
             | **{:.2}** | {:.2} |\n",
            load.samples_per_month() / 1e6,
            sum(&["AMP ingestion"]),
            sum(&["AMP storage"]),
            sum(&["Lambda requests", "Lambda time", "EventBridge Scheduler"]),
            sum(&["S3 PUT"]),
            sum(&["AMP endpoint", "AMP endpoint, data"]),
            sum(&[
                "CloudWatch metrics",
                "CloudWatch alarms",
                "CloudWatch dashboard",
                "CloudWatch logs",
            ]),
            all(false),
            all(true),
        )
    }

    #[test]
    fn the_tables_of_the_guide_are_these_sums() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/README.md");
        let guide = std::fs::read_to_string(path).unwrap();
        let mut rows = Vec::new();
        for series in [5_000.0, 20_000.0, 100_000.0] {
            for interval in [15.0, 30.0, 60.0] {
                let load = guide_load(series, interval);
                rows.push(guide_row(series, &format!("{interval} s"), load));
            }
        }
        for series in [5_000.0, 20_000.0, 100_000.0] {
            let load = guide_load_of_every_sample(series);
            rows.push(guide_row(series, "every sample", load));
        }
        rows.retain(|row| !guide.contains(row));
        assert!(
            rows.is_empty(),
            "not in infra/README.md:\n{}",
            rows.concat()
        );
    }
}
