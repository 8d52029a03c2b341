//! Tokens of OAuth 2.0.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{client, get, header, oauth2, redirect, with};
use crate::config::Auth;
use crate::net::Phase;
use crate::net::testing::{Server, ServerReply};

#[tokio::test]
async fn a_token_is_fetched_once_and_kept_until_it_expires() {
    let issued = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&issued);
    let server = Server::start(move |seen| {
        if !seen.line.contains("/token") {
            return ServerReply::status(200, "");
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        // The second one lives for less than the margin: it is never used twice.
        let lifetime = if number == 0 { "\"3600\"" } else { "5" };
        let token = format!(
            "{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\",\"expires_in\":{lifetime}}}"
        );
        ServerReply::status(200, &token)
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "s/ecret")))));
    for _ in 0..3 {
        get(&client, &server.url("/federate")).await.unwrap();
    }
    let seen = server.seen();
    assert_eq!(issued.load(Ordering::SeqCst), 1);
    assert_eq!(
        header(&seen[0], "authorization"),
        ["Basic bWUrJTI2K3lvdTpzJTJGZWNyZXQ="]
    );
    assert_eq!(
        seen[0].body,
        b"grant_type=client_credentials&scope=read+write&audience=home"
    );
    assert!(
        seen[1..]
            .iter()
            .all(|seen| header(seen, "authorization") == ["Bearer t0"])
    );
}

#[tokio::test]
async fn a_short_token_is_fetched_anew_and_a_server_may_want_the_secret_in_the_body() {
    let server = Server::start(|seen| {
        if !seen.line.contains("/token") {
            return ServerReply::status(200, "");
        }
        if seen.headers.contains_key("authorization") {
            return ServerReply::status(401, "{\"error\":\"invalid_client\"}");
        }
        assert_eq!(
            seen.body,
            b"grant_type=client_credentials&scope=read+write&audience=home\
              &client_id=me+%26+you&client_secret=x"
        );
        ServerReply::status(200, "{\"access_token\":\"t\",\"expires_in\":5}")
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "x")))));
    for _ in 0..2 {
        get(&client, &server.url("/federate")).await.unwrap();
    }
    let tokens = server
        .seen()
        .iter()
        .filter(|seen| seen.line.contains("/token"))
        .count();
    assert_eq!(tokens, 3, "the way that the server takes is remembered");
}

#[tokio::test]
async fn a_refused_token_says_why_and_shows_no_secret() {
    let server = Server::start(|seen| {
        ServerReply::status(
            400,
            &format!(
                "{{\"error\":\"invalid_scope\",\"echo\":{:?}}}",
                String::from_utf8_lossy(&seen.body)
            ),
        )
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "hunter2")))));
    let error = get(&client, &server.url("/federate")).await.unwrap_err();
    assert_eq!((error.phase, error.timed_out), (Phase::Credentials, false));
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("answered 400 invalid_scope")
            && shown.contains("/token")
            && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_secret_of_a_client_follows_no_redirect() {
    let other = Server::start(|_| ServerReply::status(200, "")).await;
    for status in [302, 307, 308] {
        let to = other.url("/token");
        let server = Server::start(move |_| redirect(status, to.as_str())).await;
        let config = with(Auth::OAuth2(Box::new(oauth2(&server, "hush & shush"))));
        let error = get(&client(&config), &server.url("/federate"))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("answered {status}")) && text.contains("token_url"),
            "{text}"
        );
    }
    assert!(other.seen().is_empty());
}
