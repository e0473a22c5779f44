//! `EditStep`: an operator has a parked step, or a parked undo, tried with another input, or by another task type.
//!
//! What is tried then is another effect, so it is another round, under another idempotency key. A step is edited only where it is known to have changed nothing: else what it did with the
//! input it had would be left to nobody. An undo keeps the before-image, and is edited only where a task of its own undoes; what changes nothing takes nothing back.

use std::sync::Arc;

use baton_messages::{Direction, Effect, Manifest, StepKey, TaskType};

use super::offer::{NotReady, planned_undo};
use super::operator::{FOR_THE_HISTORY, unreasoned, word};
use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::definition::{Readers, StepKind, TaskStep, UndoPlan};
use crate::input::{Operator, StepEdit};
use crate::record::Record;
use crate::state::{Phase, StepState};

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
            let child = d.step(step)?.child.as_ref();
            let there = child.filter(|_| matches!(phase, Phase::InChild | Phase::UndoInChild));
            let there = there.map_or_else(String::new, |child| {
                format!("; what is parked within it is a step of saga {}", child.id)
            });
            return not_now(format!(
                "{step} is {}; only a parked step is edited{there}",
                word(phase)
            ));
        }
    };
    if let Some(why) = d.not_edited(step, edit.task_type.as_ref())? {
        return not_now(why);
    }
    let made = match direction {
        Direction::Undo => d.edited_undo(step, edit),
        Direction::Do | Direction::Probe => d.edited(step, edit),
    }?;
    let prepared = match made {
        Ok(made) => made,
        Err(NotReady::Unserved) => return not_now(unannounced(edit.task_type.as_ref())),
        Err(NotReady::Bad(failure)) => return not_now(failure.message),
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

fn unannounced(task_type: Option<&TaskType>) -> String {
    let name = task_type.map_or("its task type", TaskType::as_str);
    format!("no worker has announced {name}: see `baton tasks`")
}

impl Deciding<'_> {
    /// Why a parked step, or a parked undo, cannot be tried by this task type (by the one it has, where none is named), whatever the input; none where some input may do.
    pub(super) fn not_edited(
        &self,
        id: &StepKey,
        named: Option<&TaskType>,
    ) -> Result<Option<String>, DecideError> {
        if let Some(why) = self.hindered(id)? {
            return Ok(Some(why));
        }
        let (step, task) = (self.step(id)?, self.task(id)?);
        let direction = self.edited_direction(id)?;
        let by_itself = direction == Direction::Undo && undone_by_itself(step, task);
        if by_itself && named.is_none() {
            return Ok(Some(format!(
                "{id} is undone by its own automation, from what it stored; name a task that undoes it instead"
            )));
        }
        let wanted = self.edited_type(id, direction, named)?;
        let Some(known) = self.rules.catalogue.get(&wanted) else {
            return Ok(Some(unannounced(Some(&wanted))));
        };
        match self.unfit(id, direction, &known.manifest)? {
            Some(why) => Ok(Some(why)),
            None => self.edited_nowhere(id, direction),
        }
    }

    /// Why the step as it stands is not edited, whatever it is to be tried by.
    fn hindered(&self, id: &StepKey) -> Result<Option<String>, DecideError> {
        let (step, defined) = (self.step(id)?, self.defined(id)?);
        // of a list whose items are not known yet the step itself has none
        let of_many = defined.fan.is_some() && id.item.is_none();
        if !matches!(defined.kind, StepKind::Task(_)) || of_many {
            return Ok(Some(format!("{id} is no task with an input of its own")));
        }
        if step.unsettled(self.now) {
            return Ok(Some(format!(
                "an attempt of {id} may still be acting; wait until it has closed"
            )));
        }
        let may = step.phase == Phase::Parked && step.may_have_effect;
        Ok(may.then(|| {
            format!(
                "{id} may have changed something with the input it had; retry it as it is, say that it is done, or have it taken back"
            )
        }))
    }

    /// Why what an operator wants instead would break the promise, or leave the steps after it without what they read.
    fn unfit(
        &self,
        id: &StepKey,
        direction: Direction,
        manifest: &Manifest,
    ) -> Result<Option<String>, DecideError> {
        let broken = self.breaking(id, direction, manifest)?;
        if broken.is_some() {
            return Ok(broken);
        }
        self.unread(id, direction, &self.readers(id)?, manifest)
    }

    /// Why what an operator wants instead would break the promise.
    fn breaking(
        &self,
        id: &StepKey,
        direction: Direction,
        manifest: &Manifest,
    ) -> Result<Option<String>, DecideError> {
        let of = &manifest.task_type;
        if direction == Direction::Undo {
            let nothing = manifest.effect == Effect::None;
            return Ok(nothing.then(|| {
                format!(
                    "{of} changes nothing, and so takes nothing of {id} back; name a task that does, or say that it is undone by hand"
                )
            }));
        }
        let (task, defined) = (self.task(id)?, self.defined(id)?);
        if matches!(task.undo, UndoPlan::None { .. })
            && *of != task.task_type
            && manifest.effect != Effect::None
        {
            return Ok(Some(format!(
                "{id} is not undone, on purpose: that was said of {}, and {of} changes something",
                task.task_type
            )));
        }
        let goes_back = !self.state.past_pivot && !defined.pivot;
        Ok(match (manifest.effect, &task.undo) {
            (Effect::Irreversible, _) if goes_back => Some(format!(
                "{of} cannot be taken back, and {id} comes before the pivot"
            )),
            (Effect::Reversible, UndoPlan::Own) if goes_back && !manifest.undo => Some(format!(
                "{of} brings no undo, and {id} names none: it could not be taken back"
            )),
            _ => None,
        })
    }

    /// Who reads what the step yields: of a saga that is a step of another one whoever reads that step as well.
    pub(super) fn readers(&self, id: &StepKey) -> Result<Readers<'_>, DecideError> {
        let (rules, defined) = (self.rules, self.defined(id)?);
        let is_read_above = self.state.parent.is_some();
        Ok(Readers::of(
            rules.definition,
            (rules.catalogue, rules.sagas),
            defined,
            is_read_above,
        ))
    }

    /// Why those who read what the step yields could not read what another task type does.
    fn unread(
        &self,
        id: &StepKey,
        direction: Direction,
        readers: &Readers<'_>,
        manifest: &Manifest,
    ) -> Result<Option<String>, DecideError> {
        let of = &manifest.task_type;
        if direction != Direction::Do || *of == self.task(id)?.task_type {
            return Ok(None);
        }
        let unread = readers.cannot_read(&manifest.output);
        Ok(unread
            .map(|what| format!("what {of} returns does not fit what comes after {id}: {what}")))
    }

    /// Why no other task type is named for a step, whichever it is.
    pub(super) fn not_substituted(&self, id: &StepKey) -> Result<Option<String>, DecideError> {
        let direction = self.edited_direction(id)?;
        match self.hindered(id)? {
            Some(why) => Ok(Some(why)),
            None => self.edited_nowhere(id, direction),
        }
    }

    /// Which way a parked step is tried again.
    fn edited_direction(&self, id: &StepKey) -> Result<Direction, DecideError> {
        Ok(match self.step(id)?.phase.backward() {
            true => Direction::Undo,
            false => Direction::Do,
        })
    }

    /// Task types by which a parked step, or a parked undo, may be tried in place of the one it has, whatever the input; those whose names are like its own first.
    pub(super) fn substitutes(&self, id: &StepKey) -> Result<Substitutes, DecideError> {
        let mut found = Substitutes::default();
        let asks = self.state.at(id).is_some_and(|step| step.phase.asks());
        if !asks || self.not_substituted(id)?.is_some() {
            return Ok(found);
        }
        let direction = self.edited_direction(id)?;
        let own = self.edited_type(id, direction, None)?;
        let readers = self.readers(id)?;
        let others = self.rules.catalogue.manifests();
        let mut others: Vec<&Manifest> = others.filter(|one| one.task_type != own).collect();
        others.sort_by_cached_key(|one| (unlike(&one.task_type, &own), one.task_type.clone()));
        for (n, one) in others.iter().enumerate() {
            if found.named.len() == SUBSTITUTES_MAX || found.looked_at == LOOKED_AT_MAX {
                found.more = others.len() - n;
                break;
            }
            if self.breaking(id, direction, one)?.is_some() {
                continue;
            }
            found.looked_at += 1;
            if self.unread(id, direction, &readers, one)?.is_none() {
                found.named.push(one.task_type.clone());
            }
        }
        Ok(found)
    }
}

