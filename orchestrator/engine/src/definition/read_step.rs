//! The keys of a step.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use baton_messages::{PoolName, StepId, TaskType};
use serde_json::{Value, json};

use super::diagnostic::code;
use super::duration;
use super::read::{Object, Reader, reads};
use super::retry::{ATTEMPTS_MAX, Attempts, FACTOR_MAX, Jitter, RetryPolicy};
use super::step::{OnError, ProbePlan, StepKind, TaskStep, UndoPlan, UndoTask};
use super::yaml::{Content, Entry, Mark, Node};
use crate::expr::{Expr, TYPE_NAMES, Template};

const KEYS: &[&str] = &[
    "id",
    "task",
    "sleep",
    "after",
    "if",
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
];
const KEYS_LATER: &[&str] = &[
    "for_each",
    "max_parallel",
    "saga",
    "wait",
    "approve",
    "emit",
    "locks",
    "concurrency",
];
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
}

/// A step as it stands in the document, before the order is known.
pub(super) struct Draft {
    pub(super) id: StepId,
    pub(super) mark: Mark,
    /// The names in `after`; `None` when it is left to the default.
    pub(super) after: Option<Vec<(Mark, String)>>,
    pub(super) condition: Option<Expr>,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) kind: Option<StepKind>,
    pub(super) pivot_mark: Option<Mark>,
    pub(super) on_error: OnError,
    /// Every variable its expressions read.
    pub(super) reads: Vec<(Mark, String, Use)>,
}

/// Reads all steps. One without a usable id is left out, and has been reported.
pub(super) fn steps(reader: &mut Reader, items: &[Node]) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(items.len());
    let mut lines: BTreeMap<StepId, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Some(object) = reader.object(item, "a step", KEYS, KEYS_LATER) else {
            continue;
        };
        // A step with a bad id is read under a name of its own, so that what else is wrong with it is said too.
        let id = id(reader, &object).or_else(|| StepId::new(&format!("step_{index}")).ok());
        let Some(id) = id else { continue };
        if let Some(line) = lines.insert(id.clone(), item.mark.line) {
            let mark = object.get("id").map_or(item.mark, |e| e.value.mark);
            let message = format!("the id `{id}` is taken by the step in line {line}");
            reader.report(
                code::TWICE,
                mark,
                message,
                "give each step an id of its own",
            );
        }
        drafts.push(step(reader, id, &object));
    }
    drafts
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

fn step(reader: &mut Reader, id: StepId, object: &Object<'_>) -> Draft {
    let mut found = Vec::new();
    let condition = object
        .get("if")
        .and_then(|e| condition(reader, e, &mut found));
    let kind = kind(reader, object, &mut found);
    let pivot = object
        .get("pivot")
        .filter(|e| boolean(reader, e) == Some(true));
    Draft {
        mark: object.mark,
        after: object.get("after").and_then(|e| after(reader, e)),
        condition,
        kind,
        pivot_mark: pivot.map(|e| e.mark),
        on_error: object
            .get("on_error")
            .and_then(|e| on_error(reader, e))
            .unwrap_or_default(),
        reads: found,
        id,
    }
}

type Reads = Vec<(Mark, String, Use)>;

fn note(found: &mut Reads, node: &Node, template: &Template, used: Use) {
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

fn boolean(reader: &mut Reader, entry: &Entry) -> Option<bool> {
    let value = entry.value.to_json().as_bool();
    if value.is_none() {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            format!("`{}` must be true or false", entry.key),
            "",
        );
    }
    value
}

fn on_error(reader: &mut Reader, entry: &Entry) -> Option<OnError> {
    match entry.value.to_json().as_str() {
        Some("compensate") => Some(OnError::Compensate),
        Some("park") => Some(OnError::Park),
        Some("continue") => Some(OnError::Continue),
        _ => {
            reader.report(
                code::RANGE,
                entry.value.mark,
                "`on_error` must be compensate, park or continue",
                "",
            );
            None
        }
    }
}

