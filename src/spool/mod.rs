//! The spool: what exceeds the capacity of memory waits in S3 or a directory, in order, until it is
//! delivered.
//!
//! ```text
//! <place>/state.json                                               state, lease
//! <place>/segments/<remote>/<epoch, 10>-<scrape, 8>-<part, 4>.seg  the backlog, oldest first
//! <place>/rejected/<remote>/…                                      refused for good
//! <place>/expired/<remote>/…                                       too old for the receiver
//! <place>/reads/<remote>/<epoch, 10>-<number, 4>.last              last timestamp of each series
//! ```
//! A tick, in reading order:
//! 1. [`lease::LeaseClient::take`]: one conditional PUT. Its [fence](crate::time::Deadlines::fence)
//!    ends every call, the posts to the remotes included.
//! 2. [`outbox::open`]: the backlogs; nothing is asked of the store when the last release was clean
//!    and empty.
//! 3. [`outbox::Outbox`]: `put` what does not fit into memory; `head`, post, `answered`, `finish`,
//!    and so on, oldest first.
//! 4. [`lease::LeaseClient::release`]: one conditional PUT, with what the next tick must know.
//!
//! [`store::Store`] is the seam: S3, a directory, and memory for simulations keep the same
//! promises.

pub mod access;
#[cfg(feature = "cli")]
pub mod adopt;
#[cfg(feature = "cli")]
pub mod export;
pub mod inspect;
pub mod lease;
pub mod name;
pub mod outbox;
pub mod retry;
pub mod segment;
pub mod state;
pub mod store;
pub mod table;

#[cfg(test)]
mod fixtures;
