//! What people give forwardctl by mistake: another file, another port, another server. Each message
//! must be enough to mend it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use crate::cli::{CommandLine, EXAMPLE, text};

/// A port at which every connection gets these bytes and is closed.
fn answering(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            // A client that has gone meanwhile is no concern of the test.
            let _ = connection.read(&mut request);
            let _ = connection.write_all(bytes.as_bytes());
        }
    });
    address
}

/// A configuration with one home and one receiver that asks for no credentials.
fn config(home: &str, remote: &str) -> String {
    format!(
        "scrape_configs:\n- {{job_name: federate, honor_labels: true, metrics_path: /federate,\n  \
           params: {{'match[]': ['{{job=~\".+\"}}']}}, static_configs: [{{targets: ['{home}']}}]}}\n\
         remote_write:\n- {{url: 'http://{remote}/api/v1/write'}}\n"
    )
}

#[tokio::test]
async fn a_server_that_is_something_else_is_named_as_such() {
    const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\n\
                        connection: close\r\n\r\n<html/>";
    const MOVED: &str = "HTTP/1.1 308 Permanent Redirect\r\ncontent-length: 0\r\n\
                         connection: close\r\n\r\n";
    for (bytes, of_home, of_remote) in [
        (
            "SSH-2.0-OpenSSH\r\n",
            "does not speak HTTP: check host and port",
            "does not speak HTTP: check host and port",
        ),
        (
            "",
            "closed without an answer: check host and port",
            "closed without an answer: check host and port of the url",
        ),
        (
            PAGE,
            "is no exposition",
            "this is a web page: is the url that of a remote-write receiver",
        ),
        (
            MOVED,
            "give the final address as target",
            "give the final address as url",
        ),
    ] {
        let address = answering(bytes);
        let cli = CommandLine::with(&config(&address, &address));
        let output = cli.runs(&["check", "--online"]).await;
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{bytes:?}: {printed}");
        for (peer, hint) in [("FAIL home", of_home), ("FAIL remote", of_remote)] {
            let line = printed.lines().find(|line| line.starts_with(peer));
            assert!(
                line.is_some_and(|line| line.contains(hint)),
                "{bytes:?}: {printed} lacks {hint:?}"
            );
        }
    }
}

/// A page is no answer of a receiver, so nothing counts as delivered.
#[tokio::test]
async fn samples_are_not_given_to_a_web_page() {
    let home = crate::common::scripted(20).await;
    let page = answering(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\nconnection: \
         close\r\n\r\n<!DOCTYPE html>",
    );
    let cli = CommandLine::with(&config(&home.address(), &page));
    let output = cli.runs(&["run", "--once", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ledger"]["written"], 0, "{report}");
    assert_eq!(
        report["ledger"]["owed_after"], report["ledger"]["scraped"],
        "{report}"
    );
    assert!(
        text(&output.stdout).contains("this is a web page"),
        "{report}"
    );
}

/// Slots that cannot be served are due at once, but nothing is gained by trying all the time.
#[tokio::test]
async fn a_spool_that_cannot_be_used_keeps_nobody_busy() {
    let home = crate::common::scripted(20).await;
    let yaml = format!(
        "{}forwarder: {{spool: {{url: 'file:///proc/none'}}}}\n",
        config(&home.address(), "127.0.0.1:9")
    );
    let cli = CommandLine::with(&yaml);
    let output = cli.runs(&["run", "--for", "4s", "--json"]).await;
    let reports = text(&output.stdout).lines().count();
    assert!(
        (1..=4).contains(&reports),
        "{reports} ticks in four seconds"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_file_that_is_something_else_is_named_as_such() {
    let cli = CommandLine::with(EXAMPLE);
    let folder = cli.directory.path();
    std::fs::create_dir(folder.join("folder")).unwrap();
    std::fs::write(folder.join("bytes"), b"\x9e\xd8\xff").unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    let home = "scrape_configs: [{job_name: node, static_configs: [{targets: ['nas:9100']}]}]";
    std::fs::write(folder.join("home.yml"), home).unwrap();
    for (command, says) in [
        ("check --config folder", "Is a directory"),
        ("check --config bytes", "UTF-8"),
        ("check --config empty", "remote_write: found no receiver"),
        ("check --config none", "No such file"),
        ("import folder", "Is a directory"),
        ("import empty", "added: scrape_configs"),
        ("import home.yml", "no job asks for /federate"),
        (
            "import home.yml --output no/such.yml",
            "make its folder first",
        ),
        ("import home.yml --output folder", "name another file"),
        (
            "preview --input folder",
            "cannot read folder: it is a directory",
        ),
        ("preview --input bytes", "bytes: line 1, column 1"),
        ("preview --input none", "cannot read none: No such file"),
    ] {
        let output = cli.runs(&command.split(' ').collect::<Vec<_>>()).await;
        let told = text(&output.stderr);
        assert!(told.contains(says), "{command}: {told} lacks {says:?}");
        assert!(!told.contains("192.0.2.10"), "{command}: {told}");
    }
    assert!(!folder.join("no").exists());
}

/// As with `2>&1 | head -1`.
#[test]
fn a_reader_of_messages_that_goes_is_no_error() {
    let cli = CommandLine::with(EXAMPLE);
    std::fs::write(cli.directory.path().join("empty"), "").unwrap();
    let mut command = cli.command(&["import", "empty", "--output", "made.yml"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command
        .stderr(Stdio::from(writer))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
