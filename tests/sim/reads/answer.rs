//! What the simulated home answers to a remote read and to `/federate`: a snapshot of its database.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use amp_forwarder::prompb::messages::TimeSeries;
use amp_forwarder::prompb::remote_read::{
    LabelMatcher, Query, QueryResult, ReadRequest, ReadResponse,
};
use fastrand::Rng;
use prost::Message as _;
use regex::Regex;

use super::tsdb::{HomeSeries, RawSample, StoredValue, Tsdb, with_external};

/// `--query.lookback-delta` of Prometheus.
pub(crate) const LOOK_BACK_MS: i64 = 300_000;

/// Decodes the body of a remote read.
pub(crate) fn request(body: &[u8]) -> Result<ReadRequest, String> {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| error.to_string())?;
    ReadRequest::decode(&*plain).map_err(|error| error.to_string())
}

/// Compresses an answer.
pub(crate) fn compressed(response: &ReadResponse) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(&response.encode_to_vec())
        .expect("it is small")
}

/// A matcher of a query, evaluated as Prometheus does (`model/labels/matcher.go`,
/// `storage/remote/read.go` `addExternalLabels`).
struct Condition {
    label: String,
    negated: bool,
    pattern: Option<Regex>,
    value: String,
}

/// An expression that must match a whole value. Each is compiled once a thread: parts of the names
/// are asked for by long ones.
fn compiled(expression: &str) -> Regex {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let anchored = format!("^(?s:{expression})$");
        let compile = || Regex::new(&anchored).expect("the forwarder has checked the expression");
        known
            .entry(expression.to_owned())
            .or_insert_with(compile)
            .clone()
    })
}

impl Condition {
    fn new(matcher: &LabelMatcher, external: &BTreeMap<String, String>) -> Self {
        let pattern = (matcher.kind >= 2).then(|| compiled(&matcher.value));
        // An equality matcher on an external label finds the series that lack the label.
        let replaced = matcher.kind == 0 && external.get(&matcher.name) == Some(&matcher.value);
        Self {
            label: matcher.name.clone(),
            negated: matcher.kind % 2 == 1,
            pattern,
            value: if replaced {
                String::new()
            } else {
                matcher.value.clone()
            },
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let matched = match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => value == self.value,
        };
        matched != self.negated
    }
}

impl Tsdb {
    fn selected(&self, matchers: &[LabelMatcher]) -> Vec<&HomeSeries> {
        let conditions: Vec<_> = matchers
            .iter()
            .map(|matcher| Condition::new(matcher, &self.external))
            .collect();
        self.series
            .iter()
            .filter(|series| {
                conditions
                    .iter()
                    .all(|condition| condition.holds(&series.labels))
            })
            .collect()
    }

    /// Answers a remote read from a snapshot at this true time. Series come in no order.
    pub(crate) fn read(&self, request: &ReadRequest, now_ms: i64, rng: &mut Rng) -> ReadResponse {
        let result = |query: &Query| {
            let mut timeseries: Vec<TimeSeries> = self
                .selected(&query.matchers)
                .into_iter()
                .filter_map(|series| {
                    series.message(
                        &self.external,
                        query.start_timestamp_ms,
                        query.end_timestamp_ms,
                        now_ms,
                    )
                })
                .collect();
            rng.shuffle(&mut timeseries);
            QueryResult { timeseries }
        };
        ReadResponse {
            results: request.queries.iter().map(result).collect(),
        }
    }

    /// What `/federate` shows at this true time: the newest float of each series, with the labels
    /// that it shows (`web/federate.go`). Selectors that overlap show a series once.
    pub(crate) fn federated(
        &self,
        selectors: &[Vec<LabelMatcher>],
        now_ms: i64,
    ) -> Vec<(BTreeMap<String, String>, RawSample)> {
        let at_ms = self.clock.at(now_ms);
        let mut shown: BTreeMap<BTreeMap<String, String>, RawSample> = BTreeMap::new();
        for series in selectors
            .iter()
            .flat_map(|matchers| self.selected(matchers))
            .filter(|series| series.labels.contains_key("__name__"))
        {
            if let Some(sample) = series.instant(at_ms, LOOK_BACK_MS, now_ms)
                && matches!(sample.value, StoredValue::Float(_))
            {
                let mut labels = with_external(&series.labels, &self.external);
                labels.entry("instance".to_owned()).or_default();
                shown.insert(labels, *sample);
            }
        }
        shown.into_iter().collect()
    }
}

