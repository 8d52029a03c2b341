//! Tokens by OAuth 2.0 client credentials, kept until they expire (golang.org/x/oauth2
//! `clientcredentials`).

use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded;

use super::client::ClientOptions;
use super::clients::ClientPool;
use super::error::{NetError, Peer, redacted};
use super::header::basic;
use super::secrets::Secrets;
use super::transport::{AddedHeaders, HttpReply, Passage, Transport};
use crate::config::{OAuth2, Secret};
use crate::prompb::RequestBody;
use crate::time::{Clock, millis};

/// A new token is fetched this long before the old one expires (golang.org/x/oauth2
/// `defaultExpiryDelta`).
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// A token that is younger is not replaced after a refusal: requests that are refused together
/// fetch one new token together.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Largest answer of a token server in bytes (golang.org/x/oauth2/internal `doTokenRoundTrip`).
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Fetches tokens for one configuration.
pub(super) struct TokenSource {
    config: OAuth2,
    secrets: &'static Secrets,
    clock: Arc<dyn Clock>,
    transport: Transport,
    cache: Mutex<TokenCache>,
}

#[derive(Default)]
struct TokenCache {
    token: Option<AccessToken>,
    /// The way to name the client that the server accepted. It is found out once, as in Go
    /// (`AuthStyleAutoDetect`).
    style: Option<ClientAuthStyle>,
}

struct AccessToken {
    /// Value of the `Authorization` header, such as `Bearer …`.
    header: Secret,
    /// Milliseconds since 1970.
    fetched_ms: i64,
    /// Milliseconds since 1970, if the server named a lifetime.
    expires_ms: Option<i64>,
}

/// The place where a token request names the client and its secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuthStyle {
    /// The `Authorization: Basic` header.
    Header,
    /// The members `client_id` and `client_secret` of the body.
    Body,
}

/// A token request that the server refused, in words. Another style may be accepted.
struct TokenRefusal(String);

impl AccessToken {
    fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_ms
            .is_some_and(|expires_ms| now_ms.saturating_add(millis(EXPIRY_MARGIN)) >= expires_ms)
    }

    fn is_new(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.fetched_ms) < millis(AGAIN_AFTER)
    }
}

impl TokenSource {
    pub(super) fn new(config: &OAuth2, options: &ClientOptions, secrets: &'static Secrets) -> Self {
        Self {
            config: config.clone(),
            secrets,
            clock: Arc::clone(&options.clock),
            transport: Transport::new(
                &config.tls,
                &config.proxy,
                Peer::Remote,
                Arc::new(ClientPool::new(
                    &config.tls,
                    &config.proxy,
                    options.clone(),
                    Peer::Remote,
                    secrets,
                )),
            ),
            cache: Mutex::default(),
        }
    }

    /// Returns the value of an `Authorization` header before `deadline`. `fresh` fetches a new
    /// token unless the cached one is new.
    pub(super) async fn header(&self, fresh: bool, deadline: Instant) -> Result<Secret, NetError> {
        let mut cache = self.cache.lock().await;
        let now_ms = self.clock.now_ms();
        if let Some(token) = &cache.token
            && !token.is_expired(now_ms)
            && (!fresh || token.is_new(now_ms))
        {
            return Ok(token.header.clone());
        }
        let secret = match &self.config.client_secret {
            Some(source) => self.secrets.get(source, fresh, now_ms).await?,
            None => Secret::new(""),
        };
        let styles: &[ClientAuthStyle] = match &cache.style {
            Some(accepted) => &[*accepted],
            None => &[ClientAuthStyle::Header, ClientAuthStyle::Body],
        };
        let mut refusal = TokenRefusal(String::new());
        for style in styles {
            match self.fetch(*style, &secret, now_ms, deadline).await? {
                Ok(token) => {
                    let header = token.header.clone();
                    *cache = TokenCache {
                        token: Some(token),
                        style: Some(*style),
                    };
                    return Ok(header);
                }
                Err(refused) => refusal = refused,
            }
        }
        Err(self.error(refusal.0, false))
    }

    fn error(&self, cause: String, passing: bool) -> NetError {
        NetError::no_credentials(redacted(&self.config.token_url), cause, passing)
    }

