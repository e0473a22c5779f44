//! The fold: records in, state out. Evaluates nothing: no expression, no schema, no clock, no chance. Deciding folds each record
//! as it makes it, recovery folds them as they are read: one function, no second way.

use baton_messages::{
    CheckpointKind, Direction, Effect, Hold, ProbeAnswer, StepId, StepKey, TaskResult, Timestamp,
    Wanted,
};

use crate::child::{Parent, begun, heard};
use crate::decide::limits::{CLOCK_SKEW_MS, CONFIRM_BOUND_MS, KILL_GRACE_MS};
use crate::fan::Fan;
use crate::planted::{Planted, breaks};
use crate::record::{AttemptKey, ClosedWhy, Entry, Record, Unasked};
use crate::state::{Attempt, EditedRound, Listens, Phase, SagaState, Stage, Status, StepState};
use crate::transition::{legal, went};

/// Attempts of a step kept in its state; older ones that were reported are let go. A report of one that was let go is a duplicate.
const ATTEMPTS_KEPT: usize = 48;

/// A record that does not fit the state: a defect, or a log that was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// It names a step the saga does not have.
    #[error("fold a record of step {step}: the saga has no such step")]
    NoStep {
        /// Which.
        step: StepKey,
    },
    /// It names an attempt the step does not have.
    #[error("fold a record of {step}: it has no {direction} attempt {attempt} in round {round}")]
    NoAttempt {
        /// Which step.
        step: StepKey,
        /// Which way.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
        /// Which round.
        round: u32,
    },
    /// A step may not go from its phase to that one.
    #[error("fold a record of {step}: it may not go from {from:?} to {to:?}")]
    Transition {
        /// Which step.
        step: StepKey,
        /// From.
        from: Phase,
        /// To.
        to: Phase,
    },
    /// An attempt is offered while another is open.
    #[error("fold an offer of {step}: an attempt is still open")]
    StillOpen {
        /// Which step.
        step: StepKey,
    },
    /// A step that has begun is dropped.
    #[error("fold an upgrade: step {step} has begun, and the other version has no such step")]
    Dropped {
        /// Which step.
        step: StepId,
    },
    /// A direction is offered that was not prepared.
    #[error("fold an offer of {step}: its {direction} was not prepared")]
    NotPrepared {
        /// Which step.
        step: StepKey,
        /// Which way.
        direction: Direction,
    },
}

/// Folds a whole history.
///
/// # Errors
/// The first record that does not fit.
pub fn replay<'a>(
    state: &mut SagaState,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<(), FoldError> {
    for entry in entries {
        for record in &entry.records {
            fold(state, entry.at, record)?;
        }
    }
    Ok(())
}

/// Folds one record, made at `at`.
///
/// # Errors
/// [`FoldError`] when the record does not fit the state; the state must then be dropped.
pub fn fold(state: &mut SagaState, at: Timestamp, record: &Record) -> Result<(), FoldError> {
    apply(state, at, record)?;
    let Some(StepKey {
        step,
        item: Some(item),
    }) = record.subject()
    else {
        return Ok(());
    };
    let unwinding = state.unwinding.is_some();
    if let Some(fan) = state.steps.get_mut(step).and_then(|step| step.fan.as_mut()) {
        fan.tidy(*item, unwinding, at);
    }
    Ok(())
}

