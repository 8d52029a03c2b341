//! `make bench`: see `amp_forwarder_support::bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use amp_forwarder_support::bench::{self, BenchOptions};
use clap::Parser;

/// Measures the forwarder beside vmagent and Prometheus in agent mode, and writes tables and a
/// plot.
#[derive(Parser)]
struct Arguments {
    /// The zip of `make build`, or the program.
    #[arg(long)]
    function: PathBuf,
    /// Where results.md, results.json and results.svg go.
    #[arg(long, default_value = "benches")]
    out: PathBuf,
    /// A few scrapes of each, to see that it works: the figures say little.
    #[arg(long)]
    quick: bool,
    /// Without the peers.
    #[arg(long)]
    alone: bool,
    /// Only the comparisons with so many series, for whoever profiles one.
    #[arg(long)]
    series: Option<usize>,
    /// Only the function, as small as Lambda makes it, in control groups: writes sizes.md and
    /// sizes.json.
    #[arg(long)]
    sizes: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        function,
        out,
        quick,
        alone,
        series,
        sizes,
    } = arguments;
    // It is started in a directory of its own.
    let function = std::path::absolute(function)?;
    if sizes {
        return bench::size::write(&bench::size::measure(&function).await?, &out);
    }
    bench::write(
        &bench::run(&BenchOptions {
            function,
            quick,
            alone,
            series,
        })
        .await?,
        &out,
    )
}
