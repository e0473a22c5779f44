//! The data-flow checker: what is handed to each task, held against the schema the catalogue has for it. Says only what is certain without
//! running anything: of literals, of texts, and of plain paths whose own schema says what they are. Everything else is looked at when
//! the step is sent.

use baton_messages::TaskType;
use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, code};
use super::reader::nearest;
use super::schema_type::{Types, resolve};
use super::step::{StepKind, UndoPlan};
use super::yaml::{self, Mark, Node};
use super::{Definition, Step};
use crate::catalogue::Catalogue;
use crate::expr::{Shape, Template, Way};

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What cannot work.
    pub errors: Vec<Diagnostic>,
    /// What is likely a mistake.
    pub warnings: Vec<Diagnostic>,
}

impl Definition {
    /// Holds every `with` against the input schema of its task, and every plain path against the schema of the saga's input or of the output it reads. A
    /// task type the catalogue does not have is a warning: a worker may announce it later.
    #[must_use]
    pub fn check_flow(&self, catalogue: &Catalogue) -> Checked {
        let Ok(tree) = yaml::read(&self.source) else {
            return Checked::default();
        };
        let mut flow = Flow {
            definition: self,
            catalogue,
            tree,
            found: Checked::default(),
        };
        for step in &self.steps {
            flow.step(step);
        }
        let mut found = flow.found;
        found.errors.sort_by_key(|d| (d.line, d.column));
        found.warnings.sort_by_key(|d| (d.line, d.column));
        found
    }
}

struct Flow<'a> {
    definition: &'a Definition,
    catalogue: &'a Catalogue,
    tree: Node,
    found: Checked,
}

/// What a value is handed to: a schema within its document, and the name of the task for people.
#[derive(Clone, Copy)]
struct Target<'a> {
    root: &'a Value,
    schema: &'a Value,
    task: &'a TaskType,
}

