//! The exposition of N series that change with each scrape. Only digits change between two scrapes,
//! so that is little work.

use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;

/// Number of metric families, of the order that a cluster's Prometheus has of each exporter.
pub(super) const FAMILIES: usize = 400;
/// Digits of a timestamp in milliseconds, until the year 2286.
const TIME_DIGITS: usize = 13;
/// Bytes of such a timestamp as a varint, until the year 2109.
const TIME_VARINT: usize = 6;
/// One series in this many is replaced with each scrape, in a home where half of the samples are
/// unchanged.
const CHURN: usize = 100;

/// The series of a home and their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of series in each scrape.
    pub series: usize,
    /// Whether the body is delimited protobuf; otherwise it is text.
    pub protobuf: bool,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// Whether half of the series keep sample and timestamp, and 1 % are new with each scrape.
    /// Otherwise all samples are fresh.
    pub half_unchanged: bool,
}

/// Offsets of one series' digits in the body.
struct SampleOffsets {
    value: usize,
    value_len: u8,
    time: usize,
    /// Offset of eight hexadecimal digits in the pod's name.
    pod: usize,
}

/// A body, and the places where it changes.
pub struct SyntheticBody {
    bytes: Vec<u8>,
    places: Vec<SampleOffsets>,
    shape: Shape,
    turn: u64,
}

/// The labels of one series without its name: 8 to 12 of them, sorted. The whole line has about 270
/// bytes.
pub(super) fn labels(family: usize, member: usize) -> Vec<(&'static str, String)> {
    let node = member % 23;
    let mut labels = vec![
        ("container", format!("app-{}", family % 17)),
        ("endpoint", "https".to_owned()),
        ("instance", format!("10.42.{node}.12:10250")),
        ("job", "kubelet".to_owned()),
        ("namespace", format!("team-{:02}", member % 40)),
        ("node", format!("worker-{node:02}")),
        ("pod", format!("app-{member:08x}")),
        ("service", "kubelet".to_owned()),
    ];
    let more = [
        (
            "id",
            format!(
                "/kubepods/pod{:016x}",
                ((family * 7919 + member) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ),
        ),
        ("image", format!("registry/team/app:v1.{}", family % 9)),
        ("interface", format!("eth{}", member % 3)),
        ("prometheus", "monitoring/stack".to_owned()),
    ];
    labels.extend(more.into_iter().take(family % 5));
    labels.sort_by_key(|label| label.0);
    labels
}

pub(super) fn name(family: usize) -> String {
    const SUBJECTS: [&str; 8] = [
        "container_network_receive",
        "container_fs_writes",
        "apiserver_request",
        "etcd_disk_wal_fsync",
        "kubelet_runtime",
        "node_memory",
        "go_memstats_heap",
        "workqueue_queue",
    ];
    const UNITS: [&str; 5] = [
        "bytes_total",
        "duration_seconds_sum",
        "errors_total",
        "seconds_bucket",
        "objects",
    ];
    format!(
        "{}_{family:03}_{}",
        SUBJECTS[family * 8 / FAMILIES],
        UNITS[family % 5]
    )
}

/// The value of a series: integers and fractions, as counters and gauges have them. A series keeps
/// its width.
fn value(index: usize) -> String {
    match index % 5 {
        0 => format!("{}", 10_000_000_000_u64 + index as u64 * 7919),
        1 | 2 => format!("{}", 1000 + index % 9000),
        3 => format!("{}.{:06}", 10 + index % 90, 100_000 + index % 900_000),
        _ => format!("0.{:015}", 100_000_000_000_000_u64 + index as u64 * 104_729),
    }
}

/// The family of each series and its number within the family, in the order of the body.
pub(super) fn members(series: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..FAMILIES).flat_map(move |family| {
        (0..series.saturating_sub(family).div_ceil(FAMILIES)).map(move |member| (family, member))
    })
}

