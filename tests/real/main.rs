//! Against the real programs, which `make tools` fetches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it is surprised")]

mod corpus;
