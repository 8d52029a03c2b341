//! Metadata in a tick. It is sent after the samples, when it is due and if time is left.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::remote::Lane;
use super::{Forwarder, Plan};
use crate::config::RemoteWrite;
use crate::metadata::{self, FamilyMetadata, RequestBounds};
use crate::report::{Incident, IncidentKind};
use crate::send::post_once;
use crate::time::millis;

/// Longest time for reading and sending all metadata.
const LONGEST: Duration = Duration::from_secs(20);

/// Time after which a failure is tried again.
const AGAIN: Duration = Duration::from_secs(600);

impl Forwarder {
    /// Reads the homes' metadata and sends it to the remotes that are due. Returns the incidents,
    /// none of which concerns samples.
    pub(super) async fn send_metadata(&self, plan: &Plan, work_ends: Instant) -> Vec<Incident> {
        let config = &self.config.forwarder.metadata;
        if !config.enabled || plan.drain_only || plan.jobs.is_some() || plan.is_stopping() {
            return Vec::new();
        }
        let now_ms = self.clock.now_ms();
        let every =
            |remote: &RemoteWrite| millis(config.interval.max(remote.metadata.send_interval));
        let is_due = |lane: &Lane, remote: &RemoteWrite| {
            // A time in the future shows that the clock was set back. It must not delay metadata.
            lane.metadata_ms.get().is_none_or(|sent_ms| {
                now_ms.saturating_sub(sent_ms) >= every(remote) || sent_ms > now_ms
            })
        };
        let lanes = self.lanes.iter().zip(&self.config.remote_write);
        let due: Vec<_> = lanes
            .filter(|(lane, remote)| {
                // A remote that answers nothing would hold up the end of the tick.
                let answers = lane.state.stopped().is_none() && !lane.state.is_silent();
                remote.metadata.send && answers && is_due(lane, remote)
            })
            .collect();
        if due.is_empty() || work_ends <= Instant::now() {
            return Vec::new();
        }
        let metadata_ends = work_ends.min(Instant::now() + LONGEST);
        let mut incidents = Vec::new();
        let metrics = self.read_metadata(metadata_ends, &mut incidents).await;
        for (lane, remote) in due {
            let sent = match timeout_at(
                metadata_ends,
                lane.send_metadata(&metrics, remote, metadata_ends),
            )
            .await
            {
                Ok(sent) => sent,
                Err(_) => Err(format!("metadata: out of time for {}", lane.id)),
            };
            // After a failure the time is set so that the remote is due again after `AGAIN`.
            let sent_ms = if sent.is_ok() && incidents.is_empty() {
                now_ms
            } else {
                now_ms - every(remote) + millis(AGAIN).min(every(remote))
            };
            lane.metadata_ms.set(Some(sent_ms));
            incidents.extend(sent.err().map(|text| failure(text).for_remote(&lane.id)));
        }
        for incident in &incidents {
            tracing::warn!("{}; samples are not concerned", incident.text);
        }
        incidents
    }

    /// Reads the metadata of the homes that are federated. Other targets would expose types and
    /// help texts in each scrape, but those are not read here.
    async fn read_metadata(
        &self,
        metadata_ends: Instant,
        incidents: &mut Vec<Incident>,
    ) -> Vec<FamilyMetadata> {
        let mut metrics = Vec::new();
        for (job, config) in self
            .jobs
            .iter()
            .zip(&self.config.scrape_configs)
            .filter(|(_, config)| config.is_federation())
        {
            for target in &job.targets {
                // The scrape has reported a target without a URL.
                let Ok(exposition) = &target.url else {
                    continue;
                };
                let url =
                    metadata::address(exposition, self.config.forwarder.metadata.path.as_deref());
                let left = metadata_ends.saturating_duration_since(Instant::now());
                match metadata::read(
                    &*self.home,
                    target.job,
                    &url,
                    config.scrape_timeout.min(left),
                )
                .await
                {
                    Ok(read) => metrics.extend(read),
                    Err(error) => {
                        incidents.push(failure(error.to_string()).for_job(&config.job_name));
                    }
                }
            }
        }
        metrics
    }
}

fn failure(text: String) -> Incident {
    Incident::new(IncidentKind::MetadataFailed, text)
}

impl Lane {
    async fn send_metadata(
        &self,
        metrics: &[FamilyMetadata],
        config: &RemoteWrite,
        metadata_ends: Instant,
    ) -> Result<(), String> {
        let bounds = RequestBounds {
            metrics: config.metadata.max_samples_per_send,
            bytes: self.max_request_bytes(),
        };
        let requests = metadata::requests(metrics, bounds)
            .map_err(|error| format!("metadata: {}: {error}", self.id))?;
        for body in requests {
            let timeout = || {
                config
                    .remote_timeout
                    .min(metadata_ends.saturating_duration_since(Instant::now()))
            };
            post_once(self.remote.as_ref(), &body.into(), timeout)
                .await
                .map_err(|error| format!("metadata: {}: {error}", self.id))?;
        }
        Ok(())
    }
}
