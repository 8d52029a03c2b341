//! HTTP clients, the secrets that they carry, and what an error on the network means.

pub mod aws;
mod client;
mod error;
mod http;
mod oauth2;
mod object;
mod outgoing;
mod progress;
mod resolve;
mod secrets;
pub mod sign;
pub mod smithy;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

pub use client::{ClientError, ClientOptions, client, send};
pub use error::*;
pub use http::{Exchange, HttpClient, Reply};
pub use object::{ObjectError, read_object};
pub use resolve::{Lookup, SystemLookup};
pub use secrets::{SecretError, Secrets, secrets};
