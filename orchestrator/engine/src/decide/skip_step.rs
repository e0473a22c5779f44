//! `SkipStep`: an operator goes on without a step. Its output is null; what it may have changed stays known, and is undone if the saga unwinds.
//!
//! A pivot that was never sent is not skipped where a step after it counts on it: the way back stays open then, and that step could not be taken back.

use baton_messages::{Effect, StepKey};

use super::operator::word;
use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::definition::{SagaStep, Step, StepKind, TaskStep, UndoPlan, group_in};
use crate::input::Operator;
use crate::state::Phase;

pub(super) fn skip_step(d: &mut Deciding<'_>, step: &StepKey, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    let (phase, open) = {
        let state = d.step(step)?;
        (state.phase, state.open_attempt().is_some())
    };
    let possible = matches!(
        phase,
        Phase::Waiting
            | Phase::Parked
            | Phase::Backoff
            | Phase::Unserved
            | Phase::Sleeping
            | Phase::Listening
            | Phase::Asked
    );
    if open || !possible || d.state.unwinding.is_some() {
        let why = format!(
            "{step} is {}; only a step that is parked or has not begun to act can be skipped",
            word(phase)
        );
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "skip",
            why,
        }));
    }
    if let Some(why) = d.relied_on(step)? {
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "skip",
            why,
        }));
    }
    // To go on without a decision is a decision.
    if let Some(refusal) = d.not_yours(step, "skip", operator)? {
        return Ok(Verdict::Refused(refusal));
    }
    d.applied(operator, "skip")?;
    d.close_work_item_of(step, &operator.by)?;
    d.move_to(step, Phase::Skipped, None, None, None)?;
    Ok(Verdict::Applied)
}

impl Deciding<'_> {
    /// Why nobody goes on without a step: it is the pivot, was never sent, and what comes after it could not be taken back.
    fn relied_on(&self, id: &StepKey) -> Result<Option<String>, DecideError> {
        let pivot = self.defined(id)?;
        if !pivot.pivot || self.state.past_pivot {
            return Ok(None);
        }
        let waits = |step: &Step| {
            let state = self.state.step(&step.id);
            state.is_some_and(|state| !state.phase.done())
        };
        let after = self.rules.definition.steps.iter();
        let mut after = after.filter(|step| step.ancestors.contains(&pivot.index) && waits(step));
        let found = after.find_map(|step| Some((&step.id, self.stays(step)?)));
        Ok(found.map(|(other, why)| {
            format!(
                "{id} is the pivot and was never sent, so without it the saga may still turn back from {other}, which counts on it: {why}; retry {id}, or cancel the saga"
            )
        }))
    }

    /// Why what a step does could not be taken back; none where it could, or where that is wanted.
    fn stays(&self, step: &Step) -> Option<String> {
        match &step.kind {
            StepKind::Task(task) => self.task_stays(task),
            StepKind::Saga(saga) => saga_stays(saga),
            StepKind::Emit(emit) => {
                let definition = self.rules.definition;
                // an item of a group that is done is taken back with what is around it
                let is_last = definition.ends_with(step) && group_in(&definition.saga).is_none();
                let stays = emit.because.is_none() && !is_last;
                stays.then(|| "the event it publishes is not taken back".to_owned())
            }
            StepKind::Sleep(_) | StepKind::Wait(_) | StepKind::Approve(_) => None,
        }
    }

    fn task_stays(&self, task: &TaskStep) -> Option<String> {
        if !matches!(task.undo, UndoPlan::Own) {
            return None;
        }
        let of = &task.task_type;
        let Some(known) = self.rules.catalogue.get(of) else {
            return Some(format!(
                "no worker has announced {of}, and nobody knows whether it brings an undo"
            ));
        };
        match known.manifest.effect {
            Effect::Irreversible => Some(format!("what {of} does cannot be taken back")),
            Effect::Reversible if !known.manifest.undo => Some(format!("{of} brings no undo")),
            Effect::Reversible | Effect::None => None,
        }
    }
}

/// Of a saga that is registered by itself nothing more is known here than that it may have a pivot.
fn saga_stays(saga: &SagaStep) -> Option<String> {
    let Some(group) = &saga.group else {
        return Some(format!(
            "{}@{} may be past a pivot of its own",
            saga.name, saga.version
        ));
    };
    let within = group.definition.all_steps();
    let has_pivot = within.iter().any(|step| step.pivot);
    if has_pivot || !group.definition.names().is_empty() {
        return Some("its items may be past a pivot of their own".to_owned());
    }
    let publishes =
        |step: &&Step| matches!(&step.kind, StepKind::Emit(emit) if emit.because.is_none());
    let told = within.into_iter().find(publishes)?;
    Some(format!(
        "the event that `{}` of its items publishes is not taken back",
        told.id
    ))
}
