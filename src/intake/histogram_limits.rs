//! Native histograms as Prometheus takes them from an exposition: compacted, coarsened to the job's
//! limits, checked.

use crate::prompb::messages::{BucketSpan, Count, Histogram, ZeroCount};

/// `model/histogram/generic.go` `ExponentialSchemaMin`, `ExponentialSchemaMax`,
/// `CustomBucketsSchema`.
const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 8;
const CUSTOM_BUCKETS: i32 = -53;

/// A job's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HistogramLimits {
    /// `native_histogram_bucket_limit`; 0 is none.
    pub buckets: u64,
    /// The finest schema that `native_histogram_min_bucket_factor` allows.
    pub max_schema: Option<i32>,
}

impl HistogramLimits {
    /// From `native_histogram_bucket_limit` and `native_histogram_min_bucket_factor`
    /// (`scrape/scrape.go` `pickSchema`).
    #[must_use]
    pub fn new(buckets: u64, min_bucket_factor: f64) -> Self {
        let factor = if min_bucket_factor <= 1.0 {
            1.00271
        } else {
            min_bucket_factor
        };
        let schema = (-factor.log2().log2())
            .floor()
            .clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32;
        Self {
            buckets,
            max_schema: (schema < SCHEMA_MAX).then_some(schema),
        }
    }

    /// The histogram at the resolution that the limits leave; none when it is within them as it is.
    ///
    /// # Errors
    /// [`TooManyBuckets`] at the coarsest resolution, or when the buckets are custom ones.
    pub fn apply(self, histogram: &Histogram) -> Result<Option<Histogram>, TooManyBuckets> {
        let mut coarser: Option<Histogram> = None;
        // scrape/target.go maxSchemaAppender
        if let Some(max) = self.max_schema
            && is_exponential(histogram.schema)
            && histogram.schema > max
        {
            coarser = Some(reduced(histogram, max));
        }
        // scrape/target.go bucketLimitAppender
        loop {
            let current = coarser.as_ref().unwrap_or(histogram);
            if self.buckets == 0 || bucket_count(current) <= self.buckets {
                return Ok(coarser);
            }
            if !is_exponential(current.schema) || current.schema <= SCHEMA_MIN {
                return Err(TooManyBuckets);
            }
            let schema = current.schema - 1;
            coarser = Some(reduced(current, schema));
        }
    }
}

/// `scrape/target.go` `errBucketLimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyBuckets;

fn is_exponential(schema: i32) -> bool {
    (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema)
}

fn bucket_count(histogram: &Histogram) -> u64 {
    let Histogram {
        positive_deltas,
        positive_counts,
        negative_deltas,
        negative_counts,
        ..
    } = histogram;
    (positive_deltas.len() + positive_counts.len() + negative_deltas.len() + negative_counts.len())
        as u64
}

/// Drops empty buckets and joins spans (`model/histogram/generic.go` `compactBuckets` with no empty
/// buckets left).
pub fn compact(histogram: &mut Histogram) {
    compact_side(
        &mut histogram.positive_spans,
        &mut histogram.positive_deltas,
        &mut histogram.positive_counts,
    );
    compact_side(
        &mut histogram.negative_spans,
        &mut histogram.negative_deltas,
        &mut histogram.negative_counts,
    );
}

fn compact_side(spans: &mut Vec<BucketSpan>, deltas: &mut Vec<i64>, counts: &mut Vec<f64>) {
    // What does not fit together stays as it is, for the check.
    if !fits(spans, deltas.len() + counts.len()) || spans.iter().skip(1).any(|span| span.offset < 0)
    {
        return;
    }
    let joined = spans.iter().all(|span| span.length > 0)
        && spans.iter().skip(1).all(|span| span.offset != 0);
    if joined
        && Deltas::new(deltas).all(|count| count != 0)
        && counts.iter().all(|count| *count != 0.0)
    {
        return;
    }
    let same = |index| index;
    if counts.is_empty() {
        (*spans, *deltas) = rebuilt(spans, Deltas::new(deltas), same, to_deltas);
    } else {
        (*spans, *counts) = rebuilt(spans, counts.iter().copied(), same, |counts| counts);
    }
}

