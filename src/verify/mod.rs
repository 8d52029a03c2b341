//! Compares what the home holds with what each remote holds, sample by sample.
//!
//! The home is read by remote read. A remote is read in the same way where it offers that, and else
//! by its query API. What the remote should have follows from the rules by which samples are
//! forwarded: the label sets come from [`crate::intake::label_sets`]. The range is compared in
//! windows, so that memory is bounded and one that fails is repeated alone.
//!
//! With `forwarder.remote_read.mode: always` every sample counts. Otherwise slots count: of each
//! slot of a job the sample that `/federate` has shown then, or should have.

mod answer;
mod compare;
mod error;
mod home;
mod moments;
mod own;
mod query;
mod remote;
mod report;
mod resolution;
mod run;
mod value;
mod windows;

pub use self::compare::{EndCounts, Span};
pub use self::error::{EndError, EndFault};
pub use self::remote::{ReadUrls, RemoteEnd, RemoteEndError};
pub use self::report::{
    DeviationExample, MetricDeviation, RemoteVerification, UnreadRange, VerifyReport, VerifyUnit,
};
pub use self::run::{SampleVerifier, VerifyError, VerifyProgress, VerifyRequest};
pub use self::value::Precision;