/// Writes what `/federate` shows as text.
pub(crate) fn exposition(shown: &[(BTreeMap<String, String>, RawSample)]) -> String {
    let mut text = String::new();
    for (labels, sample) in shown {
        let StoredValue::Float(bits) = sample.value else {
            continue;
        };
        text.push_str(&labels["__name__"]);
        let mut before = '{';
        for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(text, "{before}{name}=\"{value}\"");
            before = ',';
        }
        let value = f64::from_bits(bits);
        let value = if value.is_infinite() {
            (if value > 0.0 { "+Inf" } else { "-Inf" }).to_owned()
        } else {
            value.to_string()
        };
        let _ = writeln!(text, "}} {value} {}", sample.timestamp_ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use amp_forwarder::read::request::{TimeRange, body};
    use amp_forwarder::selector::Selector;

    use super::*;

    fn home() -> Tsdb {
        let mut tsdb = Tsdb {
            external: BTreeMap::from([("cluster".to_owned(), "home".to_owned())]),
            ..Tsdb::default()
        };
        for (name, job) in [("up", "a"), ("up", "b"), ("x", "a"), ("x", "")] {
            let mut series = HomeSeries::new([("__name__", name), ("job", job)]);
            series.append(10_000, StoredValue::Float(1.5_f64.to_bits()), 10_000);
            series.append(20_000, StoredValue::Float(2.5_f64.to_bits()), 20_000);
            tsdb.series.push(series);
        }
        tsdb.series[3].labels.remove("job");
        tsdb
    }

    fn asked(selectors: &[&str], start_ms: i64, end_ms: i64) -> ReadRequest {
        let selectors: Vec<_> = selectors
            .iter()
            .map(|text| Selector::parse(text).expect("a selector"))
            .collect();
        let range = TimeRange { start_ms, end_ms };
        request(&body(&selectors, range).expect("small")).expect("a request")
    }

    fn found(selector: &str) -> usize {
        let request = asked(&[selector], 0, 30_000);
        let response = home().read(&request, 30_000, &mut Rng::with_seed(1));
        response.results[0].timeseries.len()
    }

    #[test]
    fn every_kind_of_matcher() {
        for (selector, series) in [
            ("up", 2),
            (r#"{job="a"}"#, 2),
            (r#"{job!="a"}"#, 2),
            (r#"{job=~"a|b"}"#, 3),
            (r#"{job=~"[ab]c?"}"#, 3),
            (r#"{job=~".+"}"#, 3),
            (r#"{job!~"a"}"#, 2),
            (r#"{job=""}"#, 1),
            (r#"up{job="a"}"#, 1),
            // An external label that the selector names with its value.
            (r#"{cluster="home"}"#, 4),
            (r#"{cluster="other"}"#, 0),
            (r#"{cluster=~"home"}"#, 0),
        ] {
            assert_eq!(found(selector), series, "{selector}");
        }
    }

    #[test]
    fn each_query_has_its_result_and_its_range() {
        let request = asked(&["up", "nothing", "x"], 10_001, 20_000);
        let response = home().read(&request, 30_000, &mut Rng::with_seed(1));
        let lens: Vec<_> = response
            .results
            .iter()
            .map(|result| {
                result
                    .timeseries
                    .iter()
                    .map(|series| series.samples.len())
                    .collect()
            })
            .collect::<Vec<Vec<_>>>();
        assert_eq!(lens, [vec![1, 1], vec![], vec![1, 1]]);
        let decoded = snap::raw::Decoder::new()
            .decompress_vec(&compressed(&response))
            .expect("compressed");
        assert_eq!(ReadResponse::decode(&*decoded), Ok(response));
    }

    #[test]
    fn federate_shows_the_newest_sample_with_an_instance() {
        let mut home = home();
        home.series[2].append(25_000, StoredValue::STALE, 25_000);
        let selectors = [asked(&[r#"{__name__!=""}"#, "up"], 0, 0)]
            .iter()
            .flat_map(|request| &request.queries)
            .map(|query| query.matchers.clone())
            .collect::<Vec<_>>();
        let text = exposition(&home.federated(&selectors, 26_000));
        assert_eq!(
            text,
            "up{cluster=\"home\",instance=\"\",job=\"a\"} 2.5 20000\n\
             up{cluster=\"home\",instance=\"\",job=\"b\"} 2.5 20000\n\
             x{cluster=\"home\",instance=\"\"} 2.5 20000\n"
        );
        let early = exposition(&home.federated(&selectors, 19_000));
        assert!(
            early.contains("x{cluster=\"home\",instance=\"\",job=\"a\"} 1.5 10000\n"),
            "{early}"
        );
    }
}
