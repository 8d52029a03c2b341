//! One very large home, split into sites by `match[]`, as docs/scale.md shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{Labels, now_ms, wait_for};
use serde_json::{Value, json};

use super::Sites;
use crate::common::{AMPLE, assert_in_order};

/// The parts: each selects names that no other one does, and the last one all that remain.
const PARTS: [(&str, &str); 4] = [
    ("home-1", r#"{__name__=~"[a-f].*"}"#),
    ("home-2", r#"{__name__=~"[g-m].*"}"#),
    ("home-3", r#"{__name__=~"[n-s].*"}"#),
    ("home-4", r#"{__name__=~".+",__name__!~"[a-s].*"}"#),
];

/// Series whose names begin with each letter that a name may begin with.
fn exposition() -> String {
    let first = ('a'..='z').chain('A'..='Z').chain(['_', ':']);
    first
        .flat_map(|first| (0..4).map(move |index| format!("{first}_thing{{i=\"{index}\"}} 1\n")))
        .collect()
}

/// The series of a home, as label sets.
async fn series(home: &Prometheus) -> BTreeSet<Labels> {
    let now_ms = now_ms();
    let samples = home
        .querier()
        .raw(r#"{__name__=~".+"}"#, now_ms - 60_000, now_ms)
        .await
        .unwrap();
    samples.into_keys().collect()
}

pub(super) async fn four_parts_of_a_home_are_the_whole() {
    let things = ScriptedHome::start(Page::text(exposition())).await.unwrap();
    let home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        ..PrometheusOptions::home(
            V3_5,
            vec![Job::new("things", &[&things.address()]).every("1s")],
        )
    })
    .await
    .unwrap();
    let series_at_home = 54 * 4 + 5;
    wait_for("the home has scraped", Duration::from_secs(20), || async {
        series(&home).await.len() >= series_at_home
    })
    .await
    .unwrap();

    let sites = Sites::new().await;
    let _function = sites.function(&[]);
    for (site, selector) in PARTS {
        let yaml = sites
            .yaml(&home.address())
            .replace("{site: '${SITE}'}", "{home: large}")
            .replace("job_name: federate", "job_name: 'federate-${SITE}'")
            .replace(r#"{__name__=~".+"}"#, selector);
        sites.write(site, &yaml);
        let event = json!({"site": site, "action": "forward"});
        let report: Value = sites.invoke(event, AMPLE).await.answer().unwrap();
        assert_eq!(report["outcome"], "ok", "{report}");
    }

    // The forwarder's own series have the name of their part.
    let is_own = |labels: &Labels| labels["job"].starts_with("federate-");
    let mut times: BTreeMap<Labels, usize> = BTreeMap::new();
    for mut sample in sites.gateway.stored() {
        assert_eq!(sample.labels.remove("home").as_deref(), Some("large"));
        *times.entry(sample.labels).or_default() += 1;
    }
    let own = times.keys().filter(|labels| is_own(labels)).count();
    assert_eq!(own, 4 * 5, "{times:?}");
    times.retain(|labels, _| !is_own(labels));
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "in two parts: {twice:?}");
    let union: BTreeSet<Labels> = times.into_keys().collect();
    assert_eq!(union, series(&home).await);
    assert_in_order(&sites.gateway.stats());
}
