//! Files that have a prometheus.yml in them: a ConfigMap of Kubernetes, the values of a Helm chart,
//! and the resource `Prometheus` of the operator.

use super::keys::{ROOT, snake_case};
use super::problem::{Position, Problem};
use super::yaml::{Document, MapEntry, Node, NodeValue, parse};

/// A prometheus.yml that was found in a file.
pub(super) struct Unwrapped {
    pub(super) document: Document,
    /// What the file is, if it is no prometheus.yml itself.
    pub(super) wrapping: Option<&'static str>,
    /// References to Secrets of Kubernetes, which are left out.
    pub(super) references: Vec<SecretReference>,
}

/// A reference to a Secret of Kubernetes.
pub(super) struct SecretReference {
    pub(super) position: Position,
    pub(super) path: String,
}

/// Where a `prometheusSpec` is kept: in the values of kube-prometheus-stack, in those of a chart
/// above it, and in the operator's own resource.
const SPECS: [&[&str]; 4] = [
    &["prometheus", "prometheusSpec"],
    &["kube-prometheus-stack", "prometheus", "prometheusSpec"],
    &["prometheusSpec"],
    &["spec"],
];

/// Finds the prometheus.yml of a file.
///
/// # Errors
/// Fails when nothing of a prometheus.yml is in the file.
pub(super) fn unwrap(document: Document) -> Result<Unwrapped, Problem> {
    let plain = |document| Unwrapped {
        document,
        wrapping: None,
        references: Vec::new(),
    };
    let NodeValue::Map(entries) = &document.root.value else {
        return Ok(plain(document));
    };
    let is_known = |key: &str| ROOT.takes(key) || ROOT.unsupported(key).is_some();
    if entries.is_empty() || entries.iter().any(|entry| is_known(&entry.key)) {
        return Ok(plain(document));
    }
    if let Some(text) = config_map(&document.root) {
        return in_config_map(text);
    }
    let spec = SPECS.iter().find_map(|path| find(&document.root, path));
    let bare = entries
        .iter()
        .any(|entry| is_known(&snake_case(&entry.key)))
        .then_some(&document.root);
    let Some(spec) = spec.or(bare) else {
        let keys: Vec<_> = entries
            .iter()
            .take(5)
            .map(|entry| entry.key.as_str())
            .collect();
        return Err(Problem::at(
            document.root.position,
            format!(
                "found nothing of a prometheus.yml; the file starts with {}",
                keys.join(", ")
            ),
            "is it the right file? a prometheus.yml has global, scrape_configs and remote_write",
        ));
    };
    let mut references = Vec::new();
    let root = from_spec(spec, &mut references);
    Ok(Unwrapped {
        document: Document { root, ..document },
        wrapping: Some(
            "a prometheusSpec of the operator: its remoteWrite, externalLabels, scrapeInterval, \
             scrapeTimeout and additionalScrapeConfigs are imported",
        ),
        references,
    })
}

fn find<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter()
        .try_fold(node, |node, key| Some(&node.get(key)?.value))
}

/// The entry of a ConfigMap that holds a prometheus.yml as text.
fn config_map(root: &Node) -> Option<&MapEntry> {
    let NodeValue::Map(data) = &root.get("data")?.value.value else {
        return None;
    };
    data.iter().find(|entry| {
        let name = entry.key.as_str();
        (name.contains("prometheus") || name.contains("scrape"))
            && (name.ends_with(".yml") || name.ends_with(".yaml"))
            && matches!(entry.value.value, NodeValue::Scalar { .. })
    })
}

fn in_config_map(entry: &MapEntry) -> Result<Unwrapped, Problem> {
    let NodeValue::Scalar { text, .. } = &entry.value.value else {
        return Err(Problem::at(
            entry.position,
            "found no text, expected a prometheus.yml",
            "",
        ));
    };
    // The text starts on the line after its key.
    let lines = entry.position.line;
    let shift = |mut problem: Problem| {
        problem.line += lines;
        problem
    };
    let inner = parse(text).map_err(shift)?;
    let mut root = inner.root;
    move_down(&mut root, lines);
    Ok(Unwrapped {
        document: Document {
            root,
            problems: inner.problems.into_iter().map(shift).collect(),
            warnings: inner.warnings.into_iter().map(shift).collect(),
        },
        wrapping: Some("a ConfigMap: the prometheus.yml in its data is imported"),
        references: Vec::new(),
    })
}

