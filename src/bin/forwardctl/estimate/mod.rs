//! `forwardctl estimate`: what a month would cost, from a look at the home.

mod bill;
mod month;
mod observations;
mod output;
mod prices;
mod raw;

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::config::{Config, RemoteWrite, parse_duration};
use amp_forwarder::setup;
use amp_forwarder::tick::{Dependencies, Forwarder};
use amp_forwarder::time::SystemClock;
use tokio::time::Instant;

use self::bill::{Deployment, Egress};
use self::month::Estimate;
use self::observations::{Observations, STEP};
use self::prices::Prices;
use self::raw::RawMinute;
use crate::format;
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome, DurationArgumentError};
use crate::terminal::{say_json, say_text};

/// Region whose prices apply when neither the command line nor the configuration names one.
const DEFAULT_REGION: &str = "us-east-1";

#[derive(clap::Args)]
pub(super) struct EstimateArguments {
    /// Watch the home for this long to find samples that repeat, in whole minutes; 0s scrapes
    /// once and counts every sample as new
    #[arg(long, value_name = "D", default_value = "1m", value_parser = minutes)]
    watch: Duration,
    /// Use the prices of this region [default: the region of the AMP address, else us-east-1]
    #[arg(long)]
    region: Option<String>,
    /// Give the function this much memory, in megabytes
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(128..=10240))]
    memory: u32,
    /// Run the function on Graviton
    #[arg(long)]
    arm64: bool,
    /// Choose how the function reaches AMP
    #[arg(long, value_enum, default_value = "endpoint")]
    egress: Egress,
    /// Put the endpoint or the NAT gateway in this many availability zones
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=6))]
    zones: u8,
    /// Leave out the free tier, because the rest of the account uses it up
    #[arg(long)]
    no_free_tier: bool,
    /// List this many metrics, the most expensive first
    #[arg(long, default_value_t = 10)]
    top: usize,
}

/// Parses the time to watch. Every interval that is compared divides a minute.
fn minutes(text: &str) -> Result<Duration, DurationArgumentError> {
    parse_duration(text)
        .filter(|duration| duration.as_millis().is_multiple_of(60_000))
        .ok_or(DurationArgumentError(
            "not whole minutes: write 1m, 5m or 0s",
        ))
}

pub(super) async fn run(
    arguments: &EstimateArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let config = load(config).await?.config;
    let region = arguments
        .region
        .clone()
        .unwrap_or_else(|| amp_region(&config));
    let prices = Prices::new(&region)
        .map_err(|error| CommandError::Failed(format!("prices.json: {error}")))?;
    let deployment = Deployment {
        memory_mb: f64::from(arguments.memory),
        arm64: arguments.arm64,
        egress: arguments.egress,
        zones: f64::from(arguments.zones),
        free_tier: !arguments.no_free_tier,
    };
    let (observations, raw) = observe(config, arguments.watch, json).await?;
    let estimate = Estimate::new(&observations, raw, &prices, deployment, arguments.top);
    if json {
        say_json(estimate.json());
    } else {
        say_text(&estimate.text(arguments.watch, deployment));
    }
    Ok(CommandOutcome::Success)
}

/// The region of the first remote that is AMP or signs for a region.
fn amp_region(config: &Config) -> String {
    let region = |entry: &RemoteWrite| {
        entry
            .amp_region()
            .map(str::to_owned)
            .or_else(|| entry.sigv4.as_ref().and_then(|sigv4| sigv4.region.clone()))
    };
    config
        .remote_write
        .iter()
        .find_map(region)
        .unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

/// Scrapes all targets at each step, as a cold process would, and reads the last minute in the end.
/// A preview needs no credentials and posts nothing.
async fn observe(
    mut config: Config,
    watch: Duration,
    json: bool,
) -> Result<(Observations, Result<RawMinute, String>), CommandError> {
    let memory_limit = config.forwarder.memory_limit_bytes(None);
    config.remote_write.truncate(1);
    let world = Dependencies {
        home: Box::new(setup::home(&config, Duration::from_secs(STEP * 2))),
        remotes: Vec::new(),
        clock: Arc::new(SystemClock),
        rng: fastrand::Rng::new(),
        store: None,
    };
    let forwarder = Forwarder::new(config.clone(), world, memory_limit)
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let steps = watch.as_secs() / STEP;
    let bar = format::bar(steps + 1, "scrapes", json);
    let started = Instant::now();
    let mut observations = Observations::default();
    for step in 0..=steps {
        tokio::time::sleep_until(started + Duration::from_secs(step * STEP)).await;
        scrape_once(&forwarder, &mut observations).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let raw = raw::last_minute(&forwarder, &config).await;
    Ok((observations, raw))
}

/// Adds one scrape of every target to the observations.
async fn scrape_once(
    forwarder: &Forwarder,
    observations: &mut Observations,
) -> Result<(), CommandError> {
    let previews = forwarder.preview(None, Duration::MAX).await;
    for preview in &previews {
        if let Some(error) = &preview.scraped.error {
            let message = format!("{} {}: {error}", preview.job, preview.instance);
            return Err(CommandError::Failed(message));
        }
        observations.add_duration(preview.scraped.duration);
    }
    let batches: Vec<_> = previews
        .iter()
        .flat_map(|preview| &preview.scraped.commits)
        .flat_map(|commit| &commit.scrapes)
        .flatten()
        .collect();
    observations
        .add_step(&batches)
        .map_err(|error| CommandError::Failed(error.to_string()))
}
