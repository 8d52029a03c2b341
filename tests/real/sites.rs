//! One function that serves many sites.
//!
//! For a site with a bug, the function runs as a process of this very program: [`as_a_function`]
//! serves a runtime API with forwarders of which one panics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amp_forwarder::config::{Config, process_env};
use amp_forwarder::function::{Function, MadeForwarder};
use amp_forwarder::home::{Home, HomeRequest, HomeResponse};
use amp_forwarder::net::{NetError, SharedClients};
use amp_forwarder::report::logs;
use amp_forwarder::setup;
use amp_forwarder::tick::{Dependencies, Forwarder};
use amp_forwarder::time::{Clock, SystemClock};
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::home::{Page, Trouble};
use amp_forwarder_support::lambda::{
    Function as Process, FunctionOptions, InvocationResult, RuntimeApi,
};
use amp_forwarder_support::now_ms;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    AMPLE, SPOOL, TestConfig, assert_balanced, assert_has, assert_in_order, credentials,
    exposition, gateway, scripted,
};

/// The site whose forwarder has a bug.
const PANICS: &str = "panics";

/// Samples of a home in each scrape, and with those that the forwarder adds.
const SAMPLES: usize = 125;
const WITH_OWN: usize = SAMPLES + 5;

struct PanickingHome;

impl Home for PanickingHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        panic!("a bug that only this site meets")
    }
}

/// Makes a forwarder as the function does, and one that panics for one site.
async fn forwarder(config: Config, shared: Arc<SharedClients>) -> MadeForwarder {
    if config
        .site
        .as_ref()
        .is_none_or(|site| site.as_str() != PANICS)
    {
        return setup::forwarder_sharing(config, &shared).await;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let world = Dependencies {
        home: Box::new(PanickingHome),
        remotes: setup::remotes(&config, &clock, &shared).await,
        clock,
        rng: fastrand::Rng::new(),
        store: Some(setup::store(&config).await?),
    };
    let memory_limit = setup::memory_limit(&config);
    Ok(Forwarder::new(config, world, memory_limit)?)
}

/// The function whose forwarder for one site panics. Run by hand, it does nothing.
#[test]
#[ignore = "a process of the tests below"]
fn as_a_function() {
    if process_env("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    logs::start_json(&process_env);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let shared = Arc::new(SharedClients::default());
    let function = Function::with(Box::new(move |config| {
        Box::pin(forwarder(config, Arc::clone(&shared)))
    }));
    runtime.block_on(function.run()).unwrap();
}

/// A folder with a configuration for each site, and the functions that read them.
struct Sites {
    folder: TempDir,
    gateway: Gateway,
    api: RuntimeApi,
}

impl Sites {
    async fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            gateway: gateway().await,
            api: RuntimeApi::start().await.unwrap(),
        }
    }

    /// The configuration of a site: all have the same text but for the home's address.
    fn write(&self, site: &str, yaml: &str) {
        std::fs::write(self.folder.path().join(format!("{site}.yml")), yaml).unwrap();
    }

    fn yaml(&self, home: &str) -> String {
        TestConfig::new(home, &self.gateway)
            .yaml()
            .replace("{site: attic}", "{site: '${SITE}'}")
            .replace(&format!("file://{SPOOL}"), &self.spool())
    }

    /// The place of the spools. Both programs put the site's name in.
    fn spool(&self) -> String {
        format!("file://{}/spool/{{site}}", self.folder.path().display())
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("{site}.yml")
    }

    /// Starts a process of the function.
    fn process(&self, program: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Process {
        let mut options = FunctionOptions::new(program, &self.api.runtime_api(), "");
        let config = self.config().display().to_string();
        options.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        options.env.push(("FORWARDER_CONFIG".to_owned(), config));
        let env = env.iter();
        options
            .env
            .extend(env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::start(&options).unwrap()
    }

    /// The function as it is deployed.
    fn function(&self, env: &[(&str, &str)]) -> Process {
        self.process(Path::new(env!("CARGO_BIN_EXE_amp-forwarder")), &[], env)
    }

    /// The function that has a bug for one site.
    fn function_with_a_bug(&self) -> Process {
        let program = std::env::current_exe().unwrap();
        let arguments = [
            "--exact",
            "sites::as_a_function",
            "--ignored",
            "--nocapture",
        ];
        self.process(&program, &arguments, &[])
    }

    async fn invoke(&self, event: Value, limit: Duration) -> InvocationResult {
        self.api.invoke(event.to_string(), limit).await.unwrap()
    }

    async fn forward(&self, site: &str, limit: Duration) -> InvocationResult {
        let event = json!({"site": site, "action": "forward"});
        self.invoke(event, limit).await
    }

    /// Number of samples of a site that the receiver has stored.
    fn stored(&self, site: &str) -> usize {
        let stored = self.gateway.stored();
        let of_site = stored
            .iter()
            .filter(|sample| sample.labels.get("site").is_some_and(|name| name == site));
        of_site.count()
    }
}

/// The metrics lines of a log, each with its site.
fn metrics(log: &str, site: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some() && line["Site"] == site)
        .collect()
}

/// The lines of a log at a level, within the span of a site.
fn logged<'a>(log: &'a str, site: &str, level: &str) -> Vec<&'a str> {
    log.lines()
        .filter(|line| {
            let line = serde_json::from_str::<Value>(line).unwrap_or_default();
            line["level"] == level && line["spans"][0]["site"] == site
        })
        .collect()
}

