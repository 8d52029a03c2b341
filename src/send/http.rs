//! Remote write 1.0 over HTTP, signed where configured.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use ::http::uri::InvalidUri;
use ::http::{Method, Uri};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::denial::{DenialContext, denial_hint};
use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use super::verdict::is_page;
use crate::config::RemoteWrite;
use crate::net::aws::AwsError;
use crate::net::sign::{SignError, Signer};
use crate::net::{
    ClientOptions, Exchange, HttpClient, HttpReply, Peer, Phase, SharedClients, redacted,
};
use crate::time::Clock;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// Bytes of an answer's body that are kept.
const BODY_BYTES: usize = 1024;

/// Bytes of an answer's body that are looked at: secrets are taken out before the body is cut.
const READ_BYTES: usize = 8 * BODY_BYTES;

/// Bytes of an answer's body that are read, so that the connection can be used again.
const DRAIN_BYTES: usize = 64 << 10;

/// Time for an answer's body. The status decides, so a body that stalls is not worth the rest of
/// the time-out.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// A remote that cannot be posted to as configured.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The identity that signs could not be found.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The configuration names a header that HTTP does not allow. Holds its name.
    #[error("remote_write header {0}: not a valid HTTP header")]
    Header(String),
    /// HTTP does not allow the URL of the configuration.
    #[error("remote_write url: {0}")]
    Url(#[source] InvalidUri),
}

/// The real [`Remote`], which posts over HTTP and signs where configured.
pub struct HttpRemote {
    address: String,
    trailing_slash: bool,
    authorized: bool,
    uri: Uri,
    headers: HeaderMap,
    client: HttpClient,
    signer: Option<Arc<Signer>>,
    clock: Arc<dyn Clock>,
}

impl HttpRemote {
    /// Makes the remote of an entry of `remote_write`. Reads AWS' files if the entry is signed, and
    /// touches no network.
    ///
    /// # Errors
    /// [`RemoteError`] when the entry's region, headers or URL cannot be used. It stays until the
    /// configuration is changed.
    pub async fn new(config: &RemoteWrite, clock: Arc<dyn Clock>) -> Result<Self, RemoteError> {
        Self::sharing(config, clock, &SharedClients::default()).await
    }

    /// Makes a remote as [`HttpRemote::new`] does, over connections and credentials that it shares
    /// with others.
    ///
    /// # Errors
    /// [`RemoteError`] as [`HttpRemote::new`].
    pub async fn sharing(
        config: &RemoteWrite,
        clock: Arc<dyn Clock>,
        shared: &SharedClients,
    ) -> Result<Self, RemoteError> {
        let signer = match &config.sigv4 {
            Some(sigv4) => Some(shared.signer(sigv4, &clock).await?),
            None => None,
        };
        Self::over(config, signer, clock, shared)
    }

    /// Makes a remote as [`HttpRemote::new`] does, with another source of signatures.
    ///
    /// # Errors
    /// [`RemoteError`] when the entry's headers or URL cannot be used.
    pub fn with_signer(
        config: &RemoteWrite,
        signer: Option<Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RemoteError> {
        let shared = SharedClients::default();
        Self::over(config, signer.map(Arc::new), clock, &shared)
    }

    fn over(
        config: &RemoteWrite,
        signer: Option<Arc<Signer>>,
        clock: Arc<dyn Clock>,
        shared: &SharedClients,
    ) -> Result<Self, RemoteError> {
        // A bound that is shorter than the request's own tells a dead path from a slow receiver.
        let options = ClientOptions {
            connect_timeout: ClientOptions::default()
                .connect_timeout
                .min(config.remote_timeout / 2),
            clock: Arc::clone(&clock),
            ..ClientOptions::default()
        };
        Ok(Self {
            address: redacted(&config.url),
            trailing_slash: config.url.path().ends_with("/remote_write/"),
            authorized: config.http.auth.is_some(),
            uri: config.url.as_str().parse().map_err(RemoteError::Url)?,
            headers: headers(config)?,
            client: HttpClient::sharing(&config.http, options, Peer::Remote, shared),
            signer,
            clock,
        })
    }

    async fn exchange(&self, post: PostRequest<'_>) -> Result<PostAnswer, PostError> {
        let until = Instant::now() + post.timeout;
        let mut request = http::Request::new(post.body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if post.attempt > 0 {
            request
                .headers_mut()
                .insert(RETRY_ATTEMPT, post.attempt.into());
        }
        if let Some(signer) = &self.signer {
            let now_ms = self.clock.now_ms();
            signer
                .sign(&mut request, now_ms, post.fresh_credentials, post.timeout)
                .await
                .map_err(PostError::Sign)?;
        }
        let exchange = Exchange {
            timeout: until.saturating_duration_since(Instant::now()),
            fresh_connection: post.fresh_connection,
            fresh_credentials: post.fresh_credentials,
            signed: self.signer.is_some(),
        };
        let reply =
            self.client
                .send(request, exchange)
                .await
                .map_err(|error| match error.phase {
                    // Trying again within the tick is of no use, unless the place where the
                    // credentials are kept was only out of reach.
                    Phase::Request | Phase::Credentials if !error.timed_out => {
                        PostError::Sign(SignError::Configuration(error))
                    }
                    _ => PostError::Net(error),
                })?;
        Ok(answer(reply).await)
    }
}

impl Remote for HttpRemote {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        Box::pin(self.exchange(request))
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn hint(&self, answer: &PostAnswer) -> Option<&'static str> {
        match answer.status {
            301..=308 => return Some(REDIRECTED),
            200..=299 if is_page(&answer.headers, &answer.body) => return Some(PAGE),
            401 | 403 | 404 | 405 => {}
            _ => return None,
        }
        let context = DenialContext {
            signed: self.signer.is_some(),
            authorized: self.authorized,
            trailing_slash: self.trailing_slash,
        };
        Some(denial_hint(
            answer.status,
            &answer.headers,
            &answer.body,
            context,
        ))
    }
}

/// The advice for an answer that leads elsewhere.
const REDIRECTED: &str = "this is a redirect: give the final address as url; a login page on the \
                          way answers like this, too";

/// The advice for a web page in the place of an answer.
const PAGE: &str = "this is a web page: is the url that of a remote-write receiver, and is there a \
                    login page on the way?";

/// The headers of storage/remote/client.go `Store`, over the user's own.
fn headers(config: &RemoteWrite) -> Result<HeaderMap, RemoteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let invalid = || RemoteError::Header(name.clone());
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(name.parse::<HeaderName>().map_err(|_| invalid())?, value);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
    Ok(headers)
}

/// Reads an answer. The status counts even if the body is cut or stalls.
async fn answer(mut reply: HttpReply) -> PostAnswer {
    let status = reply.status();
    let headers = reply.take_headers();
    let mut body = Vec::new();
    let read = async {
        let mut drained = 0;
        while let Ok(Some(chunk)) = reply.chunk().await {
            let room = READ_BYTES.saturating_sub(body.len()).min(chunk.len());
            body.extend_from_slice(&chunk[..room]);
            drained += chunk.len();
            if drained > DRAIN_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(BODY_PATIENCE, read).await;
    PostAnswer {
        status,
        headers,
        body: reply.without_secrets(&body, BODY_BYTES),
    }
}
