//! `make demo`: the whole way of a sample, with an outage of the receiver that lasts longer than a
//! tick.
//!
//! ```text
//! node exporter ─► home Prometheus ─► recorder ─► the function ─► gateway ─► receiver Prometheus
//!                                     (keeps what   under cargo-   (checks    (killed for a while,
//!                                      was exposed)  lambda)  │     SigV4)     then started again)
//!                                                             └──► moto, an S3 for the spool
//! ```
//! The verdict comes from the wire and from the query APIs of both ends, never from the forwarder's
//! own ledger.

mod backlog;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use self::backlog::TickRow;
use crate::gateway::{Fault, FaultAction, Gateway, GatewayOptions};
use crate::home::Recorder;
use crate::lambda::{Emulator, Function, FunctionOptions};
use crate::process::{Job, Moto, NodeExporter, Prometheus, V3_5};
use crate::{now_ms, wait_for};

pub use table::{Evidence, Verdict};

const SOON: Duration = Duration::from_secs(60);

/// The bucket of the spool in moto.
const BUCKET: &str = "amp-forwarder-demo";

/// Options of a demo.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The function: the zip of `make build`, or a program.
    pub function: PathBuf,
    /// Time between two scrapes, as Prometheus writes durations.
    pub interval: String,
    /// The function's time-out: a tick serves the slots that fit into it.
    pub tick: Duration,
    /// Time during which the function is invoked again. After it, the invocations go on until the
    /// spool is empty.
    pub duration: Duration,
    /// Time from the first stored sample to the outage.
    pub outage_after: Duration,
    /// Length of the outage; zero for none.
    pub outage: Duration,
    /// Whether the gateway swallows a batch, to show that the verdict notices.
    pub drop_one_batch: bool,
}

impl DemoOptions {
    /// A little more than a minute: ticks of a quarter of a minute, and 25 seconds of outage across
    /// the ends of the first two.
    pub fn new(function: impl Into<PathBuf>) -> Self {
        Self {
            function: function.into(),
            interval: "5s".to_owned(),
            tick: Duration::from_secs(15),
            duration: Duration::from_secs(50),
            outage_after: Duration::from_secs(4),
            outage: Duration::from_secs(25),
            drop_one_batch: false,
        }
    }
}

/// Everything that runs in a demo.
#[derive(Debug)]
pub struct Demo {
    options: DemoOptions,
    function: Function,
    emulator: Emulator,
    recorder: Recorder,
    gateway: Gateway,
    home: Prometheus,
    receiver: Prometheus,
    _exporter: NodeExporter,
    _store: Moto,
    _unpacked: TempDir,
    started: Instant,
    started_ms: i64,
}

impl Demo {
    /// Starts all programs and waits until the home has something to expose.
    ///
    /// # Errors
    /// Fails when a program is missing or does not become ready.
    pub async fn start(options: DemoOptions) -> Result<Self> {
        let unpacked = TempDir::new()?;
        let program = unpack(&options.function, unpacked.path())?;
        let exporter = NodeExporter::start().await?;
        say(format!("node exporter at http://{}", exporter.address()));
        let home = Prometheus::home(V3_5, vec![Job::new("node", &[exporter.address()])]).await?;
        say(format!(
            "home: Prometheus {V3_5} at {}, two jobs scraped each second",
            home.url()
        ));
        let receiver = Prometheus::receiver(V3_5).await?;
        say(format!("receiver: Prometheus {V3_5} at {}", receiver.url()));
        let upstream = Some(receiver.remote_write_url());
        let gateway = Gateway::start(GatewayOptions {
            upstream,
            ..GatewayOptions::default()
        })
        .await?;
        say(format!(
            "gateway at {}: takes the place of AMP and verifies SigV4",
            gateway.url()
        ));
        if options.drop_one_batch {
            gateway.faults().add(Fault {
                skip: 1,
                ..Fault::once(FaultAction::Drop)
            });
            say("the gateway will acknowledge the second batch without storing it");
        }
        let recorder = Recorder::start(&home.url()).await?;
        let store = Moto::start(&[]).await?;
        store.create_bucket(BUCKET).await?;
        say(format!("S3 for the spool: moto at {}", store.url()));
        let emulator = Emulator::start(options.tick).await?;
        let config = forwarder_yml(
            &options.interval,
            &recorder.address(),
            &gateway.remote_write_url(),
        );
        let mut function = FunctionOptions::new(program, &emulator.runtime_api(), &config);
        function
            .env
            .push(("AWS_ENDPOINT_URL_S3".to_owned(), store.url()));
        let function = Function::start(&function)?;
        say("the function, under cargo-lambda's runtime API, with this forwarder.yml:");
        for line in config.lines() {
            println!("              {line}");
        }
        let querier = home.querier();
        wait_for("the home's two targets are up", SOON, || async {
            querier.value("sum(up)").await.ok().flatten() == Some(2.0)
        })
        .await?;
        Ok(Self {
            options,
            function,
            emulator,
            recorder,
            gateway,
            home,
            receiver,
            _exporter: exporter,
            _store: store,
            _unpacked: unpacked,
            started: Instant::now(),
            started_ms: now_ms(),
        })
    }

