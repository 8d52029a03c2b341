//! HTTP clients, the secrets that they carry, and what an error on the network means.
//!
//! From the bottom up: `error`, `progress` and `resolve` find out what went wrong; `tls` and
//! `client` build one HTTP client; `aws` and `smithy` put the AWS SDK on it, and `role` gives a
//! site an identity of its own; `sign`, `object` and `secrets` read what AWS keeps; `reach` says
//! where a redirect may lead, `clients` and `transport` send a request as a TLS and proxy
//! configuration say; `oauth2` fetches tokens over a transport; `http` adds credentials to
//! requests, and `scrub` takes them out of the answers; `identity` finds out who signs them, and
//! `shared` keeps what the configurations of a process have in common.

pub mod aws;
mod client;
mod clients;
mod error;
mod header;
mod http;
mod identity;
mod oauth2;
mod object;
mod outgoing;
mod progress;
mod reach;
mod resolve;
mod role;
mod scrub;
mod secrets;
mod shared;
pub mod sign;
pub mod smithy;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use client::{ClientError, ClientOptions, client, send};
pub use error::{NetError, Peer, Phase, SharedError, redacted};
pub use http::{Exchange, HttpClient};
pub use identity::signing_identity;
pub use object::{ObjectError, read_object};
pub use resolve::{Lookup, SystemLookup};
pub use role::{role_config, role_credentials};
pub use secrets::{SecretError, Secrets, secrets};
pub use shared::SharedClients;
pub use tls::{TlsError, TlsFault};
pub use transport::HttpReply;
