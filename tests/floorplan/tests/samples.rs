//! Each rule holds a small sample tree, and fails for the one with the fault planted in it.

use amp_forwarder_floorplan::modules::Sources;
use amp_forwarder_floorplan::rules::verdicts;

const DRAWING: &str = "```floorplan\nbin\nroof\nleft · right\nground\n```\n";

/// The files of a sound tree; a test replaces some of them.
const SOUND: [(&str, &str); 7] = [
    (
        "src/lib.rs",
        "pub mod ground; pub mod left; pub mod right; pub mod roof;",
    ),
    ("src/ground.rs", "pub struct Stone;"),
    (
        "src/left/mod.rs",
        "mod wall; mod window; pub use wall::Wall; pub use window::glass;",
    ),
    (
        "src/left/wall.rs",
        "use super::glass; use crate::ground::Stone; pub struct Wall(Stone);",
    ),
    ("src/left/window.rs", "pub fn glass() {}"),
    (
        "src/right.rs",
        "pub fn door() -> crate::ground::Stone { todo!() }",
    ),
    (
        "src/roof.rs",
        "use crate::{left::{self, Wall}, right}; pub fn roof() { right::door(); left::glass(); }",
    ),
];

/// Breaches of the sound tree with these files in the place of its own, each with its rule.
fn breaches(changed: &[(&str, &str)]) -> Vec<String> {
    let sources: Sources = SOUND
        .iter()
        .chain(changed)
        .map(|&(path, text)| (path.to_string(), text.to_string()))
        .collect();
    verdicts(&sources, "sample", DRAWING)
        .unwrap()
        .into_iter()
        .flat_map(|verdict| {
            let rule = verdict.rule;
            let lines = verdict.breaches.into_iter();
            lines.map(move |line| format!("{rule}: {line}"))
        })
        .collect()
}

