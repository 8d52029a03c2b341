//! Reads secrets where they are kept: files, objects in S3, SSM parameters, Secrets Manager.
//!
//! SSM and Secrets Manager are asked by one signed request each, without their SDK crates: those
//! would make the function's zip noticeably larger for two calls.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::aws::{self, AwsError, SigningIdentity};
use super::client::{ClientOptions, client, send};
use super::error::{NetError, Peer, Phase};
use super::object::read_object;
use super::sign::Signer;
use crate::config::{Secret, SecretPart, SecretSource, Source, StoredSecret};

/// Bytes of a file or an object: a bundle of certificates is the largest that is read.
const MOST: u64 = 1 << 20;

/// For one call of SSM or Secrets Manager, connection included.
const CALL: Duration = Duration::from_secs(10);

/// What AWS keeps is asked for again after a refusal (401), but not more often than that, and so is
/// what could not be read.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const FAILED_FOR: Duration = Duration::from_secs(5);

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct SecretError {
    /// A path, `s3://bucket/key`, `ssm:name` or `secretsmanager:id`.
    pub place: String,
    /// Why, and what to do.
    pub cause: String,
    /// Whether the same call may succeed in a moment.
    pub passing: bool,
}

impl From<SecretError> for NetError {
    fn from(error: SecretError) -> Self {
        Self::of_credentials(error.place, error.cause, error.passing)
    }
}

/// The secrets that this process has read. What AWS keeps is read once, at its first use, and again
/// when it is asked for anew.
#[derive(Default)]
pub struct Secrets {
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    value: Result<Secret, SecretError>,
    /// By the wall clock: a monotonic one may not count the time that a Lambda is frozen.
    read: SystemTime,
}

/// Those of the process.
#[must_use]
pub fn secrets() -> &'static Secrets {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(Secrets::default);
    &SECRETS
}

impl Secrets {
    /// The secret of a source. Files are read each time, as Prometheus does; `fresh` asks AWS
    /// again, within bounds.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn get(&self, source: &SecretSource, fresh: bool) -> Result<Secret, SecretError> {
        match source {
            SecretSource::File(Source::Path(path)) => read_file(path),
            SecretSource::File(Source::S3 { bucket, key }) => {
                self.known(&source.places()[0], fresh, Box::pin(of_object(bucket, key)))
                    .await
            }
            SecretSource::Inline(parts) => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        SecretPart::Text(text) => whole.push_str(text.expose()),
                        SecretPart::Stored(stored) => {
                            let value = self
                                .known(&stored.to_string(), fresh, Box::pin(of_aws(stored)))
                                .await?;
                            whole.push_str(value.expose());
                        }
                    }
                }
                Ok(Secret::new(whole))
            }
        }
    }

    /// One at a time: requests that are refused together ask again once together.
    async fn known(
        &self,
        place: &str,
        fresh: bool,
        read: BoxFuture<'_, Result<Secret, SecretError>>,
    ) -> Result<Secret, SecretError> {
        let mut all = self.known.lock().await;
        let now = SystemTime::now();
        if let Some(known) = all.get(place) {
            let age = now.duration_since(known.read).unwrap_or_default();
            let good = match &known.value {
                Ok(_) => !fresh || age < AGAIN_AFTER,
                Err(_) => age < FAILED_FOR,
            };
            if good {
                return known.value.clone();
            }
        }
        let value = read.await;
        all.insert(
            place.to_owned(),
            Known {
                value: value.clone(),
                read: now,
            },
        );
        value
    }
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let fail = |cause: String| SecretError {
        place: path.display().to_string(),
        cause,
        passing: false,
    };
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|error| {
        fail(format!(
            "unable to read file: {error}; a relative path is beside the configuration"
        ))
    })?;
    if text.len() as u64 > MOST {
        return Err(fail(format!(
            "the file is larger than {MOST} bytes; is it the right one?"
        )));
    }
    Ok(Secret::new(text.trim()))
}

async fn of_object(bucket: &str, key: &str) -> Result<Secret, SecretError> {
    let fail = |cause: String| SecretError {
        place: format!("s3://{bucket}/{key}"),
        cause,
        passing: false,
    };
    let bytes = read_object(bucket, key, MOST)
        .await
        .map_err(|error| fail(format!("{}; {}", error.cause, error.hint)))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| fail("the object is not UTF-8; is it the right one?".to_owned()))?;
    Ok(Secret::new(text.trim()))
}

/// What the two services differ in.
struct Service {
    /// Of the signature, the host name and the VPC endpoint.
    name: &'static str,
    endpoint_variable: &'static str,
    target: &'static str,
    /// What the role needs.
    permission: &'static str,
    key: &'static str,
}

const SSM: Service = Service {
    name: "ssm",
    endpoint_variable: "AWS_ENDPOINT_URL_SSM",
    target: "AmazonSSM.GetParameter",
    permission: "ssm:GetParameter on the parameter, and kms:Decrypt on its key where that is not aws/ssm",
    key: "Name",
};

