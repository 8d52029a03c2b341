use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::script::{Fixture, SECOND, START_MS, Script, ScriptedReply, batch, decode};
use crate::send::{SendState, StopReason, UndeliveredReason, probe};
use crate::time::{Clock as _, TokioClock};

#[tokio::test(start_paused = true)]
async fn each_final_answer_has_its_place() {
    for status in [200, 204] {
        let (delivery, posts) = Fixture::new()
            .run(&[ScriptedReply::Status(status)], 3)
            .await;
        assert_eq!((delivery.written, delivery.retries, posts.len()), (3, 0, 1));
        assert_eq!((posts[0].attempt, posts[0].timeout), (0, 5 * SECOND));
        assert!(!posts[0].fresh_connection && !posts[0].fresh_credentials);
    }
    let (delivery, posts) = Fixture::new().run(&[ScriptedReply::Status(202)], 3).await;
    assert_eq!((delivery.deduplicated, posts.len()), (3, 1));
    for status in [400, 409, 415, 422] {
        let (delivery, posts) = Fixture::new()
            .run(&[ScriptedReply::Body(status, "out of order sample")], 3)
            .await;
        assert_eq!(posts.len(), 1, "{status} is never resent");
        let rejected = &delivery.rejected[0];
        assert_eq!(rejected.batch, batch(3), "kept as posted");
        assert_eq!(
            (rejected.status, rejected.message.as_str()),
            (status, &*format!("answered {status}: out of order sample"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_retried_within_the_deadline() {
    for reply in [
        ScriptedReply::Status(500),
        ScriptedReply::Status(503),
        ScriptedReply::Status(408),
        ScriptedReply::Status(425),
        ScriptedReply::Body(429, "Rate exceeded"),
        ScriptedReply::TimedOut,
        ScriptedReply::NoSts,
    ] {
        let (delivery, posts) = Fixture::new()
            .run(
                &[reply.clone(), reply.clone(), ScriptedReply::Status(200)],
                3,
            )
            .await;
        assert_eq!(
            (delivery.written, delivery.attempts, delivery.retries),
            (3, 3, 2),
            "{reply:?}"
        );
        assert_eq!(
            posts.iter().map(|post| post.attempt).collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn back_off_grows_to_its_maximum_and_ends_before_the_deadline() {
    let fixture = Fixture::new();
    let (delivery, posts) = fixture.run(&[ScriptedReply::Status(503)], 3).await;
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(undelivered.batches, [batch(3)]);
    let UndeliveredReason::Deadline(Some(failure)) = undelivered.reason else {
        panic!("{:?}", undelivered.reason)
    };
    assert_eq!(
        (failure.status, failure.message.as_str()),
        (Some(503), "send https://aps: answered 503")
    );
    assert!(
        Instant::now() < fixture.deadline,
        "it does not sleep through to the deadline for nothing"
    );
    let waits: Vec<_> = posts
        .windows(2)
        .map(|pair| pair[1].after - pair[0].after)
        .collect();
    assert!(waits[0] <= Duration::from_millis(31), "{waits:?}");
    assert!(
        waits
            .iter()
            .all(|wait| *wait <= 5 * SECOND + Duration::from_millis(1)),
        "{waits:?}"
    );
    assert!((10..40).contains(&posts.len()), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn no_request_outlives_the_deadline() {
    let mut fixture = Fixture::new();
    fixture.deadline = Instant::now() + 3 * SECOND;
    let (delivery, posts) = fixture.run(&[ScriptedReply::Hang], 3).await;
    assert_eq!(Instant::now(), fixture.deadline);
    assert_eq!(posts[0].timeout, 3 * SECOND, "cut to what is left");
    assert!(matches!(
        delivery.undelivered.unwrap().reason,
        UndeliveredReason::Deadline(Some(_))
    ));
    let (delivery, posts) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
    assert_eq!((posts.len(), delivery.undelivered_samples()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn retry_after_holds_back_all_shards() {
    let fixture = Fixture::new();
    for value in ["7", "Fri, 20 Nov 2026 12:00:14 GMT"] {
        let before = Instant::now();
        let remote = Script::new([
            ScriptedReply::RetryAfter(429, value),
            ScriptedReply::Status(200),
        ]);
        let (first, second) = (batch(1), batch(2));
        let late = async {
            tokio::time::sleep(SECOND).await;
            fixture.deliver(&remote, &second).await
        };
        let (one, two) = tokio::join!(fixture.deliver(&remote, &first), late);
        assert_eq!((one.written, two.written), (1, 2));
        for post in &remote.posts()[1..] {
            assert!(
                post.after >= 7 * SECOND - Duration::from_millis(5),
                "{value}: {:?}",
                remote.posts()
            );
        }
        assert!(before.elapsed() < 8 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_longer_than_the_deadline_is_not_begun() {
    let fixture = Fixture::new();
    let start = Instant::now();
    let (delivery, posts) = fixture
        .run(&[ScriptedReply::RetryAfter(503, "60")], 3)
        .await;
    assert_eq!((posts.len(), delivery.undelivered_samples()), (1, 3));
    let (delivery, posts) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
    assert_eq!(
        (posts.len(), delivery.undelivered_samples()),
        (0, 3),
        "nor by the others"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    fixture.state.begin_tick(fixture.clock.now_ms());
    assert_eq!(
        fixture
            .run(&[ScriptedReply::Status(200)], 3)
            .await
            .0
            .written,
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_is_final_without_the_policy_or_with_a_series_limit() {
    let mut fixture = Fixture::new();
    let (delivery, _) = fixture
        .run(
            &[ScriptedReply::Body(
                429,
                "per-user series limit of 10 exceeded",
            )],
            3,
        )
        .await;
    assert_eq!((delivery.rejected_samples(), delivery.attempts), (3, 1));
    fixture.settings.retry_on_http_429 = false;
    let (delivery, _) = fixture
        .run(&[ScriptedReply::Body(429, "ingestion rate limit")], 3)
        .await;
    assert_eq!((delivery.rejected_samples(), delivery.attempts), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_429_is_told_apart_from_other_failures_and_final_after_long_enough() {
    let mut fixture = Fixture::new();
    let (delivery, _) = fixture
        .run(
            &[
                ScriptedReply::Status(503),
                ScriptedReply::Status(429),
                ScriptedReply::Status(429),
                ScriptedReply::Status(200),
            ],
            3,
        )
        .await;
    assert_eq!((delivery.written, delivery.retries), (3, 3));
    let first_ms = delivery.throttled_ms.unwrap();
    assert!(first_ms > START_MS && first_ms < fixture.clock.now_ms());
    let (delivery, _) = fixture
        .run(&[ScriptedReply::Status(503), ScriptedReply::Status(200)], 3)
        .await;
    assert_eq!((delivery.written, delivery.throttled_ms), (3, None));

    fixture.history.last_429 = true;
    let (delivery, _) = fixture
        .run(
            &[
                ScriptedReply::Status(503),
                ScriptedReply::Body(429, "Rate exceeded"),
            ],
            3,
        )
        .await;
    assert_eq!(
        (
            delivery.rejected_samples(),
            delivery.rejected[0].status,
            delivery.attempts
        ),
        (3, 429, 2)
    );
    let (delivery, _) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
    assert_eq!(delivery.written, 3);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_all_deliveries_may_move() {
    let fixture = Fixture::new();
    let start = Instant::now();
    fixture.state.set_sending_ends(start + 10 * SECOND);
    let replies = [ScriptedReply::Hang];
    let moving = async {
        tokio::time::sleep(3 * SECOND).await;
        fixture.state.set_sending_ends(start + 30 * SECOND);
        tokio::time::sleep(9 * SECOND).await;
        fixture.state.set_sending_ends(start + 13 * SECOND);
    };
    let ((delivery, _), ()) = tokio::join!(fixture.run(&replies, 3), moving);
    assert_eq!(
        (delivery.undelivered_samples(), start.elapsed()),
        (3, 13 * SECOND)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_pooled_connection_costs_one_immediate_retry_on_a_fresh_one() {
    let start = Instant::now();
    let (delivery, posts) = Fixture::new()
        .run(&[ScriptedReply::Stale, ScriptedReply::Status(200)], 3)
        .await;
    assert_eq!(
        (delivery.written, posts.len(), start.elapsed()),
        (3, 2, Duration::ZERO)
    );
    assert!(!posts[0].fresh_connection && posts[1].fresh_connection);

    let (delivery, posts) = Fixture::new()
        .run(
            &[
                ScriptedReply::Stale,
                ScriptedReply::Stale,
                ScriptedReply::Status(200),
            ],
            3,
        )
        .await;
    assert_eq!((delivery.written, posts.len()), (3, 3));
    assert!(
        posts[2].after > posts[1].after,
        "only the first one is at once"
    );
}

#[tokio::test(start_paused = true)]
async fn denied_once_is_signed_again_denied_twice_stops_all_shards() {
    for status in [401, 403] {
        let (delivery, posts) = Fixture::new()
            .run(
                &[ScriptedReply::Status(status), ScriptedReply::Status(200)],
                3,
            )
            .await;
        assert_eq!((delivery.written, posts.len()), (3, 2));
        assert!(!posts[0].fresh_credentials && posts[1].fresh_credentials);
    }

    let fixture = Fixture::new();
    let (delivery, posts) = fixture
        .run(&[ScriptedReply::Body(403, "not authorized")], 3)
        .await;
    assert_eq!(posts.len(), 2);
    let UndeliveredReason::Stopped(StopReason::Denied(failure)) =
        delivery.undelivered.unwrap().reason
    else {
        panic!()
    };
    assert_eq!(
        failure.to_string(),
        "send https://aps: answered 403: not authorized; ask the owner"
    );
    let (delivery, posts) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
    assert_eq!((posts.len(), delivery.undelivered_samples()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn without_credentials_or_receiver_it_stops_too() {
    let (delivery, posts) = Fixture::new().run(&[ScriptedReply::NoCredentials], 3).await;
    assert_eq!(posts.len(), 2);
    assert!(matches!(
        delivery.undelivered.unwrap().reason,
        UndeliveredReason::Stopped(StopReason::Denied(_))
    ));
    for status in [404, 405, 302] {
        let (delivery, posts) = Fixture::new()
            .run(&[ScriptedReply::Status(status)], 3)
            .await;
        assert_eq!(posts.len(), 1);
        assert!(matches!(
            delivery.undelivered.unwrap().reason,
            UndeliveredReason::Stopped(StopReason::Misconfigured(_))
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_wakes_the_shards_that_back_off() {
    let mut fixture = Fixture::new();
    fixture.settings.min_backoff = 20 * SECOND;
    fixture.settings.max_backoff = 20 * SECOND;
    let (waiting, denied) = (
        Script::new([ScriptedReply::Status(503)]),
        Script::new([ScriptedReply::Late(SECOND, 403)]),
    );
    let body = batch(1);
    let sleepers = join_all((0..20).map(|_| fixture.deliver(&waiting, &body)));
    let (deliveries, _) = tokio::join!(sleepers, fixture.deliver(&denied, &body));
    assert_eq!(
        waiting.start.elapsed(),
        2 * SECOND,
        "two denials of a second each, and nobody slept on"
    );
    for delivery in deliveries {
        assert!(matches!(
            delivery.undelivered.unwrap().reason,
            UndeliveredReason::Stopped(_)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_tick_probes_with_one_batch() {
    let fixture = Fixture::new();
    fixture.run(&[ScriptedReply::Status(403)], 1).await;
    let body = batch(1);

    fixture.state.begin_tick(fixture.clock.now_ms());
    let remote = Script::new([ScriptedReply::Late(SECOND, 403)]);
    let deliveries = join_all((0..10).map(|_| fixture.deliver(&remote, &body))).await;
    assert_eq!(remote.posts().len(), 2, "one batch, signed twice");
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.undelivered_samples() == 1)
    );

    fixture.state.begin_tick(fixture.clock.now_ms());
    let remote = Script::new([ScriptedReply::Late(SECOND, 200)]);
    let deliveries = join_all((0..10).map(|_| fixture.deliver(&remote, &body))).await;
    assert!(deliveries.iter().all(|delivery| delivery.written == 1));
    let posts = remote.posts();
    assert!(
        posts[1..].iter().all(|post| post.after >= SECOND),
        "the others follow the first answer"
    );
    assert_eq!(remote.start.elapsed(), 2 * SECOND, "and then all at once");
}

#[tokio::test(start_paused = true)]
async fn too_large_is_halved_in_order_down_to_one_sample() {
    let fixture = Fixture::new();
    let (delivery, posts) = fixture.run(&[ScriptedReply::AtMost(2)], 7).await;
    assert_eq!((delivery.written, delivery.rejected_samples()), (7, 0));
    assert_eq!(
        posts.iter().map(|post| post.samples).collect::<Vec<_>>(),
        [7, 3, 1, 2, 4, 2, 2]
    );
    assert!(fixture.state.max_request_bytes() < 1_000_000);

    let (delivery, _) = Fixture::new().run(&[ScriptedReply::AtMost(0)], 5).await;
    assert_eq!(delivery.rejected.len(), 5);
    assert!(
        delivery
            .rejected
            .iter()
            .all(|rejected| rejected.status == 413 && rejected.batch.samples == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_split_batch_end_apart() {
    let replies = [
        ScriptedReply::Status(413),
        ScriptedReply::Status(200),
        ScriptedReply::Status(404),
    ];
    let (delivery, _) = Fixture::new().run(&replies, 9).await;
    assert_eq!((delivery.written, delivery.undelivered_samples()), (4, 5));
    let undelivered = delivery.undelivered.unwrap();
    assert_eq!(
        decode(&undelivered.batches[0].body.to_bytes()).timeseries[0].labels[0].value,
        "m4"
    );

    let replies = [
        ScriptedReply::Status(413),
        ScriptedReply::Status(413),
        ScriptedReply::Status(404),
    ];
    let (delivery, _) = Fixture::new().run(&replies, 8).await;
    let undelivered = delivery.undelivered.unwrap();
    let firsts = undelivered.batches.iter().map(|batch| {
        decode(&batch.body.to_bytes()).timeseries[0].labels[0]
            .value
            .clone()
    });
    assert_eq!(firsts.collect::<Vec<_>>(), ["m0", "m2", "m4"], "in order");
}

#[tokio::test(start_paused = true)]
async fn a_413_halves_the_limit_once_for_batches_built_under_it() {
    let state = SendState::new(1_000_000, Rng::with_seed(1));
    for _ in 0..10 {
        state.too_large(900_000, 0);
    }
    assert_eq!(state.max_request_bytes(), 500_000);
    for _ in 0..20 {
        state.too_large(100, 0);
    }
    assert_eq!(
        state.max_request_bytes(),
        16 << 10,
        "not below what a request needs"
    );
    let small = SendState::new(1000, Rng::with_seed(1));
    small.too_large(900, 0);
    assert_eq!(
        small.max_request_bytes(),
        1000,
        "a limit that was configured lower stays"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wholly_too_old_expires_whatever_the_state() {
    let mut fixture = Fixture::new();
    fixture.settings.sample_age_limit = Some(10 * SECOND);
    assert_eq!(
        fixture
            .run(&[ScriptedReply::Status(200)], 3)
            .await
            .0
            .written,
        3
    );
    let (delivery, posts) = fixture
        .run(
            &[
                ScriptedReply::RetryAfter(503, "15"),
                ScriptedReply::Status(200),
            ],
            3,
        )
        .await;
    assert_eq!(
        (delivery.expired_samples(), posts.len()),
        (3, 1),
        "it grew too old while it waited"
    );
    fixture.run(&[ScriptedReply::Status(404)], 3).await;
    let (delivery, _) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
    assert_eq!(delivery.expired, [batch(3)]);

    // The oldest of its samples is two milliseconds old.
    for (limit_ms, expired) in [(2, 0), (1, 1)] {
        let mut fixture = Fixture::new();
        fixture.settings.sample_age_limit = Some(Duration::from_millis(limit_ms));
        let (delivery, _) = fixture.run(&[ScriptedReply::Status(200)], 3).await;
        assert_eq!(
            (delivery.written, delivery.expired_samples()),
            (3 - expired, expired),
            "the limit itself is in"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_says_what_is_wrong() {
    let clock = TokioClock::starting_at(START_MS);
    for (replies, ok, says) in [
        (vec![ScriptedReply::Status(200)], true, "takes samples"),
        (
            vec![ScriptedReply::Stale, ScriptedReply::Status(204)],
            true,
            "takes samples",
        ),
        (
            vec![ScriptedReply::Body(400, "no samples")],
            true,
            "no samples",
        ),
        (
            vec![ScriptedReply::Status(403), ScriptedReply::Status(200)],
            true,
            "takes samples",
        ),
        (vec![ScriptedReply::Status(403)], false, "ask the owner"),
        (vec![ScriptedReply::Status(404)], false, "answered 404"),
        (
            vec![ScriptedReply::Status(415)],
            false,
            "remote-write receiver",
        ),
        (vec![ScriptedReply::Status(503)], false, "try again later"),
        (vec![ScriptedReply::TimedOut], false, "connection reset"),
    ] {
        let remote = Script::new(replies.clone());
        let probe = probe(&remote, &clock, SECOND).await;
        assert_eq!(probe.ok, ok, "{replies:?}: {probe:?}");
        assert!(probe.text.contains(says), "{replies:?}: {probe:?}");
        assert!(remote.posts().iter().all(|post| post.samples == 0));
    }
}
