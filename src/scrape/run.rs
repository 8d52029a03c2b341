//! One scrape from its request to its commit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};
use tokio::time::Instant;

use super::accept::accept;
use super::body::{BLOCK, Blocks, BodyError};
use super::error::ScrapeError;
use super::parser::Parser;
use crate::batch::{Batch, Counts, Staged, Writer};
use crate::config::{RemoteWrite, ScrapeConfig};
use crate::home::Target;
use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse};
use crate::intake::HistogramLimits;
use crate::intake::Refused;
use crate::intake::{Intake, Rules, Tally};
use crate::net::{NetError, Peer, Phase, redacted};
use crate::report::Ledger;
use crate::time::Clock;

/// What a client's own time-out may be late by.
const GRACE: Duration = Duration::from_millis(250);

/// What all scrapes share.
#[derive(Clone, Copy)]
pub struct Scraper<'a> {
    /// Where expositions come from.
    pub home: &'a dyn Home,
    /// The time of day.
    pub clock: &'a dyn Clock,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// Their `write_relabel_configs`.
    pub remotes: &'a [RemoteWrite],
    /// One for each remote.
    pub writers: &'a [RefCell<Writer>],
    /// Whether that many bytes, staged by this scrape, fit into `memory_limit` beside all else that
    /// is held.
    pub fits: &'a dyn Fn(usize) -> bool,
}

/// What became of one scrape. It has a commit in any case: of a failed one that of `up` 0 and its
/// like.
#[derive(Debug)]
pub struct Scraped {
    /// When it started, milliseconds since 1970: the timestamp of what has none.
    pub start_ms: i64,
    /// From the request to the end of the exposition.
    pub duration: Duration,
    /// As `scrape_samples_scraped` and its like say it.
    pub tally: Tally,
    /// Uncompressed bytes of the body.
    pub bytes: u64,
    /// The home's clock, by its `Date`, against ours: positive when it is ahead. Good to a second.
    pub ahead_ms: Option<i64>,
    /// Why it failed.
    pub error: Option<ScrapeError>,
    /// One for each remote.
    pub committed: Vec<Committed>,
}

/// What a scrape gives one remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Where its samples went.
    pub counts: Counts,
    /// Samples dropped because their scrape failed.
    pub rolled_back: u64,
    /// The batches of each scrape number: one, unless a series came more than once.
    pub scrapes: Vec<Vec<Batch>>,
}

impl Committed {
    /// Its counts, as far as they are final: what is fresh is still to be sent.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            scraped: self.counts.scraped + self.rolled_back,
            filtered: self.counts.filtered,
            unchanged: self.counts.unchanged,
            rolled_back: self.rolled_back,
            ..Ledger::default()
        }
    }
}

impl Scraper<'_> {
    /// Scrapes once. The result is always accounted for: see [`Scraped`].
    pub async fn scrape(&self, job: &ScrapeConfig, target: &Target, timeout: Duration) -> Scraped {
        let started = Instant::now();
        let mut scrape = InProgress {
            scraper: self,
            job,
            rules: Rules {
                target,
                honor_labels: job.honor_labels,
                honor_timestamps: job.honor_timestamps,
                track_timestamps_staleness: job.track_timestamps_staleness,
                limits: job.limits,
                validation: job.naming.validation,
                metric_relabel: &job.metric_relabel_configs,
                histogram_limits: HistogramLimits::new(
                    job.histograms.bucket_limit,
                    job.histograms.min_bucket_factor,
                ),
                external_labels: self.external_labels,
                remotes: self.remotes,
                start_ms: self.clock.now_ms(),
            },
            staged: self.begin(target),
            tally: Tally::default(),
            bytes: 0,
            ahead_ms: None,
            size: Size::Fits,
        };
        // The home's client keeps the time and knows the phase; this one holds whatever the home
        // is, so that a scrape always ends.
        let outcome = match tokio::time::timeout(timeout + GRACE, scrape.fetch(timeout)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NetError::timed_out(Phase::Body, Peer::Home, &target.url).into()),
        };
        scrape.end(outcome, started.elapsed())
    }

    fn begin(&self, target: &Target) -> Vec<Staged> {
        self.writers
            .iter()
            .map(|writer| writer.borrow_mut().begin(target.id))
            .collect()
    }
}

struct InProgress<'a> {
    scraper: &'a Scraper<'a>,
    job: &'a ScrapeConfig,
    rules: Rules<'a>,
    staged: Vec<Staged>,
    tally: Tally,
    bytes: u64,
    ahead_ms: Option<i64>,
    size: Size,
}

/// What a scrape is to what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Fits,
    OverBody,
    OverMemory,
}

