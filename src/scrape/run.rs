//! One scrape from its request to its commit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};
use tokio::time::Instant;
use url::Url;

use super::accept::accept;
use super::body::{BodyError, ExpositionBody};
use super::error::ScrapeError;
use super::parser::Parser;
use super::refusal::first_line;
use crate::batch::Writer;
use crate::config::{RemoteWrite, ScrapeConfig};
use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse, Target};
use crate::intake::{IntakeRules, IntakeTransaction, Refusal, RemoteCommit, SourceReport, Tally};
use crate::net::{NetError, Peer, Phase, redacted};
use crate::time::Clock;

/// How late a client's own time-out may be.
const GRACE: Duration = Duration::from_millis(250);

/// What all scrapes share.
#[derive(Clone, Copy)]
pub struct Scraper<'a> {
    /// Where expositions come from.
    pub home: &'a dyn Home,
    /// The wall clock.
    pub clock: &'a dyn Clock,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// The remotes in the order of the writers; their `write_relabel_configs` apply.
    pub remotes: &'a [RemoteWrite],
    /// The writer of each remote.
    pub writers: &'a [RefCell<Writer>],
    /// Whether `memory_limit` has room for this many bytes that a scrape has staged, besides all
    /// that is held otherwise.
    pub fits: &'a dyn Fn(usize) -> bool,
    /// Whether a scrape that fails writes stale markers for the series of the target. It must not
    /// where the samples that it missed are read afterwards: they would be older than the markers.
    pub marks_when_it_fails: bool,
}

/// The outcome of one scrape. It commits something in any case: a scrape that failed commits `up` 0
/// and the other reports.
#[derive(Debug)]
pub struct ScrapeOutcome {
    /// Start of the scrape, milliseconds since 1970: the timestamp of samples that have none.
    pub start_ms: i64,
    /// Time from the request to the end of the exposition.
    pub duration: Duration,
    /// What `scrape_samples_scraped` and its like report.
    pub tally: Tally,
    /// Uncompressed bytes of the body.
    pub bytes: u64,
    /// How far the home's clock, as its `Date` shows it, is ahead of ours. It is good to a second.
    pub ahead_ms: Option<i64>,
    /// Why the scrape failed, if it did.
    pub error: Option<ScrapeError>,
    /// What each remote gets.
    pub commits: Vec<RemoteCommit>,
}

impl<'a> Scraper<'a> {
    /// Scrapes once. The result always accounts for all samples: see [`ScrapeOutcome`].
    pub async fn scrape(
        &self,
        job: &'a ScrapeConfig,
        target: &'a Target,
        timeout: Duration,
    ) -> ScrapeOutcome {
        let started = Instant::now();
        let mut scrape = RunningScrape {
            scraper: self,
            job,
            target,
            transaction: IntakeTransaction::begin(self.writers, self.rules(job, target)),
            bytes: 0,
            ahead_ms: None,
            excess: None,
        };
        // The home's client keeps the time and knows the phase. This time-out holds whatever the
        // home is, so that a scrape always ends.
        let result = match tokio::time::timeout(timeout + GRACE, scrape.fetch(timeout)).await {
            Ok(result) => result,
            Err(_) => Err(scrape.timed_out()),
        };
        scrape.end(result, started.elapsed())
    }

    fn rules(&self, job: &'a ScrapeConfig, target: &'a Target) -> IntakeRules<'a> {
        let start_ms = self.clock.now_ms();
        IntakeRules::new(job, target, self.external_labels, self.remotes, start_ms)
    }
}

/// Whether a body is compressed. Anything but exactly gzip is taken as it is (scrape/scrape.go
/// readResponse).
fn is_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding == "gzip")
}

/// The target's address for people.
fn address_of(target: &Target) -> String {
    match &target.url {
        Ok(url) => redacted(url),
        Err(_) => target.instance().to_owned(),
    }
}

struct RunningScrape<'s, 'a> {
    scraper: &'s Scraper<'a>,
    job: &'a ScrapeConfig,
    target: &'a Target,
    transaction: IntakeTransaction<'a>,
    bytes: u64,
    ahead_ms: Option<i64>,
    /// Set when the scrape was more than it may hold.
    excess: Option<Excess>,
}

/// The limit of size that a scrape has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    Body,
    Memory,
}

impl RunningScrape<'_, '_> {
    fn address(&self) -> String {
        address_of(self.target)
    }

