//! What earlier posts of a batch change: batches that are made smaller, repeated, or looked at sample
//! by sample.

use super::script::{Fixture, SECOND, START_MS, Script, ScriptedReply, batch, entry};
use crate::send::{Delivery, UndeliveredReason};
use crate::time::Clock as _;

fn taken(delivery: &Delivery) -> (u64, u64, u64) {
    (
        delivery.written,
        delivery.rejected_samples(),
        delivery.undelivered_samples(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_batch_above_the_burst_is_made_smaller_until_it_passes() {
    for (batch, burst) in [(batch(1_000), 100), (entry(500), 60), (batch(3), 1)] {
        let fixture = Fixture::new();
        let remote = Script::new([ScriptedReply::Burst(burst)]);
        let delivery = fixture.deliver(&remote, &batch).await;
        assert_eq!(
            taken(&delivery),
            (u64::from(batch.samples), 0, 0),
            "burst {burst}"
        );
        // Later batches are small from the start.
        let most = fixture.state.max_request_samples();
        assert!((burst / 2..=burst.max(64)).contains(&most), "{most}");
        if burst >= 64 {
            let remote = Script::new([ScriptedReply::Burst(burst)]);
            let delivery = fixture.deliver(&remote, &batch).await;
            assert_eq!((delivery.written, delivery.retries), (1_000, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_sample_above_the_burst_stays_owed_until_others_pass_for_long() {
    let mut fixture = Fixture::new();
    let (delivery, _) = fixture.run(&[ScriptedReply::Burst(0)], 1).await;
    assert_eq!(taken(&delivery), (0, 0, 1));
    fixture.history.last_429 = true;
    let (delivery, _) = fixture.run(&[ScriptedReply::Burst(0)], 3).await;
    let (written, rejected, undelivered) = taken(&delivery);
    assert_eq!((written, rejected + undelivered), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_size_that_passes_is_not_made_smaller() {
    let fixture = Fixture::new();
    let (delivery, _) = fixture.run(&[ScriptedReply::Status(200)], 1_000).await;
    assert_eq!(delivery.written, 1_000);
    let replies = [
        vec![ScriptedReply::Burst(999); 12],
        vec![ScriptedReply::Burst(1_000)],
    ]
    .concat();
    let (delivery, posts) = fixture.run(&replies, 1_000).await;
    assert_eq!((delivery.written, delivery.retries), (1_000, 12));
    assert!(posts.iter().all(|post| post.samples == 1_000), "{posts:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_made_smaller_grow_again() {
    let fixture = Fixture::new();
    let remote = Script::new([ScriptedReply::Burst(300)]);
    fixture.deliver(&remote, &batch(1_000)).await;
    assert_eq!(fixture.state.max_request_samples(), 250);
    fixture.run(&[ScriptedReply::AtMost(500)], 1_000).await;
    let small = fixture.state.max_request_bytes();
    let now_ms = fixture.clock.now_ms();
    fixture.state.begin_tick(now_ms + 9 * 60_000);
    assert_eq!(fixture.state.max_request_samples(), 250, "not yet");
    fixture.state.begin_tick(now_ms + 11 * 60_000);
    assert_eq!(fixture.state.max_request_samples(), 500);
    assert_eq!(fixture.state.max_request_bytes(), small, "not yet");
    for hour in 1..20 {
        fixture.state.begin_tick(now_ms + hour * 3_700_000);
    }
    assert_eq!(fixture.state.max_request_bytes(), 1_000_000);
    assert!(fixture.state.max_request_samples() > 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_post_without_an_answer_means_that_the_receiver_has_it() {
    let known = "user=fake: err: out of order sample. timestamp=1";
    for unclear in [
        ScriptedReply::TimedOut,
        ScriptedReply::Stale,
        ScriptedReply::Status(500),
        ScriptedReply::Status(408),
    ] {
        let replies = [unclear.clone(), ScriptedReply::Body(400, known)];
        let (delivery, _) = Fixture::new().run(&replies, 3).await;
        assert_eq!(
            (delivery.repeated, delivery.rejected_samples()),
            (3, 0),
            "{unclear:?}"
        );
    }
    for clear in [
        ScriptedReply::Status(429),
        ScriptedReply::NoSts,
        ScriptedReply::Status(403),
    ] {
        let replies = [clear.clone(), ScriptedReply::Body(400, known)];
        let (delivery, _) = Fixture::new().run(&replies, 3).await;
        assert_eq!(
            (delivery.repeated, delivery.rejected_samples()),
            (0, 3),
            "{clear:?}"
        );
    }
    let replies = [
        ScriptedReply::TimedOut,
        ScriptedReply::Body(400, "bad label"),
    ];
    let (delivery, _) = Fixture::new().run(&replies, 3).await;
    assert_eq!((delivery.repeated, delivery.rejected_samples()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_doubt_is_given_back_as_such() {
    let mut fixture = Fixture::new();
    for (replies, in_doubt) in [
        (vec![ScriptedReply::Hang], true),
        (vec![ScriptedReply::Status(503)], true),
        (vec![ScriptedReply::Status(429)], false),
    ] {
        fixture.deadline = tokio::time::Instant::now() + 10 * SECOND;
        let (delivery, _) = fixture.run(&replies, 3).await;
        let undelivered = delivery.undelivered.unwrap();
        assert_eq!(undelivered.in_doubt == undelivered.batches, in_doubt);
        assert_eq!(undelivered.in_doubt.is_empty(), !in_doubt, "{replies:?}");
    }
    // The next delivery is told.
    fixture.deadline = tokio::time::Instant::now() + 10 * SECOND;
    fixture.history.in_doubt = true;
    let known = ScriptedReply::Body(400, "duplicate sample for timestamp");
    let (delivery, _) = fixture.run(&[known], 3).await;
    assert_eq!((delivery.repeated, delivery.rejected_samples()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_cannot_take_is_found_in_a_batch_that_is_refused_for_long() {
    for status in [429, 500, 503] {
        for minute in [0, 36, 37, 38] {
            let mut fixture = Fixture::new();
            fixture.history.refused_for_long = true;
            tokio::time::sleep(minute * 60 * SECOND).await;
            fixture.deadline = tokio::time::Instant::now() + 60 * SECOND;
            let remote = Script::new([ScriptedReply::Poison(status, "m37")]);
            let delivery = fixture.deliver(&remote, &batch(100)).await;
            let is_poison = (START_MS / 60_000 + minute as i64) % 100 == 37;
            if is_poison {
                // The very sample that is tried: the next minute tries another one.
                assert_eq!(taken(&delivery), (0, 0, 100), "{status} {minute}");
                continue;
            }
            assert_eq!(taken(&delivery), (99, 1, 0), "{status} {minute}");
            let rejected = &delivery.rejected[0];
            assert_eq!(rejected.status, status);
            assert!(
                rejected.message.contains("while the others"),
                "{rejected:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_costs_one_sample_more_and_refuses_nothing_for_good() {
    let mut fixture = Fixture::new();
    fixture.history.refused_for_long = true;
    let (delivery, posts) = fixture.run(&[ScriptedReply::Status(503)], 100).await;
    assert_eq!(taken(&delivery), (0, 0, 100));
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(undelivered.batches, [batch(100)], "it is whole");
    assert!(matches!(
        undelivered.reason,
        UndeliveredReason::Deadline(Some(_))
    ));
    let single = posts.iter().filter(|post| post.samples == 1).count();
    assert_eq!(single, 1, "{posts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sample_that_was_tried_alone_without_an_answer_leaves_its_batch_in_doubt() {
    let mut fixture = Fixture::new();
    fixture.history.refused_for_long = true;
    let replies = [ScriptedReply::Status(429), ScriptedReply::Hang];
    let (delivery, _) = fixture.run(&replies, 9).await;
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(undelivered.batches, [batch(9)]);
    assert_eq!(undelivered.in_doubt, [batch(9)]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_goes_while_samples_are_looked_at_refuses_nothing_for_good() {
    let mut fixture = Fixture::new();
    fixture.history.refused_for_long = true;
    let replies = [
        vec![ScriptedReply::Poison(503, "m37"); 6],
        vec![ScriptedReply::Status(503)],
    ]
    .concat();
    let (delivery, _) = fixture.run(&replies, 100).await;
    let (written, rejected, undelivered) = taken(&delivery);
    assert_eq!((rejected, written + undelivered), (0, 100));
    assert!(written > 0, "{delivery:?}");
}
