//! The bill of a month, line by line: pure sums.

use super::prices::Prices;

/// A month as AWS reckons it: 730 hours.
const MONTH_HOURS: f64 = 730.0;
const MONTH_SECONDS: f64 = MONTH_HOURS * 3600.0;
/// One tick a minute.
const TICKS: f64 = MONTH_SECONDS / 60.0;

const GIB: f64 = (1u64 << 30) as f64;

/// AMP keeps samples this long unless told otherwise, "typically 1 or 2 bytes" each
/// (aws.amazon.com/prometheus/pricing). Labels come on top.
const RETENTION_MONTHS: f64 = 150.0 * 24.0 / MONTH_HOURS;
const STORED_BYTES: f64 = 2.0;

/// MB of memory that come with one whole core (Lambda developer guide).
const CORE_MB: f64 = 1769.0;

/// CPU seconds for a million samples on a whole core, warm, network aside. `make bench` gives 0.26
/// for plain text, 0.80 for gzip text and 0.97 for gzip protobuf (benches/results.md), which
/// changes the bill by cents.
const CPU_SECONDS_PER_MILLION: f64 = 0.6;

/// What is billed for a tick beyond its work: start of the runtime, lease, release.
const TICK_OVERHEAD_SECONDS: f64 = 0.1;

/// Log lines of a tick and Lambda's own three, in bytes.
const TICK_LOG_BYTES: f64 = 2_000.0;

/// Metrics of the function's EMF line, and alarms of the templates in infra/.
const METRICS: f64 = 10.0;
const ALARMS: f64 = 10.0;

/// How the function reaches AMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Egress {
    /// An interface endpoint of its own
    Endpoint,
    /// A NAT gateway of its own
    Nat,
    /// IPv6 through an egress-only gateway: free
    Ipv6,
    /// What is there already
    Existing,
}

/// How the function is deployed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deployment {
    pub(super) memory_mb: f64,
    pub(super) arm64: bool,
    pub(super) egress: Egress,
    pub(super) zones: f64,
    pub(super) free_tier: bool,
}

/// What the home gives at one interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) interval_seconds: f64,
    /// New samples a scrape.
    pub(super) samples: f64,
    /// All samples of a scrape: each is parsed.
    pub(super) scraped: f64,
    /// Compressed bytes of a sample.
    pub(super) sample_bytes: f64,
    /// Of one scrape, network included.
    pub(super) scrape_seconds: f64,
}

/// One line of the bill.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Line {
    pub(super) service: &'static str,
    pub(super) quantity: f64,
    pub(super) unit: String,
    pub(super) dollars: f64,
    /// Where the price stands.
    pub(super) source: String,
    /// A price or a quantity in it is believed, not known.
    pub(super) unverified: bool,
}

impl Load {
    /// Samples of a month.
    pub(super) fn month(&self) -> f64 {
        self.samples * MONTH_SECONDS / self.interval_seconds
    }

    /// Billed seconds of one tick. Below a minute a tick stays for its slots, the last of which
    /// lies, on average, half an interval before its minute's end (src/tick/job/slots.rs); else it does
    /// its work and ends.
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

/// A month's bill.
pub(super) fn bill(prices: &Prices, deployment: Deployment, load: Load) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |service, item: &str, quantity: f64, guessed: bool| {
        let Some(price) = prices.item(item) else {
            return;
        };
        let dollars = price.cost(quantity, deployment.free_tier);
        lines.push(Line {
            service,
            quantity,
            unit: price.unit.clone(),
            dollars,
            source: price.source.clone(),
            unverified: guessed || price.unverified,
        });
    };
    let samples = load.month();
    add("AMP ingestion", "amp_ingestion", samples, false);
    add(
        "AMP storage",
        "amp_storage",
        samples * RETENTION_MONTHS * STORED_BYTES / GIB,
        true,
    );
    add("Lambda requests", "lambda_requests", TICKS, false);
    let seconds = TICKS * load.tick_seconds(deployment.memory_mb);
    let architecture = if deployment.arm64 {
        "lambda_arm64"
    } else {
        "lambda_x86_64"
    };
    add(
        "Lambda time",
        architecture,
        seconds * deployment.memory_mb / 1024.0,
        false,
    );
    add("EventBridge Scheduler", "scheduler", TICKS, false);
    add("S3 PUT", "s3_put", 2.0 * TICKS, false);
    let sent = samples * load.sample_bytes / GIB;
    match deployment.egress {
        Egress::Endpoint => {
            add(
                "AMP endpoint",
                "interface_endpoint",
                MONTH_HOURS * deployment.zones,
                false,
            );
            add("AMP endpoint, data", "interface_endpoint_gb", sent, false);
        }
        Egress::Nat => {
            add("NAT gateway", "nat", MONTH_HOURS * deployment.zones, false);
            add("NAT gateway, data", "nat_gb", sent, false);
        }
        Egress::Ipv6 | Egress::Existing => {}
    }
    add("CloudWatch metrics", "cloudwatch_metric", METRICS, false);
    add("CloudWatch alarms", "cloudwatch_alarm", ALARMS, false);
    add(
        "CloudWatch logs",
        "cloudwatch_logs_gb",
        TICKS * TICK_LOG_BYTES / GIB,
        false,
    );
    lines
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
    const HOME: Load = Load {
        interval_seconds: 15.0,
        samples: 5_000.0,
        scraped: 5_000.0,
        sample_bytes: 10.0,
        scrape_seconds: 0.1,
    };

