//! The way to a home, as a VPN is one: it can be cut, and mended.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy. While it is cut, connections that are open end, and new ones end at once.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Link {
    /// Starts a proxy to `home` (`host:port`).
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(home: &str) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("listen for the link")?;
        let address = listener.local_addr()?;
        let (is_cut, cut) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, home.to_owned(), cut));
        Ok(Self {
            address,
            is_cut,
            accepting,
        })
    }

    /// `host:port`, for `static_configs`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the link.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Mends the link.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, home: String, cut: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        if !*cut.borrow() {
            tokio::spawn(pass(client, home.clone(), cut.clone()));
        }
    }
}

async fn pass(mut client: TcpStream, home: String, mut cut: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(&home).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}
