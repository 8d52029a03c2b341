//! Construction of a forwarder with real clients from the place of its configuration. Both programs
//! use it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::check::{self, Finding};
use crate::config::{
    Config, ConfigErrors, Env, HttpConfig, LoadedConfig, MAX_BYTES, Source, SourceError,
    SpoolPlaceError, config_env, process_env, read_file, role_of, site_env,
};
use crate::home::HttpHome;
use crate::net::{self, ClientOptions, HttpClient, ObjectError, Peer, SharedClients};
use crate::send::{HttpRemote, Remote, UnusableRemote};
use crate::spool::store::{self, Store};
use crate::tick::{Dependencies, Forwarder, ForwarderError};
use crate::time::{Clock, SystemClock};
use crate::verify::{RemoteEnd, RemoteEndError};

/// Longest time for the TCP connection to a home, including the look-up of its name. A SYN is
/// repeated after 1 and 3 seconds.
const HOME_CONNECT: Duration = Duration::from_secs(5);

/// Time for which an unused connection to a home is kept. Scrapes of a tick are seconds apart. A
/// connection older than a minute may have been frozen together with the function.
const HOME_IDLE: Duration = Duration::from_secs(50);

/// The same for a home among many that is scraped once a tick. A process that serves twenty sites a
/// second would else have the connections of a thousand, and Lambda gives it 1,024 files.
const SITE_IDLE: Duration = Duration::from_secs(5);

