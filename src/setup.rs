//! From where the configuration is to a forwarder that talks to the real world. Shared by both programs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::check::{self, Finding};
use crate::config::{Config, ConfigErrors, Loaded, MAX_BYTES, NoSpool, Source, SourceError, read_file};
use crate::net::{self, ClientError, ClientOptions, Peer, aws};
use crate::scrape::HttpHome;
use crate::send::{HttpRemote, Remote, RemoteError};
use crate::spool::store::{self, Store};
use crate::tick::{Forwarder, Unusable, World};
use crate::time::{Clock, SystemClock};

/// Longest time for the TCP connection to a home, its look-up included. A SYN is repeated after 1 and 3 seconds.
const HOME_CONNECT: Duration = Duration::from_secs(5);

/// Scrapes of a tick are seconds apart; what is older than a minute may have been frozen with the function.
const HOME_IDLE: Duration = Duration::from_secs(50);

/// For reading the configuration from S3.
const S3_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no forwarder.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No configuration there.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is in S3, and cannot be read.
    #[error("config: cannot read {address}: {cause}; {hint}")]
    S3 {
        /// `s3://bucket/key`.
        address: String,
        /// What S3 or the network said.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// It is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A target is not usable.
    #[error(transparent)]
    Target(#[from] Unusable),
    /// There is no place for the spool.
    #[error(transparent)]
    Spool(#[from] NoSpool),
    /// A remote is not usable.
    #[error("remote_write {remote}: {source}")]
    Remote {
        /// Its name.
        remote: String,
        /// Why.
        source: RemoteError,
    },
    /// TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The environment, as the configuration asks for it.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Finds, reads and checks the configuration: `--config`, `FORWARDER_CONFIG`, or `forwarder.yml` beside the program.
///
/// # Errors
/// [`SetupError`].
pub async fn load(argument: Option<&str>) -> Result<Loaded, SetupError> {
    let program = std::env::current_exe().unwrap_or_default();
    let source = Source::find(argument, &environment, Path::new(&program))?;
    let text = match &source {
        Source::Path(path) => read_file(path)?,
        Source::S3 { bucket, key } => read_object(bucket, key).await?,
    };
    Ok(Config::load(&text, &environment, &source.to_string())?)
}

async fn read_object(bucket: &str, key: &str) -> Result<String, SetupError> {
    let fail = |cause: String, hint| SetupError::S3 { address: format!("s3://{bucket}/{key}"), cause, hint };
    let shared = aws::shared_config(None, None, Peer::Store).await;
    let custom_endpoint = environment("AWS_ENDPOINT_URL_S3").or_else(|| environment("AWS_ENDPOINT_URL")).is_some();
    // An S3 at an address of its own rarely answers to bucket names as host names.
    let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(custom_endpoint).build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let read = async {
        let object = client.get_object().bucket(bucket).key(key).send().await.map_err(|error| {
            let status = error.raw_response().map(|response| response.status().as_u16());
            let hint = match status {
                Some(403) => "the role needs s3:GetObject on the object (and s3:ListBucket on the bucket, or a missing object is a 403, too)",
                Some(404) => "there is no such object",
                Some(301) => "the bucket is in another region: set AWS_REGION",
                _ => "a function in a VPC needs an S3 gateway endpoint in its route table",
            };
            fail(aws::cause(&error), hint)
        })?;
        let too_large = "it is larger than a configuration may be";
        if object.content_length().unwrap_or_default() > MAX_BYTES as i64 {
            return Err(fail(format!("more than {MAX_BYTES} bytes"), too_large));
        }
        let mut body = object.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| fail(aws::cause(&error), "try again"))?);
            if bytes.len() as u64 > MAX_BYTES {
                return Err(fail(format!("more than {MAX_BYTES} bytes"), too_large));
            }
        }
        String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8".to_owned(), "is it the right object?"))
    };
    match tokio::time::timeout(S3_TIMEOUT, read).await {
        Ok(text) => text,
        Err(_) => Err(fail("timed out".to_owned(), "a function in a VPC needs an S3 gateway endpoint in its route table")),
    }
}

/// The real remotes of a configuration.
///
/// # Errors
/// [`SetupError::Remote`].
pub async fn remotes(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<Box<dyn Remote>>, SetupError> {
    let mut remotes: Vec<Box<dyn Remote>> = Vec::new();
    for entry in &config.remote_write {
        let remote = HttpRemote::new(entry, Arc::clone(clock)).await;
        remotes.push(Box::new(remote.map_err(|source| SetupError::Remote { remote: entry.id(), source })?));
    }
    Ok(remotes)
}

/// The real home's client. It keeps connections for `idle_timeout`.
///
/// # Errors
/// [`SetupError::Client`].
pub fn home(config: &Config, idle_timeout: Duration) -> Result<HttpHome, SetupError> {
    let shortest = config.scrape_configs.iter().map(|job| job.scrape_timeout).min().unwrap_or(HOME_CONNECT);
    // Shorter than a scrape's own time-out, so that an error can say which of the two it was.
    let connect_timeout = HOME_CONNECT.min(shortest * 3 / 4);
    let options = ClientOptions { connect_timeout, idle_timeout, follow_redirects: true, ..ClientOptions::default() };
    Ok(HttpHome::new(net::client(&options)?))
}

/// Where the spool of a configuration is. Nothing is asked of it yet.
///
/// # Errors
/// [`SetupError::Spool`].
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, SetupError> {
    Ok(store::open(&config.forwarder.spool.place(&environment)?).await)
}

/// A forwarder with real clients.
///
/// # Errors
/// [`SetupError`].
pub async fn forwarder(config: Config) -> Result<Forwarder, SetupError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let function_memory = environment("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|megabytes| megabytes.parse().ok());
    let memory_limit = config.forwarder.memory_limit_bytes(function_memory);
    let store = store(&config).await?;
    let world = World {
        home: Box::new(home(&config, HOME_IDLE)?),
        remotes: remotes(&config, &clock).await?,
        clock,
        rng: fastrand::Rng::new(),
        store: Some(store),
    };
    Ok(Forwarder::new(config, world, memory_limit)?)
}

/// Checks a configuration, its homes and its remotes: a line each.
///
/// # Errors
/// [`SetupError`]: it could not even be tried.
pub async fn check_online(config: &Config) -> Result<Vec<Finding>, SetupError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let forwarder = forwarder(config.clone()).await?;
    let (home, remotes) = (home(config, Duration::ZERO)?, remotes(config, &clock).await?);
    Ok(check::online(config, &home, &remotes, &*clock, &forwarder).await)
}
