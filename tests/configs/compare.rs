//! Compares two effective configurations.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Values by path. Lists have their indices.
type Flat = BTreeMap<String, String>;

/// Keys that are about Prometheus alone, and those that Prometheus 3.5 does not have yet.
const BESIDE: [&str; 9] = [
    "evaluation_interval",
    "protobuf_message",
    "enable_http2",
    "scrape_native_histograms",
    "extra_scrape_metrics",
    "keep_dropped_targets",
    "convert_classic_histograms_to_nhcb",
    "service_name",
    "round_robin_dns",
];

/// What differs: `value: path: ours, theirs`. Indices are left out of the path.
pub(crate) fn differences(ours: &str, theirs: &str) -> Vec<String> {
    let (ours, theirs) = (normalized(ours), normalized(theirs));
    let mut found = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
    {
        let value = |side: &Flat| side.get(path).cloned().unwrap_or_default();
        let (ours, theirs) = (value(&ours), value(&theirs));
        if ours != theirs {
            let path: String = path.split(['[', ']']).step_by(2).collect();
            found.push(format!("value: {path}: {ours:?}, Prometheus {theirs:?}"));
        }
    }
    found
}

/// The configuration without what is beside the point.
fn normalized(text: &str) -> Flat {
    let mut normal = Flat::new();
    for (path, value) in flat(text) {
        let key = path.rsplit('.').next().unwrap_or_default();
        let is_root = ["scrape_configs", "remote_write", "global.external_labels"]
            .iter()
            .any(|section| path.starts_with(section));
        let is_time = matches!(
            path.as_str(),
            "global.scrape_interval" | "global.scrape_timeout"
        );
        if !(is_root || is_time) || BESIDE.contains(&key) {
            continue;
        }
        // The values of headers are written in one list here.
        if let Some(at) = path
            .find("http_headers.")
            .or(path.find("proxy_connect_header."))
        {
            let rest = &path[at..];
            let name = rest.split('.').nth(1).unwrap_or_default();
            let name = name.split('[').next().unwrap_or_default();
            normal.insert(format!("{}{name}", &path[..at]), "set".to_owned());
            continue;
        }
        let value = match key {
            "url" | "proxy_url" | "token_url" => url(&value),
            "body_size_limit" => size(&value),
            _ if path.contains("endpoint_params.") => "<secret>".to_owned(),
            _ => value,
        };
        // Prometheus does not write the default pattern.
        let value = if key == "regex" && value == "(.*)" {
            String::new()
        } else {
            value
        };
        // Zero values are as good as none.
        if !matches!(value.as_str(), "" | "false" | "0" | "0s" | "null") || path.contains("labels.")
        {
            normal.insert(path, value);
        }
    }
    normal
}

fn url(text: &str) -> String {
    let mut parsed = url::Url::parse(text);
    // Each hides the password in its own way.
    if let Ok(url) = &mut parsed {
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    parsed.map_or(text.to_owned(), |url| {
        url.as_str().trim_end_matches('/').to_owned()
    })
}

/// The bytes of a size such as `1GiB512MiB`.
fn size(text: &str) -> String {
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        let shift = match &rest[digits..unit] {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => 0,
        };
        let Ok(number) = rest[..digits].parse::<u64>() else {
            return text.to_owned();
        };
        total += number << shift;
        rest = &rest[unit..];
    }
    total.to_string()
}

/// The values of a YAML text.
fn flat(text: &str) -> Flat {
    let mut flat = Flat::new();
    // Each open list with its next index, each open mapping with its key.
    let mut open: Vec<Frame> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.unwrap_or_else(|error| panic!("{text}\n{error}"));
        match event {
            Event::Scalar(value, style, ..) => {
                if let Some(Frame::Map(key @ None)) = open.last_mut() {
                    *key = Some(value.into_owned());
                    continue;
                }
                let plain = style == ScalarStyle::Plain;
                let value = if plain && value == "null" {
                    ""
                } else {
                    value.as_ref()
                };
                flat.insert(path(&open), value.to_owned());
                next(&mut open);
            }
            Event::SequenceStart(..) => open.push(Frame::List(0)),
            Event::MappingStart(..) => open.push(Frame::Map(None)),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                next(&mut open);
            }
            _ => {}
        }
    }
    flat
}

enum Frame {
    List(usize),
    Map(Option<String>),
}

fn next(open: &mut [Frame]) {
    match open.last_mut() {
        Some(Frame::List(index)) => *index += 1,
        Some(Frame::Map(key)) => *key = None,
        None => {}
    }
}

fn path(open: &[Frame]) -> String {
    let mut path = String::new();
    for frame in open {
        match frame {
            Frame::List(index) => path.push_str(&format!("[{index}]")),
            Frame::Map(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key.as_deref().unwrap_or_default());
            }
        }
    }
    path
}
