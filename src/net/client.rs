//! The one place that builds HTTP clients and sends requests.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Request, Response};
use rustls::ClientConfig;

use super::error::{NetError, Peer, redacted};
use super::progress::{Progress, ProgressLayer};
use super::resolve::{Lookup, Resolver, SystemLookup};
use super::tls::{self, TlsError};
use crate::time::{Clock, SystemClock};

/// The properties in which clients differ.
#[derive(Clone)]
pub struct ClientOptions {
    /// Time from the look-up of a name to the end of the TLS handshake, shared among the addresses
    /// of the name. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept. Zero opens a connection for each request. Default 90 s.
    pub idle_timeout: Duration,
    /// Name resolution. Default [`SystemLookup`].
    pub lookup: Arc<dyn Lookup>,
    /// The wall clock, which ages tokens, secrets and certificates. Default [`SystemClock`].
    pub clock: Arc<dyn Clock>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            lookup: Arc::new(SystemLookup),
            clock: Arc::new(SystemClock),
        }
    }
}

/// An HTTP client that cannot be built: its TLS configuration is broken.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// rustls does not accept the built-in configuration.
    #[error("cannot build an HTTP client: {0}")]
    Tls(#[from] TlsError),
    /// reqwest does not accept the TLS configuration or a proxy.
    #[error("cannot build an HTTP client: {0}")]
    Build(#[from] reqwest::Error),
}

/// Builds a client for HTTP/1.1 with the TLS configuration of the process. It uses no proxy,
/// follows no redirect, retries nothing and decompresses nothing.
///
/// # Errors
/// [`ClientError`] when TLS cannot be set up. Trying again is of no use.
pub fn client(options: &ClientOptions) -> Result<Client, ClientError> {
    configured_client(options, tls::config()?, Vec::new())
}

/// Builds a client as [`client`] does, with another TLS configuration and with proxies.
pub(super) fn configured_client(
    options: &ClientOptions,
    tls: ClientConfig,
    proxies: Vec<Proxy>,
) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .http1_only()
        .referer(false)
        // The caller retries: it knows what a repeat may cost.
        .retry(reqwest::retry::never())
        .redirect(Policy::none())
        .connect_timeout(options.connect_timeout)
        .connector_layer(ProgressLayer)
        .dns_resolver(Resolver::new(Arc::clone(&options.lookup)))
        .pool_idle_timeout(options.idle_timeout);
    for proxy in proxies {
        builder = builder.proxy(proxy);
    }
    if options.idle_timeout.is_zero() {
        builder = builder.pool_max_idle_per_host(0);
    }
    #[cfg(target_os = "linux")]
    {
        // A frozen Lambda leaves dead sockets. Without this, a request on one hangs until its own
        // time-out.
        builder = builder.tcp_user_timeout(options.connect_timeout * 2);
    }
    Ok(builder.build()?)
}

/// Sends a request up to the answer's headers.
///
/// # Errors
/// [`NetError`] when there is no answer; its phase says how far the request came. An error while
/// the body is read becomes one by [`NetError::from_reqwest`].
pub async fn send(client: &Client, request: Request, peer: Peer) -> Result<Response, NetError> {
    let address = redacted(request.url());
    let progress = Progress::default();
    match progress.watch(client.execute(request)).await {
        Ok(response) => Ok(response),
        Err(error) => Err(NetError::from_request(
            error,
            progress.step(),
            peer,
            address,
        )),
    }
}
