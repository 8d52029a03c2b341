//! `forwarder.remote_read`.

use super::*;

/// A configuration whose only job federates, with a section for remote read.
fn federating(job_keys: &str, remote_read: &str) -> String {
    let job_keys = format!(
        "metrics_path: /federate\nhonor_labels: true\nparams: {{'match[]': [up]}}\n{job_keys}"
    );
    format!(
        "{}forwarder: {{remote_read: {remote_read}}}\n",
        job(&job_keys)
    )
}

#[test]
fn each_value_is_read() {
    let read = |text: &str| config(&federating("", text)).forwarder.remote_read;
    let default = RemoteReadConfig::default();
    for text in ["", "{}", "{mode: gaps}", "{overlap: auto}", "{settle: 15s}"] {
        assert_eq!(read(text), default, "{text}");
    }
    for (text, expected) in [
        (
            "{mode: always, resolution: 1m}",
            RemoteReadConfig {
                mode: RemoteReadMode::Always,
                resolution: Duration::from_secs(60),
                ..default.clone()
            },
        ),
        // In YAML 1.1 `off` is a boolean as well. Here it is the name of a mode.
        (
            "{mode: off}",
            RemoteReadConfig {
                mode: RemoteReadMode::Off,
                ..default.clone()
            },
        ),
        (
            "{overlap: 0s, settle: 5m}",
            RemoteReadConfig {
                overlap: Some(Duration::ZERO),
                settle: Duration::from_secs(300),
                ..default
            },
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn each_wrong_value_is_reported_with_its_line_and_a_fix() {
    for (keys, text, parts) in [
        (
            "",
            "{mode: on}",
            &[
                "line 8, forwarder.remote_read.mode: found \"on\", expected gaps, always or off",
                "remove the key for the default, gaps",
            ][..],
        ),
        (
            "",
            "{path: 'read?x'}",
            &["path: found \"read?x\", expected a path such as /api/v1/read"],
        ),
        (
            "",
            "{settle: 15}",
            &["settle: found \"15\", expected a duration", "write 15s"],
        ),
        (
            "",
            "{settle: 6m}",
            &["settle: found 6m, expected at most 5m", "the default, 15s"],
        ),
        (
            "",
            "{overlap: never}",
            &["overlap: found \"never\", expected auto or a duration of at most 5m"],
        ),
        (
            "",
            "{overlap: 5m1s}",
            &["overlap: found \"5m1s\", expected auto or a duration of at most 5m"],
        ),
        (
            "",
            "{mode: always, resolution: 2h}",
            &["resolution: found 2h, expected at most 1h", "all samples"],
        ),
        (
            "",
            "{max_samples: 0}",
            &["max_samples: found 0, expected a number from 1"],
        ),
        ("", "{max_sample: 1}", &["did you mean max_samples?"]),
        (
            "honor_timestamps: false",
            "{mode: always}",
            &[
                "remote_read.mode: found always, but the job \"a\" has honor_timestamps: false",
                "or write mode: gaps",
            ],
        ),
    ] {
        let text = federating(keys, text);
        let errors = load(&text).expect_err(&text).to_string();
        for part in parts {
            assert!(errors.contains(part), "{text}\n{errors}\nlacks {part}");
        }
    }
    // A job that does not federate is not read, so it may do without the timestamps.
    let both = format!(
        "{}forwarder: {{remote_read: {{mode: always}}}}\n",
        with(
            "scrape_configs: [{job_name: a, honor_timestamps: false, static_configs: [{targets: \
             [h]}]}, {job_name: b, metrics_path: /federate, static_configs: [{targets: [h]}]}]\n"
        )
    );
    assert!(load(&both).is_ok(), "{both}");
}

#[test]
fn what_has_no_effect_is_warned_of() {
    assert_eq!(
        warnings(&federating("", "{mode: always}")),
        Vec::<String>::new()
    );
    let found = warnings(&federating("", "{resolution: 1m}"));
    assert!(
        found.len() == 1 && found[0].contains("a resolution with mode gaps"),
        "{found:?}"
    );
    let found = warnings(&with("forwarder: {remote_read: {mode: always}}"));
    assert!(
        found.len() == 1 && found[0].contains("found always, but no job federates"),
        "{found:?}"
    );
}

#[test]
fn an_import_keeps_the_section_without_keys_that_it_does_not_have() {
    let text = federating("", "{mode: always, settle: 20s, chunked: true}");
    let imported = import(&text).unwrap();
    let keys: Vec<_> = imported.left_out.iter().map(|left| &*left.key).collect();
    assert_eq!(keys, ["forwarder.remote_read.chunked"]);
    let read = config(&imported.yaml).forwarder.remote_read;
    assert_eq!(
        (read.mode, read.settle),
        (RemoteReadMode::Always, Duration::from_secs(20))
    );
}
