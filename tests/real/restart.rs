//! `forwardctl run` that is killed and started again at once.

use std::process::Command;
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::home::ScriptedHome;
use amp_forwarder_support::process::{Child, Moto};
use amp_forwarder_support::wait_for;
use tempfile::TempDir;

use crate::common::{AMPLE, SPOOL, TestConfig, credentials, gateway, scripted};

/// Length of the lease that `run` renews.
const LEASE: Duration = Duration::from_secs(30);

/// A home, a receiver, and a folder for a spool.
struct Place {
    home: ScriptedHome,
    gateway: Gateway,
    folder: TempDir,
    yaml: String,
    s3: String,
}

impl Place {
    /// The spool is in this place; `None` for a folder.
    async fn new(moto: Option<&Moto>) -> Self {
        let (home, gateway) = (scripted(25).await, gateway().await);
        let folder = TempDir::new().unwrap();
        let config = TestConfig {
            interval: "1s",
            forwarder: "deadline_margin: 500ms, remote_read: {mode: off}",
            ..TestConfig::new(&home.address(), &gateway)
        };
        let spool = match moto {
            Some(_) => "s3://spool/home".to_owned(),
            None => format!("file://{}", folder.path().join("spool").display()),
        };
        let yaml = config.yaml().replace(&format!("file://{SPOOL}"), &spool);
        Self {
            home,
            gateway,
            folder,
            yaml,
            s3: moto.map(Moto::url).unwrap_or_default(),
        }
    }

    fn run(&self) -> Child {
        let config = self.folder.path().join("forwarder.yml");
        std::fs::write(&config, &self.yaml).unwrap();
        let configure = |command: &mut Command| {
            command
                .arg("run")
                .current_dir(self.folder.path())
                .env_clear()
                .envs(credentials())
                .envs([("AWS_REGION", "us-east-1"), ("HOME", "/nonexistent")]);
            if !self.s3.is_empty() {
                command.env("AWS_ENDPOINT_URL_S3", &self.s3);
            }
        };
        let program = env!("CARGO_BIN_EXE_forwardctl").as_ref();
        Child::spawn(
            "forwardctl",
            program,
            configure,
            &self.folder.path().join("log"),
        )
        .unwrap()
    }

    /// Waits until the home is scraped, and returns how long that took.
    async fn scraped(&self, limit: Duration) -> Duration {
        let (started, before) = (Instant::now(), self.home.requests().len());
        wait_for("a scrape", limit, || async {
            self.home.requests().len() > before
        })
        .await
        .unwrap();
        started.elapsed()
    }

    /// Kills `run` in the middle of a tick, starts it again, and returns how long the next scrape
    /// took to come.
    async fn killed_and_restarted(&self) -> Duration {
        let mut run = self.run();
        self.scraped(AMPLE).await;
        self.scraped(AMPLE).await;
        run.kill();
        let _run = self.run();
        self.scraped(LEASE + AMPLE).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_spool_in_a_folder_it_scrapes_within_one_interval() {
    let place = Place::new(None).await;
    let took = place.killed_and_restarted().await;
    println!("the next scrape came after {took:?}");
    // The start of the program is part of it.
    assert!(
        took < Duration::from_secs(1) + Duration::from_millis(500),
        "{took:?}"
    );
    assert!(!place.gateway.stored().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_spool_in_s3_it_scrapes_within_the_short_lease() {
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("spool").await.unwrap();
    let place = Place::new(Some(&moto)).await;
    let took = place.killed_and_restarted().await;
    println!("the next scrape came after {took:?}");
    // The store's clock is known to a second, and the wait looks once a second.
    assert!(took < LEASE + Duration::from_secs(4), "{took:?}");
    assert!(took > Duration::from_secs(1), "no lease was held: {took:?}");
}

/// A signal ends the wait for another process's lease, and that is no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_wait_for_the_lease_of_another_run() {
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("spool").await.unwrap();
    let place = Place::new(Some(&moto)).await;
    let mut killed = place.run();
    place.scraped(AMPLE).await;
    killed.kill();
    let before = place.home.requests().len();
    let mut waiting = place.run();
    wait_for("it waits", AMPLE, || async {
        waiting.log().contains("waiting for the lease")
    })
    .await
    .unwrap();
    let code = waiting.terminate(Duration::from_secs(3)).await.unwrap();
    assert_eq!(code, Some(0), "{}", waiting.log());
    assert_eq!(place.home.requests().len(), before);
}