/// What may stand in for the task type of a step.
#[derive(Debug, Default)]
pub(super) struct Substitutes {
    /// Those that do, those whose names are like its own first.
    pub(super) named: Vec<TaskType>,
    /// How many were held against whoever reads the step.
    pub(super) looked_at: usize,
    /// How many more are known, of which nobody looked whether they do.
    pub(super) more: usize,
}

/// Substitutes that are named: a person picks one.
const SUBSTITUTES_MAX: usize = 20;
/// Task types that are held against whoever reads the step for that: each costs a look at all of those.
const LOOKED_AT_MAX: usize = 100;

/// How unlike two names are: of another version alone, of one family (`switch.…`), or nothing of it.
fn unlike(one: &TaskType, own: &TaskType) -> u8 {
    let name = |of: &TaskType| of.as_str().split('@').next().map(str::to_owned);
    let family = |of: &TaskType| of.as_str().split('.').next().map(str::to_owned);
    match (name(one) == name(own), family(one) == family(own)) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

/// Whether its own automation takes it back: no task of its own does by the definition, and none did the last time.
pub(super) fn undone_by_itself(step: &StepState, task: &TaskStep) -> bool {
    let runs_a_task = step.backward.as_ref().is_some_and(|ready| ready.own_task);
    planned_undo(task).is_none() && !runs_a_task
}
