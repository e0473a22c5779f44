//! What concerns several steps at once: which variables each expression may read, and the pivot. The data-flow checker, which knows
//! the types of what flows, belongs here too.

use std::collections::BTreeSet;

use super::diagnostic::code;
use super::graph::Graph;
use super::read_group::{Ids, outward};
use super::read_step::{Draft, Reads, Use};
use super::reader::Reader;
use super::yaml::Mark;

/// Checks every expression of every step, and that there is at most one pivot.
pub(super) fn steps(reader: &mut Reader, drafts: &[Draft], graph: &Graph) {
    for (index, draft) in drafts.iter().enumerate() {
        let mut told = BTreeSet::new();
        for (mark, root, used) in &draft.reads {
            let of_item = is_of_item(root) && draft.for_each && *used != Use::List;
            if !of_item && root != "input" && !comes_before(drafts, graph, index, root, *used) {
                too_early(
                    reader,
                    (*mark, root.as_str()),
                    drafts,
                    graph,
                    index,
                    &mut told,
                );
            }
        }
    }
    pivots(reader, drafts);
}

/// Checks the same of a group; what is left over is read of what is around it, and is for its step to be checked for.
pub(super) fn group(
    reader: &mut Reader,
    drafts: &[Draft],
    graph: &Graph,
    of_output: Vec<(Mark, String)>,
    around: &Ids,
) -> Reads {
    let is_inside = |root: &str| drafts.iter().any(|draft| draft.id.as_str() == root);
    let mut left = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        let mut told = BTreeSet::new();
        for (mark, root, used) in &draft.reads {
            match (is_of_item(root), is_inside(root)) {
                // of the step's own list, or of the group's
                (true, _) => {}
                (_, true) if comes_before(drafts, graph, index, root, *used) => {}
                (_, true) => too_early(
                    reader,
                    (*mark, root.as_str()),
                    drafts,
                    graph,
                    index,
                    &mut told,
                ),
                (_, false) => left.push((*mark, root.clone())),
            }
        }
        item_rules(reader, draft, drafts, Some(around));
    }
    let outputs = of_output.into_iter();
    left.extend(outputs.filter(|(_, root)| !is_of_item(root) && !is_inside(root)));
    pivots(reader, drafts);
    outward(left)
}

/// Checks what the `work_items` of a step read: the input and, in a group with these ids around it, the item of that group.
pub(super) fn item_rules(
    reader: &mut Reader,
    draft: &Draft,
    drafts: &[Draft],
    around: Option<&Ids>,
) {
    // of a step with a list of its own they are computed once, and `item` would be one of that list
    let of_group = around.is_some() && !draft.for_each;
    for (mark, root) in &draft.item_reads {
        let is_known = root == "input" || (of_group && is_of_item(root));
        if is_known {
            continue;
        }
        let is_around = around.is_some_and(|ids| ids.contains_key(root));
        let is_step = is_around || drafts.iter().any(|other| other.id.as_str() == root);
        let (message, help) = if is_of_item(root) {
            no_item(draft, root)
        } else if is_step && around.is_some() {
            let known = match of_group {
                true => "`work_items` in a group reads only `input`, `item` and `index`",
                false => "`work_items` of a step with `for_each` reads only `input`",
            };
            (
                format!("`{root}` is a step; {known}"),
                "hand it over in `input`, or write a name: `assign: network-team`".to_owned(),
            )
        } else {
            refuse(reader, *mark, root, drafts, None);
            continue;
        };
        reader.report(code::REFERENCE, *mark, message, &help);
    }
}

/// What is said of an item that `work_items` reads where there is none.
fn no_item(draft: &Draft, root: &str) -> (String, String) {
    let (of, help) = match (draft.group(), draft.for_each) {
        (Some(_), _) => (
            "of a group",
            "write it at a step within the group, which may read `item`; here only `input` is known",
        ),
        (None, true) => (
            "of a step with `for_each`",
            "here only `input` is known; a step in a group (`for_each` with `steps`) may read `item`",
        ),
        (None, false) => (
            "of this step",
            "here only `input` is known; a step in a group (`for_each` with `steps`) may read `item`",
        ),
    };
    let message =
        format!("the `work_items` {of} is not computed for each item: there is no `{root}` here");
    (message, help.to_owned())
}

