//! Which file names which, and circles in that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::modules::{ModuleId, Modules, Target};
use crate::parser::Use;

/// One file names something that another file or another room defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// File with the path.
    pub from: String,
    /// Files that define what the path leads to.
    pub to: Vec<String>,
    /// Rooms that the path names or leads to.
    pub rooms: Vec<String>,
    /// Whether the file only exports the name again, without a use of its own.
    pub only_exports: bool,
    /// The path as it is written.
    pub path: String,
    /// Number of the line, from 1.
    pub line: usize,
}

/// What was found in all files.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every path that leads to another file or another room.
    pub edges: Vec<Edge>,
    /// Paths that start in the crate and lead nowhere: the reader does not understand them.
    pub unknown: Vec<String>,
}

/// The room of a file: the first folder or file below `src/`.
#[must_use]
pub fn room(file: &str) -> &str {
    let below = file.strip_prefix("src/").unwrap_or(file);
    let first = below.split('/').next().unwrap_or(below);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Follows each path of each file.
#[must_use]
pub fn graph(modules: &Modules) -> Graph {
    let mut graph = Graph::default();
    for id in 0..modules.all.len() {
        uses(modules, id, &mut graph);
        let contents = &modules.all[id].contents;
        for path in &contents.paths {
            if let Some(target) = modules.follow(id, path) {
                let text = path.words.join("::");
                graph.add(modules, id, &target, &text, path.line, false);
            }
        }
        for (name, line) in &contents.names {
            if let Some(target) = modules.through_globs(id, name) {
                graph.add(modules, id, &target, name, *line, false);
            }
        }
    }
    graph.edges.sort();
    graph.edges.dedup();
    graph
}

fn uses(modules: &Modules, id: ModuleId, graph: &mut Graph) {
    let contents = &modules.all[id].contents;
    for import in &contents.uses {
        let path = import.path.words.join("::");
        if import.is_glob && modules.module_at(id, &import.path.words).is_some() {
            // Names that come through it are found where they are mentioned. The room is named here.
            if let Some(target) = modules.follow(id, &import.path) {
                graph.add(modules, id, &target, &path, import.path.line, true);
            }
            continue;
        }
        let Some(target) = modules.follow(id, &import.path) else {
            continue;
        };
        let mention = mention(import, &contents.names);
        let line = mention.unwrap_or(import.path.line);
        let only_exports = import.is_public && mention.is_none();
        graph.add(modules, id, &target, &path, line, only_exports);
    }
}

/// The line on which the code of a file uses the name that it exports.
fn mention(import: &Use, names: &[(String, usize)]) -> Option<usize> {
    if !import.is_public {
        return None;
    }
    let name = import.name.as_ref()?;
    names
        .iter()
        .find_map(|(mentioned, line)| (mentioned == name).then_some(*line))
}

impl Graph {
    fn add(
        &mut self,
        modules: &Modules,
        id: ModuleId,
        target: &Target,
        path: &str,
        line: usize,
        only_exports: bool,
    ) {
        let from = modules.all[id].file.clone();
        if let Some(word) = &target.unknown {
            self.unknown
                .push(format!("{from}:{line}: {path}: nothing defines {word}"));
        }
        let files: BTreeSet<&String> = target
            .definitions
            .iter()
            .map(|&definition| &modules.all[definition].file)
            .filter(|&file| *file != from)
            .collect();
        let rooms: BTreeSet<&str> = target
            .definitions
            .iter()
            .chain(&target.walked)
            // The root of a crate is no room.
            .filter(|&&module| modules.all[module].parent.is_some())
            .map(|&module| room(&modules.all[module].file))
            .filter(|&name| name != room(&from))
            .collect();
        if files.is_empty() && rooms.is_empty() {
            return;
        }
        self.edges.push(Edge {
            to: files.into_iter().cloned().collect(),
            rooms: rooms.into_iter().map(str::to_string).collect(),
            only_exports,
            path: path.to_string(),
            line,
            from,
        });
    }
}

/// Nodes and the nodes that they lead to.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Nodes that all reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knot {
    /// A shortest circle in it: each node leads to the next, and the last to the first.
    pub circle: Vec<String>,
    /// How many nodes the knot has.
    pub size: usize,
}

/// The knots among the nodes. Once a circle is opened, another one of its knot may show.
#[must_use]
pub fn knots(arrows: &Arrows) -> Vec<Knot> {
    let mut knots = Vec::new();
    let mut covered: BTreeSet<&String> = BTreeSet::new();
    for start in arrows.keys() {
        if covered.contains(start) {
            continue;
        }
        let Some(circle) = shortest_circle(arrows, start) else {
            continue;
        };
        // Everything that both reaches `start` and is reached from it belongs to the same knot.
        let mut knot = reached(arrows, start);
        knot.retain(|&node| reached(arrows, node).contains(start));
        knots.push(Knot {
            circle,
            size: knot.len(),
        });
        covered.append(&mut knot);
    }
    knots
}

fn reached<'a>(arrows: &'a Arrows, start: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(node) = queue.pop() {
        for next in arrows.get(node).into_iter().flatten() {
            if seen.insert(next) {
                queue.push(next);
            }
        }
    }
    seen
}

/// Breadth first, so that the first way back to `start` is the shortest.
fn shortest_circle(arrows: &Arrows, start: &String) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in arrows.get(node).into_iter().flatten() {
            if next == start {
                let mut circle = vec![start.clone()];
                let mut back = node;
                while back != start {
                    circle.insert(1, back.clone());
                    back = came_from[back];
                }
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(pairs: &[(&str, &str)]) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            let next = arrows.entry((*from).to_string()).or_default();
            next.insert((*to).to_string());
        }
        arrows
    }

    #[test]
    fn a_tree_has_no_circle() {
        assert!(knots(&arrows(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    }

    #[test]
    fn each_knot_is_reported_once_by_a_shortest_circle() {
        let found = knots(&arrows(&[
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("b", "a"),
            ("d", "e"),
            ("e", "d"),
            ("c", "d"),
        ]));
        let circles: Vec<(String, usize)> = found
            .into_iter()
            .map(|knot| (knot.circle.concat(), knot.size))
            .collect();
        assert_eq!(circles, [("ab".to_string(), 3), ("de".to_string(), 2)]);
    }

    #[test]
    fn the_room_of_a_file() {
        assert_eq!(room("src/time.rs"), "time");
        assert_eq!(room("src/tick/job/slots.rs"), "tick");
        assert_eq!(room("src/bin/amp-forwarder.rs"), "bin");
    }
}
