//! `ChildSaid`: the child of a step says how it stands. Of two words the one with more records behind it counts, in whatever order they come.

use baton_messages::{ChildSaid, Failure, Standing, StepKey, Wanted};
use serde_json::Value;

use super::{DecideError, Deciding, Handled, Refusal, Verdict, failure};
use crate::advance::dependents_gone;
use crate::child::Child;
use crate::record::Record;
use crate::state::{Phase, Status};
use crate::work_item::WorkItemKind;

pub(super) fn child_said(d: &mut Deciding<'_>, said: &ChildSaid) -> Handled {
    let id = said.parent.key();
    let Some(step) = d.state.at(&id) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("step {id}"),
        }));
    };
    let ignored = |why: &str| {
        Ok(Verdict::Ignored {
            why: why.to_owned(),
        })
    };
    let known = step.child.as_deref().filter(|child| child.id == said.child);
    let Some(child) = known.filter(|_| step.round == said.parent.round) else {
        return ignored("the step has another child now, or none");
    };
    let (phase, want) = (step.phase, child.want);
    // what the saga built on is gone
    let is_gone = phase == Phase::Succeeded
        && matches!(
            said.standing,
            Standing::Compensated { .. } | Standing::Abandoned
        );
    let hears = d.state.active() || (is_gone && d.state.status == Status::Completed);
    if !hears {
        return ignored("the saga has ended");
    }
    if said.seq <= child.seen {
        return Ok(Verdict::Duplicate);
    }
    if !d.state.active() {
        d.emit(Record::StatusChanged { to: Status::Parked })?;
    }
    d.emit(Record::ChildHeard {
        step: id.clone(),
        seq: said.seq,
        standing: said.standing.clone(),
    })?;
    match phase {
        Phase::InChild => forward(d, &id, want, &said.standing)?,
        Phase::UndoInChild => backward(d, &id, &said.standing)?,
        _ if is_gone => {
            let what = if said.standing == Standing::Abandoned {
                "abandoned"
            } else {
                "taken back"
            };
            let title = format!(
                "saga {}, which step {id} is, was done and has been {what} since: see to what was built on it",
                said.child
            );
            d.open_work_item(None, WorkItemKind::LateEvidence, title, None)?;
        }
        _ => {}
    }
    Ok(Verdict::Applied)
}

/// The step waits for what its child does.
fn forward(
    d: &mut Deciding<'_>,
    id: &StepKey,
    want: Wanted,
    standing: &Standing,
) -> Result<(), DecideError> {
    match standing {
        Standing::UnderWay { .. } => Ok(()),
        Standing::Completed {
            too_large: Some(bytes),
            ..
        } => {
            let text = format!("its child has returned {bytes} bytes; have it return a reference");
            unusable(d, id, want, failure("too-large", text))
        }
        Standing::Completed {
            no_output: Some(why),
            ..
        } => {
            let text = format!("the `output` of its child could not be computed: {why}");
            unusable(d, id, want, failure("no-output", text))
        }
        Standing::Completed {
            output,
            only_forward,
            ..
        } => {
            // One whose time is over is being taken back, unless it is past that.
            if want == Wanted::Undone && !only_forward {
                return Ok(());
            }
            let output = output.clone().unwrap_or(Value::Null);
            d.move_to(id, Phase::Succeeded, None, Some(output), None)
        }
        Standing::Compensated { failure: why } => {
            d.emit(Record::Cleared { step: id.clone() })?;
            let why = match want {
                Wanted::Undone => d.step(id)?.last_failure.clone(),
                Wanted::Done => why.clone(),
            };
            let why = why.unwrap_or_else(|| failure("child", "its child took back what it did"));
            let why = Failure {
                retryable: false,
                ..why
            };
            d.fail_for_good(id, why)
        }
        Standing::Abandoned => {
            let child = d.step(id)?.child.as_deref().map(|child| child.id);
            let child = child.map_or_else(String::new, |child| child.to_string());
            let text = format!("saga {child} was abandoned; what it left, nobody knows");
            d.child_left_it(id, failure("child", text))
        }
    }
}

/// The child is done, and what it returns is of no use.
fn unusable(
    d: &mut Deciding<'_>,
    id: &StepKey,
    want: Wanted,
    why: Failure,
) -> Result<(), DecideError> {
    if d.step(id)?.child.as_deref().is_some_and(Child::stays) {
        return d.child_left_it(id, why);
    }
    // the saga turns back, and recalls it when what depends on it is gone
    let waits = d.state.unwinding.is_some() && !dependents_gone(d, d.defined(id)?.index);
    match want {
        Wanted::Done if !waits => d.recall(id, why),
        Wanted::Done | Wanted::Undone => Ok(()),
    }
}

/// The step waits for what its child takes back.
fn backward(d: &mut Deciding<'_>, id: &StepKey, standing: &Standing) -> Result<(), DecideError> {
    match standing {
        Standing::Compensated { .. } => d.undone(id),
        Standing::Completed { .. } | Standing::Abandoned => d.child_is_stuck(id),
        Standing::UnderWay { .. } => Ok(()),
    }
}