    /// The URL of the target. A target that has none is not scraped.
    fn url(&self) -> Result<&Url, NetError> {
        self.target.url.as_ref().map_err(|error| {
            NetError::malformed_request(
                Peer::Home,
                format!("job {}", self.job.job_name),
                error.to_string(),
            )
        })
    }

    fn timed_out(&self) -> ScrapeError {
        match self.url() {
            Ok(url) => NetError::timed_out(Phase::Body, Peer::Home, url).into(),
            Err(error) => error.into(),
        }
    }

    fn body_error(&self, cause: BodyError) -> ScrapeError {
        ScrapeError::Body {
            address: self.address(),
            cause,
        }
    }

    async fn fetch(&mut self, timeout: Duration) -> Result<(), ScrapeError> {
        self.check_target_limit()?;
        let HomeResponse {
            status,
            headers,
            mut body,
        } = self.request(timeout).await?;
        self.ahead_ms = self.clock_difference(&headers);
        if status != 200 {
            let answer = match status {
                400 => first_line(&mut *body, is_gzip(&headers)).await,
                _ => String::new(),
            };
            return Err(ScrapeError::Status {
                address: self.address(),
                status,
                answer,
            });
        }
        let mut exposition = ExpositionBody::new(is_gzip(&headers));
        let mut parser = None;
        while let Some(chunk) = body.chunk().await? {
            exposition.push(chunk);
            while exposition.fill().map_err(|cause| self.body_error(cause))? {
                let parsed = self.parse_block(&exposition, &mut parser, &headers)?;
                exposition
                    .consume(parsed)
                    .map_err(|cause| self.body_error(cause))?;
            }
        }
        let newline = parser.as_ref().is_some_and(Parser::wants_newline);
        let rest = exposition
            .finish(newline)
            .map_err(|cause| self.body_error(cause))?;
        if let Some(parser) = &mut parser {
            self.parse(parser, rest, true)?;
            self.check_limits()?;
        }
        self.check_tally()
    }

    async fn request(&self, timeout: Duration) -> Result<HomeResponse, NetError> {
        let accept = accept(
            &self.job.scrape_protocols,
            self.job.naming.escaping,
            self.job.is_federation(),
        );
        let request = HomeRequest {
            job: self.target.job,
            url: self.url()?,
            method: HomeMethod::Get {
                accept: &accept,
                compression: self.job.enable_compression,
            },
            timeout,
        };
        self.scraper.home.send(request).await
    }

    fn clock_difference(&self, headers: &HeaderMap) -> Option<i64> {
        let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
        let date_ms = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
        Some(i64::try_from(date_ms).ok()? - self.scraper.clock.now_ms())
    }

    /// Parses the block in hand, and says how much of it is done with.
    fn parse_block(
        &mut self,
        exposition: &ExpositionBody,
        parser: &mut Option<Parser>,
        headers: &HeaderMap,
    ) -> Result<usize, ScrapeError> {
        self.bytes = exposition.total();
        self.check_limits()?;
        if self.bytes == 0 {
            // An empty body is a success whatever its type (scrape/scrape.go append), so no parser
            // is made before the first byte.
            return Ok(0);
        }
        let parser = match parser {
            Some(parser) => parser,
            None => parser.insert(self.parser(headers)?),
        };
        self.parse(parser, exposition.buffer(), false)
    }

    fn parser(&self, headers: &HeaderMap) -> Result<Parser, ScrapeError> {
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let parser = Parser::new(
            content_type,
            self.job.fallback_scrape_protocol,
            self.job.histograms,
        );
        parser.map_err(|cause| ScrapeError::Format {
            address: self.address(),
            cause,
        })
    }

    fn parse(
        &mut self,
        parser: &mut Parser,
        block: &[u8],
        last: bool,
    ) -> Result<usize, ScrapeError> {
        let target = self.target;
        parser
            .parse(block, last, &mut self.transaction.intake())
            .map_err(|cause| ScrapeError::Exposition {
                address: address_of(target),
                cause,
            })
    }

    fn check_limits(&mut self) -> Result<(), ScrapeError> {
        let limit = |scrape: &Self, limit: String, hint| {
            Err(ScrapeError::Limit {
                address: scrape.address(),
                limit,
                hint,
            })
        };
        let body_limit = self.job.limits.body_size;
        // A body as long as the limit is too long (scrape/scrape.go readResponse).
        if body_limit > 0 && self.bytes >= body_limit {
            self.excess = Some(Excess::Body);
            return limit(self, format!("body_size_limit of {body_limit} bytes"), "");
        }
        if !(self.scraper.fits)(self.transaction.staged_memory()) {
            self.excess = Some(Excess::Memory);
            return limit(
                self,
                "memory_limit".to_owned(),
                ": give the function more memory, or select fewer series with match[]",
            );
        }
        Ok(())
    }

