//! Batches that are posted in parts: entries that are cut in time, and samples that are too old.

use std::time::Duration;

use tokio::time::Instant;

use super::script::{Fixture, SECOND, START_MS, Script, ScriptedReply, batch, decode, entry};
use crate::batch::Batch;
use crate::send::UndeliveredReason;

fn times(batch: &Batch) -> Vec<i64> {
    let entries = decode(&batch.body.to_bytes()).timeseries;
    let samples = entries.iter().flat_map(|entry| &entry.samples);
    samples
        .map(|sample| (sample.timestamp - START_MS) / 1000)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_too_large_is_posted_half_by_half() {
    let remote = Script::new([ScriptedReply::AtMost(2)]);
    let delivery = Fixture::new().deliver(&remote, &entry(7)).await;
    assert_eq!((delivery.written, delivery.rejected_samples()), (7, 0));
    let posts = remote.posts();
    let samples: Vec<_> = posts.iter().map(|post| post.samples).collect();
    assert_eq!(samples, [7, 3, 1, 2, 4, 2, 2]);
    let taken = posts.iter().filter(|post| post.samples <= 2);
    assert!(
        taken.map(|post| post.oldest_ms).is_sorted(),
        "in the order of time"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_entry_is_given_back_as_one_batch() {
    // All of it is owed: two halves side by side would be out of order later.
    let too_large = ScriptedReply::Status(413);
    let away = ScriptedReply::Status(404);
    let remote = Script::new([too_large.clone(), too_large.clone(), away.clone()]);
    let delivery = Fixture::new().deliver(&remote, &entry(8)).await;
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(undelivered.batches, [entry(8)]);

    // A first quarter was answered.
    let written = ScriptedReply::Status(200);
    let remote = Script::new([too_large.clone(), too_large.clone(), written, away.clone()]);
    let delivery = Fixture::new().deliver(&remote, &entry(8)).await;
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(undelivered.batches.len(), 1);
    assert_eq!(times(&undelivered.batches[0]), [-5, -4, -3, -2, -1, 0]);

    // Batches of several entries are still given back in halves: no series is in both.
    let remote = Script::new([too_large, away]);
    let delivery = Fixture::new().deliver(&remote, &batch(8)).await;
    assert_eq!(delivery.undelivered.unwrap().batches.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_second_half_waits_for_the_answer_to_the_first() {
    let slow = ScriptedReply::Late(3 * SECOND, 200);
    let remote = Script::new([ScriptedReply::Status(413), slow, ScriptedReply::Status(200)]);
    let delivery = Fixture::new().deliver(&remote, &entry(4)).await;
    assert_eq!(delivery.written, 4);
    let after: Vec<_> = remote.posts().iter().map(|post| post.after).collect();
    assert_eq!(after, [Duration::ZERO, Duration::ZERO, 3 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_asked_for_comes_back_without_the_half_that_was_answered() {
    let fixture = Fixture::new();
    let replies = [
        ScriptedReply::Status(413),
        ScriptedReply::Status(200),
        ScriptedReply::Hang,
    ];
    let remote = Script::new(replies);
    let asked = async {
        tokio::time::sleep(SECOND).await;
        fixture.state.recall();
    };
    let batch = entry(8);
    let (delivery, ()) = tokio::join!(fixture.deliver(&remote, &batch), asked);
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(delivery.written, 4);
    assert_eq!(times(&undelivered.batches[0]), [-3, -2, -1, 0]);
    assert_eq!(undelivered.in_doubt, undelivered.batches);
    assert_eq!(undelivered.reason, UndeliveredReason::Recalled);
    assert_eq!(
        fixture.state.last_failure(),
        None,
        "nothing was wrong with the remote"
    );

    // Nothing is posted until deliveries may begin again.
    let remote = Script::new([ScriptedReply::Status(200)]);
    let delivery = fixture.deliver(&remote, &entry(2)).await;
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!((remote.posts().len(), undelivered.in_doubt), (0, vec![]));
    fixture.state.resume();
    assert_eq!(fixture.deliver(&remote, &entry(2)).await.written, 2);
}

/// Waits that a delivery may be in when its batch is asked for: for an answer, for a time that the
/// remote has named, and for the turn of the batch that probes it.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_asked_for_comes_back_at_once() {
    let away = ScriptedReply::Status(404);
    for reply in [
        ScriptedReply::Hang,
        ScriptedReply::RetryAfter(429, "20"),
        ScriptedReply::Status(503),
    ] {
        for is_probed in [false, true] {
            let fixture = Fixture::new();
            if is_probed {
                let stopping = Script::new([away.clone()]);
                fixture.deliver(&stopping, &batch(1)).await;
                fixture.state.begin_tick(START_MS);
            }
            let remote = Script::new([reply.clone()]);
            let started = Instant::now();
            let asked = async {
                tokio::time::sleep(SECOND).await;
                fixture.state.recall();
            };
            let (one, two) = (batch(1), batch(2));
            let (one, two, ()) = tokio::join!(
                fixture.deliver(&remote, &one),
                fixture.deliver(&remote, &two),
                asked
            );
            for delivery in [one, two] {
                let undelivered = delivery.undelivered.unwrap();
                assert_eq!(undelivered.reason, UndeliveredReason::Recalled, "{reply:?}");
            }
            assert_eq!(started.elapsed(), SECOND, "{reply:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn samples_that_are_too_old_are_taken_out_of_their_entry() {
    let mut fixture = Fixture::new();
    fixture.settings.sample_age_limit = Some(4 * SECOND);
    let remote = Script::new([ScriptedReply::Status(200)]);
    let delivery = fixture.deliver(&remote, &entry(8)).await;
    assert_eq!((delivery.written, delivery.expired_samples()), (5, 3));
    assert_eq!(times(&delivery.expired[0]), [-7, -6, -5]);
    assert_eq!(remote.posts().len(), 1);

    // Samples age between two tries, too.
    let replies = [
        ScriptedReply::RetryAfter(503, "2"),
        ScriptedReply::Status(200),
    ];
    let remote = Script::new(replies);
    let delivery = fixture.deliver(&remote, &entry(5)).await;
    assert_eq!((delivery.written, delivery.expired_samples()), (3, 2));
    let samples: Vec<_> = remote.posts().iter().map(|post| post.samples).collect();
    assert_eq!(samples, [5, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_cut_is_posted_as_it_is() {
    let mut fixture = Fixture::new();
    fixture.settings.sample_age_limit = Some(4 * SECOND);
    let raw = b"\x0a\x7fshort";
    let broken = Batch {
        min_ms: START_MS - 8000,
        body: snap::raw::Encoder::new().compress_vec(raw).unwrap().into(),
        raw_len: raw.len() as u32,
        ..entry(1)
    };
    let remote = Script::new([ScriptedReply::Status(400)]);
    let delivery = fixture.deliver(&remote, &broken).await;
    assert_eq!((delivery.rejected.len(), delivery.attempts), (1, 1));
}
