//! What `<<` makes of a section that is there already.
//!
//! go-yaml decodes into Go's types, and the type of a section decides. A struct is filled field by
//! field, so `queue_config` of the base and of the entry add up. A map takes each name once. Types
//! that start afresh when they are decoded keep nothing of the base. // yaml.v2 decode.go
//! mappingStruct, setMapIndex, merge

use super::node::{MapEntry, Node, NodeValue};
use crate::config::problem::{Problem, shown};

/// The Go type behind a mapping, as far as it matters for merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapKind {
    /// A struct, whose fields are known.
    Section,
    /// A map of free names. A name may come only once, be it merged or not.
    Free,
    /// A map of free names that is emptied whenever it is decoded, by a merge as well.
    Reset,
}

impl MapKind {
    /// The kind of the mapping that is the value of a key.
    pub(super) fn of(key: &str) -> Self {
        match key {
            "params"
            | "headers"
            | "labels"
            | "external_labels"
            | "endpoint_params"
            | "proxy_connect_header" => Self::Free,
            "http_headers" => Self::Reset,
            _ => Self::Section,
        }
    }

    pub(super) fn is_free(self) -> bool {
        self != Self::Section
    }
}

/// Sections whose own decoding starts afresh, so that a later one replaces an earlier one. //
/// config/config.go GlobalConfig.UnmarshalYAML, sigv4 SigV4Config.UnmarshalYAML, labels
/// Labels.UnmarshalYAML, common config/headers.go Headers
const AFRESH: [&str; 4] = ["global", "sigv4", "external_labels", "http_headers"];

/// The value of a key that comes twice: `above` is decoded after `below`.
pub(super) fn overlay(key: &str, below: Node, above: Node) -> Result<Node, Problem> {
    let position = above.position;
    let (mut entries, added) = match (below.value, above.value) {
        (NodeValue::Map(below), NodeValue::Map(above)) if !AFRESH.contains(&key) => (below, above),
        (_, value) => return Ok(Node { position, value }),
    };
    let kind = MapKind::of(key);
    for entry in added {
        let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) else {
            entries.push(entry);
            continue;
        };
        if kind.is_free() {
            let message = format!(
                "found the key {} again, expected it once; << brings it, too, from line {}",
                shown(&entry.key),
                known.position.line
            );
            return Err(Problem {
                path: format!("{key}.{}", entry.key),
                ..Problem::at(
                    entry.position,
                    message,
                    "Prometheus refuses a name that comes twice: remove one of the two",
                )
            });
        }
        let below = std::mem::replace(&mut known.value, entry.value.clone());
        *known = MapEntry {
            value: overlay(&entry.key, below, entry.value)?,
            key: entry.key,
            position: entry.position,
        };
    }
    Ok(Node {
        position,
        value: NodeValue::Map(entries),
    })
}
