//! Remote read: a home with a database of its own, which answers `POST /api/v1/read` and
//! `/federate`, and what must have arrived of it.

mod again;
mod answer;
mod checks;
mod history;
mod home;
#[cfg(test)]
mod home_tests;
mod kills;
mod oracle;
#[cfg(test)]
mod proxies;
mod run;
mod scenario;
mod scripted;
mod tsdb;

pub(crate) use self::run::seed;
pub(crate) use self::tsdb::histogram_bits;
