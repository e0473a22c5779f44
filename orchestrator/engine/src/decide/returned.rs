//! What a report returns, as it is taken in: every integer of its schema is one to expressions, however it was written.

use baton_messages::{Direction, Finished, ProbeAnswer, TaskResult};

use super::Deciding;

/// The report with every integer it returns as expressions have it; none where they are so already. What an undo returns is read by nobody.
pub(super) fn as_typed(d: &Deciding<'_>, finished: &Finished) -> Option<Finished> {
    let of = &finished.of;
    let (TaskResult::Succeeded { output } | TaskResult::Probed(ProbeAnswer::Happened { output })) =
        &finished.result
    else {
        return None;
    };
    let step = d.state.at(&of.key());
    let step = step.filter(|_| of.direction != Direction::Undo)?;
    let ran = step.forward.as_ref().map(|ready| &ready.facts.task_type)?;
    let output = d.rules.catalogue.get(ran)?.whole_numbers(output)?;
    let result = match &finished.result {
        TaskResult::Probed(_) => TaskResult::Probed(ProbeAnswer::Happened { output }),
        _ => TaskResult::Succeeded { output },
    };
    Some(Finished {
        result,
        ..finished.clone()
    })
}
