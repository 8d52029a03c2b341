//! Tokens by OAuth 2.0 client credentials, kept until they expire. // golang.org/x/oauth2
//! clientcredentials

use std::time::{Duration, SystemTime};

use ::http::Request;
use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use aws_smithy_types::base64;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded;

use super::client::ClientOptions;
use super::error::{NetError, Peer};
use super::http::{Exchange, HttpClient};
use super::secrets::Secrets;
use crate::config::{HttpConfig, OAuth2, Secret};

/// A token is fetched anew this long before it expires. // golang.org/x/oauth2 defaultExpiryDelta
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// Requests that are refused together fetch a new one once together.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Of an answer. // golang.org/x/oauth2/internal doTokenRoundTrip
const MOST: usize = 1 << 20;

/// Fetches tokens for one configuration.
pub(super) struct Tokens {
    config: OAuth2,
    client: HttpClient,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// Which of the two ways to name the client the server took: it is found out once, as in Go
    /// (AuthStyleAutoDetect).
    style: Option<Style>,
}

struct Token {
    /// `Bearer …`
    header: Secret,
    fetched: SystemTime,
    expires: Option<SystemTime>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `Authorization: Basic`.
    Header,
    /// `client_id` and `client_secret` in the body.
    Body,
}

impl Tokens {
    pub(super) fn new(config: &OAuth2, options: &ClientOptions, secrets: &'static Secrets) -> Self {
        let http = HttpConfig {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            ..HttpConfig::default()
        };
        Self {
            config: config.clone(),
            client: HttpClient::with_secrets(&http, options.clone(), Peer::Remote, secrets),
            held: Mutex::default(),
        }
    }

    /// The value of an `Authorization` header, before `until`. `fresh` fetches a new token unless
    /// the one at hand is new.
    pub(super) async fn header(
        &self,
        secrets: &Secrets,
        fresh: bool,
        until: Instant,
    ) -> Result<Secret, NetError> {
        let mut held = self.held.lock().await;
        let now = SystemTime::now();
        if let Some(token) = &held.token {
            let expired = token
                .expires
                .is_some_and(|expires| now + EXPIRY_MARGIN >= expires);
            let new = now.duration_since(token.fetched).unwrap_or_default() < AGAIN_AFTER;
            if !expired && (!fresh || new) {
                return Ok(token.header.clone());
            }
        }
        let secret = match &self.config.client_secret {
            Some(source) => secrets.get(source, fresh).await?,
            None => Secret::new(""),
        };
        let styles: &[Style] = match &held.style {
            Some(known) => &[*known],
            None => &[Style::Header, Style::Body],
        };
        let mut refused = None;
        for style in styles {
            match self.fetch(*style, &secret, now, until).await? {
                Ok(token) => {
                    let header = token.header.clone();
                    *held = Held {
                        token: Some(token),
                        style: Some(*style),
                    };
                    return Ok(header);
                }
                Err(cause) => refused = Some(cause),
            }
        }
        Err(self.error(refused.unwrap_or_default(), false))
    }

    fn error(&self, cause: String, passing: bool) -> NetError {
        NetError::of_credentials(super::redacted(&self.config.token_url), cause, passing)
    }

    // golang.org/x/oauth2/internal newTokenRequest
    fn request(&self, style: Style, secret: &Secret) -> Result<Request<Bytes>, NetError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        for (name, value) in &self.config.endpoint_params {
            form.append_pair(name, value.expose());
        }
        if style == Style::Body {
            form.append_pair("client_id", &self.config.client_id);
            if !secret.expose().is_empty() {
                form.append_pair("client_secret", secret.expose());
            }
        }
        let mut request = Request::post(self.config.token_url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form.finish()))
            .map_err(|error| self.error(error.to_string(), false))?;
        if style == Style::Header {
            let escaped =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request.headers_mut().insert(
                AUTHORIZATION,
                basic(&escaped(&self.config.client_id), &escaped(secret.expose()))?,
            );
        }
        Ok(request)
    }

    /// The inner error is the server's refusal.
    async fn fetch(
        &self,
        style: Style,
        secret: &Secret,
        now: SystemTime,
        until: Instant,
    ) -> Result<Result<Token, String>, NetError> {
        let request = self.request(style, secret)?;
        let exchange = Exchange {
            timeout: until.saturating_duration_since(Instant::now()),
            ..Exchange::default()
        };
        let mut reply = Box::pin(self.client.send(request, exchange))
            .await
            .map_err(|error| self.error(format!("cannot fetch a token: {error}"), true))?;
        let status = reply.status();
        let mut body = Vec::new();
        while let Some(chunk) = reply
            .chunk()
            .await
            .map_err(|error| self.error(format!("cannot fetch a token: {error}"), true))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MOST {
                return Err(self.error(
                    format!("the token's answer is larger than {MOST} bytes"),
                    false,
                ));
            }
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match answer["access_token"].as_str() {
            Some(token) if (200..300).contains(&status) && !token.is_empty() => {
                Ok(Ok(read_token(&answer, token, now)))
            }
            _ if status >= 500 || status == 429 => {
                Err(self.error(format!("cannot fetch a token: answered {status}"), true))
            }
            _ => {
                // The answer may repeat what was sent: only the code of the error is told. // RFC
                // 6749, 5.2
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
                Ok(Err(format!(
                    "cannot fetch a token: {}; check token_url, client_id, client_secret and scopes",
                    cause.trim_end()
                )))
            }
        }
    }
}

// golang.org/x/oauth2/internal tokenJSON, Token.Type
fn read_token(answer: &Value, token: &str, now: SystemTime) -> Token {
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
    let expires = seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds)));
    Token {
        header: Secret::new(format!("{scheme} {token}")),
        fetched: now,
        expires,
    }
}

/// `Basic …`
pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, NetError> {
    let text = format!("Basic {}", base64::encode(format!("{username}:{password}")));
    sensitive(&text)
}

/// A header that no log shows.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, NetError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        NetError::of_credentials(
            "header".to_owned(),
            "a secret holds a line break or another control character".to_owned(),
            false,
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
