//! Decides which requests go through a proxy.

use std::net::IpAddr;

use url::{Host, Url};

use super::super::secret::{Secret, SecretSource};

/// Proxies from `proxy_url` or from the environment, and their exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// URL of the proxy for `http` addresses. It may hold a password.
    pub http: Option<Secret>,
    /// URL of the proxy for `https` addresses. It may hold a password.
    pub https: Option<Secret>,
    /// Hosts that are connected to directly, as written.
    pub no_proxy: String,
    /// Whether loopback addresses are always connected to directly. As in Go, they are with
    /// `no_proxy` or with proxies from the environment.
    pub spares_loopback: bool,
    /// Headers of `CONNECT` requests.
    pub connect_headers: Vec<(String, SecretSource)>,
}

impl ProxyConfig {
    /// The proxy for an address, if there is one.
    #[must_use]
    pub fn for_url(&self, url: &Url) -> Option<&Secret> {
        let proxy = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        proxy.as_ref().filter(|_| !self.is_direct(url))
    }

    // golang.org/x/net/http/httpproxy config.useProxy
    fn is_direct(&self, url: &Url) -> bool {
        let (name, ip) = match url.host() {
            None => return true,
            Some(Host::Domain(name)) => (name.trim_end_matches('.').to_ascii_lowercase(), None),
            Some(Host::Ipv4(ip)) => (ip.to_string(), Some(IpAddr::V4(ip))),
            Some(Host::Ipv6(ip)) => (ip.to_string(), Some(IpAddr::V6(ip))),
        };
        if self.spares_loopback && (name == "localhost" || ip.is_some_and(|ip| ip.is_loopback())) {
            return true;
        }
        let port = url.port_or_known_default();
        self.no_proxy
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .any(|entry| matches(&entry.to_ascii_lowercase(), &name, ip, port))
    }
}

/// Whether an entry of `no_proxy` names a host and port.
fn matches(entry: &str, name: &str, ip: Option<IpAddr>, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse(), bits.parse())
    {
        return ip.is_some_and(|ip| contains(network, bits, ip));
    }
    // `host:port`, `[v6]:port` or `[v6]`; more than one colon without brackets is an IPv6 address.
    let (host, wanted) = match entry.rsplit_once(':') {
        Some((host, wanted)) if !host.contains(':') || host.ends_with(']') => {
            (host, wanted.parse::<u16>().ok())
        }
        _ => (entry, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if wanted.is_some() && wanted != port {
        return false;
    }
    if let Ok(wanted) = host.parse::<IpAddr>() {
        return ip == Some(wanted);
    }
    // `.home.lan` and `*.home.lan` are below it, `home.lan` is it and below it.
    let below = host.strip_prefix('*').unwrap_or(host);
    match below.strip_prefix('.') {
        Some(domain) => !domain.is_empty() && name.ends_with(below),
        None => {
            !below.is_empty()
                && (name == below
                    || name
                        .strip_suffix(below)
                        .is_some_and(|rest| rest.ends_with('.')))
        }
    }
}

fn contains(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
    };
    match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of golang.org/x/net/http/httpproxy's own test, and some more.
    #[test]
    fn who_is_asked_directly() {
        let proxy = ProxyConfig {
            http: Some(Secret::new("http://proxy:3128")),
            https: Some(Secret::new("http://proxy:3129")),
            no_proxy: "foobar.com, .barbaz.net, \
                *.wild.net,192.168.1.1,10.0.0.0/8,192.168.1.2:81,\
                home.lan:9090,[2001:db8::52:0:1],2001:db8::52:0:3,\
                [2002:db8:a::45]:443,2001:db8:ffff::/48"
                .into(),
            spares_loopback: true,
            connect_headers: Vec::new(),
        };
        for (url, direct) in [
            ("http://localhost/", true),
            ("http://127.0.0.1/", true),
            ("http://127.0.0.2/", true),
            ("http://[::1]/", true),
            ("http://192.168.1.1/", true),
            ("http://192.168.1.2/", false),
            ("http://192.168.1.2:81/", true),
            ("http://192.168.1.3/", false),
            ("http://10.0.0.2/", true),
            ("http://11.0.0.2/", false),
            ("http://[2001:db8::52:0:1]/", true),
            ("http://[2001:db8::52:0:2]/", false),
            ("http://[2001:db8::52:0:3]/", true),
            ("https://[2002:db8:a::45]/", true),
            ("http://[2002:db8:a::45]/", false),
            ("http://[2001:db8:ffff:1::1]/", true),
            ("http://www.barbaz.net/", true),
            ("http://barbaz.net/", false),
            ("http://foobar.com/", true),
            ("http://www.foobar.com/", true),
            ("http://foofoobar.com/", false),
            ("http://a.wild.net/", true),
            ("http://wild.net/", false),
            ("http://FOOBAR.com./", true),
            ("http://home.lan:9090/", true),
            ("http://home.lan:9091/", false),
        ] {
            let url = url.parse().unwrap();
            assert_eq!(proxy.for_url(&url).is_none(), direct, "{url}");
        }
        let https = proxy
            .for_url(&"https://example.org/".parse().unwrap())
            .unwrap();
        assert_eq!(https.expose(), "http://proxy:3129");
        let always = ProxyConfig {
            no_proxy: String::new(),
            spares_loopback: false,
            ..proxy.clone()
        };
        assert!(
            always
                .for_url(&"http://localhost/".parse().unwrap())
                .is_some()
        );
        let never = ProxyConfig {
            no_proxy: "*".into(),
            ..proxy
        };
        assert!(
            never
                .for_url(&"http://example.org/".parse().unwrap())
                .is_none()
        );
    }
}
