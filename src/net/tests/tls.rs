//! Certificates, good and bad, on real handshakes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder_support::tls::{Authority, Pair, self_signed};
use bytes::Bytes;
use http::Request;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::super::{ClientOptions, Exchange, HttpClient, NetError, Peer, Phase};
use crate::config::{HttpConfig, SecretSource, Source, TlsConfig, TlsVersion};

type Handshake = (Option<String>, String);

struct TlsServer {
    address: SocketAddr,
    /// Successful handshakes: the name that was requested, and the `Host` of the
    /// request.
    seen: Arc<Mutex<Vec<Handshake>>>,
}

/// Serves with a certificate, and lets in only clients of the authority, if one is given.
async fn serve(
    pair: &Pair,
    clients: Option<&Authority>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsServer {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let config = builder
        .with_single_cert(
            chain,
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_too = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen_too) = (acceptor.clone(), Arc::clone(&seen_too));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let host = head
                    .lines()
                    .find_map(|line| line.strip_prefix("host: "))
                    .unwrap_or_default()
                    .to_owned();
                seen_too.lock().unwrap().push((name, host));
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    TlsServer { address, seen }
}

fn trusting(pem: &str) -> TlsConfig {
    TlsConfig {
        ca: Some(SecretSource::text(pem)),
        ..TlsConfig::default()
    }
}

async fn ask(server: &TlsServer, tls: TlsConfig) -> Result<u16, NetError> {
    ask_at(&format!("https://{}/federate", server.address), tls).await
}

async fn ask_at(url: &str, tls: TlsConfig) -> Result<u16, NetError> {
    let client = HttpClient::new(
        &HttpConfig {
            tls,
            ..HttpConfig::default()
        },
        ClientOptions::default(),
        Peer::Home,
    );
    let request = Request::get(url).body(Bytes::new()).unwrap();
    client
        .send(
            request,
            Exchange {
                timeout: Duration::from_secs(20),
                ..Exchange::default()
            },
        )
        .await
        .map(|reply| reply.status())
}

async fn refusal(server: &TlsServer, tls: TlsConfig, expected: &[&str]) {
    let error = ask(server, tls).await.unwrap_err();
    assert_eq!(error.phase, Phase::Tls, "{error}");
    let text = error.to_string();
    for part in expected {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let (ours, other) = (
        Authority::new("home").unwrap(),
        Authority::new("other").unwrap(),
    );
    let server = serve(&ours.issue(&["127.0.0.1"]).unwrap(), None, BOTH).await;
    assert_eq!(ask(&server, trusting(&ours.pem())).await, Ok(200));
    // One of several.
    assert_eq!(
        ask(&server, trusting(&format!("{}{}", other.pem(), ours.pem()))).await,
        Ok(200)
    );
    refusal(
        &server,
        TlsConfig::default(),
        &["UnknownIssuer", "tls_config.ca_file"],
    )
    .await;
    refusal(
        &server,
        trusting(&other.pem()),
        &["UnknownIssuer", "tls_config.ca_file"],
    )
    .await;
    assert_eq!(
        ask(
            &server,
            TlsConfig {
                insecure_skip_verify: true,
                ..TlsConfig::default()
            }
        )
        .await,
        Ok(200)
    );
}

#[tokio::test]
async fn a_wrong_name_lists_the_right_ones_and_server_name_mends_it() {
    let ours = Authority::new("home").unwrap();
    let server = serve(&ours.issue(&["prom.home.lan", "prom"]).unwrap(), None, BOTH).await;
    refusal(
        &server,
        trusting(&ours.pem()),
        &["prom.home.lan", "tls_config.server_name"],
    )
    .await;
    let named = |name: &str| TlsConfig {
        server_name: Some(name.to_owned()),
        ..trusting(&ours.pem())
    };
    assert_eq!(ask(&server, named("prom.home.lan")).await, Ok(200));
    assert_eq!(ask(&server, named("prom")).await, Ok(200));
    refusal(
        &server,
        named("elsewhere.lan"),
        &["elsewhere.lan", "prom.home.lan"],
    )
    .await;
    let seen = server.seen.lock().unwrap().clone();
    // The name is asked for in the handshake, too; the request is still for the address.
    let host = server.address.to_string();
    assert_eq!(
        seen,
        [
            (Some("prom.home.lan".to_owned()), host.clone()),
            (Some("prom".to_owned()), host)
        ]
    );

    // Errors are about the address that was configured, not about the name that was asked for.
    let error = ask_at("https://127.0.0.1:1/federate", named("prom"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.phase, error.address.as_str()),
        (Phase::Connect, "https://127.0.0.1:1/federate"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_name_that_is_an_address_is_verified() {
    let ours = Authority::new("home").unwrap();
    let server = serve(&ours.issue(&["192.0.2.7"]).unwrap(), None, BOTH).await;
    refusal(
        &server,
        trusting(&ours.pem()),
        &["192.0.2.7", "tls_config.server_name"],
    )
    .await;
    assert_eq!(
        ask(
            &server,
            TlsConfig {
                server_name: Some("192.0.2.7".to_owned()),
                ..trusting(&ours.pem())
            }
        )
        .await,
        Ok(200)
    );
}

#[tokio::test]
async fn an_expired_certificate_says_so() {
    let ours = Authority::new("home").unwrap();
    let server = serve(&ours.issue_expired(&["127.0.0.1"]).unwrap(), None, BOTH).await;
    refusal(
        &server,
        trusting(&ours.pem()),
        &["expired", "renew", "clock"],
    )
    .await;
}

/// Go trusts a certificate that is itself among the authorities (x509 Verify), and `openssl req
/// -x509` makes such.
#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_authority() {
    let pair = self_signed(&["127.0.0.1"], false).unwrap();
    let server = serve(&pair, None, BOTH).await;
    assert_eq!(ask(&server, trusting(&pair.cert)).await, Ok(200));
    refusal(&server, TlsConfig::default(), &["tls_config.ca_file"]).await;
    let another = self_signed(&["127.0.0.1"], false).unwrap();
    assert_eq!(
        ask(&server, trusting(&another.cert))
            .await
            .unwrap_err()
            .phase,
        Phase::Tls
    );

    let expired = self_signed(&["127.0.0.1"], true).unwrap();
    refusal(
        &serve(&expired, None, BOTH).await,
        trusting(&expired.cert),
        &["expired"],
    )
    .await;
    let misnamed = self_signed(&["prom.home.lan"], false).unwrap();
    refusal(
        &serve(&misnamed, None, BOTH).await,
        trusting(&misnamed.cert),
        &["prom.home.lan", "server_name"],
    )
    .await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (ours, other) = (
        Authority::new("home").unwrap(),
        Authority::new("other").unwrap(),
    );
    for versions in [BOTH, &[&rustls::version::TLS12]] {
        let server = serve(&ours.issue(&["127.0.0.1"]).unwrap(), Some(&ours), versions).await;
        let with = |pair: &Pair| TlsConfig {
            cert: Some(SecretSource::text(&*pair.cert)),
            key: Some(SecretSource::text(&*pair.key)),
            ..trusting(&ours.pem())
        };
        assert_eq!(
            ask(&server, with(&ours.issue(&["forwarder"]).unwrap())).await,
            Ok(200)
        );
        refusal(&server, trusting(&ours.pem()), &["cert_file and key_file"]).await;
        refusal(
            &server,
            with(&other.issue(&["forwarder"]).unwrap()),
            &["does not accept our certificate"],
        )
        .await;
        refusal(
            &server,
            with(&ours.issue_expired(&["forwarder"]).unwrap()),
            &["does not accept our certificate"],
        )
        .await;
    }
}

#[tokio::test]
async fn versions_are_bounded() {
    let ours = Authority::new("home").unwrap();
    let server = serve(
        &ours.issue(&["127.0.0.1"]).unwrap(),
        None,
        &[&rustls::version::TLS12],
    )
    .await;
    let lowest = |version| TlsConfig {
        min_version: Some(version),
        ..trusting(&ours.pem())
    };
    assert_eq!(ask(&server, lowest(TlsVersion::Tls12)).await, Ok(200));
    refusal(&server, lowest(TlsVersion::Tls13), &["min_version"]).await;
    let server = serve(
        &ours.issue(&["127.0.0.1"]).unwrap(),
        None,
        &[&rustls::version::TLS13],
    )
    .await;
    refusal(
        &server,
        TlsConfig {
            max_version: Some(TlsVersion::Tls12),
            ..trusting(&ours.pem())
        },
        &["max_version"],
    )
    .await;
}

#[tokio::test]
async fn files_are_read_at_the_first_use_and_again_after_a_failed_handshake() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    let (ours, other) = (
        Authority::new("home").unwrap(),
        Authority::new("other").unwrap(),
    );
    let server = serve(&ours.issue(&["127.0.0.1"]).unwrap(), None, BOTH).await;
    let tls = TlsConfig {
        ca: Some(SecretSource::File(Source::Path(path.clone()))),
        ..TlsConfig::default()
    };
    let client = HttpClient::new(
        &HttpConfig {
            tls,
            ..HttpConfig::default()
        },
        ClientOptions::default(),
        Peer::Home,
    );
    let ask = async || {
        let request = Request::get(format!("https://{}/", server.address))
            .body(Bytes::new())
            .unwrap();
        client
            .send(request, Exchange::default())
            .await
            .map(|reply| reply.status())
    };
    let missing = ask().await.unwrap_err();
    assert_eq!(missing.phase, Phase::Credentials);
    assert!(
        missing
            .to_string()
            .contains("ca.pem: unable to read file: No such file"),
        "{missing}"
    );
    std::fs::write(&path, "no certificate").unwrap();
    let wrong = ask().await.unwrap_err().to_string();
    assert!(
        wrong.contains("tls_config.ca ")
            && wrong.contains("ca.pem")
            && wrong.contains("no certificate in PEM form"),
        "{wrong}"
    );
    std::fs::write(&path, other.pem()).unwrap();
    assert_eq!(ask().await.unwrap_err().phase, Phase::Tls);
    std::fs::write(&path, ours.pem()).unwrap();
    assert_eq!(ask().await, Ok(200));
}

#[tokio::test]
async fn a_broken_key_is_named_and_not_shown() {
    let pair = self_signed(&["127.0.0.1"], false).unwrap();
    let server = serve(&pair, None, BOTH).await;
    let other = self_signed(&["x"], false).unwrap();
    for key in [
        "hunter2",
        "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
        &other.key,
    ] {
        let tls = TlsConfig {
            cert: Some(SecretSource::text(&*pair.cert)),
            key: Some(SecretSource::text(key)),
            ..trusting(&pair.cert)
        };
        let error = ask(&server, tls).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert_eq!(error.phase, Phase::Credentials, "{text}");
        assert!(
            text.contains("tls_config.")
                && !text.contains("hunter2")
                && !text.contains("aHVud")
                && !text.contains("BEGIN"),
            "{text}"
        );
    }
}
