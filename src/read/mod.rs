//! The second source of samples: the home's own database, asked by remote read
//! (`POST /api/v1/read`).
//!
//! `/federate` shows only the newest sample of each series. Remote read hands out all of them,
//! also those that passed between two scrapes. Only the sign of −0 is lost, because the home's
//! encoder leaves out what equals 0.
//!
//! What is read at once is a window. [`window`] says where it starts and ends, and a
//! [`WindowPlanner`] how large it is. [`ReadSource`] is what a target's federation selects;
//! [`request`] makes the request of it, and the answer is decoded as a stream by [`snappy`] and
//! [`response`]. Neither holds a whole body. A [`WindowReader`] reads one window from its request
//! to its commit: it is a transaction, as a scrape is (I1).

mod answer;
mod classic;
mod error;
pub mod facts;
mod name_part;
mod pass;
mod planner;
mod reduce;
pub mod request;
pub mod response;
mod run;
mod samples;
mod shape;
mod slots;
pub mod snappy;
mod source;
pub mod window;
mod window_request;

pub use error::{ReadError, ReadErrorKind};
pub use name_part::NamePart;
pub use planner::{
    AnswerSize, PlannedWindow, WindowPlanner, default_max_samples, oldest_wanted_ms,
};
pub use run::WindowReader;
pub use samples::resolution_span;
pub use shape::WindowShape;
pub use slots::Slots;
pub use source::{ReadSource, ReadSourceError};
pub use window_request::{WindowOutcome, WindowRequest};

#[cfg(test)]
mod tests;
