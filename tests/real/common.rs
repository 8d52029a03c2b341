//! Helpers that these tests share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use amp_forwarder_support::gateway::options::{GatewayOptions, SESSION_TOKEN};
use amp_forwarder_support::gateway::{Gateway, GatewayStats};
use amp_forwarder_support::home::{Page, Recording, ScriptedHome};
use amp_forwarder_support::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use amp_forwarder_support::process::Prometheus;
use amp_forwarder_support::query::{Samples, value_bits};
use serde_json::Value;
use tempfile::TempDir;

/// A limit that no tick of these tests needs. A test about deadlines sets its own.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// A forwarder.yml with one federate job and one signed remote.
pub(crate) struct TestConfig {
    pub(crate) home: String,
    pub(crate) remote: String,
    pub(crate) interval: &'static str,
    pub(crate) job: &'static str,
    pub(crate) queue: &'static str,
    pub(crate) forwarder: &'static str,
}

impl TestConfig {
    pub(crate) fn new(home: &str, gateway: &Gateway) -> Self {
        Self {
            home: home.to_owned(),
            remote: gateway.remote_write_url(),
            interval: "1m",
            job: "honor_labels: true",
            queue: "max_samples_per_send: 100, max_shards: 8, capacity: 2500, min_backoff: \
                    10ms, max_backoff: 200ms",
            forwarder: "deadline_margin: 500ms",
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let Self {
            home,
            remote,
            interval,
            job,
            queue,
            forwarder,
        } = self;
        format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: 1s\n  external_labels: \
             {{site: attic}}\nscrape_configs:\n  - job_name: federate\n    {job}\n    \
             metrics_path: /federate\n    params: {{'match[]': \
             ['{{__name__=~\".+\"}}']}}\n    static_configs: [{{targets: ['{home}']}}]\n\
             remote_write:\n  - url: {remote}\n    \
             queue_config: {{{queue}}}\n    sigv4: {{region: us-east-1}}\n\
             forwarder: {{{forwarder}, spool: {{url: 'file://{SPOOL}', overflow_after: \
             0s}}}}\n"
        )
    }
}

/// The placeholder in a configuration for the folder of its spool.
pub(crate) const SPOOL: &str = "@SPOOL@";

/// The configuration with a spool in that folder.
pub(crate) fn spooling(yaml: &str, folder: &Path) -> String {
    yaml.replace(SPOOL, &folder.join("spool").display().to_string())
}

/// The function under our own runtime API.
pub(crate) struct RunningFunction {
    pub(crate) api: RuntimeApi,
    pub(crate) function: Function,
    pub(crate) folder: TempDir,
}

impl RunningFunction {
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    pub(crate) async fn start_with(config: &str, env: &[(&str, &str)]) -> Self {
        let (api, folder) = (RuntimeApi::start().await.unwrap(), TempDir::new().unwrap());
        let config = spooling(config, folder.path());
        let mut options = FunctionOptions::new(
            env!("CARGO_BIN_EXE_amp-forwarder"),
            &api.runtime_api(),
            &config,
        );
        options.env.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let function = Function::start(&options).unwrap();
        Self {
            api,
            function,
            folder,
        }
    }

    /// Invokes the function and returns the tick's report, also of a tick that failed.
    pub(crate) async fn tick(&self, payload: &str, limit: Duration) -> Value {
        match self
            .api
            .invoke(payload.to_owned(), limit)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.function.log()))
        {
            InvocationResult::Answer(report) => report,
            InvocationResult::Error(error) => {
                assert_eq!(error["errorType"], "TickFailed", "{error}");
                serde_json::from_str(error["errorMessage"].as_str().unwrap()).unwrap()
            }
        }
    }
}

/// A gateway that forwards to a real Prometheus.
pub(crate) async fn gateway_to(receiver: &Prometheus) -> Gateway {
    Gateway::start(GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        ..GatewayOptions::default()
    })
    .await
    .unwrap()
}

pub(crate) async fn gateway() -> Gateway {
    Gateway::start(GatewayOptions::default()).await.unwrap()
}

pub(crate) async fn scripted(samples: usize) -> ScriptedHome {
    ScriptedHome::start(Page::text(exposition(
        samples,
        amp_forwarder_support::now_ms(),
    )))
    .await
    .unwrap()
}

