//! What the commands print. Messages never hold a character that could change a terminal or forge a
//! line. Data stay as they are for other programs, and are made harmless for a terminal only.
//!
//! Colours are for a terminal only, and for one that is not told otherwise. In a message they are
//! control characters, which no text from elsewhere has once it is a [`plain_line`], and which
//! become the terminal's own sequences when the message is printed.
//!
//! [`plain_line`]: amp_forwarder::report::plain_line

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Stdout, Write};
use std::sync::LazyLock;

use amp_forwarder::report::{is_hidden, plain, plain_json};

/// A colour of a word in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Something is wrong.
    Red,
    /// Something is fine.
    Green,
    /// Something is doubtful.
    Yellow,
}

impl Colour {
    /// The control character that stands for the colour.
    fn mark(self) -> char {
        match self {
            Self::Red => '\u{1}',
            Self::Green => '\u{2}',
            Self::Yellow => '\u{3}',
        }
    }
}

/// The control character that ends a coloured word.
const END: char = '\u{4}';

/// What a terminal takes for a control character of ours.
fn sequence(mark: char) -> Option<&'static str> {
    match mark {
        '\u{1}' => Some("\u{1b}[31m"),
        '\u{2}' => Some("\u{1b}[32m"),
        '\u{3}' => Some("\u{1b}[33m"),
        END => Some("\u{1b}[0m"),
        _ => None,
    }
}

/// Whether standard output takes colours. // <https://no-color.org>
static COLOURS: LazyLock<bool> = LazyLock::new(|| {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !is_dumb
});

/// A word in a colour, for a message of [`say`] or [`say_text`].
pub(super) fn painted(word: &str, colour: Colour) -> String {
    format!("{}{word}{END}", colour.mark())
}

/// A message with harmless characters only, and its colours as the terminal has them.
fn coloured(message: &str, colours: bool) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match sequence(c) {
            Some(sequence) if colours => text.push_str(sequence),
            Some(_) => {}
            None if is_hidden(c) && !matches!(c, '\n' | '\t') => text.push('\u{fffd}'),
            None => text.push(c),
        }
    }
    text
}

/// Prints a message on standard output.
pub(super) fn say(message: impl Display) {
    print(&format!("{}\n", coloured(&message.to_string(), *COLOURS)));
}

/// Prints a text that ends its lines itself.
pub(super) fn say_text(text: &str) {
    print(&coloured(text, *COLOURS));
}

/// Prints a message on standard error. A reader that has gone, as after `2>&1 | head`, is no error.
pub(super) fn tell(message: impl Display) {
    let _ = writeln!(io::stderr(), "{}", plain(&message.to_string()));
}

/// Asks for an answer on standard error, which stays on the line.
pub(super) fn prompt() {
    let _ = write!(io::stderr(), "> ");
}

/// Prints a JSON document on a line of standard output.
pub(super) fn say_json(document: impl Display) {
    print(&format!("{}\n", plain_json(&document.to_string())));
}

/// Writes to standard output. A reader that has gone, as after `| head`, is no error; anything else
/// that keeps the result from being written ends the program.
fn print(text: &str) {
    let mut out = io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tell(format!("cannot write to standard output: {error}"));
        std::process::exit(1);
    }
}

/// Standard output for data.
pub(super) fn data_out() -> DataWriter<Stdout> {
    let out = io::stdout();
    DataWriter {
        is_terminal: out.is_terminal(),
        out,
        rest: Vec::new(),
    }
}

/// Writes data. For a terminal, harmful characters are replaced.
pub(super) struct DataWriter<W> {
    is_terminal: bool,
    out: W,
    /// The first bytes of a character that is not complete yet.
    rest: Vec<u8>,
}

impl<W: Write> Write for DataWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.out.write(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            // Only the end of the bytes can be incomplete; anything else is shown as damaged.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        self.out.write_all(plain(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_ours_alone_and_none_without_a_terminal() {
        let message = format!("{}\u{1b}[31m fine", painted("FAIL", Colour::Red));
        assert_eq!(coloured(&message, false), "FAIL\u{fffd}[31m fine");
        assert_eq!(
            coloured(&message, true),
            "\u{1b}[31mFAIL\u{1b}[0m\u{fffd}[31m fine"
        );
    }

    #[test]
    fn data_are_harmless_on_a_terminal_and_unchanged_elsewhere() {
        let hostile = "m{a=\"\u{1b}[2J\u{9b}é\u{202e}\"} 1\n".as_bytes();
        for (is_terminal, shown) in [
            (true, "m{a=\"\u{fffd}[2J\u{fffd}é\u{fffd}\"} 1\n".as_bytes()),
            (false, hostile),
        ] {
            for cut in 0..hostile.len() {
                let mut writer = DataWriter {
                    is_terminal,
                    out: Vec::new(),
                    rest: Vec::new(),
                };
                writer.write_all(&hostile[..cut]).unwrap();
                writer.write_all(&hostile[cut..]).unwrap();
                writer.flush().unwrap();
                assert_eq!(writer.out, shown, "cut at {cut}");
            }
        }
    }
}
