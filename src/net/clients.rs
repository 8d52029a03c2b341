//! The HTTP clients of one configuration: built at the first request that needs them, and built
//! again when the files of its `tls_config` change.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::HeaderMap;
use futures_util::future::BoxFuture;
use reqwest::{Client, Proxy};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use url::Url;

use super::client::{ClientOptions, configured_client};
use super::error::{NetError, Peer, redacted};
use super::header;
use super::reach::{GuardedLookup, LocalKinds, kinds_of};
use super::resolve::Lookup;
use super::secrets::{SecretError, Secrets};
use super::tls::{self, TlsError, TlsMaterials};
use crate::config::{ProxyConfig, SecretSource, TlsConfig};
use crate::time::millis;

/// The files of a `tls_config` are read again after this time.
const REREAD_AFTER: Duration = Duration::from_secs(10);

/// The clients that a `tls_config` and a proxy configuration need.
pub(super) struct ClientPool {
    tls: TlsConfig,
    proxy: ProxyConfig,
    options: ClientOptions,
    peer: Peer,
    secrets: &'static Secrets,
    built: Mutex<BuiltClients>,
}

#[derive(Default)]
struct BuiltClients {
    tls: Option<ClientConfig>,
    /// The contents of the files that `tls` was built from.
    materials: TlsMaterials,
    /// Time of the last reading of the materials, milliseconds since 1970. A monotonic clock may
    /// not count the time during which a Lambda sandbox is frozen.
    read_ms: Option<i64>,
    /// Whether a handshake has failed since then. The materials that AWS keeps are read again, too.
    doubtful: bool,
    clients: HashMap<ClientKey, Client>,
}

/// The properties in which the clients of one configuration differ.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    /// Whether each request opens a connection of its own.
    pub(super) fresh_connection: bool,
    /// Whether requests go through the configured proxy.
    pub(super) proxied: bool,
    /// The host whose addresses are used for every name, when `server_name` takes the place of the
    /// host in the URL.
    pub(super) host: Option<String>,
    /// For a redirect to another host, the kinds of local addresses that it may lead to.
    pub(super) redirected: Option<LocalKinds>,
}

impl ClientPool {
    pub(super) fn new(
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        options: ClientOptions,
        peer: Peer,
        secrets: &'static Secrets,
    ) -> Self {
        Self {
            tls: tls.clone(),
            proxy: proxy.clone(),
            options,
            peer,
            secrets,
            built: Mutex::default(),
        }
    }

