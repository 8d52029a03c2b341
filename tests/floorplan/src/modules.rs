//! The tree of modules of a crate, and how a path is followed in it to the file that defines a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::parser::{Contents, Mention, parse};

/// Source text by path, relative to the root of the repository, with `/` between folders.
pub type Sources = BTreeMap<String, String>;

/// Index of a module in [`Modules`].
pub type ModuleId = usize;

/// A module of the crate or of one of its programs.
#[derive(Debug)]
pub struct Module {
    /// Path of the file that holds it.
    pub file: String,
    /// The module that declares it; absent for the root of a crate.
    pub parent: Option<ModuleId>,
    /// Modules that it declares, without those of tests.
    pub children: BTreeMap<String, ModuleId>,
    /// What it contains. Its `modules` have moved to `children`.
    pub contents: Contents,
    /// Names of its items and its imports, so that a mention is looked up once.
    imports: BTreeMap<String, usize>,
}

/// All modules of a crate: those of its library and those of its programs.
#[derive(Debug, Default)]
pub struct Modules {
    /// The modules, each behind the one that declares it.
    pub all: Vec<Module>,
    /// Root of the library, by the name that programs use for it.
    library: Option<(String, ModuleId)>,
    /// Files that are declared but do not exist.
    pub missing: Vec<String>,
}

/// What a path leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Modules in whose file the name is defined. A function and a module may share a name.
    pub definitions: BTreeSet<ModuleId>,
    /// Modules that the path walks through as it is written, without re-exports.
    pub walked: Vec<ModuleId>,
    /// The word that no module on the way defines, imports or exports.
    pub unknown: Option<String>,
}

impl Modules {
    /// Reads the library at `src/lib.rs`, which programs call `library`, and the programs in
    /// `src/bin`.
    #[must_use]
    pub fn read(sources: &Sources, library: &str) -> Modules {
        let mut modules = Modules::default();
        if sources.contains_key("src/lib.rs") {
            let root = modules.add_file(sources, "src/lib.rs", None);
            modules.library = Some((library.to_string(), root));
        }
        for path in sources.keys() {
            // A program is src/bin/name.rs or src/bin/name/main.rs.
            let Some(name) = path.strip_prefix("src/bin/") else {
                continue;
            };
            if !name.contains('/') || (name.ends_with("/main.rs") && name.split('/').count() == 2) {
                modules.add_file(sources, path, None);
            }
        }
        modules
    }

    fn add_file(&mut self, sources: &Sources, path: &str, parent: Option<ModuleId>) -> ModuleId {
        let contents = parse(&sources[path]);
        let folder = folder_of_children(path);
        self.add(sources, contents, path, &folder, parent)
    }

    fn add(
        &mut self,
        sources: &Sources,
        mut contents: Contents,
        file: &str,
        folder: &str,
        parent: Option<ModuleId>,
    ) -> ModuleId {
        let declared = std::mem::take(&mut contents.modules);
        let mut imports = BTreeMap::new();
        for (index, import) in contents.uses.iter().enumerate() {
            if let Some(name) = &import.name {
                imports.insert(name.clone(), index);
            }
        }
        let id = self.all.len();
        self.all.push(Module {
            file: file.to_string(),
            parent,
            children: BTreeMap::new(),
            contents,
            imports,
        });
        for child in declared {
            let below = format!("{folder}/{}", child.name);
            let child_id = if let Some(inline) = child.inline {
                self.add(sources, inline, file, &below, Some(id))
            } else {
                let files = [format!("{below}.rs"), format!("{below}/mod.rs")];
                match files.iter().find(|path| sources.contains_key(*path)) {
                    Some(path) => self.add_file(sources, path, Some(id)),
                    None => {
                        self.missing.push(files[0].clone());
                        continue;
                    }
                }
            };
            self.all[id].children.insert(child.name, child_id);
        }
        id
    }

    /// The root of the crate that `module` belongs to.
    #[must_use]
    pub fn root(&self, module: ModuleId) -> ModuleId {
        let mut at = module;
        while let Some(parent) = self.all[at].parent {
            at = parent;
        }
        at
    }

    /// The module that `module` lies in directly below the root of its crate, or the root itself.
    #[must_use]
    pub fn top(&self, module: ModuleId) -> ModuleId {
        let mut at = module;
        while let Some(parent) = self.all[at].parent {
            if self.all[parent].parent.is_none() {
                return at;
            }
            at = parent;
        }
        at
    }

    /// Follows `path`, which is written in `module`. Absent if it leads out of the crate.
    #[must_use]
    pub fn follow(&self, module: ModuleId, path: &Mention) -> Option<Target> {
        let mut target = Target::default();
        let mut seen = BTreeSet::new();
        self.follow_words(module, &path.words, &mut target, &mut seen)
            .then_some(target)
    }

