//! How requests travel: TLS, proxies, redirects. Credentials come from above, as headers that are
//! added where the destination may see them.

use std::sync::Arc;

use ::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use ::http::{Method, Request};
use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::client::send;
use super::clients::{ClientKey, ClientPool};
use super::error::{NetError, Peer, Phase, redacted};
use super::reach::{LocalKinds, REFUSED, REFUSED_HINT};
use super::scrub::Scrubber;
use crate::config::{ProxyConfig, Secret, TlsConfig};
use crate::prompb::RequestBody;

/// Redirects that are followed at most, as in Go's `net/http`.
const MAX_REDIRECTS: usize = 10;

/// Sends requests as a TLS and a proxy configuration say. It builds and reads nothing before its
/// first request.
pub(super) struct Transport {
    tls: TlsConfig,
    proxy: ProxyConfig,
    peer: Peer,
    clients: Arc<ClientPool>,
}

/// Headers that a configuration adds to its requests.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct AddedHeaders {
    /// The `Authorization` header, unless the request has one of its own.
    pub(super) authorization: Option<HeaderValue>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The secrets in these headers. No message may show them.
    pub(super) secrets: Vec<Secret>,
}

/// The freedom that the transport has with one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    /// Time at which the answer's body must have been read.
    pub(super) deadline: Instant,
    /// Whether the request must go out on a connection that was never used.
    pub(super) fresh_connection: bool,
    /// Whether redirects are followed.
    pub(super) follow_redirects: bool,
}

/// An answer whose body has not been read yet.
pub struct HttpReply {
    response: Response,
    url: Url,
    peer: Peer,
    /// The secrets of the request.
    pub(super) scrubber: Scrubber,
}

impl HttpReply {
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Takes the headers out of the answer.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// Returns the next piece of the body as it was received, still compressed, and `None` at its
    /// end.
    ///
    /// # Errors
    /// [`NetError`] in [`Phase::Body`] when the body is cut or takes longer than the exchange. What
    /// was read before is incomplete.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        self.response
            .chunk()
            .await
            .map_err(|error| NetError::from_reqwest(error, self.peer, &self.url))
    }

    /// The beginning of the body as text of at most `most` bytes, without the secrets that the
    /// request carried. `read` is what was read of it; more than `most` bytes are better, because
    /// the secrets are taken out before the text is cut.
    #[must_use]
    pub fn without_secrets(&self, read: &[u8], most: usize) -> String {
        self.scrubber.clean(read, most)
    }

    /// The address that a redirect leads to, if it is one that HTTP can ask.
    fn location(&self) -> Option<Url> {
        let location = self.response.headers().get(LOCATION)?.to_str().ok()?;
        let mut next = self.url.join(location).ok()?;
        if !matches!(next.scheme(), "http" | "https") {
            return None;
        }
        let _ = (next.set_username(""), next.set_password(None));
        Some(next)
    }
}

impl Transport {
    /// `clients` are those for the same configuration. `peer` is the party that errors are about.
    pub(super) fn new(
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        peer: Peer,
        clients: Arc<ClientPool>,
    ) -> Self {
        Self {
            tls: tls.clone(),
            proxy: proxy.clone(),
            peer,
            clients,
        }
    }

    /// Sends a request up to the headers of the last answer, and follows redirects where allowed.
    ///
    /// Go's `Client.do` makes a GET of any request that is answered 301 to 303, and repeats it for
    /// 307 and 308. A POST is not turned into a GET here: its samples would be gone, and the answer
    /// might be a 200 all the same. Unlike in Go, credentials and bodies stay with the origin that
    /// they were meant for (scheme, host and port), and credentials that were taken off do not come
    /// back.
    pub(super) async fn send(
        &self,
        request: &Request<RequestBody>,
        url: Url,
        added: &AddedHeaders,
        passage: Passage,
    ) -> Result<HttpReply, NetError> {
        let first = url.clone();
        let mut url = url;
        let mut redirects = 0;
        let mut permitted = None;
        let mut keeps_credentials = true;
        loop {
            keeps_credentials &= url.origin() == first.origin();
            let added = keeps_credentials.then_some(added);
            let redirected = permitted.filter(|_| url.host() != first.host());
            let reply = self.hop(request, &url, added, redirected, passage).await?;
            let may_follow = match reply.status() {
                301..=303 => request.method() == Method::GET,
                307 | 308 => true,
                _ => false,
            };
            if !may_follow || !passage.follow_redirects || redirects == MAX_REDIRECTS {
                return Ok(reply);
            }
            let Some(next) = reply.location() else {
                return Ok(reply);
            };
            if !request.body().is_empty() && next.origin() != first.origin() {
                return Ok(reply);
            }
            if permitted.is_none() && next.host() != first.host() {
                permitted = Some(self.clients.local_kinds(&first).await);
            }
            redirects += 1;
            url = next;
        }
    }