fn apply(state: &mut SagaState, at: Timestamp, record: &Record) -> Result<(), FoldError> {
    state.seq += 1;
    state.last_at = at;
    match record {
        Record::Started {
            definition,
            version,
            input,
            labels,
            by,
            id,
            deadline_at,
            steps,
        } => {
            state.definition.clone_from(definition);
            state.version = *version;
            state.input.clone_from(input);
            state.labels.clone_from(labels);
            state.by.clone_from(by);
            state.started_at = at;
            state.deadline_at = *deadline_at;
            state.steps = steps
                .iter()
                .map(|step| (step.clone(), Box::new(StepState::waiting(at))))
                .collect();
            state.applied.insert(*id);
            state.status = Status::Running;
        }
        Record::FannedOut {
            step,
            items,
            tolerated,
        } => {
            let key = StepKey::from(step);
            let step = step_mut(state, &key)?;
            moved(step, &key, Phase::FannedOut, None, at)?;
            step.began_at.get_or_insert(at);
            step.fan = Some(Box::new(Fan::new(items.clone(), *tolerated)));
        }
        Record::ItemBegun { step } => {
            let fan = state.steps.get_mut(&step.step);
            let fan = fan.and_then(|step| step.fan.as_mut());
            let begun = step.item.zip(fan).is_some_and(|(n, fan)| fan.begin(n, at));
            if !begun {
                return Err(FoldError::NoStep { step: step.clone() });
            }
        }
        Record::Prepared {
            step,
            direction,
            prepared,
        } => {
            let state = step_mut(state, step)?;
            state.began_at.get_or_insert(at);
            match direction {
                Direction::Do => state.forward = Some(prepared.clone()),
                Direction::Undo => state.backward = Some(prepared.clone()),
                Direction::Probe => state.asking = Some(prepared.clone()),
            }
        }
        Record::Offered {
            of,
            dispatch,
            last_moment,
            unasked,
            pivot,
        } => {
            state.past_pivot |= *pivot;
            let ends = (*last_moment, *unasked);
            offered(step_mut(state, &of.step)?, of, *dispatch, ends, at)?;
        }
        Record::Resent {
            of,
            last_moment,
            unasked,
            ..
        } => {
            let attempt = attempt_mut(step_mut(state, &of.step)?, of)?;
            attempt.offered_at = at;
            attempt.last_moment = *last_moment;
            attempt.unasked = *unasked;
            attempt.held = false;
            attempt.sole = false;
        }
        Record::Held { of, maybe_sent } => {
            let attempt = attempt_mut(step_mut(state, &of.step)?, of)?;
            attempt.held = true;
            attempt.maybe_sent |= *maybe_sent;
        }
        Record::Claimed {
            of, run, worker, ..
        } => claimed(step_mut(state, &of.step)?, of, *run, worker)?,
        Record::Checkpointed { of, kind, value } => {
            let step = step_mut(state, &of.step)?;
            match kind {
                CheckpointKind::Before => {
                    if step
                        .before
                        .as_ref()
                        .is_none_or(|(attempt, _)| of.attempt < *attempt)
                        || breaks(Planted::ImageOverwritten)
                    {
                        step.before = Some((of.attempt, value.clone()));
                    }
                }
                CheckpointKind::Progress => step.progress = Some(value.clone()),
            }
        }
        Record::Reported {
            of,
            run,
            sole,
            result,
            ..
        } => {
            let step = step_mut(state, &of.step)?;
            let attempt = attempt_mut(step, of)?;
            reported_by(attempt, *run);
            attempt.stage = if matches!(result, TaskResult::NotRun { .. }) {
                Stage::NotRun
            } else {
                Stage::Reported
            };
            attempt.sole &= *sole;
            attempt.held = false;
            // That one of several holders changed nothing does not say that none of them did.
            let others = attempt.lingers() && of.direction == Direction::Do;
            told(step, of.direction, result);
            if others {
                doubt(step);
            }
        }
        Record::Closed {
            of,
            maybe_acted,
            why,
        } => {
            let step = step_mut(state, &of.step)?;
            let attempt = attempt_mut(step, of)?;
            if !attempt.open() {
                // It lingered; now it is certain that no other worker holds it.
                attempt.sole = true;
            } else {
                attempt.stage = if *maybe_acted {
                    Stage::Closed
                } else {
                    Stage::NotRun
                };
                attempt.held = false;
                // It was handed to several before the broker gave it up; each of them may still be at it.
                attempt.sole &= *why != ClosedWhy::Dead;
                attempt.unheard = *why == ClosedWhy::Unheard;
                if attempt.unheard {
                    forgive_one(step, of.direction);
                }
            }
            if *maybe_acted && of.direction == Direction::Do && !breaks(Planted::DoubtForgotten) {
                doubt(step);
            }
        }
        Record::Evidence { of, run, result } => {
            let step = step_mut(state, &of.step)?;
            let mut known = false;
            if let Ok(attempt) = attempt_mut(step, of) {
                reported_by(attempt, *run);
                // That it may have acted was held of it when it closed; a probe or an undo that has cleared it since was made
                // after it was certainly over. Its own "I do not know" says nothing more.
                known = attempt.stage == Stage::Closed && matches!(result, TaskResult::Unknown(_));
                // One that several workers gave back was run by none of them: it is still the same attempt that is offered again.
                let as_before =
                    attempt.stage == Stage::NotRun && matches!(result, TaskResult::NotRun { .. });
                if !attempt.open() && !as_before {
                    attempt.stage = Stage::Reported;
                }
            }
            if !known {
                told(step, of.direction, result);
            }
            if of.direction == Direction::Do && matches!(result, TaskResult::Succeeded { .. }) {
                doubt(step);
            }
        }
        Record::Cleared { step } => {
            let state = step_mut(state, step)?;
            (state.may_have_effect, state.doubted) = (false, false);
        }
        Record::Moved {
            step,
            to,
            due,
            output,
            failure,
            unwanted,
            by_hand,
        } => {
            state.past_pivot |= by_hand.as_ref().is_some_and(|hand| hand.pivot);
            moved(step_mut(state, step)?, step, *to, *due, at)?;
            let state = step_mut(state, step)?;
            state.unwanted = *unwanted;
            by_hand.iter().for_each(|hand| hand.mark(state));
            if let Some(output) = output {
                state.output = Some(output.clone());
            } else if let (Phase::Succeeded, None, Some(fan)) = (to, &state.output, &mut state.fan)
            {
                state.output = Some(fan.collect());
            }
            if let Some(failure) = failure {
                state.last_failure = Some(failure.clone());
            }
        }
        Record::Forgiven { step, direction } => {
            let state = step_mut(state, step)?;
            let last = state.last_attempt(*direction);
            for attempt in &mut state.attempts {
                // One that nobody ran is offered again under its number: its wait begins anew.
                if attempt.direction == *direction && attempt.stage == Stage::NotRun {
                    attempt.first_offered_at = at;
                }
            }
            match direction {
                Direction::Do => state.forgiven = last,
                Direction::Undo => state.undo_forgiven = last,
                Direction::Probe => state.probe_forgiven = last,
            }
        }
        Record::Edited { step } => {
            let state = step_mut(state, step)?;
            state.edited.push(EditedRound {
                round: state.round,
                reported: false,
            });
            (state.before, state.progress) = (None, None);
        }
        Record::EditedReported { step, round } => {
            let mut rounds = step_mut(state, step)?.edited.iter_mut();
            if let Some(edited) = rounds.find(|edited| edited.round == *round) {
                edited.reported = true;
            }
        }
        Record::NewRound { step } => {
            let state = step_mut(state, step)?;
            state.round += 1;
            state.attempts.clear();
            state.forgiven = 0;
            state.undo_forgiven = 0;
            state.probe_forgiven = 0;
            state.backward = None;
            state.asking = None;
            state.child = None;
        }
        Record::Unwinding { cause } => {
            state.unwinding = Some(cause.clone());
            state.deadline_at = None;
            crate::reservation::waits_no_more(state);
            for step in state.steps.values_mut() {
                drop_forward(step, at);
                if let Some(fan) = &mut step.fan {
                    for item in fan.live.values_mut() {
                        drop_forward(item, at);
                    }
                    fan.turn(at);
                }
            }
        }
        Record::PivotReleased => state.past_pivot = false,
        Record::DeadlinePassed => state.deadline_at = None,
        Record::WorkItemOpened { .. }
        | Record::WorkItemClosed { .. }
        | Record::WorkItemEscalated { .. }
        | Record::WorkItemAssigned(_) => crate::work_item::folded(state, record, at),
        Record::Applied { id, .. } => {
            state.applied.insert(*id);
        }
        Record::Subscribed {
            step,
            event,
            since,
            due,
        } => {
            let key = StepKey::from(step);
            let state = step_mut(state, &key)?;
            moved(state, &key, Phase::Listening, Some(*due), at)?;
            state.listens = Some(Listens {
                event: event.clone(),
                since: *since,
            });
        }
        Record::Joined { id, .. } => {
            state.applied.insert(*id);
            state.joined += 1;
        }
        Record::Paused => state.paused = true,
        Record::Resumed => state.paused = false,
        Record::StatusChanged { to } => {
            state.status = *to;
            if !to.ended() {
                state.ended_at = None;
            }
        }
        Record::Ended {
            status,
            output,
            no_output,
        } => {
            state.status = *status;
            state.output.clone_from(output);
            state.no_output.clone_from(no_output);
            // only a parent goes by that
            state.had_completed |= state.parent.is_some() && *status == Status::Completed;
            state.ended_at = Some(at);
            state.deadline_at = None;
            crate::reservation::waits_no_more(state);
        }
        Record::Emitted { step, .. } => {
            step_mut(state, &step.into())?.began_at.get_or_insert(at);
        }
        Record::ChildBegun { step, pivot, .. } => {
            state.past_pivot |= *pivot;
            begun(step_mut(state, step)?, step, record, at)?;
        }
        Record::ChildTold {
            step,
            want,
            why,
            due,
        } => {
            let state = step_mut(state, step)?;
            if let Some(child) = &mut state.child {
                child.want = *want;
                child.why.clone_from(why);
                child.number += 1;
                child.asked += 1;
                state.due = Some(*due);
            }
        }
        Record::ChildHeard {
            step,
            seq,
            standing,
        } => heard(step_mut(state, step)?, *seq, standing),
        Record::IsChild {
            parent,
            root,
            depth,
            fences,
        } => {
            state.parent = Some(Box::new(Parent {
                of: parent.clone(),
                root: *root,
                depth: *depth,
                fences: fences.clone(),
                heard: 0,
                want: Wanted::Done,
                paused: false,
            }));
        }
        Record::ParentHeard {
            number,
            want,
            paused,
        } => {
            if let Some(parent) = &mut state.parent {
                parent.heard = *number;
                parent.want = parent.want.max(*want);
                parent.paused = *paused;
            }
        }
        Record::Reserving { .. }
        | Record::AdmissionAsked { .. }
        | Record::Admitted { .. }
        | Record::LetThrough { .. }
        | Record::LockBroken { .. } => crate::reservation::apply(state, at, record),
        Record::Upgraded { .. } => crate::upgrade::apply(state, at, record)?,
        Record::Answered { .. }
        | Record::CancelSent { .. }
        | Record::ParentTold
        | Record::Noted { .. } => {}
    }
    Ok(())
}

