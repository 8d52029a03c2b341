//! `basic_auth`, `authorization`, `oauth2`, `bearer_token` and `bearer_token_file`.

use std::collections::BTreeMap;

use http::HeaderValue;
use url::Url;

use super::super::model::{Auth, OAuth2};
use super::proxy::read_proxy;
use super::tls::read_tls;
use crate::config::keys::{AUTHORIZATION, BASIC_AUTH, OAUTH2};
use crate::config::reader::{Reader, Section, StringKind};
use crate::config::secret::{Secret, SecretSource};

/// The key that messages name: a bearer token is an authorization.
pub(in crate::config) fn auth_name(auth: &Auth) -> &'static str {
    match auth {
        Auth::Basic { .. } => "basic_auth",
        Auth::Authorization { .. } => "authorization",
        Auth::OAuth2(_) => "oauth2",
    }
}

pub(super) fn read_auth(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
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
            .string(&section, "username", StringKind::Plain)
            .filter(|name| !name.is_empty())
            .map(SecretSource::text);
        return Some(Auth::Basic {
            username: reader.or_file(&section, username, "username_file", USERNAMES),
            password: reader.secret_or_file(&section, "password", "password_file", PASSWORDS),
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

fn read_oauth2(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Auth> {
    const SECRETS: &str = "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured";
    let client_id = reader
        .string(section, "client_id", StringKind::Plain)
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
        .string(section, "token_url", StringKind::Hidden)
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
        client_secret: reader.secret_or_file(
            section,
            "client_secret",
            "client_secret_file",
            SECRETS,
        ),
        scopes: reader
            .strings(section, "scopes", StringKind::Plain)
            .into_iter()
            .map(|(scope, _)| scope)
            .collect(),
        endpoint_params: {
            let params: BTreeMap<_, _> =
                reader.string_map(section, "endpoint_params", StringKind::Hidden);
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