/// The reason why no forwarder can be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No configuration was found, or its file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The configuration is in S3 and cannot be read.
    #[error("config: {0}")]
    S3(#[from] ObjectError),
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A target is not usable.
    #[error(transparent)]
    Target(#[from] ForwarderError),
    /// A remote cannot be read, so that it cannot be compared with the home.
    #[error(transparent)]
    RemoteEnd(#[from] RemoteEndError),
    /// The spool has no place.
    #[error(transparent)]
    Spool(#[from] SpoolPlaceError),
}

/// Finds, reads and checks the configuration: `--config`, `FORWARDER_CONFIG`, or `forwarder.yml`
/// in the directory of the program.
///
/// # Errors
/// Fails when no configuration is found, when it cannot be read, and when it is not valid. The
/// error lists all problems of an invalid one.
pub async fn load(argument: Option<&str>) -> Result<LoadedConfig, SetupError> {
    load_with(argument, &config_env).await
}

/// Does the same with another environment than that of the process.
///
/// # Errors
/// Fails as [`load`] does.
pub async fn load_with(argument: Option<&str>, env: Env<'_>) -> Result<LoadedConfig, SetupError> {
    let program = std::env::current_exe().unwrap_or_default();
    let source = Source::find(argument, env, Path::new(&program))?;
    let role_arn = role_of(env)?;
    let text = match &source {
        Source::Path(path) => read_file(path)?,
        Source::S3 { bucket, key } => read_object(bucket, key, role_arn.as_deref()).await?,
    };
    let mut loaded = Config::load(&text, env, &source.to_string())?;
    loaded.config.act_under(role_arn);
    Ok(loaded)
}

async fn read_object(
    bucket: &str,
    key: &str,
    role_arn: Option<&str>,
) -> Result<String, SetupError> {
    let bytes = net::read_object(bucket, key, MAX_BYTES, role_arn).await?;
    String::from_utf8(bytes).map_err(|_| {
        ObjectError::new(bucket, key, "it is not UTF-8", "is it the right object?").into()
    })
}

/// Makes the real remotes of a configuration, in its order. One that cannot be used as it is
/// configured fails each of its requests, and stops no other one.
pub async fn remotes(
    config: &Config,
    clock: &Arc<dyn Clock>,
    shared: &SharedClients,
) -> Vec<Box<dyn Remote>> {
    let mut remotes: Vec<Box<dyn Remote>> = Vec::new();
    for entry in &config.remote_write {
        remotes.push(
            match HttpRemote::sharing(entry, Arc::clone(clock), shared).await {
                Ok(remote) => Box::new(remote),
                Err(error) => {
                    tracing::error!(
                        remote = entry.label,
                        "nothing can be sent to this remote: {error}"
                    );
                    Box::new(UnusableRemote::new(&entry.url, error))
                }
            },
        );
    }
    remotes
}

/// Makes the clients of the real home, which keep connections for `idle_timeout`. They build and
/// read nothing before the first scrape.
#[must_use]
pub fn home(config: &Config, idle_timeout: Duration) -> HttpHome {
    home_sharing(config, idle_timeout, &SharedClients::default())
}

fn home_sharing(config: &Config, idle_timeout: Duration, shared: &SharedClients) -> HttpHome {
    let shortest = config
        .scrape_configs
        .iter()
        .map(|job| job.scrape_timeout)
        .min()
        .unwrap_or(HOME_CONNECT);
    // Shorter than a scrape's own time-out, so that an error can say which of the two it was.
    let connect_timeout = HOME_CONNECT.min(shortest * 3 / 4);
    let options = ClientOptions {
        connect_timeout,
        idle_timeout,
        ..ClientOptions::default()
    };
    // Jobs with the same HTTP settings share one client and its connections.
    let mut clients: Vec<(&HttpConfig, Arc<HttpClient>)> = Vec::new();
    for job in &config.scrape_configs {
        let known = clients
            .iter()
            .find(|(http, _)| **http == job.http)
            .map(|(_, client)| Arc::clone(client));
        let client = known.unwrap_or_else(|| {
            let options = options.clone();
            Arc::new(HttpClient::sharing(&job.http, options, Peer::Home, shared))
        });
        clients.push((&job.http, client));
    }
    HttpHome::new(clients.into_iter().map(|(_, client)| client).collect())
}

/// How long an unused connection to the home is kept between two scrapes.
fn home_idle(config: &Config) -> Duration {
    let jobs = config.scrape_configs.iter();
    let shortest = jobs.map(|job| job.scrape_interval).min();
    let once_a_tick = shortest.is_none_or(|shortest| shortest >= HOME_IDLE);
    if config.site.is_some() && once_a_tick {
        SITE_IDLE
    } else {
        HOME_IDLE
    }
}

/// Opens the store of the spool. No request is made yet.
///
/// # Errors
/// Fails when the configuration gives the spool no place, or one that is not the site's alone
/// ([`SetupError::Spool`]).
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, SetupError> {
    let env = site_env(config.site.as_ref(), &process_env);
    let place = config.forwarder.spool.place(&env)?;
    Ok(store::open(&place, config.role_arn.as_deref()).await)
}

/// Makes the remotes of a configuration as they can be read, in its order. With a `query_url`
/// all of them are read by that query API, and else as follows from where samples are posted to.
///
/// # Errors
/// Fails when a remote cannot be read as it is configured ([`SetupError::RemoteEnd`]).
pub async fn remote_ends(
    config: &Config,
    query_url: Option<&Url>,
) -> Result<Vec<RemoteEnd>, SetupError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut ends = Vec::with_capacity(config.remote_write.len());
    for entry in &config.remote_write {
        ends.push(RemoteEnd::new(entry, query_url, Arc::clone(&clock)).await?);
    }
    Ok(ends)
}

/// Makes a forwarder with real clients.
///
/// # Errors
/// Fails when there are too many targets, or when the configuration gives the spool no place.
pub async fn forwarder(config: Config) -> Result<Forwarder, SetupError> {
    forwarder_sharing(config, &SharedClients::default()).await
}

/// Makes a forwarder with real clients, which share connections, TLS sessions and credentials with
/// those of other sites.
///
/// # Errors
/// Fails as [`forwarder`] does.
pub async fn forwarder_sharing(
    config: Config,
    shared: &SharedClients,
) -> Result<Forwarder, SetupError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let memory_limit = memory_limit(&config);
    let store = store(&config).await?;
    let world = Dependencies {
        home: Box::new(home_sharing(&config, home_idle(&config), shared)),
        remotes: remotes(&config, &clock, shared).await,
        clock,
        rng: fastrand::Rng::new(),
        store: Some(store),
    };
    Ok(Forwarder::new(config, world, memory_limit)?)
}

/// The memory limit of this process in bytes.
#[must_use]
pub fn memory_limit(config: &Config) -> u64 {
    let function_memory =
        process_env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|megabytes| megabytes.parse().ok());
    config.forwarder.memory_limit_bytes(function_memory)
}

/// Checks a configuration, its homes and its remotes, and returns one finding for each.
///
/// # Errors
/// Fails when no forwarder can be made of the configuration, so that nothing could be tried.
pub async fn check_online(config: &Config) -> Result<Vec<Finding>, SetupError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let forwarder = forwarder(config.clone()).await?;
    let shared = SharedClients::default();
    let home = home_sharing(config, Duration::ZERO, &shared);
    let remotes = remotes(config, &clock, &shared).await;
    Ok(check::online(config, &home, &remotes, &*clock, &forwarder).await)
}
