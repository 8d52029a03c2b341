//! The move from an EC2 Prometheus to the function, as infra/README.md describes it: without a gap,
//! a collision or a double bill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amp_forwarder_support::gateway::{
    AccessKey, Gateway, GatewayOptions, JournalEntry, WorkspaceLimits,
};
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Samples;
use amp_forwarder_support::{Labels, now_ms, wait_for};

use crate::common::{AMPLE, RunningFunction, TestConfig};

/// The rules that the guide adds to the EC2 Prometheus before the function starts.
const OWN_SERIES_STAY: &str = "    write_relabel_configs:\n      \
                               - {source_labels: [job, __name__], \
                               regex: 'federate;(up|scrape_.*)', action: drop}\n";

/// The access key of the EC2 Prometheus, which has no session token.
const EC2_KEY: &str = "AKIDEC2";
const EC2_SECRET: &str = "ec2-example-secret";

/// A home, an EC2 Prometheus that federates it into the gateway, and the receiver behind that.
struct Site {
    home: Prometheus,
    gateway: Gateway,
    receiver: Prometheus,
}

/// The external label that both senders add.
#[derive(Clone, Copy)]
struct AddedLabel {
    name: &'static str,
    value: &'static str,
}

impl Site {
    async fn start() -> Self {
        let receiver = Prometheus::receiver(V3_5).await.unwrap();
        let mut options = GatewayOptions {
            upstream: Some(receiver.remote_write_url()),
            limits: WorkspaceLimits {
                ha_failover: Duration::from_secs(3),
                ..WorkspaceLimits::default()
            },
            ..GatewayOptions::default()
        };
        options.keys.insert(
            EC2_KEY.to_owned(),
            AccessKey {
                secret: EC2_SECRET.to_owned(),
                session_token: None,
                allowed: true,
            },
        );
        let gateway = Gateway::start(options).await.unwrap();
        // The home scrapes less often than it is scraped, so that in the end none of its samples
        // may be missing.
        let itself = Job::new("node", &[&receiver.address()]).every("2s");
        let home = Prometheus::start(PrometheusOptions {
            scrape_itself: false,
            ..PrometheusOptions::home(V3_5, vec![itself])
        })
        .await
        .unwrap();
        Self {
            home,
            gateway,
            receiver,
        }
    }

    async fn ec2(&self, external_labels: &[(&str, &str)]) -> Prometheus {
        let federate = Job {
            extra: "    honor_labels: true\n    metrics_path: /federate\n    \
                    params: {'match[]': ['{job=~\".+\"}']}"
                .to_owned(),
            ..Job::new("federate", &[&self.home.address()])
        };
        let external_labels = external_labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let options = PrometheusOptions {
            scrape_itself: false,
            external_labels,
            ..PrometheusOptions::home(V3_5, vec![federate])
        };
        Prometheus::start(PrometheusOptions {
            extra: self.remote_write(""),
            ..options
        })
        .await
        .unwrap()
    }

    fn remote_write(&self, more: &str) -> String {
        format!(
            "remote_write:\n  - url: {}\n    sigv4: {{region: us-east-1, \
             access_key: {EC2_KEY}, secret_key: {EC2_SECRET}}}\n    \
             queue_config: {{batch_send_deadline: 200ms}}\n{more}",
            self.gateway.remote_write_url()
        )
    }

    async fn function(&self, external_labels: &str) -> RunningFunction {
        let config = TestConfig::new(&self.home.address(), &self.gateway).yaml();
        RunningFunction::start(&config.replace("{site: attic}", external_labels)).await
    }

    /// Forwards once after each scrape of the home.
    async fn ticks(&self, running: &RunningFunction, count: usize) {
        let querier = self.home.querier();
        for _ in 0..count {
            let before = querier.value("max(timestamp(up))").await.unwrap();
            wait_for("the home has newer samples", AMPLE, || async {
                querier
                    .value("max(timestamp(up))")
                    .await
                    .is_ok_and(|newest| newest > before)
            })
            .await
            .unwrap();
            let report = running
                .tick(include_str!("../../events/forward.json"), AMPLE)
                .await;
            assert_eq!(report["outcome"], "ok", "{report}");
        }
    }

    async fn wait_for_samples(&self, selector: &str, count: f64) {
        let querier = self.receiver.querier();
        let expression = format!("min(count_over_time({selector}[5m]))");
        wait_for(selector, AMPLE, || async {
            querier
                .value(&expression)
                .await
                .is_ok_and(|found| found.is_some_and(|found| found >= count))
        })
        .await
        .unwrap();
    }

    /// Timestamps of the samples of a sender's own series that AMP stored.
    fn own_timestamps(&self, by_ec2: bool) -> BTreeSet<i64> {
        let mut timestamps = BTreeSet::new();
        for entry in self.gateway.journal() {
            // AMP has the winner's samples only, and answers 202 to the other's.
            if is_ec2(&entry) != by_ec2 || entry.status != Some(200) {
                continue;
            }
            let own = entry
                .samples
                .iter()
                .filter(|sample| is_own(&self.gateway.labels(sample.series)));
            timestamps.extend(own.map(|sample| sample.timestamp));
        }
        timestamps
    }

    /// Whether the times of both senders' own series overlap.
    fn collide(&self) -> bool {
        let (ec2, function) = (self.own_timestamps(true), self.own_timestamps(false));
        assert!(ec2.len() > 1 && function.len() > 1, "{ec2:?} {function:?}");
        ec2.last() >= function.first()
    }

