//! Reads the HTTP client configuration; errors are worded as Prometheus 3.5 words them.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::super::keys::{AUTHORIZATION, BASIC_AUTH, HTTP_HEADER, OAUTH2, TLS};
use super::super::problem::shown;
use super::super::reader::{Reader, Section, Text};
use super::super::secret::{Secret, SecretSource};
use super::model::{Auth, HttpConfig, HttpHeader, OAuth2, TlsConfig, TlsVersion};
use super::proxy::ProxyConfig;

// common config/headers.go ReservedHeaders
const RESERVED: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

/// Reads the keys that stand inline in a job or a remote. // common config/http_config.go
/// HTTPClientConfig.Validate
pub(in super::super) fn read_http(reader: &mut Reader<'_>, section: &Section<'_>) -> HttpConfig {
    reader.boolean(section, "enable_http2");
    HttpConfig {
        auth: read_auth(reader, section),
        tls: read_tls(reader, section),
        proxy: read_proxy(reader, section),
        follow_redirects: reader.boolean(section, "follow_redirects").unwrap_or(true),
        headers: read_headers(reader, section),
    }
}

/// The key that messages name: a bearer token is an authorization.
pub(in super::super) fn auth_name(auth: &Auth) -> &'static str {
    match auth {
        Auth::Basic { .. } => "basic_auth",
        Auth::Authorization { .. } => "authorization",
        Auth::OAuth2(_) => "oauth2",
    }
}

fn read_auth(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
    let basic = reader
        .entry(section, "basic_auth")
        .map(|entry| reader.section(&entry.value, section.path_of("basic_auth"), &BASIC_AUTH));
    let authorization = reader.entry(section, "authorization").map(|entry| {
        reader.section(
            &entry.value,
            section.path_of("authorization"),
            &AUTHORIZATION,
        )
    });
    let oauth2 = reader
        .entry(section, "oauth2")
        .map(|entry| reader.section(&entry.value, section.path_of("oauth2"), &OAUTH2));
    let token = reader.secret(section, "bearer_token");
    let token_file = reader.file(section, "bearer_token_file");

    let bearer = if token.is_some() {
        "bearer_token"
    } else {
        "bearer_token_file"
    };
    let has_bearer = token.is_some() || token_file.is_some();
    let clash = if token.is_some() && token_file.is_some() {
        Some((
            bearer,
            "at most one of bearer_token & bearer_token_file must be configured",
        ))
    } else if (basic.is_some() || oauth2.is_some()) && has_bearer {
        Some((
            bearer,
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
        ))
    } else if authorization.is_some() && has_bearer {
        Some((
            bearer,
            "authorization is not compatible with bearer_token & bearer_token_file",
        ))
    } else if authorization.is_some() && (basic.is_some() || oauth2.is_some()) {
        Some((
            "authorization",
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ))
    } else if oauth2.is_some() && basic.is_some() {
        Some((
            "oauth2",
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ))
    } else {
        None
    };
    if let Some((key, message)) = clash {
        reader.error_at(&section.path_of(key), message, "remove all but one");
    }

    if let Some(section) = basic {
        const USERNAMES: &str =
            "at most one of basic_auth username, username_file & username_ref must be configured";
        const PASSWORDS: &str =
            "at most one of basic_auth password, password_file & password_ref must be configured";
        let username = reader
            .string(&section, "username", Text::Plain)
            .filter(|name| !name.is_empty())
            .map(SecretSource::text);
        return Some(Auth::Basic {
            username: or_file(reader, &section, username, "username_file", USERNAMES),
            password: secret_or_file(reader, &section, "password", "password_file", PASSWORDS),
        });
    }
    if let Some(section) = authorization {
        return Some(read_authorization(reader, &section));
    }
    if let Some(section) = oauth2 {
        return read_oauth2(reader, &section);
    }
    let credentials = token.or(token_file)?;
    Some(Auth::Authorization {
        scheme: "Bearer".into(),
        credentials: Some(credentials),
    })
}

fn read_authorization(reader: &mut Reader<'_>, section: &Section<'_>) -> Auth {
    const BOTH: &str =
        "at most one of authorization credentials & credentials_file must be configured";
    let scheme = reader
        .string(section, "type", Text::Plain)
        .unwrap_or_default()
        .trim()
        .to_owned();
    let path = section.path_of("type");
    if scheme.eq_ignore_ascii_case("basic") {
        reader.error_at(
            &path,
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            "",
        );
    } else if HeaderValue::from_str(&scheme).is_err() {
        reader.error_at(
            &path,
            "found control characters in the type of an authorization",
            "write a word such as Bearer",
        );
    }
    Auth::Authorization {
        scheme: if scheme.is_empty() {
            "Bearer".into()
        } else {
            scheme
        },
        credentials: secret_or_file(reader, section, "credentials", "credentials_file", BOTH),
    }
}

