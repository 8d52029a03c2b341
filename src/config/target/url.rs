//! The URL of a target, written as Go writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use url::form_urlencoded::Serializer;
use url::{Host, Url};

use super::error::TargetError;

/// Makes the URL of a target's relabelled labels. // scrape/target.go URL, net/url String
///
/// The path cannot reach the host: it gets its slash, and everything in it that a path cannot hold
/// is escaped, as is a `?`. Dot segments (`/a/../b`) are resolved; Go sends them as they are.
pub(super) fn target_url(
    scheme: &str,
    address: &str,
    path: &str,
    params: &BTreeMap<String, Vec<String>>,
) -> Result<Url, TargetError> {
    // Go's client takes a scheme in any case (net/url getScheme).
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(TargetError::Scheme(scheme));
    }
    let mut url = host_url(&scheme, address).map_err(|cause| TargetError::Address {
        address: shown_address(address),
        cause,
    })?;
    url.set_path(&escaped_path(path));
    url.set_query(query(params).as_deref());
    Ok(url)
}

/// The URL of an address, without a path. The error says what is wrong with the address.
fn host_url(scheme: &str, address: &str) -> Result<Url, String> {
    // Go escapes these and then refuses the escape (net/url escape, unescape, mode encodeHost).
    // Here some would end the host, and some would vanish.
    let stray = |c: char| c.is_ascii_control() || " /\\?#@%".contains(c);
    if let Some(c) = address.chars().find(|c| stray(*c)) {
        return Err(format!("found {c:?} in it, expected host:port"));
    }
    // Go dials an empty host as the local one (net Dialer).
    let local = if address.starts_with(':') {
        "localhost"
    } else {
        ""
    };
    let url = Url::parse(&format!("{scheme}://{local}{address}/"))
        .map_err(|error| format!("{error}, expected host:port"))?;
    // `192.168.010.5` and `1.2` are other addresses in a browser, and names for Go.
    if let Some(Host::Ipv4(ip)) = url.host() {
        let host = address.split(':').next().unwrap_or_default();
        if host != ip.to_string() {
            return Err(
                "an IPv4 address has four decimal numbers without leading zeros".to_owned(),
            );
        }
    }
    Ok(url)
}

/// config/config.go `CheckTargetAddress`
pub(in crate::config) fn checked_address(address: &str) -> Result<&str, TargetError> {
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    if address.contains('/') {
        return Err(TargetError::Hostname(shown_address(address)));
    }
    Ok(address)
}

/// An address as errors show it. One with an `@` may hold a password.
fn shown_address(address: &str) -> String {
    if address.contains('@') {
        "the address".to_owned()
    } else {
        format!("{address:?}")
    }
}

/// A path that starts with a slash and is escaped. // net/url shouldEscape, mode encodePath
fn escaped_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        escaped.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The parameters, sorted by key as Go's `url.Values.Encode` sorts them.
fn query(params: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let mut query = Serializer::new(String::new());
    for (name, values) in params {
        for value in values {
            query.append_pair(name, value);
        }
    }
    Some(query.finish()).filter(|query| !query.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(address: &str, path: &str) -> String {
        match target_url("http", address, path, &BTreeMap::new()) {
            Ok(url) => url.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Each was asked of Prometheus 3.5.
    #[test]
    fn a_path_is_a_path_whatever_is_in_it() {
        for (path, url) in [
            ("federate", "http://h:1/federate"),
            ("/federate", "http://h:1/federate"),
            ("//federate", "http://h:1//federate"),
            ("", "http://h:1/"),
            ("@evil/x", "http://h:1/@evil/x"),
            (".evil/x", "http://h:1/.evil/x"),
            (":2/x", "http://h:1/:2/x"),
            ("/a?match[]=up", "http://h:1/a%3Fmatch%5B%5D=up"),
            ("/a#b c%2F", "http://h:1/a%23b%20c%252F"),
            ("\\\\evil", "http://h:1/%5C%5Cevil"),
            ("/é", "http://h:1/%C3%A9"),
        ] {
            assert_eq!(made("h:1", path), url, "{path}");
        }
        assert_eq!(made("home", "federate"), "http://home/federate");
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, url) in [
            ("h", "http://h/"),
            ("H:", "http://h/"),
            ("192.168.1.3:9090", "http://192.168.1.3:9090/"),
            ("[2001:db8::1]:9090", "http://[2001:db8::1]:9090/"),
            (":9090", "http://localhost:9090/"),
            ("münchen:1", "http://xn--mnchen-3ya:1/"),
        ] {
            assert_eq!(made(address, ""), url, "{address}");
        }
        for (address, cause) in [
            ("192.168.1.300:9090", "invalid IPv4 address"),
            ("192.168.010.5:9090", "four decimal numbers"),
            ("3232235777", "four decimal numbers"),
            ("a:99999", "invalid port number"),
            ("a:x", "invalid port number"),
            ("a:1 ", "found ' ' in it"),
            ("a\t:1", "found '\\t' in it"),
            ("a\\b", "found '\\\\' in it"),
            ("a?b", "found '?' in it"),
            ("a%41", "found '%' in it"),
        ] {
            let error = made(address, "");
            assert!(
                error.contains(cause) && error.contains(&format!("{address:?}")),
                "{error}"
            );
        }
        let error = made("user:hunter2@h:1", "");
        assert!(
            error.contains("found '@'") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn a_scheme_is_http_or_https_in_any_case() {
        let url = |scheme| target_url(scheme, "h", "", &BTreeMap::new());
        assert_eq!(url("HTTPS").unwrap().as_str(), "https://h/");
        assert_eq!(url("ftp"), Err(TargetError::Scheme("ftp".to_owned())));
    }

    proptest! {
        /// Whatever the path and the parameters are, the host is the one of the address.
        #[test]
        fn only_the_address_chooses_the_host(path in "\\PC{0,20}", value in "\\PC{0,20}") {
            let params = BTreeMap::from([(value.clone(), vec![value])]);
            let url = target_url("http", "home:9090", &path, &params).unwrap();
            prop_assert_eq!((url.host_str(), url.port()), (Some("home"), Some(9090)));
            prop_assert_eq!(url.fragment(), None);
        }
    }
}
