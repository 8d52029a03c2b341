//! What others have written, on our screen.

use amp_forwarder::spool::segment::{self, Note};
use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::now_ms;

use super::{Place, batch, forwardctl, name, request, series};

/// Clears the screen, forges a line, sets a window's title, ends with C1, turns text round, and
/// hides some.
const HOSTILE: &str = "x\u{1b}[2J\nok   forged\r\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}y";

/// Asserts that a text can be shown on a terminal.
#[track_caller]
fn is_harmless(what: &str, text: &[u8]) {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    if let Some(c) = text.chars().find(|c| harmful(*c)) {
        panic!("{what} prints {c:?}:\n{text:?}");
    }
    assert!(
        !text.lines().any(|line| line.starts_with("ok   forged")),
        "{what} prints a forged line:\n{text}"
    );
}

/// A place whose home and remote are hostile, and whose spool is.
async fn hostile_place() -> Place {
    let escaped = HOSTILE.replace('\n', "\\n");
    let place = Place::new(format!(
        "# TYPE m untyped\nm{{a=\"{escaped}\"}} 1\n# HELP m {escaped}\n"
    ))
    .await;
    place
        .gateway
        .faults()
        .add(Fault::always(Fault::status(400, HOSTILE)));
    let whole = request(vec![series(&[("__name__", HOSTILE), (HOSTILE, HOSTILE)])]);
    let good = segment::write(&[batch(&whole, 1)], None);
    let note = Note {
        status: 400,
        message: HOSTILE.to_owned(),
    };
    let refused = segment::write(&[batch(&whole, 1)], Some(&note));
    place.plant(&segment_key("segments"), &good);
    place.plant(&segment_key("rejected"), &refused);
    for folder in ["segments", "rejected", "expired"] {
        place.plant(&format!("{folder}/{HOSTILE}/{}", name(1)), &good);
        place.plant(&format!("{folder}/amp/{HOSTILE}"), HOSTILE.as_bytes());
    }
    let state = serde_json::json!({
        "version": 1,
        "epoch": 1,
        "lease": {"nonce": HOSTILE, "epoch": 1, "until_ms": now_ms() + 3_000},
        "jobs": {HOSTILE: {"last_slot_ms": 1, "watermarks": {"amp": 1}}},
        "remotes": {},
    });
    place.plant("state.json", state.to_string().as_bytes());
    let prometheus = format!(
        "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['h:1']}}]\n\
         remote_write: [{{url: 'http://r/w'}}]\n\"{}\": 1\n",
        "rule_files\\e[2J\\n"
    );
    std::fs::write(place.folder.path().join("prometheus.yml"), prometheus).unwrap();
    place
}

fn segment_key(folder: &str) -> String {
    format!("{folder}/amp/{}", name(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_prints_what_could_change_a_terminal() {
    let place = hostile_place().await;
    let (waiting, refused) = (segment_key("segments"), segment_key("rejected"));
    // Data on standard output is what it is; its reader is a program.
    let commands: &[(&[&str], bool)] = &[
        (&["check"], false),
        (&["check", "--online"], false),
        (&["preview"], true),
        (&["status"], false),
        (&["estimate", "--watch", "0s"], false),
        (&["verify", "--settled", "0s"], false),
        (&["import", "prometheus.yml"], true),
        (&["explain", "m", "--online"], false),
        (&["explain", "up{a=\"\u{1b}[2J\"}"], false),
        (&["init", "--output", "n.yml", "--home", HOSTILE], false),
        (&["schema"], false),
        (&["completions", "bash"], false),
        (&["man"], false),
        (&["spool", "ls"], false),
        (&["spool", "ls", "--long"], false),
        (&["spool", "ls", "--remote", HOSTILE], false),
        (&["spool", "show", &waiting], false),
        (&["spool", "show", &refused], false),
        (&["spool", "show", HOSTILE], false),
        (&["spool", "verify"], false),
        (&["spool", "export"], true),
        (&["spool", "adopt", HOSTILE], false),
        (&["spool", "adopt", "amp", "--to", HOSTILE], false),
        (&["spool", "adopt", "amp", "--from", HOSTILE], false),
        (&["run", "--once"], false),
        (&["spool", "drain"], false),
        (&["spool", "ls", "--long"], false),
    ];
    for (arguments, prints_data) in commands {
        print_nothing_harmful(&place, arguments, *prints_data).await;
    }
    // Whatever a home says about a refusal.
    place.home.serve(Page::status(500, HOSTILE));
    let online = ["check", "preview", "explain", "estimate", "verify", "run"];
    for (arguments, _) in commands.iter().filter(|(all, _)| online.contains(&all[0])) {
        print_nothing_harmful(&place, arguments, false).await;
    }
    every_subcommand_is_among(&place, commands).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_prints_nothing_that_could_change_a_terminal() {
    let place = hostile_place().await;
    let remote = ScriptedHome::start(Page::text(
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    ))
    .await
    .unwrap();
    let query_url = format!("http://{}/api/v1/query", remote.address());
    let verify = ["verify", "--settled", "0s", "--query-url", &query_url];
    place.home.serve(read_answer());
    let shown = print_nothing_harmful(&place, &verify, false).await;
    assert!(
        shown.contains('\u{fffd}') && shown.contains("nothing"),
        "the hostile series is among the examples:\n{shown}"
    );
    remote.serve(Page::status(500, HOSTILE));
    let shown = print_nothing_harmful(&place, &verify, false).await;
    assert!(shown.contains('\u{fffd}'), "{shown}");
}

/// Runs a command with and without `--json`, and returns what it printed without.
async fn print_nothing_harmful(place: &Place, arguments: &[&str], prints_data: bool) -> String {
    let mut shown = String::new();
    for json in [true, false] {
        let mut all = arguments.to_vec();
        all.extend(json.then_some("--json"));
        let output = place.command(&forwardctl(), &all).output().await.unwrap();
        let what = format!("{all:?}");
        is_harmless(&what, &output.stderr);
        if json || !prints_data {
            is_harmless(&what, &output.stdout);
        }
        shown = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    shown
}

/// Asserts that no subcommand was forgotten.
async fn every_subcommand_is_among(place: &Place, commands: &[(&[&str], bool)]) {
    for above in [&[][..], &["spool"]] {
        let arguments = [above, &["--help"]].concat();
        let help = place.command(&forwardctl(), &arguments).output().await;
        let help = String::from_utf8(help.unwrap().stdout).unwrap();
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let names: Vec<_> = listed
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        assert!(names.len() > 3, "{help}");
        for name in names {
            let whole = [above, &[name]].concat();
            assert!(
                commands.iter().any(|(known, _)| known.starts_with(&whole)),
                "no text was shown to {whole:?}"
            );
        }
    }
}

/// An answer of remote read with a hostile series. The answer has the shape of a request that is
/// written: the series are field 1 of a result, and the result is field 1.
fn read_answer() -> Page {
    let labels = [("__name__", "m"), ("a", HOSTILE)];
    let mut series = series(&labels);
    // Old enough for a slot after it to be compared.
    series.samples[0].timestamp -= 150_000;
    let result = request(vec![series]);
    let mut raw = vec![0x0a];
    prost::encoding::encode_varint(result.len() as u64, &mut raw);
    raw.extend(result);
    let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
    Page {
        gzip: false,
        ..Page::text(body).content_type(Some("application/x-protobuf"))
    }
}
