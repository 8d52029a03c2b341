//! HTTP clients, and what an error on the network means.

pub mod aws;
mod client;
mod error;
mod hints;
mod progress;
mod resolve;
pub mod smithy;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

pub use client::{ClientError, ClientOptions, client, send};
pub use error::*;
pub use resolve::{Lookup, SystemLookup};
