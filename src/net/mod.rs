//! HTTP clients, and what an error on the network means.

mod error;

pub use error::*;
