//! The rules of the crate's documentation, each as a function from the sources to its breaches.

use std::collections::{BTreeMap, BTreeSet};

use crate::drawing::Drawing;
use crate::graph::{Arrows, Edge, Graph, Knot, knots, room};
use crate::modules::{Modules, Sources};

/// The most characters that a line may have.
const COLUMNS: usize = 100;

/// One rule and where the tree breaks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule as a sentence.
    pub rule: &'static str,
    /// A line for people for each breach.
    pub breaches: Vec<String>,
}

/// Holds the sources against every rule.
///
/// # Errors
///
/// Fails with a sentence for people if ARCHITECTURE.md has no drawing that can be read.
pub fn verdicts(
    sources: &Sources,
    library: &str,
    architecture: &str,
) -> Result<Vec<Verdict>, String> {
    let drawing = Drawing::read(architecture)?;
    let modules = Modules::read(sources, library);
    let graph = crate::graph::graph(&modules);
    let verdict = |rule, breaches| Verdict { rule, breaches };
    Ok(vec![
        verdict("every path leads somewhere", unread(&modules, &graph)),
        verdict("the drawing has every room", rooms(&modules, &drawing)),
        verdict("a room names only rooms below it", upward(&graph, &drawing)),
        verdict("no circle between files", file_circles(&graph)),
        verdict("no circle inside a folder", folder_circles(&graph)),
        verdict("a type's name is its own", twins(&modules)),
        verdict("no line over 100 columns", long_lines(&modules, sources)),
    ])
}

/// What the reader does not understand, so that nothing is passed by in silence.
fn unread(modules: &Modules, graph: &Graph) -> Vec<String> {
    let missing = modules
        .missing
        .iter()
        .map(|file| format!("{file} is declared, but there is no such file"));
    missing.chain(graph.unknown.iter().cloned()).collect()
}

fn rooms(modules: &Modules, drawing: &Drawing) -> Vec<String> {
    let real: BTreeSet<&str> = modules
        .all
        .iter()
        .map(|module| room(&module.file))
        .filter(|&room| room != "lib")
        .collect();
    let undrawn = real
        .iter()
        .filter(|room| !drawing.floors.contains_key(**room))
        .map(|room| format!("the drawing lacks the room {room}"));
    let missing = drawing
        .floors
        .keys()
        .filter(|room| !drawing.planned.contains(room) && !real.contains(room.as_str()))
        .map(|room| format!("the room {room} is drawn, but there is none; [{room}] plans one"));
    let built = drawing
        .planned
        .iter()
        .filter(|room| real.contains(room.as_str()))
        .map(|room| format!("the room {room} is drawn as planned, but it exists"));
    undrawn.chain(missing).chain(built).collect()
}

fn upward(graph: &Graph, drawing: &Drawing) -> Vec<String> {
    let mut breaches = Vec::new();
    for edge in &graph.edges {
        let Some(own) = drawing.floors.get(room(&edge.from)) else {
            continue;
        };
        for other in &edge.rooms {
            if drawing.floors.get(other).is_some_and(|floor| floor >= own) {
                let (from, line, path) = (&edge.from, edge.line, &edge.path);
                breaches.push(format!(
                    "{from}:{line}: {path}: {} may not know {other}",
                    room(from)
                ));
            }
        }
    }
    breaches
}

fn file_circles(graph: &Graph) -> Vec<String> {
    circles(graph, |file| Some(file.to_string()))
}

/// Takes each folder alone: the files and folders in it are the nodes, and only paths that stay in
/// the folder are arrows.
fn folder_circles(graph: &Graph) -> Vec<String> {
    let folders: BTreeSet<&str> = graph
        .edges
        .iter()
        .flat_map(|edge| edge.to.iter().chain([&edge.from]))
        .flat_map(|file| parents(file))
        .filter(|&folder| folder != "src")
        .collect();
    folders
        .iter()
        .flat_map(|folder| circles(graph, |file| node(&folders, folder, file)))
        // Circles of plain files break the rule before this one.
        .filter(|circle| {
            let mut nodes = circle.lines().next().unwrap_or_default().split(" → ");
            nodes.any(|node| node.ends_with('/'))
        })
        .collect()
}

/// The folders that a file is in, the innermost first.
fn parents(file: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(file.rsplit_once('/').map(|(folder, _)| folder), |folder| {
        folder.rsplit_once('/').map(|(above, _)| above)
    })
}

/// The node that `file` belongs to among the files and folders of `folder`; nothing if it is not in
/// there. A folder and the file of its name (`job/` and `job.rs`) are one node.
fn node(folders: &BTreeSet<&str>, folder: &str, file: &str) -> Option<String> {
    let below = file.strip_prefix(folder)?.strip_prefix('/')?;
    let first = below.split('/').next()?;
    let inner = format!("{folder}/{}", first.trim_end_matches(".rs"));
    Some(if folders.contains(inner.as_str()) {
        format!("{inner}/")
    } else {
        format!("{folder}/{first}")
    })
}

/// The circles among files that `node` gives a name, each with one path for each of its arrows.
fn circles(graph: &Graph, node: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut arrows = Arrows::new();
    let mut example: BTreeMap<(String, String), &Edge> = BTreeMap::new();
    for edge in graph.edges.iter().filter(|edge| !edge.only_exports) {
        let Some(from) = node(&edge.from) else {
            continue;
        };
        for to in edge.to.iter().filter_map(|file| node(file)) {
            if to != from {
                arrows.entry(from.clone()).or_default().insert(to.clone());
                example.entry((from.clone(), to)).or_insert(edge);
            }
        }
    }
    let line = |from: &String, to: &String| {
        let edge = example[&(from.clone(), to.clone())];
        format!("\n    {}:{}: {}", edge.from, edge.line, edge.path)
    };
    knots(&arrows)
        .into_iter()
        .map(|Knot { circle, size }| {
            let next = circle.iter().cycle().skip(1);
            let paths: String = circle.iter().zip(next).map(|(a, b)| line(a, b)).collect();
            let more = match size - circle.len() {
                0 => String::new(),
                more => format!(" (and {more} more that reach each other)"),
            };
            format!("{}{more}{paths}", circle.join(" → "))
        })
        .collect()
}

fn twins(modules: &Modules) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in &modules.all {
        for (name, line) in &module.contents.types {
            let place = format!("{}:{line}", module.file);
            places.entry(name).or_default().push(place);
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect()
}

/// Looks at the files of the crate, whose tests are left out.
fn long_lines(modules: &Modules, sources: &Sources) -> Vec<String> {
    let mut tests: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for module in &modules.all {
        let of_file = tests.entry(&module.file).or_default();
        of_file.extend_from_slice(&module.contents.tests);
    }
    let mut breaches = Vec::new();
    for (file, tests) in tests {
        for (line, text) in (1..).zip(sources[file].lines()) {
            let columns = text.chars().count();
            let in_test = tests
                .iter()
                .any(|&(first, last)| (first..=last).contains(&line));
            if columns > COLUMNS && !in_test {
                breaches.push(format!("{file}:{line}: {columns} columns"));
            }
        }
    }
    breaches
}
