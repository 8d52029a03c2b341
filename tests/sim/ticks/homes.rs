//! Homes and targets that fail, are slow, large or off in their clocks.

use std::sync::Arc;

use amp_forwarder::report::{IncidentKind, Outcome};
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::Plan;
use amp_forwarder::time::TokioClock;

use super::{OWN, PLENTY, SECOND, plan, takes};
use crate::bench::{Bench, Reply, START_MS, job, series, yaml};
use crate::memory::has;

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