/// `model/histogram` `ReduceResolution`, of one that fits together.
fn reduced(histogram: &Histogram, schema: i32) -> Histogram {
    let mut coarser = histogram.clone();
    let shift = u32::try_from(histogram.schema - schema).unwrap_or(0);
    // generic.go targetIdx
    let target = |index: i64| ((index - 1) >> shift) + 1;
    let Histogram {
        positive_spans,
        positive_deltas,
        positive_counts,
        negative_spans,
        negative_deltas,
        negative_counts,
        ..
    } = &mut coarser;
    for (spans, deltas, counts) in [
        (positive_spans, positive_deltas, positive_counts),
        (negative_spans, negative_deltas, negative_counts),
    ] {
        if !fits(spans, deltas.len() + counts.len()) {
            continue;
        }
        if counts.is_empty() {
            (*spans, *deltas) = rebuilt(spans, Deltas::new(deltas), target, to_deltas);
        } else {
            (*spans, *counts) = rebuilt(spans, counts.iter().copied(), target, |counts| counts);
        }
    }
    coarser.schema = schema;
    coarser
}

/// Whether spans describe so many buckets.
fn fits(spans: &[BucketSpan], buckets: usize) -> bool {
    spans.iter().map(|span| u64::from(span.length)).sum::<u64>() == buckets as u64
}

/// Counts of buckets, from their differences.
struct Deltas<'a> {
    deltas: std::slice::Iter<'a, i64>,
    count: i64,
}

impl<'a> Deltas<'a> {
    fn new(deltas: &'a [i64]) -> Self {
        Self {
            deltas: deltas.iter(),
            count: 0,
        }
    }
}

impl Iterator for Deltas<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        self.count = self.count.wrapping_add(*self.deltas.next()?);
        Some(self.count)
    }
}

fn to_deltas(mut counts: Vec<i64>) -> Vec<i64> {
    let mut before = 0_i64;
    for count in &mut counts {
        (before, *count) = (*count, count.wrapping_sub(before));
    }
    counts
}

/// A count of a bucket.
trait Bucket: Copy + PartialEq + Default {
    fn plus(self, other: Self) -> Self;
}

impl Bucket for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl Bucket for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// The spans and buckets that are not empty, at the indices that they are moved to; buckets at one
/// index are added up.
fn rebuilt<B: Bucket>(
    spans: &[BucketSpan],
    mut counts: impl Iterator<Item = B>,
    target: impl Fn(i64) -> i64,
    finish: impl FnOnce(Vec<B>) -> Vec<B>,
) -> (Vec<BucketSpan>, Vec<B>) {
    let (mut new_spans, mut new_counts) = (Vec::<BucketSpan>::new(), Vec::new());
    let mut index = 0_i64;
    let mut last = None;
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { break };
            let at = target(index);
            index += 1;
            if count == B::default() {
                continue;
            }
            match (last, new_spans.last_mut(), new_counts.last_mut()) {
                (Some(last), _, Some(before)) if last == at => *before = B::plus(*before, count),
                (Some(last), Some(span), _) if last + 1 == at => {
                    span.length += 1;
                    new_counts.push(count);
                }
                _ => {
                    let offset = at - last.map_or(0, |last| last + 1);
                    new_spans.push(BucketSpan {
                        offset: offset as i32,
                        length: 1,
                    });
                    new_counts.push(count);
                }
            }
            last = Some(at);
        }
    }
    (new_spans, finish(new_counts))
}