/// A step, or an item of one; one that lay on the shelf lies there no more.
fn step_mut<'a>(state: &'a mut SagaState, key: &StepKey) -> Result<&'a mut StepState, FoldError> {
    let none = || FoldError::NoStep { step: key.clone() };
    let step = state.steps.get_mut(&key.step).ok_or_else(none)?;
    match key.item {
        None => Ok(step),
        Some(item) => {
            let fan = step.fan.as_mut().ok_or_else(none)?;
            fan.take(item).ok_or_else(none)
        }
    }
}

fn attempt_mut<'a>(step: &'a mut StepState, of: &AttemptKey) -> Result<&'a mut Attempt, FoldError> {
    let round = step.round;
    step.attempts
        .iter_mut()
        .rev()
        .find(|a| a.direction == of.direction && a.number == of.attempt && round == of.round)
        .ok_or_else(|| FoldError::NoAttempt {
            step: of.step.clone(),
            direction: of.direction,
            attempt: of.attempt,
            round: of.round,
        })
}

/// Remembers whose report was taken. More runs than this of one attempt would need as many redeliveries; the limit of deliveries is lower.
fn reported_by(attempt: &mut Attempt, run: baton_messages::RunId) {
    const RUNS_KEPT: usize = 16;
    if attempt.runs.len() == RUNS_KEPT {
        attempt.runs.remove(0);
    }
    attempt.runs.push(run);
}

