//! The gateway as a program: `cargo run -p amp-forwarder-support --bin gateway -- --help`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use amp_forwarder_support::gateway::options::{ACCESS_KEY, JournalOptions, SECRET_KEY};
use amp_forwarder_support::gateway::{AccessKey, Gateway, GatewayOptions};
use anyhow::{Context, Result};
use clap::Parser;

/// A remote-write receiver that answers as Amazon Managed Service for Prometheus does.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Remote-write URL of a real receiver that gets the accepted samples.
    #[arg(long)]
    upstream: Option<String>,
    /// Region that signatures must be scoped to.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Access key that the gateway knows.
    #[arg(long, default_value = ACCESS_KEY)]
    access_key: String,
    /// Name of the environment variable with the secret of that key (default: the secret of AWS'
    /// examples).
    #[arg(long)]
    secret_key_env: Option<String>,
    /// Session token that must come with the key.
    #[arg(long)]
    session_token: Option<String>,
    /// Accepts requests without looking at their signatures.
    #[arg(long)]
    unsigned: bool,
    /// Counts samples and answers 200 at once; nothing is decoded, judged or forwarded.
    #[arg(long)]
    count_only: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let secret = match &arguments.secret_key_env {
        Some(name) => {
            std::env::var(name).with_context(|| format!("read the secret key from {name}"))?
        }
        None => SECRET_KEY.to_owned(),
    };
    let key = AccessKey {
        secret,
        session_token: arguments.session_token,
        allowed: true,
    };
    let keys = if arguments.unsigned {
        BTreeMap::new()
    } else {
        BTreeMap::from([(arguments.access_key, key)])
    };
    let options = GatewayOptions {
        listen: arguments.listen,
        region: arguments.region,
        keys,
        upstream: arguments.upstream,
        count_only: arguments.count_only,
        // The gateway may run for days.
        journal: JournalOptions {
            requests: 1_000,
            samples: 100_000,
        },
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(options).await?;
    println!("{}", gateway.remote_write_url());
    tokio::signal::ctrl_c().await?;
    println!("{}", serde_json::to_string_pretty(&gateway.stats())?);
    Ok(())
}
