//! The second source of samples: the home's own database, asked by remote read
//! (`POST /api/v1/read`).
//!
//! `/federate` shows only the newest sample of each series. Remote read hands out all of them,
//! also those that passed between two scrapes. What is here so far are the pieces that know no
//! tick: [`request`] makes the request of a job's selectors, and the answer is decoded as a stream
//! by [`snappy`] and [`response`]. Neither holds a whole body.

pub mod request;
pub mod response;
pub mod snappy;