fn read_oauth2(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
    const SECRETS: &str = "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured";
    let client_id = reader
        .string(section, "client_id", Text::Plain)
        .unwrap_or_default();
    if client_id.is_empty() {
        reader.error_at(
            &section.path_of("client_id"),
            "oauth2 client_id must be configured",
            "",
        );
    }
    let path = section.path_of("token_url");
    let token_url = match reader
        .string(section, "token_url", Text::Hidden)
        .filter(|url| !url.is_empty())
    {
        None => {
            reader.error_at(&path, "oauth2 token_url must be configured", "");
            None
        }
        Some(text) => match Url::parse(&text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none() =>
            {
                Some(url)
            }
            _ => {
                reader.error_at(
                    &path,
                    "found no address of a token server",
                    "write https://host/path, without credentials",
                );
                None
            }
        },
    };
    Some(Auth::OAuth2(Box::new(OAuth2 {
        client_id,
        client_secret: secret_or_file(
            reader,
            section,
            "client_secret",
            "client_secret_file",
            SECRETS,
        ),
        scopes: reader
            .strings(section, "scopes", Text::Plain)
            .into_iter()
            .map(|(scope, _)| scope)
            .collect(),
        endpoint_params: {
            let params: BTreeMap<_, _> =
                reader.string_map(section, "endpoint_params", Text::Hidden);
            params
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect()
        },
        tls: read_tls(reader, section),
        proxy: read_proxy(reader, section),
        token_url: token_url?,
    })))
}

fn secret_or_file(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    file: &str,
    both: &str,
) -> Option<SecretSource> {
    let inline = reader.secret(section, key);
    or_file(reader, section, inline, file, both)
}

fn or_file(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    inline: Option<SecretSource>,
    file: &str,
    both: &str,
) -> Option<SecretSource> {
    let in_file = reader.file(section, file);
    if inline.is_some() && in_file.is_some() {
        reader.error_at(&section.path_of(file), both, "remove one");
    }
    inline.or(in_file)
}

// common config/http_config.go TLSConfig.Validate
fn read_tls(reader: &mut Reader<'_>, section: &Section<'_>) -> TlsConfig {
    let Some(entry) = reader.entry(section, "tls_config") else {
        return TlsConfig::default();
    };
    let section = reader.section(&entry.value, section.path_of("tls_config"), &TLS);
    let before = reader.problems.len();
    let tls = TlsConfig {
        ca: secret_or_file(
            reader,
            &section,
            "ca",
            "ca_file",
            "at most one of ca, ca_file & ca_ref must be configured",
        ),
        cert: secret_or_file(
            reader,
            &section,
            "cert",
            "cert_file",
            "at most one of cert, cert_file & cert_ref must be configured",
        ),
        key: secret_or_file(
            reader,
            &section,
            "key",
            "key_file",
            "at most one of key and key_file must be configured",
        ),
        server_name: reader
            .string(&section, "server_name", Text::Plain)
            .filter(|name| !name.is_empty()),
        insecure_skip_verify: reader
            .boolean(&section, "insecure_skip_verify")
            .unwrap_or(false),
        min_version: read_version(reader, &section, "min_version"),
        max_version: read_version(reader, &section, "max_version"),
    };
    if reader.problems.len() > before {
        return tls;
    }
    if tls.cert.is_some() && tls.key.is_none() {
        let message = "exactly one of key or key_file must be configured when a client certificate is configured";
        reader.error_at(&section.path, message, "add key_file");
    } else if tls.key.is_some() && tls.cert.is_none() {
        let message =
            "exactly one of cert or cert_file must be configured when a client key is configured";
        reader.error_at(&section.path, message, "add cert_file");
    }
    if let (Some(lowest), Some(highest)) = (tls.min_version, tls.max_version)
        && highest < lowest
    {
        let message = "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified";
        reader.error_at(&section.path_of("max_version"), message, "");
    }
    if let Some(name) = &tls.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        reader.error_at(
            &section.path_of("server_name"),
            format!(
                "found {}, expected a host name or an IP address",
                shown(name)
            ),
            "",
        );
    }
    tls
}

