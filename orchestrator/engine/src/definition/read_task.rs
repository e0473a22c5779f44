//! The keys of a step that runs a task: the task, its undo, its probe.

use baton_messages::{PoolName, TaskType};
use serde_json::json;

use super::diagnostic::code;
use super::read_retry::retry;
use super::read_step::{Reads, Use, boolean, note};
use super::reader::{Object, Reader};
use super::step::{ProbePlan, TaskStep, UndoPlan, UndoTask};
use super::yaml::{Content, Entry};
use crate::expr::{Expr, Template};

/// Reads what a step that runs a task says of it.
pub(super) fn task_step(
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
    let (undo, undo_when) = undo.unzip();
    let probe = object.get("probe").map(|e| probe(reader, e, found));
    // What is wrong has been reported; what stands in its place lets the rest of the step be looked at.
    Some(TaskStep {
        task_type: task_type.or_else(unreadable_task)?,
        pool: pool.unwrap_or_else(Template::unreadable),
        with: with.unwrap_or_else(Template::unreadable),
        timeout_ms,
        queue_timeout_ms,
        lease_ms,
        retry,
        undo: undo.unwrap_or_else(|| UndoPlan::None {
            because: String::new(),
        }),
        undo_when: undo_when.flatten(),
        probe: match probe {
            None => None,
            Some(read) => Some(read.or_else(unreadable_probe)?),
        },
    })
}

/// What stands for a task type that cannot be read.
const UNREADABLE_TASK: &str = "unreadable.task-type@999999999";

fn unreadable_task() -> Option<TaskType> {
    TaskType::new(UNREADABLE_TASK).ok()
}

/// Whether it stands for one that cannot be read.
pub(super) fn is_unreadable(task: &TaskType) -> bool {
    task.as_str() == UNREADABLE_TASK
}

fn unreadable_probe() -> Option<ProbePlan> {
    Some(ProbePlan {
        task_type: unreadable_task()?,
        with: Template::unreadable(),
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
        "see `baton tasks` for those known"
    } else {
        "say the version too: `switch.set-vlan@1`"
    };
    TaskType::new(text)
        .map_err(|e| reader.report(code::NAME, entry.value.mark, e.to_string(), help))
        .ok()
}

fn pool(reader: &mut Reader, entry: &Entry, found: &mut Reads, used: Use) -> Option<Template> {
    let template = reader.open_template(&entry.value, "the name of a pool");
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
pub(super) fn with(
    reader: &mut Reader,
    object: &Object<'_>,
    found: &mut Reads,
    used: Use,
) -> Option<Template> {
    let Some(entry) = object.get("with") else {
        return Some(Template::literal(json!({})));
    };
    let template = reader.template(&entry.value);
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

/// How a step is taken back, and when that is wanted; always, where it says nothing of that.
fn undo(
    reader: &mut Reader,
    object: &Object<'_>,
    found: &mut Reads,
) -> Option<(UndoPlan, Option<Expr>)> {
    let because = object.get("because");
    let Some(entry) = object.get("undo") else {
        stray_because(reader, because);
        return Some((UndoPlan::Own, None));
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
        return Some((UndoPlan::None { because }, None));
    }
    stray_because(reader, because);
    let keys = [
        "when",
        "task",
        "pool",
        "with",
        "timeout",
        "retry",
        "idempotent",
    ];
    let undo = reader.object(&entry.value, "an undo", &keys, &[])?;
    let when = match undo.get("when") {
        Some(entry) => Some(undo_when(reader, entry, found)?),
        None => None,
    };
    if says_none(reader, &undo) {
        return None;
    }
    let says_only_when = when.is_some() && undo.entries.len() == 1;
    if says_only_when {
        return Some((UndoPlan::Own, when));
    }
    let task = undo_task(reader, &undo, found)?;
    Some((UndoPlan::Task(Box::new(task)), when))
}

/// `when:`, whether it is taken back at all. One that never holds is `undo: none`, and that needs a reason.
fn undo_when(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Expr> {
    let (when, read) = reader.condition(entry)?;
    if when.text().trim() == "false" {
        reader.report(
            code::BECAUSE,
            entry.value.mark,
            "`when: false` never takes anything back",
            "write `undo: none`, and `because: …`",
        );
        return None;
    }
    found.extend(read.into_iter().map(|(mark, root)| (mark, root, Use::Undo)));
    Some(when)
}

/// Whether `none` stands where a task belongs, as if there could be more said of it.
fn says_none(reader: &mut Reader, undo: &Object<'_>) -> bool {
    let none = |entry: &&Entry| matches!(&entry.value.content, Content::Scalar(value) if value.as_str() == Some("none"));
    let Some(entry) = undo.get("task").filter(none) else {
        return false;
    };
    let (message, help) = match undo.get("when") {
        Some(_) => (
            "`none` takes nothing back, whether `when` holds or not",
            "write `undo: none` and `because: …`; or leave `task` out, and its own automation takes it back when `when` holds",
        ),
        None => ("`none` is no task", "write `undo: none` and `because: …`"),
    };
    reader.report(code::SHAPE, entry.value.mark, message, help);
    true
}

fn undo_task(reader: &mut Reader, undo: &Object<'_>, found: &mut Reads) -> Option<UndoTask> {
    let task_type = reader
        .required(undo, "task", "the undo", "task: area.verb-noun@1")
        .and_then(|e| task_type(reader, e));
    let pool = undo
        .get("pool")
        .and_then(|e| pool(reader, e, found, Use::Undo));
    let with = with(reader, undo, found, Use::Undo);
    let timeout_ms = undo.get("timeout").and_then(|e| reader.duration(e));
    let retry = undo
        .get("retry")
        .map(|e| retry(reader, e))
        .unwrap_or_default();
    let idempotent = undo.get("idempotent").and_then(|e| boolean(reader, e));
    Some(UndoTask {
        task_type: task_type?,
        pool,
        with: with?,
        timeout_ms,
        retry,
        idempotent,
    })
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
        task_type: task_type.or_else(unreadable_task)?,
        with: with.unwrap_or_else(Template::unreadable),
    })
}
