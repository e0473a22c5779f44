//! `EditStep`: an operator has a parked step, or a parked undo, tried with another input, or by another task type.
//!
//! What is tried then is another effect, so it is another round, under another idempotency key. A step is edited only where it is known to have changed nothing: else what it did with the
//! input it had would be left to nobody. An undo keeps the before-image, and is edited only where a task of its own undoes.

use std::sync::Arc;

use baton_messages::{Direction, Effect, StepKey};

use super::offer::NotReady;
use super::operator::{FOR_THE_HISTORY, unreasoned, word};
use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::definition::{StepKind, UndoPlan};
use crate::input::{Operator, StepEdit};
use crate::record::Record;
use crate::state::{Phase, Prepared, StepState};

pub(super) fn edit_step(
    d: &mut Deciding<'_>,
    step: &StepKey,
    edit: &StepEdit,
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    let action = edit.action();
    if let Some(verdict) = unreasoned(operator, action, FOR_THE_HISTORY) {
        return Ok(verdict);
    }
    let not_now = |why: String| Ok(Verdict::Refused(Refusal::NotNow { action, why }));
    let (direction, backoff) = match d.step(step)?.phase {
        Phase::Parked => (Direction::Do, Phase::Backoff),
        Phase::UndoParked => (Direction::Undo, Phase::UndoBackoff),
        phase => {
            return not_now(format!(
                "{step} is {}; only a parked step is edited",
                word(phase)
            ));
        }
    };
    if let Some(why) = hindered(d, step, direction)? {
        return not_now(why);
    }
    let prepared = match prepared(d, step, direction, edit)? {
        Ok(prepared) => prepared,
        Err(why) => return not_now(why),
    };
    d.applied(operator, action)?;
    d.close_work_item_of(step, &operator.by)?;
    if direction == Direction::Do {
        d.emit(Record::Edited { step: step.clone() })?;
    }
    d.emit(Record::NewRound { step: step.clone() })?;
    d.emit(Record::Prepared {
        step: step.clone(),
        direction,
        prepared: Arc::new(prepared),
    })?;
    // due at once, as a retry is
    d.move_to(step, backoff, Some(d.now), None, None)?;
    Ok(Verdict::Applied)
}

/// Why the step as it stands is not edited.
fn hindered(
    d: &Deciding<'_>,
    id: &StepKey,
    direction: Direction,
) -> Result<Option<String>, DecideError> {
    let step = d.step(id)?;
    if !matches!(d.defined(id)?.kind, StepKind::Task(_)) || step.fan.is_some() {
        return Ok(Some(format!("{id} is no task with an input of its own")));
    }
    if step.unsettled(d.now) {
        return Ok(Some(format!(
            "an attempt of {id} may still be acting; wait until it has closed"
        )));
    }
    Ok(
        (direction == Direction::Do && step.may_have_effect).then(|| {
            format!(
                "{id} may have changed something with the input it had; retry it as it is, say that it is done, or have it taken back"
            )
        }),
    )
}

/// What it is tried with then; or why it cannot be.
fn prepared(
    d: &Deciding<'_>,
    id: &StepKey,
    direction: Direction,
    edit: &StepEdit,
) -> Result<Result<Prepared, String>, DecideError> {
    let (step, task) = (d.step(id)?, d.task(id)?);
    let is_own = matches!(task.undo, UndoPlan::Own);
    let undone_by_itself = direction == Direction::Undo && is_own && !runs_a_task(step);
    if undone_by_itself && edit.task_type.is_none() {
        return Ok(Err(format!(
            "{id} is undone by its own automation, from what it stored; name a task that undoes it instead"
        )));
    }
    let made = match direction {
        Direction::Undo => d.edited_undo(id, edit),
        Direction::Do | Direction::Probe => d.edited(id, edit),
    }?;
    let made = match made {
        Ok(made) => made,
        Err(NotReady::Unserved) => {
            return Ok(Err(format!(
                "no worker has announced {}: see `baton tasks`",
                edit.task_type.as_ref().unwrap_or(&task.task_type)
            )));
        }
        Err(NotReady::Bad(failure)) => return Ok(Err(failure.message)),
    };
    Ok(match unfit(d, id, direction, &made)? {
        Some(why) => Err(why),
        None => Ok(made),
    })
}

/// Whether its undo, as it was last made ready, is a task of its own.
fn runs_a_task(step: &StepState) -> bool {
    step.backward.as_ref().is_some_and(|ready| ready.own_task)
}

/// Why what an operator wants instead would break the promise.
fn unfit(
    d: &Deciding<'_>,
    id: &StepKey,
    direction: Direction,
    made: &Prepared,
) -> Result<Option<String>, DecideError> {
    let facts = &made.facts;
    let task = d.task(id)?;
    if direction == Direction::Do
        && matches!(task.undo, UndoPlan::None { .. })
        && facts.task_type != task.task_type
        && facts.effect != Effect::None
    {
        return Ok(Some(format!(
            "{id} is not undone, on purpose: that was said of {}, and {} changes something",
            task.task_type, facts.task_type
        )));
    }
    let pivot = d.defined(id)?.pivot;
    if direction != Direction::Do || d.state.past_pivot || pivot {
        return Ok(None);
    }
    let of = &facts.task_type;
    Ok(match (facts.effect, &task.undo) {
        (Effect::Irreversible, _) => Some(format!(
            "{of} cannot be taken back, and {id} comes before the pivot"
        )),
        (Effect::Reversible, UndoPlan::Own) if !facts.undo => Some(format!(
            "{of} brings no undo, and {id} names none: it could not be taken back"
        )),
        _ => None,
    })
}
