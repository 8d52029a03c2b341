//! The bytes of Prometheus' remote protocols: messages, the fields that are written by hand,
//! values, the stale marker and the body of a request.
//!
//! This is the ground floor: it holds no policy and no I/O, and imports no other room. Source:
//! prometheus/prometheus `prompb/remote.proto`, `prompb/types.proto`, `model/value/value.go`.

mod body;
pub mod messages;
pub mod remote_read;
mod stale;
mod value;
pub mod wire;

pub use body::RequestBody;
pub use stale::STALE_NAN;
pub use value::{TimedFloat, TimedValue, Value, ValueKind};
