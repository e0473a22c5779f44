//! From the tree to a definition: the reader that collects what is wrong, and the keys of the document's top.

use baton_messages::TaskType;

use super::diagnostic::{Diagnostic, code};
use super::read_step::{self, Draft};
use super::schema::InputSchema;
use super::step::Step;
use super::yaml::{self, Content, Entry, Mark, Node};
use super::{
    DEFINITION_BYTES_MAX, Definition, LABELS_MAX, OWNER_DEFAULT, STEPS_MAX, check, duration, graph,
};
use crate::expr::Template;

const KEYS: &[&str] = &[
    "saga", "version", "title", "owner", "on", "input", "deadline", "labels", "steps", "output",
];
const KEYS_LATER: &[&str] = &["locks", "concurrency"];

/// Collects what is wrong, so that everything is said at once.
pub(super) struct Reader {
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    /// Notes one thing that is wrong.
    pub(super) fn report(
        &mut self,
        code: &'static str,
        mark: Mark,
        message: impl Into<String>,
        help: &str,
    ) {
        let Mark { line, column } = mark;
        let help = help.to_owned();
        self.diagnostics.push(Diagnostic {
            code,
            line,
            column,
            message: message.into(),
            help,
        });
    }

    /// How much is wrong so far.
    pub(super) fn count(&self) -> usize {
        self.diagnostics.len()
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
                "write `key: value` lines",
            );
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if later.contains(&key) {
                let help = "leave it out until a version supports it";
                self.report(
                    code::NOT_YET,
                    entry.mark,
                    format!("`{key}` is not supported yet"),
                    help,
                );
            } else if !keys.contains(&key) {
                let help = match nearest(key, keys.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{what} knows {}", keys.join(", ")),
                };
                self.report(
                    code::UNKNOWN_KEY,
                    entry.mark,
                    format!("{what} has no key `{key}`"),
                    &help,
                );
            }
        }
        Some(Object {
            mark: node.mark,
            entries,
        })
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
        if let Content::Scalar(serde_json::Value::String(text)) = &entry.value.content
            && !text.trim().is_empty()
        {
            return Some(text);
        }
        let message = format!("`{}` must be text", entry.key);
        self.report(
            code::SHAPE,
            entry.value.mark,
            message,
            "write it in quotes when it looks like a number or a word of YAML",
        );
        None
    }

    /// A duration in milliseconds.
    pub(super) fn duration(&mut self, entry: &Entry) -> Option<u64> {
        let shown = entry.value.to_json();
        let read = match &shown {
            serde_json::Value::String(text) => {
                duration::duration_ms(text).map_err(|why| format!("`{text}` {why}"))
            }
            serde_json::Value::Number(n) => Err(format!("`{n}` has no unit")),
            _ => Err("is no duration".to_owned()),
        };
        match read {
            Ok(ms) => Some(ms),
            Err(why) => {
                let help = "write a number and a unit: 500ms, 10s, 15m, 2h, 7d";
                self.report(
                    code::DURATION,
                    entry.value.mark,
                    format!("`{}`: {why}", entry.key),
                    help,
                );
                None
            }
        }
    }

    /// A template, its expressions compiled.
    pub(super) fn template(&mut self, node: &Node) -> Option<Template> {
        match Template::compile_all(&node.to_json()) {
            Ok(template) => Some(template),
            Err(errors) => {
                for error in errors {
                    let mark = node.mark_at(&error.at);
                    let message = if error.expression.is_empty() {
                        error.what
                    } else {
                        format!("`{}`: {}", error.expression, error.what)
                    };
                    self.report(code::EXPRESSION, mark, message, &error.hint);
                }
                None
            }
        }
    }

    /// As [`Self::template`], for what is stored and shown: no secrets.
    pub(super) fn open_template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let template = self.template(node)?;
        if template.holds_secret() {
            let message = format!("a secret cannot stand in {what}");
            self.report(
                code::SECRET,
                node.mark,
                message,
                "secrets go into the `with:` of a task, which the worker resolves",
            );
            return None;
        }
        Some(template)
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

