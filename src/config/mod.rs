//! Prometheus' own YAML, plus one section of ours.
//!
//! text → `yaml` (a tree with lines) → `reader` (strict, typed, every problem at once, by the
//! tables in `keys`) → `load`, `remote` and `spool` (defaults, validation) → [`Config`]; `lint`
//! then looks for slips that are valid. `http` is the HTTP client configuration of jobs and
//! remotes, `secret` what secrets are made of. `source` says where the text is; `import` makes it
//! from a prometheus.yml.

mod emit;
mod env;
mod expand;
mod forwarder;
mod global;
mod http;
mod import;
mod job;
mod keys;
mod limits;
mod lint;
mod load;
mod metadata;
mod model;
mod naming;
mod problem;
mod protocols;
mod queue;
mod reader;
mod remote;
mod rules;
mod secret;
mod source;
mod spool;
mod target;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

pub use env::{Env, process_env};
pub use http::{Auth, HttpConfig, HttpHeader, OAuth2, ProxyConfig, TlsConfig, TlsVersion};
pub use import::{ImportedConfig, Omission, import};
pub use limits::ScrapeLimits;
pub use load::LoadedConfig;
pub use metadata::{ForwarderMetadata, MetadataConfig};
pub use model::{
    Config, ForwarderConfig, Global, MetricsConfig, QueueConfig, RemoteWrite, Scheme, ScrapeConfig,
    SigV4, StaticConfig,
};
pub use naming::{NameEscaping, NameValidation, Naming};
pub use problem::{ConfigErrors, Problem};
pub use protocols::{FEDERATE_PROTOCOLS, HistogramConfig, ScrapeProtocol};
pub use secret::{Secret, SecretPart, SecretSource, StoredSecret};
pub use source::{DEFAULT_FILE, ENV_VAR, MAX_BYTES, Source, SourceError, read_file};
pub use spool::{ArchiveLimits, SpoolConfig, SpoolPlaceError, SpoolUrl};
pub use target::{PopulatedTarget, TargetError};
pub use units::{format_duration, parse_duration};
