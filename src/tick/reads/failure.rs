//! What follows from a read that has failed.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::Instant;

use super::cursor::ReadCursor;
use super::{MOST_RETRIES, ReadAttempt};
use crate::config::{RemoteReadMode, ScrapeConfig};
use crate::home::{HomeMethod, HomeRequest};
use crate::queue::ScrapeTraits;
use crate::read::{PlannedWindow, ReadError, ReadErrorKind, WindowReader};
use crate::report::{Incident, IncidentKind};
use crate::tick::Forwarder;
use crate::tick::round::ScrapeRound;

impl Forwarder {
    /// Decides what follows from a window that could not be read.
    pub(super) async fn failed_window(
        &self,
        cursor: &ReadCursor,
        window: &PlannedWindow,
        error: &ReadError,
        round: &ScrapeRound<'_>,
    ) -> ReadAttempt {
        let config = &self.config.scrape_configs[cursor.job()];
        let kind = error.kind();
        if kind == ReadErrorKind::Unsupported {
            if !cursor.known.borrow().answered {
                self.say_unsupported(cursor, config, error, round);
                return ReadAttempt::Unsupported;
            }
            // It did answer reads: a proxy may be in its place for a moment.
            cursor.denies.set(true);
        }
        tracing::warn!(instance = cursor.target.instance(), "{error}");
        if kind == ReadErrorKind::Smaller {
            cursor.planner.borrow_mut().failed(window);
            let retries = cursor.retries.get() + 1;
            cursor.retries.set(retries);
            if !error.runs_on() && retries <= MOST_RETRIES {
                return ReadAttempt::Retry;
            }
        }
        if error.runs_on() {
            cursor.abandon(self.clock.now_ms());
        }
        cursor.ask_facts_again();
        round.record.borrow_mut().incidents.push(
            Incident::new(IncidentKind::ReadFailed, error.to_string()).for_job(&config.job_name),
        );
        self.report_down(cursor, round);
        if !self.answers_scrapes(cursor, round).await {
            return ReadAttempt::HomeDown;
        }
        cursor.is_stuck.set(true);
        ReadAttempt::Failed
    }

    /// Sends `up` 0 and the other series that report on a scrape, once a read has failed for good:
    /// no scrape of the slot says so.
    fn report_down(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) {
        let reader = WindowReader {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &self.writers,
            fits: &|_| true,
        };
        let config = &self.config.scrape_configs[cursor.job()];
        let commits = reader.report_down(config, &cursor.target);
        let mut record = round.record.borrow_mut();
        for ((lane, committed), ledger) in self.lanes.iter().zip(commits).zip(&mut record.ledgers) {
            ledger.add(&committed.ledger());
            for batches in committed.scrapes {
                lane.queue.push(batches, ScrapeTraits::default());
            }
        }
    }

    /// Says once a process that a home has no remote read. It is asked again after a while.
    fn say_unsupported(
        &self,
        cursor: &ReadCursor,
        config: &ScrapeConfig,
        error: &ReadError,
        round: &ScrapeRound<'_>,
    ) {
        if self.config.forwarder.remote_read.mode == RemoteReadMode::Always {
            cursor.is_stuck.set(true);
        } else if !cursor.note_unsupported(self.clock.now_ms()) {
            return;
        }
        let text = format!(
            "{error}; until then, what job {} misses is gone",
            config.job_name
        );
        tracing::warn!("{text}");
        round
            .record
            .borrow_mut()
            .incidents
            .push(Incident::new(IncidentKind::ReadUnsupported, text).for_job(&config.job_name));
    }

    /// Whether the home answers a scrape. It tells a home that is away from one whose reads fail;
    /// the answer itself is dropped. What the tick's end cuts short says nothing, and counts as no
    /// answer.
    async fn answers_scrapes(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) -> bool {
        let target = &cursor.target;
        let left = round
            .deadlines
            .work_ends()
            .saturating_duration_since(Instant::now());
        let timeout = target.scrape_timeout.min(left);
        let Ok(url) = &target.url else {
            return false;
        };
        let config = &self.config.scrape_configs[cursor.job()];
        let request = HomeRequest {
            job: target.job,
            url,
            method: HomeMethod::Get {
                accept: "text/plain",
                compression: config.enable_compression,
            },
            timeout,
        };
        let answer = tokio::time::timeout(timeout, self.home.send(request)).await;
        let is_page = |headers: &HeaderMap| {
            let content_type = headers.get(CONTENT_TYPE);
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
        };
        matches!(answer, Ok(Ok(response)) if response.status == 200 && !is_page(&response.headers))
    }
}
