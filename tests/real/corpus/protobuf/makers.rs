//! Metrics and histograms of which the expositions are made.

use amp_forwarder_support::families::{
    Bucket, Family, Histogram, LabelPair, Metric, MetricType, family, labelled, single, spans,
};

pub(super) fn gauge(value: f64) -> Metric {
    Metric {
        gauge: single(value),
        ..labelled(&[])
    }
}

pub(super) fn untyped(labels: &[(&str, &str)], value: f64, timestamp_ms: i64) -> Metric {
    Metric {
        untyped: single(value),
        timestamp_ms: Some(timestamp_ms),
        ..labelled(labels)
    }
}

pub(super) fn of(histogram: Histogram) -> Metric {
    Metric {
        histogram: Some(histogram),
        ..labelled(&[("a", "1")])
    }
}

pub(super) fn bucket(bound: f64, count: u64) -> Bucket {
    Bucket {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        ..Bucket::default()
    }
}

/// A histogram of integers: 2 in the zero bucket, and 3, 5, 1 and 4 in others.
pub(super) fn native() -> Histogram {
    Histogram {
        sample_count: Some(15),
        sample_sum: Some(18.4),
        schema: Some(1),
        zero_threshold: Some(0.001),
        zero_count: Some(2),
        positive_span: spans(&[(0, 2), (1, 1)]),
        positive_delta: vec![3, 2, -4],
        negative_span: spans(&[(-3, 1)]),
        negative_delta: vec![4],
        ..Histogram::default()
    }
}

/// A histogram of floats, as `/federate` gives it.
pub(super) fn native_float() -> Histogram {
    Histogram {
        sample_count_float: Some(15.5),
        sample_sum: Some(18.4),
        schema: Some(1),
        zero_threshold: Some(0.001),
        zero_count_float: Some(2.5),
        positive_span: spans(&[(0, 2), (1, 1)]),
        positive_count: vec![3.0, 5.0, 1.0],
        negative_span: spans(&[(-3, 1)]),
        negative_count: vec![4.0],
        ..Histogram::default()
    }
}

pub(super) fn wide(buckets: u32, schema: i32) -> Histogram {
    Histogram {
        sample_count: Some(u64::from(buckets)),
        schema: Some(schema),
        positive_span: spans(&[(-5, buckets)]),
        positive_delta: (0..buckets).map(|at| i64::from(at == 0)).collect(),
        ..Histogram::default()
    }
}

pub(super) fn classic() -> Histogram {
    Histogram {
        sample_count: Some(5),
        sample_sum: Some(2.5),
        bucket: vec![bucket(0.5, 1), bucket(1.0, 3), bucket(1e6, 5)],
        ..Histogram::default()
    }
}

pub(super) fn histograms(name: &str, metrics: Vec<Histogram>) -> Family {
    family(
        name,
        MetricType::Histogram,
        metrics
            .into_iter()
            .enumerate()
            .map(|(at, histogram)| numbered(at, of(histogram)))
            .collect(),
    )
}

pub(super) fn numbered(at: usize, mut metric: Metric) -> Metric {
    metric.label.push(LabelPair {
        name: Some(b"n".to_vec()),
        value: Some(at.to_string().into_bytes()),
    });
    metric
}

/// A histogram of custom buckets without their bounds.
pub(super) fn custom(buckets: u32) -> Histogram {
    Histogram {
        schema: Some(-53),
        zero_threshold: None,
        zero_count: None,
        negative_span: vec![],
        negative_delta: vec![],
        sample_count: Some(3),
        positive_span: spans(&[(0, buckets)]),
        positive_delta: (0..buckets)
            .map(|at| if at == 0 { 3 } else { -3 * i64::from(at == 1) })
            .collect(),
        ..native()
    }
}

/// A histogram in both forms.
pub(super) fn both() -> Histogram {
    Histogram {
        bucket: vec![bucket(1.0, 9), bucket(2.0, 15)],
        ..native()
    }
}
