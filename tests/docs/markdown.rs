//! A Markdown page, read as far as these tests need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders that hold nothing of our own.
const FOREIGN: [&str; 8] = [
    "target",
    "build",
    "node_modules",
    "unlanded",
    "advisories",
    "fuzz",
    "dist",
    ".git",
];

/// The top folder of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text of the project.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A page and its place below the top folder.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A line and whether it is part of a fenced block.
struct Line<'a> {
    number: usize,
    text: &'a str,
    is_code: bool,
}

/// Something that stands on a line of a page.
pub(crate) struct Found<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        Self {
            path: path.into(),
            text: read(path),
        }
    }

    /// The whole project's pages.
    pub(crate) fn all() -> Vec<Self> {
        let mut pages = Vec::new();
        collect(root(), &mut pages);
        assert!(pages.len() > 15, "{}", pages.len());
        pages
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut is_code = false;
        self.text.lines().enumerate().map(move |(index, text)| {
            let is_fence = text.trim_start().starts_with("```");
            let was_code = is_code;
            is_code ^= is_fence;
            Line {
                number: index + 1,
                text,
                is_code: was_code || is_fence,
            }
        })
    }

    /// Lines that are neither of a fenced block nor of a table.
    pub(crate) fn prose(&self) -> impl Iterator<Item = Found<'_>> {
        self.lines()
            .filter(|line| !line.is_code && !line.text.starts_with('|'))
            .map(|line| Found {
                line: line.number,
                text: line.text,
            })
    }

    /// The bodies of the fenced blocks in a language, without their indentation.
    pub(crate) fn blocks(&self, language: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut block: Option<(bool, String)> = None;
        for line in self.text.lines() {
            let line = line.trim_start_matches(if block.is_some() { "" } else { " " });
            match (line.trim().strip_prefix("```"), &mut block) {
                (Some(name), None) => block = Some((name == language, String::new())),
                (Some(_), Some(_)) => {
                    let (is_wanted, body) = block.take().unwrap();
                    if is_wanted {
                        blocks.push(body);
                    }
                }
                (None, Some((_, body))) => {
                    body.push_str(line);
                    body.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(block.is_none(), "{}: a block has no end", self.name());
        blocks
    }

    /// The pieces of inline code.
    pub(crate) fn inline_code(&self) -> Vec<String> {
        let text: String = self
            .lines()
            .filter(|line| !line.is_code)
            .flat_map(|line| [line.text, "\n"])
            .collect();
        text.split("\n\n")
            .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
            .map(|code| {
                let words: Vec<_> = code.split_whitespace().collect();
                words.join(" ").replace("\\|", "|")
            })
            .collect()
    }

    /// The targets of all links and pictures, as they are written.
    pub(crate) fn links(&self) -> Vec<Found<'_>> {
        let mut links = Vec::new();
        for line in self.lines().filter(|line| !line.is_code) {
            // What stands in inline code is no link.
            for piece in line.text.split('`').step_by(2) {
                for rest in piece.split("](").skip(1) {
                    let (target, _) = rest.split_once(')').unwrap_or_else(|| {
                        panic!("{}:{}: a link has no end", self.name(), line.number)
                    });
                    links.push(Found {
                        line: line.number,
                        text: target,
                    });
                }
            }
        }
        links
    }

    /// The anchors of the headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.lines().filter(|line| !line.is_code) {
            let Some(heading) = line.text.strip_prefix('#') else {
                continue;
            };
            let anchor: String = heading
                .trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let count = times.entry(anchor.clone()).or_default();
            *count += 1;
            anchors.insert(match *count {
                1 => anchor,
                count => format!("{anchor}-{}", count - 1),
            });
        }
        anchors
    }
}

fn collect(folder: &Path, pages: &mut Vec<Page>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            if !FOREIGN.contains(&&*name) {
                collect(&path, pages);
            }
        } else if name.ends_with(".md") {
            let path = path.strip_prefix(root()).unwrap();
            pages.push(Page::read(&path.display().to_string()));
        }
    }
}
