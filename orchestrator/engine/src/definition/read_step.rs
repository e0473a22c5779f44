//! The keys of a step.

use std::collections::BTreeMap;

use baton_messages::StepId;
use serde_json::Value;

use super::diagnostic::code;
use super::duration;
use super::fan_out::FanOut;
use super::item_rules::ItemRules;
use super::read_fan_out::fan_out;
use super::read_group::{GroupDraft, Ids, group, stray, taken};
use super::read_item_rules::{self, item_rules};
use super::read_saga::saga_step;
use super::read_task::task_step;
use super::read_waiting::{approve, emit, wait};
use super::reader::{Object, Reader, reads};
use super::step::{OnError, StepKind};
use super::yaml::{Content, Entry, Mark, Node};
use crate::expr::{Expr, TYPE_NAMES, Template};

/// The keys of a step.
pub(super) const KEYS: &[&str] = &[
    "id",
    "task",
    "sleep",
    "wait",
    "approve",
    "emit",
    "saga",
    "steps",
    "after",
    "if",
    "for_each",
    "max_items",
    "max_parallel",
    "tolerate",
    "pool",
    "with",
    "timeout",
    "queue_timeout",
    "heartbeat",
    "retry",
    "undo",
    "because",
    "probe",
    "pivot",
    "on_error",
    "work_items",
    "output",
];
/// Those of later versions.
pub(super) const KEYS_LATER: &[&str] = &["locks", "concurrency"];
/// Keys that say how a task runs, and mean nothing for anything else.
const KEYS_OF_TASKS: &[&str] = &[
    "pool",
    "with",
    "timeout",
    "queue_timeout",
    "heartbeat",
    "retry",
    "undo",
    "because",
    "probe",
    "pivot",
];
/// Those of them that say as much of a step that is another saga.
const KEYS_OF_SAGAS: [&str; 3] = ["with", "timeout", "pivot"];
/// Names expressions give a meaning of their own.
const RESERVED: [&str; 17] = [
    "input", "item", "index", "event", "secret", "saga", "step", "steps", "true", "false", "null",
    "in", "has", "optional", "size", "matches", "duration",
];

/// What an expression is for; an undo may read its own step's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Do,
    Undo,
    /// Of `for_each` itself, which is computed before there is an item.
    List,
}

/// A step as it stands in the document, before the order is known.
pub(super) struct Draft {
    pub(super) id: StepId,
    pub(super) mark: Mark,
    /// The names in `after`; `None` when it is left to the default.
    pub(super) after: Option<Vec<(Mark, String)>>,
    pub(super) condition: Option<Expr>,
    pub(super) fan: Option<FanOut>,
    /// Whether it has a `for_each`, readable or not.
    pub(super) for_each: bool,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) does: Option<Does>,
    pub(super) pivot_mark: Option<Mark>,
    pub(super) on_error: OnError,
    pub(super) item_rules: Option<ItemRules>,
    /// What those read, which is computed from the input alone.
    pub(super) item_reads: read_item_rules::Reads,
    /// Every variable its expressions read.
    pub(super) reads: Reads,
}

/// What a step does, before the order is known.
pub(super) enum Does {
    One(StepKind),
    /// A group of steps.
    Group(Box<GroupDraft>),
}

impl Draft {
    /// The group it is, when it is one.
    pub(super) fn group(&self) -> Option<&GroupDraft> {
        match &self.does {
            Some(Does::Group(group)) => Some(group),
            Some(Does::One(_)) | None => None,
        }
    }

    /// How many steps it is, with those of its group.
    pub(super) fn count(&self) -> usize {
        1 + self.group().map_or(0, GroupDraft::count)
    }
}

/// The ids of a list of steps, and those outside of it.
fn ids(items: &[Node], outside: &Ids) -> Ids {
    let mut all = outside.clone();
    for item in items {
        if let Some(entry) = item.entry("id")
            && let Content::Scalar(Value::String(id)) = &entry.value.content
        {
            all.entry(id.clone()).or_insert(item.mark.line);
        }
    }
    all
}

