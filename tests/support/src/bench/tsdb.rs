//! A home with a database of N series, which answers remote reads with the bytes of a Prometheus.
//!
//! Samples lie on the grid of a scrape interval, and each target has its own offset in it, as in
//! Prometheus. They are made from their time, so the database has any past that it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use prost::Message as _;

use super::body::{FAMILIES, field, labels, members, name, varint};
use crate::http::{self as server, Hangup, Server, ServerRequest};
use crate::now_ms;
use crate::read::{Matcher, ReadRequest};

const LARGEST_REQUEST: usize = 1 << 20;
/// The label of a series' name.
const NAME: &str = "__name__";

/// One series of the database.
struct StoredSeries {
    /// Its number, which its values depend on.
    index: usize,
    /// The fields `TimeSeries.labels`.
    labels: Vec<u8>,
    /// Part of the interval at which its target is scraped, milliseconds.
    offset_ms: i64,
}

/// The series of one name, sorted by labels.
struct Family {
    name: String,
    series: Vec<StoredSeries>,
}

/// The database.
pub struct Database {
    families: Vec<Family>,
    interval_ms: i64,
}

/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReadRange {
    start_ms: i64,
    end_ms: i64,
    /// The part of the names, by their length: which one, and of how many.
    part: (usize, usize),
}

impl Database {
    /// Makes the series that [`SyntheticBody`](super::body::SyntheticBody) exposes.
    #[must_use]
    pub fn new(series: usize, interval: Duration) -> Self {
        let interval_ms = interval.as_millis() as i64;
        let mut families: Vec<Family> = (0..FAMILIES)
            .map(|family| Family {
                name: name(family),
                series: Vec::new(),
            })
            .collect();
        for (index, (family, member)) in members(series).enumerate() {
            let name = families[family].name.clone();
            let mut encoded = Vec::new();
            for (label, value) in std::iter::once((NAME, name)).chain(labels(family, member)) {
                let mut pair = Vec::new();
                field(&mut pair, 0x0a, label.as_bytes());
                field(&mut pair, 0x12, value.as_bytes());
                field(&mut encoded, 0x0a, &pair);
            }
            families[family].series.push(StoredSeries {
                index,
                labels: encoded,
                offset_ms: (member % 23) as i64 * interval_ms / 23,
            });
        }
        families.retain(|family| !family.series.is_empty());
        families.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            families,
            interval_ms,
        }
    }

    /// The body that answers the body of a read at this time, milliseconds since 1970.
    ///
    /// # Errors
    /// Fails when the request is not one of the forwarder's.
    pub fn answer(&self, request: &[u8], now_ms: i64) -> Result<Bytes> {
        let plain = self.read(range(request, now_ms)?);
        Ok(snap::raw::Encoder::new().compress_vec(&plain)?.into())
    }

    /// The times of the samples that a series has in a range.
    fn times(&self, series: &StoredSeries, range: ReadRange) -> impl Iterator<Item = i64> + use<> {
        let (interval, offset) = (self.interval_ms, series.offset_ms);
        let first = (range.start_ms - offset).div_euclid(interval);
        (first..)
            .map(move |slot| slot * interval + offset)
            .skip_while(move |&at| at < range.start_ms)
            .take_while(move |&at| at <= range.end_ms)
    }

    /// The `ReadResponse` of a range, not compressed.
    fn read(&self, range: ReadRange) -> Vec<u8> {
        let mut result = Vec::new();
        for family in &self.families {
            if family.name.len() % range.part.1 == range.part.0 {
                self.append(family, range, &mut result);
            }
        }
        let mut response = Vec::with_capacity(result.len() + 8);
        field(&mut response, 0x0a, &result);
        response
    }

    /// Requests that write all samples of a range into another database, one for each name.
    /// `WriteRequest` has its series in the same field as `QueryResult`.
    pub(super) fn write_requests(&self, start_ms: i64, end_ms: i64) -> impl Iterator<Item = Bytes> {
        let range = ReadRange {
            start_ms,
            end_ms,
            part: (0, 1),
        };
        self.families.iter().map(move |family| {
            let mut request = Vec::new();
            self.append(family, range, &mut request);
            // Compressing in memory does not fail below 4 GiB.
            let body = snap::raw::Encoder::new().compress_vec(&request);
            body.unwrap_or_default().into()
        })
    }

    /// Appends the series of a name that have samples in a range.
    fn append(&self, family: &Family, range: ReadRange, out: &mut Vec<u8>) {
        let (mut entry, mut sample) = (Vec::new(), Vec::new());
        for series in &family.series {
            entry.clear();
            entry.extend_from_slice(&series.labels);
            for at_ms in self.times(series, range) {
                sample.clear();
                sample.push(0x09);
                let value = value(series.index, at_ms, self.interval_ms);
                sample.extend_from_slice(&value.to_le_bytes());
                sample.push(0x10);
                varint(&mut sample, at_ms as u64);
                field(&mut entry, 0x12, &sample);
            }
            if entry.len() > series.labels.len() {
                field(out, 0x0a, &entry);
            }
        }
    }
}

