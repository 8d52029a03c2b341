//! Text from elsewhere, as people may be shown it. Names of objects, labels and messages of other
//! programs can hold characters that change a terminal, forge lines, or turn the order of letters
//! round.

use std::borrow::Cow;

/// Whether a character is not shown as itself: a control character (C0, DEL, C1), one that breaks
/// lines, one that changes the direction of text (UAX #9), or an invisible one.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text of one line: each character that is not shown as itself becomes `�`.
///
/// ```
/// use amp_forwarder::report::plain_line;
///
/// assert_eq!(plain_line("amp\u{1b}[2J\nerror: forged"), "amp\u{fffd}[2J\u{fffd}error: forged");
/// assert_eq!(plain_line("pièce 1"), "pièce 1");
/// ```
#[must_use]
pub fn plain_line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden)
}

/// A text of several lines: as [`plain_line`], but line breaks and tabs stay.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

fn replaced(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().any(&is_bad) {
        let replace = |c| if is_bad(c) { '\u{fffd}' } else { c };
        Cow::Owned(text.chars().map(replace).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// A JSON document whose strings hold no such character as itself: they are escaped, and mean the
/// same.
///
/// ```
/// use amp_forwarder::report::plain_json;
///
/// let value = serde_json::json!({"name": "a\u{202e}b\u{9b}1\u{e0001}"});
/// let json = value.to_string();
/// let text = plain_json(&json);
/// assert_eq!(text, r#"{"name":"a\u202eb\u009b1\udb40\udc01"}"#);
/// assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
/// ```
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_hidden(c) && c != '\n';
    if !json.chars().any(is_bad) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_bad(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}
