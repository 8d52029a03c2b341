//! Relabelling for each remote, and the rules that are refused, compared with a real Prometheus
//! 3.5. (`corpus` has the rules for series and targets.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::options::GatewayOptions;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{tools, wait_for};

const EXPOSITION: &str =
    "m{x=\"1\",y=\"2\"} 1\nm{x=\"2\"} 2\nm{room=\"cellar\"} 3\nn{x=\"drop\"} 4\n";

const WRITE_RULES: [&str; 18] = [
    "",
    "{action: drop, source_labels: [__name__], regex: m}",
    "{action: keep, source_labels: [__name__], regex: m}",
    "{action: keep, source_labels: [room], regex: attic}",
    "{action: drop, source_labels: [__name__, room], regex: 'm;cellar'}",
    "{action: labeldrop, regex: room}",
    "{action: labeldrop, regex: 'job|instance'}",
    "{action: labelkeep, regex: '__name__|x|room'}",
    "{source_labels: [room], target_label: where, replacement: 'the-$1'}, {action: labeldrop, \
     regex: room}",
    "{target_label: room, replacement: elsewhere}",
    "{target_label: room, replacement: ''}",
    "{source_labels: [x], regex: '(.+)', target_label: __name__, replacement: 'm_$1'}",
    "{action: hashmod, source_labels: [__name__, x], modulus: 3, target_label: __tmp}, \
     {action: keep, source_labels: [__tmp], regex: '[01]'}, {action: labeldrop, regex: __tmp}",
    "{action: labelmap, regex: '(x|room)', replacement: 'copy_$1'}",
    "{action: labelmap, regex: 'x|room|job|zone', replacement: last}",
    "{action: uppercase, source_labels: [room], target_label: room}",
    "{action: keepequal, source_labels: [zone], target_label: zone}",
    "{action: drop, source_labels: [nothing]}",
];

type FirstValues = BTreeMap<BTreeMap<String, String>, String>;

/// The series that a gateway stored, with their first values.
fn first_values(gateway: &Gateway) -> FirstValues {
    let mut values = FirstValues::new();
    for sample in gateway.stored() {
        let blurred = sample.labels["__name__"] == "scrape_duration_seconds"
            || sample.labels["__name__"] == "scrape_series_added";
        let value = if blurred {
            String::new()
        } else {
            format!("{:?}", sample.value)
        };
        values.entry(sample.labels).or_insert(value);
    }
    values
}

async fn gateways() -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for _ in WRITE_RULES {
        gateways.push(
            Gateway::start(GatewayOptions {
                keys: BTreeMap::new(),
                ..GatewayOptions::default()
            })
            .await
            .unwrap(),
        );
    }
    gateways
}

fn remote_write(gateways: &[Gateway]) -> String {
    let mut yaml = String::from("remote_write:\n");
    for (nth, (rules, gateway)) in WRITE_RULES.iter().zip(gateways).enumerate() {
        let _ = writeln!(
            yaml,
            "- name: r{nth}\n  url: {}\n  queue_config: {{batch_send_deadline: 100ms}}\n  \
             write_relabel_configs: [{rules}]",
            gateway.remote_write_url()
        );
    }
    yaml
}

#[tokio::test(flavor = "multi_thread")]
async fn each_remote_gets_what_prometheus_writes() {
    let home = ScriptedHome::start(Page::text(EXPOSITION)).await.unwrap();
    let (theirs, ours) = (gateways().await, gateways().await);
    let mut options = PrometheusOptions::home(V3_5, vec![Job::new("j", &[&home.address()])]);
    options.scrape_itself = false;
    options.external_labels = vec![
        ("room".to_owned(), "attic".to_owned()),
        ("zone".to_owned(), "z".to_owned()),
    ];
    options.extra = remote_write(&theirs);
    let prometheus = Prometheus::start(options).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("forwarder.yml");
    let yaml = format!(
        "global: {{external_labels: {{room: attic, zone: z}}}}\nscrape_configs:\n\
         - job_name: j\n  static_configs: [{{targets: ['{}']}}]\n\
         {}forwarder: {{spool: {{url: 'file://{}'}}}}\n",
        home.address(),
        remote_write(&ours),
        directory.path().join("spool").display(),
    );
    std::fs::write(&config, yaml).unwrap();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_forwardctl"))
            .args(["run", "--once", "--config"])
            .arg(config)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    for ((rules, theirs), ours) in WRITE_RULES.iter().zip(&theirs).zip(&ours) {
        let ours = first_values(ours);
        let same = || async { first_values(theirs).len() >= ours.len() };
        let _ = wait_for("as many series", Duration::from_secs(20), same).await;
        let theirs = first_values(theirs);
        assert_eq!(ours, theirs, "{rules}\n{}", prometheus.log());
        assert!(!ours.is_empty() || rules.contains("nothing"), "{rules}");
    }
}

