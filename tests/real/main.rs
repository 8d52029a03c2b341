//! The real programs: Prometheus as the home and as the receiver, the function under the Lambda runtime API.

mod cli;
mod common;
mod faults;
mod function;
mod homes;
