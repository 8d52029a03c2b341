//! Probes every system that the configuration names, and changes nothing: secrets, homes, their
//! clocks, and remotes.

mod finding;
mod reads;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use url::Url;

pub use self::finding::Finding;
use self::finding::{CLOCK_TOLERANCE_MS, PROBE};
use self::reads::ReadProbe;
use crate::config::{Config, HttpConfig, Problem};
use crate::home::{Home, HomeMethod, HomeRequest, JobId, targets};
use crate::intake::{ExposedSample, Refusal, Sink};
use crate::net;
use crate::scrape::text::TextParser;
use crate::send::{Remote, probe};
use crate::series::ExposedLabel;
use crate::tick::Forwarder;
use crate::time::Clock;

/// Number of scrapes that show whether the same Prometheus answers every time. A NodePort chooses
/// among pods for each connection; with two pods, ten answers miss the alternation once in a
/// hundred times.
const SCRAPES: usize = 10;

/// Pause between two of these scrapes.
const APART: Duration = Duration::from_millis(50);

/// Largest body in bytes of such a scrape, which holds one `up` for each target of the home.
const LARGEST: usize = 1 << 20;

/// Turns the warnings of a configuration into findings.
#[must_use]
pub fn warnings(problems: &[Problem]) -> Vec<Finding> {
    problems
        .iter()
        .map(|problem| Finding::doubtful("configuration", problem.to_string()))
        .collect()
}

/// Reads the secrets, and probes homes and remotes over the network.
///
/// `home` must use a new connection for each request, so that a load balancer in front of two
/// replicas shows.
pub async fn online(
    config: &Config,
    home: &dyn Home,
    remotes: &[Box<dyn Remote>],
    clock: &dyn Clock,
    forwarder: &Forwarder,
) -> Vec<Finding> {
    let mut findings = secrets(config, clock).await;
    findings.extend(homes(config, home, clock, forwarder).await);
    for (entry, remote) in config.remote_write.iter().zip(remotes) {
        let subject = format!(
            "remote {}",
            entry
                .name
                .as_deref()
                .unwrap_or(entry.url.host_str().unwrap_or_default())
        );
        let probed = probe(remote.as_ref(), clock, PROBE).await;
        findings.push(if probed.ok {
            Finding::good(subject, probed.text)
        } else {
            Finding::bad(subject, probed.text)
        });
    }
    findings
}

/// Reads each secret that the configuration refers to. These findings come first, because every
/// other probe fails without its secret.
async fn secrets(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let https = config
        .scrape_configs
        .iter()
        .map(|job| &job.http)
        .chain(config.remote_write.iter().map(|remote| &remote.http));
    let keys = config
        .remote_write
        .iter()
        .filter_map(|remote| remote.sigv4.as_ref()?.secret_key.as_ref());
    let sources = https
        .flat_map(HttpConfig::sources)
        .chain(keys.filter(|key| key.constant().is_none()));
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    for source in sources {
        let place = source.places().join(", ");
        if !seen.insert(place.clone()) {
            continue;
        }
        findings.push(
            match net::secrets().get(source, false, clock.now_ms()).await {
                Ok(_) => Finding::good(format!("secret {place}"), "it can be read"),
                Err(error) => Finding::bad(format!("secret {place}"), error.cause),
            },
        );
    }
    findings
}

