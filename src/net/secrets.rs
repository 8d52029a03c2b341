//! Reads secrets where they are kept: files, objects in S3, SSM parameters, Secrets Manager.
//!
//! SSM and Secrets Manager are asked with one signed request each, without their SDK crates, which
//! would make the function's zip noticeably larger for two calls.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::aws::{self, AwsError, SigningIdentity};
use super::client::{ClientOptions, client, send};
use super::error::{NetError, Peer, Phase, SharedError};
use super::object::read_object;
use super::sign::Signer;
use crate::config::{Secret, SecretPart, SecretSource, Source, StoredSecret};
use crate::time::millis;

/// Largest file, object or answer in bytes. A bundle of certificates is the largest that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Time for one call of SSM or Secrets Manager, connection included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A secret that AWS keeps is not read again within this time, even after a refusal (401).
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A secret that could not be read is not tried again within this time.
const FAILED_FOR: Duration = Duration::from_secs(5);

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A secret that could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct SecretError {
    /// Place where the secret is kept: a path, `s3://bucket/key`, `ssm:name` or
    /// `secretsmanager:id`.
    pub place: String,
    /// Cause and next step.
    pub cause: String,
    /// Whether the same call may succeed in a moment.
    pub passing: bool,
    /// The error underneath.
    pub source: Option<SharedError>,
}

impl From<SecretError> for NetError {
    fn from(error: SecretError) -> Self {
        Self::no_credentials(error.place.clone(), error.cause.clone(), error.passing)
            .with_source(error)
    }
}

/// The secrets that this process has read. A secret that AWS keeps is read at its first use, and
/// again when a fresh one is requested.
#[derive(Default)]
pub struct Secrets {
    cache: Mutex<HashMap<String, CachedSecret>>,
}

struct CachedSecret {
    value: Result<Secret, SecretError>,
    /// Milliseconds since 1970. A monotonic clock may not count the time during which a Lambda
    /// sandbox is frozen.
    read_ms: i64,
}

impl CachedSecret {
    fn is_usable(&self, fresh: bool, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(self.read_ms);
        match &self.value {
            Ok(_) => !fresh || age_ms < millis(AGAIN_AFTER),
            Err(_) => age_ms < millis(FAILED_FOR),
        }
    }
}

/// The secrets of the process.
#[must_use]
pub fn secrets() -> &'static Secrets {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(Secrets::default);
    &SECRETS
}

impl Secrets {
    /// Returns the secret of a source. Files are read each time, as Prometheus does. `fresh` reads
    /// again what AWS keeps, within bounds. `now_ms` is the wall clock in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecretError`] when the secret cannot be read; it says whether the next try may succeed.
    pub async fn get(
        &self,
        source: &SecretSource,
        fresh: bool,
        now_ms: i64,
    ) -> Result<Secret, SecretError> {
        match source {
            SecretSource::File(Source::Path(path)) => read_file(path),
            SecretSource::File(Source::S3 { bucket, key }) => {
                let read = Box::pin(read_secret_object(bucket, key));
                self.cached(&source.places()[0], fresh, now_ms, read).await
            }
            SecretSource::Inline(parts) => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        SecretPart::Text(text) => whole.push_str(text.expose()),
                        SecretPart::Stored(stored) => {
                            let read = Box::pin(read_stored(stored, now_ms));
                            let place = stored.to_string();
                            let value = self.cached(&place, fresh, now_ms, read).await?;
                            whole.push_str(value.expose());
                        }
                    }
                }
                Ok(Secret::new(whole))
            }
        }
    }

    /// Returns the cached secret of a place, or reads it. Secrets are read one at a time, so that
    /// requests that are refused together read a new one together.
    async fn cached(
        &self,
        place: &str,
        fresh: bool,
        now_ms: i64,
        read: BoxFuture<'_, Result<Secret, SecretError>>,
    ) -> Result<Secret, SecretError> {
        let mut cache = self.cache.lock().await;
        if let Some(cached) = cache.get(place)
            && cached.is_usable(fresh, now_ms)
        {
            return cached.value.clone();
        }
        let value = read.await;
        cache.insert(
            place.to_owned(),
            CachedSecret {
                value: value.clone(),
                read_ms: now_ms,
            },
        );
        value
    }
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let fail = |cause: String, source: Option<SharedError>| SecretError {
        place: path.display().to_string(),
        cause,
        passing: false,
        source,
    };
    let read = || {
        let mut text = String::new();
        File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|error| {
        let cause = format!(
            "unable to read file: {error}; a relative path starts at the configuration's folder"
        );
        fail(cause, Some(Arc::new(error)))
    })?;
    if text.len() as u64 > MAX_BYTES {
        let cause = format!("the file is larger than {MAX_BYTES} bytes; is it the right one?");
        return Err(fail(cause, None));
    }
    Ok(Secret::new(text.trim()))
}

