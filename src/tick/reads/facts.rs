//! What a home says of itself, asked seldom, and never a reason for failure.

use std::time::Duration;

use tokio::time::Instant;

use super::cursor::ReadCursor;
use crate::read::facts::HomeApi;
use crate::report::{Incident, IncidentKind};
use crate::selector::MatchOp;
use crate::spool::state::HomeFactsRecord;
use crate::tick::Forwarder;
use crate::tick::round::ScrapeRound;

/// Time for which what a home said is believed, milliseconds. Its configuration seldom changes.
const FRESH_MS: i64 = 6 * 3600 * 1000;

/// Time after which a home is asked again that answers reads and not all of these pages,
/// milliseconds.
const SILENCE_MS: i64 = 10 * 60 * 1000;

/// Time limit of one page.
const PAGE_TIME: Duration = Duration::from_secs(2);

impl ReadCursor {
    /// Whether the home need not be asked now.
    fn knows_facts(&self, now_ms: i64) -> bool {
        let known = self.known.borrow();
        let facts = known.facts.as_ref();
        facts.is_some_and(|facts| is_fresh(facts, now_ms))
    }

    /// Whether a read would show other series than `/federate`, because a `match[]` asks for an
    /// external label of the home. What the home once said of its labels is not believed for ever,
    /// and the `match[]` may have been mended since.
    pub(super) fn is_misread(&self, now_ms: i64) -> bool {
        let known = self.known.borrow();
        let facts = known.facts.as_ref().filter(|facts| is_fresh(facts, now_ms));
        let Some(misread) = facts.and_then(|facts| facts.misread_label.as_ref()) else {
            return false;
        };
        let selectors = self.source.selectors.iter();
        selectors
            .flat_map(|selector| &selector.matchers)
            .any(|matcher| matcher.op == MatchOp::Equal && matcher.label == *misread)
    }

    /// Keeps what the home has said. What a silent one did not say stays as it was.
    fn keep_facts(&self, said: HomeFactsRecord, is_silent: bool) {
        let mut known = self.known.borrow_mut();
        let record = match known.facts.take() {
            Some(before) if is_silent => HomeFactsRecord {
                asked_ms: said.asked_ms,
                late_ms: said.late_ms.or(before.late_ms),
                look_back_ms: said.look_back_ms.or(before.look_back_ms),
                date_is_own: said.date_is_own || before.date_is_own,
                misread_label: said.misread_label.or(before.misread_label),
            },
            _ => said,
        };
        known.facts = Some(HomeFactsRecord {
            asked_ms: if is_silent {
                record.asked_ms - FRESH_MS + SILENCE_MS
            } else {
                record.asked_ms
            },
            ..record
        });
        self.lacks_facts.set(is_silent);
    }

    /// Lets the next tick ask a home again that was away or starting: reads have failed, too.
    pub(super) fn ask_facts_again(&self) {
        if self.lacks_facts.get()
            && let Some(facts) = &mut self.known.borrow_mut().facts
        {
            facts.asked_ms -= SILENCE_MS;
        }
    }
}

/// Whether what a home said is still believed.
fn is_fresh(facts: &HomeFactsRecord, now_ms: i64) -> bool {
    (facts.asked_ms..facts.asked_ms + FRESH_MS).contains(&now_ms)
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
        cursor.keep_facts(record, api.is_silent());
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::tests::cursor;
    use super::*;

    #[test]
    fn what_a_silent_home_has_said_before_is_believed() {
        let said = |asked_ms: i64, late_ms: Option<u64>| HomeFactsRecord {
            asked_ms,
            late_ms,
            date_is_own: late_ms.is_some(),
            ..HomeFactsRecord::default()
        };
        let late = |cursor: &ReadCursor| {
            let known = cursor.known.borrow();
            let facts = known.facts.as_ref().unwrap();
            (facts.late_ms, facts.date_is_own)
        };
        let (cursor, at_ms) = (cursor(), 100_000_000);
        cursor.keep_facts(said(0, Some(90_000)), false);
        cursor.keep_facts(said(at_ms, None), true);
        assert_eq!(late(&cursor), (Some(90_000), true));
        assert!(cursor.knows_facts(at_ms + 60_000));
        assert!(
            !cursor.knows_facts(at_ms + 600_000),
            "it is asked again soon"
        );
        // Reads fail as well: it is away, or it is starting.
        cursor.ask_facts_again();
        assert!(!cursor.knows_facts(at_ms + 60_000));
        // It answers, and says nothing any more.
        cursor.keep_facts(said(at_ms, None), false);
        assert_eq!(late(&cursor), (None, false));
        cursor.ask_facts_again();
        assert!(cursor.knows_facts(at_ms + 3_600_000));
    }

    #[test]
    fn a_selector_that_was_mended_is_read_again() {
        let misread = |label: &str| {
            let cursor = cursor();
            cursor.known.borrow_mut().facts = Some(HomeFactsRecord {
                asked_ms: 1_000,
                misread_label: Some(label.to_owned()),
                ..HomeFactsRecord::default()
            });
            cursor
        };
        // The cursor's match[] is `up`.
        let asked = misread("__name__");
        assert!(asked.is_unsupported(2_000));
        let hours = 3_600_000;
        assert!(!asked.is_unsupported(7 * hours), "the home is asked again");
        assert!(!misread("cluster").is_unsupported(2_000));
    }
}
