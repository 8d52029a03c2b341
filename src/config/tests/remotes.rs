//! What a remote is known by and shown as, and which names it takes.

use super::*;

#[test]
fn remotes_with_one_url_are_told_apart_by_their_rules() {
    let entry = |rule: &str| format!("{{url: 'http://a/b', write_relabel_configs: [{rule}]}}");
    let (plain, one, two) = (
        "{url: 'http://a/b'}".to_owned(),
        entry("{action: drop, source_labels: [a], regex: b}"),
        entry("{action: keep, source_labels: [a], regex: b}"),
    );
    let ids = |entries: &[&String]| -> Vec<String> {
        let entries: Vec<_> = entries.iter().map(|entry| entry.as_str()).collect();
        let config = config(&with(&format!("remote_write: [{}]", entries.join(", "))));
        config.remote_write.iter().map(RemoteWrite::id).collect()
    };
    // A folder of the spool has this name: it is the same in every version.
    let plain_id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(b"http://a/b"));
    assert_eq!(ids(&[&plain]), [plain_id.as_str()]);
    let (one_id, two_id) = (ids(&[&one]).remove(0), ids(&[&two]).remove(0));
    assert!(one_id != two_id && one_id != plain_id);
    // Other entries change nothing, wherever they stand.
    assert_eq!(
        ids(&[&two, &plain, &one]),
        [two_id.as_str(), plain_id.as_str(), one_id.as_str()]
    );
    assert_eq!(ids(&[&one, &two]), [one_id, two_id]);
}

#[test]
fn people_see_host_and_workspace_of_a_remote_without_a_name() {
    let entries = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]
remote_write:
  - {url: 'https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write'}
  - {url: 'http://receiver:8080/api/v1/push'}
  - {url: 'https://other/api/v1/push', write_relabel_configs: [{regex: a, action: labeldrop}]}
  - {url: 'https://other/api/v1/push'}
  - {url: 'https://named/api/v1/push', name: mine}
";
    let remotes = config(entries).remote_write;
    let labels: Vec<_> = remotes.iter().map(|remote| remote.label.as_str()).collect();
    assert_eq!(labels[0], "aps-workspaces.eu-central-1.amazonaws.com/ws-1");
    assert_eq!(labels[1], "receiver:8080");
    assert_eq!(labels[4], "mine");
    // The hash tells these two apart.
    for at in [2, 3] {
        assert_eq!(labels[at], format!("other {}", remotes[at].unnamed_id));
    }
    assert_eq!(
        remotes[1].id(),
        remotes[1].unnamed_id,
        "the spool has it so"
    );
}

#[test]
fn a_signed_url_is_cleaned_and_names_the_region() {
    for (path, cleaned) in [
        (
            "workspaces/ws-1//api/v1/remote_write",
            "/workspaces/ws-1/api/v1/remote_write",
        ),
        (
            "workspaces/ws-1/api/v1/remote_write/",
            "/workspaces/ws-1/api/v1/remote_write",
        ),
    ] {
        let text = amp("sigv4: {}").replace("workspaces/ws-1/api/v1/remote_write", path);
        let remote = config(&text).remote_write.remove(0);
        assert_eq!(remote.url.path(), cleaned);
        assert_eq!(remote.sigv4.unwrap().region.as_deref(), Some("eu-west-1"));
    }
    let other = config(&remote("sigv4: {}")).remote_write.remove(0);
    assert_eq!(other.sigv4.unwrap().region, None);
    let plain = remote("").replace("/api/v1/write", "/a//b/");
    assert_eq!(config(&plain).remote_write[0].url.path(), "/a//b/");
}

#[test]
fn what_is_understood_is_written_with_every_default_and_no_secret() {
    let text = format!(
        "{}scrape_configs:\n- &base\n  job_name: a\n  metrics_path: federate\n  basic_auth: \
         {{username: u, password: hunter2}}\n  params: {{'match[]': [up]}}\n  static_configs: \
         [{{targets: ['h:1']}}]\n- <<: *base\n  job_name: b\n  params: {{x: ['1']}}\n  basic_auth: \
         {{username: v}}\n",
        amp("sigv4: {access_key: a, secret_key: hunter2}")
            .lines()
            .filter(|line| !line.starts_with("scrape_configs"))
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
    let effective = config(&text).effective();
    assert!(!effective.contains("hunter2"), "{effective}");
    for part in [
        "region: 'eu-west-1'",
        "secret_key: '<secret>'",
        "scrape_timeout: 10s",
        "sample_age_limit: 55m",
        "      'match[]':\n        - 'up'\n      x:\n        - '1'",
        "username: 'v'\n      password: '<secret>'",
    ] {
        assert!(effective.contains(part), "{part}\n{effective}");
    }
}

/// By what `global`, the job and the remotes say: what a job takes, and what it asks for.
#[test]
fn names_are_legacy_where_a_signed_remote_takes_no_others() {
    use NameEscaping::{AllowUtf8, Dots, Underscores};
    use NameValidation::{Legacy, Utf8};
    for (global, own, signed, naming) in [
        ("", "", false, Ok((Utf8, AllowUtf8))),
        ("", "", true, Ok((Legacy, Underscores))),
        ("", "validation: utf8", true, Ok((Utf8, AllowUtf8))),
        ("", "escaping: allow-utf-8", true, Ok((Utf8, AllowUtf8))),
        ("", "escaping: dots", true, Ok((Legacy, Dots))),
        ("", "escaping: ''", true, Ok((Legacy, Underscores))),
        ("validation: utf8", "", true, Ok((Utf8, AllowUtf8))),
        ("escaping: allow-utf-8", "", true, Ok((Utf8, AllowUtf8))),
        ("escaping: dots", "", true, Ok((Legacy, Dots))),
        (
            "escaping: dots",
            "validation: utf8",
            true,
            Ok((Utf8, AllowUtf8)),
        ),
        ("validation: legacy", "", false, Ok((Legacy, Underscores))),
        (
            "validation: legacy",
            "validation: utf8",
            false,
            Ok((Utf8, AllowUtf8)),
        ),
        (
            "validation: legacy",
            "escaping: allow-utf-8",
            false,
            Err("is not set to UTF8"),
        ),
        (
            "",
            "{validation: legacy, escaping: allow-utf-8}",
            false,
            Err("is not set to UTF8"),
        ),
        (
            "",
            "validation: ascii",
            false,
            Err("found \"ascii\", expected legacy or utf8"),
        ),
        (
            "escaping: slashes",
            "",
            false,
            Err("expected allow-utf-8 or underscores or dots or values"),
        ),
    ] {
        let keys = |text: &str| {
            text.trim_matches(['{', '}'])
                .replace("validation", "metric_name_validation_scheme")
                .replace("escaping", "metric_name_escaping_scheme")
        };
        let text = format!(
            "global: {{{}}}\nscrape_configs: [{{job_name: a, {}}}]\nremote_write: [{{url: \
             'http://plain/'}}, {{url: 'http://amp/'{}}}]\n",
            keys(global),
            keys(own),
            if signed {
                ", sigv4: {region: eu-west-1}"
            } else {
                ""
            }
        );
        let found = load(&text)
            .map(|loaded| loaded.config.scrape_configs[0].naming)
            .map_err(|errors| errors.to_string());
        match (found, naming) {
            (Ok(found), Ok((validation, escaping))) => assert_eq!(
                found,
                Naming {
                    validation,
                    escaping
                },
                "{text}"
            ),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}{found}"),
            (found, _) => panic!("{text}{found:?}"),
        }
    }
}