    /// The client for `key`. `url` is only named in errors.
    pub(super) async fn client(&self, key: ClientKey, url: &Url) -> Result<Client, NetError> {
        let mut built = self.built.lock().await;
        self.refresh_tls(&mut built, url).await?;
        if let Some(client) = built.clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key, built.tls.as_ref(), url).await?;
        built.clients.insert(key, client.clone());
        Ok(client)
    }

    /// The kinds of local addresses that the host of a URL has.
    pub(super) async fn local_kinds(&self, url: &Url) -> LocalKinds {
        kinds_of(url, &*self.options.lookup).await
    }

    /// Has the TLS materials read again before the next request, because a handshake failed.
    pub(super) async fn doubt_tls(&self) {
        self.built.lock().await.doubtful = true;
    }

    async fn build(
        &self,
        key: &ClientKey,
        tls: Option<&ClientConfig>,
        url: &Url,
    ) -> Result<Client, NetError> {
        let tls = match tls {
            Some(tls) => tls.clone(),
            None => tls::config().map_err(|error| self.unusable_tls(error, url))?,
        };
        let mut options = self.options.clone();
        if key.fresh_connection {
            options.idle_timeout = Duration::ZERO;
        }
        if let Some(host) = &key.host {
            options.lookup = Arc::new(AliasLookup {
                host: host.clone(),
                lookup: Arc::clone(&options.lookup),
            });
        }
        if let Some(permitted) = key.redirected {
            options.lookup = Arc::new(GuardedLookup {
                permitted,
                lookup: Arc::clone(&options.lookup),
            });
        }
        let proxies = if key.proxied {
            self.proxies().await?
        } else {
            Vec::new()
        };
        configured_client(&options, tls, proxies).map_err(|error| {
            NetError::malformed_request(self.peer, redacted(url), error.to_string())
                .with_source(error)
        })
    }

    /// Reads the materials of `tls_config` at first, when they may have changed, and after a failed
    /// handshake. New materials make the clients of the old ones useless.
    async fn refresh_tls(&self, built: &mut BuiltClients, url: &Url) -> Result<(), NetError> {
        if self.tls == TlsConfig::default() {
            return Ok(());
        }
        let now_ms = self.options.clock.now_ms();
        let is_recent = built
            .read_ms
            .is_some_and(|read_ms| now_ms.saturating_sub(read_ms) < millis(REREAD_AFTER));
        if built.tls.is_some() && is_recent && !built.doubtful {
            return Ok(());
        }
        let materials = self.read_materials(built.doubtful, now_ms).await?;
        if built.tls.is_none() || materials != built.materials {
            let config = tls::configured(&self.tls, &materials)
                .map_err(|error| self.unusable_tls(error, url))?;
            built.tls = Some(config);
            built.materials = materials;
            built.clients.clear();
        }
        built.read_ms = Some(now_ms);
        built.doubtful = false;
        Ok(())
    }

    async fn read_materials(&self, fresh: bool, now_ms: i64) -> Result<TlsMaterials, SecretError> {
        let read = async |source: &Option<SecretSource>| match source {
            Some(source) => self.secrets.get(source, fresh, now_ms).await.map(Some),
            None => Ok(None),
        };
        Ok(TlsMaterials {
            ca: read(&self.tls.ca).await?,
            cert: read(&self.tls.cert).await?,
            key: read(&self.tls.key).await?,
        })
    }

    fn unusable_tls(&self, error: TlsError, url: &Url) -> NetError {
        let source = match error.key {
            "ca" => &self.tls.ca,
            "cert" => &self.tls.cert,
            "key" => &self.tls.key,
            _ => &None,
        };
        let place = source
            .as_ref()
            .and_then(|source| source.places().into_iter().next());
        let place = match place {
            Some(place) => format!("tls_config.{} {place}", error.key),
            None => format!("tls_config.{}", error.key),
        };
        let cause = format!("{} (for {})", error.fault, redacted(url));
        NetError::no_credentials(place, cause, false).with_source(error)
    }

    async fn proxies(&self) -> Result<Vec<Proxy>, NetError> {
        let malformed = |error: reqwest::Error| {
            NetError::malformed_request(self.peer, "proxy_url", "not the address of a proxy")
                .with_source(error.without_url())
        };
        let mut connect_headers = HeaderMap::new();
        let now_ms = self.options.clock.now_ms();
        for (name, source) in &self.proxy.connect_headers {
            let secret = self.secrets.get(source, false, now_ms).await?;
            let value = header::sensitive(secret.expose())?;
            connect_headers.append(header::name(name, self.peer)?, value);
        }
        let mut proxies = Vec::new();
        if let Some(url) = &self.proxy.http {
            proxies.push(Proxy::http(url.expose()).map_err(malformed)?);
        }
        if let Some(url) = &self.proxy.https {
            let proxy = Proxy::https(url.expose()).map_err(malformed)?;
            proxies.push(proxy.headers(connect_headers));
        }
        Ok(proxies)
    }
}

/// Finds the addresses of one host whatever name is looked up.
struct AliasLookup {
    host: String,
    lookup: Arc<dyn Lookup>,
}

impl Lookup for AliasLookup {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        let literal = self.host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(ip) => Box::pin(std::future::ready(Ok(vec![SocketAddr::new(ip, 0)]))),
            Err(_) => self.lookup.lookup(self.host.clone()),
        }
    }
}
