//! `make bench`: see `amp_forwarder_support::bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use amp_forwarder_support::bench::{self, BenchOptions};
use clap::Parser;

/// Measures the forwarder beside vmagent and Prometheus in agent mode, and writes tables and a plot.
#[derive(Parser)]
struct Arguments {
    /// The command line, built as for a release.
    #[arg(long)]
    forwardctl: PathBuf,
    /// The zip of `make build`, or the program.
    #[arg(long)]
    function: Option<PathBuf>,
    /// Where results.md, results.json and results.svg go.
    #[arg(long, default_value = "benches")]
    out: PathBuf,
    /// A few scrapes of each, to see that it works: the figures say little.
    #[arg(long)]
    quick: bool,
    /// Without the peers.
    #[arg(long)]
    alone: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = BenchOptions { forwardctl: arguments.forwardctl, function: arguments.function, quick: arguments.quick, alone: arguments.alone };
    let done = match bench::run(&options).await {
        Ok(results) => bench::write(&results, &arguments.out),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => {
            eprintln!("bench: {}", arguments.out.join("results.md").display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::from(1)
        }
    }
}
