//! One window from its request to its commit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::answer;
use super::error::{ReadError, ReadErrorKind};
use super::pass::{Pass, PassCounts, PassRules, RepeatedKeys};
use super::planner::AnswerSize;
use super::reduce::SlotHistograms;
use super::request::{self, TimeRange};
use super::response::ReadResponseDecoder;
use super::shape::WindowShape;
use super::snappy::SnappyDecoder;
use super::window::{DATE_RESOLUTION_MS, grid_ms, on_grid, upper_end_ms};
use super::window_request::{WindowOutcome, WindowRequest};
use crate::batch::Writer;
use crate::config::{RemoteWrite, ScrapeConfig};
use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody, Target};
use crate::intake::{IntakeRules, IntakeTransaction, Refusal, RemoteCommit, SourceReport};
use crate::net::{NetError, Peer, Phase};
use crate::time::Clock;

/// How late a client's own time-out may be.
const GRACE: Duration = Duration::from_millis(250);

/// Longest answer that is decoded, in bytes before compression. The planner aims far below it.
const MAX_RAW_BYTES: u64 = 256 << 20;

/// Passes over a window at most. The second one knows the label sets that come twice, unless
/// further ones have come meanwhile.
const MAX_PASSES: u32 = 3;

/// What all windows share.
#[derive(Clone, Copy)]
pub struct WindowReader<'a> {
    /// Where answers come from.
    pub home: &'a dyn Home,
    /// The wall clock.
    pub clock: &'a dyn Clock,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// The remotes in the order of the writers; their `write_relabel_configs` apply.
    pub remotes: &'a [RemoteWrite],
    /// The writer of each remote.
    pub writers: &'a [RefCell<Writer>],
    /// Whether `memory_limit` has room for this many bytes that a window has staged, besides all
    /// that is held otherwise.
    pub fits: &'a dyn Fn(usize) -> bool,
}

impl<'a> WindowReader<'a> {
    /// Reads one window. The result always accounts for all samples: see [`WindowOutcome`].
    pub async fn read(&self, request: &WindowRequest<'a>) -> WindowOutcome {
        let started = Instant::now();
        let deadline = started + request.timeout;
        let mut hold = RepeatedKeys::default();
        for _ in 1..MAX_PASSES {
            let mut read = RunningRead::begin(self, request);
            let result = read.fetch_by(deadline, &hold).await;
            if result.is_err() || read.repeated.len() == 0 {
                return read.end(result, started.elapsed());
            }
            // The answer has label sets twice. Nothing of it was committed, and it has ended, so
            // that the home is free to answer again.
            hold.extend(read.abandon());
        }
        let mut read = RunningRead::begin(self, request);
        let mut result = read.fetch_by(deadline, &hold).await;
        if result.is_ok() && read.repeated.len() > 0 {
            result = Err(request.repeated_error());
        }
        read.end(result, started.elapsed())
    }

    /// What is written in the place of a window that could not be read: `up` 0 and the like, one
    /// entry for each remote.
    #[must_use]
    pub fn report_down(&self, job: &'a ScrapeConfig, target: &'a Target) -> Vec<RemoteCommit> {
        let mut transaction = IntakeTransaction::begin(self.writers, self.rules(job, target));
        // Nothing was shown, so nothing ages.
        transaction.roll_back();
        let report = SourceReport {
            is_up: false,
            duration: Duration::ZERO,
            body_bytes: 0.0,
        };
        let committed = transaction
            .report(job, &report)
            .and_then(|()| transaction.commit());
        committed.unwrap_or_else(|_| transaction.empty_commits())
    }

    fn rules(&self, job: &'a ScrapeConfig, target: &'a Target) -> IntakeRules<'a> {
        let start_ms = self.clock.now_ms();
        IntakeRules {
            // Where the job does not honor them, slots have put their own in their place.
            honor_timestamps: true,
            // Markers come from the home, or are held back while a gap may still be filled.
            track_timestamps_staleness: false,
            ..IntakeRules::new(job, target, self.external_labels, self.remotes, start_ms)
        }
    }
}

struct RunningRead<'s, 'a> {
    reader: &'s WindowReader<'a>,
    request: &'s WindowRequest<'a>,
    transaction: IntakeTransaction<'a>,
    /// Label sets that this pass has met twice.
    repeated: RepeatedKeys,
    end_ms: Option<i64>,
    bytes: u64,
    raw_bytes: u64,
    counts: PassCounts,
    ahead_ms: Option<i64>,
    /// Whether the window was more than memory allows.
    out_of_memory: bool,
}

impl<'s, 'a> RunningRead<'s, 'a> {
    fn begin(reader: &'s WindowReader<'a>, request: &'s WindowRequest<'a>) -> Self {
        let rules = reader.rules(request.job, request.target);
        Self {
            reader,
            request,
            transaction: IntakeTransaction::begin_window(reader.writers, rules, request.starts),
            repeated: RepeatedKeys::default(),
            end_ms: None,
            bytes: 0,
            raw_bytes: 0,
            counts: PassCounts::default(),
            ahead_ms: None,
            out_of_memory: false,
        }
    }

