//! Summaries and classic histograms.

use amp_forwarder_support::families::{
    Bucket, Family, Histogram, Metric, MetricType, Quantile, Summary, delimited, family, labelled,
};

use super::makers::{bucket, classic, histograms, of};
use super::{Exposition, exposition};

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut plain = |name: &str, families: Vec<Family>| {
        all.push(exposition(name, "", delimited(&families), None));
    };

    let quantiles = [(0.5, 1.0), (0.99, f64::NAN), (1.0, 3.0)]
        .map(|(quantile, value)| Quantile {
            quantile: Some(quantile),
            value: Some(value),
        })
        .to_vec();
    let summary = |quantile| Metric {
        summary: Some(Summary {
            sample_count: Some(7),
            sample_sum: Some(1.5),
            quantile,
        }),
        ..labelled(&[("a", "1")])
    };
    plain(
        "a summary",
        vec![family("s", MetricType::Summary, vec![summary(quantiles)])],
    );
    plain(
        "a summary without quantiles",
        vec![family("s", MetricType::Summary, vec![summary(vec![])])],
    );
    plain(
        "classic histograms",
        vec![histograms(
            "h",
            vec![
                classic(),
                Histogram {
                    bucket: vec![bucket(f64::INFINITY, 5), bucket(1.0, 6)],
                    ..classic()
                },
                Histogram {
                    bucket: vec![],
                    ..classic()
                },
            ],
        )],
    );
    let float_bucket = Bucket {
        cumulative_count_float: Some(2.5),
        upper_bound: Some(1.0),
        ..Bucket::default()
    };
    plain(
        "a classic histogram of floats",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count_float: Some(3.5),
                bucket: vec![float_bucket],
                ..classic()
            }],
        )],
    );
    plain(
        "a classic gauge histogram",
        vec![Family {
            r#type: Some(MetricType::GaugeHistogram as i32),
            ..histograms("h", vec![classic()])
        }],
    );
    plain(
        "the classic form of custom buckets, as /federate gives it",
        vec![family(
            "h",
            MetricType::Histogram,
            vec![Metric {
                timestamp_ms: Some(now - 60_000),
                ..of(classic())
            }],
        )],
    );

    all
}
