//! Why a saga turned back, stopped or went on without a step: every such turn gives a reason, and each reason is held against what the
//! world itself saw. A failure nobody had, an attempt no worker ever held, a time limit that was not over or a word no person said is a
//! broken promise, however well the saga was then taken back.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::state::{Cause, Phase};
use baton_engine::{Entry, Record, WorkItemKind};
use baton_messages::{AttemptRef, Direction, Failure, StepKey, TaskResult, Timestamp};

use crate::event::Whose;
use crate::ledger::Place;
use crate::plan::{Idle, OnError, SagaPlan, StepPlan, UndoSaid};
use crate::reference;
use crate::world::World;

/// How long before its queue time is over a step gives a worker up that it would have to be offered to once more.
const REOFFER_MS: u64 = 1_000;

/// What the world saw go wrong with a step, each way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    forward: OneWay,
    backward: OneWay,
}

/// What the world saw go wrong with a step's `do`, or with its undo.
#[derive(Debug, Default, Clone)]
struct OneWay {
    /// Attempts, with their rounds, that an automation was entered for or that a worker was lost with.
    held: BTreeSet<(u32, u32)>,
    /// Whether any of them was left in doubt: its worker was lost, or said that it did not know.
    doubted: bool,
    /// Whether one was refused for good.
    refused: bool,
}

/// What a log tells of one step's `do`, up to where one is.
#[derive(Debug, Default)]
struct Told {
    round: u32,
    /// When each attempt was first offered, or when nobody was there to offer it to.
    waits_since: Option<Timestamp>,
    last: Option<u32>,
    /// What was told last of its failing: it is not told twice.
    failure: Option<Failure>,
}

impl Told {
    fn offered(&mut self, round: u32, attempt: u32, at: Timestamp) {
        if self.last != Some(attempt) || self.round != round {
            self.waits_since = Some(at);
        }
        (self.last, self.round) = (Some(attempt), round);
    }
}

impl World {
    fn seen_mut(&mut self, of: &AttemptRef) -> Option<(&mut OneWay, (u32, u32))> {
        let seen = self.seen.entry((of.saga, of.key())).or_default();
        let way = match of.direction {
            Direction::Do => &mut seen.forward,
            Direction::Undo => &mut seen.backward,
            Direction::Probe => return None,
        };
        Some((way, (of.round, of.attempt)))
    }

    /// An automation is entered.
    pub(crate) fn saw_entered(&mut self, whose: Whose) {
        let of = self.run_of(whose).map(|run| run.task.of.clone());
        if let Some((seen, attempt)) = of.and_then(|of| self.seen_mut(&of)) {
            seen.held.insert(attempt);
        }
    }

    /// What a worker says of one.
    pub(crate) fn saw_result(&mut self, whose: Whose, result: &TaskResult) {
        let of = self.run_of(whose).map(|run| run.task.of.clone());
        if let Some((seen, _)) = of.and_then(|of| self.seen_mut(&of)) {
            seen.doubted |= matches!(result, TaskResult::Unknown(_));
            seen.refused |= matches!(result, TaskResult::Failed(failure) if !failure.retryable);
        }
    }

    /// A worker is gone, cut off or stopped with all it holds.
    pub(crate) fn saw_lost(&mut self, worker: usize) {
        let Some(at) = self.workers.get(worker) else {
            return;
        };
        let lost: Vec<AttemptRef> = at.runs.values().map(|run| run.task.of.clone()).collect();
        for of in lost {
            if let Some((seen, attempt)) = self.seen_mut(&of) {
                seen.held.insert(attempt);
                seen.doubted = true;
            }
        }
    }