/// What the TSDB refuses, and with it the scrape (`model/histogram` `Histogram.Validate`,
/// `FloatHistogram.Validate`).
///
/// # Errors
/// What does not fit together.
pub fn validate(histogram: &Histogram) -> Result<(), String> {
    let Histogram {
        positive_spans,
        positive_deltas,
        positive_counts,
        negative_spans,
        negative_deltas,
        negative_counts,
        ..
    } = histogram;
    if histogram.schema == CUSTOM_BUCKETS {
        check_custom(histogram)?;
    } else {
        // 3.5 takes any other schema for an exponential one, known or not.
        check_spans(
            positive_spans,
            positive_deltas.len() + positive_counts.len(),
        )
        .map_err(|cause| format!("positive side: {cause}"))?;
        check_spans(
            negative_spans,
            negative_deltas.len() + negative_counts.len(),
        )
        .map_err(|cause| format!("negative side: {cause}"))?;
    }
    let negative = check_counts(negative_deltas, negative_counts)
        .map_err(|cause| format!("negative side: {cause}"))?;
    let positive = check_counts(positive_deltas, positive_counts)
        .map_err(|cause| format!("positive side: {cause}"))?;
    // Of floats the sum is not looked at: they need not add up to the last bit.
    let (Some(Count::Int(count)), Some(ZeroCount::Int(zero))) =
        (histogram.count, histogram.zero_count)
    else {
        return Ok(());
    };
    let sum = negative.wrapping_add(positive).wrapping_add(zero);
    let fits = if histogram.sum.is_nan() {
        sum <= count
    } else {
        sum == count
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "{sum} observations found in buckets, but the Count field is {count}: histogram's \
         observation count should equal the number of observations found in the buckets"
    ))
}

fn check_custom(histogram: &Histogram) -> Result<(), String> {
    let buckets = histogram.positive_deltas.len() + histogram.positive_counts.len();
    check_spans(&histogram.positive_spans, buckets)
        .map_err(|cause| format!("custom buckets: {cause}"))?;
    let length: i64 = histogram
        .positive_spans
        .iter()
        .map(|span| i64::from(span.length) + i64::from(span.offset))
        .sum();
    let bounds = histogram.custom_values.len();
    if histogram
        .positive_spans
        .first()
        .is_some_and(|span| span.offset < 0)
    {
        return Err("custom buckets: span number 1 has a negative offset".to_owned());
    }
    // The last bucket reaches to infinity.
    if length > bounds as i64 + 1 {
        return Err(format!(
            "custom buckets: only {bounds} custom bounds defined which is insufficient to cover \
             total span length of {length}"
        ));
    }
    let zero = match histogram.zero_count {
        Some(ZeroCount::Int(zero)) => zero == 0,
        Some(ZeroCount::Float(zero)) => zero == 0.0,
        None => true,
    };
    let none = histogram.negative_spans.is_empty()
        && histogram.negative_deltas.is_empty()
        && histogram.negative_counts.is_empty();
    if zero && histogram.zero_threshold == 0.0 && none {
        return Ok(());
    }
    Err("custom buckets: must have neither a zero bucket nor negative buckets".to_owned())
}

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<(), String> {
    if let Some(at) = spans.iter().skip(1).position(|span| span.offset < 0) {
        let offset = spans[at + 1].offset;
        return Err(format!(
            "span number {} with offset {offset}: histogram has a span whose offset is negative",
            at + 2
        ));
    }
    if fits(spans, buckets) {
        return Ok(());
    }
    let needed = spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
    Err(format!(
        "spans need {needed} buckets, have {buckets} buckets: histogram spans specify different \
         number of buckets than provided"
    ))
}

/// The sum of buckets that hold integers.
fn check_counts(deltas: &[i64], counts: &[f64]) -> Result<u64, String> {
    let mut sum = 0_u64;
    for (at, count) in Deltas::new(deltas).enumerate() {
        if count < 0 {
            return Err(negative(at, count));
        }
        sum = sum.wrapping_add(count as u64);
    }
    match counts.iter().position(|count| *count < 0.0) {
        Some(at) => Err(negative(at, counts[at])),
        None => Ok(sum),
    }
}