    fn line(lines: &[Line], service: &str) -> Line {
        lines
            .iter()
            .find(|line| line.service == service)
            .cloned()
            .unwrap()
    }

    #[test]
    fn a_month_by_hand() {
        let prices = Prices::of("us-east-1").unwrap();
        let lines = bill(&prices, ALONE, HOME);
        // 175,200 scrapes of 5,000 samples.
        let ingestion = line(&lines, "AMP ingestion");
        assert_eq!(ingestion.quantity, 876e6);
        assert!((ingestion.dollars - 78.84).abs() < 1e-6);
        // 43,800 ticks, 52.5 s and a bit of 1/8 GB each.
        let time = line(&lines, "Lambda time");
        let work = 0.1 + 0.1 + 0.005 * CPU_SECONDS_PER_MILLION * 1769.0 / 128.0;
        assert!(
            (time.quantity - 43_800.0 * (52.5 + work) / 8.0).abs() < 1e-6,
            "{}",
            time.quantity
        );
        assert!((line(&lines, "S3 PUT").dollars - 0.438).abs() < 1e-9);
        assert!((line(&lines, "AMP endpoint").dollars - 14.6).abs() < 1e-9);
        assert!((line(&lines, "AMP endpoint, data").quantity - 8.76e9 / GIB).abs() < 1e-9);
    }

    #[test]
    fn the_free_tier_egress_and_interval_change_what_they_should() {
        let prices = Prices::of("us-east-1").unwrap();
        let free = bill(
            &prices,
            Deployment {
                free_tier: true,
                egress: Egress::Ipv6,
                ..ALONE
            },
            Load {
                interval_seconds: 60.0,
                ..HOME
            },
        );
        // 219 M samples, 40 M of them free; the function's 43,800 ticks are free altogether.
        assert!((line(&free, "AMP ingestion").dollars - 16.11).abs() < 1e-6);
        assert_eq!(line(&free, "Lambda time").dollars, 0.0);
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

    /// Each series new at each scrape; 32 bytes of a request for each sample, as 100,000 real ones
    /// took; half a second for a scrape.
    fn of_the_guide(series: f64, interval_seconds: f64) -> Load {
        Load {
            interval_seconds,
            samples: series,
            scraped: series,
            sample_bytes: 32.0,
            scrape_seconds: 0.5,
        }
    }

    #[test]
    fn the_table_of_the_guide_is_these_sums() {
        let prices = Prices::of("us-east-1").unwrap();
        let guide =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/README.md"))
                .unwrap();
        let mut missing = String::new();
        for series in [5_000.0, 20_000.0, 100_000.0] {
            for interval in [15.0, 30.0, 60.0] {
                let load = of_the_guide(series, interval);
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
                let row = format!(
                    "| {series} | {interval} s | {:.0} M | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | **{:.2}** | {:.2} |\n",
                    load.month() / 1e6,
                    sum(&["AMP ingestion"]),
                    sum(&["AMP storage"]),
                    sum(&["Lambda requests", "Lambda time", "EventBridge Scheduler"]),
                    sum(&["S3 PUT"]),
                    sum(&["AMP endpoint", "AMP endpoint, data"]),
                    sum(&["CloudWatch metrics", "CloudWatch alarms", "CloudWatch logs"]),
                    all(false),
                    all(true),
                );
                if !guide.contains(&row) {
                    missing.push_str(&row);
                }
            }
        }
        assert!(missing.is_empty(), "not in infra/README.md:\n{missing}");
    }
}