/// Reads all steps, each in its place; of a group, with the ids of those outside of it.
pub(super) fn steps(reader: &mut Reader, items: &[Node], outside: &Ids) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(items.len());
    let around = ids(items, outside);
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        // A step without a usable id is read under a name of its own, so that what else is wrong with it is said too.
        let Ok(made_up) = StepId::new(&format!("unreadable_step_{index}")) else {
            continue;
        };
        let Some(object) = reader.object(item, "a step", KEYS, KEYS_LATER) else {
            drafts.push(unreadable(made_up, item.mark));
            continue;
        };
        let Some(id) = id(reader, &object) else {
            if let Some(text) = written_id(item) {
                taken_here(reader, item, text, &mut lines);
            }
            drafts.push(step(reader, made_up, &object, &around));
            continue;
        };
        let mark = object.get("id").map_or(item.mark, |e| e.value.mark);
        if let Some(line) = outside.get(id.as_str()) {
            taken(reader, mark, id.as_str(), *line);
        }
        taken_here(reader, item, id.as_str(), &mut lines);
        drafts.push(step(reader, id, &object, &around));
    }
    drafts
}

/// The id of a step as it is written, whether it can be one or not.
fn written_id(item: &Node) -> Option<&str> {
    match &item.entry("id")?.value.content {
        Content::Scalar(Value::String(id)) if !id.trim().is_empty() => Some(id),
        _ => None,
    }
}

/// That no other step of the list has this id; notes it.
fn taken_here(reader: &mut Reader, item: &Node, id: &str, lines: &mut BTreeMap<String, usize>) {
    if let Some(line) = lines.insert(id.to_owned(), item.mark.line) {
        let mark = item.entry("id").map_or(item.mark, |e| e.value.mark);
        let message = format!("the id `{id}` is taken by the step in line {line}");
        let help = "give each step an id of its own";
        reader.report(code::TWICE, mark, message, help);
    }
}

/// What stands for a step of which nothing could be read.
fn unreadable(id: StepId, mark: Mark) -> Draft {
    Draft {
        id,
        mark,
        after: None,
        condition: None,
        fan: None,
        for_each: false,
        does: None,
        pivot_mark: None,
        on_error: OnError::default(),
        item_rules: None,
        item_reads: Vec::new(),
        reads: Vec::new(),
    }
}

fn id(reader: &mut Reader, object: &Object<'_>) -> Option<StepId> {
    let entry = reader.required(object, "id", "the step", "id: my_step")?;
    let text = reader.text(entry)?;
    let mark = entry.value.mark;
    if RESERVED.contains(&text) || TYPE_NAMES.contains(&text) {
        reader.report(
            code::NAME,
            mark,
            format!("`{text}` has a meaning of its own in expressions"),
            "choose another id",
        );
        return None;
    }
    StepId::new(text)
        .map_err(|e| {
            reader.report(
                code::NAME,
                mark,
                e.to_string(),
                "expressions reach the step's output by this name",
            )
        })
        .ok()
}

fn step(reader: &mut Reader, id: StepId, object: &Object<'_>, around: &Ids) -> Draft {
    let mut found = Vec::new();
    let condition = object
        .get("if")
        .and_then(|e| condition(reader, e, &mut found));
    let fan = fan_out(reader, object, &mut found);
    let does = does(reader, object, around, &mut found);
    stray(reader, object);
    let pivot = object.get("pivot").filter(|e| is_pivot(reader, e));
    let mut item_reads = Vec::new();
    let item_rules = object
        .get("work_items")
        .and_then(|e| item_rules(reader, e, true, &mut item_reads));
    Draft {
        mark: object.mark,
        after: object.get("after").and_then(|e| after(reader, e)),
        condition,
        fan,
        for_each: object.get("for_each").is_some(),
        does,
        pivot_mark: pivot.map(|e| e.mark),
        on_error: object
            .get("on_error")
            .and_then(|e| on_error(reader, e))
            .unwrap_or_default(),
        item_rules,
        item_reads,
        reads: found,
        id,
    }
}

