//! Why a saga turned back, stopped or went on without a step: every such turn gives a reason, and each reason is held against what the
//! world itself saw. A failure nobody had, an attempt no worker ever held, a time limit that was not over or a word no person said is a
//! broken promise, however well the saga was then taken back.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::state::{Cause, Phase};
use baton_engine::{Entry, Record, WorkItemKind};
use baton_messages::{Direction, Failure, StepId, TaskResult, Timestamp};

use crate::event::Whose;
use crate::ledger::Place;
use crate::plan::{Idle, OnError, SagaPlan, StepPlan};
use crate::world::World;

/// How long before its queue time is over a step gives a worker up that it would have to be offered to once more.
const REOFFER_MS: u64 = 1_000;

/// What the world saw go wrong with a step's `do`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
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
    fn seen_mut(&mut self, whose: Whose) -> Option<(&mut Seen, (u32, u32))> {
        let of = self.run_of(whose)?.task.of.clone();
        let seen = self.seen.entry((of.saga, of.step)).or_default();
        (of.direction == Direction::Do).then_some((seen, (of.round, of.attempt)))
    }

    /// An automation is entered.
    pub(crate) fn saw_entered(&mut self, whose: Whose) {
        if let Some((seen, attempt)) = self.seen_mut(whose) {
            seen.held.insert(attempt);
        }
    }

    /// What a worker says of one.
    pub(crate) fn saw_result(&mut self, whose: Whose, result: &TaskResult) {
        if let Some((seen, _)) = self.seen_mut(whose) {
            seen.doubted |= matches!(result, TaskResult::Unknown(_));
            seen.refused |= matches!(result, TaskResult::Failed(failure) if !failure.retryable);
        }
    }

    /// A worker is gone, cut off or stopped with all it holds.
    pub(crate) fn saw_lost(&mut self, worker: usize) {
        let Some(at) = self.workers.get(worker) else {
            return;
        };
        for run in at.runs.values() {
            let of = &run.task.of;
            if of.direction == Direction::Do {
                let seen = self.seen.entry((of.saga, of.step.clone())).or_default();
                seen.held.insert((of.round, of.attempt));
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
        let mut told = BTreeMap::<StepId, Told>::new();
        let mut started = None;
        for entry in entries {
            started.get_or_insert(entry.at);
            for record in &entry.records {
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
                    Record::WorkItemOpened { item }
                        if matches!(
                            item.kind,
                            WorkItemKind::StepFailed | WorkItemKind::StepDoubtful
                        ) =>
                    {
                        let asked = plan.steps.iter().any(|step| step.pivot);
                        let said = if asked {
                            OnError::Compensate
                        } else {
                            OnError::Park
                        };
                        item.step
                            .as_ref()
                            .map(|step| (step, item.failure.as_ref(), said))
                    }
                    Record::Unwinding { cause } => {
                        self.judge_cause(plan, cause, entry.at, started)?;
                        match cause {
                            Cause::StepFailed { step, failure } => {
                                Some((step, Some(failure), OnError::Compensate))
                            }
                            Cause::Cancelled { .. }
                            | Cause::Deadline
                            | Cause::LateEvidence { .. } => None,
                        }
                    }
                    _ => None,
                };
                let Some((id, failure, comes_to)) = given else {
                    continue;
                };
                let known = told.entry(id.clone()).or_default();
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
            Cause::StepFailed { .. } | Cause::Cancelled { .. } | Cause::LateEvidence { .. } => {
                Ok(())
            }
        }
    }

    fn judge_failure(
        &self,
        plan: &SagaPlan,
        id: &StepId,
        failure: Option<&Failure>,
        comes_to: OnError,
        told: &Told,
        at: Timestamp,
    ) -> Result<(), String> {
        let place: Place = (plan.id, id.clone());
        let Some(step) = plan.step(id) else {
            return Err("there is no such step".into());
        };
        let Some(kind) = step.kind else {
            return if matches!(step.idle, Idle::Wait { .. } | Idle::Approve { .. }) {
                Ok(())
            } else {
                Err("it neither waits nor asks".into())
            };
        };
        let past_pivot = comes_to != OnError::Continue && step.on_error == OnError::Compensate;
        if step.on_error != comes_to && !past_pivot && plan.steps.iter().all(|step| !step.pivot) {
            return Err(format!("its `on_error` is {:?}", step.on_error));
        }
        if self.tried_again.contains(&place) || self.by_hand.contains(&place) {
            return Ok(());
        }
        if failure.is_some_and(|failure| failure.code == "queue-timeout") {
            return waited(step, told, at);
        }
        let seen = self.seen.get(&place).cloned().unwrap_or_default();
        let round = told.round;
        let held = seen.held.iter().filter(|(of, _)| *of == round).count();
        let used_up = u32::try_from(held).is_ok_and(|held| held >= step.attempts);
        if used_up || seen.refused || (seen.doubted && !kind.idempotent) {
            return Ok(());
        }
        Err(format!(
            "only {held} of its {} attempts were ever held, none refused, doubted {}",
            step.attempts, seen.doubted
        ))
    }
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
