//! The exit status of the demo, in short runs. Without this test, a demo that cannot fail would go
//! unnoticed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The function. Cargo puts it next to this package's programs when the whole workspace is tested.
fn function() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("amp-forwarder");
    assert!(
        path.is_file(),
        "{} is missing: test the whole workspace (`cargo test --workspace`)",
        path.display()
    );
    path
}

fn demo(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("--function").arg(function());
    command
        .args([
            "--interval",
            "3s",
            "--tick",
            "15",
            "--duration",
            "8",
            "--calm",
        ])
        .args(flags);
    command.output().unwrap()
}

fn shown(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn succeeds_when_nothing_is_lost() {
    let output = demo(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        shown(&output).contains("never exposed 0, lost 0"),
        "{}",
        shown(&output)
    );
}

#[test]
fn fails_when_a_batch_vanishes() {
    let output = demo(&["--drop-one-batch"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(
        shown(&output).contains("NOT as it should be"),
        "{}",
        shown(&output)
    );
}
