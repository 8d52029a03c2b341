//! Reads the imports of a crate's `src/` and holds them against the drawing in ARCHITECTURE.md.
//!
//! `make lint` runs the program `floorplan`; the rules that it holds are these.
//!
//! **Rooms.** A room is a module that `lib.rs` declares, a file or a folder. The programs in
//! `src/bin` are one room, `bin`. The drawing is the block of ARCHITECTURE.md whose fence says
//! `floorplan`: one floor a line, the top floor first, the rooms of a floor separated by `·`. A room
//! in brackets is planned and may be missing.
//!
//! 1. Every room is in the drawing, and every room of the drawing exists.
//! 2. A room names only rooms of lower floors. Rooms on one floor do not know each other.
//! 3. No circle between files.
//! 4. No circle inside a room between the folders and files that lie in one folder.
//! 5. No two types in `src/` have the same name.
//! 6. No line of `src/` is longer than 100 characters, tests aside: rustfmt leaves the inside of
//!    `proptest!` alone.
//!
//! **What counts as an import.** A path that starts in the crate: in a `use` (nested groups, too), and
//! in code (`crate::net::x()`, `super::super::x`, `child::x()`). Tests do not count: what is behind
//! `#[cfg(test)]` is not read.
//!
//! **Which file it leads to.** For rule 2 both the room that the path names and the room that defines
//! the item: a re-export does not hide where a thing comes from. For rules 3 and 4 only the file that
//! defines the item, found through every `pub use` on the way. So `super::Name` leads to the `mod.rs`
//! only if `mod.rs` defines `Name` itself.
//!
//! **What a `mod.rs` may do.** `mod child;` and `pub use child::Name;` are a table of contents, not an
//! import. If its own code then mentions `Name`, the re-export is an import, too. A plain `use` always
//! is one.
//!
//! What is not seen: names made by macros, and methods of a value whose type a file never names. An
//! `impl` of one type in several files is therefore seen from the side of the `impl`, not of the call.

pub mod drawing;
pub mod graph;
pub mod house;
pub mod lexer;
pub mod modules;
pub mod parser;
pub mod rules;
