//! `http_headers`.

use http::{HeaderName, HeaderValue};

use super::super::model::HttpHeader;
use crate::config::keys::HTTP_HEADER;
use crate::config::problem::shown;
use crate::config::reader::{Reader, Section};
use crate::config::secret::SecretSource;

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

// common config/headers.go Headers.Validate
pub(super) fn read_headers(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<HttpHeader> {
    let path = section.path_of("http_headers");
    let mut headers = Vec::new();
    for entry in reader.entries(section, "http_headers") {
        let path = format!("{path}.{}", entry.key);
        reader.remember(&path, entry);
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

pub(super) fn check_header(
    reader: &mut Reader<'_>,
    path: &str,
    name: &str,
    values: &[SecretSource],
) {
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
