//! Scripted misbehaviour: what to do, to which requests, how often or how long.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What happens to a request. `store` is judging, handing to the receiver and committing, as
/// without a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum FaultAction {
    /// Answers this; stores nothing.
    Respond {
        /// HTTP status.
        status: u16,
        /// Answer's body.
        #[serde(default)]
        body: String,
        /// Further headers, e.g. `retry-after`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Waits, then goes on as usual.
    Delay {
        /// How long.
        ms: u64,
    },
    /// Never answers; stores nothing. Ends when the client gives up.
    Hang,
    /// Resets the connection; stores nothing.
    Reset,
    /// Stores, then never answers.
    StoreAndHang,
    /// Stores, then resets the connection.
    StoreAndReset,
    /// Stores, then closes the connection without an answer.
    StoreAndClose,
    /// Stores, then cuts the answer within its body.
    StoreAndCut,
    /// Answers 200 and stores nothing: a lost batch that no sender can see.
    Drop,
}

/// A fault: an action and the requests that it befalls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub action: FaultAction,
    /// Ends after this many requests; `None`: no such end.
    #[serde(default)]
    pub times: Option<u64>,
    /// Ends after this long; `None`: no such end.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Spares the first requests that match.
    #[serde(default)]
    pub skip: u64,
    /// Only requests that hold a series of this metric.
    #[serde(default)]
    pub metric: Option<String>,
    /// Only requests with at least this many samples.
    #[serde(default)]
    pub min_samples: u64,
    /// Only requests on a connection that served one before.
    #[serde(default)]
    pub reused_connection: bool,
}

impl Fault {
    /// For the next request only.
    pub fn once(action: FaultAction) -> Self {
        Self::times(action, 1)
    }

    /// For the next requests.
    pub fn times(action: FaultAction, times: u64) -> Self {
        Self {
            times: Some(times),
            ..Self::always(action)
        }
    }

    /// For a while from now.
    pub fn lasting(action: FaultAction, duration: Duration) -> Self {
        Self {
            for_ms: u64::try_from(duration.as_millis()).ok(),
            ..Self::always(action)
        }
    }

    /// Until [`Faults::clear`].
    pub fn always(action: FaultAction) -> Self {
        Self {
            action,
            times: None,
            for_ms: None,
            skip: 0,
            metric: None,
            min_samples: 0,
            reused_connection: false,
        }
    }

    /// Answers this status, with this body.
    pub fn status(status: u16, body: &str) -> FaultAction {
        FaultAction::Respond {
            status,
            body: body.to_owned(),
            headers: BTreeMap::new(),
        }
    }
}

/// What a fault looks at in a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Metric names in the request.
    pub metrics: &'a [&'a str],
    /// Samples in it.
    pub samples: u64,
    /// Whether its connection served one before.
    pub reused_connection: bool,
}

/// The faults in force, oldest first; the first that matches strikes.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<Vec<ActiveFault>>,
}

#[derive(Debug)]
struct ActiveFault {
    fault: Fault,
    ends: Option<Instant>,
}

impl Faults {
    /// Puts a fault in force, after those that are.
    pub fn add(&self, fault: Fault) {
        let ends = fault
            .for_ms
            .map(|ms| Instant::now() + Duration::from_millis(ms));
        self.lock().push(ActiveFault { fault, ends });
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Faults in force.
    pub fn active(&self) -> usize {
        let mut active = self.lock();
        retain_current(&mut active, Instant::now());
        active.len()
    }

    /// The action for a request, counted.
    pub fn strike(&self, facts: RequestFacts<'_>) -> Option<FaultAction> {
        let mut active = self.lock();
        retain_current(&mut active, Instant::now());
        for entry in active
            .iter_mut()
            .filter(|entry| matches(&entry.fault, facts))
        {
            if entry.fault.skip > 0 {
                entry.fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut entry.fault.times {
                *times -= 1;
            }
            return Some(entry.fault.action.clone());
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ActiveFault>> {
        self.active
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn retain_current(active: &mut Vec<ActiveFault>, now: Instant) {
    active.retain(|entry| entry.fault.times != Some(0) && entry.ends.is_none_or(|ends| now < ends));
}

fn matches(fault: &Fault, facts: RequestFacts<'_>) -> bool {
    fault
        .metric
        .as_deref()
        .is_none_or(|metric| facts.metrics.contains(&metric))
        && facts.samples >= fault.min_samples
        && (facts.reused_connection || !fault.reused_connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_counts_and_matches() {
        let faults = Faults::default();
        let up = RequestFacts {
            metrics: &["up"],
            samples: 5,
            reused_connection: false,
        };
        let other = RequestFacts {
            metrics: &["x"],
            ..up
        };
        faults.add(Fault {
            skip: 1,
            metric: Some("up".to_owned()),
            ..Fault::times(FaultAction::Hang, 2)
        });
        assert_eq!(faults.strike(other), None);
        assert_eq!(faults.strike(up), None);
        assert_eq!(faults.strike(up), Some(FaultAction::Hang));
        assert_eq!(faults.strike(up), Some(FaultAction::Hang));
        assert_eq!(faults.strike(up), None);
        assert_eq!(faults.active(), 0);
        faults.add(Fault {
            min_samples: 6,
            ..Fault::always(FaultAction::Drop)
        });
        faults.add(Fault {
            reused_connection: true,
            ..Fault::always(FaultAction::Reset)
        });
        assert_eq!(faults.strike(up), None);
        assert_eq!(
            faults.strike(RequestFacts {
                reused_connection: true,
                ..up
            }),
            Some(FaultAction::Reset)
        );
        faults.clear();
        faults.add(Fault::lasting(FaultAction::Drop, Duration::ZERO));
        assert_eq!(faults.strike(up), None);
    }

    #[test]
    fn reads_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"action":"respond","status":503,"times":3}"#).unwrap();
        assert_eq!(fault, Fault::times(Fault::status(503, ""), 3));
        assert!(serde_json::from_str::<Fault>(r#"{"action":"explode"}"#).is_err());
    }
}