    /// Goes through a saga's log and holds every reason in it against the world.
    ///
    /// # Errors
    /// The first reason that is none.
    pub(crate) fn judge_reasons<'a>(
        &self,
        plan: &SagaPlan,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), String> {
        let mut told = BTreeMap::<StepKey, Told>::new();
        let mut started = None;
        for entry in entries {
            started.get_or_insert(entry.at);
            for record in &entry.records {
                if let Record::Moved {
                    step,
                    failure: Some(failure),
                    ..
                } = record
                {
                    told.entry(step.clone()).or_default().failure = Some(failure.clone());
                }
                let given = match record {
                    Record::Offered { of, .. } if of.direction == Direction::Do => {
                        let told = told.entry(of.step.clone()).or_default();
                        told.offered(of.round, of.attempt, entry.at);
                        continue;
                    }
                    Record::Moved { step, to, .. } if *to == Phase::Unserved => {
                        told.entry(step.clone()).or_default().waits_since = Some(entry.at);
                        continue;
                    }
                    Record::Moved {
                        step,
                        to: Phase::Continued,
                        failure,
                        ..
                    } => Some((step, failure.as_ref(), OnError::Continue)),
                    Record::WorkItemOpened { item } => match (&item.kind, &item.step) {
                        (WorkItemKind::StepFailed | WorkItemKind::StepDoubtful, Some(step)) => {
                            Some((step, item.failure.as_ref(), OnError::Park))
                        }
                        (WorkItemKind::UndoFailed | WorkItemKind::UndoMissing, Some(step)) => {
                            self.judge_undo(plan, step, item.kind, item.failure.as_ref())
                                .map_err(|why| format!("gives up undoing {step} although {why}"))?;
                            None
                        }
                        _ => None,
                    },
                    Record::Unwinding { cause } => {
                        self.judge_cause(plan, cause, entry.at, started)?;
                        match cause {
                            Cause::StepFailed { step, failure } => {
                                Some((step, Some(failure), OnError::Compensate))
                            }
                            Cause::Cancelled { .. }
                            | Cause::Deadline
                            | Cause::LateEvidence { .. }
                            | Cause::Parent { .. }
                            | Cause::Refused { .. } => None,
                        }
                    }
                    _ => None,
                };
                let Some((id, failure, comes_to)) = given else {
                    continue;
                };
                let known = told.entry(id.clone()).or_default();
                let failure = failure.or(known.failure.as_ref());
                self.judge_failure(plan, id, failure, comes_to, known, entry.at)
                    .map_err(|why| format!("gives up {id} ({failure:?}) although {why}"))?;
            }
        }
        Ok(())
    }

    fn judge_cause(
        &self,
        plan: &SagaPlan,
        cause: &Cause,
        at: Timestamp,
        started: Option<Timestamp>,
    ) -> Result<(), String> {
        match cause {
            Cause::Cancelled { .. } if !self.meddled.contains(&plan.id) => {
                Err("is cancelled and nobody has said so".into())
            }
            Cause::Deadline => {
                let due = started.zip(plan.deadline_ms).map(|(at, ms)| at.plus_ms(ms));
                match due {
                    Some(due) if due <= at => Ok(()),
                    due => Err(format!(
                        "turns back at its deadline at {at:?}, which is {due:?}"
                    )),
                }
            }
            // its root may hold what those wait for who have what it wants
            Cause::Refused { failure } if failure.code == "lock-timeout" => Ok(()),
            // what its parent hands it may be nothing it takes
            Cause::Refused { failure } if self.scene.is_some() && is_of_its_values(failure) => {
                Ok(())
            }
            Cause::Refused { failure } => Err(format!("could not begin as a child: {failure:?}")),
            Cause::StepFailed { .. }
            | Cause::Cancelled { .. }
            | Cause::LateEvidence { .. }
            | Cause::Parent { .. } => Ok(()),
        }
    }

    fn judge_failure(
        &self,
        plan: &SagaPlan,
        id: &StepKey,
        failure: Option<&Failure>,
        comes_to: OnError,
        told: &Told,
        at: Timestamp,
    ) -> Result<(), String> {
        let place: Place = (plan.id, id.clone());
        let Some(step) = plan.step(&id.step) else {
            return Err("there is no such step".into());
        };
        let Some(kind) = step.kind else {
            return if matches!(
                step.idle,
                Idle::Wait { .. } | Idle::Approve { .. } | Idle::Child
            ) {
                Ok(())
            } else {
                Err("it neither waits nor asks".into())
            };
        };
        // From the pivot on what would be taken back is parked.
        let tolerated = id.item.is_some() && step.fan.as_ref().is_some_and(|fan| fan.tolerate > 0);
        let parks = (tolerated && comes_to == OnError::Continue)
            || step.on_error == comes_to
            || (comes_to == OnError::Park
                && step.on_error == OnError::Compensate
                && reference::is_from_pivot_on(plan, &id.step));
        if !parks {
            return Err(format!("its `on_error` is {:?}", step.on_error));
        }
        if self.tried_again.contains(&place) || self.settled_by_hand(&place) {
            return Ok(());
        }
        if self.lies_unserved(plan.id, &id.step) {
            return Ok(());
        }
        if failure.is_some_and(|failure| failure.code == "queue-timeout") {
            return waited(step, told, at);
        }
        if self.scene.is_some() && failure.is_some_and(is_of_its_values) {
            return Ok(());
        }
        let seen = self.seen.get(&place).cloned().unwrap_or_default().forward;
        let round = told.round;
        let held = seen.held.iter().filter(|(of, _)| *of == round).count();
        let used_up = u32::try_from(held).is_ok_and(|held| held >= step.attempts);
        // a report that is on its way for longer than the lease is as good as none
        let late = held > 0
            && (self.mood.report_late > 0 || self.mood.report_lost > 0 || self.reports_late());
        let doubted = (seen.doubted || late) && !kind.idempotent;
        if used_up || seen.refused || doubted {
            return Ok(());
        }
        Err(format!(
            "only {held} of its {} attempts were ever held, none refused, doubted {}",
            step.attempts, seen.doubted
        ))
    }
}

