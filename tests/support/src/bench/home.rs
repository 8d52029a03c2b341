//! A home of N series that prepares its next body in advance. Only digits change between two
//! scrapes, so that is little work, and it is done while the measured programs wait for the next
//! scrape.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::watch;

use super::receiver::ReceivedTotals;
use crate::http::{self as server, Hangup, Server, ServerRequest};
use crate::now_ms;

/// Number of metric families, of the order that a cluster's Prometheus has of each exporter.
const FAMILIES: usize = 400;
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
fn labels(family: usize, member: usize) -> Vec<(&'static str, String)> {
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

fn name(family: usize) -> String {
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
fn members(series: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..FAMILIES).flat_map(move |family| {
        (0..series.saturating_sub(family).div_ceil(FAMILIES)).map(move |member| (family, member))
    })
}

impl SyntheticBody {
    /// Builds the body with its first samples.
    pub fn new(shape: Shape) -> Self {
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
        body.freshen(now_ms());
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

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The start of a scrape.
#[derive(Debug, Clone, Copy)]
pub struct ScrapeStart {
    /// Time of the request.
    pub asked: Instant,
    /// The counters of the probe at that moment, if a probe is set.
    pub reading: Option<Reading>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// CPU time of the measured process.
    pub cpu: Duration,
    /// Totals of the receiver, which are what the process has sent.
    pub received: ReceivedTotals,
}

type Probe = Box<dyn Fn() -> Option<Reading> + Send + Sync>;

struct State {
    body: Mutex<SyntheticBody>,
    /// The prepared body; `None` while it is being made, so that no body is served twice.
    next: tokio::sync::Mutex<Option<Bytes>>,
    scrapes: watch::Sender<Vec<ScrapeStart>>,
    probe: Mutex<Option<Probe>>,
    /// Time from an answer to the work on the next body.
    rest: Duration,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A home that listens.
pub struct SyntheticHome {
    server: Server,
    state: Arc<State>,
    shape: Shape,
    /// Size of the exposition.
    pub body_size: BodySize,
}

/// Size of an exposition in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySize {
    /// Bytes before compression.
    pub plain: usize,
    /// Bytes on the wire.
    pub served: usize,
}

impl SyntheticHome {
    /// Starts the home. It makes the next body half an interval after the last request.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(shape: Shape, interval: Duration) -> Result<Self> {
        let body = tokio::task::spawn_blocking(move || SyntheticBody::new(shape)).await?;
        let first = body.encoded();
        let body_size = BodySize {
            plain: body.bytes.len(),
            served: first.len(),
        };
        let state = Arc::new(State {
            body: Mutex::new(body),
            next: tokio::sync::Mutex::new(Some(first)),
            scrapes: watch::channel(Vec::new()).0,
            probe: Mutex::default(),
            rest: interval / 2,
        });
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| {
            answer(shared.clone(), shape, request)
        })
        .await?;
        Ok(Self {
            server,
            state,
            shape,
            body_size,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// The series of the home and their form.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Calls this probe at the start of each scrape from now on.
    pub fn probes(&self, probe: impl Fn() -> Option<Reading> + Send + Sync + 'static) {
        *lock(&self.state.probe) = Some(Box::new(probe));
    }

    /// Waits until the home was scraped this often, and returns the start of each scrape.
    ///
    /// # Errors
    /// Fails when that takes longer than `limit`.
    pub async fn scraped(&self, times: usize, limit: Duration) -> Result<Vec<ScrapeStart>> {
        let mut scrapes = self.state.scrapes.subscribe();
        let seen =
            tokio::time::timeout(limit, scrapes.wait_for(|scrapes| scrapes.len() >= times)).await;
        match seen {
            Ok(Ok(scrapes)) => Ok(scrapes.clone()),
            _ => anyhow::bail!(
                "{} scrapes in place of {times} within {limit:?}",
                self.state.scrapes.borrow().len()
            ),
        }
    }

    /// Forgets the scrapes so far.
    pub fn reset(&self) {
        self.state.scrapes.send_modify(Vec::clear);
    }
}

/// Makes the body with fresh samples.
async fn made(state: &Arc<State>) -> Option<Bytes> {
    let state = state.clone();
    let working = tokio::task::spawn_blocking(move || {
        let mut body = lock(&state.body);
        body.freshen(now_ms());
        body.encoded()
    });
    working.await.ok()
}

async fn answer(state: Arc<State>, shape: Shape, request: ServerRequest) -> server::HandlerResult {
    let asked = Instant::now();
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if (shape.gzip && !header("accept-encoding").contains("gzip"))
        || (shape.protobuf && !header("accept").contains("vnd.google.protobuf"))
    {
        return Ok(server::respond(406, "this home serves one form only"));
    }
    // The probe is read at once: a task that waits for the scrape may run late and would count
    // more.
    let reading = lock(&state.probe).as_ref().and_then(|probe| probe());
    state
        .scrapes
        .send_modify(|scrapes| scrapes.push(ScrapeStart { asked, reading }));
    let mut next = state.next.lock().await;
    // A first scrape and its first slot may be close to each other.
    let body = match next.take() {
        Some(body) => body,
        None => made(&state).await.ok_or(Hangup)?,
    };
    drop(next);
    let later = state.clone();
    tokio::spawn(async move {
        tokio::time::sleep(later.rest).await;
        let mut next = later.next.lock().await;
        if next.is_none() {
            *next = made(&later).await;
        }
    });
    let media = if shape.protobuf {
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
         encoding=delimited; escaping=allow-utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
    };
    let mut response = http::Response::builder().header("content-type", media);
    if shape.gzip {
        response = response.header("content-encoding", "gzip");
    }
    response.body(server::full(body)).map_err(|_| Hangup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_long_as_a_federated_one_and_only_digits_change() {
        let mut body = SyntheticBody::new(Shape {
            series: 10_000,
            protobuf: false,
            gzip: false,
            half_unchanged: false,
        });
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
            let mut body = SyntheticBody::new(Shape {
                series: 10_000,
                protobuf,
                gzip: false,
                half_unchanged: true,
            });
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
