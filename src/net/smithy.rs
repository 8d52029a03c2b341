//! The AWS SDK over the process' own HTTP clients, so that there is one TLS stack.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use reqwest::Client;

use super::client::{ClientError, ClientOptions, client, send};
use super::error::{NetError, Peer, Phase};

/// Returns the client for all of the SDK, kept for the process. `peer` is the party that its errors
/// are about: [`Peer::Store`] for S3, else [`Peer::Aws`].
#[must_use]
pub fn http_client(peer: Peer) -> SharedHttpClient {
    static STORE: LazyLock<SharedHttpClient> =
        LazyLock::new(|| SharedHttpClient::new(SmithyClients::new(Peer::Store)));
    static AWS: LazyLock<SharedHttpClient> =
        LazyLock::new(|| SharedHttpClient::new(SmithyClients::new(Peer::Aws)));
    if peer == Peer::Store {
        STORE.clone()
    } else {
        AWS.clone()
    }
}

/// One client for each connect time-out that the SDK wants: it gives the instance metadata service
/// a short one.
#[derive(Debug)]
struct SmithyClients {
    peer: Peer,
    by_connect_timeout: Mutex<HashMap<Option<Duration>, SharedHttpConnector>>,
}

impl SmithyClients {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            by_connect_timeout: Mutex::new(HashMap::new()),
        }
    }
}

impl HttpClient for SmithyClients {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let mut known = self
            .by_connect_timeout
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connect_timeout = settings.connect_timeout();
        if let Some(connector) = known.get(&connect_timeout) {
            return connector.clone();
        }
        let mut options = ClientOptions::default();
        if let Some(connect_timeout) = connect_timeout {
            options.connect_timeout = connect_timeout;
        }
        let connector = SharedHttpConnector::new(SmithyConnector {
            client: client(&options).map_err(Arc::new),
            peer: self.peer,
            read_timeout: settings.read_timeout(),
        });
        known.insert(connect_timeout, connector.clone());
        connector
    }
}

#[derive(Debug)]
struct SmithyConnector {
    client: Result<Client, Arc<ClientError>>,
    peer: Peer,
    read_timeout: Option<Duration>,
}

impl HttpConnector for SmithyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        let (peer, read_timeout) = (self.peer, self.read_timeout);
        HttpConnectorFuture::new(async move {
            let client = client.map_err(|error| ConnectorError::other(Box::new(error), None))?;
            exchange(&client, request, peer, read_timeout).await
        })
    }
}

async fn exchange(
    client: &Client,
    request: HttpRequest,
    peer: Peer,
    read_timeout: Option<Duration>,
) -> Result<HttpResponse, ConnectorError> {
    let (parts, body) = request.try_into_http1x().map_err(user)?.into_parts();
    // A body in memory is passed on as it is, not copied: that of a segment has megabytes.
    let body = body
        .collect()
        .await
        .map_err(ConnectorError::user)?
        .to_bytes();
    let request =
        reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(user)?;
    let address = request.url().clone();
    let answer = send(client, request, peer);
    let response = match read_timeout {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(result) => result,
            Err(_) => Err(NetError::timed_out(Phase::Http, peer, &address)),
        },
    }
    .map_err(connector_error)?;
    let response = http::Response::<reqwest::Body>::from(response).map(SdkBody::from_body_1_x);
    HttpResponse::try_from(response).map_err(user)
}

fn user(error: impl Error + Send + Sync + 'static) -> ConnectorError {
    ConnectorError::user(Box::new(error))
}

fn connector_error(error: NetError) -> ConnectorError {
    if error.timed_out {
        ConnectorError::timeout(Box::new(error))
    } else {
        ConnectorError::io(Box::new(error))
    }
}
