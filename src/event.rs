//! The events that start a tick: those of EventBridge, and those that people send.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::config::{SiteName, parse_duration};

/// The action that an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventAction {
    /// Scrapes and sends.
    #[default]
    Forward,
    /// Sends the backlog and scrapes nothing.
    Drain,
    /// Probes the home, the remotes and the configuration.
    Check,
    /// Reports the state of the spool: lease, watermarks and backlog.
    Status,
    /// Compares the home with the remotes.
    Verify,
}

/// Range that is verified unless the event says otherwise: a day, for a schedule once a night.
const LAST: Duration = Duration::from_secs(24 * 3600);

/// Longest range that is verified.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

const ACTIONS: [(&str, EventAction); 5] = [
    ("forward", EventAction::Forward),
    ("drain", EventAction::Drain),
    ("check", EventAction::Check),
    ("status", EventAction::Status),
    ("verify", EventAction::Verify),
];
const KEYS: [&str; 5] = ["action", "jobs", "dry_run", "last", "site"];

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Action that is asked for.
    pub action: EventAction,
    /// Names of the only jobs that are wanted; `None` is all.
    pub jobs: Option<Vec<String>>,
    /// Whether samples are only scraped and counted, not sent.
    pub dry_run: bool,
    /// Whether a person asked: then each job is scraped once and at once, not at the times of a
    /// whole minute.
    pub by_hand: bool,
    /// How far back a verification looks. Default 24h.
    pub last: Duration,
    /// The site that is meant, when the function serves many.
    pub site: Option<SiteName>,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            action: EventAction::default(),
            jobs: None,
            dry_run: false,
            by_hand: false,
            last: LAST,
            site: None,
        }
    }
}

/// Why an event is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{0}")]
pub struct EventError(String);

