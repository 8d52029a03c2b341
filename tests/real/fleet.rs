//! A small fleet: fifty sites on four processes. `make fleet` has a thousand.

use amp_forwarder_support::fleet::{FleetOptions, run};

/// Every sample arrives once and in order, whichever process serves a site, and one process keeps
/// the others' series until it has no room for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sites_lose_nothing_on_four_processes() {
    let results = run(&FleetOptions {
        program: env!("CARGO_BIN_EXE_amp-forwarder").into(),
        sites: 50,
        series: 100,
        processes: 4,
        memory_mb: 128,
        rounds: 3,
        paced: false,
    })
    .await
    .unwrap();
    let text = results.markdown();
    println!("{text}");
    assert!(results.is_whole(), "{text}");
    let warm = results.ticks.iter().filter(|tick| !tick.cold).count();
    assert!(warm > 0, "no process has known a site: {text}");
    // Two PUTs a tick while nothing is owed, and a LIST only in the first tick of a site
    // (ARCHITECTURE.md, I7). A warm process whose site another one has served since tries in vain
    // to replace the lease that it remembers.
    let calls = |kind: &str| results.s3_calls.get(kind).copied().unwrap_or_default();
    let least = 2 * results.ticks.len() as u64;
    let most = least + warm as u64;
    assert!((least..=most).contains(&calls("PUT")), "{text}");
    assert_eq!(calls("LIST"), 50, "{text}");
}