    /// Invokes the function on its schedule, with the outage in the middle, and prints what each
    /// tick left in the spool.
    ///
    /// # Errors
    /// Fails when an invocation is not answered, the receiver does not come back, or the backlog
    /// does not drain.
    pub async fn run(&mut self) -> Result<()> {
        let done = tokio::try_join!(
            invoke_until(
                &self.emulator,
                &self.options,
                self.started + self.options.duration
            ),
            out_and_back(&mut self.receiver, &self.gateway, &self.options)
        );
        done.with_context(|| format!("the function's log:\n{}", self.function.log()))?;
        Ok(())
    }

    /// Compares both ends.
    ///
    /// # Errors
    /// Fails when one of them does not answer.
    pub async fn verdict(&self) -> Result<Verdict> {
        // The home continues to scrape: the comparison ends with the last exposition that was
        // taken.
        let recordings = self.recorder.recordings();
        let (from, until) = (self.started_ms - 600_000, now_ms());
        let evidence = Evidence {
            recordings,
            home: self
                .home
                .querier()
                .raw("{__name__=~\".+\"}", from, until)
                .await?,
            received: self
                .receiver
                .querier()
                .raw("{__name__=~\".+\"}", from, until)
                .await?,
            forwarder_instance: self.recorder.address(),
            gateway: self.gateway.stats(),
        };
        evidence.judge()
    }

    /// Addresses of the programs, for a person who wants to look around.
    pub fn addresses(&self) -> String {
        format!(
            "home {}  receiver {}  gateway {}/admin/stats",
            self.home.url(),
            self.receiver.url(),
            self.gateway.url()
        )
    }
}

fn say(what: impl AsRef<str>) {
    println!("demo: {}", what.as_ref());
}

async fn invoke_until(emulator: &Emulator, options: &DemoOptions, end: Instant) -> Result<()> {
    say(TickRow::HEAD);
    let mut last: Option<TickRow> = None;
    // Any event means forward, so the body that EventBridge Scheduler sends is not needed here.
    while Instant::now() < end || last.as_ref().is_some_and(|row| row.owed > 0) {
        ensure!(
            Instant::now() < end + SOON,
            "the spool still has samples {SOON:?} after the end"
        );
        let started = Instant::now();
        let answer = emulator
            .invoke("{}", options.tick + Duration::from_secs(10))
            .await?;
        let row = TickRow::new(last.as_ref(), started.elapsed(), &answer)?;
        say(row.to_string());
        // A function that fails at once would be invoked thousands of times.
        ensure!(
            row.outcome != "failed" || started.elapsed() > Duration::from_secs(1),
            "the function fails at once: {answer:?}"
        );
        last = Some(row);
    }
    Ok(())
}

async fn out_and_back(
    receiver: &mut Prometheus,
    gateway: &Gateway,
    options: &DemoOptions,
) -> Result<()> {
    if options.outage.is_zero() {
        return Ok(());
    }
    wait_for("the gateway has stored something", SOON, || async {
        gateway.stats().stored > 0
    })
    .await?;
    tokio::time::sleep(options.outage_after).await;
    receiver.kill();
    say(format!(
        "the receiver is killed and stays away for {} s",
        options.outage.as_secs()
    ));
    tokio::time::sleep(options.outage).await;
    let refused = gateway
        .stats()
        .statuses
        .get(&503)
        .copied()
        .unwrap_or_default();
    receiver.restart().await?;
    say(format!(
        "the receiver is back; meanwhile {refused} requests were answered 503"
    ));
    Ok(())
}

fn forwarder_yml(interval: &str, target: &str, remote_write: &str) -> String {
    format!(
        "global:\n  scrape_interval: {interval}\nscrape_configs:\n  - job_name: federate\n    \
         honor_labels: true\n    metrics_path: /federate\n    \
         params: {{'match[]': ['{{__name__=~\".+\"}}']}}\n    \
         static_configs: [{{targets: ['{target}']}}]\nremote_write:\n  - url: {remote_write}\n    \
         queue_config: {{max_samples_per_send: 500, max_shards: 4}}\n    \
         sigv4: {{region: us-east-1}}\nforwarder:\n  spool: {{url: 's3://{BUCKET}/spool'}}\n"
    )
}

/// Unpacks the program from a zip of `make build`; a path without that extension is the program.
fn unpack(function: &Path, into: &Path) -> Result<PathBuf> {
    ensure!(
        function.is_file(),
        "{} is missing: run `make build`",
        function.display()
    );
    if function
        .extension()
        .is_none_or(|extension| extension != "zip")
    {
        return Ok(std::path::absolute(function)?);
    }
    // Python is installed for the tools anyway; unzip may be missing.
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(function)
        .arg(into)
        .status()
        .context("run python3 to unpack")?;
    ensure!(status.success(), "cannot unpack {}", function.display());
    let program = into.join("bootstrap");
    let mut permissions = std::fs::metadata(&program)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&program, permissions)?;
    Ok(program)
}