/// Rules; a real Prometheus decides which of them are valid.
const RULES: &[&str] = &[
    "{}",
    "~",
    "{action: replace}",
    "{action: REPLACE, target_label: a}",
    "{action: foo}",
    "{action: ''}",
    "{action: }",
    "{action: 5}",
    "{action: hashmod, target_label: a}",
    "{action: hashmod, modulus: 8}",
    "{action: hashmod, target_label: a, modulus: 8}",
    "{action: hashmod, target_label: a, modulus: '8'}",
    "{action: hashmod, target_label: a, modulus: -1}",
    "{action: hashmod, target_label: a, modulus: true}",
    "{action: hashmod, target_label: a, modulus: 18446744073709551615}",
    "{action: lowercase}",
    "{action: uppercase, target_label: a, replacement: b}",
    "{action: uppercase, target_label: a, replacement: $1}",
    "{action: uppercase, target_label: a, regex: x}",
    "{action: keepequal, target_label: a}",
    "{action: keepequal, target_label: a, regex: (.*)}",
    "{action: keepequal, target_label: a, regex: }",
    "{action: keepequal, target_label: a, separator: ;}",
    "{action: keepequal, target_label: a, separator: ','}",
    "{action: dropequal, target_label: a, modulus: 1}",
    "{action: dropequal, target_label: a, replacement: b}",
    "{action: dropequal}",
    "{action: labeldrop, regex: a}",
    "{action: labeldrop}",
    "{action: labeldrop, regex: a, source_labels: []}",
    "{action: labeldrop, regex: a, source_labels: }",
    "{action: labeldrop, regex: a, source_labels: [b]}",
    "{action: labelkeep, regex: a, target_label: b}",
    "{action: labelkeep, regex: a, target_label: }",
    "{action: labelkeep, regex: a, separator: x}",
    "{action: labelkeep, regex: a, replacement: x}",
    "{action: labelkeep, regex: a, modulus: 1}",
    "{action: labelmap, regex: a, replacement: ''}",
    "{action: labelmap, regex: a, replacement: }",
    "{action: labelmap}",
    "{action: keep}",
    "{target_label: 'a b'}",
    "{target_label: '${'}",
    "{target_label: a, source_labels: ['']}",
    "{target_label: a, source_labels: b}",
    "{target_label: a, source_labels: [[b]]}",
    "{target_label: a, replacement: }",
    "{target_label: a, regex: [a]}",
    "{target_label: a, bogus: 1}",
    "{target_label: a, target_label: b}",
    "a",
    "[]",
];

const PATTERNS: &[&str] = &[
    "a**",
    "a*?",
    "a*??",
    "a+*",
    "a{2}{3}",
    "a{2}?",
    "a{1001}",
    "a{1000}",
    "(a{500}){3}",
    "(a{10}){100}",
    "((a{0}){500}){3}",
    "(a{2,}){501}",
    "a{,5}",
    "a{",
    "a{5,2}",
    "{5}",
    "*",
    "(*)",
    "|*",
    "(?x)a",
    "(?-)",
    "(?i",
    "(?:",
    "(?P<é>a)",
    "(?P<n>a)(?P<n>b)",
    "(?P=n)",
    "(?P<>a)",
    "(?'n'a)",
    "(?=a)",
    r"\C",
    r"\Z",
    r"\h",
    r"\8",
    r"\1",
    r"\0",
    r"\400",
    r"\x",
    r"\x4",
    r"\x{110000}",
    r"\x{D800}",
    r"\x{}",
    r"\u0041",
    r"\p{greek}",
    r"\p{Letter}",
    r"\p{Foo}",
    r"\p{Grek}",
    r"\p{Thai}",
    r"\p{Mark}",
    r"\p{Alphabetic}",
    r"\p{Script=Greek}",
    r"\p{isGreek}",
    r"\p{}",
    r"\p",
    r"\p{",
    r"\p{Lu",
    r"\Qa.b",
    r"\Q\E*",
    r"a\Q\E*",
    r"[a-\d]",
    "[z-a]",
    "[]",
    "[a",
    "[a--]",
    "[[:foo:]]",
    "[[:^alpha:]]",
    r"[\Qa\E]",
    r"[\b]",
    r"\e",
    r"\cA",
    r"\_",
    r"\é",
    r"\",
    r"a\",
    "(",
    ")",
    "a)|(b",
    "(a))",
    r"\<",
    r"\z*",
    "(?i)*",
    "a|*",
    "(?ii)",
    "(?i--s)",
    "x{2,1}",
    "x{00001}",
    "x{-1}",
    r"[^\x00-\x{10FFFF}]",
];

#[test]
fn what_prometheus_refuses_is_refused() {
    let promtool = tools::program(&format!("prometheus-{V3_5}/promtool")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yml");
    let patterns = PATTERNS.iter().map(|pattern| {
        format!(
            "{{action: keep, regex: {}}}",
            serde_json::Value::from(*pattern)
        )
    });
    let mut verdicts = BTreeSet::new();
    for rule in RULES.iter().map(|rule| (*rule).to_owned()).chain(patterns) {
        let yaml = format!(
            "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['h:1']}}]\n  \
             metric_relabel_configs:\n  - {rule}\n\
             remote_write: [{{url: http://127.0.0.1:9/}}]\n"
        );
        std::fs::write(&path, yaml).unwrap();
        let theirs = Command::new(&promtool)
            .args(["check", "config"])
            .arg(&path)
            .output()
            .unwrap();
        let ours = Command::new(env!("CARGO_BIN_EXE_forwardctl"))
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = (
            String::from_utf8_lossy(&theirs.stderr),
            String::from_utf8_lossy(&ours.stderr),
        );
        assert_eq!(
            ours.status.success(),
            theirs.status.success(),
            "{rule}\n{}\n{}",
            said.0,
            said.1
        );
        // The messages of Prometheus itself, other than those of its YAML library, are repeated
        // word for word.
        if let Some((_, message)) = said
            .0
            .trim_end()
            .split_once("config.yml: ")
            .filter(|(_, message)| !message.starts_with("yaml:"))
        {
            assert!(
                said.1.contains(message) || String::from_utf8_lossy(&ours.stdout).contains(message),
                "{rule}\n{message}\n{}",
                said.1
            );
        }
        verdicts.insert(ours.status.code());
    }
    assert_eq!(verdicts, BTreeSet::from([Some(0), Some(2)]));
}
