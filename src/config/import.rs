//! Import: makes a forwarder.yml from a whole prometheus.yml.

use serde::Serialize;

use super::emit::emit;
use super::keys::{
    AUTHORIZATION, BASIC_AUTH, FORWARDER, GLOBAL, METADATA, METRICS, OAUTH2, QUEUE, RELABEL,
    REMOTE, REMOTE_METADATA, REMOTE_READ, REMOVE, ROOT, SCRAPE, SIGV4, STATIC, TLS, Table,
};
use super::load::{LoadFailure, load_document};
use super::problem::{ConfigErrors, PLACEHOLDER, Position, Problem, shown};
use super::unwrap::{Unwrapped, unwrap};
use super::yaml::{Document, MapEntry, Node, NodeValue, parse};

/// The job of a forwarder.yml for which no job could be kept.
const PLACEHOLDER_JOB: &str = "\
- job_name: federate
  honor_labels: true
  metrics_path: /federate
  params: {'match[]': ['{job=~\".+\"}']}
  static_configs: [{targets: ['REPLACE-ME:9090']}]
";
/// The remote of a forwarder.yml for which no remote could be kept.
const PLACEHOLDER_REMOTE: &str = "\
- url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-REPLACE-ME/api/v1/remote_write
  sigv4: {region: us-east-1}
";

/// Keys for credentials that a receiver asks for and we cannot give. Without them the whole entry
/// is useless.
const REMOTE_CREDENTIALS: [&str; 2] = ["azuread", "google_iam"];

/// A forwarder.yml made from a prometheus.yml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedConfig {
    /// The forwarder.yml, which loads without errors once the placeholders are replaced. It holds
    /// the secrets of the keys that were kept.
    pub yaml: String,
    /// What the file is, if it is no prometheus.yml but has one in it.
    pub wrapping: Option<&'static str>,
    /// Everything that is not in it, in the order of the file.
    pub left_out: Vec<Omission>,
    /// Placeholders that were put in because nothing in the prometheus.yml could be kept there. A
    /// person must replace them.
    pub added: Vec<&'static str>,
    /// Whether a job asks for `/federate`. In the prometheus.yml of a home itself none does.
    pub federates: bool,
}

/// Something in a prometheus.yml that a forwarder.yml cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// Line in the prometheus.yml, from 1.
    pub line: usize,
    /// Path in the prometheus.yml, as `scrape_configs[0].relabel_configs`.
    pub key: String,
    /// Reason why it is left out.
    pub why: String,
    /// Its new place, or advice on what to do instead.
    pub where_instead: String,
}

/// Why something is left out, and what to do instead.
struct Reason {
    why: String,
    instead: String,
}

impl Reason {
    fn new(why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            instead: instead.into(),
        }
    }

    fn omission(self, position: Position, key: String) -> Omission {
        Omission {
            line: position.line,
            key,
            why: self.why,
            where_instead: self.instead,
        }
    }
}

/// Turns a prometheus.yml into a forwarder.yml.
///
/// # Errors
/// Fails when the text is no YAML or has nothing of a prometheus.yml in it, or when something that
/// would be kept is invalid in Prometheus, too. Lines are those of the text.
pub fn import(prometheus_yml: &str) -> Result<ImportedConfig, ConfigErrors> {
    let fail = |problems| ConfigErrors::new("prometheus.yml", problems);
    let document = parse(prometheus_yml).map_err(|problem| fail(vec![problem]))?;
    let Unwrapped {
        mut document,
        wrapping,
        references,
    } = unwrap(document).map_err(|problem| fail(vec![problem]))?;
    let mut left_out: Vec<_> = references
        .into_iter()
        .map(|reference| {
            let why = "it refers to a Secret of Kubernetes";
            let instead = "write the secret as ${ssm:name} or ${secretsmanager:id}";
            Reason::new(why, instead).omission(reference.position, reference.path)
        })
        .collect();
    document.root = keep_supported(document.root, &ROOT, "", &mut left_out);
    let added = add_placeholders(&mut document.root).map_err(|problem| fail(vec![problem]))?;
    // Loading it finds errors while the tree still has the lines of the prometheus.yml. What only
    // we refuse is left out.
    while let Err(failure) = load_document(&without_placeholders(&document), &|_| None, None) {
        leave_refused(&mut document.root, &failure, &mut left_out)
            .ok_or_else(|| fail(failure.problems))?;
    }

    let Document { mut root, .. } = document;
    let federates = federates(&root);
    escape_variables(&mut root, false);
    let mut yaml = String::from("# Made from a prometheus.yml by forwardctl import.\n");
    for note in &added {
        yaml.push_str(&format!("# To do: {note}\n"));
    }
    yaml.push_str(&emit(&root));
    left_out.sort_by_key(|entry| entry.line);
    Ok(ImportedConfig {
        yaml,
        wrapping,
        left_out,
        added,
        federates,
    })
}

