//! A reverse proxy in front of a home that passes some paths only, as a careful one does.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use http_body_util::Full;

use crate::http::{Client, HandlerResult, Hangup, Server, ServerRequest, full, read_body, respond};

/// Largest request that is passed on.
const LARGEST: usize = 64 << 20;

/// The proxy. What it does not pass is answered with 403.
#[derive(Debug)]
pub struct PathProxy {
    server: Server,
}

impl PathProxy {
    /// Starts a proxy to `home` (`host:port`) that passes the requests of these paths.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(home: &str, paths: &'static [&'static str]) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (home, client) = (Arc::new(home.to_owned()), Client::default());
        let server = Server::start(listen, move |request, _| {
            pass(home.clone(), client.clone(), paths, request)
        })
        .await?;
        Ok(Self { server })
    }

    /// `host:port`, for `static_configs`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }
}

async fn pass(
    home: Arc<String>,
    client: Client,
    paths: &'static [&'static str],
    request: ServerRequest,
) -> HandlerResult {
    if !paths.contains(&request.uri().path()) {
        return Ok(respond(403, "this path is not for you\n"));
    }
    let (mut head, body) = request.into_parts();
    let body = read_body(body, LARGEST).await.ok_or(Hangup)?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("http://{home}{path}").parse().map_err(|_| Hangup)?;
    head.headers.remove("host");
    let answer = client.send(http::Request::from_parts(head, Full::new(body)));
    let (mut head, body) = answer.await.map_err(|_| Hangup)?.into_parts();
    head.headers.remove("transfer-encoding");
    Ok(http::Response::from_parts(head, full(body)))
}
