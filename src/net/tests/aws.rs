//! The SDK over our client. What depends on the environment runs in a child process of its own.

use std::process::Output;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_types::SdkConfig;

use super::super::Peer;
use super::super::aws::{AwsError, SigningIdentity, cause, region, shared_config};
use super::super::testing::{SeenRequest, Server, ServerReply, refusing};
use super::super::{read_object, signing_identity};
use crate::config::{SecretSource, SigV4};
use crate::time::{Clock, SystemClock};

async fn s3(endpoint: String) -> aws_sdk_s3::Client {
    let config: SdkConfig = shared_config(Some("eu-west-1"), None, Peer::Store).await;
    let config = aws_sdk_s3::config::Builder::from(&config)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "AKID", "secret", None, None, "test",
        )))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

#[tokio::test]
async fn s3_puts_and_gets_through_our_client() {
    let server = Server::start(|seen| {
        if seen.line.starts_with("GET") {
            ServerReply::status(200, "segment")
        } else {
            ServerReply::status(200, "")
        }
    })
    .await;
    let s3 = s3(format!("http://{}", server.address)).await;
    s3.put_object()
        .bucket("b")
        .key("k")
        .body(ByteStream::from_static(b"segment"))
        .if_none_match("*")
        .send()
        .await
        .unwrap();
    let got = s3.get_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), "segment");

    let seen = server.seen();
    assert_eq!(seen[0].line, "PUT /b/k?x-id=PutObject HTTP/1.1");
    assert_eq!(
        (&*seen[0].body, &seen[0].headers["if-none-match"]),
        (&b"segment"[..], &"*".parse().unwrap())
    );
    assert!(
        seen[0].headers["authorization"]
            .to_str()
            .unwrap()
            .contains("/eu-west-1/s3/aws4_request")
    );
}

#[tokio::test]
async fn an_s3_error_names_phase_and_address() {
    let address = refusing().await;
    let error = s3(format!("http://{address}"))
        .await
        .get_object()
        .bucket("b")
        .key("k")
        .send()
        .await
        .unwrap_err();
    let cause = cause(&error);
    assert!(
        cause.starts_with(&format!("connect http://{address}/b/k: ")),
        "{cause}"
    );
}

fn sigv4() -> SigV4 {
    SigV4 {
        region: None,
        access_key: None,
        secret_key: None,
        profile: None,
        role_arn: None,
        external_id: None,
        use_fips_sts_endpoint: false,
        service_name: "aps".to_owned(),
        site_role_arn: None,
    }
}