impl SyntheticBody {
    /// Builds the body with its first samples, which have this timestamp.
    pub fn new(shape: Shape, at_ms: i64) -> Self {
        let mut body = Self {
            bytes: Vec::new(),
            places: Vec::with_capacity(shape.series),
            shape,
            turn: 0,
        };
        if shape.protobuf {
            body.protobuf();
        } else {
            body.text();
        }
        body.freshen(at_ms);
        body
    }

    fn text(&mut self) {
        let mut text = String::with_capacity(self.shape.series * 300);
        let mut last = usize::MAX;
        for (family, member) in members(self.shape.series) {
            let name = name(family);
            if family != last {
                // Writing to a string does not fail.
                let _ = writeln!(text, "# TYPE {name} untyped");
                last = family;
            }
            let _ = write!(text, "{name}{{");
            let mut pod = 0;
            for (at, (label, value)) in labels(family, member).iter().enumerate() {
                let _ = write!(
                    text,
                    "{}{label}=\"{value}\"",
                    if at == 0 { "" } else { "," }
                );
                if *label == "pod" {
                    pod = text.len() - 9;
                }
            }
            let number = value(self.places.len());
            let place = SampleOffsets {
                value: text.len() + 2,
                value_len: number.len() as u8,
                time: text.len() + 3 + number.len(),
                pod,
            };
            let _ = writeln!(text, "}} {number} {:013}", 0);
            self.places.push(place);
        }
        self.bytes = text.into_bytes();
    }

