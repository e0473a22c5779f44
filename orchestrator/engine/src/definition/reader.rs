//! The reader that collects what is wrong, and what every part of a document is read with.

use serde_json::Value;

use super::diagnostic::{Diagnostic, code};
use super::duration;
use super::yaml::{Content, Entry, Mark, Node, Spoilt};
use crate::expr::{Expr, Template};
pub(super) use crate::names::nearest;

/// Collects what is wrong, so that everything is said at once.
pub(super) struct Reader {
    diagnostics: Vec<Diagnostic>,
    spoilt: Spoilt,
}

impl Reader {
    /// One that has seen nothing wrong yet.
    pub(super) fn new() -> Self {
        Self {
            diagnostics: Vec::new(),
            spoilt: Spoilt::new(),
        }
    }

    /// All that is wrong, in the order of the document.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| (d.line, d.column));
        self.diagnostics.dedup();
        self.diagnostics
    }

    /// Notes one thing that is wrong.
    pub(super) fn report(
        &mut self,
        code: &'static str,
        mark: Mark,
        message: impl Into<String>,
        help: &str,
    ) {
        let Mark {
            line,
            column,
            width,
        } = mark;
        if self.spoilt.contains(&(line, column)) {
            return;
        }
        let help = help.to_owned();
        self.diagnostics.push(Diagnostic {
            code,
            line,
            column,
            width,
            message: message.into(),
            help,
        });
    }

    /// Takes over what was found wrong before, with the values of which nothing more is to be said.
    pub(super) fn take(&mut self, found: Vec<Diagnostic>, spoilt: Spoilt) {
        self.diagnostics.extend(found);
        self.spoilt = spoilt;
    }

    /// A mapping with known keys; the unknown ones are reported, with the nearest known one.
    pub(super) fn object<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        keys: &[&str],
        later: &[&str],
    ) -> Option<Object<'n>> {
        let Content::Map(entries) = &node.content else {
            self.report(
                code::SHAPE,
                node.mark,
                format!("{what} must be a mapping"),
                mapping_such_as(what),
            );
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if later.contains(&key) {
                let message = format!("{what} has no `{key}` of its own");
                let those = if key.ends_with('s') { "them" } else { "it" };
                let help = format!(
                    "write `{key}:` at the top of the saga, or make the step a saga (`saga: NAME@1`) that has {those}"
                );
                self.report(code::NOT_YET, entry.mark, message, &help);
            } else if !keys.contains(&key) {
                self.unknown_key(entry, what, keys);
            }
        }
        Some(Object {
            mark: node.mark,
            entries,
        })
    }

    /// Says of a key that nobody knows it, and which one may be meant.
    pub(super) fn unknown_key(&mut self, entry: &Entry, what: &str, keys: &[&str]) {
        let key = &entry.key;
        let help = match nearest(key, keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{what} knows {}", keys.join(", ")),
        };
        let message = format!("{what} has no key `{key}`");
        self.report(code::UNKNOWN_KEY, entry.mark, message, &help);
    }

    /// A key that must be there.
    pub(super) fn required<'n>(
        &mut self,
        object: &Object<'n>,
        key: &str,
        what: &str,
        example: &str,
    ) -> Option<&'n Entry> {
        let found = object.get(key);
        if found.is_none() {
            self.report(
                code::MISSING,
                object.mark,
                format!("{what} has no `{key}`"),
                &format!("add `{example}`"),
            );
        }
        found
    }

    /// Text that is not empty.
    pub(super) fn text<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        if let Content::Scalar(Value::String(text)) = &entry.value.content
            && !text.trim().is_empty()
        {
            return Some(text);
        }
        let (says, help) = match &entry.value.content {
            Content::Scalar(Value::String(_) | Value::Null) => {
                ("is empty", "write some text there")
            }
            _ => (
                "must be text",
                "write it in quotes when it looks like a number or a word of YAML",
            ),
        };
        let message = format!("`{}` {says}", entry.key);
        self.report(code::SHAPE, entry.value.mark, message, help);
        None
    }

    /// Text that is not empty, of a key that has to be there: what it looks like helps who left it empty.
    pub(super) fn text_such_as<'n>(&mut self, entry: &'n Entry, help: &str) -> Option<&'n str> {
        let is_empty = match &entry.value.content {
            Content::Scalar(Value::String(text)) => text.trim().is_empty(),
            Content::Scalar(Value::Null) => true,
            _ => false,
        };
        if is_empty {
            let message = format!("`{}` is empty", entry.key);
            self.report(code::SHAPE, entry.value.mark, message, help);
            return None;
        }
        self.text(entry)
    }

    /// A duration in milliseconds.
    pub(super) fn duration(&mut self, entry: &Entry) -> Option<u64> {
        let shown = entry.value.to_json();
        let read = match &shown {
            Value::String(text) => {
                duration::duration_ms(text).map_err(|why| format!("`{text}` {why}"))
            }
            Value::Number(n) => Err(format!("`{n}` has no unit")),
            _ => Err("is no duration".to_owned()),
        };
        match read {
            Ok(ms) => Some(ms),
            Err(why) => {
                let help = "write a number and a unit: 500ms, 10s, 15m, 2h, 7d";
                let mut mark = entry.value.mark;
                if let Some(text) = shown.as_str().filter(|text| text.contains(' ')) {
                    mark.width = text.chars().count();
                }
                self.report(
                    code::DURATION,
                    mark,
                    format!("`{}`: {why}", entry.key),
                    help,
                );
                None
            }
        }
    }

    /// A template, its expressions compiled. What cannot be read is reported, and something nobody knows anything of stands in its place.
    pub(super) fn template(&mut self, node: &Node) -> Template {
        let (template, errors) = Template::readable(&node.to_json());
        for error in errors {
            let at = node.at(&error.at);
            let mark = match error.offset {
                Some(offset) => at.part(&error.expression, 0, offset..offset + error.width),
                None => at.part(&error.expression, 0, 0..error.expression.chars().count()),
            };
            let message = if error.expression.is_empty() {
                error.what
            } else {
                format!("`{}`: {}", error.expression, error.what)
            };
            self.report(code::EXPRESSION, mark, message, &error.hint);
        }
        template
    }

    /// As [`Self::template`], for what is stored and shown: no secrets.
    pub(super) fn open_template(&mut self, node: &Node, what: &str) -> Template {
        let template = self.template(node);
        if template.holds_secret() {
            let message = format!("a secret cannot stand in {what}");
            self.report(
                code::SECRET,
                node.mark,
                message,
                "secrets go into the `with:` of a task, which the worker resolves",
            );
            return Template::unreadable();
        }
        template
    }

    /// One expression that is to be true or false, with every variable it reads.
    pub(super) fn condition(&mut self, entry: &Entry) -> Option<(Expr, Vec<(Mark, String)>)> {
        let template = self.open_template(&entry.value, "a condition");
        if let Some(expr) = template.as_hole() {
            return Some((expr.clone(), reads(&entry.value, &template)));
        }
        if let Some(Value::Bool(value)) = template.as_literal() {
            let constant = Expr::compile(if *value { "true" } else { "false" }).ok()?;
            return Some((constant, Vec::new()));
        }
        let message = format!("`{}` must be one expression", entry.key);
        let help = format!("write `{}: \"${{ input.count > 3 }}\"`", entry.key);
        self.report(code::SHAPE, entry.value.mark, message, &help);
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
        let value = entry.value.to_json();
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let (last, first) = known.split_last().unwrap_or((&"", &[]));
            let message = format!("`{}` must be {} or {last}", entry.key, first.join(", "));
            let written = value.as_str().unwrap_or_default();
            let help = match nearest(written, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write `{}: {}`", entry.key, known.first().unwrap_or(&"")),
            };
            self.report(code::RANGE, entry.value.mark, message, &help);
        }
        found.map(|(_, value)| *value)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, entry: &'n Entry) -> Option<&'n [Node]> {
        if let Content::List(items) = &entry.value.content {
            return Some(items);
        }
        let message = format!("`{}` must be a list", entry.key);
        self.report(
            code::SHAPE,
            entry.value.mark,
            message,
            "write `[a, b]`, or lines that start with `- `",
        );
        None
    }
}

