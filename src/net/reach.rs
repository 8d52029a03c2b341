//! Where a redirect may lead. A server that we ask could otherwise send our requests to programs
//! that listen only for their own machine: Lambda's runtime API on the loopback network, or the
//! credentials service on the link-local one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::{Host, Url};

use super::resolve::Lookup;

/// The cause of an error that this module makes.
pub(super) const REFUSED: &str =
    "it redirects to a loopback or link-local address, and has no such address itself";

/// The hint that belongs to [`REFUSED`].
pub(super) const REFUSED_HINT: &str =
    "find out why it does; if the redirect is right, name that address in the configuration";

/// Kinds of addresses that only the same machine or its hypervisor answers at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct LocalKinds {
    loopback: bool,
    link_local: bool,
}

impl LocalKinds {
    fn of(ip: IpAddr) -> Self {
        match embedded(ip) {
            IpAddr::V4(ip) => Self {
                // A connection to 0.0.0.0 reaches the own machine.
                loopback: ip.is_loopback() || ip.octets()[0] == 0,
                link_local: ip.is_link_local(),
            },
            IpAddr::V6(ip) => Self {
                loopback: ip.is_loopback() || ip.is_unspecified(),
                // fd00:ec2::/32 is where AWS' own services are in a VPC with IPv6.
                link_local: ip.is_unicast_link_local() || ip.segments()[..2] == [0xfd00, 0x0ec2],
            },
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            loopback: self.loopback || other.loopback,
            link_local: self.link_local || other.link_local,
        }
    }

    /// Whether a redirect may lead to this address, from a server at addresses of these kinds.
    fn permits(self, ip: IpAddr) -> bool {
        let kinds = Self::of(ip);
        (self.loopback || !kinds.loopback) && (self.link_local || !kinds.link_local)
    }

    /// Whether a redirect may lead to this URL, as far as its text says. A name is looked up with
    /// [`GuardedLookup`].
    pub(super) fn permits_url(self, url: &Url) -> bool {
        literal(url).is_none_or(|ip| self.permits(ip))
    }
}

/// The IPv4 address within an IPv6 one that stands for it: mapped, or translated (RFC 6052).
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
        }
        _ => Ipv6Addr::from(v6.octets()).into(),
    }
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
    }
}

/// The kinds of the addresses that a server has. One that cannot be looked up has none.
pub(super) async fn kinds_of(url: &Url, lookup: &dyn Lookup) -> LocalKinds {
    if let Some(ip) = literal(url) {
        return LocalKinds::of(ip);
    }
    let found = lookup.lookup(url.host_str().unwrap_or_default().to_owned());
    found
        .await
        .unwrap_or_default()
        .into_iter()
        .map(|address| LocalKinds::of(address.ip()))
        .fold(LocalKinds::default(), LocalKinds::join)
}

/// Finds the addresses of a name, unless a redirect may not lead there.
pub(super) struct GuardedLookup {
    pub(super) permitted: LocalKinds,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Lookup for GuardedLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let (permitted, found) = (self.permitted, self.lookup.lookup(host));
        Box::pin(async move {
            let found = found.await?;
            if found.iter().all(|address| permitted.permits(address.ip())) {
                Ok(found)
            } else {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, REFUSED))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_no_address_of_a_kind_that_the_server_does_not_have() {
        let at = |text: &str| LocalKinds::of(text.parse().unwrap());
        let (public, loopback, link_local) = (at("10.0.0.5"), at("127.0.0.1"), at("169.254.1.1"));
        for (to, permitted) in [
            ("http://10.0.0.1/", [true, true, true]),
            ("http://[2001:db8::1]/", [true, true, true]),
            ("http://prom.home/", [true, true, true]),
            ("http://127.0.0.1:9001/", [false, true, false]),
            ("http://2130706433/", [false, true, false]),
            ("http://0/", [false, true, false]),
            ("http://[::1]/", [false, true, false]),
            ("http://[::ffff:127.0.0.1]/", [false, true, false]),
            ("http://[64:ff9b::7f00:1]/", [false, true, false]),
            ("http://169.254.169.254/latest/", [false, false, true]),
            ("http://[fe80::1]/", [false, false, true]),
            ("http://[fd00:ec2::254]/", [false, false, true]),
        ] {
            let url = to.parse().unwrap();
            let found = [public, loopback, link_local].map(|from| from.permits_url(&url));
            assert_eq!(found, permitted, "{to}");
        }
    }
}
