//! What the commands print. Messages never hold a character that could change a terminal or forge a
//! line. Data stay as they are for other programs, and are made harmless for a terminal only.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Stdout, Write};

use amp_forwarder::report::{plain, plain_json};

/// Prints a message on standard output.
pub(super) fn say(message: impl Display) {
    println!("{}", plain(&message.to_string()));
}

/// Prints a text that ends its lines itself.
pub(super) fn say_text(text: &str) {
    print!("{}", plain(text));
}

/// Prints a message on standard error.
pub(super) fn tell(message: impl Display) {
    eprintln!("{}", plain(&message.to_string()));
}

/// Prints a JSON document on a line of standard output.
pub(super) fn say_json(document: impl Display) {
    println!("{}", plain_json(&document.to_string()));
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
