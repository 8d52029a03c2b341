//! Prometheus' own YAML, plus one section of ours.

mod model;

pub use model::*;
