//! The workspace: the newest sample of each series, and the rules for the samples that may follow.
//! Sources: prometheus tsdb/head_append.go `appendable`; cortex pkg/distributor/distributor.go
//! `validateSeries`, pkg/ingester/ingester.go `Push`.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::labels;
use super::options::WorkspaceLimits;
use super::order::PostOrder;
use super::refusal::{Reason, Refusal};
use super::wire::{Label, TimeSeries, WriteRequest};

/// The number of a series, in the order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesNumber(pub u32);

/// The value of a sample, to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleValue {
    /// The bits of the float; a stale marker is `0x7ff0_0000_0000_0002`.
    Float(u64),
    /// A hash of a native histogram.
    Histogram(u64),
}

/// One sample as it was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostedSample {
    /// Its series.
    pub series: SeriesNumber,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its value.
    pub value: SampleValue,
    /// The fate of the sample.
    pub outcome: Outcome,
}

/// The fate of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The sample was stored.
    Stored,
    /// The sample equals the newest of its series: it was taken silently and changed nothing.
    Repeated,
    /// The sample was refused for this reason.
    Refused(Reason),
    /// The request ended before the sample was judged, by a fault or a refusal of the whole
    /// request.
    Unjudged,
}

/// The judgement of a request, before anything of it is stored.
#[derive(Debug, Default)]
pub struct Judgement {
    /// One outcome for each sample, in the order of [`samples`].
    pub outcomes: Vec<Outcome>,
    /// The request for the receiver: the entries with the samples that are taken.
    pub accepted: WriteRequest,
    /// The first error. It is the answer although the other samples are stored.
    pub first_error: Option<Refusal>,
    /// The samples that become the newest ones of their series.
    newest: HashMap<SeriesNumber, NewestSample>,
    /// Number of series that had no sample before this request.
    new_series: usize,
}

/// The newest sample of a series.
#[derive(Debug, Clone, Copy)]
struct NewestSample {
    timestamp: i64,
    value: SampleValue,
}

/// A request on its arrival.
#[derive(Debug)]
pub struct Arrival {
    /// Its samples, none of them judged.
    pub samples: Vec<PostedSample>,
    /// Its breaches of the sender's promises.
    pub breaches: Breaches,
}

/// The workspace.
#[derive(Debug, Default)]
pub struct Tenant {
    ids: HashMap<Arc<[Label]>, SeriesNumber>,
    series: Vec<SeriesState>,
    newest: Option<i64>,
    active: usize,
    /// Number of requests that have arrived.
    requests: u64,
}

#[derive(Debug)]
struct SeriesState {
    labels: Arc<[Label]>,
    newest: Option<NewestSample>,
    order: PostOrder,
    in_flight: u32,
}

/// Promises of the sender that a request broke, whatever its answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Breaches {
    /// Number of samples older than one of the same series that was posted before, repeats of the
    /// request before not counted.
    pub out_of_order: u64,
    /// Number of series that another unanswered request has, too.
    pub concurrent: u64,
}

/// All samples of an entry: floats, then histograms.
pub fn samples(entry: &TimeSeries) -> impl Iterator<Item = (i64, SampleValue)> {
    let floats = entry
        .samples
        .iter()
        .map(|sample| (sample.timestamp, SampleValue::Float(sample.value.to_bits())));
    let histograms = entry.histograms.iter().map(|histogram| {
        let mut hasher = DefaultHasher::new();
        prost::Message::encode_to_vec(histogram).hash(&mut hasher);
        (histogram.timestamp, SampleValue::Histogram(hasher.finish()))
    });
    floats.chain(histograms)
}

impl Tenant {
    /// Returns the number of a series; a new series gets the next one.
    pub fn intern(&mut self, labels: &[Label]) -> SeriesNumber {
        if let Some(id) = self.ids.get(labels) {
            return *id;
        }
        let id = SeriesNumber(u32::try_from(self.series.len()).unwrap_or(u32::MAX));
        let labels: Arc<[Label]> = labels.into();
        self.ids.insert(labels.clone(), id);
        self.series.push(SeriesState {
            labels,
            newest: None,
            order: PostOrder::default(),
            in_flight: 0,
        });
        id
    }

    /// The labels of a series.
    pub fn labels(&self, id: SeriesNumber) -> Arc<[Label]> {
        self.series[id.0 as usize].labels.clone()
    }

