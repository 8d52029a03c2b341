//! Homes other than a real one: a scripted home, and a recorder in front of a real home.

mod link;
mod recorder;
mod scripted;

pub use link::Link;
pub use recorder::{Recorder, Recording};
pub use scripted::{HomeRequest, Page, ScriptedHome, Trouble};
