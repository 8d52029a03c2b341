//! Protobuf expositions: families as Go's client writes them, and some that no client writes.

use amp_forwarder_support::families::{
    Bucket, CONTENT_TYPE, Exemplar, Family, Histogram, LabelPair, Metric, MetricType, Quantile,
    Summary, delimited, family, labelled, single, spans,
};

/// One body under the settings of its job.
pub(super) struct Exposition {
    pub(super) name: String,
    pub(super) job: &'static str,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    /// The reason why the result differs from Prometheus', where it is meant to.
    pub(super) differs: Option<&'static str>,
}

fn gauge(value: f64) -> Metric {
    Metric {
        gauge: single(value),
        ..labelled(&[])
    }
}

fn untyped(labels: &[(&str, &str)], value: f64, timestamp_ms: i64) -> Metric {
    Metric {
        untyped: single(value),
        timestamp_ms: Some(timestamp_ms),
        ..labelled(labels)
    }
}

fn of(histogram: Histogram) -> Metric {
    Metric {
        histogram: Some(histogram),
        ..labelled(&[("a", "1")])
    }
}

fn bucket(bound: f64, count: u64) -> Bucket {
    Bucket {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        ..Bucket::default()
    }
}

/// A histogram of integers: 2 in the zero bucket, and 3, 5, 1 and 4 in others.
fn native() -> Histogram {
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
fn native_float() -> Histogram {
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

fn wide(buckets: u32, schema: i32) -> Histogram {
    Histogram {
        sample_count: Some(u64::from(buckets)),
        schema: Some(schema),
        positive_span: spans(&[(-5, buckets)]),
        positive_delta: (0..buckets).map(|at| i64::from(at == 0)).collect(),
        ..Histogram::default()
    }
}

fn classic() -> Histogram {
    Histogram {
        sample_count: Some(5),
        sample_sum: Some(2.5),
        bucket: vec![bucket(0.5, 1), bucket(1.0, 3), bucket(1e6, 5)],
        ..Histogram::default()
    }
}

fn histograms(name: &str, metrics: Vec<Histogram>) -> Family {
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

fn numbered(at: usize, mut metric: Metric) -> Metric {
    metric.label.push(LabelPair {
        name: Some(b"n".to_vec()),
        value: Some(at.to_string().into_bytes()),
    });
    metric
}

/// The reason why a histogram differs.
const TOO_FAR_AHEAD: &str =
    "a histogram of the far future would shut out all later samples of its series";

const COUNTED_AHEAD: &str =
    "the body is parsed as it comes, so the samples before a flaw of their family are counted";

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut add = |name: &str, job: &'static str, body: Vec<u8>, differs| {
        all.push(Exposition {
            name: format!("protobuf: {name}"),
            job,
            content_type: Some(CONTENT_TYPE),
            body,
            differs,
        });
    };
    let mut plain = |name: &str, families: Vec<Family>| add(name, "", delimited(&families), None);

    plain("nothing", vec![]);
    plain(
        "a family without metrics",
        vec![family("foo", MetricType::Gauge, vec![])],
    );
    plain(
        "a nameless family without metrics",
        vec![family("", MetricType::Gauge, vec![])],
    );
    plain(
        "a counter",
        vec![family(
            "foo_total",
            MetricType::Counter,
            vec![Metric {
                counter: single(1.5),
                ..labelled(&[("a", "b")])
            }],
        )],
    );
    plain(
        "gauges",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![
                numbered(0, gauge(-0.0)),
                numbered(1, gauge(f64::INFINITY)),
                numbered(2, gauge(f64::NAN)),
            ],
        )],
    );
    plain(
        "a stale marker",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![gauge(f64::from_bits(0x7ff0_0000_0000_0002))],
        )],
    );
    plain(
        "an exemplar",
        vec![family(
            "foo_total",
            MetricType::Counter,
            vec![Metric {
                counter: Some(exemplary()),
                ..labelled(&[])
            }],
        )],
    );
    plain(
        "a federated family",
        vec![family(
            "foo",
            MetricType::Untyped,
            vec![
                untyped(
                    &[("b", "2"), ("a", "1"), ("instance", "")],
                    1.0,
                    now - 60_000,
                ),
                untyped(&[("a", "2")], 2.0, now - 50_000),
            ],
        )],
    );
    plain(
        "timestamps",
        vec![family(
            "foo",
            MetricType::Untyped,
            vec![
                untyped(&[("a", "1")], 1.0, 0),
                untyped(&[("a", "3")], 1.0, now + 540_000),
                untyped(&[("a", "4")], 1.0, now + 660_000),
            ],
        )],
    );
    plain(
        "a series at three times",
        vec![family(
            "foo",
            MetricType::Untyped,
            vec![
                untyped(&[], 1.0, now - 60_000),
                untyped(&[], 2.0, now - 50_000),
                untyped(&[], 3.0, now - 55_000),
            ],
        )],
    );
    plain(
        "a series twice",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![gauge(1.0), gauge(2.0)],
        )],
    );
    plain(
        "a family twice",
        vec![
            family("foo", MetricType::Gauge, vec![numbered(0, gauge(1.0))]),
            family(
                "foo",
                MetricType::Untyped,
                vec![untyped(&[("x", "y")], 2.0, now)],
            ),
        ],
    );
    plain(
        "names of any kind",
        vec![family(
            "foo.bär",
            MetricType::Gauge,
            vec![Metric {
                gauge: single(1.0),
                ..labelled(&[("a b", "c\n\"\\"), ("a:b", "\0")])
            }],
        )],
    );
    plain(
        "labels of the target",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![Metric {
                gauge: single(1.0),
                ..labelled(&[("job", "x"), ("instance", "y")])
            }],
        )],
    );
    plain(
        "an empty label",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![Metric {
                gauge: single(1.0),
                ..labelled(&[("a", ""), ("b", "1")])
            }],
        )],
    );
    plain(
        "a label twice",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![Metric {
                gauge: single(1.0),
                ..labelled(&[("a", "1"), ("a", "2")])
            }],
        )],
    );
    plain(
        "a label called __name__",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![Metric {
                gauge: single(1.0),
                ..labelled(&[("__name__", "bar")])
            }],
        )],
    );
    plain(
        "an empty label name",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![
                gauge(1.0),
                Metric {
                    gauge: single(1.0),
                    ..labelled(&[("", "1")])
                },
            ],
        )],
    );
    plain(
        "no label name",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![pair(None, Some(b"1"))],
        )],
    );
    plain(
        "no label value",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![pair(Some(b"a"), None)],
        )],
    );
    plain(
        "a label name of bytes",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![pair(Some(b"\xff"), Some(b"1"))],
        )],
    );
    plain(
        "a label value of bytes",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![pair(Some(b"a"), Some(b"\xff"))],
        )],
    );
    plain(
        "no name",
        vec![family("", MetricType::Gauge, vec![gauge(1.0)])],
    );
    plain(
        "no type",
        vec![Family {
            r#type: None,
            ..family(
                "foo",
                MetricType::Gauge,
                vec![Metric {
                    counter: single(1.0),
                    ..labelled(&[])
                }],
            )
        }],
    );
    plain(
        "an unknown type",
        vec![Family {
            r#type: Some(6),
            ..family("foo", MetricType::Gauge, vec![gauge(1.0)])
        }],
    );
    plain(
        "a negative type",
        vec![Family {
            r#type: Some(-1),
            ..family("foo", MetricType::Gauge, vec![gauge(1.0)])
        }],
    );
    plain(
        "a value of another type",
        vec![family(
            "foo",
            MetricType::Gauge,
            vec![Metric {
                counter: single(1.0),
                ..labelled(&[])
            }],
        )],
    );
    plain(
        "help",
        vec![Family {
            help: "x\n".to_owned(),
            ..family("foo", MetricType::Gauge, vec![gauge(1.0)])
        }],
    );
    plain(
        "a unit",
        vec![Family {
            unit: "s".to_owned(),
            ..family("foo_s", MetricType::Gauge, vec![gauge(1.0)])
        }],
    );
    plain(
        "a unit of a counter",
        vec![Family {
            unit: "s".to_owned(),
            ..family(
                "foo_s_total",
                MetricType::Counter,
                vec![Metric {
                    counter: single(1.0),
                    ..labelled(&[])
                }],
            )
        }],
    );
    plain(
        "a unit that does not fit, of nothing",
        vec![Family {
            unit: "s".to_owned(),
            ..family("foo", MetricType::Gauge, vec![])
        }],
    );

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
    let custom = |buckets| Histogram {
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
    };
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
    let both = || Histogram {
        bucket: vec![bucket(1.0, 9), bucket(2.0, 15)],
        ..native()
    };
    plain("both forms", vec![histograms("h", vec![both(), both()])]);
    plain(
        "both forms of one name with its own parts",
        vec![
            histograms("h", vec![both()]),
            family("h_sum", MetricType::Gauge, vec![gauge(1.0)]),
        ],
    );

    let mut under =
        |name: &str, job, families: Vec<Family>| add(name, job, delimited(&families), None);
    under(
        "both forms on request",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![both(), both()])],
    );
    under(
        "both forms on request, mixed",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![both(), classic(), native(), both()])],
    );
    under(
        "both forms on request, classic first",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![classic(), both(), both(), native()])],
    );
    under(
        "honor_timestamps",
        "honor_timestamps: false",
        vec![family(
            "h",
            MetricType::Histogram,
            vec![Metric {
                timestamp_ms: Some(now - 60_000),
                ..of(native())
            }],
        )],
    );
    under(
        "honor_labels",
        "honor_labels: true",
        vec![family(
            "foo",
            MetricType::Untyped,
            vec![untyped(&[("job", "x"), ("instance", "")], 1.0, now)],
        )],
    );
    under(
        "sample_limit",
        "sample_limit: 3",
        vec![histograms(
            "h",
            vec![native(), native(), native(), native_float()],
        )],
    );
    under(
        "sample_limit, just so",
        "sample_limit: 3",
        vec![histograms("h", vec![native(), native(), native_float()])],
    );
    under(
        "sample_limit of classic buckets",
        "sample_limit: 5",
        vec![histograms("h", vec![classic()])],
    );
    under(
        "body_size_limit",
        "body_size_limit: 40B",
        vec![histograms("h", vec![native(), native(), native_float()])],
    );
    for (limit, job) in [
        (3, "native_histogram_bucket_limit: 3"),
        (4, "native_histogram_bucket_limit: 4"),
        (40, "native_histogram_bucket_limit: 40"),
    ] {
        under(
            &format!("bucket limit {limit}"),
            job,
            vec![histograms(
                "h",
                vec![native(), native_float(), wide(100, 3)],
            )],
        );
    }
    under(
        "bucket limit that no resolution reaches",
        "native_histogram_bucket_limit: 1",
        vec![
            family("a", MetricType::Gauge, vec![gauge(1.0)]),
            histograms("h", vec![native(), native_float()]),
            family("z", MetricType::Gauge, vec![gauge(1.0)]),
        ],
    );
    under(
        "bucket limit of custom buckets",
        "native_histogram_bucket_limit: 1",
        vec![histograms("h", vec![custom(2)])],
    );
    under(
        "bucket limit and sample limit",
        "native_histogram_bucket_limit: 1\n  sample_limit: 2",
        vec![histograms(
            "h",
            vec![native(), native_float(), native(), native()],
        )],
    );
    for (factor, job) in [
        (1.05, "native_histogram_min_bucket_factor: 1.05"),
        (1.1, "native_histogram_min_bucket_factor: 1.1"),
        (2.0, "native_histogram_min_bucket_factor: 2"),
        (70_000.0, "native_histogram_min_bucket_factor: 70000"),
        (-1.0, "native_histogram_min_bucket_factor: -1"),
    ] {
        under(
            &format!("bucket factor {factor}"),
            job,
            vec![histograms(
                "h",
                vec![
                    wide(100, 8),
                    wide(100, 4),
                    wide(7, 3),
                    native(),
                    wide(9, -4),
                ],
            )],
        );
    }
    under(
        "bucket factor and limit",
        "native_histogram_min_bucket_factor: 1.1\n  native_histogram_bucket_limit: 5",
        vec![histograms("h", vec![wide(100, 8), wide(100, 2)])],
    );

    let bytes = delimited(&[family("foo", MetricType::Gauge, vec![gauge(1.0)])]);
    let two = delimited(&[
        family("foo", MetricType::Gauge, vec![gauge(1.0)]),
        family("bar", MetricType::Gauge, vec![gauge(1.0)]),
    ]);
    let many = (0..5_000)
        .map(|at| {
            untyped(
                &[("a", &at.to_string()), ("b", &"x".repeat(at % 50))],
                at as f64,
                now - 1_000,
            )
        })
        .collect();
    let many = delimited(&[
        family("many", MetricType::Untyped, many),
        family("foo", MetricType::Gauge, vec![gauge(1.0)]),
    ]);
    add(
        "native histograms far ahead",
        "",
        delimited(&[family(
            "h",
            MetricType::Histogram,
            vec![
                Metric {
                    timestamp_ms: Some(now + 660_000),
                    ..of(native())
                },
                numbered(1, of(native())),
            ],
        )]),
        Some(TOO_FAR_AHEAD),
    );
    add("a family larger than any block", "", many.clone(), None);
    add(
        "sample_limit within a large family",
        "sample_limit: 1234",
        many.clone(),
        None,
    );
    add(
        "an error behind a large family",
        "",
        [
            &many[..],
            &delimited(&[family("", MetricType::Gauge, vec![gauge(1.0)])]),
        ]
        .concat(),
        None,
    );
    add(
        "a large family that is cut",
        "",
        many[..many.len() / 2].to_vec(),
        Some(COUNTED_AHEAD),
    );
    add(
        "a family that is cut",
        "",
        two[..two.len() - 1].to_vec(),
        None,
    );
    add(
        "a length without a family",
        "",
        [&bytes[..], &[5]].concat(),
        None,
    );
    add("half a length", "", [&bytes[..], &[0x80]].concat(), None);
    add(
        "a length of six bytes",
        "",
        [&bytes[..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]].concat(),
        None,
    );
    add(
        "an unknown field of a family",
        "",
        prefixed(&[&two[1..=usize::from(two[0])], &[0x50, 0x01]].concat()),
        None,
    );
    add(
        "a field of wire type 3",
        "",
        [&bytes[..], &[0x02, 0x0b, 0x0c]].concat(),
        None,
    );
    add(
        "a name that is a number",
        "",
        [&bytes[..], &[0x02, 0x08, 0x01]].concat(),
        None,
    );
    add(
        "field number 0",
        "",
        [&bytes[..], &[0x02, 0x00, 0x01]].concat(),
        None,
    );
    add(
        "a name of bytes",
        "",
        prefixed(
            &[
                &[0x0a, 0x01, 0xff, 0x18, 0x01][..],
                &[0x22, 0x0b, 0x12, 0x09, 0x09],
                &1.0_f64.to_le_bytes(),
            ]
            .concat(),
        ),
        None,
    );
    add(
        "help of bytes",
        "",
        prefixed(
            &[
                &[0x0a, 0x01, b'g', 0x12, 0x01, 0xff, 0x18, 0x01][..],
                &[0x22, 0x0b, 0x12, 0x09, 0x09],
                &1.0_f64.to_le_bytes(),
            ]
            .concat(),
        ),
        None,
    );
    add(
        "a metric that is cut",
        "",
        prefixed(&[0x0a, 0x01, b'g', 0x18, 0x01, 0x22, 0x02, 0x12, 0x09]),
        None,
    );
    add(
        "a unit that does not fit",
        "",
        delimited(&[Family {
            unit: "s".to_owned(),
            ..family("foo", MetricType::Gauge, vec![gauge(1.0)])
        }]),
        Some(COUNTED_AHEAD),
    );
    add("text", "", b"foo 1\n".to_vec(), None);
    let old = family(
        "foo",
        MetricType::Untyped,
        vec![
            untyped(&[("a", "1")], 1.0, -5),
            untyped(&[("a", "2")], 2.0, now),
        ],
    );
    add(
        "long ago",
        "",
        delimited(&[old]),
        Some(super::openmetrics::TOO_OLD),
    );

    all.push(Exposition {
        name: "protobuf by fallback".to_owned(),
        job: "fallback_scrape_protocol: PrometheusProto",
        content_type: None,
        body: two.clone(),
        differs: None,
    });
    all.push(Exposition {
        name: "protobuf without its type".to_owned(),
        job: "",
        content_type: None,
        body: two.clone(),
        differs: None,
    });
    all.push(Exposition {
        name: "protobuf as text".to_owned(),
        job: "",
        content_type: Some("text/plain"),
        body: two.clone(),
        differs: None,
    });
    all.push(Exposition {
        name: "protobuf by its media type alone".to_owned(),
        job: "",
        content_type: Some("application/vnd.google.protobuf"),
        body: two,
        differs: None,
    });
    all
}

fn exemplary() -> amp_forwarder_support::families::Single {
    let label = vec![LabelPair {
        name: Some(b"trace".to_vec()),
        value: Some(b"x".to_vec()),
    }];
    amp_forwarder_support::families::Single {
        value: Some(1.0),
        exemplar: Some(Exemplar {
            label,
            value: Some(2.0),
        }),
    }
}

fn pair(name: Option<&[u8]>, value: Option<&[u8]>) -> Metric {
    let label = vec![LabelPair {
        name: name.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
    }];
    Metric {
        gauge: single(1.0),
        label,
        ..Metric::default()
    }
}

/// A message of less than 128 bytes with its length.
fn prefixed(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).unwrap()][..], message].concat()
}
