//! Floats, with their labels, types and timestamps.

use amp_forwarder_support::families::{
    Exemplar, Family, LabelPair, Metric, MetricType, delimited, family, labelled, single,
};

use super::makers::{gauge, numbered, untyped};
use super::{Exposition, exposition};

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut plain = |name: &str, families: Vec<Family>| {
        all.push(exposition(name, "", delimited(&families), None));
    };

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