const SECRETS_MANAGER: Service = Service {
    name: "secretsmanager",
    endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    target: "secretsmanager.GetSecretValue",
    permission: "secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key where that is not aws/secretsmanager",
    key: "SecretId",
};

async fn of_aws(stored: &StoredSecret) -> Result<Secret, SecretError> {
    let fail = |cause: String, passing| SecretError {
        place: stored.to_string(),
        cause,
        passing,
    };
    let (service, name) = match stored {
        StoredSecret::Ssm(name) => (&SSM, name),
        StoredSecret::SecretsManager { id, .. } => (&SECRETS_MANAGER, id),
    };
    let answer = match tokio::time::timeout(CALL, call(service, name)).await {
        Ok(answer) => answer.map_err(|(cause, passing)| fail(cause, passing))?,
        Err(_) => return Err(fail(format!("no answer within {CALL:?}"), true)),
    };
    let string = answer["Parameter"]["Value"]
        .as_str()
        .or(answer["SecretString"].as_str());
    let text = string.ok_or_else(|| fail("it holds no string; is it binary?".to_owned(), false))?;
    let text = match stored {
        StoredSecret::SecretsManager { key: Some(key), .. } => {
            let members: Option<Value> = serde_json::from_str(text).ok();
            let member = members
                .as_ref()
                .and_then(|members| members.get(key)?.as_str())
                .map(str::to_owned);
            member.ok_or_else(|| {
                fail(
                    format!("it is no JSON object that has {key:?} as a string"),
                    false,
                )
            })?
        }
        _ => text.to_owned(),
    };
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// One signed call; the error's second part says whether it may pass.
async fn call(service: &Service, name: &str) -> Result<Value, (String, bool)> {
    let (identity, endpoint) = place(service, name)
        .await
        .map_err(|error| (error.to_string(), false))?;
    let region = identity.region.to_string();
    let mut body = json!({ service.key: name });
    if service.key == SSM.key {
        body["WithDecryption"] = true.into();
    }
    let mut request = http::Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = endpoint
        .as_str()
        .parse()
        .map_err(|error| (format!("{}: {error}", service.endpoint_variable), false))?;
    request.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.1"),
    );
    request
        .headers_mut()
        .insert(TARGET, HeaderValue::from_static(service.target));
    let now_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64;
    Signer::new(identity, service.name)
        .sign(&mut request, now_ms, false, CALL)
        .await
        .map_err(|error| (error.to_string(), !error.is_final()))?;
    let request = reqwest::Request::try_from(request)
        .map_err(|error| (error.without_url().to_string(), false))?;
    let client = client(&ClientOptions::default()).map_err(|error| (error.to_string(), false))?;
    let mut response = send(&client, request, Peer::Aws)
        .await
        .map_err(|error| (advice(&error, service, &region), true))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| {
        (
            NetError::from_reqwest(&error, Peer::Aws, &endpoint).to_string(),
            true,
        )
    })? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MOST {
            return Err((format!("the answer is larger than {MOST} bytes"), false));
        }
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != 200 {
        return Err(refusal(status, &answer, service));
    }
    Ok(answer)
}

/// Who signs, and where the service is. An ARN names its region.
async fn place(service: &Service, name: &str) -> Result<(SigningIdentity, Url), AwsError> {
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

/// In a VPC without NAT, the way to the service is what is missing: the endpoint is named.
fn advice(error: &NetError, service: &Service, region: &str) -> String {
    let no_way = error.phase == Phase::Dns
        || (error.phase == Phase::Connect && (error.timed_out || error.unreachable));
    if !no_way {
        return error.to_string();
    }
    format!(
        "{} {}: {}; in a VPC without NAT add an interface endpoint com.amazonaws.{region}.{} (private DNS on, its security group letting port 443 in), \
         or keep the secret in an object and name it in the _file key as s3://bucket/key: the S3 gateway endpoint is free",
        error.phase, error.address, error.cause, service.name
    )
}

fn refusal(status: u16, answer: &Value, service: &Service) -> (String, bool) {
    let kind = answer["__type"].as_str().unwrap_or_default();
    let kind: String = kind
        .rsplit('#')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(80)
        .collect();
    let advice = match kind.as_str() {
        "ParameterNotFound" | "ResourceNotFoundException" | "ParameterVersionNotFound" => {
            "there is none of this name in this region and account"
        }
        "AccessDeniedException" | "AccessDenied" => "",
        _ if status >= 500 || kind.contains("Throttl") => "it is asked again at the next try",
        _ => "check the name, the region and the role",
    };
    let advice = if advice.is_empty() {
        format!("the role needs {}", service.permission)
    } else {
        advice.to_owned()
    };
    (
        format!("{} answered {status} {kind}; {advice}", service.name),
        status >= 500 || kind.contains("Throttl"),
    )
}
