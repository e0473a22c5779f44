//! What concerns several steps at once: which variables each expression may read, and the pivot. The data-flow checker, which knows
//! the types of what flows, belongs here too.

use super::diagnostic::code;
use super::graph::Graph;
use super::read_step::{Draft, Use};
use super::reader::Reader;
use super::yaml::Mark;

/// Checks every expression of every step, and that there is at most one pivot.
pub(super) fn steps(reader: &mut Reader, drafts: &[Draft], graph: &Graph) {
    for (index, draft) in drafts.iter().enumerate() {
        for (mark, root, used) in &draft.reads {
            let own = *used == Use::Undo && *root == draft.id.as_str();
            let is_it = |a: usize| drafts[a].id.as_str() == root;
            let comes_before = match graph.unsure.contains(&index) {
                // any of the others may come before it
                true => (0..drafts.len()).any(|other| other != index && is_it(other)),
                false => graph.ancestors[index].iter().copied().any(is_it),
            };
            let of_item = matches!(root.as_str(), "item" | "index");
            if of_item && draft.for_each && *used != Use::List {
                continue;
            }
            if root != "input" && !own && !comes_before {
                refuse(reader, *mark, root, drafts, Some(draft));
            }
        }
    }
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
        let help = "a trigger is looked at before there is a saga: it computes the saga's input";
        reader.report(code::REFERENCE, *mark, message, help);
    }
}

fn refuse(
    reader: &mut Reader,
    mark: Mark,
    root: &str,
    drafts: &[Draft],
    reader_step: Option<&Draft>,
) {
    let known = drafts.iter().any(|draft| draft.id.as_str() == root);
    let (message, help) = match (reader_step, root) {
        (_, "item" | "index") => (
            format!("`{root}` stands only in a step with `for_each`"),
            "add `for_each: ${ … }`; its `with`, `if`, `pool`, `undo` and `probe` read `item` and `index`"
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
        (Some(step), _) if known => (
            format!(
                "`{}` reads `{root}`, which does not come before it",
                step.id
            ),
            format!("add `{root}` to `after` of `{}`", step.id),
        ),
        (None, _) if known => (
            format!("`{root}` is a step; here only `input` is known"),
            "this is computed when the saga starts".to_owned(),
        ),
        _ => (
            format!("there is no step `{root}`"),
            nearest_help(root, drafts),
        ),
    };
    reader.report(code::REFERENCE, mark, message, &help);
}

fn nearest_help(root: &str, drafts: &[Draft]) -> String {
    let ids = drafts
        .iter()
        .map(|draft| draft.id.as_str())
        .chain(["input"]);
    match super::reader::nearest(root, ids) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "an expression reads `input` and the outputs of the steps before it, by their ids; text that is no expression needs quotes inside `${ … }`".to_owned(),
    }
}
