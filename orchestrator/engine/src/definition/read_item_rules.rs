//! The keys of `work_items`, of a saga and of a step.

use super::diagnostic::code;
use super::duration_text;
use super::item_rules::{ESCALATIONS_MAX, ItemRules, Rung, Who, assignee};
use super::reader::{Reader, reads};
use super::yaml::{Entry, Mark, Node};
use crate::expr::Template;

const KEYS: &[&str] = &["assign", "due", "escalate"];
const KEYS_OF_RUNGS: &[&str] = &["after", "to"];
/// What `escalate` looks like.
const ESCALATE_HELP: &str =
    "write `escalate: [ { after: 30m, to: lead }, { after: 2h, to: manager } ]`";

/// What expressions there read, and where.
pub(super) type Reads = Vec<(Mark, String)>;

/// Reads `work_items`; of a step an empty `escalate` takes back what the saga says.
pub(super) fn item_rules(
    reader: &mut Reader,
    entry: &Entry,
    of_a_step: bool,
    found: &mut Reads,
) -> Option<ItemRules> {
    let object = reader.object(&entry.value, "`work_items`", KEYS, &[])?;
    if object.entries.is_empty() {
        let help = "add `assign: network-team`, `due: 2h` or `escalate:`";
        reader.report(code::MISSING, entry.mark, "`work_items` says nothing", help);
    }
    Some(ItemRules {
        assign: object.get("assign").and_then(|e| who(reader, e, found)),
        due_ms: object.get("due").and_then(|e| reader.duration(e)),
        escalate: object
            .get("escalate")
            .and_then(|e| ladder(reader, e, of_a_step, found)),
    })
}

fn ladder(
    reader: &mut Reader,
    entry: &Entry,
    may_be_empty: bool,
    found: &mut Reads,
) -> Option<Vec<Rung>> {
    let items = reader.list(entry)?;
    if items.is_empty() && !may_be_empty {
        let mark = entry.value.mark;
        reader.report(
            code::MISSING,
            mark,
            "`escalate` names nobody",
            ESCALATE_HELP,
        );
    }
    if items.len() > ESCALATIONS_MAX {
        let message = format!("{} escalations; {ESCALATIONS_MAX} are allowed", items.len());
        let help = "keep those that make a difference";
        reader.report(code::TOO_LARGE, entry.mark, message, help);
        return None;
    }
    let mut rungs: Vec<Rung> = Vec::with_capacity(items.len());
    for item in items {
        let (mark, after_ms, to) = rung(reader, item, found);
        let last = rungs.last().map_or(0, |last| last.after_ms);
        let early = after_ms.filter(|after| !rungs.is_empty() && last >= *after);
        if let Some(after) = early {
            let message = format!(
                "`after: {}` is not later than the escalation above it",
                duration_text(after)
            );
            let help =
                "write them by rising `after`: each is counted from when the work item was opened";
            reader.report(code::ESCALATION, mark, message, help);
        }
        // One that cannot be read keeps its place, so that the others are found in theirs.
        let unreadable = || Who {
            text: String::new(),
            template: Template::unreadable(),
        };
        rungs.push(Rung {
            after_ms: after_ms.unwrap_or(last).max(last),
            to: to.unwrap_or_else(unreadable),
        });
    }
    Some(rungs)
}

/// One escalation: where its time stands, its time, and whom it goes to.
fn rung(reader: &mut Reader, item: &Node, found: &mut Reads) -> (Mark, Option<u64>, Option<Who>) {
    let Some(object) = reader.object(item, "an escalation", KEYS_OF_RUNGS, &[]) else {
        return (item.mark, None, None);
    };
    let after = reader.required(&object, "after", "the escalation", "after: 30m");
    let after_ms = after.and_then(|e| reader.duration(e));
    let to = reader
        .required(&object, "to", "the escalation", "to: lead")
        .and_then(|e| who(reader, e, found));
    let mark = after.map_or(item.mark, |e| e.value.mark);
    (mark, after_ms, to)
}

/// A name, or a text with expressions that yields one.
fn who(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Who> {
    let help = "write the name of a person or a team: `network-team`, or `${ input.team }`";
    let mark = entry.value.mark;
    let text = reader.text_such_as(entry, help)?;
    if !text.contains("${")
        && let Err(why) = assignee(text)
    {
        let message = format!("the name in `{}` {why}", entry.key);
        reader.report(code::NAME, mark, message, help);
        return None;
    }
    let template = reader.open_template(&entry.value, "the name of whom a work item is for");
    found.extend(reads(&entry.value, &template));
    Some(Who {
        text: text.to_owned(),
        template,
    })
}