impl Flow<'_> {
    fn step(&mut self, step: &Step) {
        let StepKind::Task(task) = &step.kind else {
            return;
        };
        let at = format!("/steps/{}", step.index);
        self.task(&task.task_type, &task.with, &at);
        if let UndoPlan::Task(undo) = &task.undo {
            self.task(&undo.task_type, &undo.with, &format!("{at}/undo"));
        }
        if let Some(probe) = &task.probe {
            self.task(&probe.task_type, &probe.with, &format!("{at}/probe"));
        }
    }

    fn task(&mut self, task: &TaskType, with: &Template, at: &str) {
        let catalogue = self.catalogue;
        let Some(known) = catalogue.get(task) else {
            return self.unknown_task(task, &format!("{at}/task"));
        };
        let schema = &known.manifest.input;
        let target = Target {
            root: schema,
            schema,
            task,
        };
        self.value(&with.shape(), target, &format!("{at}/with"));
    }

    fn unknown_task(&mut self, task: &TaskType, at: &str) {
        let names = self.catalogue.manifests().map(|m| m.task_type.as_str());
        let help = match nearest(task.as_str(), names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `baton tasks` for those known; a worker may announce it later".to_owned(),
        };
        let message = format!("no worker has announced `{task}`");
        let warning = diagnostic(code::UNKNOWN_TASK, self.tree.mark_at(at), message, help);
        self.found.warnings.push(warning);
    }

    fn error(&mut self, at: &str, message: String, help: String) {
        let mark = self.tree.mark_at(at);
        let error = diagnostic(code::FLOW, mark, message, help);
        self.found.errors.push(error);
    }

    /// One value against one schema.
    fn value(&mut self, shape: &Shape<'_>, target: Target<'_>, at: &str) {
        let schema = resolve(target.root, target.schema);
        let target = Target { schema, ..target };
        let takes = Types::of(schema);
        match shape {
            Shape::Any => {}
            Shape::Text => self.kinds(&Types::one("string"), &takes, "this text", target, at),
            Shape::Path { root, way, text } => {
                if let Some(is) = self.path(root, way, text, at) {
                    self.kinds(&is, &takes, &format!("`{text}`"), target, at);
                }
            }
            Shape::Literal(Value::Object(map)) => {
                let entries = map.iter().map(|(k, v)| (k.as_str(), Shape::Literal(v)));
                self.object(&entries.collect::<Vec<_>>(), &takes, target, at);
            }
            Shape::Literal(Value::Array(items)) => {
                let items: Vec<Shape<'_>> = items.iter().map(Shape::Literal).collect();
                self.list(&items, &takes, target, at);
            }
            Shape::Literal(value) => self.literal(value, target, at),
            Shape::Object(entries) => self.object(entries, &takes, target, at),
            Shape::List(items) => self.list(items, &takes, target, at),
        }
    }

    fn kinds(&mut self, is: &Types, takes: &Types, what: &str, target: Target<'_>, at: &str) {
        if !is.may_fit(takes) {
            let message = format!("{what} is {is}, and {} takes {takes} here", target.task);
            let help = "convert it with string(…), int(…) or double(…), or hand on something else";
            self.error(at, message, help.to_owned());
        }
    }

    fn literal(&mut self, value: &Value, target: Target<'_>, at: &str) {
        // A schema that points elsewhere cannot be compiled by itself.
        if target.schema.to_string().contains("\"$ref\"") {
            let is = Types::of_value(value);
            return self.kinds(&is, &Types::of(target.schema), "this", target, at);
        }
        let Ok(validator) = jsonschema::validator_for(target.schema) else {
            return;
        };
        if let Some(misfit) = validator.iter_errors(value).next() {
            let message = format!("does not fit {}: {misfit}", target.task);
            self.error(at, message, String::new());
        }
    }

    fn list(&mut self, items: &[Shape<'_>], takes: &Types, target: Target<'_>, at: &str) {
        self.kinds(&Types::one("array"), takes, "this list", target, at);
        if let Some(schema) = target.schema.get("items") {
            for (n, item) in items.iter().enumerate() {
                self.value(item, Target { schema, ..target }, &format!("{at}/{n}"));
            }
        }
    }

    fn object(
        &mut self,
        entries: &[(&str, Shape<'_>)],
        takes: &Types,
        target: Target<'_>,
        at: &str,
    ) {
        if entries
            .iter()
            .any(|(key, _)| *key == crate::expr::SECRET_KEY)
        {
            return;
        }
        self.kinds(&Types::one("object"), takes, "this", target, at);
        let properties = target.schema.get("properties").and_then(Value::as_object);
        let closed = target.schema.get("additionalProperties") == Some(&Value::Bool(false));
        for (key, value) in entries {
            let below = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            match properties.and_then(|all| all.get(*key)) {
                Some(schema) => self.value(value, Target { schema, ..target }, &below),
                None if closed => {
                    let names: Vec<&str> = properties
                        .map(|all| all.keys().map(String::as_str).collect())
                        .unwrap_or_default();
                    let message = format!("{} takes no `{key}`", target.task);
                    self.error(&below, message, did_you_mean(key, &names, "it takes"));
                }
                None => {}
            }
        }
        let required = target.schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|(there, _)| *there == key) {
                let message = format!("{} needs `{key}`, which is not there", target.task);
                self.error(at, message, format!("add `{key}: …`"));
            }
        }
    }

    /// What a path is, where its schema says so. A path that leads nowhere is an error where the schema says that there is nothing else, and else a warning
    /// when something near is there.
    fn path(&mut self, root: &str, way: &[Way<'_>], text: &str, at: &str) -> Option<Types> {
        let document = self.schema_of(root)?;
        let mut schema = resolve(&document, &document);
        for part in way {
            let types = Types::of(schema);
            let (needed, next) = match part {
                Way::Key(key) => ("object", self.below(schema, key, text, at)),
                Way::Index(_) => ("array", schema.get("items")),
            };
            if !types.may_fit(&Types::one(needed)) {
                let message =
                    format!("`{text}` does not exist: there is {types}, with nothing inside");
                self.error(at, message, String::new());
                return None;
            }
            schema = resolve(&document, next?);
        }
        Some(Types::of(schema))
    }

    fn below<'s>(
        &mut self,
        schema: &'s Value,
        key: &str,
        text: &str,
        at: &str,
    ) -> Option<&'s Value> {
        let properties = schema.get("properties").and_then(Value::as_object)?;
        if let Some(found) = properties.get(key) {
            return Some(found);
        }
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                let message = format!("`{text}` does not exist: there is no `{key}`");
                self.error(at, message, did_you_mean(key, &names, "there is"));
                None
            }
            Some(Value::Object(_)) => schema.get("additionalProperties"),
            _ => {
                if let Some(near) = nearest(key, names.into_iter()) {
                    let message = format!("`{text}`: its schema speaks of no `{key}`");
                    let help = format!("did you mean `{near}`?");
                    let mark = self.tree.mark_at(at);
                    let warning = diagnostic(code::FLOW, mark, message, help);
                    self.found.warnings.push(warning);
                }
                None
            }
        }
    }

    /// The schema of a variable, where there is one.
    fn schema_of(&self, root: &str) -> Option<Value> {
        if root == "input" {
            let schema = self.definition.input_schema.as_ref()?;
            return Some(schema.schema().clone());
        }
        let mut steps = self.definition.steps.iter();
        let step = steps.find(|step| step.id.as_str() == root)?;
        let text = || json!({ "type": "string" });
        let maybe = || json!({ "type": ["string", "null"] });
        let object = |properties: Value| json!({ "type": "object", "properties": properties, "additionalProperties": false });
        match &step.kind {
            StepKind::Task(task) => {
                let known = self.catalogue.get(&task.task_type)?;
                Some(known.manifest.output.clone())
            }
            StepKind::Sleep(_) => Some(json!({ "type": "null" })),
            StepKind::Wait(_) => Some(object(json!({
                "id": text(), "source": text(), "type": text(), "subject": maybe(), "time": maybe(), "data": true,
            }))),
            StepKind::Approve(_) => Some(object(json!({
                "approved": { "type": "boolean" }, "by": text(), "note": text(), "at": text(),
            }))),
            StepKind::Emit(_) => Some(object(json!({ "id": text() }))),
        }
    }
}

fn did_you_mean(word: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{otherwise} {}", known.join(", ")),
    }
}

fn diagnostic(code: &'static str, mark: Mark, message: String, help: String) -> Diagnostic {
    Diagnostic {
        code,
        line: mark.line,
        column: mark.column,
        message,
        help,
    }
}
