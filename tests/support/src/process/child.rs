//! One child process with its log.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::Client;

/// A child process; dropping it kills it. Its output is in a file, which is printed when the test panics.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

/// A port of the loopback interface that was free a moment ago. Whoever takes it may still lose a race: start again then.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?.local_addr()?.port())
}

impl Child {
    /// Starts a program; its standard output and error go to `log`, after what is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, program: &Path, configure: impl FnOnce(&mut Command), log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))?;
        // So that a killed test leaves nobody behind; without setpriv they would live on.
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.is_file() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        configure(&mut command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), process, log: log.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// SIGTERM, and waits for its end; its exit code if it had one.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<Option<i32>> {
        // The standard library only sends SIGKILL.
        Command::new("kill").arg(self.id().to_string()).status().context("run kill")?;
        self.wait(limit).await
    }

    /// Waits for its end; its exit code if it had one.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.code());
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {limit:?}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `url` answers 200.
    ///
    /// # Errors
    /// When the program ended, or the limit passed: with the end of its log.
    pub async fn wait_ready(&mut self, url: &str, limit: Duration) -> Result<()> {
        let client = Client::default();
        let start = Instant::now();
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(2), client.get(url)).await;
            if let Ok(Ok(response)) = answer
                && response.status() == 200
            {
                return Ok(());
            }
            if !self.is_running() || start.elapsed() > limit {
                bail!("{} is not ready at {url} after {:?}; the end of its log:\n{}", self.name, start.elapsed(), tail(&self.log(), 20));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- the end of {}'s log\n{}", self.name, tail(&self.log(), 40));
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
