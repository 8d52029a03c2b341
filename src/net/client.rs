//! The one place that builds HTTP clients and sends requests.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Request, Response};
use rustls::ClientConfig;

use super::error::{NetError, Peer, redacted};
use super::progress::{Progress, ProgressLayer};
use super::resolve::{Lookup, Resolver, SystemLookup};
use super::tls;

/// What clients differ in.
#[derive(Clone)]
pub struct ClientOptions {
    /// From the look-up to the end of the TLS handshake, shared out among the addresses of a name.
    /// Default 5s.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept; zero opens one for each request. Default 90s.
    pub idle_timeout: Duration,
    /// Default [`SystemLookup`].
    pub lookup: Arc<dyn Lookup>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// No client: the TLS configuration is broken.
#[derive(Debug, thiserror::Error)]
#[error("cannot build an HTTP client: {0}")]
pub struct ClientError(String);

/// A client with the process' TLS configuration, HTTP/1.1, without proxies, without automatic
/// decompression and redirects.
///
/// # Errors
/// [`ClientError`] when TLS cannot be set up.
pub fn client(options: &ClientOptions) -> Result<Client, ClientError> {
    configured_client(
        options,
        tls::config().map_err(|error| ClientError(error.to_string()))?,
        Vec::new(),
    )
}

/// As [`client`], with another TLS configuration and with proxies.
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
        // Retrying is the caller's: it knows what a repeat may cost.
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
        // A frozen Lambda leaves dead sockets: without this, a request on one hangs until its own
        // time-out.
        builder = builder.tcp_user_timeout(options.connect_timeout * 2);
    }
    builder
        .build()
        .map_err(|error| ClientError(error.to_string()))
}

/// Sends a request up to the answer's headers.
///
/// # Errors
/// [`NetError`], with the phase that was reached. For the body's chunks use
/// [`NetError::from_reqwest`].
pub async fn send(client: &Client, request: Request, peer: Peer) -> Result<Response, NetError> {
    let address = redacted(request.url());
    let progress = Progress::default();
    match progress.watch(client.execute(request)).await {
        Ok(response) => Ok(response),
        Err(error) => Err(NetError::from_request(
            &error,
            progress.step(),
            peer,
            address,
        )),
    }
}
