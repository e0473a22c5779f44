//! The keys of a step that is a group of steps, done for each item of a list, and how such a group becomes the saga of an item.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::diagnostic::code;
use super::graph::{self, Graph};
use super::group::{Group, group_name};
use super::read::{Doubts, assemble};
use super::read_step::{self, Draft, Reads, Use};
use super::reader::{Object, Reader, reads};
use super::step::{SagaStep, StepKind};
use super::yaml::{Entry, Mark};
use super::{Definition, ItemRules, STEPS_MAX, check};
use crate::expr::Template;

/// The ids of steps by the lines they stand in.
pub(super) type Ids = BTreeMap<String, usize>;

/// A group as it stands in the document.
pub(super) struct GroupDraft {
    pub(super) drafts: Vec<Draft>,
    graph: Graph,
    output: Option<Template>,
    timeout_ms: Option<u64>,
    written: Value,
}

impl GroupDraft {
    /// How many steps it has, with those of groups within it.
    pub(super) fn count(&self) -> usize {
        self.drafts.iter().map(Draft::count).sum()
    }
}

/// Keys a group has no use for, with why.
const KEYS_OF_OTHERS: [(&str, &str); 8] = [
    (
        "with",
        "leave it out: the steps of a group read `item`, `input` and what comes before the group where they need it",
    ),
    ("pool", "write it at the steps of the group"),
    ("queue_timeout", "write it at the steps of the group"),
    ("heartbeat", "write it at the steps of the group"),
    ("retry", "write it at the steps of the group"),
    (
        "undo",
        "leave it out: the steps of a group are taken back each by its own undo",
    ),
    ("because", "write it at the steps of the group"),
    ("probe", "write it at the steps of the group"),
];

/// Reads `steps` of a step and what goes with it. What its expressions read of what is around it goes to `found`, as what the step reads.
pub(super) fn group(
    reader: &mut Reader,
    object: &Object<'_>,
    entry: &Entry,
    outside: &Ids,
    found: &mut Reads,
) -> Option<GroupDraft> {
    refuse_others(reader, object, entry);
    let timeout_ms = object.get("timeout").and_then(|e| reader.duration(e));
    let items = reader.list(entry)?;
    if items.is_empty() {
        let mark = entry.value.mark;
        reader.report(
            code::MISSING,
            mark,
            "a group has at least one step",
            "add `- id: …`",
        );
        return None;
    }
    if items.len() > STEPS_MAX {
        let message = format!("{} steps; {STEPS_MAX} are allowed", items.len());
        reader.report(code::TOO_LARGE, entry.mark, message, "split the saga");
        return None;
    }
    let drafts = read_step::steps(reader, items, outside);
    let output = object
        .get("output")
        .map(|e| (e, reader.open_template(&e.value, "the output")));
    let graph = graph::build(reader, &drafts, outside);
    let of_output = output.as_ref();
    let of_output = of_output.map_or_else(Vec::new, |(e, template)| reads(&e.value, template));
    found.extend(check::group(reader, &drafts, &graph, of_output, outside));
    let output_written = object.get("output").map(|e| e.value.to_json());
    Some(GroupDraft {
        drafts,
        graph,
        output: output.map(|(_, template)| template),
        timeout_ms,
        written: json!({ "steps": entry.value.to_json(), "output": output_written }),
    })
}

/// A step that says `output` and is no group.
pub(super) fn stray(reader: &mut Reader, object: &Object<'_>) {
    if let Some(entry) = object
        .get("output")
        .filter(|_| object.get("steps").is_none())
    {
        let message = "`output` of a step goes with `steps`";
        let help = "leave it out: what a task or a saga returns is the step's output; beside `steps`, at the top, `output` is what the saga returns";
        reader.report(code::KIND, entry.mark, message, help);
    }
}

fn refuse_others(reader: &mut Reader, object: &Object<'_>, entry: &Entry) {
    if object.get("for_each").is_none() {
        let message =
            "a group of steps is done for each item of a list, and this step has no `for_each`";
        let help = "add `for_each: \"${ … }\"`; steps that are done once stand in the list of the saga itself, or are a saga of their own";
        reader.report(code::FAN_OUT, entry.mark, message, help);
    }
    for (key, help) in KEYS_OF_OTHERS {
        if let Some(entry) = object.get(key) {
            let message = format!("`{key}` says nothing of a group of steps");
            reader.report(code::KIND, entry.mark, message, help);
        }
    }
}

/// What a group has of the saga it stands in.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) saga: String,
    pub(super) version: u32,
    pub(super) title: Option<String>,
    pub(super) owner: String,
    pub(super) item_rules: Option<ItemRules>,
    pub(super) source: Arc<str>,
}

/// What a step that is a group does: it is a saga for each item, whose definition stands here.
pub(super) fn kind(
    draft: GroupDraft,
    step: (&str, Option<&ItemRules>),
    standing: &Standing,
    doubts: &mut Doubts,
) -> StepKind {
    let (id, own) = step;
    let within = Standing {
        saga: group_name(&standing.saga, id),
        item_rules: over(own, standing.item_rules.as_ref()),
        ..standing.clone()
    };
    let unsure = draft.graph.unsure.clone();
    let steps = assemble(draft.drafts, draft.graph, &within, doubts);
    doubts.unsure = unsure;
    let definition = Definition {
        saga: within.saga,
        version: within.version,
        title: within.title,
        owner: within.owner,
        triggers: Vec::new(),
        input_schema: None,
        deadline_ms: None,
        labels: Vec::new(),
        reserves: None,
        item_rules: within.item_rules.map(Box::new),
        steps,
        output: draft.output,
        source: within.source,
    };
    StepKind::Saga(Box::new(SagaStep {
        name: definition.saga.clone(),
        version: definition.version,
        with: Template::captured(definition.reads_around()),
        timeout_ms: draft.timeout_ms,
        group: Some(Arc::new(Group {
            definition: Arc::new(definition),
            written: draft.written,
        })),
    }))
}

/// What a step says of work items over what is said around it, key by key.
fn over(own: Option<&ItemRules>, around: Option<&ItemRules>) -> Option<ItemRules> {
    let (Some(own), Some(around)) = (own, around) else {
        return own.or(around).cloned();
    };
    Some(ItemRules {
        assign: own.assign.clone().or_else(|| around.assign.clone()),
        due_ms: own.due_ms.or(around.due_ms),
        escalate: own.escalate.clone().or_else(|| around.escalate.clone()),
    })
}

/// A name that a step has outside of a group cannot be had inside: nobody could tell which of the two is meant.
pub(super) fn taken(reader: &mut Reader, mark: Mark, id: &str, line: usize) {
    let message =
        format!("the id `{id}` is taken by the step in line {line}, outside of this group");
    let help =
        "give it an id of its own: inside the group the name stands for what that step returned";
    reader.report(code::TWICE, mark, message, help);
}

/// Reads of a group that are for what is around it.
pub(super) fn outward(reads: Vec<(Mark, String)>) -> Reads {
    let read = |(mark, root)| (mark, root, Use::Do);
    reads.into_iter().map(read).collect()
}
