//! What somebody can do who may write to the spool, or who is the home or a receiver: their text on
//! our screen, and their segments in our memory.

mod memory;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use amp_forwarder::batch::Batch;
use amp_forwarder::prompb::messages::{Label, Sample, TimeSeries, WriteRequest};
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::now_ms;
use prost::Message as _;
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{TestConfig, credentials, gateway, spooling};

/// A folder with a forwarder.yml and a spool.
struct Place {
    folder: TempDir,
    gateway: Gateway,
    home: ScriptedHome,
}

impl Place {
    async fn new(exposition: String) -> Self {
        Self::with(exposition, "deadline_margin: 500ms").await
    }

    /// A place with these keys of `forwarder`.
    async fn with(exposition: String, forwarder: &'static str) -> Self {
        let home = ScriptedHome::start(Page::text(exposition)).await.unwrap();
        let (gateway, folder) = (gateway().await, TempDir::new().unwrap());
        let config = TestConfig {
            queue: "max_samples_per_send: 50, max_shards: 4, capacity: 2500, min_backoff: 10ms, \
                    max_backoff: 50ms",
            forwarder,
            ..TestConfig::new(&home.address(), &gateway)
        };
        let yaml = config.yaml().replace(
            "remote_write:\n  - url",
            "remote_write:\n  - name: amp\n    remote_timeout: 1s\n    url",
        );
        let yaml = spooling(&yaml, folder.path());
        std::fs::write(folder.path().join("forwarder.yml"), yaml).unwrap();
        Self {
            folder,
            gateway,
            home,
        }
    }

    /// Puts an object into the spool, as another program does.
    fn plant(&self, key: &str, bytes: &[u8]) {
        let path = self.folder.path().join("spool").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(credentials())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

fn forwardctl() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_forwardctl"))
}

fn name(scrape: u64) -> String {
    format!("0000000001-{scrape:08}-0000.seg")
}

/// A batch with this uncompressed request.
fn batch(raw: &[u8], samples: u32) -> Batch {
    Batch {
        body: snap::raw::Encoder::new().compress_vec(raw).unwrap().into(),
        samples,
        raw_len: raw.len() as u32,
        min_ms: now_ms() - 1_000,
        max_ms: now_ms(),
    }
}

fn series(labels: &[(&str, &str)]) -> TimeSeries {
    TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        samples: vec![Sample {
            value: 1.0,
            timestamp: now_ms(),
        }],
        histograms: Vec::new(),
    }
}

fn request(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    WriteRequest { timeseries }.encode_to_vec()
}