/// Runs one of the ignored tests below with this environment and no other.
fn child(test: &str, environment: &[(&str, &str)]) -> Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("net::tests::aws::{test}"),
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn passed(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

const PROFILES: &str = "[default]\nregion = eu-west-1\n[profile home]\nregion = eu-west-2\n\
    aws_access_key_id = PROFILEKEY\naws_secret_access_key = s\n";

#[test]
fn region_and_keys_come_from_where_prometheus_takes_them() {
    let directory = std::env::temp_dir().join(format!("amp-forwarder-aws-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config");
    std::fs::write(&file, PROFILES).unwrap();
    let file = file.to_str().unwrap();
    passed(&child(
        "child_with_environment",
        &[
            ("AWS_CONFIG_FILE", file),
            ("AWS_REGION", "ap-northeast-1"),
            ("AWS_ACCESS_KEY_ID", "ENVKEY"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ],
    ));
    passed(&child(
        "child_with_profiles_only",
        &[("AWS_CONFIG_FILE", file)],
    ));
    passed(&child("child_with_nothing", &[]));
    std::fs::remove_dir_all(directory).unwrap();
}

async fn identity(sigv4: &SigV4) -> Result<SigningIdentity, AwsError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    signing_identity(sigv4, &clock).await
}

async fn key(sigv4: &SigV4) -> String {
    identity(sigv4)
        .await
        .unwrap()
        .credentials
        .provide_credentials()
        .await
        .unwrap()
        .access_key_id()
        .to_owned()
}

#[tokio::test]
#[ignore = "run by region_and_keys_come_from_where_prometheus_takes_them"]
async fn child_with_environment() {
    let own = SigV4 {
        region: Some("us-east-2".to_owned()),
        ..sigv4()
    };
    assert_eq!(identity(&own).await.unwrap().region.as_ref(), "us-east-2");
    let empty = SigV4 {
        region: Some(String::new()),
        ..sigv4()
    };
    assert_eq!(
        identity(&empty).await.unwrap().region.as_ref(),
        "ap-northeast-1"
    );
    assert_eq!(key(&sigv4()).await, "ENVKEY");
    let profile = SigV4 {
        profile: Some("home".to_owned()),
        ..sigv4()
    };
    assert_eq!(
        identity(&profile).await.unwrap().region.as_ref(),
        "eu-west-2"
    );
    assert_eq!(key(&profile).await, "PROFILEKEY");
    let fixed = SigV4 {
        access_key: Some("OWN".to_owned()),
        secret_key: Some(SecretSource::text("s")),
        ..profile
    };
    assert_eq!(key(&fixed).await, "OWN");
}

#[tokio::test]
#[ignore = "run by region_and_keys_come_from_where_prometheus_takes_them"]
async fn child_with_profiles_only() {
    assert_eq!(region(None, None).await.unwrap().as_ref(), "eu-west-1");
    assert_eq!(
        region(None, Some("home")).await.unwrap().as_ref(),
        "eu-west-2"
    );
    assert_eq!(region(None, Some("nobody")).await, Err(AwsError::NoRegion));
}

#[tokio::test]
#[ignore = "run by region_and_keys_come_from_where_prometheus_takes_them"]
async fn child_with_nothing() {
    assert_eq!(identity(&sigv4()).await.unwrap_err(), AwsError::NoRegion);
    let regional = SigV4 {
        region: Some("us-east-2".to_owned()),
        ..sigv4()
    };
    let credentials = identity(&regional).await.unwrap().credentials;
    assert!(credentials.provide_credentials().await.is_err());
}

const ASSUMED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <AssumeRoleResult><Credentials><AccessKeyId>ROLEKEY</AccessKeyId>\
    <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
    <Expiration>2126-11-22T13:00:00Z</Expiration></Credentials></AssumeRoleResult>\
    </AssumeRoleResponse>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed_through_our_client() {
    let server = Server::start(|_| ServerReply::status(200, ASSUMED)).await;
    let endpoint = format!("http://{}", server.address);
    let run = move || {
        child(
            "child_with_role",
            &[
                ("AWS_ENDPOINT_URL_STS", &endpoint),
                ("AWS_ACCESS_KEY_ID", "BASEKEY"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ],
        )
    };
    passed(&tokio::task::spawn_blocking(run).await.unwrap());

    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let form = String::from_utf8_lossy(&seen[0].body);
    for part in [
        "Action=AssumeRole",
        "role%2Fwriter",
        "ExternalId=42",
        "RoleSessionName=amp-forwarder",
    ] {
        assert!(form.contains(part), "{form} lacks {part}");
    }
    let authorization = seen[0].headers["authorization"].to_str().unwrap();
    assert!(
        authorization.contains("BASEKEY/") && authorization.contains("/us-east-2/sts/"),
        "{authorization}"
    );
}

#[tokio::test]
#[ignore = "run by a_role_is_assumed_through_our_client"]
async fn child_with_role() {
    let role = SigV4 {
        region: Some("us-east-2".to_owned()),
        role_arn: Some("arn:aws:iam::123456789012:role/writer".to_owned()),
        external_id: Some("42".to_owned()),
        ..sigv4()
    };
    assert_eq!(key(&role).await, "ROLEKEY");
}

/// Answers as STS to forms and as S3 to the rest.
fn sts_or_s3(request: &SeenRequest) -> ServerReply {
    let is_sts = String::from_utf8_lossy(&request.body).contains("Action=AssumeRole");
    ServerReply::status(200, if is_sts { ASSUMED } else { "content" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_done_for_a_site_shares_one_session_of_its_role() {
    let server = Server::start(sts_or_s3).await;
    let endpoint = format!("http://{}", server.address);
    let run = move || {
        child(
            "child_of_a_site",
            &[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_REGION", "us-east-2"),
                ("AWS_ACCESS_KEY_ID", "BASEKEY"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ],
        )
    };
    passed(&tokio::task::spawn_blocking(run).await.unwrap());

    let seen = server.seen();
    let key_and_form = |request: &SeenRequest| {
        let authorization = request.headers["authorization"].to_str().unwrap();
        let (_, key) = authorization.split_once("Credential=").unwrap();
        let form = String::from_utf8_lossy(&request.body).into_owned();
        (key.split('/').next().unwrap().to_owned(), form)
    };
    let seen: Vec<_> = seen.iter().map(key_and_form).collect();
    let keys: Vec<_> = seen.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["BASEKEY", "ROLEKEY", "BASEKEY", "ROLEKEY"],
        "{seen:?}"
    );
    assert!(seen[0].1.contains("role%2Ff-tokyo"), "{seen:?}");
    assert!(seen[2].1.contains("role%2Ff-osaka"), "{seen:?}");
}

#[tokio::test]
#[ignore = "run by all_that_is_done_for_a_site_shares_one_session_of_its_role"]
async fn child_of_a_site() {
    for site in ["tokyo", "osaka"] {
        let role = format!("arn:aws:iam::123456789012:role/f-{site}");
        let content = read_object("bucket", "key", 100, Some(&role))
            .await
            .unwrap();
        assert_eq!(content, b"content");
        let signs = SigV4 {
            site_role_arn: Some(role),
            ..sigv4()
        };
        assert_eq!(key(&signs).await, "ROLEKEY");
        let own_keys = SigV4 {
            access_key: Some("OWN".to_owned()),
            secret_key: Some(SecretSource::text("s")),
            ..signs
        };
        assert_eq!(key(&own_keys).await, "OWN");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_cannot_be_assumed_is_named_with_the_next_step() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code>\
        <Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
    let server = Server::start(move |_| ServerReply::status(403, denied)).await;
    let endpoint = format!("http://{}", server.address);
    let run = move || {
        child(
            "child_that_is_denied",
            &[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_REGION", "us-east-2"),
                ("AWS_ACCESS_KEY_ID", "BASEKEY"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ],
        )
    };
    passed(&tokio::task::spawn_blocking(run).await.unwrap());
}

#[tokio::test]
#[ignore = "run by a_role_that_cannot_be_assumed_is_named_with_the_next_step"]
async fn child_that_is_denied() {
    let role = "arn:aws:iam::123456789012:role/f-tokyo";
    let error = read_object("bucket", "key", 100, Some(role))
        .await
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "cannot read s3://bucket/key: ",
        "cannot assume the role arn:aws:iam::123456789012:role/f-tokyo: ",
        "not authorized to perform: sts:AssumeRole",
        "must exist and admit the function's role",
    ] {
        assert!(text.contains(part), "{text} lacks {part:?}");
    }
}