/// Every variable a template reads, at the place of its string.
pub(super) fn reads(node: &Node, template: &Template) -> Vec<(Mark, String)> {
    let expressions = template.expressions().into_iter();
    expressions
        .flat_map(|(at, expr)| expr.roots().iter().map(move |root| (at, root)))
        .map(|(at, root)| (node.mark_at(at), root.clone()))
        .collect()
}

/// The known word nearest to one that is not known, if any is near.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.map(|k| (distance(word, k), k)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// How many letters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Reads a whole document.
pub(super) fn definition(source: &str) -> Result<Definition, Vec<Diagnostic>> {
    let mut reader = Reader {
        diagnostics: Vec::new(),
    };
    if source.len() > DEFINITION_BYTES_MAX {
        let message = format!(
            "the document has {} bytes; {DEFINITION_BYTES_MAX} are allowed",
            source.len()
        );
        reader.report(
            code::TOO_LARGE,
            Mark { line: 1, column: 1 },
            message,
            "split the saga",
        );
        return Err(reader.diagnostics);
    }
    let root = yaml::read(source)?;
    let read = document(&mut reader, &root, source);
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|d| (d.line, d.column));
    match read {
        Some(definition) if diagnostics.is_empty() => Ok(definition),
        _ => Err(diagnostics),
    }
}

fn document(reader: &mut Reader, root: &Node, source: &str) -> Option<Definition> {
    let top = reader.object(root, "a saga", KEYS, KEYS_LATER)?;
    let saga = reader
        .required(&top, "saga", "the document", "saga: my-saga")
        .and_then(|e| name(reader, e));
    let version = reader
        .required(&top, "version", "the document", "version: 1")
        .and_then(|e| version(reader, e));
    let title = top
        .get("title")
        .and_then(|e| reader.text(e))
        .map(str::to_owned);
    let owner = top
        .get("owner")
        .map_or(Some(OWNER_DEFAULT), |e| reader.text(e))
        .map(str::to_owned);
    let triggers = top
        .get("on")
        .and_then(|e| reader.list(e))
        .unwrap_or_default();
    let input_schema = top.get("input").and_then(|e| input_schema(reader, e));
    let deadline_ms = top.get("deadline").and_then(|e| reader.duration(e));
    let (labels, label_reads) = top
        .get("labels")
        .map(|e| labels(reader, e))
        .unwrap_or_default();
    let drafts = reader
        .required(&top, "steps", "the document", "steps:")
        .map(|e| steps(reader, e));
    let drafts = drafts.unwrap_or_default();
    let output = top
        .get("output")
        .and_then(|e| Some((e, reader.open_template(&e.value, "the output")?)));
    check::outside(reader, &label_reads, &drafts, false);
    if let Some((entry, template)) = &output {
        check::outside(reader, &reads(&entry.value, template), &drafts, true);
    }
    let graph = graph::build(reader, &drafts)?;
    check::steps(reader, &drafts, &graph.ancestors);
    Some(Definition {
        saga: saga?,
        version: version?,
        title,
        owner: owner?,
        input_schema,
        deadline_ms,
        labels,
        triggers: triggers.iter().map(Node::to_json).collect(),
        steps: assemble(drafts, graph)?,
        output: output.map(|(_, template)| template),
        source: source.into(),
    })
}

/// Puts drafts and order together; `None` when a draft has no kind, which has been reported.
fn assemble(drafts: Vec<Draft>, graph: graph::Graph) -> Option<Vec<Step>> {
    let graph::Graph {
        after,
        dependents,
        ancestors,
        descendants,
    } = graph;
    let order = after
        .into_iter()
        .zip(dependents)
        .zip(ancestors.into_iter().zip(descendants));
    let steps = drafts.into_iter().enumerate().zip(order);
    steps
        .map(
            |((index, draft), ((after, dependents), (ancestors, descendants)))| {
                Some(Step {
                    id: draft.id,
                    index,
                    after,
                    dependents,
                    ancestors,
                    descendants,
                    condition: draft.condition,
                    kind: draft.kind?,
                    pivot: draft.pivot_mark.is_some(),
                    on_error: draft.on_error,
                })
            },
        )
        .collect()
}

