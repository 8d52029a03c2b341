//! The documents: links lead somewhere, commands exist, the front page is short, and both languages
//! say the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod commands;
mod figures;
mod links;
mod markdown;
mod shape;
mod translation;