    /// Number of series with at least one sample.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Numbers the samples of a request that arrived, and finds breaches of order.
    pub fn arrive(&mut self, request: &WriteRequest) -> Arrival {
        let mut posted = Vec::new();
        let mut breaches = Breaches::default();
        self.requests += 1;
        for entry in &request.timeseries {
            let id = self.intern(&entry.labels);
            for (timestamp, value) in samples(entry) {
                let series = &mut self.series[id.0 as usize];
                let is_out_of_order = series.order.post(self.requests, timestamp);
                breaches.out_of_order += u64::from(is_out_of_order);
                posted.push(PostedSample {
                    series: id,
                    timestamp,
                    value,
                    outcome: Outcome::Unjudged,
                });
            }
        }
        let mut ids: Vec<SeriesNumber> = posted.iter().map(|sample| sample.series).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let series = &mut self.series[id.0 as usize];
            breaches.concurrent += u64::from(series.in_flight > 0);
            series.in_flight += 1;
        }
        Arrival {
            samples: posted,
            breaches,
        }
    }

    /// Ends a request that is answered or whose connection has ended.
    pub fn leave(&mut self, posted: &[PostedSample]) {
        let mut ids: Vec<SeriesNumber> = posted.iter().map(|sample| sample.series).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let series = &mut self.series[id.0 as usize];
            series.in_flight = series.in_flight.saturating_sub(1);
        }
    }

    /// Judges every sample of a request without storing anything.
    pub fn judge(
        &mut self,
        mut request: WriteRequest,
        limits: &WorkspaceLimits,
        now_ms: i64,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        for entry in request.timeseries.drain(..) {
            // One bad timestamp drops the whole entry.
            if let Err(refusal) = validate_entry(&entry, limits, now_ms) {
                judgement.refuse_entry(&entry, refusal);
                continue;
            }
            let id = self.intern(&entry.labels);
            let is_new =
                self.series[id.0 as usize].newest.is_none() && !judgement.newest.contains_key(&id);
            if let Some(most) = limits.max_series
                && is_new
                && self.active + judgement.new_series >= most
            {
                let body = format!(
                    "per-user series limit of {most} exceeded, \
                     please contact administrator to raise it"
                );
                let refusal = Refusal::text(429, Reason::SeriesLimit, body);
                judgement.refuse_entry(&entry, refusal);
                continue;
            }
            self.judge_entry(id, entry, limits, &mut judgement);
        }
        judgement
    }

    /// Judges the samples of one entry whose labels and timestamps are valid.
    fn judge_entry(
        &self,
        id: SeriesNumber,
        mut entry: TimeSeries,
        limits: &WorkspaceLimits,
        judgement: &mut Judgement,
    ) {
        let is_new = self.series[id.0 as usize].newest.is_none();
        let mut taken = Vec::new();
        for (timestamp, value) in samples(&entry) {
            let outcome = match self.appendable(id, timestamp, value, limits, judgement) {
                Ok(outcome) => outcome,
                Err(refusal) => {
                    let reason = refusal.reason;
                    judgement.first_error.get_or_insert(refusal);
                    Outcome::Refused(reason)
                }
            };
            if outcome == Outcome::Stored {
                judgement.store(id, NewestSample { timestamp, value }, is_new);
            }
            judgement.outcomes.push(outcome);
            taken.push(!matches!(outcome, Outcome::Refused(_)));
        }
        // Only the samples that are taken go on to the receiver.
        let mut taken = taken.into_iter();
        entry.samples.retain(|_| taken.next().unwrap_or(false));
        entry.histograms.retain(|_| taken.next().unwrap_or(false));
        if !entry.samples.is_empty() || !entry.histograms.is_empty() {
            judgement.accepted.timeseries.push(entry);
        }
    }

    /// Stores the samples of a judged request.
    pub fn commit(&mut self, judgement: &Judgement) {
        for (id, sample) in &judgement.newest {
            let series = &mut self.series[id.0 as usize];
            self.active += usize::from(series.newest.is_none());
            if series
                .newest
                .is_none_or(|newest| newest.timestamp < sample.timestamp)
            {
                series.newest = Some(*sample);
            }
            self.newest = self.newest.max(Some(sample.timestamp));
        }
    }

    fn appendable(
        &self,
        id: SeriesNumber,
        t: i64,
        value: SampleValue,
        limits: &WorkspaceLimits,
        judgement: &Judgement,
    ) -> Result<Outcome, Refusal> {
        let series = &self.series[id.0 as usize];
        // An appender sees the newest sample of the head as it was when the request came.
        let head = self.newest.unwrap_or(t);
        let min_valid = head - 3_600_000;
        let stored = later(judgement.newest.get(&id).copied(), series.newest);
        if t >= min_valid {
            match stored {
                None => return Ok(Outcome::Stored),
                Some(newest) if t > newest.timestamp => return Ok(Outcome::Stored),
                Some(newest) if t == newest.timestamp && newest.value == value => {
                    return Ok(Outcome::Repeated);
                }
                Some(newest) if t == newest.timestamp => {
                    return Err(self.refuse(id, Reason::Duplicate, t));
                }
                Some(_) => {}
            }
        }
        let window = millis(limits.out_of_order_window);
        if window > 0 {
            return if t >= head - window {
                Ok(Outcome::Stored)
            } else {
                Err(self.refuse(id, Reason::TooOld, t))
            };
        }
        Err(self.refuse(
            id,
            if t < min_valid {
                Reason::TooOld
            } else {
                Reason::OutOfOrder
            },
            t,
        ))
    }

    fn refuse(&self, id: SeriesNumber, reason: Reason, t: i64) -> Refusal {
        let what = match reason {
            Reason::Duplicate => "duplicate sample for timestamp",
            Reason::OutOfOrder => "out of order sample",
            _ => "too old sample",
        };
        let series = labels::format_series(&self.series[id.0 as usize].labels);
        Refusal::text(
            400,
            reason,
            format!(
                "user=tenant: err: {what}. timestamp={}, series={series}",
                rfc3339(t)
            ),
        )
    }
}

