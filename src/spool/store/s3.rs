//! A spool in S3.
//!
//! The SDK retries nothing here: a repeated conditional PUT would meet its own first try and call
//! it somebody else's. How objects are encrypted is left to the bucket. Uploads carry no checksum
//! beside the signature's SHA-256 of the body, and segments have their own.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{
    ConfigBag, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{
    Answer, Call, Etag, Kind, Listed, Object, Op, PAGE, Page, Store, StoreError, StoreTime, within,
};
use crate::net::{NetError, Peer, aws};

/// A `Date` header has whole seconds.
const COARSE_MS: i64 = 1000;

/// `s3://bucket/prefix`.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends in a slash.
    prefix: String,
    address: String,
}

impl S3Store {
    /// With region and credentials from where AWS' own tools take them. No request is made.
    pub async fn open(bucket: &str, prefix: &str) -> Self {
        Self::new(
            bucket,
            prefix,
            &aws::shared_config(None, None, Peer::Store).await,
        )
    }

    /// With the SDK's configuration as it is given; its retries are switched off.
    #[must_use]
    pub fn new(bucket: &str, prefix: &str, shared: &SdkConfig) -> Self {
        let endpoint = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let custom_endpoint = shared.endpoint_url().is_some()
            || endpoint("AWS_ENDPOINT_URL_S3")
            || endpoint("AWS_ENDPOINT_URL");
        let config = aws_sdk_s3::config::Builder::from(shared)
            .retry_config(RetryConfig::disabled())
            // Every call has a deadline of its own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // An S3 at an address of its own rarely answers to bucket names as host names.
            .force_path_style(custom_endpoint)
            .build();
        let prefix = prefix.trim_matches('/');
        let address = if prefix.is_empty() {
            format!("s3://{bucket}")
        } else {
            format!("s3://{bucket}/{prefix}")
        };
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Self {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
            prefix,
            address,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn asked(&self, op: Op, key: &str) -> Asked {
        Asked {
            op,
            address: format!("{}/{key}", self.address),
            sent: Instant::now(),
            date: DateWitness::default(),
        }
    }

    async fn put(
        &self,
        op: Op,
        key: &str,
        body: Bytes,
        etag: Option<&Etag>,
        deadline: Instant,
    ) -> Result<Answer<Etag>, StoreError> {
        let asked = self.asked(op, key);
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .body(ByteStream::from(body));
        let put = match etag {
            Some(etag) => put.if_match(&etag.0),
            None => put.if_none_match("*"),
        };
        let work = async {
            let done = put
                .customize()
                .interceptor(asked.date.clone())
                .send()
                .await
                .map_err(|error| asked.failed(&error))?;
            match done.e_tag {
                Some(etag) => asked.answer(Etag(etag)),
                None => Err(asked.error(Kind::NoAnswer, "an answer without an etag")),
            }
        };
        within(deadline, op, &asked.address, work).await
    }

    async fn read(
        &self,
        key: &str,
        most: u64,
        deadline: Instant,
    ) -> Result<Answer<Object>, StoreError> {
        let asked = self.asked(Op::Get, key);
        // A range that ends before it starts would be ignored.
        let get = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .range(format!("bytes=0-{}", most.max(1) - 1));
        let work = async {
            let object = match get.customize().interceptor(asked.date.clone()).send().await {
                Ok(object) => object,
                // An empty object has no first byte.
                Err(error) if status(&error) == Some(416) => {
                    return asked.answer(Object {
                        bytes: Bytes::new(),
                        size: 0,
                        etag: Etag(String::new()),
                    });
                }
                Err(error) => return Err(asked.failed(&error)),
            };
            let total = object
                .content_range
                .as_deref()
                .and_then(|range| range.rsplit_once('/')?.1.parse::<u64>().ok());
            let etag = Etag(object.e_tag.unwrap_or_default());
            let length =
                u64::try_from(object.content_length.unwrap_or_default()).unwrap_or_default();
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let mut bytes =
                BytesMut::with_capacity(usize::try_from(length).unwrap_or_default().min(most));
            let mut body = object.body;
            while bytes.len() < most {
                let Some(chunk) = body.next().await else {
                    break;
                };
                let chunk = chunk.map_err(|error| asked.broken(&error))?;
                bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
            }
            let size = total.unwrap_or(length);
            if (bytes.len() as u64) < size.min(most as u64) {
                return Err(asked.error(Kind::NoAnswer, "the body ends too early"));
            }
            asked.answer(Object {
                bytes: bytes.freeze(),
                size,
                etag,
            })
        };
        within(deadline, Op::Get, &asked.address, work).await
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer<Page>, StoreError> {
        let asked = self.asked(Op::List, prefix);
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.key(prefix))
            .max_keys(PAGE as i32);
        let list = list.set_start_after(after.map(|after| self.key(after)));
        let work = async {
            let listed = list
                .customize()
                .interceptor(asked.date.clone())
                .send()
                .await
                .map_err(|error| asked.failed(&error))?;
            let more = listed.is_truncated.unwrap_or_default();
            let entries = listed
                .contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(|object| {
                    let key = object.key?.strip_prefix(&self.prefix)?.to_owned();
                    Some(Listed {
                        key,
                        size: u64::try_from(object.size?).ok()?,
                    })
                });
            asked.answer(Page {
                entries: entries.collect(),
                more,
            })
        };
        within(deadline, Op::List, &asked.address, work).await
    }

    async fn remove(&self, key: &str, deadline: Instant) -> Result<Answer<()>, StoreError> {
        let asked = self.asked(Op::Delete, key);
        let delete = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(key));
        let work = async {
            match delete
                .customize()
                .interceptor(asked.date.clone())
                .send()
                .await
            {
                Ok(_) => asked.answer(()),
                Err(error) => Err(asked.failed(&error)),
            }
        };
        within(deadline, Op::Delete, &asked.address, work).await
    }
}

impl Store for S3Store {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        self.put(Op::PutIfAbsent, key, body, None, deadline).boxed()
    }

    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag> {
        self.put(Op::PutIfMatch, key, body, Some(etag), deadline)
            .boxed()
    }

    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object> {
        self.read(key, most, deadline).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page> {
        self.page(prefix, after, deadline).boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()> {
        self.remove(key, deadline).boxed()
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// A request on its way.
struct Asked {
    op: Op,
    address: String,
    sent: Instant,
    date: DateWitness,
}

impl Asked {
    fn time(&self) -> Option<StoreTime> {
        let date_ms = (*self.date.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(StoreTime {
            date_ms,
            coarse_ms: COARSE_MS,
            sent: self.sent,
            received: Instant::now(),
        })
    }

    fn answer<T>(&self, value: T) -> Result<Answer<T>, StoreError> {
        match self.time() {
            Some(time) => Ok(Answer { value, time }),
            // Every S3 sends one; a proxy between may not.
            None => Err(self.error(Kind::NoAnswer, "an answer without a date")),
        }
    }

    fn error(&self, kind: Kind, cause: impl Into<String>) -> StoreError {
        StoreError {
            time: self.time(),
            ..StoreError::new(kind, self.op, &self.address, cause)
        }
    }

    fn failed<E: ProvideErrorMetadata + Error + 'static>(&self, error: &SdkError<E>) -> StoreError {
        let Some(status) = status(error) else {
            return self.broken(error);
        };
        let code = error.code().unwrap_or_default();
        let (kind, hint) = classify(self.op, status, code);
        let message = error
            .message()
            .filter(|message| !message.is_empty())
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        let mut failure = self.error(kind, format!("{status} {code}{message}").replace(" :", ":"));
        failure.hint = hint;
        failure
    }

    /// Without an answer.
    fn broken(&self, error: &(dyn Error + 'static)) -> StoreError {
        let kind = match net_error(error) {
            // Where credentials come from is no part of the store: nothing was asked of that one
            // yet.
            Some(net) if net.peer != Peer::Store => Kind::Unreachable,
            Some(net) => StoreError::kind_of(net),
            // The SDK has no credentials, no region, or found the request to be wrong.
            None => Kind::Denied,
        };
        self.error(kind, aws::cause(error))
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

fn net_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a NetError> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(net) = current.downcast_ref() {
            return Some(net);
        }
        next = current.source();
    }
    None
}

/// What an answer that is none means. S3 API reference, error responses.
fn classify(op: Op, status: u16, code: &str) -> (Kind, Option<&'static str>) {
    const REGION: &str = "the bucket is in another region: set AWS_REGION to that one";
    match (status, code) {
        (404, "NoSuchBucket") => (
            Kind::Denied,
            Some("create the bucket, or name another one in forwarder.spool.url"),
        ),
        (404, _) if op == Op::PutIfMatch => (Kind::Changed, None),
        (404, _) => (Kind::NotFound, None),
        (412, _) => (Kind::Changed, None),
        // ConditionalRequestConflict: another call on the same key was under way.
        (409 | 429 | 503, _) => (Kind::Busy, None),
        (507, _) => (
            Kind::Full,
            Some("make room in the store, or lower forwarder.spool.max_bytes"),
        ),
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed") => (Kind::Denied, Some(REGION)),
        (403, "RequestTimeTooSkewed") => (Kind::Denied, Some("set this machine's clock by NTP")),
        (403, "InvalidAccessKeyId" | "SignatureDoesNotMatch")
        | (400, "ExpiredToken" | "InvalidToken") => (
            Kind::Denied,
            Some("the AWS credentials are not valid: renew them, or use the function's role"),
        ),
        (401 | 403, _) => (
            Kind::Denied,
            Some(
                "the role needs s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix and s3:ListBucket on the bucket (without the last, a missing object is a 403), and the key of an encrypted bucket",
            ),
        ),
        (400..=499, _) => (Kind::Denied, None),
        // 500 InternalError, or something on the way: it may have been done.
        _ => (Kind::NoAnswer, None),
    }
}

/// Takes the `Date` off an answer, which the SDK's outputs do not tell.
#[derive(Clone, Default)]
struct DateWitness(Arc<Mutex<Option<i64>>>);

impl fmt::Debug for DateWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DateWitness")
    }
}

impl Intercept for DateWitness {
    fn name(&self) -> &'static str {
        "DateWitness"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let date = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            since.and_then(|since| i64::try_from(since.as_millis()).ok());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_caller_can_do() {
        let rows = [
            (Op::Get, 404, "NoSuchKey", Kind::NotFound, ""),
            (Op::PutIfMatch, 404, "NoSuchKey", Kind::Changed, ""),
            (
                Op::Get,
                404,
                "NoSuchBucket",
                Kind::Denied,
                "create the bucket",
            ),
            (
                Op::PutIfAbsent,
                412,
                "PreconditionFailed",
                Kind::Changed,
                "",
            ),
            (
                Op::PutIfMatch,
                409,
                "ConditionalRequestConflict",
                Kind::Busy,
                "",
            ),
            (Op::PutIfAbsent, 503, "SlowDown", Kind::Busy, ""),
            (Op::PutIfAbsent, 500, "InternalError", Kind::NoAnswer, ""),
            (Op::List, 403, "AccessDenied", Kind::Denied, "s3:ListBucket"),
            (
                Op::Get,
                403,
                "InvalidAccessKeyId",
                Kind::Denied,
                "renew them",
            ),
            (Op::Get, 403, "RequestTimeTooSkewed", Kind::Denied, "NTP"),
            (
                Op::Get,
                301,
                "PermanentRedirect",
                Kind::Denied,
                "AWS_REGION",
            ),
            (
                Op::PutIfAbsent,
                507,
                "XMinioStorageFull",
                Kind::Full,
                "make room",
            ),
            (Op::PutIfAbsent, 400, "EntityTooLarge", Kind::Denied, ""),
        ];
        for (op, status, code, kind, hint) in rows {
            let (found, advice) = classify(op, status, code);
            assert_eq!(found, kind, "{op} {status} {code}");
            assert!(
                advice.unwrap_or_default().contains(hint),
                "{op} {status} {code}: {advice:?}"
            );
        }
    }
}
