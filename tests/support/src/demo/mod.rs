//! `make demo`: the whole way of a sample, through everything that goes wrong between a home and
//! AMP.
//!
//! ```text
//! node exporter ─► home Prometheus ─► link ─► the function ─► gateway ─► receiver Prometheus
//!                  (two jobs, each   (a VPN   under cargo-   (checks    (killed for a while,
//!                   second)          that is   lambda)  │     SigV4)     then started again)
//!                                    cut once)          └──► moto, an S3 for the spool
//! ```
//! The receiver is away, the link is cut, the function is killed, and a target goes away. A twin of
//! the function goes through the same with `remote_read: {mode: off}`, and shows what federation
//! alone would have missed. The verdict comes from the databases of both ends, never from the
//! forwarder's own ledger.

mod backlog;
mod picture;
mod table;
mod troubles;
mod twin;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use self::troubles::Troubles;
use self::twin::Forwarding;
use crate::gateway::options::{ACCESS_KEY, SECRET_KEY, SESSION_TOKEN};
use crate::gateway::{Fault, FaultAction, Gateway, GatewayOptions};
use crate::home::Link;
use crate::process::{Job, Moto, NodeExporter, Prometheus, V3_5};
use crate::{now_ms, read, wait_for};

pub use table::{Evidence, Verdict};

const SOON: Duration = Duration::from_secs(60);

/// How long everything is kept running at most.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The bucket of the spool in moto.
const BUCKET: &str = "amp-forwarder-demo";

/// Options of a demo.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The function: the zip of `make build`, or a program.
    pub function: PathBuf,
    /// Time between two scrapes of the twin, as Prometheus writes durations.
    pub interval: String,
    /// The function's time-out.
    pub tick: Duration,
    /// Time during which the function is invoked again. After it, the invocations go on until all
    /// has arrived.
    pub duration: Duration,
    /// Whether anything goes wrong.
    pub troubles: bool,
    /// Whether the gateway swallows a batch, to show that the verdict notices.
    pub drop_one_batch: bool,
    /// Where the picture of a series at both ends is written.
    pub picture: Option<PathBuf>,
}

impl DemoOptions {
    /// A minute and a half: 25 seconds without the receiver, 20 without the link, a kill, and a
    /// target that goes away.
    pub fn new(function: impl Into<PathBuf>) -> Self {
        Self {
            function: function.into(),
            interval: "5s".to_owned(),
            tick: Duration::from_secs(15),
            duration: Duration::from_secs(80),
            troubles: true,
            drop_one_batch: false,
            picture: None,
        }
    }
}

/// Everything that runs in a demo.
#[derive(Debug)]
pub struct Demo {
    options: DemoOptions,
    exact: Forwarding,
    twin: Forwarding,
    link: Link,
    home: Prometheus,
    receiver: Prometheus,
    exporter: Option<NodeExporter>,
    _store: Moto,
    _unpacked: TempDir,
    troubles: Troubles,
}

