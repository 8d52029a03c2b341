//! Requests as a job's or a remote's HTTP client configuration wants them. // common
//! config/http_config.go NewRoundTripperFromConfig

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use ::http::{Method, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::{Client, Proxy, Response};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::client::{ClientOptions, configured_client, send};
use super::error::{NetError, Peer, Phase, redacted};
use super::oauth2::{Tokens, basic, sensitive};
use super::resolve::Lookup;
use super::secrets::{Secrets, secrets};
use super::tls::{self, Materials};
use crate::config::{Auth, HttpConfig, Secret, SecretSource};
use crate::prompb::RequestBody;

/// As Go's `net/http` does.
const MAX_REDIRECTS: usize = 10;

/// Files of a `tls_config` are looked at again after that long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Shorter ones are not looked for in answers: they would tear holes into innocent text.
const SHORTEST_SECRET: usize = 4;

/// How one request is made.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// From reading secrets to the end of the answer's body.
    pub timeout: Duration,
    /// On a connection that was never used.
    pub fresh_connection: bool,
    /// With secrets and token asked for anew, within bounds.
    pub fresh_credentials: bool,
    /// Whether redirects may be followed at all: a signature is good for one address only.
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

/// A client for one configuration. It builds nothing and reads nothing before its first request.
pub struct HttpClient {
    config: HttpConfig,
    options: ClientOptions,
    peer: Peer,
    secrets: &'static Secrets,
    tokens: Option<Box<Tokens>>,
    built: Mutex<Built>,
    /// What went out with the last request: no message may show it.
    used: StdMutex<Vec<Secret>>,
}

#[derive(Default)]
struct Built {
    tls: Option<ClientConfig>,
    materials: Materials,
    looked: Option<SystemTime>,
    /// A handshake failed: what AWS keeps of the materials is read again, too.
    doubtful: bool,
    clients: HashMap<Which, Client>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Which {
    fresh: bool,
    proxied: bool,
    /// Whose addresses stand for `server_name`.
    host: Option<String>,
}

/// An answer, its body to come.
pub struct Reply {
    response: Response,
    url: Url,
    peer: Peer,
}

impl Reply {
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Takes the headers out.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// The next piece of the body as it stands on the wire; none at its end.
    ///
    /// # Errors
    /// A body that is cut, or that takes longer than the exchange.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        self.response
            .chunk()
            .await
            .map_err(|error| NetError::from_reqwest(&error, self.peer, &self.url))
    }
}

/// What a configuration adds to a request.
#[derive(Clone, PartialEq, Eq)]
struct Additions {
    authorization: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpClient {
    /// For a configuration. `peer` is whom errors are about.
    #[must_use]
    pub fn new(config: &HttpConfig, options: ClientOptions, peer: Peer) -> Self {
        Self::with_secrets(config, options, peer, secrets())
    }

    pub(super) fn with_secrets(
        config: &HttpConfig,
        options: ClientOptions,
        peer: Peer,
        secrets: &'static Secrets,
    ) -> Self {
        let tokens = match &config.auth {
            Some(Auth::OAuth2(oauth2)) => Some(Box::new(Tokens::new(oauth2, &options, secrets))),
            _ => None,
        };
        Self {
            config: config.clone(),
            options,
            peer,
            secrets,
            tokens,
            built: Mutex::default(),
            used: StdMutex::default(),
        }
    }

    /// Sends a request up to the headers of the last answer. A GET that is refused with 401 is
    /// repeated once if credentials have changed where they are kept; of other methods that is the
    /// caller's to decide (`fresh_credentials`).
    ///
    /// # Errors
    /// [`NetError`], with the phase that was reached.
    pub async fn send(
        &self,
        request: Request<impl Into<RequestBody>>,
        exchange: Exchange,
    ) -> Result<Reply, NetError> {
        let request = request.map(Into::into);
        let until = Instant::now() + exchange.timeout;
        let url = Url::parse(&request.uri().to_string()).map_err(|error| {
            NetError::of_credentials("url".to_owned(), error.to_string(), false)
        })?;
        let additions = self
            .additions(exchange.fresh_credentials, until, &url)
            .await?;
        let reply = self
            .follow(&request, url.clone(), &additions, exchange, until)
            .await?;
        if reply.status() != 401
            || exchange.fresh_credentials
            || request.method() != Method::GET
            || !self.asks()
        {
            return Ok(reply);
        }
        // What it was refused for is worth more than that nothing better could be read.
        match self.additions(true, until, &url).await {
            Ok(newer) if newer != additions => {
                self.follow(&request, url, &newer, exchange, until).await
            }
            _ => Ok(reply),
        }
    }

    /// Whether credentials come from somewhere where they may change.
    fn asks(&self) -> bool {
        self.tokens.is_some() || !self.config.sources().is_empty()
    }

    /// `text` without the secrets that this client has sent: a server may repeat in an answer what
    /// it was asked with.
    #[must_use]
    pub fn without_secrets(&self, text: String) -> String {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.iter()
            .filter(|secret| secret.expose().len() >= SHORTEST_SECRET)
            .fold(text, |text, secret| {
                text.replace(secret.expose(), "<secret>")
            })
    }

    async fn additions(
        &self,
        fresh: bool,
        until: Instant,
        url: &Url,
    ) -> Result<Additions, NetError> {
        match timeout_at(until, self.make_additions(fresh, until)).await {
            Ok(made) => made,
            Err(_) => Err(NetError::of_credentials(
                redacted(url),
                "no credentials in time".to_owned(),
                true,
            )),
        }
    }

    async fn make_additions(&self, fresh: bool, until: Instant) -> Result<Additions, NetError> {
        let mut used = Vec::new();
        let mut text = async |source: Option<&SecretSource>| match source {
            Some(source) => {
                let secret = self.secrets.get(source, fresh).await?;
                used.push(secret.clone());
                Ok::<_, NetError>(secret)
            }
            None => Ok(Secret::new("")),
        };
        let authorization = match &self.config.auth {
            None => None,
            Some(Auth::Basic { username, password }) => {
                let username = self
                    .secrets
                    .get(username.as_ref().unwrap_or(&SecretSource::text("")), fresh)
                    .await?;
                Some(basic(
                    username.expose(),
                    text(password.as_ref()).await?.expose(),
                )?)
            }
            Some(Auth::Authorization {
                scheme,
                credentials,
            }) => Some(sensitive(&format!(
                "{scheme} {}",
                text(credentials.as_ref()).await?.expose()
            ))?),
            Some(Auth::OAuth2(_)) => match &self.tokens {
                Some(tokens) => Some(sensitive(
                    tokens.header(self.secrets, fresh, until).await?.expose(),
                )?),
                None => None,
            },
        };
        let mut headers = Vec::new();
        for header in &self.config.headers {
            for source in &header.values {
                let value = sensitive(text(Some(source)).await?.expose())?;
                let name = header.name.parse().map_err(|_| {
                    NetError::of_credentials(
                        header.name.clone(),
                        "no name of a header".to_owned(),
                        false,
                    )
                })?;
                headers.push((name, value));
            }
        }
        if let Some(value) = authorization.as_ref().and_then(|value| value.to_str().ok()) {
            used.extend(
                value
                    .split_once(' ')
                    .map(|(_, credentials)| Secret::new(credentials)),
            );
        }
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = used;
        Ok(Additions {
            authorization,
            headers,
        })
    }

    /// As Go's `Client.do`: 301 to 303 make a GET of anything, 307 and 308 repeat it. A POST is not
    /// turned into a GET here: its samples would be gone, and the answer might be a 200 all the
    /// same.
    async fn follow(
        &self,
        request: &Request<RequestBody>,
        mut url: Url,
        additions: &Additions,
        exchange: Exchange,
        until: Instant,
    ) -> Result<Reply, NetError> {
        let first = url.clone();
        let mut hops = 0;
        loop {
            let reply = self
                .hop(
                    request,
                    &first,
                    &url,
                    additions,
                    exchange.fresh_connection,
                    until,
                )
                .await?;
            let followed = match reply.status() {
                301..=303 => request.method() == Method::GET,
                307 | 308 => true,
                _ => false,
            };
            if !followed || !self.config.follow_redirects || exchange.signed {
                return Ok(reply);
            }
            let location = reply
                .response
                .headers()
                .get(LOCATION)
                .and_then(|location| url.join(location.to_str().ok()?).ok());
            let Some(mut next) = location.filter(|next| matches!(next.scheme(), "http" | "https"))
            else {
                return Ok(reply);
            };
            hops += 1;
            if hops > MAX_REDIRECTS {
                return Ok(reply);
            }
            let _ = (next.set_username(""), next.set_password(None));
            url = next;
        }
    }

    async fn hop(
        &self,
        request: &Request<RequestBody>,
        first: &Url,
        url: &Url,
        additions: &Additions,
        fresh_connection: bool,
        until: Instant,
    ) -> Result<Reply, NetError> {
        let proxy = self.config.proxy.for_url(url);
        // The name that the handshake asks for is that of the address: so the address gets the
        // name, and the name the host's addresses.
        let renamed = self.renamed(url, proxy.is_some());
        let which = Which {
            fresh: fresh_connection,
            proxied: proxy.is_some(),
            host: renamed.as_ref().and(url.host_str()).map(str::to_owned),
        };
        let client = match timeout_at(until, self.client(which, url)).await {
            Ok(client) => client?,
            Err(_) => {
                return Err(NetError::of_credentials(
                    redacted(url),
                    "the files of tls_config could not be read in time".to_owned(),
                    true,
                ));
            }
        };

        let mut message = reqwest::Request::new(
            request.method().clone(),
            renamed.clone().unwrap_or_else(|| url.clone()),
        );
        *message.body_mut() = (!request.body().is_empty()).then(|| request.body().clone().into());
        let headers = message.headers_mut();
        *headers = request.headers().clone();
        if is_trusted_with_credentials(first, url) {
            for (name, value) in &additions.headers {
                headers.append(name.clone(), value.clone());
            }
            if let Some(authorization) = &additions.authorization {
                headers
                    .entry(AUTHORIZATION)
                    .or_insert_with(|| authorization.clone());
            }
        } else {
            let mut harmless = HeaderMap::new();
            harmless.extend(headers.drain().filter_map(|(name, value)| {
                Some((name?, value)).filter(|(_, value)| !value.is_sensitive())
            }));
            *headers = harmless;
            headers.remove(AUTHORIZATION);
        }
        if renamed.is_some()
            && let Ok(host) = HeaderValue::from_str(&authority(url))
        {
            headers.insert(HOST, host);
        }
        *message.timeout_mut() = Some(until.saturating_duration_since(Instant::now()));
        match send(&client, message, self.peer).await {
            Ok(response) => Ok(Reply {
                response,
                url: url.clone(),
                peer: self.peer,
            }),
            Err(mut error) => {
                error.address = redacted(url);
                if error.phase == Phase::Tls {
                    self.built.lock().await.doubtful = true;
                }
                if let Some(proxy) = proxy
                    .filter(|_| matches!(error.phase, Phase::Dns | Phase::Connect))
                    .and_then(|proxy| Url::parse(proxy.expose()).ok())
                {
                    error.cause = format!(
                        "{} (on the way to the proxy {})",
                        error.cause,
                        redacted(&proxy)
                    );
                    error.hint = Some(
                        "check proxy_url, and no_proxy for addresses that are reached directly",
                    );
                }
                Err(error)
            }
        }
    }

    /// The address under `server_name`. Behind a proxy, which would look that name up, and for
    /// names that are IP addresses, which no handshake asks for, only the verification knows the
    /// other name.
    fn renamed(&self, url: &Url, proxied: bool) -> Option<Url> {
        let name = self.config.tls.server_name.as_ref()?;
        if url.scheme() != "https"
            || proxied
            || url.host_str() == Some(name)
            || name.parse::<std::net::IpAddr>().is_ok()
        {
            return None;
        }
        let mut renamed = url.clone();
        renamed.set_host(Some(name)).ok()?;
        Some(renamed)
    }

    async fn client(&self, which: Which, url: &Url) -> Result<Client, NetError> {
        let mut built = self.built.lock().await;
        self.look_at_files(&mut built, url).await?;
        if let Some(client) = built.clients.get(&which) {
            return Ok(client.clone());
        }
        let fail = |cause: String| NetError::of_credentials(redacted(url), cause, false);
        let tls = match &built.tls {
            Some(tls) => tls.clone(),
            None => tls::config().map_err(|error| fail(error.to_string()))?,
        };
        let mut options = self.options.clone();
        if which.fresh {
            options.idle_timeout = Duration::ZERO;
        }
        if let Some(host) = &which.host {
            options.lookup = Arc::new(Stands {
                host: host.clone(),
                lookup: Arc::clone(&options.lookup),
            });
        }
        let proxies = if which.proxied {
            self.proxies().await?
        } else {
            Vec::new()
        };
        let client =
            configured_client(&options, tls, proxies).map_err(|error| fail(error.to_string()))?;
        built.clients.insert(which, client.clone());
        Ok(client)
    }

    /// Reads what `tls_config` names, at first and when it may have changed; clients of other
    /// certificates are of no use then.
    async fn look_at_files(&self, built: &mut Built, url: &Url) -> Result<(), NetError> {
        let tls = &self.config.tls;
        if *tls == crate::config::TlsConfig::default() {
            return Ok(());
        }
        let now = SystemTime::now();
        let recently = built
            .looked
            .is_some_and(|looked| now.duration_since(looked).unwrap_or_default() < LOOK_AGAIN);
        if built.tls.is_some() && recently && !built.doubtful {
            return Ok(());
        }
        let read = async |source: &Option<SecretSource>| match source {
            Some(source) => self.secrets.get(source, built.doubtful).await.map(Some),
            None => Ok(None),
        };
        let materials = Materials {
            ca: read(&tls.ca).await?,
            cert: read(&tls.cert).await?,
            key: read(&tls.key).await?,
        };
        if built.tls.is_none() || materials != built.materials {
            let config = tls::configured(tls, &materials).map_err(|error| {
                let source = match error.key {
                    "ca" => &tls.ca,
                    "cert" => &tls.cert,
                    "key" => &tls.key,
                    _ => &None,
                };
                let place = source
                    .as_ref()
                    .and_then(|source| source.places().into_iter().next());
                let place = place.map_or_else(
                    || format!("tls_config.{}", error.key),
                    |place| format!("tls_config.{} {place}", error.key),
                );
                NetError::of_credentials(
                    place,
                    format!("{} (for {})", error.cause, redacted(url)),
                    false,
                )
            })?;
            built.tls = Some(config);
            built.materials = materials;
            built.clients.clear();
        }
        built.looked = Some(now);
        built.doubtful = false;
        Ok(())
    }

    async fn proxies(&self) -> Result<Vec<Proxy>, NetError> {
        let proxy = &self.config.proxy;
        let mut connect_headers = HeaderMap::new();
        for (name, source) in &proxy.connect_headers {
            let value = sensitive(self.secrets.get(source, false).await?.expose())?;
            let name: HeaderName = name.parse().map_err(|_| {
                NetError::of_credentials(name.clone(), "no name of a header".to_owned(), false)
            })?;
            connect_headers.append(name, value);
        }
        let fail = |_| {
            NetError::of_credentials(
                "proxy_url".to_owned(),
                "it is no address of a proxy".to_owned(),
                false,
            )
        };
        let mut proxies = Vec::new();
        if let Some(url) = &proxy.http {
            proxies.push(Proxy::http(url.expose()).map_err(fail)?);
        }
        if let Some(url) = &proxy.https {
            proxies.push(
                Proxy::https(url.expose())
                    .map_err(fail)?
                    .headers(connect_headers),
            );
        }
        Ok(proxies)
    }
}

/// Credentials stay with the host that they were meant for, and never leave TLS again. // Go
/// net/http shouldCopyHeaderOnRedirect
fn is_trusted_with_credentials(first: &Url, url: &Url) -> bool {
    first.host() == url.host() && (first.scheme() != "https" || url.scheme() == "https")
}

/// `host:port` as a `Host` header has it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Gives the addresses of one host for any name.
struct Stands {
    host: String,
    lookup: Arc<dyn Lookup>,
}

impl Lookup for Stands {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<std::net::SocketAddr>>> {
        let literal = self
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse();
        match literal {
            Ok(ip) => Box::pin(std::future::ready(Ok(vec![std::net::SocketAddr::new(
                ip, 0,
            )]))),
            Err(_) => self.lookup.lookup(self.host.clone()),
        }
    }
}
