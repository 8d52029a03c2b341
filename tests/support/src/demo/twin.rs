//! One of the two functions of a demo, with its runtime API and its gateway.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::Notify;

use super::backlog::TickRow;
use super::{SOON, say};
use crate::gateway::{Gateway, GatewayStats, SampleValue};
use crate::lambda::{Emulator, Function, FunctionOptions, InvocationResult};
use crate::now_ms;
use crate::process::Moto;
use crate::query::Samples;

/// A function that is invoked again and again.
#[derive(Debug)]
pub(super) struct Forwarding {
    name: &'static str,
    options: FunctionOptions,
    function: Function,
    emulator: Emulator,
    gateway: Arc<Gateway>,
    tick: Duration,
    kill: Arc<Notify>,
    safe_ms: Option<i64>,
}

impl Forwarding {
    pub(super) async fn start(
        name: &'static str,
        program: &Path,
        tick: Duration,
        gateway: Gateway,
        store: &Moto,
        config: String,
    ) -> Result<Self> {
        let emulator = Emulator::start(tick).await?;
        let mut options = FunctionOptions::new(program, &emulator.runtime_api(), &config);
        options
            .env
            .push(("AWS_ENDPOINT_URL_S3".to_owned(), store.url()));
        let function = Function::start(&options)?;
        Ok(Self {
            name,
            options,
            function,
            emulator,
            gateway: Arc::new(gateway),
            tick,
            kill: Arc::default(),
            safe_ms: None,
        })
    }

    pub(super) fn config(&self) -> &str {
        &self.options.config
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.function.directory().join("forwarder.yml")
    }

    pub(super) fn log(&self) -> String {
        self.function.log()
    }

    pub(super) fn stats(&self) -> GatewayStats {
        self.gateway.stats()
    }

    /// Kills the function whenever it is notified.
    pub(super) fn killer(&self) -> Arc<Notify> {
        self.kill.clone()
    }

    pub(super) fn gateway(&self) -> Arc<Gateway> {
        self.gateway.clone()
    }

    /// Time up to which the last report said that everything is safe, milliseconds since 1970.
    pub(super) fn safe_ms(&self) -> Option<i64> {
        self.safe_ms
    }

    /// What its gateway has stored.
    pub(super) fn received(&self) -> Samples {
        let mut samples = Samples::new();
        for stored in self.gateway.stored() {
            if let SampleValue::Float(bits) = stored.value {
                samples
                    .entry(stored.labels)
                    .or_default()
                    .insert(stored.timestamp, bits);
            }
        }
        samples
    }

    /// Invokes the function until `end`, and then until nothing is owed and, if it reads, until all
    /// up to `end` is safe.
    pub(super) async fn run(&mut self, end: Instant, reads: bool) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        let end_ms = now_ms() + i64::try_from(left.as_millis())?;
        if reads {
            say(TickRow::HEAD);
        }
        let mut last: Option<TickRow> = None;
        loop {
            let is_owed = last.as_ref().is_none_or(|row| row.owed > 0);
            let is_behind = reads && self.safe_ms.is_none_or(|safe_ms| safe_ms < end_ms);
            if Instant::now() >= end && !is_owed && !is_behind {
                return Ok(());
            }
            ensure!(
                Instant::now() < end + 2 * SOON,
                "not everything has arrived {:?} after the end",
                2 * SOON
            );
            let started = Instant::now();
            let kill = self.kill.clone();
            // Any event means forward, so the body that EventBridge Scheduler sends is not needed.
            let answer = tokio::select! {
                answer = self.emulator.invoke("{}", self.tick + Duration::from_secs(10)) => answer?,
                () = kill.notified() => {
                    self.function.kill();
                    self.function = Function::start(&self.options)?;
                    say(format!("the {} function is killed, and started again", self.name));
                    continue;
                }
            };
            if let InvocationResult::Answer(report) = &answer {
                let safe_ms = report["reads"][0]["safe_ms"].as_i64();
                self.safe_ms = safe_ms.or(self.safe_ms);
            }
            let row = TickRow::new(last.as_ref(), started.elapsed(), &answer)?;
            if reads {
                say(row.to_string());
            }
            // A function that ends at once would be invoked thousands of times.
            let pause = Duration::from_secs(5).saturating_sub(started.elapsed());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = kill.notified() => kill.notify_one(),
            }
            last = Some(row);
        }
    }
}
