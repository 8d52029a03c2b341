//! Native histograms, valid ones and others.

use amp_forwarder_support::families::{
    Family, Histogram, Metric, MetricType, delimited, family, labelled, spans,
};

use super::makers::{both, classic, custom, gauge, histograms, native, native_float, of, untyped};
use super::{Exposition, exposition};

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut plain = |name: &str, families: Vec<Family>| {
        all.push(exposition(name, "", delimited(&families), None));
    };

    plain(
        "native histograms",
        vec![histograms("h", vec![native(), native_float()])],
    );
    plain(
        "a native gauge histogram",
        vec![Family {
            r#type: Some(MetricType::GaugeHistogram as i32),
            ..histograms("h", vec![native(), native_float()])
        }],
    );
    plain(
        "a native histogram with a timestamp",
        vec![family(
            "h",
            MetricType::Histogram,
            vec![Metric {
                timestamp_ms: Some(now - 60_000),
                ..of(native_float())
            }],
        )],
    );
    plain(
        "a native histogram twice",
        vec![family(
            "h",
            MetricType::Histogram,
            vec![of(native()), of(native_float())],
        )],
    );
    plain(
        "a name with floats and histograms",
        vec![
            family(
                "h",
                MetricType::Untyped,
                vec![untyped(&[("b", "1")], 1.0, now)],
            ),
            histograms("h", vec![native_float()]),
            Family {
                r#type: Some(MetricType::GaugeHistogram as i32),
                ..family(
                    "h",
                    MetricType::Gauge,
                    vec![Metric {
                        histogram: Some(native_float()),
                        ..labelled(&[("c", "1")])
                    }],
                )
            },
        ],
    );
    plain(
        "every schema",
        vec![histograms(
            "h",
            (-4..=8)
                .map(|schema| Histogram {
                    schema: Some(schema),
                    ..native()
                })
                .collect(),
        )],
    );
    plain(
        "schema 9",
        vec![histograms(
            "h",
            vec![
                native(),
                Histogram {
                    schema: Some(9),
                    ..native()
                },
            ],
        )],
    );
    plain(
        "schema -5",
        vec![histograms(
            "h",
            vec![Histogram {
                schema: Some(-5),
                ..native()
            }],
        )],
    );
    plain(
        "schema -53",
        vec![histograms(
            "h",
            vec![Histogram {
                schema: Some(-53),
                ..native()
            }],
        )],
    );
    plain(
        "schema -53 without bounds",
        vec![histograms("h", vec![custom(1)])],
    );
    plain(
        "schema -53 with buckets beyond its bounds",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_span: spans(&[(1, 1)]),
                ..custom(1)
            }],
        )],
    );
    plain(
        "no observations yet",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count: Some(0),
                sample_sum: Some(0.0),
                positive_span: spans(&[(0, 0)]),
                ..Histogram::default()
            }],
        )],
    );
    plain(
        "a zero threshold alone",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count: Some(0),
                zero_threshold: Some(1e-128),
                ..Histogram::default()
            }],
        )],
    );
    plain(
        "a zero bucket of floats alone",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count_float: Some(2.0),
                zero_count_float: Some(2.0),
                ..Histogram::default()
            }],
        )],
    );
    plain(
        "empty buckets and touching spans",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count: Some(5),
                zero_count: None,
                negative_span: vec![],
                negative_delta: vec![],
                positive_span: spans(&[(-2, 2), (0, 2), (0, 0), (3, 1), (2, 1)]),
                positive_delta: vec![3, -3, 1, 0, -1, 0],
                ..native()
            }],
        )],
    );
    plain(
        "a sum that is no number",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_sum: Some(f64::NAN),
                sample_count: Some(20),
                ..native()
            }],
        )],
    );
    plain(
        "too few observations for a sum that is no number",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_sum: Some(f64::NAN),
                sample_count: Some(14),
                ..native()
            }],
        )],
    );
    plain(
        "a histogram's stale marker",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_sum: Some(f64::from_bits(0x7ff0_0000_0000_0002)),
                ..native()
            }],
        )],
    );
    plain(
        "a wrong count",
        vec![histograms(
            "h",
            vec![
                native(),
                Histogram {
                    sample_count: Some(16),
                    ..native()
                },
                native(),
            ],
        )],
    );
    plain(
        "a wrong count of floats",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count_float: Some(1.0),
                ..native_float()
            }],
        )],
    );
    plain(
        "more spans than buckets",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_span: spans(&[(0, 4)]),
                ..native()
            }],
        )],
    );
    plain(
        "fewer spans than buckets, of floats",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_count: vec![3.0, 5.0],
                ..native_float()
            }],
        )],
    );
    plain(
        "spans without observations",
        vec![histograms(
            "h",
            vec![Histogram {
                sample_count_float: Some(0.0),
                zero_count_float: None,
                ..native_float()
            }],
        )],
    );
    plain(
        "a negative offset",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_span: spans(&[(5, 2), (-1, 1)]),
                ..native()
            }],
        )],
    );
    plain(
        "a negative bucket",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_delta: vec![3, -4, 11],
                ..native()
            }],
        )],
    );
    plain(
        "a negative bucket of floats",
        vec![histograms(
            "h",
            vec![Histogram {
                positive_count: vec![3.0, -5.0, 1.0],
                ..native_float()
            }],
        )],
    );
    plain(
        "a native histogram behind a classic one",
        vec![histograms(
            "h",
            vec![classic(), native(), native_float(), classic()],
        )],
    );
    plain(
        "a classic histogram behind a native one",
        vec![histograms("h", vec![native(), classic(), native()])],
    );
    plain("both forms", vec![histograms("h", vec![both(), both()])]);
    plain(
        "both forms of one name with its own parts",
        vec![
            histograms("h", vec![both()]),
            family("h_sum", MetricType::Gauge, vec![gauge(1.0)]),
        ],
    );

    all
}
