//! What a home says of itself, asked seldom, and never a reason for failure.

use std::time::Duration;

use tokio::time::Instant;

use super::cursor::ReadCursor;
use crate::read::facts::HomeApi;
use crate::report::{Incident, IncidentKind};
use crate::spool::state::HomeFactsRecord;
use crate::tick::Forwarder;
use crate::tick::round::ScrapeRound;

/// Time for which what a home said is believed, milliseconds. Its configuration seldom changes.
const FRESH_MS: i64 = 6 * 3600 * 1000;

/// Time limit of one page.
const PAGE_TIME: Duration = Duration::from_secs(2);

impl ReadCursor {
    /// Whether the home need not be asked now.
    fn knows_facts(&self, now_ms: i64) -> bool {
        let known = self.known.borrow();
        known
            .facts
            .as_ref()
            .is_some_and(|facts| (facts.asked_ms..facts.asked_ms + FRESH_MS).contains(&now_ms))
    }
}

impl Forwarder {
    /// Asks a home how late its samples may become visible and what is known to go wrong with its
    /// reads, before the first read and every few hours.
    pub(super) async fn learn_facts(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) {
        let now_ms = self.clock.now_ms();
        if cursor.knows_facts(now_ms) {
            return;
        }
        let left = round
            .deadlines
            .work_ends()
            .saturating_duration_since(Instant::now());
        // There are five pages. They never take most of a tick.
        let api = HomeApi::new(&*self.home, &cursor.target, PAGE_TIME.min(left / 8));
        let facts = api.facts().await;
        let clock = api.clock().await;
        for trap in facts.traps() {
            tracing::warn!(instance = cursor.target.instance(), "remote read: {trap}");
        }
        let misread_label = facts
            .misread_label(&cursor.source.selectors)
            .map(str::to_owned);
        if let Some(label) = &misread_label {
            let job = &self.config.scrape_configs[cursor.job()].job_name;
            let text = format!(
                "remote read: a match[] of job {job} asks for {label}, an external label of the \
                 home, and a read would show other series than /federate: what the job misses is \
                 gone until the matcher is taken out"
            );
            tracing::warn!("{text}");
            round
                .record
                .borrow_mut()
                .incidents
                .push(Incident::new(IncidentKind::ReadUnsupported, text).for_job(job));
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        let record = HomeFactsRecord {
            asked_ms: now_ms,
            late_ms: facts.implied_lateness().and_then(millis),
            look_back_ms: facts
                .flags
                .and_then(|flags| flags.look_back)
                .and_then(millis),
            date_is_own: clock.is_some_and(|clock| clock.is_own_date()),
            misread_label,
        };
        cursor.known.borrow_mut().facts = Some(record);
    }
}
