//! One forwarder, one home, one receiver: some scrapes to warm up, then as many as the case asks
//! for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::body::Shape;
use super::home::{Reading, ScrapeStart, SyntheticHome};
use super::programs::{OurPrograms, Program, RunningForwarder, SCRAPES_ONLY, Task};
use super::receiver::Receiver;
use super::usage;

/// Samples arrive within this time, unless their sender falls behind.
const LATE: Duration = Duration::from_secs(4);

/// A home, and how it is scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The series of the home and their form.
    pub shape: Shape,
    /// Time between two scrapes.
    pub interval: Duration,
    /// Number of scrapes that are not measured.
    pub warm_up: usize,
    /// Number of scrapes that are measured.
    pub scrapes: usize,
    /// The programs that are measured.
    pub programs: &'static [Program],
}

/// The figures of one forwarder in one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the program.
    pub program: String,
    /// Number of series in each scrape.
    pub series: usize,
    /// The form of the body, in the words of [`body_name`].
    pub body: String,
    /// Number of scrapes that were measured.
    pub scrapes: usize,
    /// Time between two scrapes, in seconds.
    pub interval_seconds: u64,
    /// CPU seconds for a million samples scraped, in user and kernel mode.
    pub cpu_per_million: f64,
    /// The same figure of the cheapest scrape. It shows the cost while no neighbour of a virtual
    /// machine uses the core.
    pub least_cpu_per_million: f64,
    /// Peak resident memory since the start of the process, in bytes.
    pub peak_memory: u64,
    /// Bytes of request bodies a scrape.
    pub sent_bytes: u64,
    /// Requests a scrape.
    pub requests: f64,
    /// Samples that arrived, a scrape.
    pub samples: f64,
    /// Median time from the scrape's request to the last acknowledgement, in seconds.
    pub latency: f64,
}

/// The name of a body's form in tables.
pub fn body_name(shape: Shape) -> String {
    let coding = match (shape.protobuf, shape.gzip) {
        (false, false) => "plain text",
        (false, true) => "gzip text",
        (true, false) => "protobuf",
        (true, true) => "gzip protobuf",
    };
    if shape.half_unchanged {
        format!("{coding}, half unchanged")
    } else {
        coding.to_owned()
    }
}

/// Measures one forwarder in one case.
///
/// # Errors
/// Fails when it does not scrape in time, or does not deliver what it scraped.
pub async fn measure(
    program: Program,
    ours: &OurPrograms,
    home: &SyntheticHome,
    case: Case,
) -> Result<Measurement> {
    let receiver = Receiver::start().await?;
    home.reset();
    let task = Task {
        home: home.address(),
        remote: receiver.url(),
        interval: case.interval,
        gzip: case.shape.gzip,
        protobuf: case.shape.protobuf,
        remote_read: SCRAPES_ONLY,
    };
    let running = RunningForwarder::start(program, ours, &task).await?;
    let measured = watch(&running, home, &receiver, case).await;
    let measured = measured.with_context(|| {
        format!(
            "{}; its log ends with:\n{}",
            program.name(),
            last_lines(&running.log())
        )
    });
    drop(running);
    let (mut measured, fresh) = measured?;
    measured.program = program.name().to_owned();
    // A sender's own reports come on top, and unchanged samples need not be sent. The last samples
    // of a scrape may still be on their way when the next one starts (vmagent flushes once a
    // second).
    ensure!(
        measured.samples >= fresh as f64 * 0.98,
        "{} delivered {} samples a scrape in place of {fresh}",
        program.name(),
        measured.samples
    );
    Ok(measured)
}

