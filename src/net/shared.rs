//! What the configurations of one process have in common, so that a thousand sites need not have
//! it a thousand times: HTTP clients with their connections and TLS sessions, and signers with
//! their credentials.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;

use super::aws::AwsError;
use super::client::ClientOptions;
use super::clients::ClientPool;
use super::error::Peer;
use super::identity::signing_identity;
use super::secrets::secrets;
use super::sign::Signer;
use crate::config::{ProxyConfig, SigV4, TlsConfig};
use crate::time::Clock;

/// Clients and signers that live as long as someone uses them. Names are looked up and time is
/// told as the first user of a client wants it: a process has one clock.
#[derive(Default)]
pub struct SharedClients {
    pools: std::sync::Mutex<Vec<(PoolKey, Weak<ClientPool>)>>,
    signers: Mutex<Vec<(SigV4, Weak<Signer>)>>,
}

/// The properties in which shared clients differ.
#[derive(Clone, PartialEq, Eq)]
struct PoolKey {
    tls: TlsConfig,
    proxy: ProxyConfig,
    connect_timeout: Duration,
    idle_timeout: Duration,
    peer: Peer,
}

impl SharedClients {
    /// The clients for a TLS and a proxy configuration.
    pub(super) fn pool(
        &self,
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        options: &ClientOptions,
        peer: Peer,
    ) -> Arc<ClientPool> {
        let key = PoolKey {
            tls: tls.clone(),
            proxy: proxy.clone(),
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            peer,
        };
        let mut pools = self
            .pools
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = find(&pools, &key) {
            return known;
        }
        let made = Arc::new(ClientPool::new(
            tls,
            proxy,
            options.clone(),
            peer,
            secrets(),
        ));
        pools.retain(|(_, pool)| pool.strong_count() > 0);
        pools.push((key, Arc::downgrade(&made)));
        made
    }

    /// The signer of a `sigv4` section. Reads AWS' files, and touches no network.
    ///
    /// # Errors
    /// Fails as [`signing_identity`] does.
    pub async fn signer(
        &self,
        sigv4: &SigV4,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Signer>, AwsError> {
        let mut signers = self.signers.lock().await;
        if let Some(known) = find(&signers, sigv4) {
            return Ok(known);
        }
        let identity = signing_identity(sigv4, clock).await?;
        let made = Arc::new(Signer::new(identity, &sigv4.service_name));
        signers.retain(|(_, signer)| signer.strong_count() > 0);
        signers.push((sigv4.clone(), Arc::downgrade(&made)));
        Ok(made)
    }
}

/// What is known by a key and still in use.
fn find<K: PartialEq, V>(known: &[(K, Weak<V>)], key: &K) -> Option<Arc<V>> {
    let (_, found) = known.iter().find(|(known, _)| known == key)?;
    found.upgrade()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, SecretPart, SecretSource};
    use crate::time::SystemClock;

    fn sigv4(role: Option<&str>) -> SigV4 {
        SigV4 {
            region: Some("eu-west-1".to_owned()),
            role_arn: role.map(str::to_owned),
            access_key: None,
            secret_key: None,
            profile: None,
            external_id: None,
            use_fips_sts_endpoint: false,
            service_name: "aps".to_owned(),
            site_role_arn: None,
        }
    }

    #[test]
    fn sites_with_the_same_settings_have_one_pool_and_others_do_not() {
        let shared = SharedClients::default();
        let (tls, proxy) = (TlsConfig::default(), ProxyConfig::default());
        let options = ClientOptions::default();
        let pool = |tls: &TlsConfig, options: &ClientOptions, peer| {
            shared.pool(tls, &proxy, options, peer)
        };
        let first = pool(&tls, &options, Peer::Home);
        assert!(Arc::ptr_eq(&first, &pool(&tls, &options, Peer::Home)));
        let own_ca = TlsConfig {
            ca: Some(SecretSource::Inline(vec![SecretPart::Text(Secret::new(
                "ca",
            ))])),
            ..TlsConfig::default()
        };
        let hasty = ClientOptions {
            connect_timeout: Duration::from_secs(1),
            ..ClientOptions::default()
        };
        for other in [
            pool(&own_ca, &options, Peer::Home),
            pool(&tls, &hasty, Peer::Home),
            pool(&tls, &options, Peer::Remote),
        ] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[test]
    fn what_nobody_uses_any_more_is_forgotten() {
        let shared = SharedClients::default();
        let options = ClientOptions::default();
        let pool = |seconds| {
            let options = ClientOptions {
                idle_timeout: Duration::from_secs(seconds),
                ..options.clone()
            };
            let (tls, proxy) = (TlsConfig::default(), ProxyConfig::default());
            shared.pool(&tls, &proxy, &options, Peer::Home)
        };
        let kept = pool(1);
        for seconds in 2..100 {
            drop(pool(seconds));
        }
        assert_eq!(
            shared.pools.lock().unwrap().len(),
            2,
            "one lives, one is the last"
        );
        assert!(Arc::ptr_eq(&kept, &pool(1)));
    }

    #[tokio::test]
    async fn remotes_with_the_same_identity_have_one_signer() {
        let shared = SharedClients::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let signer = async |sigv4: &SigV4| shared.signer(sigv4, &clock).await.unwrap();
        let first = signer(&sigv4(None)).await;
        assert!(Arc::ptr_eq(&first, &signer(&sigv4(None)).await));
        let role = signer(&sigv4(Some("arn:aws:iam::111122223333:role/tokyo"))).await;
        assert!(!Arc::ptr_eq(&first, &role));
    }
}