/// What a mapping looks like, by what it is.
fn mapping_such_as(what: &str) -> &'static str {
    match what {
        "a saga" => "begin with lines such as `saga: my-saga`, `version: 1` and `steps:`",
        "a step" => "write `- id: my_step`, and below it what it does: `task: area.verb-noun@1`",
        "a retry" => "write `retry: { attempts: 5 }`",
        "a wait" => "write `wait: { event: com.example.paid, timeout: 2h }`",
        "an approval" => "write `approve: { by: operator, timeout: 2h }`",
        "an event" => "write `emit: { type: com.example.released }`",
        "an undo" => "write `undo: { task: …, with: … }`",
        "a probe" => "write `probe: { task: …, with: … }`",
        "`concurrency`" => "write `concurrency: { max: 3 }`",
        "`blast_radius`" => "write `blast_radius: { max: 5, per: 1h }`",
        "`work_items`" => "write `work_items: { due: 4h }`",
        "an escalation" => "write `- { after: 1h, to: admin }`",
        _ => "write `key: value` lines",
    }
}

/// A mapping whose keys have been looked at.
pub(super) struct Object<'n> {
    pub(super) mark: Mark,
    pub(super) entries: &'n [Entry],
}

impl<'n> Object<'n> {
    /// The entry of a key, unless its value is left empty on purpose.
    pub(super) fn get(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Every variable a template reads, at the place of its name.
pub(super) fn reads(node: &Node, template: &Template) -> Vec<(Mark, String)> {
    let expressions = template.expressions().into_iter();
    expressions
        .flat_map(|(at, expr)| expr.roots().iter().map(move |root| (at, expr, root)))
        .map(|(at, expr, root)| {
            let start = word_at(expr.text(), root);
            let place = start..start + root.chars().count();
            (node.at(at).part(expr.text(), 0, place), root.clone())
        })
        .collect()
}

/// Where a name stands by itself in an expression, in characters; its beginning when it is written otherwise.
fn word_at(text: &str, name: &str) -> usize {
    let a_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let alone = |at: &usize| {
        let before = text[..*at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(a_part) && !after.is_some_and(|c| c != '.' && a_part(c))
    };
    let mut places = text.match_indices(name).map(|(at, _)| at);
    places
        .find(alone)
        .map_or(0, |at| text[..at].chars().count())
}
