//! `proxy_url`, `no_proxy`, `proxy_from_environment` and `proxy_connect_header`.

use url::Url;

use super::super::proxy::ProxyConfig;
use super::headers::check_header;
use crate::config::reader::{Reader, Section, StringKind};
use crate::config::secret::{Secret, SecretSource};

/// Reads the settings of a proxy. // common config/http_config.go ProxyConfig.Validate
pub(super) fn read_proxy(reader: &mut Reader<'_>, section: &Section<'_>) -> ProxyConfig {
    let url = reader
        .filled_string(section, "proxy_url", StringKind::Hidden)
        .map(Secret::new);
    let no_proxy = reader
        .string(section, "no_proxy", StringKind::Plain)
        .unwrap_or_default();
    let from_environment = reader
        .boolean(section, "proxy_from_environment")
        .unwrap_or(false);
    let connect_headers = read_connect_headers(reader, section);
    let error = if !connect_headers.is_empty() && !from_environment && url.is_none() {
        Some((
            "proxy_connect_header",
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment \
             must also be configured",
        ))
    } else if from_environment && url.is_some() {
        Some((
            "proxy_from_environment",
            "if proxy_from_environment is configured, proxy_url must not be configured",
        ))
    } else if from_environment && !no_proxy.is_empty() {
        Some((
            "proxy_from_environment",
            "if proxy_from_environment is configured, no_proxy must not be configured",
        ))
    } else if url.is_none() && !no_proxy.is_empty() {
        Some((
            "no_proxy",
            "if no_proxy is configured, proxy_url must also be configured",
        ))
    } else {
        None
    };
    if let Some((key, message)) = error {
        reader.error_at(&section.path_of(key), message, "");
    }
    if from_environment {
        let path = section.path_of("proxy_from_environment");
        return ProxyConfig {
            connect_headers,
            ..from_the_environment(reader, &path)
        };
    }
    if let Some(proxy) = &url {
        let leave = ["proxy_url", "no_proxy", "proxy_connect_header"];
        let leave = leave.map(|key| section.path_of(key)).to_vec();
        check_proxy(reader, proxy, &section.path_of("proxy_url"), leave);
    }
    ProxyConfig {
        http: url.clone(),
        https: url,
        spares_loopback: !no_proxy.is_empty(),
        no_proxy,
        connect_headers,
    }
}

/// The proxies of the environment, whose variables may be in upper or lower case. //
/// golang.org/x/net/http/httpproxy FromEnvironment
fn from_the_environment(reader: &mut Reader<'_>, path: &str) -> ProxyConfig {
    let first = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| reader.environment(name).filter(|value| !value.is_empty()))
    };
    let http = first(["HTTP_PROXY", "http_proxy"]).map(|url| proxy_address(&url));
    let https = first(["HTTPS_PROXY", "https_proxy"]).map(|url| proxy_address(&url));
    let no_proxy = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    for proxy in [&http, &https].into_iter().flatten() {
        check_proxy(reader, proxy, path, vec![path.to_owned()]);
    }
    ProxyConfig {
        http,
        https,
        no_proxy,
        spares_loopback: true,
        connect_headers: Vec::new(),
    }
}

/// The URL of a proxy of the environment, where `host:port` means `http://host:port`. // httpproxy
/// parseProxy
fn proxy_address(text: &str) -> Secret {
    Secret::new(if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    })
}

fn check_proxy(reader: &mut Reader<'_>, proxy: &Secret, path: &str, leave: Vec<String>) {
    let usable = Url::parse(proxy.expose())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !usable {
        reader.refuse_at(
            path,
            leave,
            "found no address of a proxy that speaks HTTP",
            "write http://host:port; SOCKS proxies are not supported",
        );
    }
}

fn read_connect_headers(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
) -> Vec<(String, SecretSource)> {
    let path = section.path_of("proxy_connect_header");
    let mut headers = Vec::new();
    for entry in reader.entries(section, "proxy_connect_header") {
        let path = format!("{path}.{}", entry.key);
        reader.remember(&path, entry);
        let values = reader.secret_items(&entry.value, &path, false);
        check_header(reader, &path, &entry.key, &values);
        headers.extend(values.into_iter().map(|value| (entry.key.clone(), value)));
    }
    headers
}