impl InProgress<'_> {
    fn address(&self) -> String {
        redacted(&self.rules.target.url)
    }

    fn body_error(&self, cause: BodyError) -> ScrapeError {
        ScrapeError::Body {
            address: self.address(),
            cause,
        }
    }

    async fn fetch(&mut self, timeout: Duration) -> Result<(), ScrapeError> {
        self.check_target_limit()?;
        let accept = accept(
            &self.job.scrape_protocols,
            self.job.naming.escaping,
            self.job.is_federation(),
        );
        let target = self.rules.target;
        let request = HomeRequest {
            job: target.job,
            url: &target.url,
            method: HomeMethod::Get {
                accept: &accept,
                compression: self.job.enable_compression,
            },
            timeout,
        };
        let HomeResponse {
            status,
            headers,
            mut body,
        } = self.scraper.home.send(request).await?;
        self.ahead_ms = self.clock_difference(&headers);
        if status != 200 {
            return Err(ScrapeError::Status {
                address: self.address(),
                status,
            });
        }
        // Anything but exactly gzip is taken as it is (scrape/scrape.go readResponse).
        let gzip = headers
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding == "gzip");
        let mut blocks = Blocks::new(gzip);
        let mut parser = None;
        while let Some(chunk) = body.chunk().await? {
            if chunk.is_empty() {
                continue;
            }
            // Of a plain body all that has come counts at once.
            let arrived = (!gzip).then(|| blocks.total() + chunk.len() as u64);
            let mut rest = &chunk[..];
            loop {
                let in_place = blocks.is_in_place();
                let taken = if in_place {
                    0
                } else {
                    blocks.feed(rest).map_err(|cause| self.body_error(cause))?
                };
                let full = blocks.is_full();
                self.bytes = arrived.unwrap_or_else(|| blocks.total());
                self.check_limits()?;
                // An empty body is a success whatever its type (scrape/scrape.go append).
                let mut again = 0;
                if self.bytes > 0 {
                    let parser = match &mut parser {
                        Some(parser) => parser,
                        None => parser.insert(self.parser(&headers)?),
                    };
                    if in_place {
                        // A block at a time: limits are looked at in between.
                        let piece = &rest[..rest.len().min(BLOCK)];
                        let parsed = self.parse(parser, piece, false)?;
                        let done = if parsed > 0 && piece.len() < rest.len() {
                            parsed
                        } else {
                            piece.len()
                        };
                        blocks
                            .keep(parsed, &piece[parsed..done])
                            .map_err(|cause| self.body_error(cause))?;
                        rest = &rest[done..];
                        if rest.is_empty() {
                            break;
                        }
                        continue;
                    }
                    again = blocks.taken(self.parse(parser, blocks.filled(), false)?);
                }
                rest = &rest[taken - again..];
                if rest.is_empty() && !full {
                    break;
                }
            }
        }
        let newline = parser.as_ref().is_some_and(Parser::wants_newline);
        let rest = blocks
            .finish(newline)
            .map_err(|cause| self.body_error(cause))?;
        if let Some(parser) = &mut parser {
            self.parse(parser, rest, true)?;
            self.check_limits()?;
        }
        self.check_tally()
    }

    fn clock_difference(&self, headers: &HeaderMap) -> Option<i64> {
        let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
        let date_ms = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
        Some(i64::try_from(date_ms).ok()? - self.scraper.clock.now_ms())
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
        let mut intake = Intake::new(
            self.rules,
            self.scraper.writers,
            &mut self.staged,
            &mut self.tally,
        );
        parser
            .parse(block, last, &mut intake)
            .map_err(|cause| ScrapeError::Exposition {
                address: redacted(&self.rules.target.url),
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
        // At the limit is too much (scrape/scrape.go readResponse).
        if body_limit > 0 && self.bytes >= body_limit {
            self.size = Size::OverBody;
            return limit(self, format!("body_size_limit of {body_limit} bytes"), "");
        }
        let staged = self
            .scraper
            .writers
            .iter()
            .zip(&self.staged)
            .map(|(writer, staged)| writer.borrow().staged_memory(staged));
        if !(self.scraper.fits)(staged.sum()) {
            self.size = Size::OverMemory;
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
        let (most, siblings) = (self.rules.limits.targets, self.rules.target.siblings);
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

    /// Limits that are looked at when all samples were counted.
    fn check_tally(&self) -> Result<(), ScrapeError> {
        let most = self.rules.limits.samples;
        if most == 0 || self.tally.limited <= most {
            if !self.tally.over_buckets {
                return Ok(());
            }
            let limit = format!(
                "native_histogram_bucket_limit of {}",
                self.rules.histogram_limits.buckets
            );
            return Err(ScrapeError::Limit {
                address: self.address(),
                limit,
                hint: " at the coarsest resolution",
            });
        }
        let limit = format!("sample_limit of {most} ({} samples)", self.tally.limited);
        Err(ScrapeError::Limit {
            address: self.address(),
            limit,
            hint: "",
        })
    }

    /// Commits the scrape, or rolls it back, with the series that report on it.
    fn end(mut self, outcome: Result<(), ScrapeError>, duration: Duration) -> Scraped {
        let mut rolled_back = vec![0; self.staged.len()];
        let mut error = outcome.err();
        if matches!(error, Some(ScrapeError::Net(_) | ScrapeError::Body { .. }))
            || self.size != Size::Fits
        {
            // Prometheus parses nothing of a body that did not come whole.
            if self.size != Size::OverMemory {
                self.tally = Tally::default();
            }
            for (writer, staged) in self.scraper.writers.iter().zip(&self.staged) {
                writer.borrow_mut().untrack(staged);
            }
        }
        // An empty body is no failure, but what is remembered of series grows no older by it
        // (scrape/scrape.go iterDone).
        if error.is_some() || self.bytes == 0 {
            self.roll_back(&mut rolled_back);
        }
        let committed = loop {
            let reported = self
                .mark_stale()
                .and_then(|()| self.report(error.as_ref(), duration));
            match reported
                .map_err(|refused| refused.0)
                .and_then(|()| self.commit())
            {
                Ok(committed) => break committed,
                // Only a batch beyond snappy's 4 GiB: max_request_bytes keeps them smaller.
                Err(cause) if error.is_none() => {
                    error = Some(ScrapeError::Format {
                        address: self.address(),
                        cause,
                    });
                    self.roll_back(&mut rolled_back);
                }
                Err(_) => break vec![Committed::default(); rolled_back.len()],
            }
        };
        let mut committed = committed;
        for (committed, rolled_back) in committed.iter_mut().zip(rolled_back) {
            committed.rolled_back = rolled_back;
        }
        Scraped {
            start_ms: self.rules.start_ms,
            duration,
            tally: self.tally,
            bytes: self.bytes,
            ahead_ms: self.ahead_ms,
            error,
            committed,
        }
    }

    fn roll_back(&mut self, rolled_back: &mut [u64]) {
        let target = self.rules.target.id;
        let reports = self
            .scraper
            .writers
            .iter()
            .map(|writer| writer.borrow_mut().begin_reports(target))
            .collect();
        let failed = std::mem::replace(&mut self.staged, reports);
        for ((writer, staged), rolled_back) in
            self.scraper.writers.iter().zip(failed).zip(rolled_back)
        {
            *rolled_back += staged.counts.scraped;
            let mut writer = writer.borrow_mut();
            writer.rollback(staged);
            if self.size == Size::OverMemory {
                writer.forget_untaken();
            }
        }
    }

    /// What the target shows no more ends here, by a marker in the scrape that misses it; when it
    /// failed, that is all of it.
    fn mark_stale(&mut self) -> Result<(), Refused> {
        for (writer, staged) in self.scraper.writers.iter().zip(&mut self.staged) {
            writer
                .borrow_mut()
                .mark_stale(staged, self.rules.start_ms)
                .map_err(|error| Refused(format!("compress: {error}")))?;
        }
        Ok(())
    }

    /// `scrape/scrape.go` `report`.
    fn report(&mut self, error: Option<&ScrapeError>, duration: Duration) -> Result<(), Refused> {
        let tally = self.tally;
        let body = match error {
            _ if self.size == Size::OverBody => -1.0,
            Some(ScrapeError::Net(_) | ScrapeError::Body { .. }) => 0.0,
            _ => self.bytes as f64,
        };
        let mut intake = Intake::new(
            self.rules,
            self.scraper.writers,
            &mut self.staged,
            &mut self.tally,
        );
        intake.own("up", if error.is_none() { 1.0 } else { 0.0 })?;
        intake.own("scrape_duration_seconds", duration.as_secs_f64())?;
        intake.own("scrape_samples_scraped", tally.scraped as f64)?;
        intake.own(
            "scrape_samples_post_metric_relabeling",
            tally.post_relabel as f64,
        )?;
        intake.own("scrape_series_added", tally.series_added as f64)?;
        if self.job.extra_scrape_metrics {
            intake.own(
                "scrape_timeout_seconds",
                self.job.scrape_timeout.as_secs_f64(),
            )?;
            intake.own("scrape_sample_limit", self.job.limits.samples as f64)?;
            intake.own("scrape_body_size_bytes", body)?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<Vec<Committed>, String> {
        let staged = std::mem::take(&mut self.staged);
        let commit = |(writer, staged): (&RefCell<Writer>, Staged)| {
            let counts = staged.counts;
            let scrapes = writer
                .borrow_mut()
                .commit(staged)
                .map_err(|error| format!("compress: {error}"))?;
            Ok(Committed {
                counts,
                rolled_back: 0,
                scrapes,
            })
        };
        self.scraper
            .writers
            .iter()
            .zip(staged)
            .map(commit)
            .collect()
    }
}
