//! The query API: `metric[window]`, and its answer in JSON.
//!
//! Source: Prometheus `web/api/v1/api.go` `query`, documentation "HTTP API", "Range vectors".

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use url::form_urlencoded::Serializer;

use super::compare::Span;
use super::value::{TimedPrint, ValuePrint};
use crate::series::labels::NAME;

/// The form that asks for the raw samples of some metrics in a span. `equal` are labels that all of
/// their series have.
pub(super) fn form(metrics: &[&str], equal: &[(String, String)], span: &Span) -> String {
    let names: Vec<_> = metrics.iter().map(|name| regex_literal(name)).collect();
    let mut matchers = vec![format!("{NAME}=~{}", quoted(&names.join("|")))];
    for (name, value) in equal {
        matchers.push(format!("{}={}", label_name(name), quoted(value)));
    }
    // The range is left-open in 3.x and closed before. A millisecond more is asked for, and what is
    // too old is cut off afterwards.
    let range_ms = span.end() - span.start() + 1;
    let query = format!("{{{}}}[{range_ms}ms]", matchers.join(","));
    let time = format!("{}.{:03}", span.end() / 1000, span.end() % 1000);
    Serializer::new(String::new())
        .append_pair("query", &query)
        .append_pair("time", &time)
        .finish()
}

/// Names that are not plain are quoted, as PromQL takes them since Prometheus 3.
fn label_name(name: &str) -> String {
    if crate::series::text::is_plain(name, false) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn regex_literal(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_ascii_punctuation() && !matches!(c, '_' | ':');
            escape.then_some('\\').into_iter().chain([c])
        })
        .collect()
}

fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}

/// One series of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct QueriedSeries {
    pub(super) metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<(f64, QueriedHistogram)>,
}

#[derive(Debug, Deserialize)]
struct QueriedHistogram {
    count: String,
    sum: String,
}

impl QueriedSeries {
    /// The samples within a span, oldest first. `None` when a value is no number.
    pub(super) fn samples(&self, span: &Span) -> Option<Vec<TimedPrint>> {
        let mut samples = Vec::with_capacity(self.values.len() + self.histograms.len());
        for (seconds, text) in &self.values {
            samples.push(TimedPrint {
                timestamp_ms: millis(*seconds),
                print: ValuePrint::float(number(text)?),
            });
        }
        for (seconds, histogram) in &self.histograms {
            samples.push(TimedPrint {
                timestamp_ms: millis(*seconds),
                print: ValuePrint::count_and_sum(
                    number(&histogram.count)?,
                    number(&histogram.sum)?,
                ),
            });
        }
        samples.retain(|sample| span.contains(&sample.timestamp_ms));
        samples.sort_by_key(|sample| sample.timestamp_ms);
        Some(samples)
    }
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// Shows each series of an answer.
///
/// # Errors
/// The server's own error, or where the JSON is wrong.
pub(super) fn read(body: &[u8], show: &mut dyn FnMut(QueriedSeries)) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let error = QueryAnswer { show }
        .deserialize(&mut json)
        .map_err(|error| format!("no answer of the query API: {error}"))?;
    match error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The outermost object. Its value is the server's error.
struct QueryAnswer<'f> {
    show: &'f mut dyn FnMut(QueriedSeries),
}

/// `data`.
struct QueryData<'f> {
    show: &'f mut dyn FnMut(QueriedSeries),
}

/// `data.result`.
struct QueryResults<'f> {
    show: &'f mut dyn FnMut(QueriedSeries),
}

impl<'de> DeserializeSeed<'de> for QueryAnswer<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for QueryAnswer<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with status and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut succeeded, mut error) = (false, None);
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "status" => succeeded = map.next_value::<String>()? == "success",
                "error" => error = Some(map.next_value::<String>()?),
                "data" => map.next_value_seed(QueryData { show: self.show })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if succeeded {
            return Ok(None);
        }
        Ok(Some(
            error.unwrap_or_else(|| "the status is not success".to_owned()),
        ))
    }
}

impl<'de> DeserializeSeed<'de> for QueryData<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for QueryData<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "result" {
                map.next_value_seed(QueryResults { show: self.show })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for QueryResults<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for QueryResults<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(series) = seq.next_element()? {
            (self.show)(series);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_metrics_labels_and_the_span() {
        let equal = [
            ("site".to_owned(), "a\"b".to_owned()),
            ("site.name".to_owned(), "x".to_owned()),
        ];
        let form = form(&["up", "my.metric"], &equal, &(60_001..=120_500));
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(
            pairs["query"],
            "{__name__=~\"up|my\\\\.metric\",site=\"a\\\"b\",\"site.name\"=\"x\"}[60500ms]"
        );
        assert_eq!(pairs["time"], "120.500");
    }

    #[test]
    fn an_answer_is_read_series_by_series() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up"},"values":[[60,"1"],[60.001,"NaN"],[61.5,"-Inf"]]},
            {"metric":{"__name__":"h"},"histograms":[[61,{"count":"5","sum":"2.5","buckets":[]}]]}
        ]}}"#;
        let mut shown = Vec::new();
        read(body, &mut |series| {
            let samples = series.samples(&(60_001..=120_000)).unwrap();
            shown.push((series.metric["__name__"].clone(), samples));
        })
        .unwrap();
        let print = |timestamp_ms, print| TimedPrint {
            timestamp_ms,
            print,
        };
        assert_eq!(
            shown,
            [
                (
                    "up".to_owned(),
                    vec![
                        print(60_001, ValuePrint::float(f64::NAN)),
                        print(61_500, ValuePrint::float(f64::NEG_INFINITY)),
                    ]
                ),
                (
                    "h".to_owned(),
                    vec![print(61_000, ValuePrint::count_and_sum(5.0, 2.5))]
                ),
            ]
        );
    }

    #[test]
    fn an_error_is_the_servers_own() {
        let error = |body: &str| read(body.as_bytes(), &mut |_| {}).unwrap_err();
        let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        assert_eq!(error(body), "too many samples");
        assert!(error("<html>").contains("no answer of the query API"));
        assert!(error("{}").contains("not success"));
    }
}
