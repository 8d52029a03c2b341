//! `make bench`: see `amp_forwarder_support::bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use amp_forwarder_support::bench::{self, BenchOptions};
use clap::Parser;

/// Measures the forwarder and its peers, vmagent and Prometheus in agent mode, and writes tables
/// and a plot.
#[derive(Parser)]
struct Arguments {
    /// The zip of `make build`, or the program.
    #[arg(long)]
    function: PathBuf,
    /// forwardctl, to measure `forwardctl run`, too.
    #[arg(long)]
    forwardctl: Option<PathBuf>,
    /// Folder for results.md, results.json and results.svg.
    #[arg(long, default_value = "benches")]
    out: PathBuf,
    /// Measures a few scrapes of each, to show that the benchmark works. The figures mean little.
    #[arg(long)]
    quick: bool,
    /// Leaves out the peers.
    #[arg(long)]
    alone: bool,
    /// Measures only the comparisons with this number of series, for profiling.
    #[arg(long)]
    series: Option<usize>,
    /// Measures only remote read, and what it costs the home.
    #[arg(long)]
    windows: bool,
    /// Measures only the function, as small as Lambda makes it, in control groups. Writes sizes.md
    /// and sizes.json.
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
        forwardctl,
        out,
        quick,
        alone,
        series,
        windows,
        sizes,
    } = arguments;
    // The function runs in a directory of its own, so its path must be absolute.
    let function = std::path::absolute(function)?;
    let forwardctl = forwardctl.map(std::path::absolute).transpose()?;
    if sizes {
        let reads = bench::small_reads::measure(&function).await?;
        return bench::size::write(&bench::size::measure(&function).await?, &reads, &out);
    }
    bench::write(
        &bench::run(&BenchOptions {
            function,
            forwardctl,
            quick,
            alone,
            series,
            windows,
        })
        .await?,
        &out,
    )
}