    /// Asserts that every sample of the home since `from_ms` is in the receiver, under one set of
    /// labels.
    async fn assert_no_gap(&self, from_ms: i64, added: AddedLabel) {
        let mut found = Samples::new();
        for (mut labels, samples) in self
            .receiver
            .querier()
            .raw("{job=\"node\"}", from_ms, now_ms())
            .await
            .unwrap()
        {
            assert_eq!(
                labels.remove(added.name).as_deref(),
                Some(added.value),
                "{labels:?}"
            );
            found.insert(labels, samples);
        }
        let newest = found
            .values()
            .filter_map(|samples| samples.keys().next_back())
            .max()
            .copied()
            .unwrap();
        let expected = self
            .home
            .querier()
            .raw("{job=\"node\"}", from_ms, newest)
            .await
            .unwrap();
        assert!(expected.values().map(BTreeMap::len).sum::<usize>() > 1000);
        for (labels, samples) in &expected {
            assert_eq!(found.get(labels), Some(samples), "{labels:?}");
        }
    }
}

fn is_ec2(entry: &JournalEntry) -> bool {
    entry.headers["user-agent"].starts_with("Prometheus/")
}

fn is_own(labels: &Labels) -> bool {
    labels["job"] == "federate"
        && (labels["__name__"] == "up" || labels["__name__"].starts_with("scrape_"))
}

/// Stops what an EC2 Prometheus sends, not what it scrapes. If it gave up the job, it would write
/// stale markers into the series that the function continues.
async fn stop_sending(ec2: &mut Prometheus, gateway: &Gateway) -> i64 {
    ec2.reload(|options| options.extra.clear()).await.unwrap();
    // The reload returns when the queue is empty.
    wait_for("nothing is on its way", AMPLE, || async {
        gateway.stats().in_flight == 0
    })
    .await
    .unwrap();
    now_ms()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_prometheus_hands_over_without_a_gap_a_collision_or_a_double_bill() {
    let site = Site::start().await;
    let mut ec2 = site.ec2(&[("site", "attic")]).await;
    site.wait_for_samples("up{job=\"node\"}", 3.0).await;
    let from_ms = now_ms();

    let quiet = site.remote_write(OWN_SERIES_STAY);
    ec2.reload(|options| options.extra = quiet).await.unwrap();
    let running = site.function("{site: attic}").await;
    site.ticks(&running, 3).await;
    let stopped_ms = stop_sending(&mut ec2, &site.gateway).await;
    site.ticks(&running, 3).await;

    let labelled = site
        .receiver
        .querier()
        .value("count(up{site=\"attic\"})")
        .await
        .unwrap();
    assert_eq!(labelled, Some(2.0), "the home's own, and the job's");
    assert!(!site.collide());
    let late = site
        .gateway
        .journal()
        .into_iter()
        .filter(|entry| is_ec2(entry) && entry.arrived_ms > stopped_ms)
        .count();
    assert_eq!(late, 0, "paid for twice");
    let stats = site.gateway.stats();
    assert!(
        stats.refused.is_empty() && stats.statuses.keys().eq([&200]),
        "{stats:?}"
    );
    let added = AddedLabel {
        name: "site",
        value: "attic",
    };
    site.assert_no_gap(from_ms, added).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ha_pair_hands_over_to_a_function_without_a_replica_label() {
    let site = Site::start().await;
    let labels = |replica| [("cluster", "c"), ("__replica__", replica)];
    let (mut first, mut second) = (site.ec2(&labels("a")).await, site.ec2(&labels("b")).await);
    site.wait_for_samples("up{job=\"node\"}", 3.0).await;
    let from_ms = now_ms();

    let quiet = site.remote_write(OWN_SERIES_STAY);
    first
        .reload(|options| options.extra.clone_from(&quiet))
        .await
        .unwrap();
    second
        .reload(|options| options.extra = quiet)
        .await
        .unwrap();
    // With `__replica__`, AMP would drop what the function sends until the elected one is silent
    // for 30 s: a gap.
    let running = site.function("{cluster: c}").await;
    site.ticks(&running, 3).await;
    stop_sending(&mut first, &site.gateway).await;
    site.ticks(&running, 1).await;
    let stopped_ms = stop_sending(&mut second, &site.gateway).await;
    site.ticks(&running, 3).await;

    assert!(!site.collide());
    let journal = site.gateway.journal();
    assert!(
        journal.iter().any(|entry| entry.status == Some(202)),
        "the other replica's samples were not dropped"
    );
    assert!(
        !journal
            .iter()
            .any(|entry| is_ec2(entry) && entry.arrived_ms > stopped_ms),
        "paid for twice"
    );
    let stats = site.gateway.stats();
    assert!(stats.statuses.keys().eq([&200, &202]), "{stats:?}");
    let added = AddedLabel {
        name: "cluster",
        value: "c",
    };
    site.assert_no_gap(from_ms, added).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_relabelling_the_two_collide() {
    let site = Site::start().await;
    let mut ec2 = site.ec2(&[("site", "attic")]).await;
    site.wait_for_samples("up{job=\"node\"}", 3.0).await;
    let running = site.function("{site: attic}").await;
    site.ticks(&running, 3).await;
    stop_sending(&mut ec2, &site.gateway).await;
    assert!(site.collide());
}
