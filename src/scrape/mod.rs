//! From a target to samples.

pub mod exposition;
pub mod text;
