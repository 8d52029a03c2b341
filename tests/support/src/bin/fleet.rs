//! `make fleet`: see `amp_forwarder_support::fleet`.

use std::path::PathBuf;
use std::process::ExitCode;

use amp_forwarder_support::bench::once::unpack;
use amp_forwarder_support::fleet::{self, FleetOptions};
use anyhow::Result;
use clap::Parser;
use tempfile::TempDir;

/// Lets one function serve many sites, and prints what a tick costs and whether everything arrived.
#[derive(Parser)]
struct Arguments {
    /// The zip of `make build`, or the program.
    #[arg(long)]
    function: PathBuf,
    /// Number of sites.
    #[arg(long, default_value_t = 1000)]
    sites: usize,
    /// Number of series of each site.
    #[arg(long, default_value_t = 500)]
    series: usize,
    /// Number of processes of the function.
    #[arg(long, default_value_t = 8)]
    processes: usize,
    /// Memory of the function in MB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Number of ticks of each site.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Lets the rounds follow each other at once, in the place of a round a minute.
    #[arg(long)]
    unpaced: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let directory = TempDir::new()?;
    let results = fleet::run(&FleetOptions {
        program: unpack(&arguments.function, directory.path())?,
        sites: arguments.sites,
        series: arguments.series,
        processes: arguments.processes,
        memory_mb: arguments.memory,
        rounds: arguments.rounds,
        paced: !arguments.unpaced,
    })
    .await?;
    println!("{}", results.markdown());
    Ok(if results.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
