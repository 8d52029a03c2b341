//! Requests with the credentials and headers of a job's or a remote's HTTP client configuration
//! (prometheus/common `config/http_config.go` `NewRoundTripperFromConfig`).

use std::time::Duration;

use ::http::header::HeaderValue;
use ::http::{Method, Request};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::client::ClientOptions;
use super::error::{NetError, Peer, redacted};
use super::header::{self, basic, sensitive};
use super::oauth2::TokenSource;
use super::secrets::{Secrets, secrets};
use super::shared::SharedClients;
use super::transport::{AddedHeaders, HttpReply, Passage, Transport};
use crate::config::{Auth, HttpConfig, Secret, SecretSource};
use crate::prompb::RequestBody;

/// How one request is made.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// Time from reading the secrets to the end of the answer's body.
    pub timeout: Duration,
    /// Whether the request must go out on a connection that was never used.
    pub fresh_connection: bool,
    /// Whether secrets and tokens are read again where they are kept, within bounds.
    pub fresh_credentials: bool,
    /// Whether the request is signed. Its redirects are not followed, because a signature is good
    /// for one address only.
    pub signed: bool,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            fresh_connection: false,
            fresh_credentials: false,
            signed: false,
        }
    }
}

/// A client for one configuration. It builds and reads nothing before its first request.
///
/// ```
/// # async fn example() -> Result<(), amp_forwarder::net::NetError> {
/// use amp_forwarder::config::HttpConfig;
/// use amp_forwarder::net::{ClientOptions, Exchange, HttpClient, Peer};
///
/// let client = HttpClient::new(&HttpConfig::default(), ClientOptions::default(), Peer::Home);
/// let request = http::Request::get("http://prom.home:9090/federate").body(&b""[..]);
/// let mut reply = client.send(request.unwrap(), Exchange::default()).await?;
/// while let Some(piece) = reply.chunk().await? {
///     println!("{} bytes", piece.len());
/// }
/// # Ok(())
/// # }
/// ```
pub struct HttpClient {
    config: HttpConfig,
    options: ClientOptions,
    peer: Peer,
    secrets: &'static Secrets,
    tokens: Option<TokenSource>,
    transport: Transport,
}

impl HttpClient {
    /// Makes a client for a configuration. `peer` is the party that errors are about.
    #[must_use]
    pub fn new(config: &HttpConfig, options: ClientOptions, peer: Peer) -> Self {
        Self::sharing(config, options, peer, &SharedClients::default())
    }

    /// Makes a client as [`HttpClient::new`] does, over connections and TLS sessions that it shares
    /// with others. Its credentials are its own.
    #[must_use]
    pub fn sharing(
        config: &HttpConfig,
        options: ClientOptions,
        peer: Peer,
        shared: &SharedClients,
    ) -> Self {
        let secrets = secrets();
        let clients = shared.pool(&config.tls, &config.proxy, &options, peer);
        let tokens = match &config.auth {
            Some(Auth::OAuth2(oauth2)) => Some(TokenSource::new(oauth2, &options, secrets)),
            _ => None,
        };
        Self {
            transport: Transport::new(&config.tls, &config.proxy, peer, clients),
            config: config.clone(),
            options,
            peer,
            secrets,
            tokens,
        }
    }

    /// Sends a request up to the headers of the last answer. A GET that is refused with 401 is
    /// repeated once if its credentials have changed where they are kept. For other methods the
    /// caller decides (`fresh_credentials`).
    ///
    /// # Errors
    /// [`NetError`] when there is no answer. Its phase says how far the request came; before
    /// [`Phase::Http`](super::Phase::Http) nothing was sent.
    pub async fn send(
        &self,
        request: Request<impl Into<RequestBody>>,
        exchange: Exchange,
    ) -> Result<HttpReply, NetError> {
        let request = request.map(Into::into);
        let deadline = Instant::now() + exchange.timeout;
        let url = Url::parse(&request.uri().to_string()).map_err(|error| {
            NetError::malformed_request(self.peer, "url", error.to_string()).with_source(error)
        })?;
        let passage = Passage {
            deadline,
            fresh_connection: exchange.fresh_connection,
            follow_redirects: self.config.follow_redirects && !exchange.signed,
        };
        let fresh = exchange.fresh_credentials;
        let added = self.added_headers(fresh, deadline, &url).await?;
        let reply = self.exchange(&request, &url, &added, passage).await?;
        let may_repeat = request.method() == Method::GET && !fresh && self.has_stored_credentials();
        if reply.status() != 401 || !may_repeat {
            return Ok(reply);
        }
        // A failure to read newer credentials is not reported: the answer says more.
        match self.added_headers(true, deadline, &url).await {
            Ok(newer) if newer != added => self.exchange(&request, &url, &newer, passage).await,
            _ => Ok(reply),
        }
    }