impl World {
    /// Whether an undo may be given up: every attempt was held in vain, one was refused for good, nobody took it in time, or there is none.
    fn judge_undo(
        &self,
        plan: &SagaPlan,
        id: &StepKey,
        kind: WorkItemKind,
        failure: Option<&Failure>,
    ) -> Result<(), String> {
        let place: Place = (plan.id, id.clone());
        if plan
            .step(&id.step)
            .is_some_and(|step| step.idle == Idle::Child)
        {
            // Whether its child was abandoned is looked at at the end.
            return Ok(());
        }
        let Some((step, of)) = plan
            .step(&id.step)
            .and_then(|step| Some((step, step.kind?)))
        else {
            return Err("it runs no task".into());
        };
        if kind == WorkItemKind::UndoMissing {
            let missing = step.undo == UndoSaid::Own && !of.undo;
            let missing = missing || self.done_by_hand.contains(&place);
            return missing.then_some(()).ok_or_else(|| "there is one".into());
        }
        let waited = failure.is_some_and(|failure| failure.code == "queue-timeout");
        if waited || self.tried_again.contains(&place) {
            return Ok(());
        }
        let seen = self.seen.get(&place).cloned().unwrap_or_default().backward;
        let of_its_values = failure.is_some_and(is_of_its_values) && self.scene.is_some();
        let undos = self.undos(plan.id, &id.step);
        let excused = of_its_values || self.lies_unserved(plan.id, &id.step);
        // nobody knows what became of it, and it is not to be run twice
        let doubted = step.undo_once && !seen.held.is_empty();
        if seen.refused || doubted || seen.held.len() >= undos as usize || excused {
            return Ok(());
        }
        Err(format!(
            "only {} of its {undos} attempts were ever held and none refused",
            seen.held.len(),
        ))
    }
}

/// Whether nobody was ever asked: what the step computes gives nothing, or does not fit. A saga that is really there may be so.
fn is_of_its_values(failure: &Failure) -> bool {
    matches!(
        failure.code.as_str(),
        "expression" | "pool" | "input-misfit" | "too-large" | "too-many-items"
    )
}

/// Whether a step has waited for a worker for as long as it may.
fn waited(step: &StepPlan, told: &Told, at: Timestamp) -> Result<(), String> {
    let since = told.waits_since.ok_or("it was never offered")?;
    let until = since.plus_ms(step.queue_ms).0.saturating_sub(REOFFER_MS);
    if at.0 >= until {
        return Ok(());
    }
    Err(format!(
        "it waited {} ms of {}",
        at.0.saturating_sub(since.0),
        step.queue_ms
    ))
}
