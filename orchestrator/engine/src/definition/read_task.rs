//! The keys of a step that runs a task: the task, its undo, its probe.

use baton_messages::{PoolName, TaskType};
use serde_json::json;

use super::diagnostic::code;
use super::read_retry::retry;
use super::read_step::{Reads, Use, boolean, note};
use super::reader::{Object, Reader};
use super::step::{OwnUndo, ProbePlan, TaskStep, UndoPlan, UndoTask};
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
    let undo = undo(reader, object, found).unwrap_or_else(|| {
        UndoSaid::of(UndoPlan::None {
            because: String::new(),
        })
    });
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
        undo: undo.plan,
        own_undo: undo.own,
        undo_when: undo.when,
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

/// What `undo` says: how a step is taken back, and when that is wanted; always, where it says nothing of that.
struct UndoSaid {
    plan: UndoPlan,
    own: OwnUndo,
    when: Option<Expr>,
}

impl UndoSaid {
    fn of(plan: UndoPlan) -> Self {
        Self {
            plan,
            own: OwnUndo::default(),
            when: None,
        }
    }
}

fn undo(reader: &mut Reader, object: &Object<'_>, found: &mut Reads) -> Option<UndoSaid> {
    let because = object.get("because");
    let Some(entry) = object.get("undo") else {
        stray_because(reader, because);
        return Some(UndoSaid::of(UndoPlan::Own));
    };
    if let Content::Scalar(value) = &entry.value.content {
        let says_none = value.as_str() == Some("none");
        return no_undo(reader, entry, says_none, because).map(UndoSaid::of);
    }
    stray_because(reader, because);
    let undo = reader.object(&entry.value, "an undo", &KEYS_OF_UNDO, &[])?;
    let when = match undo.get("when") {
        Some(entry) => Some(undo_when(reader, entry, found)?),
        None => None,
    };
    if says_none(reader, &undo) {
        return None;
    }
    let of_own = |entry: &Entry| OF_OWN_UNDO.contains(&entry.key.as_str());
    if !undo.entries.is_empty() && undo.entries.iter().all(of_own) {
        let own = OwnUndo {
            timeout_ms: undo.get("timeout").and_then(|e| reader.duration(e)),
            retry: undo
                .get("retry")
                .map(|e| retry(reader, e))
                .unwrap_or_default(),
        };
        let plan = UndoPlan::Own;
        return Some(UndoSaid { plan, own, when });
    }
    let task = undo_task(reader, &undo, found)?;
    Some(UndoSaid {
        when,
        ..UndoSaid::of(UndoPlan::Task(Box::new(task)))
    })
}

/// The keys of an undo.
const KEYS_OF_UNDO: [&str; 7] = [
    "when",
    "task",
    "pool",
    "with",
    "timeout",
    "retry",
    "idempotent",
];
/// Those of them that may be said of the automation's own.
const OF_OWN_UNDO: [&str; 3] = ["when", "timeout", "retry"];

/// `undo: none`, and why.
fn no_undo(
    reader: &mut Reader,
    entry: &Entry,
    says_none: bool,
    because: Option<&Entry>,
) -> Option<UndoPlan> {
    if !says_none {
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
    Some(UndoPlan::None { because })
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
    let task_type = match undo.get("task") {
        Some(entry) => task_type(reader, entry),
        None => {
            names_no_task(reader, undo);
            None
        }
    };
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

/// Says of an undo that it names no task, though it says what only belongs to one. Nobody is told to name just any: the step's own would only be done once more.
fn names_no_task(reader: &mut Reader, undo: &Object<'_>) {
    let of_a_task = |entry: &&Entry| {
        let key = entry.key.as_str();
        KEYS_OF_UNDO.contains(&key) && !OF_OWN_UNDO.contains(&key)
    };
    if let Some(entry) = undo.entries.iter().find(of_a_task) {
        let key = &entry.key;
        let message = format!("the undo has no `task`, and `{key}` is said of one");
        let help = format!(
            "leave `{key}` out, and its own automation takes it back, with what the step was given; or name another `task` that does: the step's own would only be done once more"
        );
        return reader.report(code::MISSING, undo.mark, message, &help);
    }
    // a key that nobody knows has been reported
    if undo.entries.is_empty() {
        let help = "leave it out, and its own automation takes it back; or say when that is wanted (`when`), how it is tried (`retry`, `timeout`), or which other `task` does it";
        reader.report(code::MISSING, undo.mark, "the undo says nothing", help);
    }
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