async fn read_secret_object(bucket: &str, key: &str) -> Result<Secret, SecretError> {
    let fail = |cause: String, source: SharedError| SecretError {
        place: format!("s3://{bucket}/{key}"),
        cause,
        passing: false,
        source: Some(source),
    };
    let bytes = read_object(bucket, key, MAX_BYTES, None)
        .await
        .map_err(|error| {
            let cause = format!("{}; {}", error.cause, error.hint);
            fail(cause, Arc::new(error))
        })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let cause = "the object is not UTF-8; is it the right one?".to_owned();
        fail(cause, Arc::new(error))
    })?;
    Ok(Secret::new(text.trim()))
}

/// An AWS service that keeps secrets.
struct SecretService {
    /// Name in the signature, in the host name and in the name of the VPC endpoint.
    name: &'static str,
    endpoint_variable: &'static str,
    /// Operation, as the `X-Amz-Target` header names it.
    target: &'static str,
    /// Permissions that the role needs.
    permission: &'static str,
    /// Member of the request that names the secret.
    key: &'static str,
}

const SSM: SecretService = SecretService {
    name: "ssm",
    endpoint_variable: "AWS_ENDPOINT_URL_SSM",
    target: "AmazonSSM.GetParameter",
    permission: "ssm:GetParameter on the parameter, and kms:Decrypt on its key \
                 unless that is aws/ssm",
    key: "Name",
};

const SECRETS_MANAGER: SecretService = SecretService {
    name: "secretsmanager",
    endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    target: "secretsmanager.GetSecretValue",
    permission: "secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key \
                 unless that is aws/secretsmanager",
    key: "SecretId",
};

/// Reads a secret from the service that keeps it.
async fn read_stored(stored: &StoredSecret, now_ms: i64) -> Result<Secret, SecretError> {
    let fail = |error: CallError| SecretError {
        place: stored.to_string(),
        cause: error.cause,
        passing: error.passing,
        source: error.source,
    };
    let (service, name) = match stored {
        StoredSecret::Ssm(name) => (&SSM, name),
        StoredSecret::SecretsManager { id, .. } => (&SECRETS_MANAGER, id),
    };
    let answer = match tokio::time::timeout(CALL_TIMEOUT, call(service, name, now_ms)).await {
        Ok(answer) => answer.map_err(fail)?,
        Err(_) => {
            let cause = format!("no answer within {CALL_TIMEOUT:?}");
            return Err(fail(CallError::new(cause, true)));
        }
    };
    let string = answer["Parameter"]["Value"]
        .as_str()
        .or(answer["SecretString"].as_str());
    let text =
        string.ok_or_else(|| fail(CallError::new("it holds no string; is it binary?", false)))?;
    let text = match stored {
        StoredSecret::SecretsManager { key: Some(key), .. } => {
            member(text, key).ok_or_else(|| {
                let cause = format!("it is not a JSON object that has {key:?} as a string");
                fail(CallError::new(cause, false))
            })?
        }
        _ => text.to_owned(),
    };
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// The string member `key` of a JSON object.
fn member(text: &str, key: &str) -> Option<String> {
    let members: Value = serde_json::from_str(text).ok()?;
    Some(members.get(key)?.as_str()?.to_owned())
}

/// A call of SSM or Secrets Manager that did not give the secret.
struct CallError {
    /// Cause and next step.
    cause: String,
    /// Whether the same call may succeed in a moment.
    passing: bool,
    source: Option<SharedError>,
}

impl CallError {
    fn new(cause: impl Into<String>, passing: bool) -> Self {
        Self {
            cause: cause.into(),
            passing,
            source: None,
        }
    }

    /// An error that stays until something is changed.
    fn lasting(error: impl Error + Send + Sync + 'static) -> Self {
        let cause = error.to_string();
        Self {
            source: Some(Arc::new(error)),
            ..Self::new(cause, false)
        }
    }
}

/// Makes one signed call and returns its answer.
async fn call(service: &SecretService, name: &str, now_ms: i64) -> Result<Value, CallError> {
    let (identity, endpoint) = place(service, name).await.map_err(CallError::lasting)?;
    let region = identity.region.to_string();
    let mut request = call_request(service, name, &endpoint)?;
    Signer::new(identity, service.name)
        .sign(&mut request, now_ms, false, CALL_TIMEOUT)
        .await
        .map_err(|error| CallError {
            passing: !error.is_final(),
            ..CallError::lasting(error)
        })?;
    let request = reqwest::Request::try_from(request)
        .map_err(|error| CallError::lasting(error.without_url()))?;
    let client = client(&ClientOptions::default()).map_err(CallError::lasting)?;
    let mut response = send(&client, request, Peer::Aws)
        .await
        .map_err(|error| CallError {
            cause: advice(&error, service, &region),
            passing: true,
            source: Some(Arc::new(error)),
        })?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| CallError {
        passing: true,
        ..CallError::lasting(NetError::from_reqwest(error, Peer::Aws, &endpoint))
    })? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_BYTES {
            let cause = format!("the answer is larger than {MAX_BYTES} bytes");
            return Err(CallError::new(cause, false));
        }
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != 200 {
        return Err(refusal(status, &answer, service));
    }
    Ok(answer)
}