    /// `io.prometheus.client.MetricFamily`, delimited.
    fn protobuf(&mut self) {
        let mut families: Vec<Vec<(usize, Vec<u8>)>> = vec![Vec::new(); FAMILIES];
        for (family, member) in members(self.shape.series) {
            let mut metric = Vec::new();
            let mut pod = 0;
            for (label, value) in labels(family, member) {
                let mut pair = Vec::new();
                field(&mut pair, 0x0a, label.as_bytes());
                field(&mut pair, 0x12, value.as_bytes());
                field(&mut metric, 0x0a, &pair);
                if label == "pod" {
                    pod = metric.len() - 8;
                }
            }
            // Untyped { value = 1: double }, then timestamp_ms = 6.
            metric.extend_from_slice(&[0x2a, 9, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x30]);
            metric.extend_from_slice(&[0; TIME_VARINT]);
            families[family].push((pod, metric));
        }
        for (family, metrics) in families
            .into_iter()
            .enumerate()
            .filter(|(_, metrics)| !metrics.is_empty())
        {
            let mut bytes = Vec::new();
            field(&mut bytes, 0x0a, name(family).as_bytes());
            bytes.extend_from_slice(&[0x18, 3]);
            let mut places = Vec::new();
            for (pod, metric) in metrics {
                field(&mut bytes, 0x22, &metric);
                let start = bytes.len() - metric.len();
                places.push(SampleOffsets {
                    value: bytes.len() - TIME_VARINT - 9,
                    value_len: 8,
                    time: bytes.len() - TIME_VARINT,
                    pod: start + pod,
                });
            }
            varint(&mut self.bytes, bytes.len() as u64);
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&bytes);
            self.places
                .extend(places.into_iter().map(|place| SampleOffsets {
                    value: place.value + start,
                    time: place.time + start,
                    pod: place.pod + start,
                    ..place
                }));
        }
    }

    /// Gives every sample that changes another value and this timestamp.
    pub fn freshen(&mut self, at_ms: i64) {
        self.turn += 1;
        let digits = format!("{at_ms:0TIME_DIGITS$}");
        let mut time = Vec::new();
        varint(&mut time, at_ms as u64);
        let first = self.turn == 1;
        for (index, place) in self.places.iter().enumerate() {
            let stays = self.shape.half_unchanged && !first && index % 2 == 1;
            if self.shape.half_unchanged && index % CHURN == (self.turn as usize % CHURN) & !1 {
                let pod = format!(
                    "{:08x}",
                    0x8000_0000_u64 + self.turn * 1_000_003 + index as u64
                );
                self.bytes[place.pod..place.pod + 8].copy_from_slice(&pod.as_bytes()[..8]);
            } else if stays {
                continue;
            }
            let noise = (self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64)
                .wrapping_mul(0xff51_afd7_ed55_8ccd)
                >> 40;
            if self.shape.protobuf {
                self.bytes[place.time..place.time + TIME_VARINT].copy_from_slice(&time);
                let value = if index % 5 < 3 {
                    noise as f64
                } else {
                    noise as f64 / 1e6
                };
                self.bytes[place.value..place.value + 8].copy_from_slice(&value.to_le_bytes());
                continue;
            }
            self.bytes[place.time..place.time + TIME_DIGITS].copy_from_slice(digits.as_bytes());
            // The last digits change, and never to zero: a number with trailing zeros has a shorter
            // form.
            let value = &mut self.bytes[place.value..place.value + usize::from(place.value_len)];
            let length = value.len();
            for (at, digit) in value[length.saturating_sub(3)..].iter_mut().enumerate() {
                if digit.is_ascii_digit() {
                    *digit = b'1' + ((noise >> (8 * at)) % 9) as u8;
                }
            }
        }
    }

    /// Bytes before compression.
    pub fn plain_len(&self) -> usize {
        self.bytes.len()
    }

    /// The body as it is served.
    pub fn encoded(&self) -> Bytes {
        if !self.shape.gzip {
            return Bytes::copy_from_slice(&self.bytes);
        }
        // Go's default level would take the processor from the programs that are measured.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(2));
        // Writing to memory does not fail.
        let _ = encoder.write_all(&self.bytes);
        encoder.finish().unwrap_or_default().into()
    }
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_176_000_000;

    #[test]
    fn a_line_is_as_long_as_a_federated_one_and_only_digits_change() {
        let mut body = SyntheticBody::new(
            Shape {
                series: 10_000,
                protobuf: false,
                gzip: false,
                half_unchanged: false,
            },
            NOW_MS,
        );
        assert!(
            (255..=285).contains(&(body.bytes.len() / 10_000)),
            "{} bytes a line",
            body.bytes.len() / 10_000
        );
        let before = body.bytes.clone();
        body.freshen(1_800_000_000_123);
        let text = String::from_utf8(body.bytes.clone()).unwrap();
        for (line, was) in text
            .lines()
            .zip(String::from_utf8(before).unwrap().lines())
            .filter(|(line, _)| !line.starts_with('#'))
        {
            let (series, sample) = line.rsplit_once("} ").unwrap();
            assert_eq!(Some(series), was.rsplit_once("} ").map(|split| split.0));
            let (value, time) = sample.split_once(' ').unwrap();
            assert_eq!(time, "1800000000123");
            assert!(value.parse::<f64>().is_ok() && value.len() < 20, "{line}");
            assert!((7..=11).contains(&series.matches(',').count()), "{line}");
        }
        assert_eq!(
            text.lines().filter(|line| !line.starts_with('#')).count(),
            10_000
        );
    }

    #[test]
    fn half_stays_as_it_is_and_a_hundredth_is_new() {
        for protobuf in [false, true] {
            let mut body = SyntheticBody::new(
                Shape {
                    series: 10_000,
                    protobuf,
                    gzip: false,
                    half_unchanged: true,
                },
                NOW_MS,
            );
            let before = body.bytes.clone();
            body.freshen(1_800_000_000_123);
            let field = |bytes: &[u8], at: usize, length: usize| bytes[at..at + length].to_vec();
            let length = if protobuf { TIME_VARINT } else { TIME_DIGITS };
            let stays = body
                .places
                .iter()
                .filter(|place| {
                    field(&body.bytes, place.time, length) == field(&before, place.time, length)
                })
                .count();
            let new = body
                .places
                .iter()
                .filter(|place| field(&body.bytes, place.pod, 8) != field(&before, place.pod, 8))
                .count();
            assert_eq!(stays, 5000, "unchanged series, protobuf {protobuf}");
            assert_eq!(new, 100, "new series, protobuf {protobuf}");
        }
    }
}