impl Demo {
    /// Starts all programs and waits until the home has something to show.
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
        let link = Link::start(&home.address()).await?;
        say(format!(
            "link to the home, in the place of a VPN, at {}",
            link.address()
        ));
        let receiver = Prometheus::receiver(V3_5).await?;
        say(format!("receiver: Prometheus {V3_5} at {}", receiver.url()));
        let gateway = Gateway::start(GatewayOptions {
            upstream: Some(receiver.remote_write_url()),
            ..GatewayOptions::default()
        })
        .await?;
        say(format!(
            "gateway at {}: takes the place of AMP and verifies SigV4",
            gateway.url()
        ));
        if options.drop_one_batch {
            // A batch of the home's samples, not only of `up` and the like.
            gateway.faults().add(Fault {
                min_samples: 100,
                ..Fault::once(FaultAction::Drop)
            });
            say("the gateway will acknowledge the first large batch without storing it");
        }
        let store = Moto::start(&[]).await?;
        store.create_bucket(BUCKET).await?;
        say(format!("S3 for the spool: moto at {}", store.url()));
        let start = |name, mode, gateway: Gateway| {
            let config = forwarder_yml(&options.interval, &link.address(), &gateway, name, mode);
            Forwarding::start(name, &program, options.tick, gateway, &store, config)
        };
        let exact = start("exact", "always", gateway).await?;
        say("the function, under cargo-lambda's runtime API, with this forwarder.yml:");
        for line in exact.config().lines() {
            println!("              {line}");
        }
        let twin = start(
            "twin",
            "off",
            Gateway::start(GatewayOptions::default()).await?,
        )
        .await?;
        say("its twin has remote_read: {mode: off}, and a gateway of its own");
        let querier = home.querier();
        wait_for("the home's two targets are up", SOON, || async {
            querier.value("sum(up)").await.ok().flatten() == Some(2.0)
        })
        .await?;
        Ok(Self {
            options,
            exact,
            twin,
            link,
            home,
            receiver,
            exporter: Some(exporter),
            _store: store,
            _unpacked: unpacked,
            troubles: Troubles::default(),
        })
    }

    /// Invokes both functions on their schedule, with the troubles in between, and prints what each
    /// tick of the exact one left in the spool.
    ///
    /// # Errors
    /// Fails when an invocation is not answered, the receiver does not come back, or not everything
    /// arrives.
    pub async fn run(&mut self) -> Result<()> {
        let Self {
            options,
            exact,
            twin,
            link,
            receiver,
            exporter,
            troubles,
            ..
        } = self;
        let end = Instant::now() + options.duration;
        let (kill_exact, kill_twin) = (exact.killer(), twin.killer());
        let gateways = (exact.gateway(), twin.gateway());
        let making = async {
            if options.troubles {
                let kill = || {
                    kill_exact.notify_one();
                    kill_twin.notify_one();
                };
                troubles
                    .make((&gateways.0, &gateways.1), receiver, link, kill, exporter)
                    .await?;
            }
            Ok(())
        };
        let done = tokio::try_join!(exact.run(end, true), twin.run(end, false), making);
        done.with_context(|| format!("the function's log:\n{}", exact.log()))?;
        Ok(())
    }

    /// Compares both ends.
    ///
    /// # Errors
    /// Fails when one of them does not answer.
    pub async fn verdict(&self) -> Result<Verdict> {
        let (from, until) = (now_ms() - 600_000, now_ms());
        let evidence = Evidence {
            home: read::samples(&self.home.url(), "__name__", from, until).await?,
            received: read::samples(&self.receiver.url(), "__name__", from, until).await?,
            federated: self.twin.received(),
            safe_ms: self.exact.safe_ms().context("nothing was read")?,
            forwarder_instance: self.link.address(),
            gateway: self.exact.stats(),
            kills: u64::from(self.options.troubles),
        };
        if let Some(path) = &self.options.picture {
            let picture = picture::svg(&evidence, &self.troubles);
            std::fs::write(path, picture).with_context(|| format!("write {}", path.display()))?;
            say(format!("{} shows a series at both ends", path.display()));
        }
        Ok(evidence.judge())
    }

    /// Goes on invoking the function on its schedule, so that both ends stay the same.
    ///
    /// # Errors
    /// Fails when an invocation is not answered.
    pub async fn keep(&mut self) -> Result<()> {
        self.exact.run(Instant::now() + KEPT, false).await
    }

    /// Addresses of the programs, for a person who wants to look around.
    pub fn addresses(&self) -> String {
        format!(
            "home {}  receiver {}  gateway {}/admin/stats",
            self.home.url(),
            self.receiver.url(),
            self.exact.gateway().url()
        )
    }

    /// The command that compares both ends by forwardctl.
    pub fn verify_command(&self) -> String {
        format!(
            "AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} \
             AWS_SESSION_TOKEN={SESSION_TOKEN} FORWARDER_CONFIG={} \
             cargo run --bin forwardctl -- verify --last 5m --settled 30s",
            self.exact.config_path().display()
        )
    }
}

fn say(what: impl AsRef<str>) {
    println!("demo: {}", what.as_ref());
}

fn forwarder_yml(
    interval: &str,
    target: &str,
    gateway: &Gateway,
    name: &str,
    mode: &str,
) -> String {
    format!(
        "global:\n  scrape_interval: {interval}\n  scrape_timeout: 3s\nscrape_configs:\n  \
         - job_name: federate\n    \
         honor_labels: true\n    metrics_path: /federate\n    \
         params: {{'match[]': ['{{__name__=~\".+\"}}']}}\n    \
         static_configs: [{{targets: ['{target}']}}]\nremote_write:\n  - url: {}\n    \
         queue_config: {{max_samples_per_send: 500, max_shards: 4}}\n    \
         sigv4: {{region: us-east-1}}\nforwarder:\n  \
         remote_read: {{mode: {mode}, settle: 5s}}\n  \
         spool: {{url: 's3://{BUCKET}/{name}'}}\n",
        gateway.remote_write_url()
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
