//! moto: an S3 that speaks HTTP.

use amp_forwarder::net::{Peer, smithy};
use amp_forwarder::spool::store::s3::S3Store;
use amp_forwarder_support::process;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::region::Region;

pub(crate) struct MotoS3 {
    process: process::Moto,
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

impl MotoS3 {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let process = process::Moto::start(environment).await.unwrap();
        Self {
            port: process.port(),
            process,
        }
    }

    pub(crate) async fn create_bucket(&self, bucket: &str) {
        self.process.create_bucket(bucket).await.unwrap();
    }

    pub(crate) async fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        S3Store::new(bucket, prefix, &sdk(self.port, "test", "test").await)
    }

    /// Keys of a user without any permission.
    pub(crate) async fn powerless_user(&self) -> (String, String) {
        self.iam("CreateUser").await;
        let answer = self.iam("CreateAccessKey").await;
        let field = |name: &str| {
            let (_, rest) = answer
                .split_once(&format!("<{name}>"))
                .unwrap_or_else(|| panic!("no {name} in {answer}"));
            rest.split_once('<').unwrap().0.to_owned()
        };
        (field("AccessKeyId"), field("SecretAccessKey"))
    }

    async fn iam(&self, action: &str) -> String {
        let client =
            amp_forwarder::net::client(&amp_forwarder::net::ClientOptions::default()).unwrap();
        let request = client
            .post(format!("http://127.0.0.1:{}/", self.port))
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, \
                 SignedHeaders=host, Signature=0",
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!(
                "Action={action}&UserName=nobody&Version=2010-05-08"
            ));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{action}");
        answer.text().await.unwrap()
    }
}
