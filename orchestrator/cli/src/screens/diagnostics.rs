//! What is wrong with a document, drawn where it stands: the line, a mark under the place, how to mend it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::out::{Line, Tone, cut, escaped, width as wide, wrapped};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Diagnostic {
    pub(crate) code: String,
    #[serde(default = "error")]
    pub(crate) severity: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    #[serde(default)]
    pub(crate) width: usize,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) help: String,
}

fn error() -> String {
    "error".to_owned()
}

impl Diagnostic {
    /// One of the engine's own.
    pub(crate) fn of(one: &baton_engine::definition::Diagnostic, severity: &str) -> Self {
        Self {
            code: one.code.to_owned(),
            severity: severity.to_owned(),
            line: one.line,
            column: one.column,
            width: one.width,
            message: one.message.clone(),
            help: one.help.clone(),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// As `--json` gives it.
    pub(crate) fn to_json(&self, source: &str) -> Value {
        json!({
            "code": self.code, "severity": self.severity, "line": self.line, "column": self.column, "width": self.width,
            "message": self.message, "help": self.help, "source_line": source_line(source, self.line),
        })
    }
}

/// One of them, in its file.
pub(crate) fn lines(one: &Diagnostic, file: &str, source: &str, width: usize) -> Vec<Line> {
    let tone = if one.is_error() {
        Tone::Bad
    } else {
        Tone::Waits
    };
    let gutter = one.line.to_string().len();
    let blank = " ".repeat(gutter);
    let head = format!("{}[{}]", one.severity, one.code);
    let mut lines = sentence(&head, &one.message, width, tone);
    lines.push(
        Line::faint(format!("{blank}--> ")).plain(format!("{file}:{}:{}", one.line, one.column)),
    );
    if let Some(text) = source_line(source, one.line) {
        let (shown, before, marked) = window(
            text,
            (one.column, one.width),
            width.saturating_sub(gutter + 3),
        );
        lines.push(Line::faint(format!("{blank} |")));
        lines.push(Line::faint(format!("{} | ", one.line)).plain(shown));
        lines.push(
            Line::faint(format!("{blank} | "))
                .plain(" ".repeat(before))
                .with("^".repeat(marked), tone),
        );
    }
    if !one.help.is_empty() {
        let room = width.saturating_sub(gutter + 9).max(20);
        for (n, part) in wrapped(&one.help, room).into_iter().enumerate() {
            let lead = if n == 0 { "= help: " } else { "        " };
            lines.push(Line::faint(format!("{blank} {lead}")).plain(part));
        }
    }
    lines
}

/// `error[BT0003]: …`, wrapped under itself.
fn sentence(head: &str, message: &str, width: usize, tone: Tone) -> Vec<Line> {
    let text = format!("{head}: {message}");
    let parts = wrapped(&text, width);
    let mut lines: Vec<Line> = Vec::with_capacity(parts.len());
    for part in parts {
        match part.strip_prefix(head) {
            Some(rest) if lines.is_empty() => {
                lines.push(Line::of(head, tone).with(rest, Tone::Strong))
            }
            _ => lines.push(Line::of(part, Tone::Strong)),
        }
    }
    lines
}

fn source_line(source: &str, line: usize) -> Option<&str> {
    source.lines().nth(line.checked_sub(1)?)
}

/// The part of a line around a column that fits, how many cells stand before the place, and how many it takes.
fn window(text: &str, (column, marked): (usize, usize), room: usize) -> (String, usize, usize) {
    let room = room.max(20);
    let at = column.saturating_sub(1);
    let before: String = text.chars().take(at).collect();
    let from = text.chars().skip(at);
    let token: String = if marked > 0 {
        from.take(marked).collect()
    } else {
        from.take_while(|c| !c.is_whitespace() && !matches!(c, ':' | ',' | '}' | ']'))
            .collect()
    };
    let marked = wide(&escaped(&token)).max(1);
    let before = escaped(&before).replace('\t', " ");
    let rest: String = text.chars().skip(at).collect();
    if wide(&before) + marked <= room {
        let shown = cut(&format!("{before}{}", escaped(&rest)), room);
        return (shown, wide(&before), marked);
    }
    // far to the right: the line is shown from shortly before the place
    let lead: String = before
        .chars()
        .rev()
        .take(room / 3)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let shown = cut(&format!("…{lead}{}", escaped(&rest)), room);
    let place = 1 + wide(&lead);
    (shown, place, marked.min(room.saturating_sub(place)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place() {
        assert_eq!(
            window("    tusk: a", (5, 0), 60),
            ("    tusk: a".to_owned(), 4, 4)
        );
        assert_eq!(window("", (1, 0), 60), (String::new(), 0, 1));
        let long = format!("{}here: x", "y".repeat(200));
        let (shown, before, marked) = window(&long, (201, 0), 30);
        assert_eq!(
            shown.chars().skip(before).take(marked).collect::<String>(),
            "here"
        );
        assert!(wide(&shown) <= 30, "{shown}");
    }
}