/// Scrapes each target once, compares its clock, tries remote read, and looks for replicas that
/// alternate.
async fn homes(
    config: &Config,
    home: &dyn Home,
    clock: &dyn Clock,
    forwarder: &Forwarder,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scraped_ms = clock.now_ms();
    let previews = forwarder.preview(None, PROBE).await;
    for previewed in &previews {
        let subject = format!("home {} ({})", previewed.instance, previewed.job);
        let scraped = &previewed.scraped;
        findings.push(match &scraped.error {
            Some(error) => Finding::bad(subject.clone(), error.to_string()),
            None if scraped.tally.scraped == 0 => Finding::doubtful(
                subject.clone(),
                "it answers, but with no sample: match[] selects nothing of the last 5 minutes; \
                 try the selector on the home's own /graph page",
            ),
            None => Finding::good(
                subject.clone(),
                format!(
                    "{} samples, {} bytes in {} ms",
                    scraped.tally.scraped,
                    scraped.bytes,
                    scraped.duration.as_millis()
                ),
            ),
        });
        findings.extend(
            scraped
                .ahead_ms
                .map(|ahead_ms| clock_finding(&subject, ahead_ms)),
        );
    }
    for target in targets(&config.scrape_configs).unwrap_or_default() {
        let subject = format!(
            "home {} ({})",
            target.instance(),
            config.scrape_configs[target.job.index()].job_name
        );
        let Ok(url) = &target.url else {
            continue;
        };
        let job = &config.scrape_configs[target.job.index()].job_name;
        let federated = previews
            .iter()
            .find(|previewed| previewed.job == *job && previewed.instance == target.instance());
        // A home that cannot be scraped was named already.
        if let Some(federated) = federated.filter(|found| found.scraped.error.is_none()) {
            let probe = ReadProbe {
                config,
                home,
                forwarder,
            };
            let found = probe.findings(&subject, &target, federated, scraped_ms);
            findings.extend(found.await);
        }
        findings.extend(alternation(&subject, home, target.job, url).await);
    }
    findings
}

/// Judges a home's clock by the `Date` of its answer. Small differences mean nothing: `Date` has
/// whole seconds, and the answer took some time to arrive.
fn clock_finding(subject: &str, ahead_ms: i64) -> Finding {
    let seconds = ahead_ms as f64 / 1000.0;
    if ahead_ms.abs() <= CLOCK_TOLERANCE_MS {
        return Finding::good(subject, "its clock agrees with ours");
    }
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    Finding::doubtful(
        subject,
        format!(
            "its clock is {:.0} s {direction} ours: set both by NTP; \
             AMP accepts samples that are up to an hour older than the newest that it has seen",
            seconds.abs()
        ),
    )
}

/// Looks for replicas that alternate behind one address. They scrape the same targets at different
/// moments, so a series whose timestamp goes back from one answer to the next gives them away.
/// `home` must use a new connection for each request.
async fn alternation(subject: &str, home: &dyn Home, job: JobId, url: &Url) -> Option<Finding> {
    if !url.path().ends_with("/federate") {
        return None;
    }
    let mut url = url.clone();
    url.set_query(Some("match[]=up"));
    let mut newest = Timestamps::default();
    for _ in 0..SCRAPES {
        let request = HomeRequest {
            job,
            url: &url,
            method: HomeMethod::Get {
                accept: "text/plain;version=0.0.4",
                compression: false,
            },
            timeout: PROBE,
        };
        let mut answer = home.send(request).await.ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.body.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return None;
            }
        }
        body.push(b'\n');
        TextParser::default().parse(&body, true, &mut newest).ok()?;
        tokio::time::sleep(APART).await;
    }
    newest.went_back.then(|| {
        Finding::doubtful(
            subject,
            "more than one Prometheus answers at this address: timestamps go back and forth, \
             and AMP rejects samples that go back; \
             give each replica a Service (NodePort) of its own, or set sessionAffinity: ClientIP",
        )
    })
}

/// The newest timestamp of each series in milliseconds, by the series' text.
#[derive(Default)]
struct Timestamps {
    newest: HashMap<Vec<u8>, i64>,
    /// Whether any series showed a timestamp older than its newest.
    went_back: bool,
}

impl Sink for Timestamps {
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let Some(timestamp_ms) = sample.timestamp_ms else {
            return Ok(true);
        };
        let newest = self
            .newest
            .entry(sample.series.to_vec())
            .or_insert(timestamp_ms);
        self.went_back |= timestamp_ms < *newest;
        *newest = timestamp_ms.max(*newest);
        Ok(true)
    }

    fn resolved(&mut self, _: &ExposedSample<'_>, _: &[ExposedLabel<'_>]) -> Result<(), Refusal> {
        Ok(())
    }
}
