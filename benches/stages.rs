//! The stages of a scrape, each alone: `cargo bench`, or `cargo bench -- encode` for one of them.
//! `make bench` measures whole programs.
//!
//! Data sets:
//! - `federated`: 10,000 series of 8 to 12 labels, 270 bytes a line, as `/federate` gives them
//!   (`amp_forwarder_support::bench::body`). Large enough that no cache of the processor holds the
//!   body, small enough for many rounds.
//! - `escaped`: label values with escapes, which cannot be copied from the body as they are: the
//!   slow way of the parser, and literals in the encoding.
//! - `request`: a compressed batch of 1,000 samples, what is signed and posted.

// A benchmark that cannot run must say so.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a figure that divan has no column for")]

use amp_forwarder::batch::stage::BatchLimits;
use amp_forwarder::batch::{Batch, Writer};
use amp_forwarder::intake::{ExposedSample, Refusal, RemoteCommit, Sink};
use amp_forwarder::net::aws::SigningIdentity;
use amp_forwarder::prompb::{TimedValue, wire};
use amp_forwarder::scrape::text::TextParser;
use amp_forwarder::send::Signer;
use amp_forwarder::series::cache::SeriesKey;
use amp_forwarder::series::{ExposedLabel, Labels, SeriesCache, SeriesId, TargetId};
use amp_forwarder_support::bench::body::{Shape, SyntheticBody};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

mod in_memory;
mod windows;

const SERIES: usize = 10_000;
const NOW_MS: i64 = 1_795_176_000_000;
const LIMITS: BatchLimits = BatchLimits {
    samples: 1000,
    bytes: 1_000_000,
};

const PLAIN_TEXT: Shape = Shape {
    series: SERIES,
    protobuf: false,
    gzip: false,
    half_unchanged: false,
};

fn main() {
    divan::main();
}

fn federated() -> SyntheticBody {
    SyntheticBody::new(PLAIN_TEXT, NOW_MS)
}

fn escaped() -> Bytes {
    let line = |at: usize| {
        format!(
            "windows_service{{job=\"win\",path=\"C:\\\\Program Files\\\\Service \
             {at}\",note=\"a \\\"quoted\\\" word\"}} 1 {NOW_MS}\n"
        )
    };
    (0..SERIES).map(line).collect::<String>().into()
}

/// Takes what a parser gives, and learns nothing or everything.
struct Listener {
    knows: bool,
    samples: usize,
}

impl Sink for Listener {
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        self.samples += usize::from(self.knows);
        divan::black_box(sample);
        Ok(self.knows)
    }

    fn resolved(
        &mut self,
        _: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        self.samples += 1;
        divan::black_box(labels);
        Ok(())
    }
}

fn parsed(body: &[u8], knows: bool) -> usize {
    let mut listener = Listener { knows, samples: 0 };
    TextParser::default()
        .parse(body, true, &mut listener)
        .unwrap();
    listener.samples
}

fn counted(bencher: Bencher<'_, '_>, body: &Bytes, run: impl Fn(&[u8]) -> usize + Sync) {
    bencher
        .counter(BytesCount::from(body.len()))
        .counter(ItemsCount::new(SERIES))
        .bench(|| assert_eq!(run(body), SERIES));
}

/// Every line by the lexer, labels included: a cold process.
#[divan::bench]
fn parse_cold(bencher: Bencher<'_, '_>) {
    counted(bencher, &federated().encoded(), |body| parsed(body, false));
}

/// The same with escapes, which must be decoded.
#[divan::bench]
fn parse_cold_escaped(bencher: Bencher<'_, '_>) {
    counted(bencher, &escaped(), |body| parsed(body, false));
}

/// Every line cut from its end: a warm process.
#[divan::bench]
fn parse_warm(bencher: Bencher<'_, '_>) {
    counted(bencher, &federated().encoded(), |body| parsed(body, true));
}

/// Remembers every series of a body, with labels as they are exposed.
struct Learner {
    cache: SeriesCache,
    series: Vec<(Vec<u8>, SeriesId)>,
    transaction: amp_forwarder::series::cache::Transaction,
}

impl Sink for Learner {
    fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let mut labels = Labels::exposed(labels);
        labels.set("cluster", "bench");
        labels.finish();
        let index = self.cache.insert(
            self.transaction,
            SeriesKey::new(TargetId(0), sample.series),
            Some((&labels, 0)),
            false,
        );
        self.series.push((sample.series.to_vec(), index));
        Ok(())
    }
}

fn learned(body: &[u8]) -> Learner {
    let mut cache = SeriesCache::default();
    let transaction = cache.begin(TargetId(0));
    let mut learner = Learner {
        cache,
        series: Vec::new(),
        transaction,
    };
    TextParser::default()
        .parse(body, true, &mut learner)
        .unwrap();
    learner
}

/// The hash of a series' bytes, and its entry in the cache.
#[divan::bench]
fn cache_hit(bencher: Bencher<'_, '_>) {
    let Learner {
        mut cache, series, ..
    } = learned(&federated().encoded());
    let bytes: usize = series.iter().map(|(raw, _)| raw.len()).sum();
    bencher
        .counter(BytesCount::from(bytes))
        .counter(ItemsCount::new(SERIES))
        .bench_local(|| {
            for (raw, index) in &series {
                assert_eq!(cache.find(SeriesKey::new(TargetId(0), raw)), Some(*index));
            }
        });
}