fn move_down(node: &mut Node, lines: usize) {
    node.position.line += lines;
    match &mut node.value {
        NodeValue::Scalar { .. } => {}
        NodeValue::List(items) => items.iter_mut().for_each(|item| move_down(item, lines)),
        NodeValue::Map(entries) => {
            for entry in entries {
                entry.position.line += lines;
                move_down(&mut entry.value, lines);
            }
        }
    }
}

/// A prometheus.yml of a `prometheusSpec`.
fn from_spec(spec: &Node, references: &mut Vec<SecretReference>) -> Node {
    let mut global = Vec::new();
    let mut root = Vec::new();
    for key in ["scrapeInterval", "scrapeTimeout", "externalLabels"] {
        let found = spec.get(key);
        global.extend(found.map(|entry| in_snake_case(entry, key, references)));
    }
    if !global.is_empty() {
        root.push(entry("global", spec.position, NodeValue::Map(global)));
    }
    if let Some(jobs) = spec
        .get("additionalScrapeConfigs")
        .or(spec.get("scrapeConfigs"))
    {
        let NodeValue::List(_) = jobs.value.value else {
            return of(spec.position, root);
        };
        root.push(entry(
            "scrape_configs",
            jobs.position,
            jobs.value.value.clone(),
        ));
    }
    if let Some(remotes) = spec.get("remoteWrite") {
        root.push(in_snake_case(remotes, "remoteWrite", references));
    }
    of(spec.position, root)
}

fn of(position: Position, entries: Vec<MapEntry>) -> Node {
    Node {
        position,
        value: NodeValue::Map(entries),
    }
}

fn entry(key: &str, position: Position, value: NodeValue) -> MapEntry {
    MapEntry {
        key: key.to_owned(),
        position,
        value: Node { position, value },
    }
}

/// An entry whose keys are written as Prometheus writes them. The names of labels and headers stay.
fn in_snake_case(entry: &MapEntry, path: &str, references: &mut Vec<SecretReference>) -> MapEntry {
    let key = match entry.key.as_str() {
        "retryOnRateLimit" => "retry_on_http_429".to_owned(),
        key => snake_case(key),
    };
    let value = if matches!(key.as_str(), "headers" | "external_labels") {
        entry.value.clone()
    } else {
        keys_in_snake_case(&entry.value, path, references)
    };
    MapEntry {
        key,
        position: entry.position,
        value,
    }
}

fn keys_in_snake_case(node: &Node, path: &str, references: &mut Vec<SecretReference>) -> Node {
    let value = match &node.value {
        NodeValue::Scalar { .. } => node.value.clone(),
        NodeValue::List(items) => NodeValue::List(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| keys_in_snake_case(item, &format!("{path}[{i}]"), references))
                .collect(),
        ),
        NodeValue::Map(entries) => {
            let mut kept = Vec::with_capacity(entries.len());
            for entry in entries {
                let path = format!("{path}.{}", entry.key);
                if is_reference(&entry.value) {
                    references.push(SecretReference {
                        position: entry.position,
                        path,
                    });
                } else {
                    kept.push(in_snake_case(entry, &path, references));
                }
            }
            NodeValue::Map(kept)
        }
    };
    Node {
        position: node.position,
        value,
    }
}

/// Whether a value is a `SecretKeySelector` of Kubernetes.
fn is_reference(node: &Node) -> bool {
    let NodeValue::Map(entries) = &node.value else {
        return false;
    };
    node.get("key").is_some()
        && entries
            .iter()
            .all(|entry| matches!(entry.key.as_str(), "name" | "key" | "optional"))
}
