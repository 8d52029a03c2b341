//! In steady state no sample costs an allocation: those of a tick are for its batches, requests and
//! report, and those of a window for its batches.

use std::alloc::System;

use amp_forwarder_support::bench::body::{Shape, SyntheticBody};
use stats_alloc::{Region, StatsAlloc};
use tokio::sync::Mutex;

#[path = "../benches/in_memory.rs"]
mod in_memory;
#[path = "../benches/windows.rs"]
mod windows;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

/// The allocator counts those of all threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_known_sample_costs_no_allocation() {
    let _turn = ONE_AT_A_TIME.lock().await;
    const SERIES: usize = 20_000;
    const START_MS: i64 = 1_795_176_000_000;
    const INTERVAL_MS: i64 = 60_000;
    let shape = Shape {
        series: SERIES,
        protobuf: false,
        gzip: false,
        half_unchanged: false,
    };
    let mut body = SyntheticBody::new(shape, START_MS);
    let mut world = in_memory::InMemory::new(shape).unwrap();
    for warm_up in 1..=3 {
        let now_ms = START_MS + warm_up * INTERVAL_MS;
        body.freshen(now_ms);
        world.tick(body.encoded(), now_ms).await;
    }
    let now_ms = START_MS + 4 * INTERVAL_MS;
    body.freshen(now_ms);
    let encoded = body.encoded();
    let region = Region::new(&ALLOCATOR);
    let report = world.tick(encoded, now_ms).await;
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    assert_eq!(report.ledger.written, SERIES as u64 + 5);
    let batches = SERIES / 1000;
    println!("{allocations} allocations for {SERIES} samples in {batches} batches");
    assert!(
        allocations < 40 * batches,
        "{allocations} allocations for {SERIES} samples in {batches} batches"
    );
}

#[tokio::test]
async fn a_sample_of_a_window_costs_no_allocation() {
    let _turn = ONE_AT_A_TIME.lock().await;
    const SERIES: usize = 20_000;
    let mut process = windows::Windows::new(SERIES);
    let start_ms = 1_795_176_000_000;
    for minute in 1..=3 {
        process.read(start_ms + minute * 60_000);
    }
    let region = Region::new(&ALLOCATOR);
    let commit = process.read(start_ms + 240_000);
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    let samples = SERIES * windows::SAMPLES;
    assert_eq!(commit.counts.fresh, samples as u64);
    let batches = commit.scrapes.iter().flatten().count();
    assert!(
        allocations < 20 * batches,
        "{allocations} allocations for {samples} samples in {batches} batches"
    );
}
