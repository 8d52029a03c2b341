//! AWS Signature Version 4, with credentials that are fetched again before they expire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::aws::{AwsError, SigningIdentity, cause};
use super::error::NetError;
use crate::prompb::RequestBody;

/// A request that could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No usable credentials.
    #[error(transparent)]
    Credentials(#[from] AwsError),
    /// The source of the credentials did not answer within this time.
    #[error(
        "no AWS credentials within {0:?}; a function in a VPC reaches STS only through an \
         interface endpoint or a NAT gateway"
    )]
    TimedOut(Duration),
    /// A secret or another part of the configured request cannot be used.
    #[error(transparent)]
    Configuration(#[from] NetError),
    /// A header or the URL cannot be signed. Holds what the signer said.
    #[error("cannot sign the request: {0}")]
    Request(String),
}

impl SignError {
    /// Whether trying again within the tick is of no use.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::Configuration(_)
                | Self::Credentials(AwsError::NoCredentials(_) | AwsError::NoRegion)
        )
    }
}

/// Credentials are fetched again this long before they expire.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// Credentials without an expiry are used for this long, so that each tick reads them afresh.
const UNDATED_FOR: Duration = Duration::from_secs(50);

/// Credentials that are younger are not fetched again: shards that are denied together refresh them
/// together.
const REFRESH_TOGETHER: Duration = Duration::from_secs(2);

/// Signs requests of one remote or service.
#[derive(Debug)]
pub struct Signer {
    identity: SigningIdentity,
    service: String,
    cached: Mutex<Option<CachedCredentials>>,
}

#[derive(Debug)]
struct CachedCredentials {
    credentials: Credentials,
    /// Wall-clock time: a monotonic clock may not count the time during which a Lambda sandbox is
    /// frozen.
    fetched: SystemTime,
    fetched_at: Instant,
}

impl Signer {
    /// Makes a signer for a service: `aps` for AMP.
    #[must_use]
    pub fn new(identity: SigningIdentity, service: impl Into<String>) -> Self {
        Self {
            identity,
            service: service.into(),
            cached: Mutex::new(None),
        }
    }

    /// Adds the signature's headers to `request`, dated `now_ms` (milliseconds since 1970). `fresh`
    /// fetches credentials again unless the cached ones are new.
    ///
    /// # Errors
    /// [`SignError`] when there are no credentials within `timeout`, or when a header or the URL
    /// cannot be signed. [`SignError::is_final`] says whether another try can help.
    pub async fn sign(
        &self,
        request: &mut http::Request<impl Into<RequestBody> + Clone>,
        now_ms: i64,
        fresh: bool,
        timeout: Duration,
    ) -> Result<(), SignError> {
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
        let credentials = tokio::time::timeout(timeout, self.credentials(now, fresh))
            .await
            .map_err(|_| SignError::TimedOut(timeout))??;
        apply(
            request,
            credentials,
            self.identity.region.as_ref(),
            &self.service,
            now,
        )
    }

    async fn credentials(&self, now: SystemTime, fresh: bool) -> Result<Credentials, SignError> {
        let mut cached = self.cached.lock().await;
        if let Some(known) = &*cached {
            let just_fetched = known.fetched_at.elapsed() < REFRESH_TOGETHER;
            if known.is_usable_at(now) && (!fresh || just_fetched) {
                return Ok(known.credentials.clone());
            }
        }
        let credentials = self
            .identity
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| match &error {
                // What follows is a list of all places, each with its own reason.
                CredentialsError::CredentialsNotLoaded(_) => AwsError::NoCredentials(
                    cause(&error)
                        .split(". Attempted:")
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                ),
                // The instance metadata service is the last place of the chain. It is asked only
                // where no other place holds credentials, and outside of EC2 it does not answer.
                CredentialsError::ProviderError(_)
                    if format!("{error:?}").contains("FailedToLoadToken") =>
                {
                    AwsError::NoCredentials(cause(&error))
                }
                _ => AwsError::Credentials(cause(&error)),
            })?;
        *cached = Some(CachedCredentials {
            credentials: credentials.clone(),
            fetched: now,
            fetched_at: Instant::now(),
        });
        Ok(credentials)
    }
}

impl CachedCredentials {
    fn is_usable_at(&self, now: SystemTime) -> bool {
        let until = match self.credentials.expiry() {
            Some(expiry) => expiry.checked_sub(EXPIRY_MARGIN).unwrap_or(UNIX_EPOCH),
            None => self.fetched + UNDATED_FOR,
        };
        now < until
    }
}

/// Signs a request. The body's hash is signed but, as in prometheus/sigv4, not sent as a header of
/// its own. The session token is signed.
fn apply(
    request: &mut http::Request<impl Into<RequestBody> + Clone>,
    credentials: Credentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    let failed = |error: &dyn std::error::Error| SignError::Request(cause_of(error));
    let identity = credentials.into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| {
            SignError::Request(format!("the value of header {name} is not visible ASCII"))
        })?;
        headers.push((name.as_str(), value));
    }
    let uri = request.uri().to_string();
    let body: RequestBody = request.body().clone().into();
    let signable = SignableRequest::new(
        request.method().as_str(),
        uri.as_str(),
        headers.into_iter(),
        SignableBody::Precomputed(body_hash(&body)),
    )
    .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params)
        .map_err(|error| failed(&error))?
        .into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// The SHA-256 of a body in lowercase hexadecimal. The pieces are hashed one by one, because
/// joining them would copy each signed body.
fn body_hash(body: &RequestBody) -> String {
    let mut hash = Sha256::new();
    for piece in body.pieces() {
        hash.update(piece);
    }
    hash.finalize()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 0xf));
            hex
        })
}

fn cause_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
