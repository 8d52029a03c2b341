//! The processes of the function, and the schedule of the sites.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::homes::Homes;
use super::receiver::FleetReceiver;
use super::report::FleetResults;
use crate::bench::usage;
use crate::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use crate::process::Moto;

const BUCKET: &str = "fleet";
/// Lambda's limit for an invocation of the schedule.
const LIMIT: Duration = Duration::from_secs(75);

/// The size of a fleet.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The program of the function.
    pub program: PathBuf,
    /// Number of sites.
    pub sites: usize,
    /// Number of series of each site.
    pub series: usize,
    /// Number of processes of the function.
    pub processes: usize,
    /// Memory of the function in MB, of which 60 % are for caches and queues.
    pub memory_mb: u32,
    /// Number of ticks of each site.
    pub rounds: usize,
    /// Whether each site has its second in each minute, as schedules do it. Otherwise the rounds
    /// follow each other at once, by events that scrape by hand.
    pub paced: bool,
}

/// One tick of a site.
#[derive(Debug, Clone)]
pub struct FleetTick {
    /// Process that served it.
    pub process: usize,
    /// Number of the minute, counted from 0.
    pub round: usize,
    /// Whether the process did not know the site's series.
    pub cold: bool,
    /// Time from the invocation to its answer.
    pub took: Duration,
    /// CPU time of the process meanwhile.
    pub cpu: Duration,
    /// Bytes that the site's forwarder keeps, by its own account.
    pub kept_bytes: u64,
    /// Time that the invocation waited for a free process.
    pub waited: Duration,
    /// Why the tick was not fine.
    pub trouble: Option<String>,
}

/// Resident memory of a process when it knows a number of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteMemory {
    /// Number of sites that the process has served.
    pub sites: usize,
    /// Bytes.
    pub resident: u64,
}

/// A process of the function and its runtime API.
struct FleetProcess {
    index: usize,
    api: RuntimeApi,
    function: Function,
    /// Sites that it has served.
    known: std::collections::BTreeSet<usize>,
    memory: Vec<SiteMemory>,
}

fn name(site: usize) -> String {
    format!("site-{site:05}")
}

fn yaml(homes: &Homes, receiver: &FleetReceiver) -> String {
    format!(
        "global:\n  external_labels: {{site: '${{SITE}}'}}\nscrape_configs:\n  \
         - job_name: federate\n    honor_labels: true\n    metrics_path: '/${{SITE}}/federate'\n    \
         params: {{'match[]': ['{{job=~\".+\"}}']}}\n    \
         static_configs: [{{targets: ['{}']}}]\nremote_write:\n  - url: {}\n    name: fleet\n    \
         sigv4: {{region: us-east-1}}\nforwarder: {{metadata: {{enabled: false}}, remote_read: \
         {{mode: \"off\"}}}}\n",
        homes.address(),
        receiver.url()
    )
}

