//! The real programs: Prometheus as the home and as the receiver, the function under the Lambda
//! runtime API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "real programs run on the machine's clock"
)]

mod check_reads;
mod cli;
mod client;
mod common;
mod corpus;
mod estimate;
mod exact;
mod faults;
mod first_steps;
mod fleet;
mod function;
mod ha;
mod held;
mod histograms;
mod homes;
mod hostile;
mod listen;
mod memory;
mod metadata;
mod missed;
mod moving;
mod own_series;
mod people;
mod reads;
mod receivers;
mod relabel;
mod restart;
mod schedule;
mod sites;
mod soak;
mod spool;
mod spool_cli;
mod staleness;
mod targets;
mod transcripts;
mod verify;
mod verify_event;
mod wrong_input;