    /// Looks up the single name `word` in `module` through its `*` imports.
    #[must_use]
    pub fn through_globs(&self, module: ModuleId, word: &str) -> Option<Target> {
        let here = &self.all[module];
        if here.children.contains_key(word)
            || here.imports.contains_key(word)
            || here.contents.items.contains(word)
        {
            return None;
        }
        let mut target = Target::default();
        let mut seen = BTreeSet::from([(module, word.to_string())]);
        let found = self.lookup_globs(module, word, &mut target, &mut seen);
        (found && !target.definitions.is_empty()).then_some(target)
    }

    /// The module that the words lead to from `module`, by its children and its imports alone: what
    /// `*` imports bring is not asked, because this is what finds the modules behind them.
    #[must_use]
    pub fn module_at(&self, module: ModuleId, words: &[String]) -> Option<ModuleId> {
        let first = words.first()?.as_str();
        let here = &self.all[module];
        let mut at = match (first, &self.library) {
            ("crate", _) => self.root(module),
            ("self", _) => module,
            ("super", _) => here.parent?,
            (name, Some((library, root))) if name == library => *root,
            (name, _) => match (here.children.get(name), here.imports.get(name)) {
                (Some(&child), _) => child,
                (None, Some(&index)) => {
                    let path = &here.contents.uses[index].path.words;
                    // `use name as name` of an external crate must not lead back here.
                    if path.first().map(String::as_str) == Some(name) {
                        return None;
                    }
                    self.module_at(module, path)?
                }
                (None, None) => return None,
            },
        };
        for word in &words[1..] {
            at = match word.as_str() {
                "super" => self.all[at].parent?,
                child => *self.all[at].children.get(child)?,
            };
        }
        Some(at)
    }

    /// Returns whether the words lead into the crate; then `target` says where to.
    fn follow_words(
        &self,
        from: ModuleId,
        words: &[String],
        target: &mut Target,
        seen: &mut BTreeSet<(ModuleId, String)>,
    ) -> bool {
        let Some(first) = words.first() else {
            return false;
        };
        let mut at = from;
        let mut rest = &words[1..];
        match first.as_str() {
            "crate" => at = self.root(from),
            "self" => {}
            "super" => match self.all[from].parent {
                Some(parent) => at = parent,
                None => return false,
            },
            name => match &self.library {
                Some((library, root)) if library == name => at = *root,
                _ => return self.lookup(from, words, target, seen),
            },
        }
        while let Some("super") = rest.first().map(String::as_str) {
            match self.all[at].parent {
                Some(parent) => at = parent,
                None => return false,
            }
            rest = &rest[1..];
        }
        target.walked.push(at);
        if rest.is_empty() {
            target.definitions.insert(at);
            return true;
        }
        if !self.lookup(at, rest, target, seen) {
            // A path that starts in the crate stays in it: an unknown word is for a person to see.
            target.unknown = Some(rest[0].clone());
        }
        true
    }

    /// Looks up the first of `words` in `module` and follows the rest.
    fn lookup(
        &self,
        module: ModuleId,
        words: &[String],
        target: &mut Target,
        seen: &mut BTreeSet<(ModuleId, String)>,
    ) -> bool {
        let word = &words[0];
        if !seen.insert((module, words.join("::"))) {
            return false;
        }
        let here = &self.all[module];
        let is_last = words.len() == 1;
        let mut found = false;
        if let Some(&child) = here.children.get(word) {
            target.walked.push(child);
            if is_last {
                target.definitions.insert(child);
                found = true;
            } else if self.lookup(child, &words[1..], target, seen) {
                return true;
            } else {
                target.definitions.insert(child);
                target.unknown = Some(words[1].clone());
                return true;
            }
        }
        if here.contents.items.contains(word) {
            // Behind a type come its variants and functions: they are where the type is.
            target.definitions.insert(module);
            return true;
        }
        if let Some(&index) = here.imports.get(word) {
            let mut path = here.contents.uses[index].path.words.clone();
            path.extend_from_slice(&words[1..]);
            let mut behind = Target::default();
            let inside = self.follow_words(module, &path, &mut behind, seen);
            if inside {
                target.definitions.append(&mut behind.definitions);
                target.unknown = target.unknown.take().or(behind.unknown);
                return true;
            }
            // The name comes from another crate. A file that exports it counts as its definition.
            if here.contents.uses[index].is_public {
                target.definitions.insert(module);
            }
            return true;
        }
        found |= self.lookup_globs(module, word, target, seen);
        found
    }

    fn lookup_globs(
        &self,
        module: ModuleId,
        word: &str,
        target: &mut Target,
        seen: &mut BTreeSet<(ModuleId, String)>,
    ) -> bool {
        let words = [word.to_string()];
        self.all[module]
            .contents
            .uses
            .iter()
            .filter(|import| import.is_glob)
            .filter_map(|import| self.module_at(module, &import.path.words))
            .any(|from| {
                let mut behind = Target::default();
                let found = self.lookup(from, &words, &mut behind, seen);
                if found {
                    target.definitions.append(&mut behind.definitions);
                }
                found
            })
    }
}

/// The folder in which the modules lie that the file `path` declares.
fn folder_of_children(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_root = folder == "src/bin" && !name.contains('/');
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_string(),
        _ if is_root => folder.to_string(),
        _ => path.trim_end_matches(".rs").to_string(),
    }
}
