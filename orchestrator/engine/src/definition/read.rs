//! From the tree to a definition: the keys of the document's top.

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::TaskType;

use super::diagnostic::{Diagnostic, code};
use super::read_group::{self, Ids, Standing};
use super::read_item_rules::item_rules;
use super::read_reserves;
use super::read_step::{self, Does, Draft};
use super::read_trigger;
use super::reader::{Reader, reads};
use super::schema::InputSchema;
use super::schema_faults;
use super::step::{Step, StepKind};
use super::trigger::Trigger;
use super::yaml::{self, Content, Entry, Mark, Node, Spoilt};
use super::{
    DEFINITION_BYTES_MAX, Definition, LABELS_MAX, OWNER_DEFAULT, STEPS_MAX, check, graph, meant,
};
use crate::expr::Template;

/// The keys of a document's top.
pub(super) const KEYS: &[&str] = &[
    "saga",
    "version",
    "title",
    "owner",
    "on",
    "input",
    "deadline",
    "labels",
    "locks",
    "lock_timeout",
    "concurrency",
    "blast_radius",
    "work_items",
    "steps",
    "output",
];

/// What could be read of a document.
pub(super) struct Partial {
    /// What stands where.
    pub(super) tree: Option<Node>,
    /// What does not stand in it as it was written.
    pub(super) spoilt: Spoilt,
    /// The definition; where `whole` is false, with what could not be read left out or replaced.
    pub(super) definition: Option<Definition>,
    /// Whether nothing was wrong.
    pub(super) whole: bool,
    pub(super) doubts: Doubts,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Of what steps of a list nobody knows enough, and where triggers stand.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Those of which something could not be read.
    pub(super) broken: BTreeSet<usize>,
    /// Those of which nobody knows what comes before them: any other step may.
    pub(super) unsure: BTreeSet<usize>,
    /// Where in `on:` each trigger stands: of what is none nothing is known.
    pub(super) triggers: Vec<usize>,
    /// As much of the steps of groups, by the index of the step that is one.
    pub(super) groups: BTreeMap<usize, Self>,
}

impl Doubts {
    fn is_one_broken(&self) -> bool {
        !self.broken.is_empty() || self.groups.values().any(Self::is_one_broken)
    }
}

/// Reads a whole document.
pub(super) fn definition(source: &str) -> Result<Definition, Vec<Diagnostic>> {
    let read = partial(source);
    match read.definition {
        Some(definition) if read.whole => Ok(definition),
        _ => Err(read.diagnostics),
    }
}

/// Reads what can be read of a document.
pub(super) fn partial(source: &str) -> Partial {
    let nothing = |diagnostics| Partial {
        tree: None,
        spoilt: Spoilt::new(),
        definition: None,
        whole: false,
        doubts: Doubts::default(),
        diagnostics,
    };
    let mut reader = Reader::new();
    if source.len() > DEFINITION_BYTES_MAX {
        let message = format!(
            "the document has {} bytes; {DEFINITION_BYTES_MAX} are allowed",
            source.len()
        );
        reader.report(code::TOO_LARGE, Mark::START, message, "split the saga");
        return nothing(reader.finish());
    }
    let read = yaml::read(source);
    reader.take(read.diagnostics, read.spoilt.clone());
    let Some(mut root) = read.tree else {
        return nothing(reader.finish());
    };
    meant::adopt(&mut reader, &mut root);
    let mut doubts = Doubts::default();
    let definition = document(&mut reader, &root, source, &mut doubts);
    let diagnostics = reader.finish();
    Partial {
        tree: Some(root),
        spoilt: read.spoilt,
        whole: definition.is_some() && !doubts.is_one_broken() && diagnostics.is_empty(),
        definition,
        doubts,
        diagnostics,
    }
}

