//! The keys of a step that is another saga.

use baton_messages::TaskType;

use super::diagnostic::code;
use super::read_step::{Reads, Use};
use super::read_task::with;
use super::reader::{Object, Reader};
use super::step::SagaStep;
use super::yaml::Entry;
use crate::expr::Template;

/// Reads what a step that is another saga says of it.
pub(super) fn saga_step(
    reader: &mut Reader,
    object: &Object<'_>,
    saga: &Entry,
    found: &mut Reads,
) -> Option<SagaStep> {
    let named = named(reader, saga);
    let with = with(reader, object, found, Use::Do);
    let timeout_ms = object.get("timeout").and_then(|e| reader.duration(e));
    let with = with.filter(|with| {
        let holds = with.holds_secret();
        if holds {
            let message = "a secret is handed to no other saga: it would stand in its history";
            let help = "name it in the step of that saga that needs it";
            let mark = object.get("with").map_or(object.mark, |e| e.value.mark);
            reader.report(code::SECRET, mark, message, help);
        }
        !holds
    });
    // What is wrong has been reported; what stands in its place lets the rest of the step be looked at.
    let (name, version) = named.unwrap_or_default();
    Some(SagaStep {
        name,
        version,
        with: with.unwrap_or_else(Template::unreadable),
        timeout_ms,
        group: None,
    })
}

/// `restore-host@1`: named with its version, so that what a saga does is fixed with its own.
fn named(reader: &mut Reader, entry: &Entry) -> Option<(String, u32)> {
    let text = reader.text(entry)?;
    // A saga is named like a task type.
    let named = TaskType::new(text).ok().and_then(|_| {
        let (name, version) = text.rsplit_once('@')?;
        Some((name.to_owned(), version.parse().ok()?))
    });
    if named.is_none() {
        let (problem, help) = if text.contains("${") {
            (
                "which saga it is is fixed",
                "make a step for each, with an `if:`",
            )
        } else if text.contains('@') {
            (
                "this is no name of a saga with its version",
                "write `restore-host@1`",
            )
        } else {
            (
                "the version of the saga is missing",
                "say it too: `restore-host@1`",
            )
        };
        reader.report(code::SHAPE, entry.value.mark, problem, help);
    }
    named
}
