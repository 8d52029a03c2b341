//! Homes other than a real one: a scripted home, and what stands in front of a real one.

mod link;
mod path_proxy;
mod recorder;
mod scripted;

pub use link::Link;
pub use path_proxy::PathProxy;
pub use recorder::{Recorder, Recording};
pub use scripted::{HomeRequest, Page, ScriptedHome, Trouble};
