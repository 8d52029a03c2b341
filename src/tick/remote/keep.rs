//! What a remote refused for good, and what is too old for it, is kept in the spool.

use super::{Lane, LaneContext, LaneSummary};
use crate::batch::{self, Batch};
use crate::report::IncidentKind;
use crate::send::{Delivery, RejectedBatch, SendFailure, UndeliveredBatches, UndeliveredReason};
use crate::spool::name::Folder;
use crate::spool::segment::Note;
use crate::spool::store::StoreError;

impl Lane {
    /// Keeps the batches of a delivery that were refused for good.
    pub(super) async fn keep_rejected(
        &self,
        delivery: &mut Delivery,
        scrape: u64,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) {
        let rejected = std::mem::take(&mut delivery.rejected);
        let mut owed = Vec::new();
        let mut cause = None;
        // Neighbours with the same answer go into one object, with the answer as its note.
        for refused in rejected.chunk_by(RejectedBatch::has_same_answer) {
            let note = refused.first().map(|refused| Note {
                status: refused.status,
                message: refused.message.clone(),
            });
            let batches: Vec<_> = refused
                .iter()
                .map(|refused| refused.batch.clone())
                .collect();
            match self
                .keep(context, Folder::Rejected, scrape, &batches, note.as_ref())
                .await
            {
                Some(Err(error)) if error.kind.is_passing() => {
                    owed.extend(batches);
                    cause = Some(error);
                    continue;
                }
                // The store refuses them for good. They are given up, because they would otherwise
                // block all newer samples.
                Some(Err(error)) => self.not_kept(&error, sent),
                Some(Ok(())) | None => {}
            }
            delivery.rejected.extend(refused.iter().cloned());
        }
        if let Some(error) = cause {
            let message = format!(
                "{error}: batches that were refused for good stay owed until they can be kept"
            );
            self.leave_owed(delivery, owed, message, sent);
        }
    }

    /// Makes batches that cannot be kept for now undelivered.
    fn leave_owed(
        &self,
        delivery: &mut Delivery,
        batches: Vec<Batch>,
        message: String,
        sent: &mut LaneSummary,
    ) {
        let reason = UndeliveredReason::Deadline(Some(SendFailure::without_answer(message)));
        match &mut delivery.undelivered {
            // The rest of the batch was not sent for a reason of its own, for example because the
            // remote stopped us. That reason stays, and this one is reported as well.
            Some(undelivered) => {
                let samples = batch::samples(&batches);
                undelivered.batches.splice(..0, batches);
                sent.note_undelivered(&self.id, &reason, samples);
            }
            None => {
                delivery.undelivered = Some(UndeliveredBatches {
                    batches,
                    in_doubt: Vec::new(),
                    reason,
                });
            }
        }
    }

    /// Keeps the samples of a delivery that are too old, and reports them.
    pub(super) async fn keep_expired(
        &self,
        delivery: &mut Delivery,
        scrape: u64,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) {
        if delivery.expired.is_empty() {
            return;
        }
        match self
            .keep(context, Folder::Expired, scrape, &delivery.expired, None)
            .await
        {
            Some(Err(error)) if error.kind.is_passing() => {
                let message = format!(
                    "{error}: samples older than sample_age_limit stay owed until they can be kept"
                );
                let expired = std::mem::take(&mut delivery.expired);
                return self.leave_owed(delivery, expired, message, sent);
            }
            // The store refuses them for good. They are given up, because they would otherwise
            // block all newer samples.
            Some(Err(error)) => self.not_kept(&error, sent),
            Some(Ok(())) | None => {}
        }
        let text = format!(
            "send: samples for {} are older than sample_age_limit: they were not sent",
            self.id
        );
        sent.incidents.push(
            self.incident(IncidentKind::SamplesExpired, text)
                .with_samples(delivery.expired_samples()),
        );
    }

    /// Keeps batches in a folder of the spool. Returns `None` without a spool.
    async fn keep(
        &self,
        context: &LaneContext<'_>,
        folder: Folder,
        scrape: u64,
        batches: &[Batch],
        note: Option<&Note>,
    ) -> Option<Result<(), StoreError>> {
        Some(context.outbox?.keep(folder, scrape, batches, note).await)
    }

    /// Reports that batches could not be kept.
    fn not_kept(&self, error: &StoreError, sent: &mut LaneSummary) {
        let error = format!(
            "{error}: batches for {} that were refused or too old are not kept",
            self.id
        );
        // This is logged at once, because a kill would lose the report, and the samples are gone.
        tracing::warn!("{error}");
        sent.incidents
            .push(self.incident(IncidentKind::BatchNotKept, error));
    }
}