    /// Sends a request to one address. Without `added` headers, its own secrets stay here, too.
    /// After a redirect to another host, `redirected` says which local addresses it may lead to.
    async fn hop(
        &self,
        request: &Request<RequestBody>,
        url: &Url,
        added: Option<&AddedHeaders>,
        redirected: Option<LocalKinds>,
        passage: Passage,
    ) -> Result<HttpReply, NetError> {
        if redirected.is_some_and(|permitted| !permitted.permits_url(url)) {
            return Err(refused_redirect(self.peer, url));
        }
        let proxy = self.proxy.for_url(url);
        // The handshake asks for the name in the URL. To ask for `server_name`, the URL gets that
        // name, and the look-up of it finds the addresses of the host.
        let renamed = self.renamed(url, proxy.is_some());
        let key = ClientKey {
            fresh_connection: passage.fresh_connection,
            proxied: proxy.is_some(),
            host: renamed.as_ref().and(url.host_str()).map(str::to_owned),
            redirected,
        };
        let Ok(client) = timeout_at(passage.deadline, self.clients.client(key, url)).await else {
            let cause = "the files of tls_config could not be read in time";
            return Err(NetError::no_credentials(redacted(url), cause, true));
        };
        let client = client?;

        let target = renamed.clone().unwrap_or_else(|| url.clone());
        let mut message = reqwest::Request::new(request.method().clone(), target);
        *message.body_mut() = (!request.body().is_empty()).then(|| request.body().clone().into());
        *message.headers_mut() = match added {
            Some(added) => added.join(request.headers()),
            None => without_secrets(request.headers()),
        };
        if renamed.is_some()
            && let Ok(host) = HeaderValue::from_str(&host_header(url))
        {
            message.headers_mut().insert(HOST, host);
        }
        let timeout = passage.deadline.saturating_duration_since(Instant::now());
        *message.timeout_mut() = Some(timeout);

        match send(&client, message, self.peer).await {
            Ok(response) => Ok(HttpReply {
                response,
                url: url.clone(),
                peer: self.peer,
                scrubber: Scrubber::default(),
            }),
            Err(error) => {
                if error.phase == Phase::Tls {
                    self.clients.doubt_tls().await;
                }
                Err(explained(error, url, proxy))
            }
        }
    }

    /// The URL with `server_name` in the place of its host. Behind a proxy, which would look that
    /// name up, and for a name that is an IP address, which no handshake asks for, the URL stays as
    /// it is: only the verification uses the other name.
    fn renamed(&self, url: &Url, proxied: bool) -> Option<Url> {
        let name = self.tls.server_name.as_ref()?;
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
}

impl AddedHeaders {
    /// The headers of a request, with these after them.
    fn join(&self, headers: &HeaderMap) -> HeaderMap {
        let mut joined = headers.clone();
        for (name, value) in &self.headers {
            joined.append(name.clone(), value.clone());
        }
        if let Some(authorization) = &self.authorization {
            joined
                .entry(AUTHORIZATION)
                .or_insert_with(|| authorization.clone());
        }
        joined
    }
}

/// The headers of a request that any host may see.
fn without_secrets(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, value)| !value.is_sensitive() && *name != AUTHORIZATION)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The error of a redirect that is not followed.
fn refused_redirect(peer: Peer, url: &Url) -> NetError {
    NetError {
        hint: Some(REFUSED_HINT),
        ..NetError::new(Phase::Connect, peer, redacted(url), REFUSED)
    }
}

/// The error of one hop, about the URL as it is configured, and about the proxy where that one
/// could not be reached.
fn explained(error: NetError, url: &Url, proxy: Option<&Secret>) -> NetError {
    let error = NetError {
        address: redacted(url),
        ..error
    };
    if !matches!(error.phase, Phase::Dns | Phase::Connect) {
        return error;
    }
    if error.cause.contains(REFUSED) {
        return refused_redirect(error.peer, url).with_source(error);
    }
    let Some(proxy) = proxy.and_then(|proxy| Url::parse(proxy.expose()).ok()) else {
        return error;
    };
    NetError {
        cause: format!(
            "{} (on the way to the proxy {})",
            error.cause,
            redacted(&proxy)
        ),
        hint: Some("check proxy_url, and no_proxy for addresses that are reached directly"),
        ..error
    }
}

/// The value of a `Host` header, `host` or `host:port`.
fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