    /// A token request that got no whole answer.
    fn unanswered(&self, error: NetError) -> NetError {
        self.error(format!("cannot fetch a token: {error}"), true)
            .with_source(error)
    }

    /// Builds the request for a token (golang.org/x/oauth2/internal `newTokenRequest`).
    fn request(
        &self,
        style: ClientAuthStyle,
        secret: &Secret,
    ) -> Result<Request<RequestBody>, NetError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        for (name, value) in &self.config.endpoint_params {
            form.append_pair(name, value.expose());
        }
        if style == ClientAuthStyle::Body {
            form.append_pair("client_id", &self.config.client_id);
            if !secret.expose().is_empty() {
                form.append_pair("client_secret", secret.expose());
            }
        }
        let mut request = Request::post(self.config.token_url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish().into())
            .map_err(|error| {
                let place = redacted(&self.config.token_url);
                NetError::malformed_request(Peer::Remote, place, error.to_string())
                    .with_source(error)
            })?;
        if style == ClientAuthStyle::Header {
            let escaped =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request.headers_mut().insert(
                AUTHORIZATION,
                basic(&escaped(&self.config.client_id), &escaped(secret.expose()))?,
            );
        }
        Ok(request)
    }

    /// Fetches a token. The inner error is the server's refusal.
    async fn fetch(
        &self,
        style: ClientAuthStyle,
        secret: &Secret,
        now_ms: i64,
        deadline: Instant,
    ) -> Result<Result<AccessToken, TokenRefusal>, NetError> {
        let request = self.request(style, secret)?;
        // The request holds the client's secret, and RFC 6749 knows no redirect of it.
        let passage = Passage {
            deadline,
            fresh_connection: false,
            follow_redirects: false,
        };
        let url = self.config.token_url.clone();
        let reply = self
            .transport
            .send(&request, url, &AddedHeaders::default(), passage)
            .await
            .map_err(|error| self.unanswered(error))?;
        let status = reply.status();
        let answer = self.read_answer(reply).await?;
        match answer["access_token"].as_str() {
            Some(token) if (200..300).contains(&status) && !token.is_empty() => {
                Ok(Ok(read_token(&answer, token, now_ms)))
            }
            _ if status >= 500 || status == 429 => {
                Err(self.error(format!("cannot fetch a token: answered {status}"), true))
            }
            _ => Ok(Err(refusal(status, &answer))),
        }
    }

    /// Reads the answer as JSON; anything else counts as `null`.
    async fn read_answer(&self, mut reply: HttpReply) -> Result<Value, NetError> {
        let mut body = Vec::new();
        while let Some(chunk) = reply
            .chunk()
            .await
            .map_err(|error| self.unanswered(error))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                let cause = format!("the token's answer is larger than {MAX_ANSWER_BYTES} bytes");
                return Err(self.error(cause, false));
            }
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// The answer may repeat the request. So only the error code is shown, and only the characters that
/// it may hold (RFC 6749, 5.2).
fn refusal(status: u16, answer: &Value) -> TokenRefusal {
    let code: String = answer["error"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(40)
        .collect();
    let cause = if (200..300).contains(&status) {
        "no access_token in the answer".to_owned()
    } else {
        format!("answered {status} {code}")
    };
    TokenRefusal(format!(
        "cannot fetch a token: {}; check token_url, client_id, client_secret and scopes",
        cause.trim_end()
    ))
}

/// Reads a token (golang.org/x/oauth2/internal `tokenJSON`, `Token.Type`).
fn read_token(answer: &Value, token: &str, now_ms: i64) -> AccessToken {
    let lifetime = &answer["expires_in"];
    let seconds = lifetime
        .as_u64()
        .or_else(|| lifetime.as_str()?.parse().ok())
        .filter(|seconds| *seconds > 0);
    let kind = answer["token_type"].as_str().unwrap_or_default();
    let scheme = match kind.to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer",
        "mac" => "MAC",
        "basic" => "Basic",
        _ => kind,
    };
    AccessToken {
        header: Secret::new(format!("{scheme} {token}")),
        fetched_ms: now_ms,
        expires_ms: seconds
            .map(|seconds| now_ms.saturating_add(millis(Duration::from_secs(seconds)))),
    }
}
