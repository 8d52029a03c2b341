//! Scripted ticks without a spool: plans, slots, limits and outcomes.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Outcome};
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::Plan;
use amp_forwarder::time::TokioClock;

use crate::bench::{Bench, Reply, START_MS, Seen, job, series, yaml};
use crate::memory::has;

const SECOND: Duration = Duration::from_secs(1);
const OWN: u64 = 5;
const PLENTY: u64 = 64 << 20;

fn plan() -> Plan {
    Plan::default()
}

fn takes() -> Box<dyn Fn((usize, usize)) -> Reply + Send + Sync> {
    Box::new(|_| Reply::After(Duration::from_millis(10), Box::new(Reply::Status(200))))
}

fn always(reply: Reply) -> Box<dyn Fn((usize, usize)) -> Reply + Send + Sync> {
    Box::new(move |_| reply.clone())
}

fn samples(seen: &[Seen]) -> usize {
    seen.iter().map(|seen| seen.samples.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn slots_below_a_minute_are_met_across_ticks() {
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let mut starts = Vec::new();
    for minute in 0..4 {
        bench.at(60 * minute as u32 * SECOND + 20 * SECOND).await;
        let report = bench.tick(58, plan()).await;
        assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
        assert_eq!(
            report.ledger.written,
            (3 + OWN) * report.scrapes.len() as u64
        );
        starts.extend(bench.home.take().iter().map(|seen| seen.at_ms));
    }
    // The first scrape is immediate; all later ones follow the grid of slots.
    let gaps: Vec<_> = starts[1..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(gaps.iter().all(|gap| *gap == 15_000), "{gaps:?}");
    assert!((16..=17).contains(&starts.len()), "{}", starts.len());
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_away_counts_between_its_slots_and_in_another_process() {
    const MINUTES: u32 = 14;
    let away = |now| (START_MS + 60_000..START_MS + 7 * 60_000).contains(&now);
    let store = MemoryStore::new(Arc::new(TokioClock::starting_at(START_MS)));
    let home = move |(_, now)| {
        if away(now) {
            Reply::Status(500)
        } else {
            series(3, now)
        }
    };
    let yaml = yaml(&job("a", 180), 1, "");
    let process = || Bench::with_store(&yaml, home, vec![takes()], PLENTY, Some(store.clone()));
    // Two processes take turns: what the other one has scraped, each knows from the spool alone.
    let mut processes = [process(), process()];
    let (mut last, mut idle, mut failing) = (0, 0, 0);
    for minute in 0..MINUTES {
        let bench = &mut processes[minute as usize / 2 % 2];
        bench.at(minute * 60 * SECOND).await;
        let report = bench.tick(50, plan()).await;
        match report.scrapes.first() {
            Some(scrape) => last = u64::from(!scrape.up),
            None => idle += 1,
        }
        assert_eq!(report.failing, last, "minute {minute}: {report:?}");
        failing += report.failing;
    }
    assert!(idle >= 8 && (4..=8).contains(&failing), "{idle} {failing}");
}

#[tokio::test(start_paused = true)]
async fn a_home_whose_clock_is_off_is_in_the_report() {
    // By how many minutes, how the tick ends, which samples of three are dropped, whether the
    // target counts as failing, and the age of the newest sample in seconds.
    for (ahead, outcome, dropped, failing, lag) in [
        (0, Outcome::Ok, 0, 0, 0),
        (9, Outcome::Ok, 0, 0, -540),
        (11, Outcome::Partial, 3, 1, 0),
        (-4, Outcome::Ok, 0, 0, 240),
    ] {
        let mut bench = Bench::new(
            &yaml(&job("a", 60), 1, ""),
            move |(_, now)| series(3, now + ahead * 60_000),
            vec![takes()],
            PLENTY,
        );
        let report = bench.tick(50, plan()).await;
        assert_eq!(report.outcome, outcome, "{ahead}: {report:?}");
        assert_eq!(report.scrapes[0].too_far_ahead, dropped, "{ahead}");
        assert_eq!(report.failing, failing, "{ahead}: {report:?}");
        assert_eq!(
            has(&report, IncidentKind::SamplesAhead),
            dropped > 0,
            "{ahead}"
        );
        assert_eq!(report.ledger.filtered, dropped, "{ahead}: {report:?}");
        let age = (lag * 1000)..(lag * 1000 + 1000);
        assert!(age.contains(&report.lag_ms.unwrap()), "{ahead}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_takes_its_whole_interval_does_not_hold_the_tick() {
    let yaml = yaml(
        "  - {job_name: a, scrape_interval: 5s, scrape_timeout: 5s, \
         static_configs: [{targets: ['a:9090']}]}\n",
        1,
        "",
    );
    let mut bench = Bench::new(&yaml, |_| Reply::Silence, vec![takes()], PLENTY);
    let report = bench.tick(600, plan()).await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(
        (60_000..70_000).contains(&report.duration_ms),
        "{}",
        report.duration_ms
    );
}

#[tokio::test(start_paused = true)]
async fn a_series_that_was_left_to_a_scrape_that_fails_is_sent_all_the_same() {
    // Both jobs show the same series. The first one has shown them when the second one does, and
    // then fails.
    let shown = |count: usize, at_ms: i64| -> String {
        let line = |n| format!("m{n}{{job=\"j\",instance=\"i\"}} {n} {at_ms}\n");
        (0..count).map(line).collect()
    };
    let jobs = (job("a", 60) + &job("b", 60)).replace("job_name", "honor_labels: true, job_name");
    for is_stalling in [true, false] {
        let home = move |(url, now): (String, i64)| match url.contains("//a:") {
            true if is_stalling => Reply::Stalls(shown(20_000, now)),
            true => Reply::After(SECOND, Box::new(Reply::Text(shown(3, now)))),
            false => Reply::After(SECOND / 2, Box::new(Reply::Text(shown(3, now)))),
        };
        let mut bench = Bench::new(&yaml(&jobs, 1, ""), home, vec![takes()], PLENTY);
        let plan = Plan {
            once: true,
            ..Plan::default()
        };
        let report = bench.tick(30, plan).await;
        let ledger = report.ledger;
        assert_eq!(
            report.failing,
            usize::from(is_stalling) as u64,
            "{report:?}"
        );
        assert_eq!(ledger.written, 3 + 2 * OWN, "{report:?}");
        let posts = bench.remotes[0].take();
        let of_one = posts.iter().flat_map(|post| &post.samples);
        assert_eq!(of_one.filter(|(name, _)| name == "m1").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn once_is_one_scrape_of_each_job_and_serves_its_slot() {
    let jobs = job("a", 15) + &job("b", 60);
    let mut bench = Bench::new(
        &yaml(&jobs, 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                once: true,
                ..plan()
            },
        )
        .await;
    assert_eq!(
        (report.scrapes.len(), report.duration_ms < 1_000),
        (2, true)
    );
    assert!(bench.home.take().iter().all(|seen| seen.at_ms == START_MS));
    bench.tick(60, plan()).await;
    let next = bench.home.take();
    assert!(
        next.iter()
            .all(|seen| seen.url.contains("a:9090") && seen.at_ms > START_MS + 1_000),
        "{next:?}"
    );
    // `once` scrapes each time, whether or not the slot is served.
    assert_eq!(
        bench
            .tick(
                60,
                Plan {
                    once: true,
                    ..plan()
                }
            )
            .await
            .scrapes
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_jobs_that_are_named() {
    let jobs = job("a", 60) + &job("b", 60) + &job("c", 60);
    let mut bench = Bench::new(
        &yaml(&jobs, 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                jobs: Some(vec!["b".to_owned()]),
                ..plan()
            },
        )
        .await;
    assert_eq!(
        report
            .scrapes
            .iter()
            .map(|scrape| scrape.job.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(bench.home.take().len(), 1);
    assert_eq!(
        bench
            .forwarder
            .unknown_jobs(&["c".to_owned(), "d".to_owned()]),
        ["d"]
    );
    assert_eq!(
        bench.tick(60, plan()).await.scrapes.len(),
        2,
        "the others are still due"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_scrapes_nothing() {
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                drain_only: true,
                ..plan()
            },
        )
        .await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.ledger.scraped, 0, "{report:?}");
    assert_eq!(report.duration_ms, 0, "{report:?}");
    assert!(bench.home.take().is_empty() && bench.remotes[0].take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_and_remembers_nothing() {
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 2, ""),
        |_| series(20, START_MS - 1_000),
        vec![takes(), takes()],
        PLENTY,
    );
    let report = bench.forwarder.dry_run(&plan()).await;
    assert!(report.dry_run && report.ledger.balances());
    assert_eq!(report.ledger.scraped, 50, "{report:?}");
    assert_eq!(report.ledger.owed_after, 50, "{report:?}");
    assert_eq!(report.ledger.written, 0, "{report:?}");
    assert!(bench.remotes.iter().all(|remote| remote.take().is_empty()));
    assert_eq!(
        bench.tick(60, plan()).await.ledger.written,
        50,
        "the slot is still due, and nothing is unchanged"
    );
    let warm = bench.forwarder.dry_run(&plan()).await;
    assert_eq!(
        warm.ledger.owed_after, 50,
        "it answers as a cold process would"
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_outage_takes_beyond_the_deadline_is_lost_and_sent_again_by_the_next_tick() {
    let recovers =
        |(nth, _): (usize, usize)| Reply::Status(if nth < 100_000 && nth > 0 { 503 } else { 200 });
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 10"),
        |_| series(95, START_MS - 1_000),
        vec![Box::new(recovers)],
        PLENTY,
    );
    let report = bench.tick(30, plan()).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert_eq!(report.ledger.lost, 100, "{report:?}");
    assert_eq!(report.ledger.written, 0, "{report:?}");
    assert!(
        report.incidents.iter().any(|incident| {
            incident.kind == IncidentKind::SamplesLost
                && incident.remote.as_deref() == Some("r0")
                && incident.samples == Some(100)
        }),
        "{:?}",
        report.incidents
    );
    assert!(
        report
            .errors
            .iter()
            .any(|error| error.contains("answered 503")),
        "{:?}",
        report.errors
    );
    assert!(
        report.duration_ms <= 28_000,
        "the margin is kept: {}",
        report.duration_ms
    );

    let back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let of_remote = Arc::clone(&back);
    let script = move |_| {
        Reply::Status(if of_remote.load(std::sync::atomic::Ordering::Relaxed) {
            200
        } else {
            503
        })
    };
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 10"),
        |_| series(95, START_MS - 1_000),
        vec![Box::new(script)],
        PLENTY,
    );
    assert_eq!(bench.tick(30, plan()).await.ledger.lost, 100);
    back.store(true, std::sync::atomic::Ordering::Relaxed);
    bench.remotes[0].take();
    bench.at(60 * SECOND).await;
    let report = bench.tick(30, plan()).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.ledger.written, 100, "{report:?}");
    assert_eq!(report.ledger.unchanged, 0, "{report:?}");
    bench.at(120 * SECOND).await;
    let report = bench.tick(30, plan()).await;
    assert_eq!(
        (report.ledger.written, report.ledger.unchanged),
        (OWN, 95),
        "and then they are known"
    );
}

#[tokio::test(start_paused = true)]
async fn a_denial_stops_the_shards_and_the_next_tick_probes() {
    let queue = "max_samples_per_send: 5, max_shards: 4";
    let denied = always(Reply::After(SECOND, Box::new(Reply::Status(403))));
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, queue),
        |(_, now)| series(95, now),
        vec![denied],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!((report.outcome, report.ledger.lost), (Outcome::Failed, 100));
    assert!(
        report
            .errors
            .iter()
            .any(|error| error.contains("answered 403")),
        "{:?}",
        report.errors
    );
    let posts = bench.remotes[0].take();
    assert_eq!(
        posts.len(),
        8,
        "each of the four shards signed its batch twice"
    );
    assert!(report.duration_ms < 5_000);

    bench.at(60 * SECOND).await;
    bench.tick(60, plan()).await;
    let posts = bench.remotes[0].take();
    assert_eq!(
        (posts.len(), posts.iter().map(|post| post.together).max()),
        (2, Some(1)),
        "one batch, signed twice"
    );
}

#[tokio::test(start_paused = true)]
async fn partial_is_a_scrape_that_failed_or_samples_refused() {
    let jobs = job("a", 60) + &job("b", 60);
    let home = |(url, now): (String, i64)| {
        if url.contains("a:9090") {
            Reply::Status(500)
        } else {
            series(3, now)
        }
    };
    let mut bench = Bench::new(&yaml(&jobs, 1, ""), home, vec![takes()], PLENTY);
    let report = bench.tick(60, plan()).await;
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Partial, 3 + 2 * OWN)
    );
    assert_eq!(report.scrapes.iter().filter(|scrape| scrape.up).count(), 1);

    let refuses = always(Reply::Status(400));
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |(_, now)| series(3, now),
        vec![refuses],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
    assert_eq!(report.ledger.rejected, 3 + OWN, "{report:?}");
    assert_eq!(report.ledger.lost, 0, "{report:?}");

    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |_| Reply::Silence,
        vec![takes()],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Failed, OWN),
        "no scrape succeeded, and up 0 tells so"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_scraped_is_up_0_and_stops_no_other() {
    let targets = ["192.168.1.300:9090", "a:9090", "a:99999", "b:9090", "h: 1 "];
    let job = format!(
        "  - {{job_name: a, scrape_interval: 60s, scrape_timeout: 2s, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        targets.join("', '")
    );
    let mut bench = Bench::new(
        &yaml(&job, 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
    assert_eq!(report.ledger.written, 2 * 3 + 5 * OWN, "{report:?}");
    assert_eq!(bench.home.take().len(), 2, "nobody is asked for the others");
    let posted = bench.remotes[0].take();
    let mut up: Vec<_> = posted.into_iter().flat_map(|seen| seen.up).collect();
    up.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = targets.map(|target| {
        let value = if target.ends_with(":9090") && !target.starts_with('1') {
            1.0
        } else {
            0.0
        };
        (target.to_owned(), value)
    });
    assert_eq!(up, expected, "in the order of their names");
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_hangs_holds_up_no_other() {
    let remotes = vec![always(Reply::Silence), takes()];
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 2, "max_samples_per_send: 10"),
        |(_, now)| series(45, now),
        remotes,
        PLENTY,
    );
    let report = bench.tick(58, plan()).await;
    let scrapes = report.scrapes.len() as u64;
    assert!(scrapes >= 4);
    let [hanging, taking] = &report.remotes[..] else {
        panic!("two remotes")
    };
    assert_eq!(
        (taking.ledger.written, taking.ledger.lost),
        (50 * scrapes, 0)
    );
    assert_eq!(
        (hanging.ledger.written, hanging.ledger.lost),
        (0, 50 * scrapes)
    );
    assert_eq!(report.outcome, Outcome::Failed);
    for (index, scrape) in report.scrapes.iter().enumerate() {
        let of_scrape = bench.remotes[1].take();
        let own: Vec<_> = of_scrape
            .iter()
            .filter(|post| post.samples.iter().any(|(name, _)| name == "up"))
            .collect();
        assert!(
            own.iter()
                .all(|post| post.at_ms - post.samples.last().map_or(0, |last| last.1) < 1_000),
            "scrape {index} of {scrape:?} waited"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_requests_at_once_as_the_bounds_allow() {
    for (queue, batches, together) in [
        ("max_samples_per_send: 10, max_shards: 3", 10, 3),
        ("max_samples_per_send: 10, max_shards: 1", 10, 1),
        (
            "max_samples_per_send: 10, max_shards: 50, min_shards: 20",
            10,
            10,
        ),
        (
            "max_samples_per_send: 1000, max_shards: 50, min_shards: 20",
            1,
            1,
        ),
        // A batch is never larger than the queue.
        (
            "max_samples_per_send: 1000, capacity: 50, max_shards: 50",
            2,
            2,
        ),
    ] {
        let mut bench = Bench::new(
            &yaml(&job("a", 60), 1, queue),
            |(_, now)| series(95, now),
            vec![takes()],
            PLENTY,
        );
        let report = bench.tick(60, plan()).await;
        let posts = bench.remotes[0].take();
        assert_eq!(
            (posts.len(), posts.iter().map(|post| post.together).max()),
            (batches, Some(together)),
            "{queue}"
        );
        assert_eq!((samples(&posts), report.ledger.written), (100, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_beyond_the_memory_limit_fails_and_says_so() {
    let count = |url: &str| if url.contains("big") { 20_000 } else { 10 };
    let jobs = job("big", 60) + &job("small", 60);
    let mut bench = Bench::new(
        &yaml(&jobs, 1, ""),
        move |(url, now)| series(count(&url), now),
        vec![takes()],
        1 << 20,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(
        has(&report, IncidentKind::MemoryLimit),
        "{:?}",
        report.incidents
    );
    // The error must also say what to do about it.
    assert!(
        report
            .errors
            .iter()
            .any(|error| error.contains("give the function more memory")),
        "{:?}",
        report.errors
    );
    assert!(report.ledger.rolled_back > 0);
    assert_eq!(report.ledger.written, 10 + 2 * OWN);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_to_stop_scrapes_no_more_and_sends_what_it_has() {
    let slow = always(Reply::After(4 * SECOND, Box::new(Reply::Status(200))));
    let mut bench = Bench::new(
        &yaml(&job("a", 5), 1, ""),
        |(_, now)| series(3, now),
        vec![slow],
        PLENTY,
    );
    let (stopper, stop) = tokio::sync::watch::channel(false);
    let stopping = async {
        tokio::time::sleep(12 * SECOND).await;
        stopper.send(true).unwrap();
    };
    let (report, ()) = tokio::join!(
        bench.tick(
            60,
            Plan {
                stop: Some(stop),
                ..plan()
            }
        ),
        stopping
    );
    assert!(
        (3..=4).contains(&report.scrapes.len()),
        "{}",
        report.scrapes.len()
    );
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Ok, (3 + OWN) * report.scrapes.len() as u64)
    );
    assert!(report.duration_ms < 20_000);
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_scraped() {
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench.tick(2, plan()).await;
    assert_eq!(
        (report.scrapes.len(), report.duration_ms),
        (0, 0),
        "the margin is all there is"
    );
    assert_eq!(
        bench.tick(10, plan()).await.scrapes.len(),
        1,
        "the slot is left to the next tick"
    );
}
