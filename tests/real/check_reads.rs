//! `forwardctl check --online` asks a home for the last minute by remote read, and says what came
//! of it.

use amp_forwarder_support::home::PathProxy;
use amp_forwarder_support::process::{
    Job, NodeExporter, Prometheus, PrometheusOptions, V2_42, V3_5, VictoriaMetrics,
};
use amp_forwarder_support::wait_for;
use serde_json::Value;

use crate::cli::CommandLine;
use crate::common::{AMPLE, SPOOL, gateway};

/// A job that federates these series from an address, in a mode.
async fn checked(address: &str, selector: &str, mode: &str) -> Vec<(bool, bool, String)> {
    let remote = gateway().await.remote_write_url();
    let yaml = format!(
        "scrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{selector}']}}\n  static_configs: [{{targets: ['{address}']}}]\n\
         remote_write:\n- {{url: '{remote}'}}\nforwarder: {{remote_read: {{mode: {mode}}}, spool: {{url: 'file://{SPOOL}'}}}}\n"
    );
    let output = CommandLine::with(&yaml)
        .runs(&["check", "--online", "--json"])
        .await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            finding["subject"]
                .as_str()
                .unwrap()
                .ends_with(": remote read")
        })
        .map(|finding| {
            let is = |key: &str| finding[key].as_bool().unwrap();
            let message = finding["message"].as_str().unwrap().to_owned();
            (is("ok"), is("warning"), message)
        })
        .collect()
}

/// Whether a finding is good, a warning or bad, and how its text starts.
fn assert_finding(findings: &[(bool, bool, String)], at: usize, kind: &str, start: &str) {
    let (ok, warning, text) = findings.get(at).unwrap_or_else(|| panic!("{findings:?}"));
    let found = match (ok, warning) {
        (false, _) => "bad",
        (true, true) => "warning",
        (true, false) => "good",
    };
    assert!(found == kind && text.starts_with(start), "{findings:#?}");
}

/// A home that has scraped itself and an exporter for long enough.
async fn home(version: &str, options: PrometheusOptions) -> Prometheus {
    let home = Prometheus::start(options).await.unwrap();
    let querier = home.querier();
    wait_for("the home has settled samples", AMPLE * 2, || async {
        // What is younger than 15 s is not compared.
        let settled = "count_over_time(up[1m] offset 17s) > 1";
        querier
            .value(settled)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap_or_else(|error| panic!("{version}: {error}\n{}", home.log()));
    home
}

const ALL: &str = r#"{__name__=~".+"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_can_be_read_shows_its_last_minute_and_its_version() {
    let exporter = NodeExporter::start().await.unwrap();
    for version in [V2_42, V3_5] {
        let options =
            PrometheusOptions::home(version, vec![Job::new("node", &[exporter.address()])]);
        let home = home(version, options).await;
        for mode in ["gaps", "always"] {
            let findings = checked(&home.address(), ALL, mode).await;
            assert_finding(&findings, 0, "good", "it works: ");
            // Of each second, of an exporter and the home itself.
            let samples = number_before(&findings[0].2, " samples");
            let series = number_before(&findings[0].2, " series");
            assert!(series > 500 && samples > 15 * series, "{findings:?}");
            assert!(
                number_before(&findings[0].2, " bytes") > 10_000,
                "{findings:?}"
            );
            assert_finding(&findings, 1, "good", "its series are those of /federate");
            let number = version.trim_start_matches('v');
            assert_finding(
                &findings,
                2,
                "good",
                &format!("the home's version is {number}"),
            );
            // Native histograms are off.
            assert_eq!(findings.len(), 3, "{findings:#?}");
        }
    }
}

fn number_before(text: &str, unit: &str) -> u64 {
    let end = text.find(unit).unwrap_or_else(|| panic!("{text}"));
    let number = text[..end].rsplit(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_that_names_an_external_label_is_found() {
    let exporter = NodeExporter::start().await.unwrap();
    let home = home(
        V3_5,
        PrometheusOptions {
            external_labels: vec![("cluster".to_owned(), "home".to_owned())],
            ..PrometheusOptions::home(V3_5, vec![Job::new("node", &[exporter.address()])])
        },
    )
    .await;
    let selector = r#"{job="node", cluster="home"}"#;
    let findings = checked(&home.address(), selector, "gaps").await;
    let last = findings.len() - 1;
    assert_finding(
        &findings,
        last,
        "bad",
        "a match[] asks for cluster, an external label",
    );
    // The read shows what /federate does not.
    assert_finding(
        &findings,
        1,
        "warning",
        "its series are not those of /federate",
    );
    assert!(
        findings[1].2.contains("read only, such as"),
        "{findings:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_or_a_proxy_without_remote_read_says_what_that_means() {
    let victoria = VictoriaMetrics::start(&[]).await.unwrap();
    let home = Prometheus::home(V3_5, vec![]).await.unwrap();
    let proxy = PathProxy::start(&home.address(), &["/federate"])
        .await
        .unwrap();
    let victoria = victoria.url().trim_start_matches("http://").to_owned();
    // The subject says that it is about remote read.
    let start = "http://";
    for address in [&victoria, &proxy.address()] {
        let findings = checked(address, ALL, "gaps").await;
        assert_finding(&findings, 0, "warning", start);
        assert!(
            findings[0].2.contains("what they miss is gone"),
            "{findings:#?}"
        );
        let findings = checked(address, ALL, "always").await;
        assert_finding(&findings, 0, "bad", start);
        assert!(
            findings[0].2.contains("forwarder.remote_read"),
            "{findings:#?}"
        );
    }
    // Nothing else of it can be read, and that is no reason to warn.
    let findings = checked(&proxy.address(), ALL, "gaps").await;
    assert_finding(
        &findings,
        1,
        "good",
        "the pages /api/v1/status of the home cannot be read",
    );
    assert_eq!(findings.len(), 2, "{findings:#?}");

    // A proxy that passes reads as well is enough.
    let reads = PathProxy::start(&home.address(), &["/federate", "/api/v1/read"])
        .await
        .unwrap();
    wait_for("the home has scraped itself", AMPLE, || async {
        home.querier()
            .value("up")
            .await
            .is_ok_and(|up| up.is_some())
    })
    .await
    .unwrap();
    let findings = checked(&reads.address(), ALL, "always").await;
    assert_finding(&findings, 0, "good", "it works: ");
    assert_finding(
        &findings,
        2,
        "good",
        "the pages /api/v1/status of the home cannot be read",
    );
}
