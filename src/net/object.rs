//! Small objects in S3: the configuration, and what its `*_file` keys name.

use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata as _;

use super::aws;
use super::error::Peer;

/// For all of a read.
const TIMEOUT: Duration = Duration::from_secs(10);

const NO_ENDPOINT: &str = "a function in a VPC needs an S3 gateway endpoint in its route table";

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {address}: {cause}; {hint}")]
pub struct ObjectError {
    /// `s3://bucket/key`.
    pub address: String,
    /// What S3 or the network said.
    pub cause: String,
    /// What to do.
    pub hint: &'static str,
}

/// Reads an object of at most `most` bytes, within 10 s.
///
/// # Errors
/// [`ObjectError`].
pub async fn read_object(bucket: &str, key: &str, most: u64) -> Result<Vec<u8>, ObjectError> {
    let fail = |cause: String, hint| ObjectError {
        address: format!("s3://{bucket}/{key}"),
        cause,
        hint,
    };
    match tokio::time::timeout(TIMEOUT, read(bucket, key, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err((cause, hint))) => Err(fail(cause, hint)),
        Err(_) => Err(fail("timed out".to_owned(), NO_ENDPOINT)),
    }
}

async fn read(bucket: &str, key: &str, most: u64) -> Result<Vec<u8>, (String, &'static str)> {
    let shared = aws::shared_config(None, None, Peer::Store).await;
    let custom_endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    // An S3 at an address of its own rarely answers to bucket names as host names.
    let config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(custom_endpoint)
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let object = client.get_object().bucket(bucket).key(key).send().await.map_err(|error| {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let hint = match (status, error.code()) {
            (Some(403), _) => "the role needs s3:GetObject on the object (and s3:ListBucket on the bucket, or a missing object is a 403, too)",
            (Some(404), Some("NoSuchBucket")) => "there is no such bucket",
            (Some(404), _) => "there is no such object",
            (Some(301), _) => "the bucket is in another region: set AWS_REGION",
            _ => NO_ENDPOINT,
        };
        (aws::cause(&error), hint)
    })?;
    let too_large = || (format!("more than {most} bytes"), "is it the right object?");
    if u64::try_from(object.content_length().unwrap_or_default()).unwrap_or_default() > most {
        return Err(too_large());
    }
    let mut body = object.body;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| (aws::cause(&error), "try again"))?);
        if bytes.len() as u64 > most {
            return Err(too_large());
        }
    }
    Ok(bytes)
}
