//! One child process with its log.

use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpSocket;

use crate::http::Client;

/// A child process; dropping it kills it. Its output goes to a file, whose end is printed when the
/// test panics.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

/// A port of the loopback interface that stays reserved as long as this value lives.
///
/// Its socket is bound and does not listen. So connections are refused until a program that sets
/// `SO_REUSEADDR`, as servers do, listens there. While that program is down, the server of another
/// test must not get its port: it would receive the requests that are meant for our program.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _socket: TcpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// Fails when there is no free port.
    pub fn reserve() -> Result<Self> {
        let socket = TcpSocket::new_v4().context("find a free port")?;
        socket.set_reuseaddr(true)?;
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .context("find a free port")?;
        Ok(Self {
            number: socket.local_addr()?.port(),
            _socket: socket,
        })
    }

    /// The number of the port.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

impl Child {
    /// Starts a program whose standard output and error are appended to `log`.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn spawn(
        name: &str,
        program: &Path,
        configure: impl FnOnce(&mut Command),
        log: &Path,
    ) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        // The program dies with the test, also when that is killed. Without setpriv it would live
        // on.
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.is_file() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        configure(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            process,
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGTERM and waits for the end of the process; returns its exit code, if it had one.
    ///
    /// # Errors
    /// Fails when the process still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<Option<i32>> {
        // The standard library only sends SIGKILL.
        Command::new("kill")
            .arg(self.id().to_string())
            .status()
            .context("run kill")?;
        self.wait(limit).await
    }

    /// Waits for the end of the process; returns its exit code, if it had one.
    ///
    /// # Errors
    /// Fails when the process still runs after `limit`.
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
    /// Fails when the program ended or the limit passed; the error has the end of its log.
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
                bail!(
                    "{} is not ready at {url} after {:?}; the end of its log:\n{}",
                    self.name,
                    start.elapsed(),
                    tail(&self.log(), 20)
                );
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "---- the end of {}'s log\n{}",
                self.name,
                tail(&self.log(), 40)
            );
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_is_its_servers_alone_while_that_is_down() {
        let port = Port::reserve().unwrap();
        let address = (Ipv4Addr::LOCALHOST, port.number());
        for _ in 0..2 {
            assert_eq!(
                TcpStream::connect(address).unwrap_err().kind(),
                ErrorKind::ConnectionRefused
            );
            // The standard library's listener sets SO_REUSEADDR.
            let server = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(address).unwrap();
            // The server closes first, as a killed one does: its end of the connection lingers.
            drop(server.accept().unwrap());
            drop((server, client));
        }
        let other = TcpSocket::new_v4().unwrap();
        assert_eq!(
            other.bind(address.into()).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
    }
}
