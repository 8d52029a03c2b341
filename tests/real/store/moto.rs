//! moto: an S3 that speaks HTTP.

use std::time::Duration;

use amp_forwarder::net::{Peer, smithy};
use amp_forwarder::spool::store::s3::S3Store;
use amp_forwarder_support::process::{Child, free_port};
use amp_forwarder_support::tools;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::region::Region;

pub(crate) struct Moto {
    _process: Child,
    _place: tempfile::TempDir,
    pub(crate) port: u16,
}

/// An SDK configuration for an S3 on this machine.
pub(crate) async fn sdk(port: u16, access_key: &str, secret_key: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, secret_key, None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(smithy::http_client(Peer::Store))
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}

impl Moto {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let program = tools::moto_server().unwrap();
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("moto.log");
        for _ in 0..5 {
            let port = free_port().unwrap();
            let configure = |command: &mut std::process::Command| {
                command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).envs(environment.iter().copied());
            };
            let mut process = Child::spawn("moto", &program, configure, &log).unwrap();
            match process.wait_ready(&format!("http://127.0.0.1:{port}/moto-api/"), Duration::from_secs(60)).await {
                Ok(()) => return Self { _process: process, _place: place, port },
                // Somebody else took the port.
                Err(_) if !process.is_running() => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("moto does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    pub(crate) async fn create_bucket(&self, bucket: &str) {
        let config = aws_sdk_s3::config::Builder::from(&sdk(self.port, "test", "test").await).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(bucket).send().await.unwrap();
    }

    pub(crate) async fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        S3Store::new(bucket, prefix, &sdk(self.port, "test", "test").await)
    }

    /// Keys of a user who may do nothing.
    pub(crate) async fn powerless_user(&self) -> (String, String) {
        self.iam("CreateUser").await;
        let answer = self.iam("CreateAccessKey").await;
        let field = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {answer}"));
            rest.split_once('<').unwrap().0.to_owned()
        };
        (field("AccessKeyId"), field("SecretAccessKey"))
    }

    async fn iam(&self, action: &str) -> String {
        let client = amp_forwarder::net::client(&amp_forwarder::net::ClientOptions::default()).unwrap();
        let request = client
            .post(format!("http://127.0.0.1:{}/", self.port))
            .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("Action={action}&UserName=nobody&Version=2010-05-08"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{action}");
        answer.text().await.unwrap()
    }
}
