//! Homes that are no Prometheus: one that says what a test wants, and a recorder in front of a real
//! one.

mod recorder;
mod scripted;

pub use recorder::{Recorder, Recording};
pub use scripted::{HomeRequest, Page, ScriptedHome, Trouble};
