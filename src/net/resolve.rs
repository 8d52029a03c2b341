//! Name resolution by the operating system. Its error differs from that of a failed connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::progress::{self, RequestStep};

/// A source of the addresses of host names.
pub trait Lookup: Send + Sync {
    /// Returns all addresses of `host`. Their ports are ignored.
    ///
    /// # Errors
    /// The error of the system, for example `NotFound`. No addresses count as an error, too.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's `getaddrinfo`, on tokio's blocking threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// A name that could not be resolved.
#[derive(Debug)]
pub(super) struct DnsError {
    pub(super) host: String,
    pub(super) source: io::Error,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}: {}", self.host, self.source)
    }
}

impl std::error::Error for DnsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A [`Lookup`] in the form that reqwest needs.
pub(super) struct Resolver {
    lookup: Arc<dyn Lookup>,
    /// Number of look-ups so far.
    turn: Arc<AtomicUsize>,
}

impl Resolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            lookup,
            turn: Arc::new(AtomicUsize::new(0)),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let lookup = self.lookup.lookup(host.clone());
        let turn = Arc::clone(&self.turn);
        let progress = progress::current();
        Box::pin(async move {
            progress.enter(RequestStep::Resolving);
            let addresses = match lookup.await {
                Ok(found) if found.is_empty() => Err(DnsError {
                    host,
                    source: io::Error::new(io::ErrorKind::NotFound, "no addresses"),
                }),
                Ok(found) => Ok(found),
                Err(source) => Err(DnsError { host, source }),
            }?;
            progress.enter(RequestStep::Connecting);
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(rotate(addresses, turn).into_iter()) as Addrs)
        })
    }
}

/// Orders the addresses of a name so that each connection starts with another one of the preferred
/// family. Then one dead address (for example an endpoint's zone) fails every n-th try and not all
/// of them: hyper races the families, but goes down the list within one.
fn rotate(addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut preferred, mut other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    for family in [&mut preferred, &mut other] {
        if !family.is_empty() {
            let by = turn % family.len();
            family.rotate_left(by);
        }
    }
    preferred.append(&mut other);
    preferred
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rotation_keeps_the_preferred_family_first_and_loses_none() {
        let all = ["[::1]:0", "10.0.0.1:0", "[::2]:0", "10.0.0.2:0"]
            .map(address)
            .to_vec();
        assert_eq!(
            rotate(all.clone(), 0),
            ["[::1]:0", "[::2]:0", "10.0.0.1:0", "10.0.0.2:0"].map(address)
        );
        assert_eq!(
            rotate(all.clone(), 1),
            ["[::2]:0", "[::1]:0", "10.0.0.2:0", "10.0.0.1:0"].map(address)
        );
        assert_eq!(
            rotate(all, 2),
            ["[::1]:0", "[::2]:0", "10.0.0.1:0", "10.0.0.2:0"].map(address)
        );
        assert_eq!(rotate(Vec::new(), 3), Vec::<SocketAddr>::new());
    }
}