/// Whether the path of a job ends as that of a federation does.
fn federates(root: &Node) -> bool {
    let Some(NodeValue::List(jobs)) = root.get("scrape_configs").map(|entry| &entry.value.value)
    else {
        return false;
    };
    jobs.iter().any(|job| {
        let path = job.get("metrics_path");
        path.and_then(|entry| scalar_text(&entry.value))
            .is_some_and(|path| path.ends_with("/federate"))
    })
}

/// Adds a job and a remote where nothing could be kept, and says which.
fn add_placeholders(root: &mut Node) -> Result<Vec<&'static str>, Problem> {
    let mut added = Vec::new();
    if !has_items(root, "scrape_configs") {
        put_list(root, "scrape_configs", PLACEHOLDER_JOB)?;
        added.push(
            "scrape_configs: a job for /federate; replace REPLACE-ME:9090 with the address of the \
             home Prometheus",
        );
    }
    if !has_items(root, "remote_write") {
        put_list(root, "remote_write", PLACEHOLDER_REMOTE)?;
        added.push(
            "remote_write: an AMP workspace; replace ws-REPLACE-ME and us-east-1 with the \
             workspace and its region",
        );
    }
    Ok(added)
}

/// The document with names in the place of the placeholders, which do not load.
fn without_placeholders(document: &Document) -> Document {
    fn replace(node: &mut Node) {
        match &mut node.value {
            NodeValue::Scalar { text, .. } => *text = text.replace(PLACEHOLDER, "name"),
            NodeValue::List(items) => items.iter_mut().for_each(replace),
            NodeValue::Map(entries) => {
                entries
                    .iter_mut()
                    .for_each(|entry| replace(&mut entry.value));
            }
        }
    }
    let mut root = document.root.clone();
    replace(&mut root);
    Document {
        root,
        problems: document.problems.clone(),
        warnings: Vec::new(),
    }
}

/// Takes out of the tree what Prometheus takes and we do not. Returns `None` when there is another
/// problem, too.
fn leave_refused(
    root: &mut Node,
    failure: &LoadFailure,
    left_out: &mut Vec<Omission>,
) -> Option<()> {
    if failure.refusals.len() != failure.problems.len() {
        return None;
    }
    // From the last, so that the places of the others in their lists stay the same.
    for refusal in failure.refusals.iter().rev() {
        let problem = failure.problems.get(refusal.problem)?;
        let mut is_removed = false;
        for path in &refusal.leave {
            is_removed |= root.remove(path);
        }
        if !is_removed {
            return None;
        }
        let reason = Reason::new(problem.message.clone(), problem.fix.clone());
        left_out.push(reason.omission(problem.position(), problem.path.clone()));
    }
    Some(())
}

