//! Text from outside, made fit for a terminal: what would steer it is escaped, widths are those of a terminal's cells, long text is cut
//! or wrapped.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Whether a character steers a terminal, or turns around what is read.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same text with everything that steers a terminal written as an escape: an answer never moves the cursor.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// JSON with the control characters beyond ASCII written as escapes too: some terminals obey them.
pub(crate) fn escaped_json(text: &str) -> Cow<'_, str> {
    let steers_json = |c: char| c != '\n' && steers(c);
    if !text.chars().any(steers_json) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers_json(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// How many cells of a terminal it takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// At most so wide: cut with a mark where it is wider.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1; // the mark
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > limit {
            break;
        }
        kept.push(c);
    }
    format!("{}…", kept.trim_end())
}

/// Exactly so wide.
pub(crate) fn padded(text: &str, limit: usize, right: bool) -> String {
    let text = cut(text, limit);
    let blank = " ".repeat(limit.saturating_sub(width(&text)));
    if right { blank + &text } else { text + &blank }
}

/// Lines of whole words, escaped, each at most so wide; a longer word stands alone and whole: it may be something to copy.
pub(crate) fn wrapped(text: &str, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let paragraph = escaped(paragraph);
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && width(&line) + 1 + width(word) > limit {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(escaped("plain äöü 漢字"), "plain äöü 漢字");
        assert_eq!(escaped("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(
            escaped("a\nb\tc\u{9b}d\u{202e}"),
            "a\\nb\\tc\\u{9b}d\\u{202e}"
        );
        let json = escaped_json("{\n \"a\": \"\u{9b}2J\"}");
        assert_eq!(json, "{\n \"a\": \"\\u009b2J\"}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["a"], "\u{9b}2J");
    }

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(padded("漢", 4, false), "漢  ");
        assert_eq!(padded("7", 3, true), "  7");
    }

    #[test]
    fn words_are_wrapped_and_never_torn() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a verylongword b", 5), ["a", "verylongword", "b"]);
        assert_eq!(wrapped("one\ntwo", 20), ["one", "two"]);
    }
}