impl FleetProcess {
    async fn start(index: usize, options: &FleetOptions, moto: &Moto) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        // The function starts in a folder of its own.
        let program = options.program.canonicalize()?;
        let mut function = FunctionOptions::new(program, &api.runtime_api(), "");
        function.memory_mb = options.memory_mb;
        function.env.extend(
            [
                ("AWS_ENDPOINT_URL_S3", moto.url()),
                (
                    "FORWARDER_CONFIG",
                    format!("s3://{BUCKET}/sites/{{site}}/forwarder.yml"),
                ),
                ("SPOOL_URL", format!("s3://{BUCKET}/sites/{{site}}/spool")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(Self {
            index,
            function: Function::start(&function)?,
            api,
            known: std::collections::BTreeSet::new(),
            memory: Vec::new(),
        })
    }

    /// Invokes the function for a site.
    async fn tick(&mut self, site: usize, round: usize, paced: bool) -> Result<FleetTick> {
        let process = self.function.id();
        let event = if paced {
            json!({"site": name(site)})
        } else {
            json!({"site": name(site), "action": "forward"})
        };
        let (started, used) = (Instant::now(), usage::cpu(process)?);
        let result = self.api.invoke(event.to_string(), LIMIT).await?;
        let took = started.elapsed();
        let cpu = usage::cpu(process)?.saturating_sub(used);
        let report = match &result {
            InvocationResult::Answer(report) => report,
            InvocationResult::Error(error) => error,
        };
        let fine = report["outcome"] == "ok" && report["ledger"]["lost"] == 0;
        if self.known.insert(site) {
            self.memory.push(SiteMemory {
                sites: self.known.len(),
                resident: usage::resident_memory(process)?,
            });
        }
        Ok(FleetTick {
            process: self.index,
            round,
            cold: report["scrapes"][0]["series_added"] != 0,
            took,
            cpu,
            kept_bytes: report["memory"]["kept_bytes"].as_u64().unwrap_or_default(),
            waited: Duration::ZERO,
            trouble: (!fine).then(|| report.to_string()),
        })
    }
}

/// Starts everything, lets each site tick `rounds` times, and adds up what came of it.
///
/// # Errors
/// Fails when a program does not start, or does not answer.
pub async fn run(options: &FleetOptions) -> Result<FleetResults> {
    let homes = Homes::start(options.series).await?;
    let receiver = FleetReceiver::start().await?;
    let moto = Moto::start(&[]).await?;
    moto.create_bucket(BUCKET).await?;
    let yaml = yaml(&homes, &receiver);
    for site in 0..options.sites {
        let object = format!("{BUCKET}/sites/{}/forwarder.yml", name(site));
        moto.put(&object, yaml.clone()).await?;
    }
    let before = moto.log().len();
    let (free, mut waiting) = mpsc::unbounded_channel();
    for index in 0..options.processes {
        free.send(FleetProcess::start(index, options, &moto).await?)
            .ok()
            .context("the queue of free processes has ended")?;
    }
    let started = Instant::now();
    let mut running: JoinSet<Result<FleetTick>> = JoinSet::new();
    for round in 0..options.rounds {
        for site in 0..options.sites {
            let part = Duration::from_secs(60).mul_f64(site as f64 / options.sites as f64);
            let at = started + Duration::from_secs(60) * u32::try_from(round)? + part;
            if options.paced {
                tokio::time::sleep_until(at.into()).await;
            }
            // The process that has been free for longest: it knows the fewest of the sites, so
            // this is the worst that a schedule can do.
            let mut process: FleetProcess = waiting.recv().await.context("no process")?;
            let waited = started.elapsed().saturating_sub(at - started);
            let (free, paced) = (free.clone(), options.paced);
            running.spawn(async move {
                let tick = process.tick(site, round, paced).await;
                let _ = free.send(process);
                tick.map(|tick| FleetTick {
                    waited: if paced { waited } else { Duration::ZERO },
                    ..tick
                })
            });
        }
    }
    let mut ticks = Vec::new();
    while let Some(tick) = running.join_next().await {
        ticks.push(tick??);
    }
    let took = started.elapsed();
    let mut processes = Vec::new();
    for _ in 0..options.processes {
        processes.push(waiting.recv().await.context("no process")?);
    }
    processes.sort_by_key(|process| process.index);
    ensure!(ticks.len() == options.sites * options.rounds, "ticks");
    Ok(FleetResults {
        options: options.clone(),
        took,
        ticks,
        memory: processes
            .iter()
            .map(|process| process.memory.clone())
            .collect(),
        shown: homes.shown(),
        received: receiver.received(),
        s3_calls: calls(&moto.log()[before..]),
    })
}

/// Number of S3 calls by method, from moto's log: `"PUT /fleet/… HTTP/1.1" 200`.
fn calls(log: &str) -> std::collections::BTreeMap<String, u64> {
    let mut calls = std::collections::BTreeMap::new();
    for line in log.lines() {
        let Some((_, request)) = line.split_once('"') else {
            continue;
        };
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // Answers other than 200 are coloured.
        let method = method.rsplit('m').next().unwrap_or(method);
        let call = match method {
            "GET" if path.contains("list-type") => "LIST",
            "GET" if path.contains("forwarder.yml") => "GET of a configuration",
            "GET" => "GET of a lease",
            method @ ("PUT" | "DELETE" | "HEAD") => method,
            _ => continue,
        };
        *calls.entry(call.to_owned()).or_default() += 1;
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_the_log() {
        let log = "127.0.0.1 - - [29/Nov/2026 08:42:48] \"PUT /fleet/sites/a/spool/state.json?\
                   x-id=PutObject HTTP/1.1\" 200 -\n\
                   127.0.0.1 - - [29/Nov/2026 08:42:48] \"\u{1b}[33mGET /fleet/sites/a/spool/\
                   state.json?x-id=GetObject HTTP/1.1\u{1b}[0m\" 404 -\n\
                   127.0.0.1 - - [29/Nov/2026 08:42:48] \"GET /fleet/sites/a/forwarder.yml?\
                   x-id=GetObject HTTP/1.1\" 200 -\n\
                   127.0.0.1 - - [29/Nov/2026 08:42:48] \"GET /fleet?list-type=2 HTTP/1.1\" 200 -\n\
                   Press CTRL+C to quit\n";
        let found = calls(log);
        let names: Vec<_> = found
            .iter()
            .map(|(name, count)| (&name[..], *count))
            .collect();
        let expected = ["GET of a configuration", "GET of a lease", "LIST", "PUT"];
        assert_eq!(names, expected.map(|name| (name, 1)));
    }
}