/// The table of the section below a key, and whether the key holds a list of such sections.
fn below(table: &Table, key: &str) -> Option<(&'static Table, bool)> {
    Some(match (table.name, key) {
        (name, "global") if name == ROOT.name => (&GLOBAL, false),
        (name, "scrape_configs") if name == ROOT.name => (&SCRAPE, true),
        (name, "remote_write") if name == ROOT.name => (&REMOTE, true),
        (name, "forwarder") if name == ROOT.name => (&FORWARDER, false),
        (name, "static_configs") if name == SCRAPE.name => (&STATIC, true),
        (name, "relabel_configs" | "metric_relabel_configs") if name == SCRAPE.name => {
            (&RELABEL, true)
        }
        (name, "write_relabel_configs") if name == REMOTE.name => (&RELABEL, true),
        (name, "queue_config") if name == REMOTE.name => (&QUEUE, false),
        (name, "sigv4") if name == REMOTE.name => (&SIGV4, false),
        (_, "basic_auth") => (&BASIC_AUTH, false),
        (_, "authorization") => (&AUTHORIZATION, false),
        (_, "oauth2") => (&OAUTH2, false),
        (_, "tls_config") => (&TLS, false),
        (name, "metrics") if name == FORWARDER.name => (&METRICS, false),
        (name, "metadata") if name == FORWARDER.name => (&METADATA, false),
        (name, "remote_read") if name == FORWARDER.name => (&REMOTE_READ, false),
        (name, "metadata_config") if name == REMOTE.name => (&REMOTE_METADATA, false),
        _ => return None,
    })
}

/// The section without the keys that it may not hold. A value that is no mapping is kept: the
/// loader reports it.
fn keep_supported(node: Node, table: &Table, path: &str, left_out: &mut Vec<Omission>) -> Node {
    let NodeValue::Map(entries) = node.value else {
        return node;
    };
    let mut kept = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let path = if path.is_empty() {
            entry.key.clone()
        } else {
            format!("{path}.{}", entry.key)
        };
        if let Some(reason) = reason_to_leave(table, &entry) {
            left_out.push(reason.omission(entry.position, path));
            continue;
        }
        if let Some((table, list)) = below(table, &entry.key) {
            entry.value = if list {
                keep_items(entry.value, table, &path, left_out)
            } else {
                keep_supported(entry.value, table, &path, left_out)
            };
        }
        if table.name == STATIC.name && entry.key == "labels" {
            entry.value = drop_own_interval(entry.value, &path, left_out);
        }
        kept.push(entry);
    }
    Node {
        value: NodeValue::Map(kept),
        ..node
    }
}

fn reason_to_leave(table: &Table, entry: &MapEntry) -> Option<Reason> {
    if table.takes(&entry.key) {
        return None;
    }
    let Some(row) = table.unsupported(&entry.key) else {
        let advice = table.advice(&entry.key);
        return Some(Reason::new("Prometheus 3.5 has no such key", advice));
    };
    if row.is_default(&entry.value) {
        return None;
    }
    let instead = match row.instead {
        REMOVE => "nothing takes its place",
        instead => instead,
    };
    Some(Reason::new(row.why, instead))
}

fn keep_items(node: Node, table: &Table, path: &str, left_out: &mut Vec<Omission>) -> Node {
    let NodeValue::List(items) = node.value else {
        return node;
    };
    let mut kept = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{i}]");
        let whole = if table.name == SCRAPE.name {
            reason_against_job(&item)
        } else if table.name == REMOTE.name {
            reason_against_remote(&item)
        } else {
            None
        };
        match whole {
            Some(reason) => left_out.push(reason.omission(item.position, path)),
            None => kept.push(keep_supported(item, table, &path, left_out)),
        }
    }
    Node {
        value: NodeValue::List(kept),
        ..node
    }
}

/// Why a whole job is left out: it has no targets but those that it would discover.
fn reason_against_job(job: &Node) -> Option<Reason> {
    let NodeValue::Map(entries) = &job.value else {
        return None;
    };
    let discovery = entries
        .iter()
        .find(|entry| entry.key.ends_with("_sd_configs"))?;
    if !static_targets(job).is_empty() {
        return None;
    }
    let name = match job.get("job_name") {
        Some(entry) => scalar_text(&entry.value).map_or_else(String::new, shown),
        None => "without a name".to_owned(),
    };
    Some(Reason::new(
        format!(
            "the job {name} finds its targets by {}, and targets are not discovered here",
            discovery.key
        ),
        "let the home Prometheus scrape them: they come with /federate; or list them in \
         static_configs",
    ))
}

