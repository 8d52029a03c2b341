//! A segment that somebody else wrote, on its whole way: it is read, its batches are sent to a
//! receiver that finds everything too large, and what is left is exported. Each sample that the
//! index claims ends in one place, and memory stays within what honest segments need.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use amp_forwarder::batch::Batch;
use amp_forwarder::send::{
    BatchHistory, DeliverContext, DeliverSettings, PostAnswer, PostError, PostRequest, Remote,
    SendState, deliver,
};
use amp_forwarder::spool::export::Export;
use amp_forwarder::spool::segment::{read, write};
use amp_forwarder::time::TokioClock;
use bytes::Bytes;
use crc32c::crc32c;
use futures_util::future::BoxFuture;
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;

/// Most memory that an input may take, in bytes: the largest uncompressed body that a batch may
/// claim, and what inputs of 4,096 bytes can really hold.
const MOST: usize = 24 << 20;

/// The forwarder's clock, milliseconds since 1970.
const NOW_MS: i64 = 1_700_000_000_000;

/// Counts the bytes that are allocated, and the most there were at once.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A receiver that takes nothing.
struct TooLarge;

impl Remote for TooLarge {
    fn post<'a>(&'a self, _: PostRequest<'a>) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        Box::pin(std::future::ready(Ok(PostAnswer {
            status: 413,
            headers: http::HeaderMap::new(),
            body: String::new(),
        })))
    }

    fn address(&self) -> &str {
        "https://receiver"
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let held = HELD.load(Ordering::Relaxed);
    PEAK.store(held, Ordering::Relaxed);
    let bytes = match mode % 3 {
        0 => Bytes::copy_from_slice(data),
        // The same with checksums that hold.
        1 => mended(data),
        // One batch whose body is whole, so that what is in it can be anything.
        _ => compressed(data),
    };
    if let Ok(segment) = read(&bytes) {
        segment.batches.iter().for_each(send_and_export);
    }
    let peak = PEAK.load(Ordering::Relaxed) - held;
    assert!(peak < MOST, "{peak} bytes of memory at once");
});

fn send_and_export(batch: &Batch) {
    send(batch, None);
    // Half of the timestamps that one byte holds are too old.
    send(batch, Some(Duration::from_millis(NOW_MS as u64 - 64)));
    let mut export = Export::new(1 << 16);
    if export.add(batch).is_ok() {
        export
            .finish(&mut std::io::sink())
            .expect("what was added can be written");
    }
}

fn send(batch: &Batch, age_limit: Option<Duration>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let delivery = runtime.block_on(async {
        let context = DeliverContext {
            settings: &DeliverSettings {
                remote_timeout: Duration::from_secs(5),
                min_backoff: Duration::from_millis(30),
                max_backoff: Duration::from_secs(5),
                retry_on_http_429: true,
                sample_age_limit: age_limit,
            },
            state: &SendState::new(1_000_000, fastrand::Rng::with_seed(1)),
            clock: &TokioClock::starting_at(NOW_MS),
            work_ends: Instant::now() + Duration::from_secs(60),
            history: BatchHistory::default(),
        };
        deliver(&TooLarge, batch, &context).await
    });
    assert_eq!(
        delivery.rejected_samples() + delivery.undelivered_samples() + delivery.expired_samples(),
        u64::from(batch.samples),
        "each sample of the index is in one place"
    );
}

/// The bytes as a segment whose prefix, length and checksums hold.
fn mended(data: &[u8]) -> Bytes {
    let mut data = data.to_vec();
    let Some(head) = data.get_mut(..32) else {
        return Bytes::new();
    };
    head[..12].copy_from_slice(b"AMPFWSEG\x01\x00\x00\x00");
    let sum = crc32c(&head[..12]);
    head[12..16].copy_from_slice(&sum.to_le_bytes());
    // At most eight batches, without a note.
    let batches = usize::from(head[24] % 8);
    head[24..28].copy_from_slice(&(batches as u32).to_le_bytes());
    head[28..32].fill(0);
    let end = 32 + batches * 36;
    let length = data.len() as u64;
    data[16..24].copy_from_slice(&length.to_le_bytes());
    if end + 4 > data.len() {
        return Bytes::new();
    }
    // The bodies share what follows the index.
    let mut at = end + 4;
    for batch in 0..batches {
        let entry = 32 + batch * 36;
        let left = data.len() - at;
        let body = if batch + 1 == batches {
            left
        } else {
            left.min(usize::from(data[entry]))
        };
        let sum = crc32c(&data[at..at + body]);
        data[entry..entry + 8].copy_from_slice(&(body as u64).to_le_bytes());
        data[entry + 32..entry + 36].copy_from_slice(&sum.to_le_bytes());
        at += body;
    }
    let sum = crc32c(&data[..end]);
    data[end..end + 4].copy_from_slice(&sum.to_le_bytes());
    Bytes::from(data)
}

/// A segment of one batch with this request. Its first bytes say how many samples the index claims.
fn compressed(data: &[u8]) -> Bytes {
    let Some((samples, raw)) = data.split_first_chunk::<2>() else {
        return Bytes::new();
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(raw)
        .expect("it is short");
    let batch = Batch {
        body: body.into(),
        samples: u32::from(u16::from_le_bytes(*samples)),
        raw_len: raw.len() as u32,
        min_ms: 0,
        max_ms: i64::MAX,
    };
    write(&[batch], None)
}