impl Judgement {
    /// Refuses every sample of an entry.
    fn refuse_entry(&mut self, entry: &TimeSeries, refusal: Refusal) {
        let count = entry.samples.len() + entry.histograms.len();
        let outcome = Outcome::Refused(refusal.reason);
        self.outcomes.extend(std::iter::repeat_n(outcome, count));
        self.first_error.get_or_insert(refusal);
    }

    /// Remembers a sample that will be stored, if it is the newest one of its series.
    fn store(&mut self, id: SeriesNumber, sample: NewestSample, is_new_series: bool) {
        match self.newest.entry(id) {
            Entry::Vacant(slot) => {
                self.new_series += usize::from(is_new_series);
                slot.insert(sample);
            }
            Entry::Occupied(mut slot) if slot.get().timestamp < sample.timestamp => {
                slot.insert(sample);
            }
            Entry::Occupied(_) => {}
        }
    }
}

fn later(one: Option<NewestSample>, other: Option<NewestSample>) -> Option<NewestSample> {
    match (one, other) {
        (Some(one), Some(other)) if one.timestamp < other.timestamp => Some(other),
        (one, other) => one.or(other),
    }
}

fn validate_entry(
    entry: &TimeSeries,
    limits: &WorkspaceLimits,
    now_ms: i64,
) -> Result<(), Refusal> {
    labels::validate(&entry.labels, limits)?;
    let series = || labels::format_series(&entry.labels);
    if !entry.exemplars.is_empty() {
        return Err(Refusal::text(
            400,
            Reason::Exemplar,
            format!("exemplars are not supported, series: {}", series()),
        ));
    }
    for (timestamp, _) in samples(entry) {
        if timestamp < now_ms - millis(limits.max_age) {
            return Err(Refusal::text(
                400,
                Reason::TooOld,
                format!("timestamp too old: {timestamp} metric: \"{}\"", series()),
            ));
        }
        if timestamp > now_ms + millis(limits.max_future) {
            return Err(Refusal::text(
                400,
                Reason::TooNew,
                format!("timestamp too new: {timestamp} metric: \"{}\"", series()),
            ));
        }
    }
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn rfc3339(ms: i64) -> String {
    // Seconds are enough for a message, followed by the milliseconds: `Sun, 06 Nov 1994 08:49:37
    // GMT`.
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    format!("{} ({ms})", httpdate::fmt_http_date(at))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Sample;
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const MINUTE: i64 = 60_000;

    fn entry(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
        TimeSeries {
            labels: vec![Label {
                name: "__name__".to_owned(),
                value: name.to_owned(),
            }],
            samples: samples
                .iter()
                .map(|(at, value)| Sample {
                    value: *value,
                    timestamp: NOW + at,
                })
                .collect(),
            ..Default::default()
        }
    }

    fn push(tenant: &mut Tenant, entries: Vec<TimeSeries>) -> (Vec<Outcome>, Option<Reason>) {
        let judgement = tenant.judge(
            WriteRequest {
                timeseries: entries,
                metadata: vec![],
            },
            &WorkspaceLimits::default(),
            NOW,
        );
        tenant.commit(&judgement);
        (
            judgement.outcomes,
            judgement.first_error.map(|refusal| refusal.reason),
        )
    }

    /// The expected outcomes were measured on Cortex 1.21.1 with a window of 60 s.
    #[test]
    fn order_window_and_age() {
        use Outcome::{Refused, Repeated, Stored};
        let mut tenant = Tenant::default();
        for (name, at, value, expected) in [
            ("a", 0, 1.0, Stored),
            ("late", -50 * MINUTE, 1.0, Stored),
            ("late", -49 * MINUTE, 1.0, Stored),
            ("late", -10 * MINUTE, 1.0, Stored),
            ("late", -49 * MINUTE, 1.0, Refused(Reason::TooOld)),
            ("later", -59 * MINUTE, 1.0, Stored),
            ("gone", -61 * MINUTE, 1.0, Refused(Reason::TooOld)),
            ("a", 0, 1.0, Repeated),
            ("a", 0, 2.0, Refused(Reason::Duplicate)),
            ("a", -30_000, 2.0, Stored),
            ("a", -61_000, 2.0, Refused(Reason::TooOld)),
            ("late", -10 * MINUTE, 1.0, Repeated),
            ("ahead", 11 * MINUTE, 1.0, Refused(Reason::TooNew)),
            ("nan", 0, f64::NAN, Stored),
            ("nan", 0, f64::NAN, Repeated),
            // A home whose clock runs ahead shortens the hour for all series.
            ("ahead", 5 * MINUTE, 1.0, Stored),
            ("victim", -57 * MINUTE, 1.0, Refused(Reason::TooOld)),
        ] {
            let (outcomes, error) = push(&mut tenant, vec![entry(name, &[(at, value)])]);
            assert_eq!(outcomes, [expected], "{name} {at}");
            assert_eq!(error.is_some(), matches!(expected, Refused(_)));
        }
    }

    #[test]
    fn a_400_stores_what_is_valid() {
        let mut tenant = Tenant::default();
        push(&mut tenant, vec![entry("a", &[(0, 1.0)])]);
        let request = vec![
            entry("b", &[(0, 1.0)]),
            entry("a", &[(0, 2.0)]),
            entry("c", &[(-62 * MINUTE, 1.0), (0, 1.0)]),
            entry("d", &[(0, 1.0)]),
        ];
        let judgement = tenant.judge(
            WriteRequest {
                timeseries: request,
                metadata: vec![],
            },
            &WorkspaceLimits::default(),
            NOW,
        );
        let stored: Vec<&str> = judgement
            .accepted
            .timeseries
            .iter()
            .map(|entry| entry.labels[0].value.as_str())
            .collect();
        assert_eq!(stored, ["b", "d"]);
        assert_eq!(judgement.first_error.unwrap().reason, Reason::Duplicate);
        assert_eq!(
            judgement.outcomes[2..4],
            [Outcome::Refused(Reason::TooOld); 2],
            "one bad timestamp drops its whole entry"
        );
    }

    #[test]
    fn the_series_limit_keeps_the_known_ones() {
        let mut tenant = Tenant::default();
        let limits = WorkspaceLimits {
            max_series: Some(1),
            ..WorkspaceLimits::default()
        };
        let request = WriteRequest {
            timeseries: vec![entry("a", &[(0, 1.0)]), entry("b", &[(0, 1.0)])],
            metadata: vec![],
        };
        let judgement = tenant.judge(request, &limits, NOW);
        assert_eq!(
            judgement.outcomes,
            [Outcome::Stored, Outcome::Refused(Reason::SeriesLimit)]
        );
        assert_eq!(judgement.first_error.unwrap().status, 429);
    }

    #[test]
    fn breaches_are_seen_whatever_the_answer() {
        let mut tenant = Tenant::default();
        let request = |at| WriteRequest {
            timeseries: vec![entry("a", &[(at, 1.0)])],
            metadata: vec![],
        };
        let first = tenant.arrive(&request(1));
        assert_eq!(first.breaches, Breaches::default());
        let second = tenant.arrive(&request(2));
        assert_eq!(
            second.breaches,
            Breaches {
                out_of_order: 0,
                concurrent: 1
            }
        );
        tenant.leave(&first.samples);
        tenant.leave(&second.samples);
        assert_eq!(
            tenant.arrive(&request(1)).breaches,
            Breaches {
                out_of_order: 1,
                concurrent: 0
            }
        );
    }
}
