//! Two replicas of a home in exact mode: AMP elects one, and every sample of the elected one is
//! stored, as long as it is elected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::{Gateway, GatewayOptions, SampleValue, WorkspaceLimits};
use amp_forwarder_support::process::{Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Samples;
use amp_forwarder_support::{now_ms, read};
use serde_json::Value;
use tokio::time::Interval;

use super::{TICK, has, job};
use crate::common::{AMPLE, RunningFunction, TestConfig, assert_balanced, assert_in_order};
use crate::targets;

const REPLICA: &str = "__replica__";
/// Silence of the elected replica after which the other one is elected. A busy machine may be
/// silent for some seconds.
const FAILOVER: Duration = Duration::from_secs(8);

async fn replica(name: &str, target: &amp_forwarder_support::http::Server) -> Prometheus {
    let external_labels = [("cluster", "attic"), (REPLICA, name)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        external_labels: external_labels.to_vec(),
        ..PrometheusOptions::home(V3_5, vec![job("counting", target, "300ms")])
    })
    .await
    .unwrap();
    has(&home, "count(counts) == 10").await;
    home
}

/// What was stored of each replica.
fn stored(gateway: &Gateway) -> BTreeMap<String, Samples> {
    let mut stored: BTreeMap<String, Samples> = BTreeMap::new();
    for sample in gateway.stored() {
        let mut labels = sample.labels;
        labels.remove("site");
        let SampleValue::Float(bits) = sample.value else {
            panic!("a histogram: {labels:?}");
        };
        // The forwarder's own series have no replica.
        if let Some(replica) = labels.get(REPLICA).cloned() {
            let of_replica = stored.entry(replica).or_default();
            let of_series = of_replica.entry(labels).or_default();
            of_series.insert(sample.timestamp, bits);
        }
    }
    stored
}

/// Time up to which everything of a home is safe, or 0 if the tick has not read it.
fn safe_ms(report: &Value, home: &Prometheus) -> i64 {
    let reads = report["reads"].as_array().into_iter().flatten();
    let of_home = reads.filter(|read| read["instance"] == home.address().as_str());
    let safe = of_home.filter_map(|read| read["safe_ms"].as_i64());
    safe.max().unwrap_or_default()
}

/// Asserts that every sample of a home in a span was stored.
fn assert_whole(name: &str, home: &Samples, stored: &Samples, from_ms: i64, until_ms: i64) {
    let mut count = 0;
    for (labels, samples) in home {
        for (at_ms, bits) in samples.range(from_ms..=until_ms) {
            let found = stored.get(labels).and_then(|stored| stored.get(at_ms));
            assert_eq!(found, Some(bits), "{name}: {labels:?} at {at_ms}");
            count += 1;
        }
    }
    assert!(count > 50, "{name}: {count} samples were compared");
}

/// A forwarder of both homes.
struct Pair {
    gateway: Gateway,
    running: RunningFunction,
    schedule: Interval,
    deduplicated: u64,
}

impl Pair {
    async fn start(homes: &[Prometheus; 2]) -> Self {
        let limits = WorkspaceLimits {
            ha_failover: FAILOVER,
            ..WorkspaceLimits::default()
        };
        let gateway = Gateway::start(GatewayOptions {
            limits,
            ..GatewayOptions::default()
        })
        .await
        .unwrap();
        let [one, other] = homes.each_ref().map(Prometheus::address);
        let settings = "remote_read: {mode: always, settle: 1s}, deadline_margin";
        let config = TestConfig {
            interval: "1s",
            ..TestConfig::new(&one, &gateway)
        };
        let yaml = config
            .yaml()
            .replace("deadline_margin", settings)
            .replace(&format!("['{one}']"), &format!("['{one}', '{other}']"));
        Self {
            running: RunningFunction::start(&yaml).await,
            gateway,
            schedule: tokio::time::interval(Duration::from_millis(300)),
            deduplicated: 0,
        }
    }

    async fn tick(&mut self) -> Value {
        self.schedule.tick().await;
        let report = self.running.tick("{}", TICK).await;
        assert_balanced(&report);
        assert_eq!(report["ledger"]["lost"], 0, "{report}");
        assert_eq!(report["ledger"]["rejected"], 0, "{report}");
        self.deduplicated += report["ledger"]["deduplicated"].as_u64().unwrap();
        report
    }

    /// Ticks until these homes are read up to a time.
    async fn read_until(&mut self, homes: &[Prometheus], until_ms: i64) -> Value {
        let patience = Instant::now() + AMPLE;
        loop {
            let report = self.tick().await;
            let mut safe = homes.iter().map(|home| safe_ms(&report, home));
            if safe.all(|safe_ms| safe_ms >= until_ms) {
                return report;
            }
            assert!(Instant::now() < patience, "{report}");
        }
    }
}

async fn held(home: &Prometheus) -> Samples {
    let samples = read::samples(&home.url(), "job", 0, now_ms()).await;
    samples.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_the_elected_replica_is_stored() {
    let target = targets::counting("counts", 10).await;
    let mut homes = [replica("a", &target).await, replica("b", &target).await];
    let mut pair = Pair::start(&homes).await;
    let report = pair.read_until(&homes, now_ms() + 4_000).await;
    assert!(pair.deduplicated > 0, "{report}");
    let leaders: Vec<_> = stored(&pair.gateway).into_keys().collect();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    let leader = usize::from(leaders[0] == "b");
    let of_leader = held(&homes[leader]).await;
    let until_ms = safe_ms(&report, &homes[leader]);

    // The leader dies, and the other one is elected after some seconds of silence.
    homes[leader].kill();
    let patience = Instant::now() + AMPLE;
    while stored(&pair.gateway).len() < 2 {
        assert!(Instant::now() < patience, "nobody is elected");
        pair.tick().await;
    }
    let elected_ms = now_ms();
    let other = &homes[1 - leader];
    let others = std::slice::from_ref(other);
    let report = pair.read_until(others, elected_ms + 3_000).await;

    let stored = stored(&pair.gateway);
    let (first, second) = if leader == 0 { ("a", "b") } else { ("b", "a") };
    let times = stored[first].values().flat_map(|samples| samples.keys());
    let from_ms = times.min().copied().unwrap();
    assert_whole(first, &of_leader, &stored[first], from_ms, until_ms);
    let until_ms = safe_ms(&report, other);
    let of_other = held(other).await;
    assert_whole(second, &of_other, &stored[second], elected_ms, until_ms);
    let stats = pair.gateway.stats();
    assert_eq!(stats.mixed_replicas, 0, "{stats:?}");
    assert_in_order(&stats);
}
