//! Bodies that are large, damaged or strange, and their content types.

use amp_forwarder_support::families::{Family, Metric, MetricType, delimited, family};

use super::super::openmetrics::TOO_OLD;
use super::makers::{gauge, native, numbered, of, untyped};
use super::{Exposition, exposition};

/// The reason why a histogram differs.
const TOO_FAR_AHEAD: &str =
    "a histogram of the far future would shut out all later samples of its series";

const COUNTED_AHEAD: &str =
    "the body is parsed as it comes, so the samples before a flaw of their family are counted";

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut add = |name: &str, job: &'static str, body: Vec<u8>, differs| {
        all.push(exposition(name, job, body, differs));
    };
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
    add("long ago", "", delimited(&[old]), Some(TOO_OLD));

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

/// A message of less than 128 bytes with its length.
fn prefixed(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).unwrap()][..], message].concat()
}
