//! In steady state no sample costs an allocation: those of a tick are for its batches, requests and
//! report.

use std::alloc::System;

use amp_forwarder_support::bench::home::{Shape, SyntheticBody};
use amp_forwarder_support::now_ms;
use stats_alloc::{Region, StatsAlloc};

#[path = "../benches/in_memory.rs"]
mod in_memory;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

#[tokio::test]
async fn a_known_sample_costs_no_allocation() {
    const SERIES: usize = 20_000;
    let mut body = SyntheticBody::new(Shape {
        series: SERIES,
        protobuf: false,
        gzip: false,
        half_unchanged: false,
    });
    let mut world = in_memory::InMemory::new().unwrap();
    for warm_up in 1..=3 {
        body.freshen(now_ms() - 10_000 + warm_up);
        world.tick(body.encoded()).await;
    }
    body.freshen(now_ms());
    let encoded = body.encoded();
    let region = Region::new(&ALLOCATOR);
    let report = world.tick(encoded).await;
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