/// What the one breach says.
fn breach(changed: &[(&str, &str)]) -> String {
    let found = breaches(changed);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

/// The sound tree has no program; with this one the drawing is complete.
const PROGRAM: (&str, &str) = (
    "src/bin/tool/main.rs",
    "mod part; use sample::roof; fn main() { part::run(); sample::ground::Stone; }",
);
const PART: (&str, &str) = (
    "src/bin/tool/part.rs",
    "pub fn run() { sample::left::glass(); }",
);

#[test]
fn a_sound_tree_passes() {
    assert_eq!(breaches(&[PROGRAM, PART]), [""; 0]);
}

#[test]
fn an_import_upward_is_found_however_it_is_written() {
    for path in [
        "use crate::roof;",
        "use crate::roof::roof;",
        "use crate::{left as l, roof::{roof as r}};",
        "fn f() { crate::roof::roof() }",
        "fn f() { super::roof::roof() }",
        "mod inner { fn f() { super::super::roof::roof() } }",
        "use super::roof as other; fn f() { other::roof() }",
        "pub use crate::roof::roof;",
        "pub use crate::roof::*;",
    ] {
        let source = format!("pub struct Stone; {path}");
        let found = breaches(&[PROGRAM, PART, ("src/ground.rs", &source)]);
        let of_rule = |line: &&String| line.starts_with("a room names only rooms below it");
        assert!(
            found.iter().any(|line| of_rule(&line)),
            "{path}: {found:#?}"
        );
    }
}

#[test]
fn rooms_on_one_floor_do_not_know_each_other() {
    let source = "use crate::left; pub fn door() -> crate::ground::Stone { todo!() }";
    assert_eq!(
        breach(&[PROGRAM, PART, ("src/right.rs", source)]),
        "a room names only rooms below it: src/right.rs:1: crate::left: right may not know left"
    );
}

#[test]
fn a_reexport_does_not_hide_where_a_thing_comes_from() {
    // ground is below right, but Wall, which it exports, is of left.
    let found = breaches(&[
        PROGRAM,
        PART,
        (
            "src/ground.rs",
            "pub struct Stone; pub use crate::left::Wall;",
        ),
        (
            "src/right.rs",
            "pub fn door(_: crate::ground::Wall) -> crate::ground::Stone { todo!() }",
        ),
    ]);
    let through = "src/right.rs:1: crate::ground::Wall: right may not know left";
    assert!(
        found.iter().any(|line| line.ends_with(through)),
        "{found:#?}"
    );
}

#[test]
fn two_files_that_name_each_other_are_a_circle() {
    let window = "use super::wall::Wall; pub fn glass(_: Wall) {}";
    assert_eq!(
        breach(&[PROGRAM, PART, ("src/left/window.rs", window)]),
        "no circle between files: src/left/wall.rs → src/left/window.rs\
         \n    src/left/wall.rs:1: super::glass\
         \n    src/left/window.rs:1: super::wall::Wall"
    );
}

#[test]
fn a_parent_that_only_declares_and_exports_is_in_no_circle() {
    let wall = "use super::{glass, Size}; pub struct Wall(Size);";
    let parent = "mod wall; mod window; pub use wall::Wall; pub use window::glass;\n\
        pub struct Size;";
    let sound = [PROGRAM, PART, ("src/left/wall.rs", wall)];
    assert_eq!(
        breaches(&[&sound[..], &[("src/left/mod.rs", parent)]].concat()),
        [""; 0]
    );

    // Now its own code uses what it exports.
    for code in [
        "pub fn area(_: &Wall) {}",
        "pub fn area(_: &wall::Wall) {}",
        "pub fn area(_: &self::wall::Wall) {}",
    ] {
        let parent = format!("{parent} {code}");
        let found = breach(&[&sound[..], &[("src/left/mod.rs", &parent)]].concat());
        assert!(found.starts_with("no circle between files"), "{found}");
    }
}

#[test]
fn names_through_a_star_are_followed() {
    let wall = "use super::*; pub struct Wall(Size);";
    let parent = "mod wall; mod window; pub use wall::*; pub use window::glass; pub struct Size; fn f(_: Wall) {}";
    let found = breach(&[
        PROGRAM,
        PART,
        ("src/left/wall.rs", wall),
        ("src/left/mod.rs", parent),
    ]);
    assert!(found.starts_with("no circle between files"), "{found}");
}

#[test]
fn folders_that_need_each_other_are_a_circle_even_if_no_files_are() {
    let found = breach(&[
        PROGRAM,
        PART,
        (
            "src/left/mod.rs",
            "mod a; mod b; mod wall; mod window; pub use wall::Wall; pub use window::glass;",
        ),
        ("src/left/a/mod.rs", "pub mod one; pub mod two;"),
        ("src/left/a/one.rs", "use crate::left::b::One;"),
        ("src/left/a/two.rs", "pub struct Two;"),
        ("src/left/b.rs", "mod inner; pub struct One;"),
        ("src/left/b/inner.rs", "use super::super::a::two::Two;"),
    ]);
    assert!(
        found.starts_with("no circle inside a folder: src/left/a/"),
        "{found}"
    );
}

#[test]
fn an_undrawn_room_and_a_drawn_one_that_is_missing() {
    let lib = "pub mod ground; pub mod left; pub mod cellar; pub mod roof;";
    let mut found = breaches(&[
        PROGRAM,
        PART,
        ("src/lib.rs", lib),
        ("src/cellar.rs", ""),
        ("src/roof.rs", ""),
    ]);
    found.sort();
    assert_eq!(
        found,
        [
            "the drawing has every room: the drawing lacks the room cellar",
            "the drawing has every room: the room right is drawn, but there is none; [right] plans one",
        ]
    );
}

#[test]
fn two_types_of_one_name() {
    let right = "struct Wall; pub fn door() -> crate::ground::Stone { todo!() }";
    assert_eq!(
        breach(&[PROGRAM, PART, ("src/right.rs", right)]),
        "a type's name is its own: Wall: src/left/wall.rs:1, src/right.rs:1"
    );
}

#[test]
fn a_long_line() {
    let source = format!("pub fn glass() {{}}\n// {}\n", "x".repeat(98));
    assert_eq!(
        breach(&[PROGRAM, PART, ("src/left/window.rs", &source)]),
        "no line over 100 columns: src/left/window.rs:2: 101 columns"
    );
    let source = source.replace("//", "#[cfg(test)] mod tests {}\n//");
    assert_eq!(
        breaches(&[PROGRAM, PART, ("src/left/window.rs", &source)]).len(),
        1
    );
    let source = source.replace("tests {}", "tests {").replace("x\n", "x\n}");
    assert_eq!(
        breaches(&[PROGRAM, PART, ("src/left/window.rs", &source)]),
        [""; 0]
    );
}

#[test]
fn a_path_that_leads_nowhere_is_reported() {
    let source = "pub fn door() -> crate::ground::Sand { todo!() }";
    assert_eq!(
        breach(&[PROGRAM, PART, ("src/right.rs", source)]),
        "every path leads somewhere: src/right.rs:1: crate::ground::Sand: nothing defines Sand"
    );
}

#[test]
fn tests_are_not_held_to_the_plan() {
    let ground = "pub struct Stone; #[cfg(test)] mod tests { use crate::roof::roof; }";
    assert_eq!(
        breaches(&[PROGRAM, PART, ("src/ground.rs", ground)]),
        [""; 0]
    );
}
