//! Small objects in S3: the configuration, and the files that its `*_file` keys name.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use tokio::sync::OnceCell;

use super::aws;
use super::error::{Peer, SharedError};
use super::role::role_config;
use crate::report::plain_line;

/// Time for one object, from the look-up of its address to its last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

const NO_ENDPOINT: &str = "a function in a VPC needs an S3 gateway endpoint in its route table";

/// An object that could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read {}: {}; {hint}", plain_line(address), plain_line(cause))]
pub struct ObjectError {
    /// `s3://bucket/key`.
    pub address: String,
    /// Message of S3 or of the network.
    pub cause: String,
    /// The next step.
    pub hint: &'static str,
    /// The error underneath.
    pub source: Option<SharedError>,
}

impl ObjectError {
    /// An error of the object `key` in `bucket`, without one underneath.
    #[must_use]
    pub fn new(bucket: &str, key: &str, cause: impl Into<String>, hint: &'static str) -> Self {
        Self {
            address: format!("s3://{bucket}/{key}"),
            cause: cause.into(),
            hint,
            source: None,
        }
    }

    fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }
}

/// Reads an object of at most `max_bytes` bytes, within 10 s, under the role `role_arn` where there
/// is one.
///
/// # Errors
/// [`ObjectError`] when there is no such object, it is larger, the role may not read it, or there
/// is no way to S3. Its hint says what to do.
pub async fn read_object(
    bucket: &str,
    key: &str,
    max_bytes: u64,
    role_arn: Option<&str>,
) -> Result<Vec<u8>, ObjectError> {
    let read = async { read(&client(role_arn).await, bucket, key, max_bytes).await };
    match tokio::time::timeout(TIMEOUT, read).await {
        Ok(result) => result,
        Err(_) => Err(ObjectError::new(bucket, key, "timed out", NO_ENDPOINT)),
    }
}

/// The client of a role, or of the process. Each site has a configuration to read.
async fn client(role_arn: Option<&str>) -> aws_sdk_s3::Client {
    static CLIENT: OnceCell<aws_sdk_s3::Client> = OnceCell::const_new();
    if role_arn.is_some() {
        return new_client(role_arn).await;
    }
    CLIENT.get_or_init(|| new_client(None)).await.clone()
}

async fn new_client(role_arn: Option<&str>) -> aws_sdk_s3::Client {
    let shared = role_config(role_arn, Peer::Store).await;
    let custom_endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    // A custom S3 rarely knows bucket names as host names.
    let config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(custom_endpoint)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn read(
    client: &aws_sdk_s3::Client,
    bucket: &str,
    key: &str,
    max_bytes: u64,
) -> Result<Vec<u8>, ObjectError> {
    let object = client.get_object().bucket(bucket).key(key).send().await;
    let object = object.map_err(|error| {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let cause = aws::cause(&error);
        let hint = if cause.contains("region must be set") {
            "set AWS_REGION, or a region in the profile"
        } else {
            hint(status, error.code())
        };
        ObjectError::new(bucket, key, cause, hint).with_source(error)
    })?;
    let too_large = || {
        let cause = format!("more than {max_bytes} bytes");
        ObjectError::new(bucket, key, cause, "is it the right object?")
    };
    if u64::try_from(object.content_length().unwrap_or_default()).unwrap_or_default() > max_bytes {
        return Err(too_large());
    }
    let mut body = object.body;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            ObjectError::new(bucket, key, aws::cause(&error), "try again").with_source(error)
        })?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > max_bytes {
            return Err(too_large());
        }
    }
    Ok(bytes)
}

/// The next step after an answer of S3, or after none.
fn hint(status: Option<u16>, code: Option<&str>) -> &'static str {
    match (status, code) {
        (Some(403), _) => {
            "the role needs s3:GetObject on the object (and s3:ListBucket on the bucket, or a \
             missing object is a 403, too)"
        }
        (Some(404), Some("NoSuchBucket")) => "there is no such bucket",
        (Some(404), _) => "there is no such object",
        (Some(301), _) => "the bucket is in another region: set AWS_REGION",
        _ => NO_ENDPOINT,
    }
}
