//! forwardctl's commands for a spool: what an outage leaves, the blocks that promtool makes of it,
//! and its delivery.

mod broken;
mod drain;
mod export;
mod listing;

use std::path::{Path, PathBuf};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::home::ScriptedHome;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{TestConfig, credentials, gateway, scripted, spooling};

/// Batches of 50 samples: 125 of the home and five of the forwarder's own.
const SAMPLES: u64 = 130;

/// A spool and both ends. The slot after the first one is far away, so that only the commands of a
/// test make ticks.
struct SpoolFixture {
    folder: TempDir,
    gateway: Gateway,
    home: ScriptedHome,
}

struct CommandOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl SpoolFixture {
    async fn new() -> Self {
        let (home, gateway, folder) = (
            scripted(125).await,
            gateway().await,
            TempDir::new().unwrap(),
        );
        let queue = "max_samples_per_send: 50, max_shards: 4, capacity: 2500, \
                     min_backoff: 10ms, max_backoff: 50ms";
        let config = TestConfig {
            queue,
            ..TestConfig::new(&home.address(), &gateway)
        };
        let yaml = config.yaml().replace(
            "remote_write:\n  - url",
            "remote_write:\n  - name: amp\n    remote_timeout: 1s\n    url",
        );
        std::fs::write(
            folder.path().join("forwarder.yml"),
            spooling(&yaml, folder.path()),
        )
        .unwrap();
        Self {
            folder,
            gateway,
            home,
        }
    }

    /// A spool with the backlog of an outage.
    async fn after_an_outage() -> Self {
        let spool = Self::new().await;
        // A denial is final, so the tick ends at once.
        spool.gateway.faults().add(Fault::always(denied()));
        let ran = spool.runs(&["run", "--once", "--json"]).await;
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["ledger"]["owed_after"], SAMPLES, "{report}");
        spool.gateway.faults().clear();
        spool
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn segments(&self) -> Vec<PathBuf> {
        files(&self.path().join("segments/amp"))
    }

    async fn runs(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forwardctl"));
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(credentials())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        CommandOutput {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.runs(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }
}

fn denied() -> FaultAction {
    Fault::status(403, "{\"message\":\"no\"}")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
