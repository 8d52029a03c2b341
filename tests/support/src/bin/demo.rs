//! `make demo`: see `amp_forwarder_support::demo`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use amp_forwarder_support::demo::{Demo, DemoOptions};
use anyhow::Result;
use clap::Parser;

/// Runs the function in exact mode between two real Prometheus servers for two minutes: the receiver
/// is away, the link to the home is cut, the function is killed, a target goes away. Compares both
/// ends, and exits with 1 when a sample is missing.
#[derive(Parser)]
struct Arguments {
    /// The zip of `make build`, or the program.
    #[arg(long)]
    function: PathBuf,
    /// Leaves out all troubles.
    #[arg(long)]
    calm: bool,
    /// Time-out of the function in seconds.
    #[arg(long, default_value_t = 15)]
    tick: u64,
    /// Time between two scrapes of the twin, as Prometheus writes durations.
    #[arg(long, default_value = "5s")]
    interval: String,
    /// Seconds during which the function is invoked again. After them, it is invoked until all has
    /// arrived.
    #[arg(long, default_value_t = 80)]
    duration: u64,
    /// Lets the gateway acknowledge one batch without storing it, so that the demo fails.
    #[arg(long)]
    drop_one_batch: bool,
    /// Writes a picture (SVG) of a series at both ends, with and without remote read.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Keeps everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    demo(Arguments::parse()).await.unwrap_or_else(|error| {
        // `Result` in main would print a backtrace.
        eprintln!("demo: error: {error:#}");
        ExitCode::from(1)
    })
}

async fn demo(arguments: Arguments) -> Result<ExitCode> {
    let options = DemoOptions {
        troubles: !arguments.calm,
        picture: arguments.picture,
        duration: Duration::from_secs(arguments.duration),
        drop_one_batch: arguments.drop_one_batch,
        tick: Duration::from_secs(arguments.tick),
        interval: arguments.interval,
        ..DemoOptions::new(arguments.function)
    };
    let mut demo = Demo::start(options).await?;
    demo.run().await?;
    let verdict = demo.verdict().await?;
    println!("\n{verdict}");
    println!(
        "{}\n",
        if verdict.is_good() {
            "never exposed 0, lost 0: every sample of the home has arrived"
        } else {
            "NOT as it should be"
        }
    );
    println!(
        "next steps:\n  \
         make demo DEMO_FLAGS=--drop-one-batch    \
         the gateway loses a batch, and the demo fails\n  \
         make demo DEMO_FLAGS=--keep              \
         everything keeps running, to look around with a browser and by forwardctl verify\n  \
         cargo run --bin forwardctl -- --help     \
         the same forwarder on the command line"
    );
    if arguments.keep {
        println!(
            "\nrunning until Ctrl-C: {}\n{}",
            demo.addresses(),
            demo.verify_command()
        );
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked?,
            kept = demo.keep() => kept?,
        }
    }
    Ok(if verdict.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