/// Labels and sample of each series as protobuf, by its recipe. Bytes are those written.
#[divan::bench(args = [("federated", false), ("escaped", true)])]
fn encode(bencher: Bencher<'_, '_>, (_, escapes): (&str, bool)) {
    let Learner { cache, series, .. } = learned(&if escapes {
        escaped()
    } else {
        federated().encoded()
    });
    let mut out = Vec::new();
    let mut write = || {
        out.clear();
        for (raw, index) in &series {
            let length = cache.labels_len(*index) + wire::field_len(wire::sample_len(1.5, NOW_MS));
            out.push(wire::TIME_SERIES);
            wire::varint(&mut out, length as u64);
            cache.encode_labels(*index, raw, &mut out);
            wire::sample(&mut out, 1.5, NOW_MS);
        }
        out.len()
    };
    let bytes = write();
    bencher
        .counter(BytesCount::from(bytes))
        .counter(ItemsCount::new(SERIES))
        .bench_local(write);
}

fn batches() -> Vec<Batch> {
    struct Writing(Writer, Option<amp_forwarder::batch::StagedScrape>);
    impl Sink for Writing {
        fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
            Ok(false)
        }

        fn resolved(
            &mut self,
            sample: &ExposedSample<'_>,
            labels: &[ExposedLabel<'_>],
        ) -> Result<(), Refusal> {
            let mut labels = Labels::exposed(labels);
            labels.finish();
            let Self(writer, Some(staged)) = self else {
                return Ok(());
            };
            let series = writer.insert(
                staged,
                SeriesKey::new(TargetId(0), sample.series),
                Some(&labels),
                false,
            );
            writer
                .write(
                    staged,
                    series,
                    sample.series,
                    TimedValue {
                        value: sample.value,
                        timestamp_ms: NOW_MS,
                    },
                    false,
                )
                .map_or_else(|error| Err(Refusal(error.to_string())), |_| Ok(()))
        }
    }
    let mut writer = Writer::new(LIMITS);
    let staged = writer.begin(TargetId(0));
    let mut writing = Writing(writer, Some(staged));
    TextParser::default()
        .parse(&federated().encoded(), true, &mut writing)
        .unwrap();
    let Writing(mut writer, staged) = writing;
    staged
        .map(|staged| writer.commit(staged).unwrap().swap_remove(0))
        .unwrap_or_default()
}

/// Snappy of ten batches. Bytes are those before.
#[divan::bench]
fn compress(bencher: Bencher<'_, '_>) {
    let raw: Vec<Vec<u8>> = batches()
        .iter()
        .map(|batch| {
            snap::raw::Decoder::new()
                .decompress_vec(&batch.body.to_bytes())
                .unwrap()
        })
        .collect();
    let mut encoder = snap::raw::Encoder::new();
    let mut out = vec![0; snap::raw::max_compress_len(LIMITS.bytes)];
    let bytes: usize = raw.iter().map(Vec::len).sum();
    bencher
        .counter(BytesCount::from(bytes))
        .counter(ItemsCount::new(SERIES))
        .bench_local(|| {
            for raw in &raw {
                divan::black_box(encoder.compress(raw, &mut out).unwrap());
            }
        });
}

/// A request of a thousand samples.
#[divan::bench]
fn sign(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let credentials = SharedCredentialsProvider::new(Credentials::new(
        "AKIDEXAMPLE",
        "secret",
        Some("token".into()),
        None,
        "bench",
    ));
    let signer = Signer::new(
        SigningIdentity {
            credentials,
            region: aws_types::region::Region::new("us-east-1"),
        },
        "aps",
    );
    let body = batches().swap_remove(0).body.to_bytes();
    let limit = std::time::Duration::from_secs(1);
    bencher
        .counter(BytesCount::from(body.len()))
        .counter(ItemsCount::new(1000_usize))
        .bench_local(|| {
            let mut request = http::Request::new(body.clone());
            *request.uri_mut() = http::Uri::from_static(
                "https://aps-workspaces.us-east-1.amazonaws.com\
                 /workspaces/ws-x/api/v1/remote_write",
            );
            runtime
                .block_on(signer.sign(&mut request, NOW_MS, false, limit))
                .unwrap();
            request
        });
}

/// All of them together, without network: a warm tick in which every sample is fresh.
#[divan::bench]
fn tick_warm(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut world = in_memory::InMemory::new(PLAIN_TEXT).unwrap();
    let mut body = federated();
    let mut now_ms = NOW_MS;
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| {
            now_ms += 1000;
            body.freshen(now_ms);
            (body.encoded(), now_ms)
        })
        .bench_local_values(|(body, at_ms)| {
            assert_eq!(
                runtime.block_on(world.tick(body, at_ms)).ledger.written,
                SERIES as u64 + 5
            );
        });
}

/// A window with four new samples of each series, and one that was sent before: from the labels on
/// the wire to compressed batches, in a warm process. Items are new samples.
#[divan::bench]
fn window_warm(bencher: Bencher<'_, '_>) {
    let mut process = windows::Windows::new(SERIES);
    let mut end_ms = NOW_MS;
    process.read(end_ms);
    windowed(bencher, move || {
        end_ms += 60_000;
        process.read(end_ms)
    });
}

/// The same in a process that knows no series.
#[divan::bench]
fn window_cold(bencher: Bencher<'_, '_>) {
    let mut process = windows::Windows::new(SERIES);
    windowed(bencher, move || {
        process.forget();
        process.read(NOW_MS)
    });
}

fn windowed(bencher: Bencher<'_, '_>, mut read: impl FnMut() -> RemoteCommit) {
    let samples = SERIES * windows::SAMPLES;
    let commit = read();
    let batches = commit.scrapes.iter().flatten();
    let bytes: usize = batches.map(|batch| batch.body.len()).sum();
    println!("{:.1} bytes a sample", bytes as f64 / samples as f64);
    bencher
        .counter(BytesCount::from(bytes))
        .counter(ItemsCount::new(samples))
        .bench_local(|| assert_eq!(read().counts.fresh, samples as u64));
}