fn error_of(result: &InvocationResult) -> (&str, &str) {
    let InvocationResult::Error(error) = result else {
        panic!("{result:?} is no error")
    };
    (
        error["errorType"].as_str().unwrap(),
        error["errorMessage"].as_str().unwrap(),
    )
}

/// Asserts that metrics and logs name the sick sites and no others.
fn assert_named(log: &str) {
    for sick in [PANICS, "hangs", "broken"] {
        let lines = metrics(log, sick);
        let all_failing = lines.iter().all(|line| line["FailingSites"] == 1);
        assert!(!lines.is_empty() && all_failing, "{sick}: {lines:?}");
    }
    for sick in [PANICS, "broken"] {
        assert_eq!(logged(log, sick, "ERROR").len(), 3, "{sick}: {log}");
    }
    assert!(!logged(log, "hangs", "WARN").is_empty(), "{log}");
    for well in ["one", "two"] {
        let lines = metrics(log, well);
        assert_eq!(lines.len(), 3, "{log}");
        assert!(lines.iter().all(|line| line["FailingSites"] == 0), "{log}");
        assert!(logged(log, well, "ERROR").is_empty(), "{log}");
    }
}

/// Two sites are well. One panics in each of its ticks, the home of one hangs, and one has a broken
/// configuration. All are served by the same two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_site_touches_no_other_and_is_named() {
    let sites = Sites::new().await;
    let (one, two) = (scripted(SAMPLES).await, scripted(SAMPLES).await);
    let hanging = scripted(SAMPLES).await;
    hanging.serve(Page::text("").trouble(Trouble::Hang));
    sites.write("one", &sites.yaml(&one.address()));
    sites.write("two", &sites.yaml(&two.address()));
    sites.write(PANICS, &sites.yaml(&one.address()));
    let slow = sites.yaml(&hanging.address());
    let slow = slow.replace("scrape_timeout: 1s", "scrape_timeout: 30s");
    sites.write("hangs", &slow);
    sites.write("broken", &slow.replace("job_name", "job_nmae"));
    let processes = [sites.function_with_a_bug(), sites.function_with_a_bug()];

    // The site that hangs keeps one process for the whole of its time.
    let limit = Duration::from_secs(8);
    let hung = async {
        let started = Instant::now();
        (sites.forward("hangs", limit).await, started.elapsed())
    };
    let others = async {
        let started = Instant::now();
        for round in 1..=3 {
            let panicked = sites.forward(PANICS, AMPLE).await;
            let (kind, message) = error_of(&panicked);
            assert_eq!(kind, "Panic", "{message}");
            assert!(
                message.contains("site panics:") && message.contains("only this site meets"),
                "{message}"
            );
            let broken = sites.forward("broken", AMPLE).await;
            let (kind, message) = error_of(&broken);
            assert_eq!(kind, "ConfigurationError", "{message}");
            assert!(
                message.contains("site broken:") && message.contains("job_nmae"),
                "{message}"
            );
            for (site, home) in [("one", &one), ("two", &two)] {
                home.serve(Page::text(exposition(SAMPLES, now_ms())));
                let report = sites.forward(site, AMPLE).await.answer().unwrap();
                assert_balanced(&report);
                let expected = json!({"outcome": "ok", "site": site, "ledger": {"lost": 0}});
                assert_has(&report, &expected);
                assert_eq!(
                    sites.stored(site),
                    round * WITH_OWN,
                    "{site}, round {round}"
                );
            }
        }
        started.elapsed()
    };
    let ((hung, hung_for), others_took) = tokio::join!(hung, others);
    assert!(
        others_took < hung_for,
        "the others took {others_took:?}, and that which hangs {hung_for:?}"
    );
    let (kind, message) = error_of(&hung);
    assert_eq!(kind, "TickFailed", "{message}");
    let report: Value = serde_json::from_str(message).unwrap();
    assert_has(&report, &json!({"outcome": "failed", "site": "hangs"}));

    assert_in_order(&sites.gateway.stats());
    let log: String = processes.iter().map(Process::log).collect();
    assert_named(&log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_names_a_site_and_forwardctl_finds_it() {
    let sites = Sites::new().await;
    let home = scripted(SAMPLES).await;
    sites.write("one", &sites.yaml(&home.address()));
    let _function = sites.function(&[]);
    let report = sites.invoke(json!({"site": "one"}), AMPLE).await.answer();
    assert_has(
        &report.unwrap(),
        &json!({"outcome": "ok", "site": "one", "ledger": {"written": WITH_OWN}}),
    );
    // The slot of this minute is served, as for one home.
    let again = sites.invoke(json!({"site": "one"}), AMPLE).await.answer();
    assert!(again.unwrap()["scrapes"].as_array().unwrap().len() <= 1);

    // A name that leads elsewhere, no name, and a site that does not exist.
    let outside = sites.invoke(json!({"site": "../one"}), AMPLE).await;
    let (kind, message) = error_of(&outside);
    assert_eq!(kind, "EventError");
    assert!(message.contains("is no name of a site"), "{message}");
    let nameless = sites.invoke(json!({}), AMPLE).await;
    let (kind, message) = error_of(&nameless);
    assert_eq!(kind, "ConfigurationError");
    assert!(message.contains("no site is named"), "{message}");
    let missing = sites.invoke(json!({"site": "three"}), AMPLE).await;
    let (_, message) = error_of(&missing);
    assert!(
        message.contains("site three:") && message.contains("three.yml"),
        "{message}"
    );

    let config = sites.config().display().to_string();
    let forwardctl = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_forwardctl"))
            .args(["--config", &config])
            .args(arguments)
            .env_clear()
            .envs(credentials())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, status, errors) = forwardctl(&["--site", "one", "status", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let status: Value = serde_json::from_str(&status).unwrap();
    let place = sites.folder.path().join("spool/one");
    assert_eq!(status["spool"]["address"], place.to_str().unwrap());
    assert!(status["jobs"][0]["last_slot_ms"].is_i64(), "{status}");
    let (code, findings, errors) = forwardctl(&["check", "--site", "one", "--online"]);
    assert_eq!(code, Some(0), "{findings}{errors}");
    let (code, _, errors) = forwardctl(&["check", "--site", "One"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("is no name of a site"), "{errors}");
}

/// A site that needs the whole of the memory gets it: the others are cold then, and lose nothing.
#[tokio::test]
async fn sites_share_the_memory_of_a_process() {
    const SERIES: usize = 5_000;
    let sites = Sites::new().await;
    let names = ["a", "b", "c", "d", "e"];
    let mut homes = Vec::new();
    for name in names {
        let home = scripted(SERIES).await;
        let limited = "deadline_margin: 500ms, memory_limit: 4MiB";
        let yaml = sites.yaml(&home.address());
        sites.write(name, &yaml.replace("deadline_margin: 500ms", limited));
        homes.push(home);
    }
    let function = sites.function(&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]);
    for round in 1..=2 {
        for (name, home) in names.iter().zip(&homes) {
            home.serve(Page::text(exposition(SERIES, now_ms())));
            let report = sites.forward(name, AMPLE).await.answer().unwrap();
            assert_has(&report, &json!({"outcome": "ok", "errors": []}));
            assert_eq!(sites.stored(name), round * (SERIES + 5), "{name}");
        }
    }
    assert_in_order(&sites.gateway.stats());
    let log = function.log();
    let warm: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "warm sites")
        .collect();
    assert_eq!(warm.len(), 2 * names.len(), "{log}");
    for line in &warm {
        let (count, bytes) = (line["sites"].as_u64(), line["bytes"].as_u64());
        assert!((1..5).contains(&count.unwrap()), "{line}");
        assert!(bytes.unwrap() <= 4 << 20, "{line}");
    }
    let most = warm.iter().filter_map(|line| line["sites"].as_u64()).max();
    assert!(most >= Some(2), "more than one is warm: {warm:?}");
}

/// A changed configuration is used without a restart, and a lost one does no harm.
#[tokio::test]
async fn a_changed_configuration_is_noticed() {
    let sites = Sites::new().await;
    let (before, after) = (scripted(3).await, scripted(7).await);
    sites.write("one", &sites.yaml(&before.address()));
    let _function = sites.function(&[]);
    let written = async || {
        let report = sites.forward("one", AMPLE).await.answer().unwrap();
        report["ledger"]["written"].as_u64().unwrap()
    };
    assert_eq!(written().await, 3 + 5);
    sites.write("one", &sites.yaml(&after.address()));
    // The series of the home that is gone get no stale marker: its process knew them, and is gone.
    assert_eq!(written().await, 7 + 5);
}

/// One very large home, split by `match[]` into four sites: together they have the whole, and no
/// sample is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_parts_of_a_home_are_the_whole() {
    parts::four_parts_of_a_home_are_the_whole().await;
}

mod parts;
