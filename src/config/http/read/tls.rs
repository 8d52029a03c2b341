//! `tls_config`.

use super::super::model::{TlsConfig, TlsVersion};
use crate::config::keys::TLS;
use crate::config::problem::shown;
use crate::config::reader::{Reader, Section, StringKind};

/// Reads `tls_config`. // common config/http_config.go TLSConfig.Validate
pub(super) fn read_tls(reader: &mut Reader<'_>, section: &Section<'_>) -> TlsConfig {
    let Some(section) = reader.subsection(section, "tls_config", &TLS) else {
        return TlsConfig::default();
    };
    let before = reader.problems.len();
    let tls = TlsConfig {
        ca: reader.secret_or_file(
            &section,
            "ca",
            "ca_file",
            "at most one of ca, ca_file & ca_ref must be configured",
        ),
        cert: reader.secret_or_file(
            &section,
            "cert",
            "cert_file",
            "at most one of cert, cert_file & cert_ref must be configured",
        ),
        key: reader.secret_or_file(
            &section,
            "key",
            "key_file",
            "at most one of key and key_file must be configured",
        ),
        server_name: reader.filled_string(&section, "server_name", StringKind::Plain),
        insecure_skip_verify: reader
            .boolean(&section, "insecure_skip_verify")
            .unwrap_or(false),
        min_version: read_version(reader, &section, "min_version"),
        max_version: read_version(reader, &section, "max_version"),
    };
    // A value that could not be read would count as missing.
    if reader.problems.len() == before {
        check_tls(reader, &section, &tls);
    }
    tls
}

/// Reports settings that contradict each other.
fn check_tls(reader: &mut Reader<'_>, section: &Section<'_>, tls: &TlsConfig) {
    if tls.cert.is_some() && tls.key.is_none() {
        let message = "exactly one of key or key_file must be configured when a client \
                       certificate is configured";
        reader.error_at(&section.path, message, "add key_file");
    } else if tls.key.is_some() && tls.cert.is_none() {
        let message =
            "exactly one of cert or cert_file must be configured when a client key is configured";
        reader.error_at(&section.path, message, "add cert_file");
    }
    if let (Some(lowest), Some(highest)) = (tls.min_version, tls.max_version)
        && highest < lowest
    {
        let message = "tls_config.max_version must be greater than or equal to \
                       tls_config.min_version if both are specified";
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
}

fn read_version(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<TlsVersion> {
    let version = reader.string(section, key, StringKind::Plain)?;
    match version.as_str() {
        "TLS13" => Some(TlsVersion::Tls13),
        "TLS12" => Some(TlsVersion::Tls12),
        // As a lower bound, an older version excludes nothing that is spoken here.
        "TLS10" | "TLS11" if key == "min_version" => Some(TlsVersion::Tls12),
        "TLS10" | "TLS11" => {
            let message = format!("not supported: {version} is not spoken here");
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