fn static_targets(job: &Node) -> Vec<&str> {
    let Some(NodeValue::List(groups)) = job.get("static_configs").map(|entry| &entry.value.value)
    else {
        return Vec::new();
    };
    let lists = groups.iter().filter_map(|group| {
        match group.get("targets").map(|entry| &entry.value.value) {
            Some(NodeValue::List(targets)) => Some(targets),
            _ => None,
        }
    });
    lists.flatten().filter_map(scalar_text).collect()
}

/// Why a whole remote is left out: we cannot give the credentials that it asks for.
fn reason_against_remote(remote: &Node) -> Option<Reason> {
    let NodeValue::Map(entries) = &remote.value else {
        return None;
    };
    if let Some(entry) = entries
        .iter()
        .find(|entry| REMOTE_CREDENTIALS.contains(&entry.key.as_str()))
    {
        let why = format!(
            "the receiver asks for {}, and credentials of other clouds are not fetched",
            entry.key
        );
        let instead = "send to it from the home Prometheus itself";
        return Some(Reason::new(why, instead));
    }
    let url = remote
        .get("url")
        .and_then(|entry| scalar_text(&entry.value))?;
    let url = url::Url::parse(url).ok()?;
    (!url.username().is_empty() || url.password().is_some()).then(|| {
        Reason::new(
            "the receiver's URL holds credentials, which are not supported there",
            "write the entry by hand, with the credentials under basic_auth",
        )
    })
}

/// The labels of a target without an interval of its own: here, all targets of a job share one.
fn drop_own_interval(node: Node, path: &str, left_out: &mut Vec<Omission>) -> Node {
    let NodeValue::Map(mut entries) = node.value else {
        return node;
    };
    entries.retain(|entry| {
        let own = entry.key == "__scrape_interval__";
        if own {
            let reason = Reason::new(
                "targets of one job have one interval here",
                "give the target a job of its own, with scrape_interval",
            );
            left_out.push(reason.omission(entry.position, format!("{path}.{}", entry.key)));
        }
        !own
    });
    Node {
        value: NodeValue::Map(entries),
        ..node
    }
}

fn scalar_text(node: &Node) -> Option<&str> {
    match &node.value {
        NodeValue::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn has_items(root: &Node, key: &str) -> bool {
    match root.get(key).map(|entry| &entry.value) {
        Some(Node {
            value: NodeValue::List(items),
            ..
        }) => !items.is_empty(),
        Some(node) => !node.is_null(),
        None => false,
    }
}

fn put_list(root: &mut Node, key: &str, text: &str) -> Result<(), Problem> {
    let value = parse(text)?.root;
    if root.is_null() {
        root.value = NodeValue::Map(Vec::new());
    }
    if let NodeValue::Map(entries) = &mut root.value {
        entries.retain(|entry| entry.key != key);
        entries.push(MapEntry {
            key: key.into(),
            position: value.position,
            value,
        });
    }
    Ok(())
}

/// Escapes `${`, which is plain text in a prometheus.yml. It has a meaning only in external labels
/// and relabel rules, and there it has the `same` one here.
fn escape_variables(node: &mut Node, same: bool) {
    match &mut node.value {
        NodeValue::Scalar { text, .. } if !same => *text = text.replace("${", "$${"),
        NodeValue::Scalar { .. } => {}
        NodeValue::List(items) => items
            .iter_mut()
            .for_each(|item| escape_variables(item, same)),
        NodeValue::Map(entries) => {
            for entry in entries {
                escape_variables(
                    &mut entry.value,
                    same || entry.key == "external_labels"
                        || entry.key.ends_with("relabel_configs"),
                );
            }
        }
    }
}