/// Builds the request for a secret, not signed yet.
fn call_request(
    service: &SecretService,
    name: &str,
    endpoint: &Url,
) -> Result<http::Request<Bytes>, CallError> {
    let mut body = json!({ service.key: name });
    if service.key == SSM.key {
        body["WithDecryption"] = true.into();
    }
    let mut request = http::Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = endpoint
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| CallError {
            cause: format!("{}: {error}", service.endpoint_variable),
            ..CallError::lasting(error)
        })?;
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.1"),
    );
    headers.insert(TARGET, HeaderValue::from_static(service.target));
    Ok(request)
}

/// Finds the identity that signs, and the endpoint of the service. An ARN names its own region.
async fn place(service: &SecretService, name: &str) -> Result<(SigningIdentity, Url), AwsError> {
    let named = name
        .strip_prefix("arn:")
        .and_then(|rest| rest.split(':').nth(2))
        .filter(|region| !region.is_empty());
    let region = aws::region(named, None).await?;
    let config = aws::shared_config(Some(region.as_ref()), None, Peer::Aws).await;
    let credentials = config
        .credentials_provider()
        .ok_or_else(|| AwsError::NoCredentials("no provider".to_owned()))?;
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let suffix = if region.as_ref().starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let endpoint = variable(service.endpoint_variable)
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| format!("https://{}.{region}.{suffix}/", service.name));
    let endpoint = endpoint.parse().map_err(|error| {
        AwsError::Credentials(format!(
            "the endpoint of {} is no URL: {error}",
            service.name
        ))
    })?;
    Ok((
        SigningIdentity {
            credentials,
            region,
        },
        endpoint,
    ))
}

/// Describes a network error. In a VPC without NAT there is no way to the service, so the text
/// names the interface endpoint that is missing.
fn advice(error: &NetError, service: &SecretService, region: &str) -> String {
    let no_way = error.phase == Phase::Dns
        || (error.phase == Phase::Connect && (error.timed_out || error.unreachable));
    if !no_way {
        return error.to_string();
    }
    format!(
        "{} {}: {}; in a VPC without NAT add an interface endpoint com.amazonaws.{region}.{} \
         (private DNS on, its security group letting port 443 in), or keep the secret in an object \
         and name it in the _file key as s3://bucket/key: the S3 gateway endpoint is free",
        error.phase, error.address, error.cause, service.name
    )
}

/// Describes an answer other than 200. Only the name of the error is shown, because the message may
/// repeat the secret.
fn refusal(status: u16, answer: &Value, service: &SecretService) -> CallError {
    let kind = answer["__type"].as_str().unwrap_or_default();
    let kind: String = kind
        .rsplit('#')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(80)
        .collect();
    let is_passing = status >= 500 || kind.contains("Throttl");
    let advice = match kind.as_str() {
        "ParameterNotFound" | "ResourceNotFoundException" | "ParameterVersionNotFound" => {
            "there is nothing of this name in this region and account"
        }
        "AccessDeniedException" | "AccessDenied" => "",
        _ if is_passing => "the next try asks again",
        _ => "check the name, the region and the role",
    };
    let advice = if advice.is_empty() {
        format!("the role needs {}", service.permission)
    } else {
        advice.to_owned()
    };
    CallError::new(
        format!("{} answered {status} {kind}; {advice}", service.name),
        is_passing,
    )
}