fn read_version(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<TlsVersion> {
    let version = reader.string(section, key, Text::Plain)?;
    match version.as_str() {
        "TLS13" => Some(TlsVersion::Tls13),
        "TLS12" => Some(TlsVersion::Tls12),
        // A lower bound below what is spoken excludes nothing.
        "TLS10" | "TLS11" if key == "min_version" => Some(TlsVersion::Tls12),
        "TLS10" | "TLS11" => {
            let message =
                format!("not supported: {version} is not spoken here, as browsers do not any more");
            reader.error_at(
                &section.path_of(key),
                message,
                "let the server speak TLS 1.2 or 1.3",
            );
            None
        }
        _ => {
            reader.error_at(
                &section.path_of(key),
                format!("unknown TLS version: {}", shown(&version)),
                "write TLS12 or TLS13",
            );
            None
        }
    }
}

// common config/http_config.go ProxyConfig.Validate
fn read_proxy(reader: &mut Reader<'_>, section: &Section<'_>) -> ProxyConfig {
    let url = reader
        .string(section, "proxy_url", Text::Hidden)
        .filter(|url| !url.is_empty())
        .map(Secret::new);
    let no_proxy = reader
        .string(section, "no_proxy", Text::Plain)
        .unwrap_or_default();
    let from_environment = reader
        .boolean(section, "proxy_from_environment")
        .unwrap_or(false);
    let connect_headers = read_connect_headers(reader, section);
    let error = if !connect_headers.is_empty() && !from_environment && url.is_none() {
        Some((
            "proxy_connect_header",
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
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
        // golang.org/x/net/http/httpproxy FromEnvironment
        let first = |names: [&str; 2]| {
            names
                .into_iter()
                .find_map(|name| reader.environment(name).filter(|value| !value.is_empty()))
        };
        let [http, https] = [["HTTP_PROXY", "http_proxy"], ["HTTPS_PROXY", "https_proxy"]]
            .map(|names| first(names).map(|url| proxy_address(&url)));
        let no_proxy = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        for proxy in [&http, &https].into_iter().flatten() {
            check_proxy(reader, proxy, &section.path_of("proxy_from_environment"));
        }
        return ProxyConfig {
            http,
            https,
            no_proxy,
            spares_loopback: true,
            connect_headers,
        };
    }
    if let Some(proxy) = &url {
        check_proxy(reader, proxy, &section.path_of("proxy_url"));
    }
    ProxyConfig {
        http: url.clone(),
        https: url,
        spares_loopback: !no_proxy.is_empty(),
        no_proxy,
        connect_headers,
    }
}

/// In the environment, `host:port` is `http://host:port`. // httpproxy parseProxy
fn proxy_address(text: &str) -> Secret {
    Secret::new(if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    })
}

fn check_proxy(reader: &mut Reader<'_>, proxy: &Secret, path: &str) {
    let usable = Url::parse(proxy.expose())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !usable {
        reader.error_at(
            path,
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
        reader.place(&path, entry);
        let values = reader.secret_items(&entry.value, &path, false);
        check_header(reader, &path, &entry.key, &values);
        headers.extend(values.into_iter().map(|value| (entry.key.clone(), value)));
    }
    headers
}

// common config/headers.go Headers.Validate
fn read_headers(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<HttpHeader> {
    let path = section.path_of("http_headers");
    let mut headers = Vec::new();
    for entry in reader.entries(section, "http_headers") {
        let path = format!("{path}.{}", entry.key);
        reader.place(&path, entry);
        let section = reader.section(&entry.value, path.clone(), &HTTP_HEADER);
        let mut values = reader.secrets(&section, "values", false);
        values.extend(reader.secrets(&section, "secrets", false));
        values.extend(reader.secrets(&section, "files", true));
        if RESERVED
            .iter()
            .any(|reserved| reserved.eq_ignore_ascii_case(&entry.key))
        {
            let instead = if entry.key.eq_ignore_ascii_case("authorization") {
                "use basic_auth, authorization or oauth2"
            } else {
                "remove it"
            };
            reader.error_at(
                &path,
                format!(
                    "setting header {} is not allowed",
                    shown(&canonical(&entry.key))
                ),
                instead,
            );
        } else {
            check_header(reader, &path, &entry.key, &values);
        }
        headers.push(HttpHeader {
            name: entry.key.clone(),
            values,
        });
    }
    headers
}

fn check_header(reader: &mut Reader<'_>, path: &str, name: &str, values: &[SecretSource]) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        reader.error_at(
            path,
            format!("found {}, expected the name of a header", shown(name)),
            "letters, digits and dashes",
        );
    }
    if values
        .iter()
        .filter_map(SecretSource::constant)
        .any(|value| HeaderValue::from_str(value.expose()).is_err())
    {
        reader.error_at(
            path,
            "found control characters in the value of a header",
            "remove line breaks",
        );
    }
}

// Go net/textproto CanonicalMIMEHeaderKey
fn canonical(name: &str) -> String {
    let mut upper = true;
    let letters = name.chars().map(|letter| {
        let written = if upper {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        };
        upper = letter == '-';
        written
    });
    letters.collect()
}