/// The step may have changed the world, unless its type only looks.
fn touch(step: &mut StepState) {
    if step
        .forward
        .as_ref()
        .is_none_or(|ready| ready.facts.effect != Effect::None)
    {
        step.may_have_effect = true;
    }
}

/// The step may have changed the world by somebody who says nothing of it.
fn doubt(step: &mut StepState) {
    touch(step);
    step.doubted = step.may_have_effect;
}

/// What a report, in time or late, says about the effect of its step.
fn told(step: &mut StepState, direction: Direction, result: &TaskResult) {
    if let TaskResult::Failed(failure) | TaskResult::Unknown(failure) = result {
        step.last_failure = Some(failure.clone());
    }
    if direction != Direction::Do {
        // A probe is asked when every attempt has closed: it speaks of all of them.
        step.doubted &= !matches!(result, TaskResult::Probed(ProbeAnswer::Happened { .. }));
        return;
    }
    match result {
        TaskResult::Succeeded { output } => {
            // Later steps may have read the output of a step that is done: it stays.
            if step.phase != Phase::Succeeded {
                step.output = Some(output.clone());
            }
            touch(step);
        }
        // To be asked for something is not to be asked about it: such an answer says nothing of what was done.
        TaskResult::Unknown(_) | TaskResult::Probed(_) if !breaks(Planted::DoubtForgotten) => {
            doubt(step);
        }
        TaskResult::Unknown(_) | TaskResult::Probed(_) => {}
        TaskResult::Failed(_) | TaskResult::NotRun { .. } => {}
    }
}

