//! In steady state no sample costs an allocation: those of a tick are for its batches, requests and
//! report.

use std::alloc::System;

use amp_forwarder_support::bench::body::{Shape, SyntheticBody};
use stats_alloc::{Region, StatsAlloc};

#[path = "../benches/in_memory.rs"]
mod in_memory;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

#[tokio::test]
async fn a_known_sample_costs_no_allocation() {
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
