//! `floorplan [ROOT]`: says where the tree breaks its floor plan, and fails if it does.

use std::path::PathBuf;
use std::process::ExitCode;

use amp_forwarder_floorplan::house::inspect;

fn main() -> ExitCode {
    let root = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let verdicts = match inspect(&root) {
        Ok(verdicts) => verdicts,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut is_clean = true;
    for verdict in verdicts {
        if verdict.breaches.is_empty() {
            continue;
        }
        is_clean = false;
        eprintln!(
            "error: {}: {} breaches",
            verdict.rule,
            verdict.breaches.len()
        );
        for breach in verdict.breaches {
            eprintln!("  {breach}");
        }
    }
    if !is_clean {
        eprintln!("The rules: tests/floorplan/src/lib.rs. The drawing: ARCHITECTURE.md.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