fn offered(
    step: &mut StepState,
    of: &AttemptKey,
    dispatch: u32,
    (last_moment, unasked): (Timestamp, Option<Unasked>),
    at: Timestamp,
) -> Result<(), FoldError> {
    if step.attempts.iter().any(Attempt::open) && !breaks(Planted::RetriesWhileOpen) {
        return Err(FoldError::StillOpen {
            step: of.step.clone(),
        });
    }
    let Some(hold) = step.prepared(of.direction).map(|ready| ready.facts.hold) else {
        return Err(FoldError::NotPrepared {
            step: of.step.clone(),
            direction: of.direction,
        });
    };
    let to = match of.direction {
        Direction::Do => Phase::Trying,
        Direction::Undo => Phase::Undoing,
        Direction::Probe => Phase::Probing,
    };
    moved(step, &of.step, to, None, at)?;
    if let Some(again) = step
        .attempts
        .iter_mut()
        .find(|a| a.direction == of.direction && a.number == of.attempt)
    {
        again.dispatch = dispatch;
        again.stage = Stage::Offered;
        again.offered_at = at;
        again.last_moment = last_moment;
        again.unasked = unasked;
        again.held = false;
        again.maybe_sent = false;
        return Ok(());
    }
    let first_offered_at = step
        .attempts
        .iter()
        .find(|a| a.direction == of.direction && a.number + 1 == of.attempt && a.unheard)
        .map_or(at, |unheard| unheard.first_offered_at);
    if step.attempts.len() >= ATTEMPTS_KEPT {
        // Only what is settled may go: a report of it can then only be a duplicate.
        if let Some(oldest) = step
            .attempts
            .iter()
            .position(|a| !a.open() && !a.lingering(at))
        {
            step.attempts.remove(oldest);
        }
    }
    // one attempt is the usual number: no room for four
    step.attempts.reserve_exact(1);
    step.attempts.push(Attempt {
        direction: of.direction,
        number: of.attempt,
        dispatch,
        stage: Stage::Offered,
        first_offered_at,
        offered_at: at,
        last_moment,
        unasked,
        sole: true,
        held: false,
        maybe_sent: false,
        hold,
        unheard: false,
        runs: Vec::new(),
    });
    Ok(())
}