    /// Sends a request with these headers, and tells the answer what secrets it must not show.
    async fn exchange(
        &self,
        request: &Request<RequestBody>,
        url: &Url,
        added: &AddedHeaders,
        passage: Passage,
    ) -> Result<HttpReply, NetError> {
        let mut reply = self
            .transport
            .send(request, url.clone(), added, passage)
            .await?;
        let scrubber = &mut reply.scrubber;
        scrubber.add_url(url);
        scrubber.add_headers(request.headers());
        for secret in &added.secrets {
            scrubber.add(secret.expose());
        }
        // A proxy may answer in the place of the server.
        let proxies = [&self.config.proxy.http, &self.config.proxy.https];
        for proxy in proxies.into_iter().flatten() {
            if let Ok(proxy) = Url::parse(proxy.expose()) {
                scrubber.add_url(&proxy);
            }
        }
        Ok(reply)
    }

    /// Whether credentials are kept outside of the configuration, where they may change.
    fn has_stored_credentials(&self) -> bool {
        self.tokens.is_some() || !self.config.sources().is_empty()
    }

    async fn added_headers(
        &self,
        fresh: bool,
        deadline: Instant,
        url: &Url,
    ) -> Result<AddedHeaders, NetError> {
        match timeout_at(deadline, self.read_headers(fresh, deadline)).await {
            Ok(added) => added,
            Err(_) => {
                let cause = "no credentials in time";
                Err(NetError::no_credentials(redacted(url), cause, true))
            }
        }
    }

    async fn read_headers(&self, fresh: bool, deadline: Instant) -> Result<AddedHeaders, NetError> {
        let mut sent = Vec::new();
        let authorization = self.authorization(fresh, deadline, &mut sent).await?;
        let mut headers = Vec::new();
        for header in &self.config.headers {
            for source in &header.values {
                let secret = self.read(Some(source), fresh).await?;
                let value = sensitive(secret.expose())?;
                sent.push(secret);
                headers.push((header::name(&header.name, self.peer)?, value));
            }
        }
        // A server may repeat the credentials as they were encoded, too.
        if let Some(value) = authorization.as_ref().and_then(|value| value.to_str().ok()) {
            let encoded = value.split_once(' ').map(|(_, encoded)| encoded);
            sent.extend(encoded.map(Secret::new));
        }
        Ok(AddedHeaders {
            authorization,
            headers,
            secrets: sent,
        })
    }

    /// The value of the `Authorization` header. Adds the secrets that it holds to `sent`; a
    /// username is none.
    async fn authorization(
        &self,
        fresh: bool,
        deadline: Instant,
        sent: &mut Vec<Secret>,
    ) -> Result<Option<HeaderValue>, NetError> {
        let value = match &self.config.auth {
            None => return Ok(None),
            Some(Auth::Basic { username, password }) => {
                let username = self.read(username.as_ref(), fresh).await?;
                let password = self.read(password.as_ref(), fresh).await?;
                let value = basic(username.expose(), password.expose());
                sent.push(password);
                value
            }
            Some(Auth::Authorization {
                scheme,
                credentials,
            }) => {
                let credentials = self.read(credentials.as_ref(), fresh).await?;
                let value = sensitive(&format!("{scheme} {}", credentials.expose()));
                sent.push(credentials);
                value
            }
            Some(Auth::OAuth2(_)) => {
                let Some(tokens) = &self.tokens else {
                    return Ok(None);
                };
                sensitive(tokens.header(fresh, deadline).await?.expose())
            }
        };
        value.map(Some)
    }

    /// The secret of a source; an empty one without a source.
    async fn read(&self, source: Option<&SecretSource>, fresh: bool) -> Result<Secret, NetError> {
        match source {
            Some(source) => {
                let now_ms = self.options.clock.now_ms();
                Ok(self.secrets.get(source, fresh, now_ms).await?)
            }
            None => Ok(Secret::new("")),
        }
    }
}
