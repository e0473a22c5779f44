//! What comes of an attempt that has closed: the table of outcomes. Everything a step does after its attempts is decided here.

use baton_messages::{Direction, Failure, ProbeAnswer, StepKey, TaskResult, Timestamp};
use serde_json::Value;

use super::limits::{REOFFER_MS, backoff_ms};
use super::no_value::advised;
use super::{DecideError, Deciding, failure};
use crate::definition::{OnError, Step, StepKind};
use crate::planted::{Planted, breaks};
use crate::record::{AttemptKey, Record};
use crate::state::{Cause, Phase, RetryFacts};
use crate::work_item::{WorkItem, WorkItemKind};

/// The code of a task that was done, and returned what does not fit its type. Done again it would return the same.
pub(super) const OUTPUT_MISFIT: &str = "output-misfit";

/// What came of an attempt, whichever way it closed.
#[derive(Debug, Clone)]
pub(crate) enum Outcome<'a> {
    Succeeded(&'a Value),
    /// Provably nothing was changed.
    Failed(Failure),
    /// It may or may not have happened.
    Unknown(Failure),
    /// Certain not to have acted; no attempt was used.
    NotRun(String),
    /// A probe found that it happened.
    Happened(&'a Value),
    /// A probe found that it did not.
    DidNot,
    /// A probe found nothing out.
    CannotTell(String),
}

impl<'a> Outcome<'a> {
    pub(crate) fn of(direction: Direction, result: &'a TaskResult) -> Self {
        match result {
            TaskResult::Probed(_) if direction != Direction::Probe => Self::Unknown(failure(
                "wrong-answer",
                "the worker answered as if it had been asked whether it happened",
            )),
            TaskResult::Probed(ProbeAnswer::Happened { output }) => Self::Happened(output),
            TaskResult::Probed(ProbeAnswer::DidNot) => Self::DidNot,
            TaskResult::Probed(ProbeAnswer::CannotTell { reason }) => {
                Self::CannotTell(reason.clone())
            }
            TaskResult::NotRun { reason } => Self::NotRun(reason.clone()),
            TaskResult::Succeeded { .. } if direction == Direction::Probe => {
                Self::CannotTell("the worker answered a probe as if it were a task".into())
            }
            TaskResult::Succeeded { output } => Self::Succeeded(output),
            TaskResult::Failed(failure) => Self::Failed(failure.clone()),
            TaskResult::Unknown(failure) => Self::Unknown(failure.clone()),
        }
    }
}

impl Deciding<'_> {
    /// Moves a step on after one of its attempts closed.
    pub(crate) fn settle(
        &mut self,
        of: &AttemptKey,
        outcome: &Outcome<'_>,
    ) -> Result<(), DecideError> {
        if !self.state.active() {
            // Given up meanwhile: what came of it is recorded, nothing follows.
            return Ok(());
        }
        match of.direction {
            Direction::Do if self.state.unwinding.is_some() => {
                self.settle_on_the_way_back(of, outcome)
            }
            Direction::Do => self.settle_do(of, outcome),
            Direction::Probe => self.settle_probe(of, outcome),
            Direction::Undo => self.settle_undo(of, outcome),
        }
    }

    /// The saga unwinds: whatever came of it is only asked whether it has to be undone.
    fn settle_on_the_way_back(
        &mut self,
        of: &AttemptKey,
        outcome: &Outcome<'_>,
    ) -> Result<(), DecideError> {
        let step = self.step(&of.step)?;
        if step.phase != Phase::Trying {
            return Ok(());
        }
        let may = step.may_have_effect;
        match outcome {
            Outcome::Succeeded(output) => self.succeeded(&of.step, output),
            Outcome::Failed(_)
            | Outcome::Unknown(_)
            | Outcome::NotRun(_)
            | Outcome::Happened(_)
            | Outcome::DidNot
            | Outcome::CannotTell(_) => self.move_to(
                &of.step,
                if may { Phase::Doubtful } else { Phase::Failed },
                None,
                None,
                None,
            ),
        }
    }

    fn settle_do(&mut self, of: &AttemptKey, outcome: &Outcome<'_>) -> Result<(), DecideError> {
        match outcome {
            Outcome::Succeeded(output) | Outcome::Happened(output) => {
                self.succeeded(&of.step, output)
            }
            Outcome::Failed(failure) if failure.retryable => self.retry_or_fail(&of.step, failure),
            Outcome::Failed(failure) => self.fail_for_good(&of.step, failure.clone()),
            Outcome::Unknown(failure) => self.look_into(&of.step, failure),
            Outcome::CannotTell(reason) => {
                self.look_into(&of.step, &failure("unknown", reason.clone()))
            }
            Outcome::DidNot => Ok(()),
            Outcome::NotRun(reason) => self.offer_again(of, reason),
        }
    }

    /// Nobody knows whether it happened: after the world has come to rest, and after every attempt is certainly over, it is looked into.
    /// Where that takes long, since a worker that was cut off may still hold it, and where doing it twice does no harm, it is simply tried
    /// again: an answer before then would be worth nothing, and undo waits for that worker as ever.
    fn look_into(&mut self, id: &StepKey, failure: &Failure) -> Result<(), DecideError> {
        let step = self.step(id)?;
        let held_until = step.lingers_until().filter(|until| *until > self.now);
        let settle_ms = step
            .forward
            .as_ref()
            .map_or(0, |ready| ready.facts.settle_ms);
        let rest = self.now.plus_ms(settle_ms);
        if held_until.is_some()
            && failure.retryable
            && self.is_idempotent(id)?
            && self.try_again(id, failure, Some(failure.clone()))?
        {
            return Ok(());
        }
        let due = held_until.map_or(rest, |until| until.max(rest));
        self.move_to(id, Phase::Settling, Some(due), None, Some(failure.clone()))
    }

    /// The settle time is over: ask, or decide without knowing.
    pub(crate) fn settled(&mut self, id: &StepKey) -> Result<(), DecideError> {
        if !self.step(id)?.may_have_effect {
            // Only looks, or was cleared meanwhile: an ordinary failure.
            let failure = self.last_failure(id)?;
            return self.retry_or_fail(id, &failure);
        }
        if self.can_probe(id)? {
            return self.offer_probe(id);
        }
        self.cannot_tell(id)
    }

    fn settle_probe(&mut self, of: &AttemptKey, outcome: &Outcome<'_>) -> Result<(), DecideError> {
        let id = &of.step;
        if self.step(id)?.phase != Phase::Probing {
            // A late report has answered meanwhile, or the saga unwinds.
            return Ok(());
        }
        let knows_nothing = matches!(
            outcome,
            Outcome::CannotTell(_) | Outcome::Failed(_) | Outcome::Unknown(_)
        );
        match outcome {
            Outcome::Happened(output) => self.succeeded(id, output),
            _ if knows_nothing && breaks(Planted::FailedProbeClears) => self.did_not(id),
            Outcome::DidNot => self.did_not(id),
            Outcome::CannotTell(_) => self.cannot_tell(id),
            Outcome::NotRun(reason) => self.offer_again(of, reason),
            Outcome::Failed(failure) | Outcome::Unknown(failure) => {
                let retry = self.retry_facts(id, Direction::Probe)?;
                let used = of.attempt.saturating_sub(self.step(id)?.probe_forgiven);
                if failure.retryable && retry.attempts.is_none_or(|most| used < most) {
                    let due = self.backoff(&retry, used, failure);
                    return self.move_to(id, Phase::ProbeBackoff, Some(due), None, None);
                }
                self.cannot_tell(id)
            }
            Outcome::Succeeded(_) => self.cannot_tell(id),
        }
    }

    /// It has not happened: nothing is to be undone, and it may be tried again.
    fn did_not(&mut self, id: &StepKey) -> Result<(), DecideError> {
        self.emit(Record::Cleared { step: id.clone() })?;
        let failure = self.last_failure(id)?;
        self.retry_or_fail(
            id,
            &Failure {
                retryable: true,
                ..failure
            },
        )
    }

    fn settle_undo(&mut self, of: &AttemptKey, outcome: &Outcome<'_>) -> Result<(), DecideError> {
        let id = &of.step;
        match outcome {
            Outcome::Succeeded(_) | Outcome::Happened(_) | Outcome::DidNot => self.undone(id),
            Outcome::NotRun(reason) => self.offer_again(of, reason),
            Outcome::Failed(failure) if !failure.retryable => self.undo_failed(id, failure.clone()),
            Outcome::Failed(failure) => self.retry_undo(of, failure),
            Outcome::Unknown(failure) => self.undo_unknown(of, failure),
            Outcome::CannotTell(reason) => {
                self.undo_unknown(of, &failure("unknown", reason.clone()))
            }
        }
    }

    /// Nobody knows whether what takes a step back was done. An automation's own undo is made to be done twice; another task is run again only where
    /// that does no harm, and else a person looks.
    fn undo_unknown(&mut self, of: &AttemptKey, failure: &Failure) -> Result<(), DecideError> {
        let id = &of.step;
        let ready = self.step(id)?.backward.as_ref();
        if ready.is_none_or(|ready| !ready.own_task || ready.facts.idempotent) {
            return self.retry_undo(of, failure);
        }
        let title = format!(
            "nobody can tell whether {id} was undone, and a second run may do harm: {}",
            failure.message
        );
        let kind = WorkItemKind::UndoFailed;
        self.park(id, Phase::UndoParked, kind, title, Some(failure.clone()))
    }

    fn retry_undo(&mut self, of: &AttemptKey, failure: &Failure) -> Result<(), DecideError> {
        let id = &of.step;
        let retry = self.retry_facts(id, Direction::Undo)?;
        let used = of.attempt.saturating_sub(self.step(id)?.undo_forgiven);
        if retry.attempts.is_none_or(|most| used < most) {
            let due = self.backoff(&retry, used, failure);
            return self.move_to(
                id,
                Phase::UndoBackoff,
                Some(due),
                None,
                Some(failure.clone()),
            );
        }
        self.undo_failed(id, failure.clone())
    }

    /// The undo is done: its work item, if it had one, is closed.
    pub(crate) fn undone(&mut self, id: &StepKey) -> Result<(), DecideError> {
        self.close_work_item_of(id, "undone")?;
        self.move_to(id, Phase::Undone, None, None, None)
    }

    /// This undo, and only this one, waits for a person.
    pub(crate) fn undo_failed(
        &mut self,
        id: &StepKey,
        failure: Failure,
    ) -> Result<(), DecideError> {
        let title = format!("undo of {id} failed: {}", failure.message);
        self.park(
            id,
            Phase::UndoParked,
            WorkItemKind::UndoFailed,
            title,
            Some(failure),
        )
    }

    /// Whether the step may still wait for a worker to take this attempt.
    pub(crate) fn may_wait(&self, of: &AttemptKey) -> Result<bool, DecideError> {
        let step = self.step(&of.step)?;
        let first = step
            .attempt(of.direction, of.attempt)
            .map_or(self.now, |a| a.first_offered_at);
        let queue_ms = step
            .prepared(of.direction)
            .map_or(0, |ready| ready.facts.queue_ms);
        Ok(self.now.plus_ms(REOFFER_MS) < first.plus_ms(queue_ms))
    }

    /// No attempt was used: offered again while the step may still wait for a worker.
    pub(crate) fn offer_again(&mut self, of: &AttemptKey, reason: &str) -> Result<(), DecideError> {
        if self.may_wait(of)? {
            let due = self.now.plus_ms(REOFFER_MS);
            let to = match of.direction {
                Direction::Do => Phase::Backoff,
                Direction::Probe => Phase::ProbeBackoff,
                Direction::Undo => Phase::UndoBackoff,
            };
            return self.move_to(&of.step, to, Some(due), None, None);
        }
        self.queue_timeout(&of.step, of.direction, reason)
    }

    /// Nobody took it within the time the step may wait.
    pub(crate) fn queue_timeout(
        &mut self,
        id: &StepKey,
        direction: Direction,
        why: &str,
    ) -> Result<(), DecideError> {
        let failure = failure(
            "queue-timeout",
            format!("no worker ran it within its queue_timeout ({why})"),
        );
        match direction {
            Direction::Do => self.fail_for_good(id, failure),
            Direction::Probe => self.cannot_tell(id),
            Direction::Undo => self.undo_failed(id, failure),
        }
    }

    /// Whether doing it twice does no harm.
    fn is_idempotent(&self, id: &StepKey) -> Result<bool, DecideError> {
        let forward = self.step(id)?.forward.as_ref();
        Ok(forward.is_some_and(|ready| ready.facts.idempotent))
    }

    /// Another attempt of `do`, if one is left; `told` is what is kept of the last. False when there is none.
    fn try_again(
        &mut self,
        id: &StepKey,
        failure: &Failure,
        told: Option<Failure>,
    ) -> Result<bool, DecideError> {
        let retry = self.retry_facts(id, Direction::Do)?;
        let step = self.step(id)?;
        let used = step
            .last_attempt(Direction::Do)
            .saturating_sub(step.forgiven);
        let left = retry.attempts.is_none_or(|most| used < most);
        if left {
            let due = self.backoff(&retry, used, failure);
            let due = (!breaks(Planted::RetryWithoutTimer)).then_some(due);
            self.move_to(id, Phase::Backoff, due, None, told)?;
        }
        Ok(left)
    }

    /// Another attempt, if the failure allows it and one is left.
    pub(crate) fn retry_or_fail(
        &mut self,
        id: &StepKey,
        failure: &Failure,
    ) -> Result<(), DecideError> {
        if failure.retryable && self.try_again(id, failure, Some(failure.clone()))? {
            return Ok(());
        }
        self.fail_for_good(id, failure.clone())
    }

    /// `do` has failed and will not be tried again. With an effect in doubt it counts as unknown.
    pub(crate) fn fail_for_good(
        &mut self,
        id: &StepKey,
        failure: Failure,
    ) -> Result<(), DecideError> {
        if self.step(id)?.may_have_effect {
            return if self.step(id)?.phase == Phase::Trying {
                self.look_into(
                    id,
                    &Failure {
                        retryable: false,
                        ..failure
                    },
                )
            } else {
                self.doubtful(id, failure)
            };
        }
        let defined = self.defined(id)?;
        let (pivot, on_error) = (defined.pivot, defined.on_error);
        let tolerated = match id.item {
            Some(_) => self.tolerates(id),
            None => on_error == OnError::Continue,
        };
        if tolerated {
            return self.move_to(id, Phase::Continued, None, None, Some(failure));
        }
        if self.state.past_pivot && pivot && on_error == OnError::Compensate {
            // Every attempt of the pivot failed with nothing changed: the way back is open again.
            self.emit(Record::PivotReleased)?;
        }
        let only_forward = self.state.past_pivot && !breaks(Planted::TurnsPastPivot);
        if on_error == OnError::Park || only_forward {
            let title = format!("{id} failed: {}", failure.message);
            return self.park(
                id,
                Phase::Parked,
                WorkItemKind::StepFailed,
                title,
                Some(failure),
            );
        }
        self.move_to(id, Phase::Failed, None, None, Some(failure.clone()))?;
        self.unwind(Cause::StepFailed {
            step: id.clone(),
            failure,
        })
    }

    /// No probe can tell: try again where that does no harm and may help, else take it back with the rest, or ask a person.
    pub(crate) fn cannot_tell(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let failure = self.last_failure(id)?;
        let may_help = failure.code != OUTPUT_MISFIT;
        if may_help && self.is_idempotent(id)? && self.try_again(id, &failure, None)? {
            return Ok(());
        }
        self.doubtful(id, failure)
    }

    /// Nobody can tell whether it happened, and nobody will be asked any more.
    pub(crate) fn doubtful(&mut self, id: &StepKey, failure: Failure) -> Result<(), DecideError> {
        let on_error = self.defined(id)?.on_error;
        if on_error == OnError::Continue {
            // Tolerated; what it may have changed stays known, and is undone if the saga unwinds.
            return self.move_to(id, Phase::Continued, None, None, Some(failure));
        }
        // Of items that is taken back at once; after the pivot nothing is, tolerated or not.
        let tolerated = id.item.is_some() && !self.state.past_pivot && self.tolerates(id);
        if !tolerated && (self.state.past_pivot || on_error == OnError::Park) {
            let title = format!("nobody can tell whether {id} happened: {}", failure.message);
            return self.park(
                id,
                Phase::Parked,
                WorkItemKind::StepDoubtful,
                title,
                Some(failure),
            );
        }
        self.move_to(id, Phase::Doubtful, None, None, Some(failure.clone()))?;
        if tolerated {
            return Ok(());
        }
        self.unwind(Cause::StepFailed {
            step: id.clone(),
            failure,
        })
    }

    fn last_failure(&self, id: &StepKey) -> Result<Failure, DecideError> {
        Ok(self
            .step(id)?
            .last_failure
            .clone()
            .unwrap_or_else(|| Failure {
                retryable: true,
                ..failure("unknown", "its worker was lost")
            }))
    }

    /// When the next attempt is due, after `used` attempts.
    fn backoff(&mut self, retry: &RetryFacts, used: u32, failure: &Failure) -> Timestamp {
        let full = backoff_ms(retry.backoff_ms, retry.factor, retry.max_ms, used);
        let wait = if retry.jitter && full > 0 {
            self.draw() % (full + 1)
        } else {
            full
        };
        self.now
            .plus_ms(wait.max(failure.retry_after_ms.unwrap_or(0)))
    }

    /// A step is done. The report before it has mostly put the output into the state already.
    fn succeeded(&mut self, id: &StepKey, output: &Value) -> Result<(), DecideError> {
        let known = self.step(id)?.output.as_ref() == Some(output);
        let output = (!known).then(|| output.clone());
        self.move_to(id, Phase::Succeeded, None, output, None)
    }

    /// A step changes its phase.
    pub(crate) fn move_to(
        &mut self,
        id: &StepKey,
        to: Phase,
        due: Option<Timestamp>,
        output: Option<Value>,
        failure: Option<Failure>,
    ) -> Result<(), DecideError> {
        // The report before it has put the output into the state already; it is not written twice.
        let output = output.filter(|value| {
            self.state
                .at(id)
                .is_none_or(|step| step.output.as_ref() != Some(value))
        });
        let failure = failure.filter(|f| {
            self.state
                .at(id)
                .is_none_or(|step| step.last_failure.as_ref() != Some(f))
        });
        self.emit(Record::Moved {
            step: id.clone(),
            to,
            due,
            output,
            failure,
            unwanted: false,
            by_hand: None,
        })
    }

    /// A step waits for a person: its phase, and a work item with the choices that are possible now.
    pub(crate) fn park(
        &mut self,
        id: &StepKey,
        to: Phase,
        kind: WorkItemKind,
        title: String,
        failure: Option<Failure>,
    ) -> Result<(), DecideError> {
        self.move_to(id, to, None, None, failure.clone())?;
        if breaks(Planted::ParkedUnasked) {
            return Ok(());
        }
        self.open_work_item(Some(id.clone()), kind, title, failure)
    }

    /// Opens a work item for the definition's owner.
    pub(crate) fn open_work_item(
        &mut self,
        step: Option<StepKey>,
        kind: WorkItemKind,
        title: String,
        failure: Option<Failure>,
    ) -> Result<(), DecideError> {
        let choices = self.choices(step.as_ref(), kind);
        let title = advised(title, failure.as_ref(), &choices);
        let owner = match step.as_ref().map(|id| self.defined(id)).transpose()? {
            Some(Step {
                kind: StepKind::Approve(asked),
                ..
            }) => asked.by.to_string(),
            _ => self.rules.definition.owner.clone(),
        };
        let item = WorkItem {
            number: self.state.work_items_opened + 1,
            kind,
            step,
            owner,
            title,
            failure,
            choices,
            opened_at: self.now,
            assignee: None,
            due_at: None,
            escalate: Vec::new(),
            escalated: 0,
            taken: None,
            said: Vec::new(),
        };
        self.emit(Record::WorkItemOpened {
            item: Box::new(self.given_out(item)),
        })
    }

    /// Closes the work item of a step, if it has one.
    pub(crate) fn close_work_item_of(&mut self, id: &StepKey, by: &str) -> Result<(), DecideError> {
        let numbers: Vec<u32> = self
            .state
            .work_items
            .values()
            .filter(|item| item.step.as_ref() == Some(id) && item.kind != WorkItemKind::Broken)
            .map(|item| item.number)
            .collect();
        for number in numbers {
            self.emit(Record::WorkItemClosed {
                number,
                by: by.into(),
            })?;
        }
        Ok(())
    }
}
