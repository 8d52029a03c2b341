use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use ::http::{Method, Request};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::region::Region;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::net::aws::{AwsError, SigningIdentity};
use crate::send::{SignError, Signer};

/// Sun, 30 Aug 2015 12:36:00 GMT: the day of AWS' own test vectors.
const NOW_MS: i64 = 1_440_938_160_000;
const LONG: Duration = Duration::from_secs(60);

fn signer(credentials: impl ProvideCredentials + 'static) -> Signer {
    let identity = SigningIdentity {
        credentials: SharedCredentialsProvider::new(credentials),
        region: Region::from_static("us-east-1"),
    };
    Signer::new(identity, "aps")
}

fn request(uri: &str) -> Request<Bytes> {
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header("content-type", "application/x-protobuf")
        .header("x-team", "  two   words ")
        .header("user-agent", "not signed")
        .body(Bytes::from_static(b"\x00body"))
        .unwrap()
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let scope = [date, region, service, "aws4_request"];
    scope
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            hmac(&key, part)
        })
}

#[test]
fn our_own_key_derivation_agrees_with_aws_published_vector() {
    // "Deriving a signing key", AWS General Reference.
    let key = key(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "20120215",
        "us-east-1",
        "iam",
    );
    assert_eq!(
        hex(&key),
        "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
    );
}

#[tokio::test]
async fn the_signature_is_what_the_specification_computes() {
    let credentials = Credentials::new(
        "AKIDEXAMPLE",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        Some("tok/en=".into()),
        None,
        "test",
    );
    let mut request = request(
        "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
    );
    signer(credentials)
        .sign(&mut request, NOW_MS, false, LONG)
        .await
        .unwrap();

    let canonical = [
        "POST",
        "/workspaces/ws-1/api/v1/remote_write",
        "",
        "content-type:application/x-protobuf",
        "host:aps-workspaces.us-east-1.amazonaws.com",
        "x-amz-date:20150830T123600Z",
        "x-amz-security-token:tok/en=",
        "x-team:two words",
        "",
        "content-type;host;x-amz-date;x-amz-security-token;x-team",
        &hex(&Sha256::digest(request.body())),
    ]
    .join("\n");
    let scope = "20150830/us-east-1/aps/aws4_request";
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{}",
        hex(&Sha256::digest(&canonical))
    );
    let key = key(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "20150830",
        "us-east-1",
        "aps",
    );
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-team, Signature={}",
        hex(&hmac(&key, &to_sign))
    );
    assert_eq!(request.headers()["authorization"], expected);
    assert!(
        !format!("{:?}", request.headers()).contains("tok/en"),
        "the session token is marked as sensitive"
    );
}

/// Counts its calls. Its credentials expire this long after `NOW_MS`.
#[derive(Debug, Clone)]
struct CountingSource {
    calls: Arc<AtomicUsize>,
    expires_in: Option<Duration>,
}

impl CountingSource {
    fn new(expires_in: Option<Duration>) -> Self {
        Self {
            calls: Arc::default(),
            expires_in,
        }
    }
}

impl ProvideCredentials for CountingSource {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let expiry = self
            .expires_in
            .map(|after| UNIX_EPOCH + Duration::from_millis(NOW_MS as u64) + after);
        future::ProvideCredentials::ready(Ok(Credentials::new(
            format!("KEY{call}"),
            "secret",
            None,
            expiry,
            "test",
        )))
    }
}

async fn key_id(signer: &Signer, after: Duration, fresh: bool) -> String {
    let mut request = request("https://aps.example/remote_write");
    signer
        .sign(&mut request, NOW_MS + after.as_millis() as i64, fresh, LONG)
        .await
        .unwrap();
    let text = request.headers()["authorization"]
        .to_str()
        .unwrap()
        .to_owned();
    text.split(['=', '/']).nth(1).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn credentials_are_kept_until_they_near_their_end_or_are_denied() {
    let minute = Duration::from_secs(60);
    let dated = signer(CountingSource::new(Some(10 * minute)));
    assert_eq!(key_id(&dated, Duration::ZERO, false).await, "KEY0");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(key_id(&dated, 8 * minute, false).await, "KEY0");
    assert_eq!(
        key_id(&dated, 8 * minute, true).await,
        "KEY1",
        "denied: fetched again"
    );
    assert_eq!(
        key_id(&dated, 8 * minute, true).await,
        "KEY1",
        "once for all shards"
    );
    assert_eq!(
        key_id(&dated, 9 * minute, false).await,
        "KEY2",
        "a minute before the end"
    );

    let undated = signer(CountingSource::new(None));
    assert_eq!(key_id(&undated, Duration::ZERO, false).await, "KEY0");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(
        key_id(&undated, Duration::from_secs(49), false).await,
        "KEY0"
    );
    // By the wall clock: tokio's did not see the freeze.
    assert_eq!(
        key_id(&undated, minute, false).await,
        "KEY1",
        "afresh each tick"
    );
}

#[derive(Debug)]
struct Failing(fn() -> CredentialsError);

impl ProvideCredentials for Failing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)()))
    }
}

#[derive(Debug)]
struct Silent;

impl ProvideCredentials for Silent {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn no_credentials_are_told_from_unreachable_ones() {
    async fn failure(signer: Signer) -> SignError {
        signer
            .sign(&mut request("https://aps.example/"), NOW_MS, false, LONG)
            .await
            .unwrap_err()
    }
    let none = failure(signer(Failing(|| {
        CredentialsError::not_loaded("nothing in the chain")
    })))
    .await;
    assert!(
        none.is_final() && matches!(none, SignError::Credentials(AwsError::NoCredentials(_))),
        "{none}"
    );
    assert!(none.to_string().contains("aws sso login"));
    let refused = failure(signer(Failing(|| {
        CredentialsError::provider_error("STS said no")
    })))
    .await;
    assert!(
        !refused.is_final() && refused.to_string().contains("STS said no"),
        "{refused}"
    );
    let silent = failure(signer(Silent)).await;
    assert!(
        !silent.is_final() && silent.to_string().contains("NAT gateway"),
        "{silent}"
    );
}
