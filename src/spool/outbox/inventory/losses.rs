//! What people must know: samples that were lost in the spool, and why.

use crate::report::{Incident, IncidentKind};

/// The losses and incidents since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    samples: u64,
    incidents: Vec<Incident>,
}

impl Losses {
    /// Counts samples as lost, and logs why.
    pub(crate) fn lose(&mut self, kind: IncidentKind, samples: u64, text: String) {
        self.samples += samples;
        self.keep(Incident::new(kind, text).with_samples(samples));
    }

    /// Logs what happened, and keeps it for the report.
    pub(crate) fn say(&mut self, kind: IncidentKind, text: String) {
        self.keep(Incident::new(kind, text));
    }

    fn keep(&mut self, incident: Incident) {
        tracing::error!("{}", incident.text);
        self.incidents.push(incident);
    }

    /// Samples that were lost since the last call.
    pub(crate) fn take_samples(&mut self) -> u64 {
        std::mem::take(&mut self.samples)
    }

    /// Incidents since the last call.
    pub(crate) fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.incidents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_and_are_taken_once() {
        let mut losses = Losses::default();
        losses.lose(IncidentKind::SegmentLost, 3, "one".to_owned());
        losses.say(IncidentKind::ForeignObject, "two".to_owned());
        losses.lose(IncidentKind::BacklogEvicted, 4, "three".to_owned());
        assert_eq!((losses.take_samples(), losses.take_samples()), (7, 0));
        let incidents = losses.take_incidents();
        assert_eq!(
            incidents
                .iter()
                .map(|incident| incident.text.as_str())
                .collect::<Vec<_>>(),
            ["one", "two", "three"]
        );
        assert_eq!(incidents[2].samples, Some(4));
        assert!(losses.take_incidents().is_empty());
    }
}