    // scrape/scrape.go refreshTargetLimitErr
    fn check_target_limit(&self) -> Result<(), ScrapeError> {
        let (most, siblings) = (self.job.limits.targets, self.target.siblings);
        if most == 0 || siblings as u64 <= most {
            return Ok(());
        }
        let limit = format!("target_limit of {most} ({siblings} targets)");
        Err(ScrapeError::Limit {
            address: self.address(),
            limit,
            hint: ": no target of the job is scraped",
        })
    }

    /// Checks the limits that need the count of all samples.
    fn check_tally(&self) -> Result<(), ScrapeError> {
        let most = self.job.limits.samples;
        let tally = self.transaction.tally();
        if most == 0 || tally.limited <= most {
            if !tally.over_buckets {
                return Ok(());
            }
            let limit = format!(
                "native_histogram_bucket_limit of {}",
                self.transaction.rules().histogram_limits.buckets
            );
            return Err(ScrapeError::Limit {
                address: self.address(),
                limit,
                hint: " at the coarsest resolution",
            });
        }
        let limit = format!("sample_limit of {most} ({} samples)", tally.limited);
        Err(ScrapeError::Limit {
            address: self.address(),
            limit,
            hint: "",
        })
    }

    /// Commits the scrape, or rolls it back, together with the series that report on it.
    fn end(mut self, result: Result<(), ScrapeError>, duration: Duration) -> ScrapeOutcome {
        let mut error = result.err();
        let is_incomplete = matches!(error, Some(ScrapeError::Net(_) | ScrapeError::Body { .. }));
        if is_incomplete || self.excess.is_some() {
            // Prometheus parses nothing of a body that did not come whole.
            if self.excess != Some(Excess::Memory) {
                self.transaction.forget_tally();
            }
            self.transaction.untrack();
        }
        // An empty body is no failure, but the series of earlier scrapes grow no older by it
        // (scrape/scrape.go iterDone).
        if error.is_some() || self.bytes == 0 {
            self.roll_back();
        }
        let commits = match self.commit(error.as_ref(), duration) {
            Ok(commits) => commits,
            // This takes a batch beyond snappy's 4 GiB, and max_request_bytes keeps them smaller.
            // The scrape fails, and only its reports are committed.
            Err(refusal) => {
                if error.is_none() {
                    error = Some(ScrapeError::Format {
                        address: self.address(),
                        cause: refusal.0,
                    });
                    self.roll_back();
                    self.commit(error.as_ref(), duration)
                        .unwrap_or_else(|_| self.transaction.empty_commits())
                } else {
                    self.transaction.empty_commits()
                }
            }
        };
        ScrapeOutcome {
            start_ms: self.transaction.rules().start_ms,
            duration,
            tally: self.transaction.tally(),
            bytes: self.bytes,
            ahead_ms: self.ahead_ms,
            error,
            commits,
        }
    }

    fn roll_back(&mut self) {
        self.transaction.roll_back();
        if self.excess == Some(Excess::Memory) {
            self.transaction.forget_untaken();
        }
    }

    /// Ends every scrape, whether its samples are still staged or were rolled back. A series that
    /// the target no longer shows gets its stale marker in the scrape that misses it; when the
    /// scrape failed, these are all of its series.
    fn commit(
        &mut self,
        error: Option<&ScrapeError>,
        duration: Duration,
    ) -> Result<Vec<RemoteCommit>, Refusal> {
        if error.is_none() || self.scraper.marks_when_it_fails {
            self.transaction.mark_stale()?;
        } else {
            self.transaction.untrack();
        }
        self.report(error, duration)?;
        self.transaction.commit()
    }

    /// Writes the series that report on the scrape.
    fn report(&mut self, error: Option<&ScrapeError>, duration: Duration) -> Result<(), Refusal> {
        let body_bytes = match error {
            _ if self.excess == Some(Excess::Body) => -1.0,
            Some(ScrapeError::Net(_) | ScrapeError::Body { .. }) => 0.0,
            _ => self.bytes as f64,
        };
        self.transaction.report(
            self.job,
            &SourceReport {
                is_up: error.is_none(),
                duration,
                body_bytes,
            },
        )
    }
}
