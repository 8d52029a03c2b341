//! Whole ticks on a paused clock, against a home and receivers in memory, with seeded faults
//! (DESIGN: seams).
//!
//! `SIM_SEEDS=100000 cargo test --test sim` runs more seeds; `SIM_SEED=7 cargo test --test sim
//! seeds` repeats one, and tells its story. `SIM_ALL=1` goes on after a finding, and lists the
//! first one of each seed.

// The lints know the body of a test, not what it is built of.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bench;
mod checks;
mod events;
mod home;
mod memory;
mod planted;
mod receiver;
mod run;
mod scenario;
mod seeds;
mod series;
mod slots;
mod slow_store;
mod spool;
mod store;
mod tenant;
mod ticks;
mod world;