/// Series `m{i="…"}` at one time.
pub(crate) fn exposition(samples: usize, at_ms: i64) -> String {
    let mut text = "# TYPE m untyped\n".to_owned();
    for index in 0..samples {
        text.push_str(&format!(
            "m{{i=\"{index}\",job=\"j\",instance=\"\"}} {index}.5 {at_ms}\n"
        ));
    }
    text
}

/// The samples that successful scrapes exposed, as the receiver must have them.
pub(crate) fn exposed(recordings: &[Recording]) -> Samples {
    let mut samples = Samples::new();
    for recording in recordings {
        for sample in recording.samples().unwrap() {
            let mut labels: BTreeMap<_, _> = sample
                .labels
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect();
            labels
                .entry("site".to_owned())
                .or_insert_with(|| "attic".to_owned());
            labels
                .entry("job".to_owned())
                .or_insert_with(|| "federate".to_owned());
            samples
                .entry(labels)
                .or_default()
                .insert(sample.timestamp.unwrap(), value_bits(sample.value));
        }
    }
    samples
}

/// Asserts that a JSON value has what `expected` has. Objects are compared member by member and may
/// have further members; everything else must be equal. A failure lists the members that differ.
#[track_caller]
pub(crate) fn assert_has(found: &Value, expected: &Value) {
    let mut differences = Vec::new();
    collect_differences("", found, expected, &mut differences);
    assert!(
        differences.is_empty(),
        "{}\nin {found}",
        differences.join("\n")
    );
}

fn collect_differences(path: &str, found: &Value, expected: &Value, into: &mut Vec<String>) {
    match expected {
        Value::Object(members) if !members.is_empty() => {
            for (name, expected) in members {
                collect_differences(&format!("{path}/{name}"), &found[name], expected, into);
            }
        }
        _ if found == expected => {}
        _ => into.push(format!("{path} is {found}, expected {expected}")),
    }
}

#[test]
fn a_missing_or_different_member_is_found_with_its_path() {
    let found = serde_json::json!({"a": {"b": 1, "c": 2}, "d": []});
    let differences = |expected: Value| {
        let mut differences = Vec::new();
        collect_differences("", &found, &expected, &mut differences);
        differences
    };
    let same = serde_json::json!({"a": {"b": 1}, "d": []});
    assert_eq!(differences(same), [""; 0]);
    let other = serde_json::json!({"a": {"b": 2, "x": 0}, "d": {}, "e": {"f": 1}});
    assert_eq!(
        differences(other),
        [
            "/a/b is 1, expected 2",
            "/a/x is null, expected 0",
            "/d is [], expected {}",
            "/e/f is null, expected 1",
        ]
    );
}

/// Asserts that the sender kept its promises: no sample older than one posted before it, and no
/// series in two unanswered requests at once.
#[track_caller]
pub(crate) fn assert_in_order(stats: &GatewayStats) {
    assert_eq!(stats.out_of_order, 0, "samples out of order: {stats:?}");
    assert_eq!(
        stats.concurrent, 0,
        "series in two requests at once: {stats:?}"
    );
}

/// Asserts the equation of the ledger.
pub(crate) fn assert_balanced(report: &Value) {
    for ledger in report["remotes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|remote| &remote["ledger"])
        .chain([&report["ledger"]])
    {
        let sum = |names: &[&str]| {
            names
                .iter()
                .map(|name| ledger[*name].as_u64().unwrap())
                .sum::<u64>()
        };
        let entered = sum(&["owed_before", "scraped", "backfilled"]);
        let ended = sum(&[
            "filtered",
            "unchanged",
            "rolled_back",
            "written",
            "deduplicated",
            "repeated",
            "rejected",
            "expired",
            "lost",
            "owed_after",
        ]);
        assert_eq!(entered, ended, "{report}");
    }
}

/// The environment of a command-line program: the gateway's credentials, and none of this
/// machine's.
pub(crate) fn credentials() -> [(&'static str, &'static str); 6] {
    use amp_forwarder_support::gateway::options::{ACCESS_KEY, SECRET_KEY};
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("PATH", "/usr/bin:/bin"),
    ]
}