/// One attempt more that does not count.
const fn forgive_one(step: &mut StepState, direction: Direction) {
    match direction {
        Direction::Do => step.forgiven += 1,
        Direction::Undo => step.undo_forgiven += 1,
        Direction::Probe => step.probe_forgiven += 1,
    }
}

/// A claim: the run acts at the latest at `not_after`, and not longer than its time limit and the grace to kill it.
fn claimed(
    step: &mut StepState,
    of: &AttemptKey,
    run: baton_messages::RunId,
    worker: &baton_messages::WorkerId,
) -> Result<(), FoldError> {
    let Some((offer_ms, timeout_ms)) = step
        .prepared(of.direction)
        .map(|p| (p.facts.offer_ms, p.facts.timeout_ms))
    else {
        return Err(FoldError::NotPrepared {
            step: of.step.clone(),
            direction: of.direction,
        });
    };
    let attempt = attempt_mut(step, of)?;
    attempt.stage = Stage::Claimed {
        run,
        worker: worker.clone(),
    };
    attempt.held = false;
    // Only a worker that got it a second time claims what is held late: the first may still act.
    attempt.sole &= attempt.hold == Hold::Claim;
    attempt.last_moment = last_moment(attempt.offered_at, Hold::Late, offer_ms, timeout_ms);
    Ok(())
}

/// When an attempt offered at `offered_at` is certainly over: whoever holds it late may act until `not_after` and then for its
/// time limit and the grace to kill it; whoever would claim it after `not_after` is refused. Both with the time a
/// confirm may take and what clocks may differ.
#[must_use]
pub(crate) const fn last_moment(
    offered_at: Timestamp,
    hold: Hold,
    offer_ms: u64,
    timeout_ms: u64,
) -> Timestamp {
    let acting_ms = match hold {
        Hold::Late => timeout_ms.saturating_add(KILL_GRACE_MS),
        Hold::Claim => 0,
    };
    offered_at
        .plus_ms(offer_ms)
        .plus_ms(acting_ms)
        .plus_ms(CONFIRM_BOUND_MS + CLOCK_SKEW_MS)
}

pub(crate) fn moved(
    step: &mut StepState,
    id: &StepKey,
    to: Phase,
    due: Option<Timestamp>,
    at: Timestamp,
) -> Result<(), FoldError> {
    if step.phase != to && !legal(step.phase, to) {
        return Err(FoldError::Transition {
            step: id.clone(),
            from: step.phase,
            to,
        });
    }
    if to == Phase::Settling && step.phase != to {
        // another doubt: it is asked about as often as the first
        step.probe_forgiven = step.last_attempt(Direction::Probe);
    }
    step.phase = to;
    step.due = due;
    step.since = at;
    step.listens = None;
    if matches!(
        to,
        Phase::Sleeping | Phase::Skipped | Phase::Unserved | Phase::Listening | Phase::Asked
    ) {
        step.began_at.get_or_insert(at);
    }
    if to == Phase::Undone {
        (step.may_have_effect, step.doubted, step.by_hand) = (false, false, None);
    }
    step.unwanted = false;
    went(step, to, at);
    Ok(())
}

/// On the way back nothing goes forward: what was waiting for another try, a probe or a person is held as it stands.
fn drop_forward(step: &mut StepState, at: Timestamp) {
    match step.phase {
        Phase::Unserved
        | Phase::Backoff
        | Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Sleeping
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::Parked => {
            step.phase = if step.may_have_effect {
                Phase::Doubtful
            } else {
                Phase::Failed
            };
            step.due = None;
            step.listens = None;
            step.since = at;
            step.done_at.get_or_insert(at);
        }
        // A child is told, and waited for.
        Phase::InChild
        | Phase::UndoInChild
        | Phase::Waiting
        | Phase::Trying
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undoing
        | Phase::UndoUnserved
        | Phase::UndoBackoff
        | Phase::UndoParked
        | Phase::Undone => {}
    }
}
