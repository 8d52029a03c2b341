//! A spool in S3.
//!
//! The SDK retries nothing here: a repeated conditional PUT would meet its own first try and take
//! it for somebody else's. How objects are encrypted is left to the bucket. The only checksum of
//! an upload is the signature's SHA-256 of the body; segments have their own.

mod classify;
mod date;
mod request;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::date::DateWitness;
use self::request::{S3Request, status};
use super::{
    Call, Etag, FailureKind, ListedObject, Object, Op, PAGE, Page, Store, StoreAnswer, StoreError,
    is_plain_key, within,
};
use crate::net::{Peer, aws, role_config};

/// A spool at `s3://bucket/prefix`.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Prefix of all keys: empty, or ends in a slash.
    prefix: String,
    address: String,
}

impl S3Store {
    /// A store with region and credentials from where AWS' own tools take them, and under the role
    /// `role_arn` where there is one. No request is made.
    pub async fn open(bucket: &str, prefix: &str, role_arn: Option<&str>) -> Self {
        if role_arn.is_some() {
            let client = client(&role_config(role_arn, Peer::Store).await);
            return Self::with(client, bucket, prefix);
        }
        // The spools of all sites of a process have one client.
        static CLIENT: OnceCell<Client> = OnceCell::const_new();
        let client = async || client(&aws::shared_config(None, None, Peer::Store).await);
        Self::with(CLIENT.get_or_init(client).await.clone(), bucket, prefix)
    }

    /// A store with this configuration of the SDK, but without its retries.
    #[must_use]
    pub fn new(bucket: &str, prefix: &str, shared: &SdkConfig) -> Self {
        Self::with(client(shared), bucket, prefix)
    }

    fn with(client: Client, bucket: &str, prefix: &str) -> Self {
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
            client,
            bucket: bucket.to_owned(),
            prefix,
            address,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Refuses a key that would become another one on the way: the URL of a request with a part
    /// `..` leads to another object, and the signature does not notice.
    fn check(&self, asked: &S3Request, key: &str) -> Result<(), StoreError> {
        if is_plain_key(&self.key(key)) {
            return Ok(());
        }
        let cause = "a key with a part that is empty, . or .. cannot be asked for";
        Err(StoreError::new(
            FailureKind::Denied,
            asked.op,
            &asked.address,
            cause,
        ))
    }

    fn asked(&self, op: Op, key: &str) -> S3Request {
        S3Request {
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
    ) -> Result<StoreAnswer<Etag>, StoreError> {
        let asked = self.asked(op, key);
        self.check(&asked, key)?;
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
                None => Err(asked.error(FailureKind::NoAnswer, "an answer without an etag")),
            }
        };
        within(deadline, op, &asked.address, work).await
    }

    async fn read(
        &self,
        key: &str,
        most: u64,
        deadline: Instant,
    ) -> Result<StoreAnswer<Object>, StoreError> {
        let asked = self.asked(Op::Get, key);
        self.check(&asked, key)?;
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
                let chunk = chunk.map_err(|error| asked.cut(&error))?;
                bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
            }
            let size = total.unwrap_or(length);
            if (bytes.len() as u64) < size.min(most as u64) {
                return Err(asked.error(FailureKind::NoAnswer, "the body ends too early"));
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
    ) -> Result<StoreAnswer<Page>, StoreError> {
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
                    Some(ListedObject {
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

    async fn remove(
        &self,
        key: &str,
        etag: Option<&Etag>,
        deadline: Instant,
    ) -> Result<StoreAnswer<()>, StoreError> {
        let asked = self.asked(Op::Delete, key);
        self.check(&asked, key)?;
        let delete = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(key));
        let send = |etag: Option<&Etag>| {
            delete
                .clone()
                .set_if_match(etag.map(|etag| etag.0.clone()))
                .customize()
                .interceptor(asked.date.clone())
                .send()
        };
        let work = async {
            let mut sent = send(etag).await;
            // A store that is like S3 may not know the condition.
            if etag.is_some() && sent.as_ref().is_err_and(|error| status(error) == Some(501)) {
                sent = send(None).await;
            }
            match sent {
                Ok(_) => asked.answer(()),
                // With a condition, S3 says so of an object that is gone.
                Err(error) if etag.is_some() && status(&error) == Some(404) => asked.answer(()),
                Err(error) => Err(asked.failed(&error)),
            }
        };
        within(deadline, Op::Delete, &asked.address, work).await
    }
}

/// A client with this configuration of the SDK, but without its retries.
fn client(shared: &SdkConfig) -> Client {
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
    Client::from_conf(config)
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
        self.remove(key, None, deadline).boxed()
    }

    fn delete_if_match<'a>(
        &'a self,
        key: &'a str,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, ()> {
        self.remove(key, Some(etag), deadline).boxed()
    }

    fn address(&self) -> &str {
        &self.address
    }
}