/// The value of a series at a time: counters, gauges of few digits and of many.
fn value(index: usize, at_ms: i64, interval_ms: i64) -> f64 {
    let slot = (at_ms / interval_ms) as u64;
    let noise = (slot.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        >> 40;
    match index % 5 {
        0 => (10_000_000_000 + index as u64 * 7919 + slot % 100_000 * 37) as f64,
        1 | 2 => (1000 + noise % 9000) as f64,
        3 => (10_000_000 + noise) as f64 / 1e6,
        _ => noise as f64 / 16_777_216.0,
    }
}

/// Counters of a home.
#[derive(Debug, Default)]
struct Answered {
    reads: AtomicU64,
    bytes: AtomicU64,
}

/// A home that listens.
pub(super) struct DatabaseHome {
    server: Server,
    answered: Arc<Answered>,
}

impl DatabaseHome {
    /// Starts a home of that many series, scraped at that interval.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub(super) async fn start(series: usize, interval: Duration) -> Result<Self> {
        let making = tokio::task::spawn_blocking(move || Database::new(series, interval));
        let database = Arc::new(making.await?);
        let answered = Arc::<Answered>::default();
        let shared = answered.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| {
            answer(database.clone(), shared.clone(), request)
        });
        Ok(Self {
            server: server.await?,
            answered,
        })
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Number of reads that were answered, and the bytes of their bodies.
    pub(super) fn reads(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.answered.reads), read(&self.answered.bytes))
    }
}

async fn answer(
    database: Arc<Database>,
    answered: Arc<Answered>,
    request: ServerRequest,
) -> server::HandlerResult {
    if request.uri().path() != "/api/v1/read" {
        return Ok(server::respond(404, "this home answers remote reads only"));
    }
    let body = server::read_body(request.into_body(), LARGEST_REQUEST)
        .await
        .ok_or(Hangup)?;
    let working = tokio::task::spawn_blocking(move || database.answer(&body, now_ms()));
    let body = match working.await.map_err(|_| Hangup)? {
        Ok(body) => body,
        Err(error) => return Ok(server::respond(400, format!("{error:#}"))),
    };
    answered.reads.fetch_add(1, Ordering::Relaxed);
    answered
        .bytes
        .fetch_add(body.len() as u64, Ordering::Relaxed);
    http::Response::builder()
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .body(server::full(body))
        .map_err(|_| Hangup)
}

/// Reads a request with one query. Samples that the home has not scraped yet are not there.
fn range(body: &[u8], now_ms: i64) -> Result<ReadRange> {
    let plain = crate::gateway::wire::decompress(body, LARGEST_REQUEST)?;
    let request = ReadRequest::decode(&*plain)?;
    let [query] = &request.queries[..] else {
        anyhow::bail!("{} queries in place of one", request.queries.len());
    };
    let mut part = (0, 1);
    for matcher in &query.matchers {
        if matcher.name == NAME {
            part = name_part(matcher).context("a matcher of names that is not known")?;
        }
    }
    Ok(ReadRange {
        start_ms: query.start_timestamp_ms,
        end_ms: query.end_timestamp_ms.min(now_ms),
        part,
    })
}

/// Reads the forwarder's expression for a part of the names: `(?s:(?:.{of})*.{index})`.
fn name_part(matcher: &Matcher) -> Option<(usize, usize)> {
    let (of, index) = matcher
        .value
        .strip_prefix("(?s:(?:.{")?
        .strip_suffix("})")?
        .split_once("})*.{")?;
    Some((index.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::wire;
    use crate::read::ReadResponse;

    #[test]
    fn a_range_holds_the_samples_of_its_slots_and_parts_are_disjoint() {
        let database = Database::new(1000, Duration::from_secs(15));
        let range = |part| ReadRange {
            start_ms: 1_800_000_000_001,
            end_ms: 1_800_000_060_000,
            part,
        };
        let samples = |part| {
            let answer = ReadResponse::decode(&*database.read(range(part))).unwrap();
            let series = answer.results.iter().flat_map(|result| &result.timeseries);
            series.map(|one| one.samples.len()).collect::<Vec<_>>()
        };
        assert_eq!(samples((0, 1)), [4; 1000]);
        let parts = [samples((0, 2)).len(), samples((1, 2)).len()];
        assert_eq!(parts[0] + parts[1], 1000);
        assert!(parts.iter().all(|&part| part > 0), "{parts:?}");
        let written: u64 = database
            .write_requests(1_800_000_000_001, 1_800_000_060_000)
            .map(|body| wire::decompress(&body, 1 << 20).unwrap())
            .map(|request| wire::count(&request).unwrap().samples)
            .sum();
        assert_eq!(written, 4000);
    }

    #[test]
    fn the_part_of_a_request_is_read() {
        let part = |value: &str| {
            name_part(&Matcher {
                kind: 2,
                name: NAME.to_owned(),
                value: value.to_owned(),
            })
        };
        assert_eq!(part("(?s:(?:.{12})*.{3})"), Some((3, 12)));
        assert_eq!(part(".+"), None);
    }
}