fn negative(at: usize, count: impl std::fmt::Display) -> String {
    format!(
        "bucket number {} has observation count of {count}: histogram has a bucket whose \
         observation count is negative",
        at + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
        spans
            .iter()
            .map(|&(offset, length)| BucketSpan { offset, length })
            .collect()
    }

    fn integers(schema: i32, positive_spans: &[(i32, u32)], positive_deltas: &[i64]) -> Histogram {
        let count = Deltas::new(positive_deltas).sum::<i64>() as u64;
        Histogram {
            count: Some(Count::Int(count)),
            zero_count: Some(ZeroCount::Int(0)),
            schema,
            positive_spans: spans(positive_spans),
            positive_deltas: positive_deltas.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn compact_ones_stay_and_others_become_compact() {
        type Side = (&'static [(i32, u32)], &'static [i64]);
        let cases: &[(Side, Side)] = &[
            (
                (&[(-2, 2), (3, 1)], &[1, 1, 1]),
                (&[(-2, 2), (3, 1)], &[1, 1, 1]),
            ),
            ((&[(0, 0)], &[]), (&[], &[])),
            ((&[(1, 1), (0, 1)], &[1, 1]), (&[(1, 2)], &[1, 1])),
            ((&[(1, 3)], &[0, 2, -2]), (&[(2, 1)], &[2])),
            ((&[(1, 3)], &[2, -2, 3]), (&[(1, 1), (1, 1)], &[2, 1])),
            (
                (&[(1, 1), (2, 0), (3, 1)], &[1, 1]),
                (&[(1, 1), (5, 1)], &[1, 1]),
            ),
            // Left for the check to refuse.
            ((&[(1, 2)], &[1]), (&[(1, 2)], &[1])),
            ((&[(1, 1), (-1, 1)], &[1, 0]), (&[(1, 1), (-1, 1)], &[1, 0])),
        ];
        for ((before_spans, before), (after_spans, after)) in cases {
            let mut histogram = integers(0, before_spans, before);
            compact(&mut histogram);
            assert_eq!(
                (histogram.positive_spans, histogram.positive_deltas),
                (spans(after_spans), after.to_vec()),
                "{before_spans:?} {before:?}"
            );
        }
    }

    #[test]
    fn buckets_are_joined_until_they_are_few() {
        // Of schema 1 to 0: -3 and -2 go to -1, 0 goes to 0, 1 and 2 to 1, 7 to 4.
        let histogram = integers(1, &[(-3, 2), (1, 3), (4, 1)], &[1, 1, 1, 1, 1, 1]);
        let limits = |buckets| HistogramLimits {
            buckets,
            max_schema: None,
        };
        assert_eq!(limits(6).apply(&histogram), Ok(None));
        let coarser = limits(5).apply(&histogram).unwrap().unwrap();
        assert_eq!(
            (
                coarser.schema,
                coarser.positive_spans,
                coarser.positive_deltas
            ),
            (0, spans(&[(-1, 3), (2, 1)]), vec![3, 0, 6, -3])
        );
        assert_eq!(limits(1).apply(&histogram), Err(TooManyBuckets));
        assert_eq!(
            limits(2).apply(&Histogram {
                schema: CUSTOM_BUCKETS,
                ..histogram
            }),
            Err(TooManyBuckets)
        );
    }

    #[test]
    fn factors_stand_for_schemas() {
        for (factor, schema) in [
            (0.0, None),
            (1.0, None),
            (1.002, None),
            (1.01, Some(6)),
            (1.1, Some(2)),
            (2.0, Some(0)),
            (4.0, Some(-1)),
            (1e9, Some(-4)),
        ] {
            assert_eq!(
                HistogramLimits::new(0, factor).max_schema,
                schema,
                "{factor}"
            );
        }
    }
}
