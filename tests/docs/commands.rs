//! Commands: those that blocks show, and those that sentences name.

use std::collections::BTreeSet;
use std::process::Command;

use super::markdown::{Page, read, root};

/// Programs of others, whose commands are not checked here. infra/README.md's own are run on moto
/// (tests/infra), promtool's by tests/real/spool_cli.
const OTHERS: [&str; 7] = ["aws", "cd", "export", "less", "npm", "npx", "promtool"];

/// The commands of a block, without prompts and comments.
pub(crate) fn shown(block: &str) -> Vec<String> {
    block
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(|line| {
            let (command, _) = line.split_once(" #").unwrap_or((line, ""));
            command.trim().to_owned()
        })
        .collect()
}

/// All single commands that a page shows.
fn single(page: &Page) -> Vec<String> {
    page.blocks("console")
        .iter()
        .flat_map(|block| shown(block))
        .flat_map(|line| {
            line.split(" && ")
                .flat_map(|command| command.split(" | "))
                .map(|command| command.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Writes out `a|b`: a line for each of them. Brackets around what may be left out are taken away.
fn written_out(command: &str) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    for word in command.split(' ') {
        let word = word.trim_matches(['[', ']', '…']);
        if word.is_empty() {
            continue;
        }
        // `ACTION=a|b` is a choice of values.
        let (name, choices) = word.split_at(word.find('=').map_or(0, |at| at + 1));
        lines = choices
            .split('|')
            .flat_map(|choice| {
                lines.iter().map(move |line| {
                    let mut line = line.clone();
                    line.push(format!("{name}{choice}"));
                    line
                })
            })
            .collect();
    }
    lines
}

/// Whether the program's own parser knows subcommand and options. `--help` at the end keeps it from
/// doing anything.
fn forwardctl_takes(arguments: &[String]) -> Result<(), String> {
    // `NAME` stands for a name, and not every option takes one in capitals.
    let is_stand_in = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
    let arguments = arguments.iter().map(|word| {
        if is_stand_in(word) {
            word.to_lowercase()
        } else {
            word.clone()
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_forwardctl"))
        .args(arguments)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    // A sentence may name an option without its value.
    if output.status.success() || message.contains("a value is required for") {
        return Ok(());
    }
    Err(message.lines().next().unwrap_or_default().to_owned())
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    read("Makefile")
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', ' ']))
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, rest)| !rest.starts_with('=') && !name.contains(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether a variable means something to the Makefile or to a script that it runs.
fn is_variable(name: &str) -> bool {
    let mut texts = vec![read("Makefile")];
    for entry in std::fs::read_dir(root().join("infra/sam")).unwrap() {
        let path = entry.unwrap().path();
        let is_script = path
            .extension()
            .is_some_and(|end| end == "py" || end == "sh");
        if is_script {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts.iter().any(|text| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == name)
    })
}

fn make_takes(words: &[String]) -> Result<(), String> {
    let targets = targets();
    for word in words {
        match word.split_once('=') {
            Some((name, _)) if is_variable(name) => {}
            Some((name, _)) => return Err(format!("nothing reads {name}")),
            None if targets.contains(word) => {}
            None => return Err(format!("the Makefile has no {word}")),
        }
    }
    Ok(())
}

/// What is wrong with a command, if anything.
fn problem(command: &str) -> Option<String> {
    written_out(command).iter().find_map(|line| {
        let arguments = &line[1..];
        let checked = match line[0].as_str() {
            // A variable before the program.
            _ if line[0].contains('=') => Ok(()),
            "forwardctl" if arguments.first().is_some_and(|word| word == "COMMAND") => Ok(()),
            "forwardctl" => forwardctl_takes(arguments),
            "make" => make_takes(arguments),
            "cargo" if ["install", "test", "run", "bench"].contains(&arguments[0].as_str()) => {
                Ok(())
            }
            program if OTHERS.contains(&program) => Ok(()),
            program => Err(format!("{program} is not known here")),
        };
        checked.err()
    })
}

#[test]
fn every_command_that_a_page_shows_exists() {
    let mut problems = Vec::new();
    let mut checked = BTreeSet::new();
    for page in Page::all() {
        let named = page.inline_code().into_iter().filter(|code| {
            // Sentences also name programs and targets alone.
            code.starts_with("forwardctl ") || code.starts_with("make ")
        });
        for command in single(&page).into_iter().chain(named) {
            if let Some(problem) = problem(&command) {
                problems.push(format!("{}: {command}: {problem}", page.name()));
            }
            checked.insert(command);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked.len() > 60, "{}", checked.len());
}

#[test]
fn a_wrong_command_is_found() {
    for wrong in [
        "forwardctl inspect",
        "forwardctl check --on-line",
        "forwardctl spool ls|burn",
        "forwardctl verify --last soon",
        "make ship",
        "make invoke NOTHING=check",
        "curl x",
    ] {
        assert!(problem(wrong).is_some(), "{wrong}");
    }
    for right in [
        "forwardctl spool export [-o FILE]",
        "make deploy ZIP=a",
        "cd x",
    ] {
        assert_eq!(problem(right), None, "{right}");
    }
}