fn name(reader: &mut Reader, entry: &Entry) -> Option<String> {
    let text = reader.text(entry)?;
    // A saga is named like a task type without its version: `quarantine-host`, `switch.set-vlan`.
    if TaskType::new(&format!("{text}@1")).is_ok() {
        return Some(text.to_owned());
    }
    let help = "lower-case words joined by . and -, at most 118 characters: `quarantine-host`";
    reader.report(
        code::NAME,
        entry.value.mark,
        format!("`{text}` is no name of a saga"),
        help,
    );
    None
}

fn version(reader: &mut Reader, entry: &Entry) -> Option<u32> {
    let version = entry
        .value
        .to_json()
        .as_u64()
        .and_then(|n| u32::try_from(n).ok());
    if let Some(version) = version.filter(|n| *n >= 1) {
        return Some(version);
    }
    reader.report(
        code::RANGE,
        entry.value.mark,
        "`version` must be a whole number from 1",
        "write `version: 1`; a changed saga gets the next number",
    );
    None
}

fn input_schema(reader: &mut Reader, entry: &Entry) -> Option<InputSchema> {
    let schema = entry.value.to_json();
    if !schema.is_object() {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            "`input` must be a JSON Schema",
            "write `type: object` with `properties:` below it",
        );
        return None;
    }
    match InputSchema::compile(schema) {
        Ok(schema) => Some(schema),
        Err(why) => {
            reader.report(
                code::SCHEMA,
                entry.value.mark,
                format!("`input` is no JSON Schema: {why}"),
                "see https://json-schema.org",
            );
            None
        }
    }
}

type Labels = (Vec<(String, Template)>, Vec<(Mark, String)>);

fn labels(reader: &mut Reader, entry: &Entry) -> Labels {
    let mut labels = Vec::new();
    let mut found = Vec::new();
    let Content::Map(entries) = &entry.value.content else {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            "`labels` must be a mapping",
            "write `host: \"${ input.ip }\"`",
        );
        return (labels, found);
    };
    if entries.len() > LABELS_MAX {
        reader.report(
            code::TOO_LARGE,
            entry.mark,
            format!("{} labels; {LABELS_MAX} are allowed", entries.len()),
            "keep those people search by",
        );
    }
    for label in entries {
        if !label_name(&label.key) {
            let help = "a lower-case letter, then letters, digits, _ and -, at most 64";
            reader.report(
                code::NAME,
                label.mark,
                format!("`{}` is no name of a label", label.key),
                help,
            );
        }
        if !matches!(label.value.content, Content::Scalar(_)) {
            reader.report(
                code::SHAPE,
                label.value.mark,
                "a label is one value",
                "make a label of each part",
            );
        } else if let Some(template) = reader.open_template(&label.value, "a label") {
            found.extend(reads(&label.value, &template));
            labels.push((label.key.clone(), template));
        }
    }
    (labels, found)
}

fn label_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn steps(reader: &mut Reader, entry: &Entry) -> Vec<Draft> {
    let Some(items) = reader.list(entry) else {
        return Vec::new();
    };
    if items.is_empty() {
        reader.report(
            code::MISSING,
            entry.value.mark,
            "a saga has at least one step",
            "add `- id: …`",
        );
    }
    if items.len() > STEPS_MAX {
        let message = format!("{} steps; {STEPS_MAX} are allowed", items.len());
        reader.report(code::TOO_LARGE, entry.mark, message, "split the saga");
        return Vec::new();
    }
    read_step::steps(reader, items)
}
