//! Secrets that AWS keeps, read from a server that answers as a test says. The environment names
//! the server, so each test is a child process.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::secrets::Secrets;
use super::super::testing::{Server, ServerReply, refusing};
use crate::config::{Secret, SecretPart, SecretSource, StoredSecret};
use crate::time::{Clock as _, SystemClock};

fn ssm(name: &str) -> SecretSource {
    SecretSource::Inline(vec![SecretPart::Stored(StoredSecret::Ssm(name.into()))])
}

fn manager(id: &str, key: Option<&str>) -> SecretSource {
    SecretSource::Inline(vec![SecretPart::Stored(StoredSecret::SecretsManager {
        id: id.into(),
        key: key.map(Into::into),
    })])
}

async fn child(test: &'static str, endpoint: String) {
    let run = move || -> Output {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("net::tests::secrets::{test}"),
                "--ignored",
                "--nocapture",
            ])
            .env_clear()
            .envs([
                ("AWS_EC2_METADATA_DISABLED", "true"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "AKID"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ])
            .env("AWS_ENDPOINT_URL", endpoint)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_asked_for_once_and_signed() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |seen| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let missing = br#"{"Name":"/missing","WithDecryption":true}"#;
        match seen.headers["x-amz-target"].to_str().unwrap() {
            "AmazonSSM.GetParameter" if seen.body == missing => {
                ServerReply::status(400, "{\"__type\":\"ParameterNotFound\",\"message\":\"\"}")
            }
            "AmazonSSM.GetParameter" => {
                let parameter = format!("{{\"Parameter\":{{\"Value\":\"hunter{number}\"}}}}");
                ServerReply::status(200, &parameter)
            }
            _ if seen.body == br#"{"SecretId":"forbidden"}"# => ServerReply::status(
                400,
                "{\"__type\":\"com.amazonaws.secretsmanager#AccessDeniedException\",\
                     \"Message\":\"no hunter2\"}",
            ),
            _ => ServerReply::status(
                200,
                "{\"SecretString\":\"{\\\"user\\\":\\\"a\\\",\\\"n\\\":1}\"}",
            ),
        }
    })
    .await;
    child("child_that_reads", format!("http://{}", server.address)).await;
    let seen = server.seen();
    for (index, service) in [(0, "ssm"), (1, "ssm"), (3, "secretsmanager")] {
        let authorization = seen[index].headers["authorization"].to_str().unwrap();
        assert!(
            authorization.contains(&format!("/eu-west-1/{service}/aws4_request")),
            "{index}: {authorization}"
        );
        assert_eq!(seen[index].line, "POST / HTTP/1.1");
    }
    let bodies: Vec<_> = seen
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
        .collect();
    assert_eq!(bodies[0], r#"{"Name":"/home/pw","WithDecryption":true}"#);
    assert_eq!(bodies.len(), 7, "{bodies:?}");
}

#[tokio::test]
#[ignore = "run by secrets_are_asked_for_once_and_signed"]
async fn child_that_reads() {
    let secrets = Secrets::default();
    let read = async |source: &SecretSource, fresh| {
        secrets
            .get(source, fresh, SystemClock.now_ms())
            .await
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    };
    for fresh in [false, false, true] {
        // A fresh one is not read at once: not every refusal may ask AWS.
        assert_eq!(
            read(&ssm("/home/pw"), fresh).await.as_deref(),
            Ok("hunter0")
        );
    }
    let both = SecretSource::Inline(vec![
        SecretPart::Text(Secret::new("a-")),
        SecretPart::Stored(StoredSecret::Ssm("/other".into())),
    ]);
    assert_eq!(read(&both, false).await.as_deref(), Ok("a-hunter1"));
    for _ in 0..2 {
        let missing = read(&ssm("/missing"), false).await.unwrap_err();
        assert!(
            missing.starts_with(
                "ssm:/missing: ssm answered 400 ParameterNotFound; there is nothing of this name"
            ),
            "{missing}"
        );
    }
    assert_eq!(
        read(&manager("home", Some("user")), false).await.as_deref(),
        Ok("a")
    );
    assert_eq!(
        read(&manager("home", None), false).await.as_deref(),
        Ok("{\"user\":\"a\",\"n\":1}")
    );
    let number = read(&manager("home", Some("n")), false).await.unwrap_err();
    assert!(
        number.contains("not a JSON object that has \"n\" as a string"),
        "{number}"
    );
    let forbidden = read(&manager("forbidden", None), false).await.unwrap_err();
    assert!(
        forbidden.contains("AccessDeniedException; the role needs secretsmanager:GetSecretValue")
            && !forbidden.contains("hunter2"),
        "{forbidden}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_way_to_it_names_the_endpoint() {
    let hole = super::super::testing::BlackHole::dig("127.0.0.1:0".parse().unwrap()).await;
    child("child_without_a_way", format!("http://{}", hole.address)).await;
    child(
        "child_with_a_refusal",
        format!("http://{}", refusing().await),
    )
    .await;
}

#[tokio::test]
#[ignore = "run by a_service_without_a_way_to_it_names_the_endpoint"]
async fn child_without_a_way() {
    let secrets = Secrets::default();
    let error = secrets
        .get(&ssm("/home/pw"), false, SystemClock.now_ms())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        error.passing
            && text.contains("connect ")
            && text.contains("com.amazonaws.eu-west-1.ssm ")
            && text.contains("s3://"),
        "{text}"
    );
    // An ARN names the region itself.
    let arn = "arn:aws:secretsmanager:us-west-2:1:secret:home-a1B2c3";
    let text = secrets
        .get(&manager(arn, None), false, SystemClock.now_ms())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("com.amazonaws.us-west-2.secretsmanager "),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "run by a_service_without_a_way_to_it_names_the_endpoint"]
async fn child_with_a_refusal() {
    let error = Secrets::default()
        .get(&ssm("/home/pw"), false, SystemClock.now_ms())
        .await
        .unwrap_err();
    assert!(
        error.passing && !error.to_string().contains("com.amazonaws"),
        "{error}"
    );
}
