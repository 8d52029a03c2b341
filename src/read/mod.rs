//! The second source of samples: the home's own database, asked by remote read
//! (`POST /api/v1/read`).
//!
//! `/federate` shows only the newest sample of each series. Remote read hands out all of them,
//! also those that passed between two scrapes.
//!
//! What is read at once is a window. [`window`] says where it starts and ends, and a
//! [`WindowPlanner`] how large it is. [`ReadSource`] is what a target's federation selects;
//! [`request`] makes the request of it, and the answer is decoded as a stream by [`snappy`] and
//! [`response`]. Neither holds a whole body.

mod error;
mod name_part;
mod planner;
pub mod request;
pub mod response;
mod slots;
pub mod snappy;
mod source;
pub mod window;

pub use error::{ReadError, ReadErrorKind};
pub use name_part::NamePart;
pub use planner::{
    AnswerSize, PlannedWindow, WindowPlanner, default_max_samples, oldest_wanted_ms,
};
pub use slots::Slots;
pub use source::{ReadSource, ReadSourceError};
