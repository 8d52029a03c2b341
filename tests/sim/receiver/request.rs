//! The rules for requests: what a receiver checks when one arrives.

use amp_forwarder::prompb::messages::{TimeSeries, WriteRequest};
use amp_forwarder::send::PostRequest;
use prost::Message as _;

use super::{InFlight, Receiver, State};
use crate::reads::histogram_bits;
use crate::tenant::Sample;
use crate::world::{Key, identity, lock};

impl Receiver {
    /// Whether a body has a sample that is not older than a few seconds.
    pub(crate) fn is_fresh(&self, body: &[u8]) -> bool {
        let plain = snap::raw::Decoder::new().decompress_vec(body);
        let request = WriteRequest::decode(&*plain.unwrap_or_default()).unwrap_or_default();
        let now_ms = self.world.now_ms();
        let mut samples = request.timeseries.iter().flat_map(|entry| &entry.samples);
        samples.any(|sample| sample.timestamp > now_ms - 20_000)
    }

    /// Receives a request, and checks every rule for requests.
    pub(super) fn arrive(&self, request: &PostRequest<'_>) -> (u64, Vec<Sample>, usize) {
        let found =
            |rule: &str, what: String| self.world.found(rule, format!("{}: {what}", self.name));
        let body = request.body.to_bytes();
        let raw = snap::raw::decompress_len(&body).unwrap_or_default();
        let decoded = decoded(&body).unwrap_or_else(|error| {
            found("body", error);
            Default::default()
        });
        let entries = decoded.timeseries;
        let count: usize = entries
            .iter()
            .map(|entry| entry.samples.len() + entry.histograms.len())
            .sum();
        if entries.is_empty() || count > self.traits.max_samples {
            found(
                "batch",
                format!(
                    "{count} samples in a request, at most {}",
                    self.traits.max_samples
                ),
            );
        }
        if entries.len() > 1 && raw > self.traits.max_request_bytes {
            found(
                "batch",
                format!(
                    "{raw} bytes in a request, at most {}",
                    self.traits.max_request_bytes
                ),
            );
        }
        let mut state = lock(&self.state);
        let mut samples = Vec::with_capacity(entries.len());
        let mut span = (0, u64::MAX);
        let mut replica = None;
        for (entry, series) in entries.iter().enumerate() {
            let labels = &series.labels;
            let text = identity(
                labels
                    .iter()
                    .map(|label| (label.name.as_str(), label.value.as_str())),
            );
            let key = self.world.key(&text);
            if !labels.windows(2).all(|pair| pair[0].name < pair[1].name)
                || labels
                    .iter()
                    .any(|l| l.name.is_empty() || l.value.is_empty())
            {
                found(
                    "labels",
                    format!("not sorted, not unique, or empty: {text}"),
                );
            }
            let values = entry_values(series);
            if (values.len() != 1 || !series.histograms.is_empty()) && !self.traits.windows {
                found(
                    "entry",
                    format!("{} samples of {text}", series.samples.len()),
                );
                continue;
            }
            if values.is_empty() || !values.windows(2).all(|pair| pair[0].0 < pair[1].0) {
                found(
                    "entry",
                    format!("{text} is not in the order of time: {values:?}"),
                );
            }
            if !series.samples.is_empty() && !series.histograms.is_empty() {
                found("entry", format!("floats and histograms of {text}"));
            }
            let value = |name: &str| {
                labels
                    .iter()
                    .find(|label| label.name == name)
                    .map_or("", |label| &label.value)
            };
            let mine = (value("cluster"), value("__replica__"));
            if *replica.get_or_insert(mine) != mine {
                found(
                    "replica",
                    format!("{replica:?} and {mine:?} in one request"),
                );
            }
            // An entry whose newest samples were stored is posted again as a whole.
            let newest_ms = state.accepted.get(&key).copied();
            let is_repeated = values.iter().any(|(at_ms, _)| Some(*at_ms) == newest_ms);
            for (timestamp_ms, bits) in values {
                let sample = Sample {
                    key,
                    timestamp_ms,
                    bits,
                    bad: value("__name__").starts_with("bad_"),
                    entry,
                };
                if state.tenant.is_out_of_order(&sample) {
                    state.hopeless.insert((key, timestamp_ms));
                }
                *state.unclear.entry((key, timestamp_ms)).or_default() += 1;
                self.check_sample(&mut state, &sample, is_repeated, &mut span);
                samples.push(sample);
            }
        }
        let mut keys: Vec<Key> = samples
            .chunk_by(|a, b| a.entry == b.entry)
            .map(|entry| entry[0].key)
            .collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            found("batch", "a series twice in one request".to_owned());
        }
        for other in state.in_flight.values() {
            if let Some(key) = keys
                .iter()
                .find(|key| other.keys.binary_search(key).is_ok())
            {
                found(
                    "in flight",
                    format!("two requests with {} at once", self.world.name(*key)),
                );
            }
            span = (span.0.max(other.span.0), span.1.min(other.span.1));
        }
        if span.0 > span.1 {
            found(
                "scrape",
                format!(
                    "samples of different scrapes at once: those of {} and of {}",
                    span.0, span.1
                ),
            );
        }
        state.requests += 1;
        state.answered.posts += 1;
        let id = state.requests;
        state.in_flight.insert(id, InFlight { keys, span });
        if state.in_flight.len() > self.traits.max_in_flight {
            found(
                "shards",
                format!(
                    "{} requests at once, at most {}",
                    state.in_flight.len(),
                    self.traits.max_in_flight
                ),
            );
        }
        (id, samples, raw)
    }

    /// Checks one sample of a request.
    fn check_sample(
        &self,
        state: &mut State,
        sample: &Sample,
        is_repeated: bool,
        span: &mut (u64, u64),
    ) {
        let found =
            |rule: &str, what: String| self.world.found(rule, format!("{}: {what}", self.name));
        let Sample {
            key,
            timestamp_ms,
            bits,
            ..
        } = *sample;
        let text = || self.world.name(key);
        match self.world.exposed(key, timestamp_ms) {
            None => found(
                "unexposed",
                format!(
                    "{} at {timestamp_ms} was in no exposition that succeeded",
                    text()
                ),
            ),
            Some(exposed) => {
                *span = (span.0.max(exposed.first), span.1.min(exposed.last));
                if exposed.bits.is_some_and(|exposed| exposed != bits) {
                    found(
                        "value",
                        format!("{} at {timestamp_ms} is {bits:#x}", text()),
                    );
                }
            }
        }
        if let Some(&newest) = state.accepted.get(&key)
            && timestamp_ms < newest
            && !self.traits.any_order
            && !(self.traits.windows
                && (is_repeated || state.tenant.stored(key, timestamp_ms) == Some(bits)))
            && !self.world.may_go_back(key)
            && !state.excused.contains(&(key, timestamp_ms))
            && state
                .first_ms
                .is_none_or(|first_ms| timestamp_ms > first_ms)
            && !self.is_forgotten(key, newest, timestamp_ms)
        {
            found(
                "order",
                format!(
                    "{} at {timestamp_ms} comes after {newest} was accepted",
                    text()
                ),
            );
        }
        let Some(life) = state.told.get(&(key, timestamp_ms)).copied() else {
            return;
        };
        let may_come_again = match &state.left {
            Some(left) => left.get(&(key, timestamp_ms)).is_some_and(|left| *left > 0),
            None => life < state.life,
        };
        if may_come_again {
            let (from_ms, to_ms) = state.repeated.unwrap_or((timestamp_ms, timestamp_ms));
            state.repeated = Some((from_ms.min(timestamp_ms), to_ms.max(timestamp_ms)));
        } else if self.traits.no_repeats {
            found(
                "again",
                format!("{} at {timestamp_ms} was answered already", text()),
            );
        }
    }

    /// Whether a full memory may have forgotten the series. It forgets series that the last scrapes
    /// did not show; a home that goes back may then show an older sample, or both samples of a
    /// series that it shows twice.
    fn is_forgotten(&self, key: Key, newest_ms: i64, timestamp_ms: i64) -> bool {
        let exposed = |timestamp_ms| self.world.exposed(key, timestamp_ms);
        let missed =
            exposed(newest_ms)
                .zip(exposed(timestamp_ms))
                .is_some_and(|(newest, older)| {
                    let both_again = newest.last == older.last && newest.first < newest.last;
                    newest.last + 1 < older.last || both_again
                });
        self.traits.forgetful && self.traits.tight_memory && missed
    }
}

/// Timestamps and bits of an entry's samples, in their order.
fn entry_values(series: &TimeSeries) -> Vec<(i64, u64)> {
    let floats = series
        .samples
        .iter()
        .map(|sample| (sample.timestamp, sample.value.to_bits()));
    let histograms = series
        .histograms
        .iter()
        .map(|histogram| (histogram.timestamp, histogram_bits(histogram)));
    floats.chain(histograms).collect()
}

/// The request in a body.
pub(crate) fn decoded(body: &[u8]) -> Result<WriteRequest, String> {
    let raw = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| error.to_string())?;
    WriteRequest::decode(&*raw).map_err(|error| error.to_string())
}