fn document(
    reader: &mut Reader,
    root: &Node,
    source: &str,
    doubts: &mut Doubts,
) -> Option<Definition> {
    let top = reader.object(root, "a saga", KEYS, &[])?;
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
        .map(|e| read_trigger::triggers(reader, e))
        .unwrap_or_default();
    let triggers = triggers.into_iter();
    let (places, triggers): (Vec<usize>, Vec<Trigger>) = triggers.unzip();
    doubts.triggers = places;
    let input_schema = top.get("input").and_then(|e| input_schema(reader, e));
    let deadline_ms = top.get("deadline").and_then(|e| reader.duration(e));
    let (labels, label_reads) = top
        .get("labels")
        .map(|e| labels(reader, e))
        .unwrap_or_default();
    let (reserves, reserve_reads) = read_reserves::reserves(reader, &top, &labels);
    let mut item_reads = Vec::new();
    let item_rules = top
        .get("work_items")
        .and_then(|e| item_rules(reader, e, false, &mut item_reads));
    let drafts = reader
        .required(&top, "steps", "the document", "steps:")
        .map(|e| steps(reader, e));
    let drafts = drafts.unwrap_or_default();
    let output = top
        .get("output")
        .map(|e| (e, reader.open_template(&e.value, "the output")));
    check::outside(reader, &label_reads, &drafts, false);
    check::outside(reader, &reserve_reads, &drafts, false);
    check::outside(reader, &item_reads, &drafts, false);
    for draft in &drafts {
        check::item_rules(reader, draft, &drafts, None);
    }
    if let Some((entry, template)) = &output {
        check::outside(reader, &reads(&entry.value, template), &drafts, true);
    }
    let graph = graph::build(reader, &drafts, &Ids::new());
    doubts.unsure.clone_from(&graph.unsure);
    check::steps(reader, &drafts, &graph);
    let standing = Standing {
        // What is missing has been reported, and then this is only looked at.
        saga: saga.unwrap_or_default(),
        version: version.unwrap_or_default(),
        title,
        owner: owner.unwrap_or_default(),
        item_rules,
        source: source.into(),
    };
    let steps = assemble(drafts, graph, &standing, doubts);
    Some(Definition {
        saga: standing.saga,
        version: standing.version,
        title: standing.title,
        owner: standing.owner,
        triggers,
        input_schema,
        deadline_ms,
        labels,
        reserves: reserves.map(Box::new),
        item_rules: standing.item_rules.map(Box::new),
        steps,
        output: output.map(|(_, template)| template),
        source: standing.source,
    })
}

/// Puts drafts and order together. A draft without a kind, which has been reported, becomes a step that stands for it.
pub(super) fn assemble(
    drafts: Vec<Draft>,
    graph: graph::Graph,
    standing: &Standing,
    doubts: &mut Doubts,
) -> Vec<Step> {
    let graph::Graph {
        after,
        dependents,
        ancestors,
        descendants,
        unsure: _,
    } = graph;
    let order = after
        .into_iter()
        .zip(dependents)
        .zip(ancestors.into_iter().zip(descendants));
    let steps = drafts.into_iter().enumerate().zip(order);
    steps
        .map(
            |((index, draft), ((after, dependents), (ancestors, descendants)))| {
                let kind = match draft.does {
                    Some(Does::One(kind)) => kind,
                    Some(Does::Group(group)) => {
                        let within = doubts.groups.entry(index).or_default();
                        let step = (draft.id.as_str(), draft.item_rules.as_ref());
                        read_group::kind(*group, step, standing, within)
                    }
                    None => {
                        doubts.broken.insert(index);
                        StepKind::Sleep(Template::literal("1s".into()))
                    }
                };
                Step {
                    id: draft.id,
                    index,
                    after,
                    dependents,
                    ancestors,
                    descendants,
                    condition: draft.condition,
                    fan: draft.fan.map(Box::new),
                    kind,
                    pivot: draft.pivot_mark.is_some(),
                    on_error: draft.on_error,
                    item_rules: draft.item_rules.map(Box::new),
                }
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
    let why = match InputSchema::compile(schema.clone()) {
        Ok(compiled) => return Some(compiled),
        Err(why) => why,
    };
    let faults = schema_faults::faults(&schema);
    if faults.is_empty() {
        let message = format!("`input` is no JSON Schema: {why}");
        let help = "mend what is named; what a schema may say is told at https://json-schema.org/understanding-json-schema";
        reader.report(code::SCHEMA, entry.mark, message, help);
        return None;
    }
    for fault in &faults {
        let value = entry.value.at(&fault.at);
        let mark = match (&value.content, fault.at.as_str()) {
            (Content::Scalar(_), _) => value.mark,
            (_, "") => entry.mark,
            _ => entry.value.name_mark(&fault.at),
        };
        reader.report(code::SCHEMA, mark, fault.what.as_str(), &fault.help);
    }
    // What is sound of it is still what the expressions are held against.
    InputSchema::compile(schema_faults::without(&schema, &faults)).ok()
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
            // its name is known all the same
            labels.push((label.key.clone(), Template::unreadable()));
        } else {
            let template = reader.open_template(&label.value, "a label");
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
    let drafts = read_step::steps(reader, items, &Ids::new());
    let count: usize = drafts.iter().map(Draft::count).sum();
    if count > STEPS_MAX {
        let message = format!("{count} steps with those of groups; {STEPS_MAX} are allowed");
        reader.report(code::TOO_LARGE, entry.mark, message, "split the saga");
    }
    drafts
}