impl Event {
    /// Reads an event. An event of EventBridge, an empty one, one that names a site and nothing
    /// else, and null ask to forward.
    ///
    /// # Errors
    /// Fails for an unknown action or key, and lists the known ones, and for a site's name that is
    /// none.
    ///
    /// # Examples
    /// ```
    /// use amp_forwarder::event::{Event, EventAction};
    /// use serde_json::json;
    ///
    /// let event = Event::parse(&json!({"action": "drain"}))?;
    /// assert_eq!(event.action, EventAction::Drain);
    /// assert!(event.by_hand);
    /// # Ok::<(), amp_forwarder::event::EventError>(())
    /// ```
    pub fn parse(event: &Value) -> Result<Self, EventError> {
        let Value::Object(fields) = event else {
            return match event {
                Value::Null => Ok(Self::default()),
                _ => Err(EventError(format!(
                    "the event is not an object; known keys: {}",
                    KEYS.join(", ")
                ))),
            };
        };
        // Rules and schedules without an input of their own send these two keys (EventBridge user
        // guide, "AWS service event metadata").
        let from_event_bridge = fields.contains_key("source") && fields.contains_key("detail-type");
        if fields.is_empty() || from_event_bridge {
            return Ok(Self::default());
        }
        // The schedule of a site names it and says nothing else.
        let by_hand = fields.keys().any(|key| key != "site");
        let mut parsed = Self {
            by_hand,
            ..Self::default()
        };
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("action", Value::String(name)) => {
                    let known = ACTIONS.iter().find(|(known, _)| known == name);
                    parsed.action = known.map(|(_, action)| *action).ok_or_else(|| {
                        EventError(format!(
                            "unknown action \"{name}\"; known actions: {}",
                            ACTIONS.map(|(known, _)| known).join(", ")
                        ))
                    })?;
                }
                ("jobs", Value::Array(names)) => {
                    let names: Option<Vec<_>> = names
                        .iter()
                        .map(|name| name.as_str().map(str::to_owned))
                        .collect();
                    parsed.jobs = Some(names.ok_or_else(|| {
                        EventError("\"jobs\" must be a list of job names".to_owned())
                    })?);
                }
                ("dry_run", Value::Bool(dry_run)) => parsed.dry_run = *dry_run,
                ("last", Value::String(text)) => parsed.last = last(text)?,
                ("site", Value::String(name)) => parsed.site = Some(site(name)?),
                ("site", _) => return Err(EventError("\"site\" must be a string".to_owned())),
                ("action", _) => return Err(EventError("\"action\" must be a string".to_owned())),
                ("jobs", _) => {
                    return Err(EventError(
                        "\"jobs\" must be a list of job names".to_owned(),
                    ));
                }
                ("dry_run", _) => {
                    return Err(EventError("\"dry_run\" must be true or false".to_owned()));
                }
                ("last", other) => parsed.last = last(&other.to_string())?,
                _ => {
                    return Err(EventError(format!(
                        "unknown key \"{key}\"; known keys: {}",
                        KEYS.join(", ")
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

fn site(name: &str) -> Result<SiteName, EventError> {
    SiteName::parse(name).map_err(|error| EventError(format!("\"site\": {error}")))
}

fn last(text: &str) -> Result<Duration, EventError> {
    parse_duration(text)
        .filter(|last| !last.is_zero() && *last <= LONGEST)
        .ok_or_else(|| {
            EventError("\"last\" must be a duration such as \"24h\", of at most 31d".to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_schedule_and_nothing_mean_forward() {
        let events = [
            Value::Null,
            json!({}),
            json!({"version": "0", "id": "1", "detail-type": "Scheduled \
                Event", "source": "aws.events", "account": "1", "time": "2026-01-01T00:00:00Z",
                "region": "eu-west-1", "resources": ["arn:aws:events:eu-west-1:1:rule/r"], "detail": {}}),
            json!({"version": "0", "detail-type": "Scheduled \
                Event", "source": "aws.scheduler", "detail": "{}"}),
        ];
        for event in events {
            assert_eq!(Event::parse(&event), Ok(Event::default()), "{event}");
        }
    }

    #[test]
    fn people_say_what_they_want() {
        let request =
            Event::parse(&json!({"action": "forward", "jobs": ["federate"], "dry_run": true}))
                .unwrap();
        assert_eq!(
            request,
            Event {
                action: EventAction::Forward,
                jobs: Some(vec!["federate".to_owned()]),
                dry_run: true,
                by_hand: true,
                ..Event::default()
            }
        );
        let verify = Event::parse(&json!({"action": "verify", "last": "90m"})).unwrap();
        assert_eq!(
            (verify.action, verify.last),
            (EventAction::Verify, Duration::from_secs(5400))
        );
        for (name, action) in ACTIONS {
            assert_eq!(
                Event::parse(&json!({"action": name})).unwrap().action,
                action
            );
        }
    }

    #[test]
    fn the_schedule_of_a_site_names_it_and_a_person_says_more() {
        let tokyo = SiteName::parse("tokyo").unwrap();
        let scheduled = Event::parse(&json!({"site": "tokyo"})).unwrap();
        let expected = Event {
            site: Some(tokyo.clone()),
            ..Event::default()
        };
        assert_eq!(scheduled, expected, "no scrape by hand");
        let by_hand = Event::parse(&json!({"site": "tokyo", "action": "forward"})).unwrap();
        assert!(by_hand.by_hand);
        assert_eq!(by_hand.site, Some(tokyo));
    }

    #[test]
    fn what_is_unknown_is_told_what_is_known() {
        let cases = [
            (
                json!({"action": "drian"}),
                "unknown action \"drian\"; known actions: forward, drain, check, status, verify",
            ),
            (
                json!({"job": ["a"]}),
                "unknown key \"job\"; known keys: action, jobs, dry_run, last, site",
            ),
            (json!({"jobs": "a"}), "\"jobs\" must be a list of job names"),
            (json!({"jobs": [1]}), "\"jobs\" must be a list of job names"),
            (
                json!({"dry_run": "yes"}),
                "\"dry_run\" must be true or false",
            ),
            (
                json!({"last": 24}),
                "\"last\" must be a duration such as \"24h\", of at most 31d",
            ),
            (
                json!({"last": "32d"}),
                "\"last\" must be a duration such as \"24h\", of at most 31d",
            ),
            (json!({"action": 1}), "\"action\" must be a string"),
            (json!({"site": 1}), "\"site\" must be a string"),
            (
                json!({"site": "../tokyo"}),
                "\"site\": \"../tokyo\" is no name of a site: write 1 to 63 lower-case letters, \
                 digits and dashes",
            ),
            (
                json!([]),
                "the event is not an object; known keys: action, jobs, dry_run, last, site",
            ),
            (
                json!("forward"),
                "the event is not an object; known keys: action, jobs, dry_run, last, site",
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(Event::parse(&event).unwrap_err().to_string(), expected);
        }
    }
}