/// Every variable some expressions read, where, and what for.
pub(super) type Reads = Vec<(Mark, String, Use)>;

/// Notes what a template reads.
pub(super) fn note(found: &mut Reads, node: &Node, template: &Template, used: Use) {
    found.extend(
        reads(node, template)
            .into_iter()
            .map(|(mark, root)| (mark, root, used)),
    );
}

fn after(reader: &mut Reader, entry: &Entry) -> Option<Vec<(Mark, String)>> {
    let mut names = Vec::new();
    for item in reader.list(entry)? {
        match &item.content {
            Content::Scalar(Value::String(name)) => names.push((item.mark, name.clone())),
            _ => reader.report(
                code::SHAPE,
                item.mark,
                "`after` lists ids of steps",
                "write `after: [resolve, locate]`",
            ),
        }
    }
    Some(names)
}

pub(super) fn boolean(reader: &mut Reader, entry: &Entry) -> Option<bool> {
    let value = entry.value.to_json().as_bool();
    if value.is_none() {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            format!("`{}` must be true or false", entry.key),
            &format!("write `{}: true`, or leave it out", entry.key),
        );
    }
    value
}

/// Whether a step says that it is the pivot. One that says so in a word that is none, which has been reported, is taken for it unless that word is a no:
/// nobody is told to make it the pivot then.
fn is_pivot(reader: &mut Reader, entry: &Entry) -> bool {
    let says_no = || matches!(entry.value.to_json().as_str(), Some("no" | "off" | "n"));
    boolean(reader, entry).unwrap_or_else(|| !says_no())
}

fn on_error(reader: &mut Reader, entry: &Entry) -> Option<OnError> {
    let words = [
        ("compensate", OnError::Compensate),
        ("park", OnError::Park),
        ("continue", OnError::Continue),
    ];
    reader.word(entry, &words)
}

