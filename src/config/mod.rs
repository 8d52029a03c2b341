//! Prometheus' own YAML, plus one section of ours.
//!
//! A text passes these steps:
//!
//! 1. `source` finds and reads it, or `import` makes it from a prometheus.yml.
//! 2. `yaml` makes a tree of it that knows lines and columns.
//! 3. `reader` reads typed values out of the tree, strictly, by the tables in `keys`, and collects
//!    every problem.
//! 4. `load`, with `global`, `job`, `remote`, `queue` and `forwarder`, fills in defaults,
//!    validates, and makes a [`Config`]. `http` is the HTTP client configuration of jobs and
//!    remotes, `secret` the source of a secret, `target` the labels of a target.
//! 5. `lint` looks for slips that are valid.

mod effective;
mod emit;
mod env;
mod escaping;
mod expand;
mod first;
mod forwarder;
mod global;
mod home;
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
mod remote_read;
mod rules;
mod schema;
mod secret;
mod site;
mod source;
mod spool;
mod target;
mod units;
mod unwrap;
mod yaml;

#[cfg(test)]
mod tests;

pub use env::{Env, config_env, process_env, sites_stack_env, stack_env};
pub use first::{FirstConfig, first_config};
pub use home::HomeConfig;
pub use http::{Auth, HttpConfig, HttpHeader, OAuth2, ProxyConfig, TlsConfig, TlsVersion};
pub use import::{ImportedConfig, Omission, import};
pub use limits::ScrapeLimits;
pub use load::LoadedConfig;
pub use metadata::{ForwarderMetadata, MetadataConfig};
pub use model::{
    Config, ForwarderConfig, Global, MetricsConfig, OwnSeriesConfig, QueueConfig, RemoteWrite,
    ScrapeConfig, SigV4, StaticConfig,
};
pub use naming::{NameEscaping, NameValidation, Naming};
pub use problem::{ConfigErrors, Problem};
pub use protocols::{FEDERATE_PROTOCOLS, HistogramConfig, ScrapeProtocol};
pub use remote_read::{RemoteReadConfig, RemoteReadMode};
pub use schema::forwarder_schema;
pub use secret::{Secret, SecretPart, SecretSource, StoredSecret};
pub use site::{SiteName, SiteNameError, site_env};
pub use source::{DEFAULT_FILE, ENV_VAR, MAX_BYTES, Source, SourceError, read_file, role_of};
pub use spool::{ArchiveLimits, SpoolConfig, SpoolPlaceError, SpoolUrl, SpoolUrlError};
pub use target::{PopulatedTarget, TargetError};
pub use units::{format_duration, parse_duration};
