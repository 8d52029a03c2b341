//! Runs whole ticks on a paused clock, against a home and receivers in memory, with seeded faults.
//!
//! `README.md` in this directory explains how to run it, what it checks, and how to read a finding.

// Clippy allows these in the body of a test, but not in the helpers that a test calls.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(
    clippy::too_many_lines,
    reason = "a model of faults or a check is a list of cases, read from top to bottom"
)]

mod bench;
mod checks;
mod events;
mod home;
mod memory;
mod moved;
mod owed;
mod planted;
mod reads;
mod receiver;
mod run;
mod scenario;
mod seeds;
mod series;
mod setup;
mod slots;
mod slow_store;
mod spool;
mod store;
mod strangers;
mod tenant;
mod ticks;
mod world;
