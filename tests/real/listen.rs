//! `forwardctl run --listen`: what a Prometheus, a supervisor and a person are answered.

use std::io::Write as _;
use std::process::{Command, Stdio};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::home::ScriptedHome;
use amp_forwarder_support::http::Client;
use amp_forwarder_support::process::{Child, Job, Port, Prometheus, V3_5};
use amp_forwarder_support::{tools, wait_for};

use crate::cli::{CommandLine, text};
use crate::common::{AMPLE, TestConfig, credentials, gateway, scripted};

/// A run that listens.
struct ListeningRun {
    address: String,
    run: Child,
    _home: ScriptedHome,
    _gateway: Gateway,
    _cli: CommandLine,
    _port: Port,
}

impl ListeningRun {
    /// Starts a run whose first tick scrapes at once and ends as soon as its samples are sent. The
    /// next slot is a day later, so that no second scrape changes a figure while a test looks at it.
    async fn start(fault: Option<Fault>) -> Self {
        let (home, gateway) = (scripted(125).await, gateway().await);
        fault
            .into_iter()
            .for_each(|fault| gateway.faults().add(fault));
        let config = TestConfig {
            interval: "1d",
            ..TestConfig::new(&home.address(), &gateway)
        };
        let cli = CommandLine::with(&config.yaml());
        let port = Port::reserve().unwrap();
        let address = format!("127.0.0.1:{port}");
        let configure = |command: &mut Command| {
            command
                .args(["run", "--listen", &address])
                .current_dir(cli.directory.path())
                .env_clear()
                .envs(credentials());
        };
        let log = cli.directory.path().join("log");
        let program = env!("CARGO_BIN_EXE_forwardctl").as_ref();
        let run = Child::spawn("forwardctl", program, configure, &log).unwrap();
        Self {
            address,
            run,
            _home: home,
            _gateway: gateway,
            _cli: cli,
            _port: port,
        }
    }

    /// The status and the body of an answer; 0 without one.
    async fn get(&self, path: &str) -> (u16, String) {
        match Client::default()
            .get(&format!("http://{}{path}", self.address))
            .await
        {
            Ok(answer) => (
                answer.status().as_u16(),
                String::from_utf8(answer.body().to_vec()).unwrap(),
            ),
            Err(_) => (0, String::new()),
        }
    }

    /// Waits until a page shows a text, and returns the page.
    async fn shows(&self, path: &str, expected: &str) -> String {
        let what = format!("{path} shows {expected}");
        wait_for(&what, AMPLE, || async {
            self.get(path).await.1.contains(expected)
        })
        .await
        .unwrap();
        self.get(path).await.1
    }
}

#[tokio::test]
async fn a_prometheus_scrapes_the_forwarder_and_a_person_sees_that_all_is_well() {
    let mut running = ListeningRun::start(None).await;
    running.shows("/-/ready", "It forwards.").await;
    assert_eq!(running.get("/-/healthy").await.0, 200);
    assert_eq!(running.get("/favicon.ico").await.0, 404);
    let page = running.shows("/", "All is well").await;
    for expected in ["federate", ">130<", "answered"] {
        assert!(page.contains(expected), "{expected}: {page}");
    }

    // promtool knows the conventions for names, types and help texts.
    let (_, metrics) = running.get("/metrics").await;
    let promtool = tools::program("prometheus-3.5/promtool").unwrap();
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let checked = check.wait_with_output().unwrap();
    assert!(
        checked.status.success(),
        "{}\n{metrics}",
        text(&checked.stderr)
    );

    let watching = Prometheus::home(V3_5, vec![Job::new("forwarder", &[&running.address])])
        .await
        .unwrap();
    let querier = watching.querier();
    wait_for("the forwarder is scraped", AMPLE, || async {
        querier
            .value("amp_forwarder_build_info")
            .await
            .is_ok_and(|it| it.is_some())
    })
    .await
    .unwrap();
    for (query, expected) in [
        ("sum(amp_forwarder_samples_total)", 130.0),
        ("sum(amp_forwarder_samples_total{fate=\"written\"})", 130.0),
        ("sum(amp_forwarder_samples_entered_total)", 130.0),
        ("amp_forwarder_backlog_segments", 0.0),
        ("amp_forwarder_last_tick_outcome{outcome=\"ok\"}", 1.0),
    ] {
        let found = querier.value(query).await.unwrap();
        assert_eq!(found, Some(expected), "{query}");
    }
    let lag = querier.value("amp_forwarder_lag_seconds").await;
    let lag = lag.unwrap().unwrap();
    assert!((0.0..60.0).contains(&lag), "{lag}");
    assert_eq!(running.run.terminate(AMPLE).await.unwrap(), Some(0));
}

#[tokio::test]
async fn what_is_wrong_is_on_the_page_and_is_no_part_of_it() {
    let hostile = "{\"message\": \"<script>document.title='forged'</script>\"}";
    let denied = Fault::always(Fault::status(403, hostile));
    let running = ListeningRun::start(Some(denied)).await;
    let (status, why) = {
        running.shows("/-/ready", "the last tick failed").await;
        running.get("/-/ready").await
    };
    assert_eq!(status, 503);
    assert!(why.contains("403"), "{why}");
    let page = running.get("/").await.1;
    for expected in [
        "Samples do not get through",
        "answered 403",
        "130 samples wait",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("<script"), "{page}");
    shown_in_a_browser(&running.address);
}

/// A page as a real browser has it. What a person sees is in `target/tmp/status.png` afterwards.
fn shown_in_a_browser(address: &str) {
    let profile = tempfile::TempDir::new().unwrap();
    let chromium = tools::program("chromium/chromium").unwrap();
    let browser = |option: &str| {
        Command::new(&chromium)
            .args(["--no-sandbox", "--disable-gpu", "--window-size=1000,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args([option, &format!("http://{address}/")])
            .output()
            .unwrap()
    };
    let dom = browser("--dump-dom");
    let shown = text(&dom.stdout);
    let title = "<title>Samples do not get through · amp-forwarder</title>";
    assert!(shown.contains(title), "{shown}\n{}", text(&dom.stderr));
    assert!(shown.contains("class=\"state bad\""), "{shown}");

    let picture = concat!(env!("CARGO_TARGET_TMPDIR"), "/status.png");
    let taken = browser(&format!("--screenshot={picture}"));
    let written = std::fs::metadata(picture).map(|file| file.len());
    // A page without text is some five thousand bytes.
    assert!(
        written.is_ok_and(|bytes| bytes > 20_000),
        "{}",
        text(&taken.stderr)
    );
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_run_before_it_begins() {
    let taken = ScriptedHome::start(amp_forwarder_support::home::Page::text(""));
    let taken = taken.await.unwrap();
    let config = TestConfig::new(&taken.address(), &gateway().await);
    let cli = CommandLine::with(&config.yaml());
    let output = cli.runs(&["run", "--listen", &taken.address()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot listen on") && said.contains("--listen"),
        "{said}"
    );
    assert!(taken.requests().is_empty());
}