    /// Drops all that was staged. Returns the label sets that the next pass must hold back.
    fn abandon(mut self) -> RepeatedKeys {
        // The next pass counts its samples.
        self.transaction.abandon();
        self.repeated
    }

    fn address(&self) -> String {
        self.request.address()
    }

    /// The home's client keeps the time and knows the phase. This time-out holds whatever the home
    /// is, so that a window always ends.
    async fn fetch_by(&mut self, deadline: Instant, hold: &RepeatedKeys) -> Result<(), ReadError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let url = &self.request.source.url;
        match tokio::time::timeout(left + GRACE, self.fetch(left, hold)).await {
            Ok(result) => result,
            Err(_) => Err(NetError::timed_out(Phase::Body, Peer::Home, url).into()),
        }
    }

    async fn fetch(&mut self, timeout: Duration, hold: &RepeatedKeys) -> Result<(), ReadError> {
        self.request.check_target_limit()?;
        let asked_at_ms = self.reader.clock.now_ms();
        let sent = Instant::now();
        let HomeResponse {
            status,
            headers,
            mut body,
        } = self.ask(timeout).await?;
        let until_headers = sent.elapsed();
        if status != 200 {
            return Err(ReadError::Status {
                address: self.address(),
                status,
                text: answer::error_text(&headers, &mut *body).await,
            });
        }
        if let Some(found) = answer::foreign(&headers) {
            let address = self.address();
            return Err(ReadError::Foreign { address, found });
        }
        let end_ms = self.upper_end(asked_at_ms, &headers, until_headers)?;
        self.end_ms = Some(end_ms);
        self.take(body, end_ms, hold).await?;
        self.check_tally()
    }

    async fn ask(&self, timeout: Duration) -> Result<HomeResponse, ReadError> {
        let WindowRequest {
            target,
            source,
            part,
            range,
            ..
        } = *self.request;
        let matcher = part.matcher();
        let mut selectors = source.selectors.clone();
        for selector in &mut selectors {
            selector.matchers.extend(matcher.clone());
        }
        let body = request::body(&selectors, range).map_err(|error| ReadError::Limit {
            address: self.address(),
            limit: format!("the length of selectors ({error})"),
            hint: ": select by fewer match[]",
            kind: ReadErrorKind::Refused,
        })?;
        let headers = request::headers();
        let request = HomeRequest {
            job: target.job,
            url: &source.url,
            method: HomeMethod::Post {
                body,
                headers: &headers,
            },
            timeout,
        };
        Ok(self.reader.home.send(request).await?)
    }

    /// Time up to which the answer is complete: see [`WindowOutcome::end_ms`].
    fn upper_end(
        &mut self,
        asked_at_ms: i64,
        headers: &HeaderMap,
        until_headers: Duration,
    ) -> Result<i64, ReadError> {
        let WindowRequest {
            range,
            settle,
            shape,
            ..
        } = *self.request;
        let date_ms = answer::date_ms(headers);
        self.ahead_ms = date_ms.map(|date_ms| date_ms - self.reader.clock.now_ms());
        let grid_ms = match shape {
            // A slot shows what is visible when it is asked for, as federation does. So it is over
            // unless the home's clock has certainly not reached it.
            WindowShape::Slots(_) => {
                return Ok(date_ms.map_or(range.end_ms, |date_ms| {
                    range.end_ms.min(date_ms.saturating_add(DATE_RESOLUTION_MS))
                }));
            }
            WindowShape::Raw { .. } if date_ms.is_none() => {
                let address = self.address();
                return Err(ReadError::NoDate { address });
            }
            WindowShape::Raw { resolution_ms } => grid_ms(resolution_ms),
        };
        let upper_ms = upper_end_ms(asked_at_ms, date_ms, until_headers, settle);
        Ok(if upper_ms >= range.end_ms {
            range.end_ms
        } else {
            on_grid(upper_ms, grid_ms)
        })
    }

    /// Takes the answer, block by block.
    async fn take(
        &mut self,
        mut body: Box<dyn ResponseBody>,
        end_ms: i64,
        hold: &RepeatedKeys,
    ) -> Result<(), ReadError> {
        let mut decoders = Decoders {
            snappy: SnappyDecoder::new(MAX_RAW_BYTES),
            response: ReadResponseDecoder::default(),
            pass: Pass::new(self.pass_rules(end_ms), hold),
        };
        let mut result = Ok(());
        while result.is_ok() {
            match body.chunk().await {
                Ok(Some(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    decoders.snappy.push(chunk);
                    result = self.take_chunk(&mut decoders);
                }
                Ok(None) => {
                    result = self.finish(&mut decoders);
                    break;
                }
                Err(error) => result = Err(error.into()),
            }
        }
        self.raw_bytes = decoders.snappy.expected().unwrap_or_default();
        self.counts = decoders.pass.counts;
        self.repeated = decoders.pass.repeated;
        result
    }

    fn pass_rules(&self, end_ms: i64) -> PassRules {
        let WindowRequest {
            job,
            range,
            shape,
            max_samples,
            ..
        } = *self.request;
        PassRules {
            range: TimeRange { end_ms, ..range },
            shape: shape.up_to(end_ms),
            own_timestamps: job.honor_timestamps,
            histograms: SlotHistograms::of(&job.scrape_protocols, job.histograms.native),
            takes_native: job.histograms.native,
            escaping: job.naming.escaping,
            max_samples,
        }
    }

    /// Takes the chunk that was pushed last.
    fn take_chunk(&mut self, decoders: &mut Decoders<'_>) -> Result<(), ReadError> {
        let request = self.request;
        let Decoders {
            snappy,
            response,
            pass,
        } = decoders;
        while snappy.fill().map_err(|cause| ReadError::Snappy {
            address: request.address(),
            cause,
        })? {
            if !(self.reader.fits)(self.transaction.staged_memory() + pass.memory()) {
                self.out_of_memory = true;
                return Err(ReadError::Limit {
                    address: request.address(),
                    limit: "memory_limit".to_owned(),
                    hint: ": the next window is smaller; give the function more memory",
                    kind: ReadErrorKind::Smaller,
                });
            }
            let mut intake = self.transaction.intake();
            let taken = response
                .decode(snappy.buffer(), |series| pass.take(series, &mut intake))
                .map_err(|error| request.pass_error(error))?;
            snappy.consume(taken);
        }
        Ok(())
    }

    /// Ends the answer. Nothing of it counts unless it is whole.
    fn finish(&mut self, decoders: &mut Decoders<'_>) -> Result<(), ReadError> {
        let Decoders {
            snappy,
            response,
            pass,
        } = decoders;
        snappy.finish().map_err(|cause| ReadError::Snappy {
            address: self.address(),
            cause,
        })?;
        let request = self.request;
        let queries = request.source.selectors.len();
        response
            .finish(snappy.buffer().len(), queries)
            .map_err(|error| request.pass_error(error.into()))?;
        pass.finish(&mut self.transaction.intake())
            .map_err(|error| request.pass_error(error))
    }

    /// Checks the limit that needs the count of all series: a scrape shows one sample of each.
    fn check_tally(&self) -> Result<(), ReadError> {
        let most = self.request.job.limits.samples;
        let limited = self.transaction.tally().limited;
        if most == 0 || limited <= most {
            return Ok(());
        }
        Err(ReadError::Limit {
            address: self.address(),
            limit: format!("sample_limit of {most} ({limited} series)"),
            hint: "",
            kind: ReadErrorKind::Refused,
        })
    }

    /// Commits the window, or rolls it back, together with the series that report on it.
    fn end(mut self, result: Result<(), ReadError>, duration: Duration) -> WindowOutcome {
        let mut error = result.err();
        if error.is_some() {
            self.roll_back();
        }
        let commits = match self.commit(error.is_none(), duration) {
            Ok(commits) => commits,
            // As in a scrape: it takes a batch beyond snappy's 4 GiB.
            Err(refusal) if error.is_none() => {
                error = Some(self.request.pass_error(refusal.into()));
                self.roll_back();
                self.commit(false, duration)
                    .unwrap_or_else(|_| self.transaction.empty_commits())
            }
            Err(_) => self.transaction.empty_commits(),
        };
        WindowOutcome {
            end_ms: self.end_ms.filter(|_| error.is_none()),
            tally: self.transaction.tally(),
            commits,
            bytes: self.bytes,
            size: AnswerSize {
                raw_bytes: self.raw_bytes,
                series: self.counts.series,
                samples: self.counts.samples,
            },
            newest_ms: self.counts.newest_ms,
            skipped: self.counts.skipped,
            duration,
            ahead_ms: self.ahead_ms,
            error,
        }
    }

    fn roll_back(&mut self) {
        self.transaction.forget_tally();
        self.transaction.roll_back();
        if self.out_of_memory {
            self.transaction.forget_untaken();
        }
    }

    fn commit(&mut self, is_up: bool, duration: Duration) -> Result<Vec<RemoteCommit>, Refusal> {
        if self.request.reports && is_up {
            let report = SourceReport {
                is_up,
                duration,
                body_bytes: self.raw_bytes as f64,
            };
            self.transaction.report(self.request.job, &report)?;
        }
        self.transaction.commit()
    }
}

/// An answer from the wire to its series.
struct Decoders<'h> {
    snappy: SnappyDecoder,
    response: ReadResponseDecoder,
    pass: Pass<'h>,
}