/// Reads the counters around the measured scrapes. The second value is the number of samples that
/// must arrive of each scrape.
async fn watch(
    running: &RunningForwarder,
    home: &SyntheticHome,
    receiver: &Receiver,
    case: Case,
) -> Result<(Measurement, usize)> {
    let process = running.id();
    let counted = receiver.counted();
    home.probes(move || {
        Some(Reading {
            cpu: usage::cpu(process).ok()?,
            received: counted(),
        })
    });
    let scrapes = window(home, case).await?;
    let count = (scrapes.len() - 1) as f64;
    let read = |scrape: Option<&ScrapeStart>| {
        scrape
            .and_then(|scrape| scrape.reading)
            .context("the measured process has ended")
    };
    let (before, after) = (read(scrapes.first())?, read(scrapes.last())?);
    let cpu = after.cpu.saturating_sub(before.cpu);
    let apart = |at: usize| at == 0 || case.are_apart(&scrapes[at - 1], &scrapes[at]);
    let alone = scrapes
        .windows(2)
        .enumerate()
        .filter(|(at, _)| apart(*at) && apart(at + 1));
    let each = alone
        .filter_map(|(_, pair)| Some(pair[1].reading?.cpu.saturating_sub(pair[0].reading?.cpu)));
    let least = each.min().unwrap_or(cpu.div_f64(count));
    let (before, after) = (before.received, after.received);
    let mut latencies: Vec<f64> = scrapes
        .windows(2)
        .filter_map(|pair| {
            Some(
                receiver
                    .last_answer(pair[1].asked)?
                    .saturating_duration_since(pair[0].asked)
                    .as_secs_f64(),
            )
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    let series = case.shape.series;
    let measured = Measurement {
        program: String::new(),
        series,
        body: body_name(case.shape),
        scrapes: scrapes.len() - 1,
        interval_seconds: case.interval.as_secs(),
        cpu_per_million: cpu.as_secs_f64() / (series as f64 * count) * 1e6,
        least_cpu_per_million: least.as_secs_f64() / series as f64 * 1e6,
        peak_memory: usage::peak_memory(process)?,
        sent_bytes: ((after.bytes - before.bytes) as f64 / count) as u64,
        requests: (after.requests - before.requests) as f64 / count,
        samples: (after.samples - before.samples) as f64 / count,
        latency: latencies
            .get(latencies.len() / 2)
            .copied()
            .unwrap_or(f64::NAN),
    };
    Ok((measured, case.fresh()))
}

/// Waits for the measured scrapes; returns them and the scrape after them.
async fn window(home: &SyntheticHome, case: Case) -> Result<Vec<ScrapeStart>> {
    for more in 1..=5 {
        let times = case.warm_up + case.scrapes + more;
        // The first scrape of a job may wait for an interval, and the smallest interval for a slow
        // start.
        let limit = case.interval * (times as u32 + 3) + Duration::from_secs(20);
        let scrapes = home.scraped(times, limit).await?;
        let apart = |at: &usize| case.are_apart(&scrapes[at - 1], &scrapes[*at]);
        let warm =
            (case.warm_up..scrapes.len()).find(|at| apart(at) && case.is_warm(*at, &scrapes[*at]));
        if let Some(first) = warm
            && let Some(last) = (first + case.scrapes..scrapes.len()).find(apart)
        {
            return Ok(scrapes[first..=last].to_vec());
        }
    }
    anyhow::bail!("the scrapes are too close to each other, or the program falls behind")
}

impl Case {
    /// Whether two scrapes are at least half an interval apart. A late scrape and the next slot can
    /// be closer: then one is still being sent when the other starts, and a counter read there
    /// would mix them.
    fn are_apart(&self, one: &ScrapeStart, next: &ScrapeStart) -> bool {
        next.asked - one.asked > self.interval / 2
    }

    /// Number of samples that must arrive of a scrape, other than the first one.
    fn fresh(&self) -> usize {
        if self.shape.half_unchanged {
            self.shape.series / 2
        } else {
            self.shape.series
        }
    }

    /// Whether the samples of all earlier scrapes have arrived when this one starts. Late samples,
    /// such as those of a first scrape of a million series, would be counted here.
    fn is_warm(&self, scrapes: usize, next: &ScrapeStart) -> bool {
        let scraped = self.shape.series + (scrapes - 1) * self.fresh();
        // vmagent flushes once a second, so it sends the last scrape of a short interval later.
        let may_come = if self.interval > LATE {
            self.fresh() / 50
        } else {
            self.fresh()
        };
        next.reading
            .is_some_and(|reading| reading.received.samples as usize + may_come >= scraped)
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::receiver::ReceivedTotals;
    use super::*;

    #[test]
    fn a_scrape_is_measured_when_nothing_of_those_before_is_on_its_way() {
        let shape = |half_unchanged| Shape {
            series: 1000,
            protobuf: false,
            gzip: false,
            half_unchanged,
        };
        let case = |seconds, half_unchanged| Case {
            shape: shape(half_unchanged),
            interval: Duration::from_secs(seconds),
            warm_up: 1,
            scrapes: 1,
            programs: &[],
        };
        let scrape = |samples| {
            let received = ReceivedTotals {
                samples,
                ..ReceivedTotals::default()
            };
            ScrapeStart {
                asked: Instant::now(),
                reading: Some(Reading {
                    cpu: Duration::ZERO,
                    received,
                }),
            }
        };
        for (seconds, half_unchanged, scrapes, samples, warm) in [
            (20, false, 1, 980, true),
            (20, false, 1, 979, false),
            (20, false, 3, 2940, false),
            (20, false, 3, 2980, true),
            (20, true, 3, 1990, true),
            (20, true, 3, 1989, false),
            // The samples of the last scrape may arrive later.
            (2, false, 3, 2000, true),
            (2, false, 3, 1999, false),
            (2, true, 3, 1500, true),
            (2, true, 3, 1499, false),
        ] {
            assert_eq!(
                case(seconds, half_unchanged).is_warm(scrapes, &scrape(samples)),
                warm,
                "{seconds} {half_unchanged} {scrapes} {samples}"
            );
        }
        assert!(
            !case(2, false).is_warm(
                1,
                &ScrapeStart {
                    asked: Instant::now(),
                    reading: None
                }
            ),
            "nothing is known of it"
        );
    }
}