fn is_of_item(root: &str) -> bool {
    matches!(root, "item" | "index")
}

/// Whether what a step reads is the output of one that comes before it, or its own in its undo.
fn comes_before(drafts: &[Draft], graph: &Graph, index: usize, root: &str, used: Use) -> bool {
    let is_it = |a: usize| drafts[a].id.as_str() == root;
    let own = used == Use::Undo && is_it(index);
    own || match graph.unsure.contains(&index) {
        // any of the others may come before it
        true => (0..drafts.len()).any(|other| other != index && is_it(other)),
        false => graph.ancestors[index].iter().copied().any(is_it),
    }
}

fn pivots(reader: &mut Reader, drafts: &[Draft]) {
    let mut pivots = drafts
        .iter()
        .filter_map(|draft| draft.pivot_mark.map(|mark| (draft, mark)));
    if let Some((first, _)) = pivots.next() {
        for (_, mark) in pivots {
            let message = format!("a saga has one pivot, and `{}` is it already", first.id);
            reader.report(
                code::PIVOT,
                mark,
                message,
                "keep the one from which there is no way back",
            );
        }
    }
}

/// Checks what an expression outside the steps reads: the input, and, in the output, every step.
pub(super) fn outside(
    reader: &mut Reader,
    reads: &[(Mark, String)],
    drafts: &[Draft],
    steps_too: bool,
) {
    for (mark, root) in reads {
        let a_step = steps_too && drafts.iter().any(|draft| draft.id.as_str() == root);
        if root != "input" && !a_step {
            refuse(reader, *mark, root, drafts, None);
        }
    }
}

/// Checks that what is computed before there is a saga reads nothing but `known`.
pub(super) fn only(reader: &mut Reader, reads: &[(Mark, String)], known: &str) {
    for (mark, root) in reads.iter().filter(|(_, root)| root != known) {
        let message = format!("there is no `{root}` here; only `{known}` is known");
        let help = match ATTRIBUTES.contains(&root.as_str()) && known == "event" {
            true => format!("write `event.{root}`"),
            false => "a trigger is looked at before there is a saga: it computes the saga's input"
                .to_owned(),
        };
        reader.report(code::REFERENCE, *mark, message, &help);
    }
}

/// What an event has.
const ATTRIBUTES: [&str; 6] = ["data", "id", "source", "subject", "time", "type"];

/// Says of a name a step reads that nothing of it is there yet: where it is a step, where that comes. Of one that only its `after` lacks it is said once: who
/// adds it there has mended all.
fn too_early<'d>(
    reader: &mut Reader,
    read: (Mark, &'d str),
    drafts: &[Draft],
    graph: &Graph,
    index: usize,
    told: &mut BTreeSet<&'d str>,
) {
    let (mark, root) = read;
    let Some(step) = drafts.get(index) else {
        return;
    };
    let other = drafts.iter().position(|draft| draft.id.as_str() == root);
    let Some((at, later)) = other
        .filter(|other| *other != index)
        .and_then(|other| Some((other, drafts.get(other)?)))
    else {
        return refuse(reader, mark, root, drafts, Some(step));
    };
    if !told.insert(root) {
        return;
    }
    let id = &step.id;
    let comes_after = graph.descendants.get(index);
    let (message, help) = match comes_after.is_some_and(|after| after.contains(&at)) {
        true => (
            format!(
                "`{id}` reads `{root}`, which comes after it (line {})",
                later.mark.line
            ),
            match (at > index && later.after.is_none(), &step.after) {
                (true, None) => format!("move `{root}` above `{id}`"),
                (true, Some(_)) => {
                    format!("move `{root}` above `{id}`, and add it to `after` of `{id}`")
                }
                (false, _) => format!(
                    "have `{root}` not wait for `{id}`, and add `{root}` to `after` of `{id}`"
                ),
            },
        ),
        false => (
            format!("`{id}` reads `{root}`, which does not come before it"),
            format!("add `{root}` to `after` of `{id}`"),
        ),
    };
    reader.report(code::REFERENCE, mark, message, &help);
}

