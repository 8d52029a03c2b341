//! What is refused.

use super::*;

#[test]
fn what_is_refused() {
    let metric = || {
        vec![MetricMessage {
            gauge: single(1.0),
            ..labelled(&[])
        }]
    };
    let good = family("g", MetricType::Gauge, metric());
    let bytes = body(std::slice::from_ref(&good));
    let message = good.encode_to_vec();
    // prost would order the fields.
    let late_name = [&message[3..], &message[..3]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (bytes[..bytes.len() - 1].to_vec(), "ends within a message"),
        ([&bytes[..], &[0x80]].concat(), "ends within a message"),
        (
            [&bytes[..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]].concat(),
            "no varint of 32 bits",
        ),
        (
            [&bytes[..], &[0x02, 0x22, 0x05, 0, 0, 0, 0, 0]].concat(),
            "a family ends within a field",
        ),
        ([&bytes[..], &[0x02, 0x0b, 0x0c]].concat(), "wire type 3"),
        (
            [&bytes[..], &[0x02, 0x08, 0x01]].concat(),
            "wrong wire type for field Name",
        ),
        (
            [&bytes[..], &[0x02, 0x00, 0x01]].concat(),
            "illegal field number 0",
        ),
        (
            body(&[family("", MetricType::Gauge, metric())]),
            "invalid metric name",
        ),
        (
            body(&[FamilyMessage {
                kind: 6,
                ..family("g", MetricType::Gauge, metric())
            }]),
            "unknown metric type for metric \"g\"",
        ),
        (
            body(&[FamilyMessage {
                unit: "s".to_owned(),
                ..family("g", MetricType::Gauge, metric())
            }]),
            "unit \"s\" not a suffix of metric \"g\"",
        ),
        (
            body(&[family("g", MetricType::Gauge, vec![labelled(&[("", "x")])])]),
            "",
        ),
        (
            [varint_bytes(late_name.len() as u64), late_name].concat(),
            "invalid metric name",
        ),
        (
            [&[0x05, 0x0a, 0x01, 0xff, 0x22, 0x00][..]].concat(),
            "invalid metric name: it is not valid UTF-8",
        ),
        (
            [&[0x08, 0x12, 0x01, 0xff, 0x0a, 0x01, b'g', 0x22, 0x00][..]].concat(),
            "invalid help",
        ),
        (
            vec![0x09, 0x0a, 0x01, b'g', 0x22, 0x04, 0x0a, 0x02, 0x0a, 0x00],
            "invalid label name",
        ),
        (
            vec![
                0x0a, 0x0a, 0x01, b'g', 0x22, 0x05, 0x0a, 0x03, 0x12, 0x01, 0xff,
            ],
            "not valid UTF-8",
        ),
        (
            vec![0x07, 0x0a, 0x01, b'g', 0x22, 0x02, 0x0a, 0x05],
            "ends within a field",
        ),
    ];
    for (body, expected) in cases {
        let (_, ended) = parsed_as(&body, HistogramFormats::default());
        if expected.is_empty() {
            // An absent name is the sink's to refuse.
            assert_eq!(ended, Ok(()));
            continue;
        }
        let text = ended.expect_err(expected).to_string();
        assert!(
            text.contains(expected) && text.starts_with("byte "),
            "{expected}: {text}"
        );
    }
    // Units that fit, and a family that nobody looks at.
    let of = |name: &str, unit: &str, kind, metrics| FamilyMessage {
        unit: unit.to_owned(),
        ..family(name, kind, metrics)
    };
    let fitting = [
        of("g_s", "s", MetricType::Gauge, metric()),
        of("c_s_total", "s", MetricType::Counter, metric()),
        of("g", "s", MetricType::Gauge, vec![]),
    ];
    assert_eq!(parsed(&fitting), ["=g_s 1", "=c_s_total 0"]);
}
