//! Forwards a home Prometheus' `/federate` to Amazon Managed Service for Prometheus, from a Lambda
//! function that wakes up once a minute or from a shell.
//!
//! # A short tour
//!
//! - Start with [`tick`]: one run of the forwarder in reading order.
//! - **Sources.** [`home`] is the seam to the home Prometheus. [`scrape`] reads expositions from
//!   it, [`metadata`] types and help texts.
//! - **Series.** [`intake`] applies the rules of Prometheus' scrape loop to each sample. [`series`]
//!   remembers what was made of each series, [`relabel`] has the rules that people write, and
//!   [`batch`] turns samples into compressed request bodies in the format of [`prompb`].
//! - **Remotes.** [`queue`] holds committed scrapes in memory, [`send`] posts one batch and says
//!   what became of it.
//! - **Spool.** [`spool`] keeps in S3 or a directory what cannot be sent in time, in order and
//!   under a lease.
//! - **Tick.** [`time`] has the clock and the ends of a tick's time, [`report`] what a tick
//!   reports.
//! - **Front ends.** `function` is the Lambda function, [`event`] its input. [`setup`] builds the
//!   real clients, [`check`], [`explain`], [`status`] and [`verify`] answer questions of people,
//!   and [`config`] reads `forwarder.yml`. [`net`] is below all of them: HTTP, TLS, credentials and
//!   what errors mean.
//!
//! ARCHITECTURE.md, at the root of the repository, draws which room may import which, numbers the
//! invariants as `I1`, `I2` and so on, for comments to cite, and has a glossary. STYLE.md says how
//! code and comments are written.
//!
//! # Example
//!
//! A configuration is read from text, with every mistake at once:
//!
//! ```
//! use amp_forwarder::config::Config;
//!
//! let text = "
//! scrape_configs:
//! - job_name: federate
//!   scrape_intervall: 15s
//!   static_configs:
//!   - targets: [prometheus.home.example:9090]
//! ";
//! let errors = Config::load(text, &|_| None, "forwarder.yml").unwrap_err().to_string();
//! assert!(errors.contains("did you mean scrape_interval?"), "{errors}");
//! assert!(errors.contains("remote_write"), "{errors}");
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        reason = "a table of cases is read as one list"
    )
)]

// Sources of samples, and the seam to the home.
pub mod home;
pub mod metadata;
pub mod read;
pub mod scrape;

// From a sample to each remote's request bodies.
pub mod batch;
pub mod intake;
pub mod prompb;
pub mod relabel;
pub mod selector;
pub mod series;

// To a remote.
pub mod queue;
pub mod send;

// What waits.
pub mod spool;

// One run of the forwarder.
pub mod report;
pub mod tick;
pub mod time;

// Front ends, and what they are set up with.
pub mod check;
pub mod config;
pub mod event;
pub mod explain;
#[cfg(feature = "lambda")]
pub mod function;
pub mod net;
pub mod setup;
pub mod status;
pub mod verify;