fn condition(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Expr> {
    let (expr, read) = reader.condition(entry)?;
    found.extend(read.into_iter().map(|(mark, root)| (mark, root, Use::Do)));
    Some(expr)
}

/// What a step may do, with what a message says of one that does it.
const KINDS: [(&str, &str); 7] = [
    ("task", "runs a task"),
    ("sleep", "sleeps"),
    ("wait", "waits for an event"),
    ("approve", "asks a person"),
    ("emit", "publishes an event"),
    ("saga", "is another saga"),
    ("steps", "is a group of steps"),
];

fn does(reader: &mut Reader, object: &Object<'_>, around: &Ids, found: &mut Reads) -> Option<Does> {
    let there: Vec<(&Entry, &str)> = KINDS
        .iter()
        .filter_map(|(key, does)| Some((object.get(key)?, *does)))
        .collect();
    match there.as_slice() {
        [] => {
            nothing(reader, object);
            None
        }
        [(entry, _)] if entry.key == "steps" => {
            let group = group(reader, object, entry, around, found)?;
            Some(Does::Group(Box::new(group)))
        }
        [(entry, does)] => one_kind(reader, object, entry, does, found).map(Does::One),
        [(_, does), (second, does_too), ..] => {
            let message = format!("a step {does} or {does_too}, not both");
            reader.report(code::KIND, second.mark, message, "make two steps of it");
            // whoever makes several steps of it keeps what is wrong within each
            for (entry, _) in there.iter().filter(|(entry, _)| entry.key != "steps") {
                kind_of(reader, object, entry, found);
            }
            None
        }
    }
}

fn nothing(reader: &mut Reader, object: &Object<'_>) {
    // What it should do may be among the keys that are not supported yet, and then that has been said.
    let later = |entry: &Entry| KEYS_LATER.contains(&entry.key.as_str());
    if !object.entries.iter().any(later) {
        let help = "add `task: area.verb-noun@1`, `sleep: 10m`, `wait:`, `approve:`, `emit:`, `saga: name@1`, or `for_each:` with `steps:`";
        reader.report(code::KIND, object.mark, "the step does nothing", help);
    }
}

fn one_kind(
    reader: &mut Reader,
    object: &Object<'_>,
    entry: &Entry,
    does: &str,
    found: &mut Reads,
) -> Option<StepKind> {
    if entry.key == "saga" {
        refuse_keys_of_tasks_alone(reader, object);
    } else if entry.key != "task" {
        refuse_keys_of_tasks(reader, object, &entry.key, does);
    }
    kind_of(reader, object, entry, found)
}

/// What a key of [`KINDS`] says, but for a group.
fn kind_of(
    reader: &mut Reader,
    object: &Object<'_>,
    entry: &Entry,
    found: &mut Reads,
) -> Option<StepKind> {
    Some(match entry.key.as_str() {
        "task" => StepKind::Task(Box::new(task_step(reader, object, entry, found)?)),
        "sleep" => StepKind::Sleep(sleep_step(reader, entry, found)?),
        "wait" => StepKind::Wait(Box::new(wait(reader, entry, found)?)),
        "approve" => StepKind::Approve(Box::new(approve(reader, entry, found)?)),
        "saga" => StepKind::Saga(Box::new(saga_step(reader, object, entry, found)?)),
        _ => StepKind::Emit(Box::new(emit(reader, object, entry, found)?)),
    })
}

/// A saga brings its own ways to try again, to find out and to take back.
fn refuse_keys_of_tasks_alone(reader: &mut Reader, object: &Object<'_>) {
    for entry in object.entries {
        let key = entry.key.as_str();
        if !KEYS_OF_TASKS.contains(&key) || KEYS_OF_SAGAS.contains(&key) {
            continue;
        }
        let help = match key {
            "undo" | "because" => "leave it out: the saga takes back what it did by itself",
            "retry" => "leave it out, and let its steps be tried again",
            _ => "leave it out",
        };
        let message = format!("`{key}` belongs to a task, and this step is another saga");
        reader.report(code::KIND, entry.mark, message, help);
    }
}

fn refuse_keys_of_tasks(reader: &mut Reader, object: &Object<'_>, kind: &str, does: &str) {
    for entry in object.entries {
        let (code, help) = match entry.key.as_str() {
            "pivot" => (code::PIVOT, "leave it out"),
            // an event is not taken back, and why that is right may be said
            "because" if kind == "emit" => continue,
            // A sleep fails when its length cannot be computed; the others say themselves what happens when they do not succeed.
            "on_error" if kind != "sleep" => (code::KIND, "leave it out"),
            "timeout" if matches!(kind, "wait" | "approve") => {
                (code::KIND, "write it inside, beside `on_timeout`")
            }
            "for_each" => (
                code::FAN_OUT,
                "only a task, a saga or a group of `steps` is done for each of a list: put this step into a group",
            ),
            key if KEYS_OF_TASKS.contains(&key) => (code::KIND, "leave it out"),
            _ => continue,
        };
        let message = format!("`{}` belongs to a task, and this step {does}", entry.key);
        reader.report(code, entry.mark, message, help);
    }
}

fn sleep_step(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Template> {
    let template = reader.open_template(&entry.value, "a sleep");
    note(found, &entry.value, &template, Use::Do);
    if let Some(Err(why)) = template.as_literal().map(duration::duration_ms_of) {
        reader.report(
            code::DURATION,
            entry.value.mark,
            format!("`sleep`: {why}"),
            "write `10s`, `15m`, `7d`, or an expression that yields such",
        );
        return None;
    }
    Some(template)
}
