//! The moments at which `/federate` was asked, slot by slot.

use super::compare::{SlotMoment, Span};
use super::error::EndError;
use super::home::HomeTarget;
use super::own::{REPORTS, without_replica};
use super::remote::{RemoteEnd, RemoteQuestion};
use super::value::{Precision, TimedPrint, ValuePrint};
use crate::config::{Config, ScrapeConfig};
use crate::intake::report_label_sets;
use crate::series::Labels;
use crate::series::labels::NAME;
use crate::tick::newest_slot_ms;
use crate::time::millis;

/// The moments of the slots of one target in a window.
pub(super) struct TargetMoments {
    pub(super) slots: Vec<SlotMoment>,
    /// The moment of the slot that follows them.
    pub(super) next: SlotMoment,
}

impl TargetMoments {
    /// Reads the moments of a target from the `up` of a remote, which is the one at `index` of the
    /// configuration. Where that is missing, the grid of the job tells when it should have been.
    pub(super) async fn read(
        remote: &mut RemoteEnd,
        index: usize,
        target: &HomeTarget<'_>,
        config: &Config,
        window: &Span,
        max_bytes: u64,
    ) -> Result<Self, EndError> {
        let interval_ms = millis(target.job.scrape_interval).max(1);
        let span = *window.start()..=window.end() + 2 * interval_ms;
        let rules = target.rules(&config.global.external_labels, &config.remote_write);
        let mut asked = Vec::new();
        let sets = report_label_sets(&rules, REPORTS[0]).unwrap_or_default();
        if let Some(labels) = sets.into_iter().nth(index).flatten() {
            let labels = without_replica(labels, remote.drops_replica);
            let equal: Vec<_> = labels
                .iter()
                .filter(|label| label.name != NAME)
                .map(|label| (label.name.to_string(), label.value.to_string()))
                .collect();
            let name = labels.get(NAME);
            let question = RemoteQuestion {
                span: &span,
                metrics: &[(name, 0)],
                equal: &equal,
                max_bytes,
                max_samples: u64::MAX,
            };
            let hash = labels.hash();
            let mut take = |labels: &Labels<'_>, samples: &[TimedPrint], _: Precision| {
                let is_up = |sample: &&TimedPrint| sample.print == ValuePrint::float(1.0);
                if labels.hash() == hash {
                    let up = samples.iter().filter(is_up);
                    asked.extend(up.map(|sample| sample.timestamp_ms));
                }
            };
            remote.read(&question, &mut take).await?;
        }
        Ok(Self::on_grid(target.job, &asked, window))
    }

    /// The moment of each slot of a job in a window.
    fn on_grid(job: &ScrapeConfig, asked_ms: &[i64], window: &Span) -> Self {
        let interval_ms = millis(job.scrape_interval).max(1);
        let moment = |slot_ms: i64| {
            let asked = asked_ms
                .iter()
                .find(|&&asked| (slot_ms..slot_ms + interval_ms).contains(&asked));
            asked.map_or(SlotMoment::planned(slot_ms), |&asked| {
                SlotMoment::known(asked)
            })
        };
        let last_ms = newest_slot_ms(job, *window.end());
        let mut slots: Vec<_> =
            std::iter::successors(Some(last_ms), |slot_ms| Some(slot_ms - interval_ms))
                .take_while(|slot_ms| slot_ms >= window.start())
                .map(moment)
                .collect();
        slots.reverse();
        Self {
            slots,
            next: moment(last_ms + interval_ms),
        }
    }
}
