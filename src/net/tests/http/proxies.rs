//! Proxies.

use url::Url;

use super::{client, get, header};
use crate::config::{HttpConfig, ProxyConfig, Secret, SecretSource};
use crate::net::Phase;
use crate::net::testing::{Server, ServerReply, refusing};

#[tokio::test]
async fn a_proxy_is_asked_where_configured() {
    let home = Server::start(|_| ServerReply::status(200, "")).await;
    let proxy = Server::start(|_| ServerReply::status(200, "")).await;
    let mut through = Url::parse(&format!("http://{}", proxy.address)).unwrap();
    through.set_username("u").unwrap();
    through.set_password(Some("hunter2")).unwrap();
    let through = Some(Secret::new(through.to_string()));
    let config = ProxyConfig {
        http: through.clone(),
        https: through,
        no_proxy: "127.0.0.9".into(),
        spares_loopback: false,
        connect_headers: vec![("X-Connect".into(), SecretSource::text("a"))],
    };
    let client = client(&HttpConfig {
        proxy: config,
        ..HttpConfig::default()
    });
    get(&client, &home.url("/federate")).await.unwrap();
    let seen = proxy.seen().pop().unwrap();
    assert_eq!(
        seen.line,
        format!("GET http://{}/federate HTTP/1.1", home.address)
    );
    assert_eq!(header(&seen, "proxy-authorization"), ["Basic dTpodW50ZXIy"]);
    assert_eq!(
        (header(&seen, "x-connect").len(), home.seen().len()),
        (0, 0)
    );

    // TLS goes through a tunnel; the proxy agrees, but no server behind it speaks TLS.
    let https: Url = format!("https://{}/federate", home.address)
        .parse()
        .unwrap();
    let error = get(&client, &https).await.unwrap_err();
    assert!(
        matches!(error.phase, Phase::Tls | Phase::Connect),
        "{error}"
    );
    let seen = proxy.seen().pop().unwrap();
    assert_eq!(seen.line, format!("CONNECT {} HTTP/1.1", home.address));
    assert_eq!(
        (
            header(&seen, "x-connect"),
            header(&seen, "proxy-authorization")
        ),
        (vec!["a".to_owned()], vec!["Basic dTpodW50ZXIy".to_owned()])
    );
}

#[tokio::test]
async fn a_proxy_out_of_reach_is_named_without_its_password() {
    let address = refusing().await;
    let proxy = ProxyConfig {
        http: Some(Secret::new(format!("http://u:hunter2@{address}"))),
        ..ProxyConfig::default()
    };
    let client = client(&HttpConfig {
        proxy,
        ..HttpConfig::default()
    });
    let error = get(&client, &"http://prom.home/federate".parse().unwrap())
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains(&format!("on the way to the proxy http://{address}"))
            && shown.contains("proxy_url")
            && !shown.contains("hunter2"),
        "{shown}"
    );
}