fn condition(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Expr> {
    let template = reader.open_template(&entry.value, "a condition")?;
    if let Some(expr) = template.as_hole() {
        note(found, &entry.value, &template, Use::Do);
        return Some(expr.clone());
    }
    match template.as_literal() {
        Some(Value::Bool(value)) => Expr::compile(if *value { "true" } else { "false" }).ok(),
        _ => {
            reader.report(
                code::SHAPE,
                entry.value.mark,
                "`if` must be one expression",
                "write `if: ${ input.count > 3 }`",
            );
            None
        }
    }
}

fn kind(reader: &mut Reader, object: &Object<'_>, found: &mut Reads) -> Option<StepKind> {
    match (object.get("task"), object.get("sleep")) {
        (Some(task), None) => {
            task_step(reader, object, task, found).map(|task| StepKind::Task(Box::new(task)))
        }
        (None, Some(sleep)) => {
            for entry in object
                .entries
                .iter()
                .filter(|e| KEYS_OF_TASKS.contains(&e.key.as_str()))
            {
                let code = if entry.key == "pivot" {
                    code::PIVOT
                } else {
                    code::KIND
                };
                reader.report(
                    code,
                    entry.mark,
                    format!("`{}` belongs to a task, and this step sleeps", entry.key),
                    "leave it out",
                );
            }
            sleep_step(reader, sleep, found).map(StepKind::Sleep)
        }
        (Some(_), Some(sleep)) => {
            reader.report(
                code::KIND,
                sleep.mark,
                "a step runs a task or sleeps, not both",
                "make two steps of it",
            );
            None
        }
        (None, None) => {
            // What it should do may be among the keys that are not supported yet, and then that has been said.
            if !object
                .entries
                .iter()
                .any(|e| KEYS_LATER.contains(&e.key.as_str()))
            {
                reader.report(
                    code::KIND,
                    object.mark,
                    "the step does nothing",
                    "add `task: area.verb-noun@1` or `sleep: 10m`",
                );
            }
            None
        }
    }
}

fn sleep_step(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Template> {
    let template = reader.open_template(&entry.value, "a sleep")?;
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

fn task_step(
    reader: &mut Reader,
    object: &Object<'_>,
    task: &Entry,
    found: &mut Reads,
) -> Option<TaskStep> {
    let task_type = task_type(reader, task);
    let pool = match object.get("pool") {
        Some(entry) => pool(reader, entry, found, Use::Do),
        None => Some(Template::literal(json!(PoolName::default_pool().as_str()))),
    };
    let with = with(reader, object, found, Use::Do);
    let timeout_ms = object.get("timeout").and_then(|e| reader.duration(e));
    let queue_timeout_ms = object.get("queue_timeout").and_then(|e| reader.duration(e));
    let lease_ms = object.get("heartbeat").and_then(|e| reader.duration(e));
    let retry = object
        .get("retry")
        .map(|e| retry(reader, e))
        .unwrap_or_default();
    let undo = undo(reader, object, found);
    let probe = object.get("probe").map(|e| probe(reader, e, found));
    Some(TaskStep {
        task_type: task_type?,
        pool: pool?,
        with: with?,
        timeout_ms,
        queue_timeout_ms,
        lease_ms,
        retry,
        undo: undo?,
        probe: match probe {
            None => None,
            Some(read) => Some(read?),
        },
    })
}

fn task_type(reader: &mut Reader, entry: &Entry) -> Option<TaskType> {
    let text = reader.text(entry)?;
    if text.contains("${") {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            "a task type is fixed",
            "make a step for each, with an `if:`",
        );
        return None;
    }
    let help = if text.contains('@') {
        "see `baton types` for those known"
    } else {
        "say the version too: `switch.set-vlan@1`"
    };
    TaskType::new(text)
        .map_err(|e| reader.report(code::NAME, entry.value.mark, e.to_string(), help))
        .ok()
}

fn pool(reader: &mut Reader, entry: &Entry, found: &mut Reads, used: Use) -> Option<Template> {
    let template = reader.open_template(&entry.value, "the name of a pool")?;
    note(found, &entry.value, &template, used);
    if let Some(value) = template.as_literal() {
        let name = value.as_str().map(PoolName::new);
        if !matches!(name, Some(Ok(_))) {
            let help = "a lower-case letter, then letters, digits and -, at most 64; or an expression that yields such";
            reader.report(
                code::NAME,
                entry.value.mark,
                "`pool` must name a pool",
                help,
            );
            return None;
        }
    }
    Some(template)
}

/// `with:`, an empty object when it is left out.
fn with(
    reader: &mut Reader,
    object: &Object<'_>,
    found: &mut Reads,
    used: Use,
) -> Option<Template> {
    let Some(entry) = object.get("with") else {
        return Some(Template::literal(json!({})));
    };
    let template = reader.template(&entry.value)?;
    note(found, &entry.value, &template, used);
    if template
        .as_literal()
        .is_some_and(|value| !value.is_object())
    {
        reader.report(
            code::SHAPE,
            entry.value.mark,
            "`with` must be a mapping",
            "write the task's input as `key: value`",
        );
        return None;
    }
    Some(template)
}

fn undo(reader: &mut Reader, object: &Object<'_>, found: &mut Reads) -> Option<UndoPlan> {
    let because = object.get("because");
    let Some(entry) = object.get("undo") else {
        stray_because(reader, because);
        return Some(UndoPlan::Own);
    };
    if let Content::Scalar(value) = &entry.value.content {
        if value.as_str() != Some("none") {
            reader.report(
                code::SHAPE,
                entry.value.mark,
                "`undo` must be `none` or a task",
                "write `undo: { task: …, with: … }`",
            );
            return None;
        }
        let Some(because) = because else {
            let help = "add `because: …`: whoever has to clean up will read it";
            reader.report(
                code::BECAUSE,
                entry.mark,
                "`undo: none` needs a reason",
                help,
            );
            return None;
        };
        let because = reader.text(because)?.to_owned();
        return Some(UndoPlan::None { because });
    }
    stray_because(reader, because);
    let keys = ["task", "pool", "with", "timeout", "retry"];
    let undo = reader.object(&entry.value, "an undo", &keys, &[])?;
    let task_type = reader
        .required(&undo, "task", "the undo", "task: area.verb-noun@1")
        .and_then(|e| task_type(reader, e));
    let pool = undo
        .get("pool")
        .and_then(|e| pool(reader, e, found, Use::Undo));
    let with = with(reader, &undo, found, Use::Undo);
    let timeout_ms = undo.get("timeout").and_then(|e| reader.duration(e));
    let retry = undo
        .get("retry")
        .map(|e| retry(reader, e))
        .unwrap_or_default();
    Some(UndoPlan::Task(Box::new(UndoTask {
        task_type: task_type?,
        pool,
        with: with?,
        timeout_ms,
        retry,
    })))
}

fn stray_because(reader: &mut Reader, because: Option<&Entry>) {
    if let Some(entry) = because {
        reader.report(
            code::BECAUSE,
            entry.mark,
            "`because` goes with `undo: none`",
            "add `undo: none`, or make it a comment",
        );
    }
}

fn probe(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<ProbePlan> {
    let probe = reader.object(&entry.value, "a probe", &["task", "with"], &[])?;
    let task_type = reader
        .required(&probe, "task", "the probe", "task: area.verb-noun@1")
        .and_then(|e| task_type(reader, e));
    let with = with(reader, &probe, found, Use::Do);
    Some(ProbePlan {
        task_type: task_type?,
        with: with?,
    })
}

fn retry(reader: &mut Reader, entry: &Entry) -> RetryPolicy {
    let keys = ["attempts", "backoff", "factor", "max", "jitter"];
    let Some(object) = reader.object(&entry.value, "a retry", &keys, &[]) else {
        return RetryPolicy::default();
    };
    let policy = RetryPolicy {
        attempts: object.get("attempts").and_then(|e| attempts(reader, e)),
        backoff_ms: object.get("backoff").and_then(|e| reader.duration(e)),
        factor: object.get("factor").and_then(|e| factor(reader, e)),
        max_ms: object.get("max").and_then(|e| reader.duration(e)),
        jitter: object.get("jitter").and_then(|e| jitter(reader, e)),
    };
    if let (Some(backoff), Some(max), Some(at)) =
        (policy.backoff_ms, policy.max_ms, object.get("max"))
        && backoff > max
    {
        reader.report(
            code::RANGE,
            at.value.mark,
            "`max` is shorter than `backoff`",
            "the first wait is `backoff`, the longest is `max`",
        );
    }
    policy
}

fn attempts(reader: &mut Reader, entry: &Entry) -> Option<Attempts> {
    let value = entry.value.to_json();
    if value.as_str() == Some("forever") {
        return Some(Attempts::Forever);
    }
    let times = value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= ATTEMPTS_MAX);
    let times = times.and_then(NonZeroU32::new).map(Attempts::Times);
    if times.is_none() {
        let message =
            format!("`attempts` must be a whole number from 1 to {ATTEMPTS_MAX}, or forever");
        reader.report(
            code::RANGE,
            entry.value.mark,
            message,
            "1 means: no second try",
        );
    }
    times
}

fn factor(reader: &mut Reader, entry: &Entry) -> Option<f64> {
    let factor = entry
        .value
        .to_json()
        .as_f64()
        .filter(|f| (1.0..=FACTOR_MAX).contains(f));
    if factor.is_none() {
        reader.report(
            code::RANGE,
            entry.value.mark,
            format!("`factor` must be a number from 1 to {FACTOR_MAX}"),
            "1 means: always the same wait",
        );
    }
    factor
}

fn jitter(reader: &mut Reader, entry: &Entry) -> Option<Jitter> {
    match entry.value.to_json().as_str() {
        Some("full") => Some(Jitter::Full),
        Some("none") => Some(Jitter::None),
        _ => {
            reader.report(
                code::RANGE,
                entry.value.mark,
                "`jitter` must be full or none",
                "",
            );
            None
        }
    }
}
