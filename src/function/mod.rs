//! The Lambda function: it takes an event and answers with the report of a tick.
//!
//! One function serves one home, or many: then the event names the site, and `warm` keeps of each
//! what its next invocation can use. Whatever is wrong with one site stays with it.

mod error;
mod ready;
mod warm;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{LambdaEvent, LambdaInvocation, Runtime, service_fn};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::Instrument as _;

pub use self::error::FunctionError;
use self::ready::{Ready, print};
use self::warm::WarmSites;
use crate::config::{Config, MetricsConfig, SiteName, config_env, process_env, site_env};
use crate::event::Event;
use crate::net::SharedClients;
use crate::report::emf::EmfLine;
use crate::report::{logs, spans};
use crate::setup::{self, SetupError};
use crate::tick::Forwarder;
use crate::time::{Clock, SystemClock};

/// Makes the forwarder of a configuration.
pub type ForwarderMaker = Box<dyn Fn(Config) -> LocalBoxFuture<'static, MadeForwarder>>;

/// A forwarder, or the reason why there is none.
pub type MadeForwarder = Result<Forwarder, SetupError>;

/// The function between its invocations. The first invocation reads the configuration: network
/// calls do not belong in the initialisation, which has ten seconds.
pub struct Function {
    warm: Rc<WarmSites>,
    make: ForwarderMaker,
    /// The namespace of the newest configuration: metrics of a site whose own cannot be read go
    /// there.
    namespace: String,
}

impl Default for Function {
    fn default() -> Self {
        let shared = Arc::new(SharedClients::default());
        Self::with(Box::new(move |config| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { setup::forwarder_sharing(config, &shared).await })
        }))
    }
}

impl Function {
    /// A function whose forwarders are made in another way, for tests.
    #[must_use]
    pub fn with(make: ForwarderMaker) -> Self {
        Self {
            warm: Rc::default(),
            make,
            namespace: MetricsConfig::default().namespace,
        }
    }

    /// Serves the invocations of Lambda's runtime API, one after the other.
    ///
    /// # Errors
    /// Fails when there is no runtime API.
    pub async fn run(self) -> Result<(), lambda_runtime::Error> {
        let function = Rc::new(Mutex::new(self));
        let handler = service_fn(move |event: LambdaEvent<Value>| {
            let function = Rc::clone(&function);
            async move { function.lock().await.handle(event).await }
        });
        Runtime::new(handler)
            .layer(MapRequestLayer::new(empty_is_null))
            .run()
            .await
    }

    /// Serves one invocation and returns its answer in JSON.
    ///
    /// # Errors
    /// Fails when the event or the configuration is not valid, when the spool cannot be read for a
    /// status, and when the tick failed. Lambda counts each of these as an error of the function.
    pub async fn handle(&mut self, event: LambdaEvent<Value>) -> Result<Value, FunctionError> {
        let arrived = Instant::now();
        let deadline = arrived + left(event.context.deadline, SystemClock.now_ms());
        // Before anything is read: a name that is none must not become a part of an address.
        let request = Event::parse(&event.payload)?;
        let function = &event.context.env_config.function_name;
        let Some(site) = request.site.clone() else {
            return self.serve(request, deadline, function).await;
        };
        let answer = self
            .serve(request, deadline, function)
            .instrument(spans::site(site.as_str()))
            .await;
        answer.map_err(|error| error.of_site(&site))
    }

    async fn serve(
        &mut self,
        request: Event,
        deadline: Instant,
        function: &str,
    ) -> Result<Value, FunctionError> {
        let site = request.site.clone();
        // What a panic left half done must not be used by the next invocation: the site's state was
        // taken out, and is put back only after the end of the work. The other sites' is untouched.
        // The program that cargo-lambda builds ends here instead, and Lambda starts another one.
        let work = self.work(request, deadline, function).boxed_local();
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        let answer = ended.unwrap_or_else(|panic| Err(FunctionError::Panic(message(&*panic))));
        // A failed tick has written its metrics. Of the other failures, nothing else would count
        // the site.
        if let (Some(site), Err(error)) = (&site, &answer)
            && !matches!(
                error,
                FunctionError::Tick(_) | FunctionError::UnknownJob(..)
            )
        {
            let level = logs::level_name(&process_env);
            let line = EmfLine {
                namespace: &self.namespace,
                function,
                level: &level,
                site: Some(site.as_str()),
                per_site: false,
                now_ms: SystemClock.now_ms(),
            };
            print(&line.failure());
        }
        answer
    }

