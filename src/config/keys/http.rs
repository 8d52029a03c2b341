//! Keys of the HTTP client configuration, which jobs and remotes share.

use super::table::{Table, never};

/// Keys that are inline in a job or a remote, without those of [`PROXY`].
pub(super) const HTTP_CLIENT: &[&str] = &[
    "basic_auth",
    "authorization",
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
    "http_headers",
    "follow_redirects",
    "enable_http2",
];

/// Keys of a proxy, which `oauth2` has as well.
pub(super) const PROXY: &[&str] = &[
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
];

const REF: &str = "there is no secret manager of Prometheus' kind";

const REF_INSTEAD: &str = "write ${ssm:name} or ${secretsmanager:id} into the key itself, or use \
    the _file variant with an s3:// object";

const JWT: &str = "tokens are asked for with a client secret";

const JWT_INSTEAD: &str = "use client_secret or client_secret_file";

pub(in crate::config) const BASIC_AUTH: Table = Table {
    name: "basic_auth",
    supported: &[&["username", "username_file", "password", "password_file"]],
    unsupported: &[
        never("username_ref", REF, REF_INSTEAD),
        never("password_ref", REF, REF_INSTEAD),
    ],
};

pub(in crate::config) const AUTHORIZATION: Table = Table {
    name: "authorization",
    supported: &[&["type", "credentials", "credentials_file"]],
    unsupported: &[never("credentials_ref", REF, REF_INSTEAD)],
};

pub(in crate::config) const OAUTH2: Table = Table {
    name: "oauth2",
    supported: &[
        &[
            "client_id",
            "client_secret",
            "client_secret_file",
            "scopes",
            "token_url",
            "endpoint_params",
            "tls_config",
        ],
        PROXY,
    ],
    unsupported: &[
        never("client_secret_ref", REF, REF_INSTEAD),
        never("grant_type", JWT, JWT_INSTEAD),
        never("client_certificate_key", JWT, JWT_INSTEAD),
        never("client_certificate_key_file", JWT, JWT_INSTEAD),
        never("client_certificate_key_ref", JWT, JWT_INSTEAD),
        never("client_certificate_key_id", JWT, JWT_INSTEAD),
        never("signature_algorithm", JWT, JWT_INSTEAD),
        never("iss", JWT, JWT_INSTEAD),
        never("audience", JWT, JWT_INSTEAD),
        never("claims", JWT, JWT_INSTEAD),
    ],
};

pub(in crate::config) const TLS: Table = Table {
    name: "tls_config",
    supported: &[&[
        "ca",
        "ca_file",
        "cert",
        "cert_file",
        "key",
        "key_file",
        "server_name",
        "insecure_skip_verify",
        "min_version",
        "max_version",
    ]],
    unsupported: &[
        never("ca_ref", REF, REF_INSTEAD),
        never("cert_ref", REF, REF_INSTEAD),
        never("key_ref", REF, REF_INSTEAD),
    ],
};

pub(in crate::config) const HTTP_HEADER: Table = Table {
    name: "a header of http_headers",
    supported: &[&["values", "secrets", "files"]],
    unsupported: &[],
};