fn refuse(
    reader: &mut Reader,
    mark: Mark,
    root: &str,
    drafts: &[Draft],
    reader_step: Option<&Draft>,
) {
    let known = drafts.iter().any(|draft| draft.id.as_str() == root);
    let in_group = drafts.iter().find(|draft| has_inside(draft, root));
    let (message, help) = match (reader_step, root) {
        (Some(step), "item" | "index") if step.for_each => (
            format!("there is no `{root}` yet: the list of `for_each` is computed first"),
            "write what the list is: `for_each: \"${ input.hosts }\"`".to_owned(),
        ),
        (_, "item" | "index") => (
            format!("`{root}` stands only in a step with `for_each`"),
            "add `for_each: \"${ input.hosts }\"`; its `with`, `if`, `pool`, `undo` and `probe` read `item` and `index`"
                .to_owned(),
        ),
        (_, "event") => (
            "`event` stands only in `on:` and in the `when` of a wait".to_owned(),
            "hand what you need of the event into `input:` of the trigger".to_owned(),
        ),
        (Some(step), _) if step.id.as_str() == root => (
            format!("`{root}` reads its own output, which it does not have yet"),
            "only its undo may read it".to_owned(),
        ),
        (None, _) if known => (
            format!("`{root}` is a step; here only `input` is known"),
            "this is computed when the saga starts".to_owned(),
        ),
        _ if in_group.is_some() => {
            let group = in_group.map_or("", |draft| draft.id.as_str());
            (
                format!("`{root}` is a step of the group `{group}`, and is known only there"),
                format!("have the group return it (`output`), and read `{group}`: the list of what its items return"),
            )
        }
        _ => (
            format!("there is no step `{root}`"),
            nearest_help(root, drafts, reader_step),
        ),
    };
    reader.report(code::REFERENCE, mark, message, &help);
}

/// Whether a step of this id is in a group, on whatever level.
fn has_inside(draft: &Draft, root: &str) -> bool {
    let inside = draft.group().map_or(&[][..], |group| &group.drafts);
    let is_it = |draft: &Draft| draft.id.as_str() == root || has_inside(draft, root);
    inside.iter().any(is_it)
}

/// How CEL writes what is a word of its own in other languages.
fn of_other_languages(word: &str) -> Option<&'static str> {
    Some(match word {
        "True" | "TRUE" => "true",
        "False" | "FALSE" => "false",
        "None" | "NULL" | "Null" | "nil" | "undefined" => "null",
        _ => return None,
    })
}

fn nearest_help(root: &str, drafts: &[Draft], reader_step: Option<&Draft>) -> String {
    // what a group reads and does not have may be a step of its own as well
    let inside = reader_step.and_then(Draft::group);
    let inside = inside.map_or(&[][..], |group| &group.drafts);
    if let Some(word) = of_other_languages(root) {
        return format!("write `{word}`");
    }
    if root == "steps" {
        let own = reader_step.map(|step| &step.id);
        let other = drafts.iter().find(|draft| Some(&draft.id) != own);
        let id = other.map_or("resolve", |draft| draft.id.as_str());
        return format!(
            "what a step returns is read by its id alone: `{id}.value`, not `steps.{id}.output.value`"
        );
    }
    let drafts = drafts.iter().chain(inside);
    let ids = drafts.map(|draft| draft.id.as_str()).chain(["input"]);
    match super::reader::nearest(root, ids) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "an expression reads `input` and the outputs of the steps before it, by their ids; text that is no expression needs quotes inside `${ … }`".to_owned(),
    }
}
