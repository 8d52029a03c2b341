//! Scripted misbehaviour: an action, the requests that it strikes, and its end by count or time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The action on a request. "Stores" means that the gateway judges the request, forwards it to the
/// receiver and commits it, as without a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum FaultAction {
    /// Answers with this status and stores nothing.
    Respond {
        /// HTTP status.
        status: u16,
        /// Body of the answer.
        #[serde(default)]
        body: String,
        /// Further headers, e.g. `retry-after`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Waits, then continues as usual.
    Delay {
        /// Time to wait in milliseconds.
        ms: u64,
    },
    /// Never answers and stores nothing. Ends when the client gives up.
    Hang,
    /// Resets the connection and stores nothing.
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

/// A fault: an action and the requests that it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The action.
    #[serde(flatten)]
    pub action: FaultAction,
    /// Number of requests after which the fault ends; `None` for no such end.
    #[serde(default)]
    pub times: Option<u64>,
    /// Time after which the fault ends, in milliseconds; `None` for no such end.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Number of matching requests that are spared at first.
    #[serde(default)]
    pub skip: u64,
    /// Strikes only requests with a series of this metric.
    #[serde(default)]
    pub metric: Option<String>,
    /// Strikes only requests with at least this many samples.
    #[serde(default)]
    pub min_samples: u64,
    /// Strikes only requests on a connection that has served a request before.
    #[serde(default)]
    pub reused_connection: bool,
}

impl Fault {
    /// Makes a fault that strikes the next request.
    pub fn once(action: FaultAction) -> Self {
        Self::times(action, 1)
    }

    /// Makes a fault that strikes this many requests.
    pub fn times(action: FaultAction, times: u64) -> Self {
        Self {
            times: Some(times),
            ..Self::always(action)
        }
    }

    /// Makes a fault that lasts for a time from now.
    pub fn lasting(action: FaultAction, duration: Duration) -> Self {
        Self {
            for_ms: u64::try_from(duration.as_millis()).ok(),
            ..Self::always(action)
        }
    }

    /// Makes a fault that lasts until [`Faults::clear`].
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

    /// Makes an action that answers with this status and body.
    pub fn status(status: u16, body: &str) -> FaultAction {
        FaultAction::Respond {
            status,
            body: body.to_owned(),
            headers: BTreeMap::new(),
        }
    }
}

/// The properties of a request that faults look at.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Metric names in the request.
    pub metrics: &'a [&'a str],
    /// Number of samples in the request.
    pub samples: u64,
    /// Whether the connection has served a request before.
    pub reused_connection: bool,
}

/// The faults in force, oldest first. The first one that matches a request strikes it.
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
    /// Adds a fault behind those in force.
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

    /// Number of faults in force.
    pub fn active(&self) -> usize {
        let mut active = self.lock();
        retain_current(&mut active, Instant::now());
        active.len()
    }

    /// Returns the action that strikes a request, and counts it.
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
