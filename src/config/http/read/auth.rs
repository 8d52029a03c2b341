//! `basic_auth`, `authorization`, `oauth2`, `bearer_token` and `bearer_token_file`.

use http::HeaderValue;
use url::Url;

use super::super::model::{Auth, OAuth2};
use super::proxy::read_proxy;
use super::tls::read_tls;
use crate::config::keys::{AUTHORIZATION, BASIC_AUTH, OAUTH2};
use crate::config::reader::{Reader, Section, StringKind};
use crate::config::secret::{Secret, SecretSource};

/// The key that messages name for an `Authorization` header. A bearer token counts as
/// `authorization`.
pub(in crate::config) fn auth_name(auth: &Auth) -> &'static str {
    match auth {
        Auth::Basic { .. } => "basic_auth",
        Auth::Authorization { .. } => "authorization",
        Auth::OAuth2(_) => "oauth2",
    }
}

/// Reads the credentials of requests. There may be only one kind. // common config/http_config.go
/// HTTPClientConfig.Validate
pub(super) fn read_auth(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
    let basic = reader.subsection(section, "basic_auth", &BASIC_AUTH);
    let authorization = reader.subsection(section, "authorization", &AUTHORIZATION);
    let oauth2 = reader.subsection(section, "oauth2", &OAUTH2);
    let token = reader.secret(section, "bearer_token");
    let token_file = reader.file(section, "bearer_token_file");
    let given = GivenAuth {
        basic: basic.is_some(),
        authorization: authorization.is_some(),
        oauth2: oauth2.is_some(),
        token: token.is_some(),
        token_file: token_file.is_some(),
    };
    if let Some((key, message)) = given.clash() {
        reader.error_at(&section.path_of(key), message, "remove all but one");
    }
    if let Some(section) = basic {
        return Some(read_basic(reader, &section));
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

/// The keys for credentials that a section has.
#[derive(Clone, Copy)]
struct GivenAuth {
    basic: bool,
    authorization: bool,
    oauth2: bool,
    token: bool,
    token_file: bool,
}

impl GivenAuth {
    /// The key that may not be there together with another one, and Prometheus' message.
    fn clash(self) -> Option<(&'static str, &'static str)> {
        let bearer = if self.token {
            "bearer_token"
        } else {
            "bearer_token_file"
        };
        let has_bearer = self.token || self.token_file;
        let message = if self.token && self.token_file {
            "at most one of bearer_token & bearer_token_file must be configured"
        } else if (self.basic || self.oauth2) && has_bearer {
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured"
        } else if self.authorization && has_bearer {
            "authorization is not compatible with bearer_token & bearer_token_file"
        } else if self.authorization && (self.basic || self.oauth2) || self.basic && self.oauth2 {
            "at most one of basic_auth, oauth2 & authorization must be configured"
        } else {
            return None;
        };
        let key = match (has_bearer, self.authorization) {
            (true, _) => bearer,
            (false, true) => "authorization",
            (false, false) => "oauth2",
        };
        Some((key, message))
    }
}

fn read_basic(reader: &mut Reader<'_>, section: &Section<'_>) -> Auth {
    const USERNAMES: &str =
        "at most one of basic_auth username, username_file & username_ref must be configured";
    const PASSWORDS: &str =
        "at most one of basic_auth password, password_file & password_ref must be configured";
    let username = reader
        .filled_string(section, "username", StringKind::Plain)
        .map(SecretSource::text);
    Auth::Basic {
        username: reader.or_file(section, username, "username_file", USERNAMES),
        password: reader.secret_or_file(section, "password", "password_file", PASSWORDS),
    }
}

fn read_authorization(reader: &mut Reader<'_>, section: &Section<'_>) -> Auth {
    const BOTH: &str =
        "at most one of authorization credentials & credentials_file must be configured";
    let scheme = reader
        .string(section, "type", StringKind::Plain)
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
        credentials: reader.secret_or_file(section, "credentials", "credentials_file", BOTH),
    }
}

/// Reads `oauth2`. Returns `None` without a usable address of the token server.
fn read_oauth2(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
    const SECRETS: &str = "at most one of oauth2 client_secret, client_secret_file & \
                           client_secret_ref must be configured";
    let client_id = reader
        .string(section, "client_id", StringKind::Plain)
        .unwrap_or_default();
    if client_id.is_empty() {
        let path = section.path_of("client_id");
        reader.error_at(&path, "oauth2 client_id must be configured", "");
    }
    let token_url = read_token_url(reader, section);
    let client_secret =
        reader.secret_or_file(section, "client_secret", "client_secret_file", SECRETS);
    let scopes = reader.strings(section, "scopes", StringKind::Plain);
    let params = reader.string_map(section, "endpoint_params", StringKind::Hidden);
    Some(Auth::OAuth2(Box::new(OAuth2 {
        client_id,
        client_secret,
        scopes: scopes.into_iter().map(|(scope, _)| scope).collect(),
        endpoint_params: params
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect(),
        tls: read_tls(reader, section),
        proxy: read_proxy(reader, section),
        token_url: token_url?,
    })))
}

fn read_token_url(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Url> {
    let path = section.path_of("token_url");
    // The address is never shown: it may hold a password.
    let Some(text) = reader.filled_string(section, "token_url", StringKind::Hidden) else {
        reader.error_at(&path, "oauth2 token_url must be configured", "");
        return None;
    };
    let url = Url::parse(&text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    });
    if url.is_none() {
        reader.error_at(
            &path,
            "found no address of a token server",
            "write https://host/path, without credentials",
        );
    }
    url
}