    async fn work(
        &mut self,
        request: Event,
        deadline: Instant,
        function: &str,
    ) -> Result<Value, FunctionError> {
        let site = request.site.clone();
        let mut ready = self
            .take_ready(site.as_ref(), request.by_hand)
            .await
            .inspect_err(|error| tracing::error!("{error}"))?;
        self.namespace
            .clone_from(&ready.config.forwarder.metrics.namespace);
        let neighbours = Rc::clone(&self.warm);
        let answer = ready.serve(request, deadline, function, neighbours).await;
        self.warm.keep(site, ready);
        tracing::debug!(
            sites = self.warm.len(),
            bytes = self.warm.bytes(),
            "warm sites"
        );
        answer
    }

    /// Takes the state of a site, and makes it if there is none. After a failure to make the state,
    /// the next invocation tries again.
    async fn take_ready(
        &self,
        site: Option<&SiteName>,
        by_hand: bool,
    ) -> Result<Ready, SetupError> {
        let known = self.warm.take(site);
        let now_ms = SystemClock.now_ms();
        if let Some(ready) = known {
            if !ready.is_doubtful(by_hand, now_ms) {
                return Ok(ready);
            }
            return self.looked_at_again(ready, now_ms).await;
        }
        let loaded = load(site).await?;
        for warning in &loaded.warnings {
            tracing::warn!("configuration: {warning}");
        }
        let forwarder = (self.make)(loaded.config.clone()).await?;
        Ok(Ready {
            config: loaded.config,
            warnings: loaded.warnings,
            forwarder,
            read_ms: now_ms,
        })
    }

    /// Reads a site's configuration again. A changed one makes the site cold. One that is out of
    /// reach has not become wrong, so the site goes on with what it knows.
    async fn looked_at_again(&self, mut ready: Ready, now_ms: i64) -> Result<Ready, SetupError> {
        let loaded = match load(ready.config.site.as_ref()).await {
            Ok(loaded) => loaded,
            Err(error @ SetupError::S3(_)) => {
                tracing::warn!("the configuration as it was before is used: {error}");
                return Ok(ready);
            }
            Err(error) => return Err(error),
        };
        if loaded.config != ready.config {
            tracing::info!("the configuration has changed");
            ready.forwarder = (self.make)(loaded.config.clone()).await?;
            ready.config = loaded.config;
        }
        ready.warnings = loaded.warnings;
        ready.read_ms = now_ms;
        Ok(ready)
    }
}

/// Reads the configuration of a site, or the only one.
async fn load(site: Option<&SiteName>) -> Result<crate::config::LoadedConfig, SetupError> {
    setup::load_with(None, &site_env(site, &config_env)).await
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

/// Turns an empty payload, which is not JSON, into `null`, which means the same.
fn empty_is_null(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if invocation.body.is_empty() {
        invocation.body = "null".into();
    }
    invocation
}

/// Returns the time left until a deadline, which is in milliseconds since 1970. The emulator of
/// cargo-lambda sends the time limit in its place (`lambda-runtime-deadline-ms: 600000`).
fn left(deadline_ms: u64, now_ms: i64) -> Duration {
    const YEAR_2001_MS: u64 = 1_000_000_000_000;
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    Duration::from_millis(if deadline_ms < YEAR_2001_MS {
        deadline_ms
    } else {
        deadline_ms.saturating_sub(now_ms)
    })
}

#[cfg(test)]
mod tests;
