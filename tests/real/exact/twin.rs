//! `mode: gaps`: after a gap the receiver has what a forwarder without the gap has sent, sample by
//! sample. The link of one is cut, and all that its twin is shown by `/federate` is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::{Gateway, SampleValue};
use amp_forwarder_support::home::{Link, Recorder, Recording};
use amp_forwarder_support::process::V3_5;
use amp_forwarder_support::query::Samples;
use amp_forwarder_support::{Labels, now_ms, wait_for};

use super::{home, job};
use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_in_order, exposed, gateway,
};
use crate::targets;

const SLOT_MS: i64 = 1_000;
const TICK: Duration = Duration::from_secs(5);

/// Time of the slot at or before a moment: the grid begins at the hash of the job's name.
fn slot_ms(at_ms: i64) -> i64 {
    let offset_ms = (xxhash_rust::xxh3::xxh3_64(b"federate") % SLOT_MS as u64) as i64;
    at_ms - (at_ms - offset_ms).rem_euclid(SLOT_MS)
}

/// What arrived of the home's series.
fn received(gateway: &Gateway) -> Samples {
    let mut samples = Samples::new();
    for stored in gateway.stored() {
        let SampleValue::Float(bits) = stored.value else {
            panic!("a histogram: {:?}", stored.labels);
        };
        if stored.labels["job"] != "federate" {
            let of_series = samples.entry(stored.labels).or_default();
            of_series.insert(stored.timestamp, bits);
        }
    }
    samples
}

/// A sample by series and time.
type Sample = (Labels, i64);

/// The samples that the twin was shown in a span, each with the time of the scrape.
fn shown(recordings: &[Recording], from_ms: i64, until_ms: i64) -> BTreeMap<Sample, i64> {
    let mut shown = BTreeMap::new();
    for recording in recordings {
        if !(from_ms..until_ms).contains(&recording.at_ms) || recording.status != 200 {
            continue;
        }
        for (labels, samples) in exposed(std::slice::from_ref(recording)) {
            for at_ms in samples.into_keys() {
                let sample = (labels.clone(), at_ms);
                shown.entry(sample).or_insert(recording.at_ms);
            }
        }
    }
    shown
}

/// Seconds after the start at which the link is cut and mended, and at which the last tick begins.
const CUT: u64 = 6;
const MENDED: u64 = 16;
const END: u64 = 24;

/// Ticks of both forwarders, while the link of the first one is cut and mended. Returns how many
/// samples the first one read afterwards.
async fn run(sides: &[(RunningFunction, Gateway)], link: &Link) -> u64 {
    let started = Instant::now();
    let running = futures_util::future::join_all(sides.iter().map(async |(running, _)| {
        let mut backfilled = 0;
        while started.elapsed() < Duration::from_secs(END) {
            let report = running.tick("{}", TICK).await;
            assert_balanced(&report);
            backfilled += report["ledger"]["backfilled"].as_u64().unwrap();
        }
        backfilled
    }));
    let cutting = async {
        for (at, cuts) in [(CUT, true), (MENDED, false)] {
            wait_for("it is time", AMPLE * 2, || async {
                started.elapsed() >= Duration::from_secs(at)
            })
            .await
            .unwrap();
            if cuts { link.cut() } else { link.mend() }
        }
    };
    let (backfilled, ()) = tokio::join!(running, cutting);
    backfilled[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_filled_with_what_federation_would_have_shown() {
    let counting = targets::counting("counts", 20).await;
    let flickering = targets::flickering(8).await;
    let odd = targets::odd_values().await;
    let jobs = vec![
        job("counting", &counting, "300ms"),
        job("flickering", &flickering, "2500ms"),
        job("odd", &odd, "700ms"),
    ];
    let home = home(V3_5, jobs, "", &[]).await;
    let link = Link::start(&home.address()).await.unwrap();
    let recorder = Recorder::start(&home.url()).await.unwrap();
    let mut sides = Vec::new();
    for address in [link.address(), recorder.address()] {
        let gateway = gateway().await;
        let config = TestConfig {
            interval: "1s",
            ..TestConfig::new(&address, &gateway)
        };
        sides.push((RunningFunction::start(&config.yaml()).await, gateway));
    }
    let started_ms = now_ms();
    assert!(run(&sides, &link).await > 100);

    let recordings = recorder.recordings();
    // A scrape that was on its way when the link was cut belongs to neither side.
    let (from_ms, until_ms) = (
        slot_ms(started_ms + 1_000 * CUT as i64) + 2 * SLOT_MS,
        slot_ms(started_ms + 1_000 * MENDED as i64) - SLOT_MS,
    );
    let (gap, twin) = (received(&sides[0].1), received(&sides[1].1));
    let has = |samples: &Samples, (labels, at_ms): &Sample| {
        let bits = samples.get(labels).and_then(|of| of.get(at_ms)).copied();
        // Remote read shows −0 as 0.
        bits.map(|bits| if bits == 1 << 63 { 0 } else { bits })
    };
    let shown = shown(&recordings, from_ms, until_ms);
    let mut compared = 0;
    for (sample, scraped_ms) in &shown {
        // The twin is shown a slot a little after its time, and the gap is filled for that time
        // itself. What the home took in between may be missing.
        if sample.1 > slot_ms(*scraped_ms) {
            continue;
        }
        assert_eq!(has(&gap, sample), has(&twin, sample), "{sample:?}");
        assert!(has(&gap, sample).is_some(), "{sample:?}");
        compared += 1;
    }
    assert!(compared > 200, "{compared} samples were compared");
    // And nothing is there that no slot would have shown.
    let scrapes: BTreeSet<i64> = recordings.iter().map(|recording| recording.at_ms).collect();
    for (labels, samples) in &gap {
        for at_ms in samples
            .range(from_ms..until_ms - SLOT_MS)
            .map(|(at_ms, _)| *at_ms)
        {
            let sample = (labels.clone(), at_ms);
            if has(&twin, &sample).is_some() {
                continue;
            }
            // The newest at a slot, but not a moment later when the twin asked.
            let slot = slot_ms(at_ms) + SLOT_MS;
            let asked = scrapes.range(slot..).next().copied().unwrap_or(slot);
            let newer = twin[labels].range(slot..=asked).next();
            assert!(newer.is_some(), "{sample:?} was shown by no slot");
        }
    }
    assert_in_order(&sides[0].1.stats());
}
