//! The turn: from here on the saga takes back what it did. First every open attempt closes; then [`crate::advance`] undoes.

use baton_messages::{Direction, Hold, StepKey};

use super::{DecideError, Deciding};
use crate::record::{AttemptKey, ClosedWhy, Record};
use crate::state::{Cause, Phase, Stage};

impl Deciding<'_> {
    /// Begins to unwind, unless it does already.
    pub(crate) fn unwind(&mut self, cause: Cause) -> Result<(), DecideError> {
        if self.state.unwinding.is_some() {
            return Ok(());
        }
        let parked: Vec<StepKey> = self
            .state
            .live()
            .filter(|(_, s)| matches!(s.phase, Phase::Parked | Phase::Asked))
            .map(|(spot, _)| spot.key())
            .collect();
        self.emit(Record::Unwinding { cause })?;
        for id in parked {
            self.close_work_item_of(&id, "the saga unwinds")?;
        }
        self.recall_children()?;
        self.stop_what_is_open()
    }

    /// Closes what nobody can have begun, and asks the rest to stop.
    pub(crate) fn stop_what_is_open(&mut self) -> Result<(), DecideError> {
        let open: Vec<_> = self
            .state
            .live()
            .filter_map(|(spot, step)| {
                let attempt = step
                    .open_attempt()
                    .filter(|a| a.direction != Direction::Undo)?;
                let of = AttemptKey {
                    step: spot.key(),
                    direction: attempt.direction,
                    round: step.round,
                    attempt: attempt.number,
                };
                Some((of, attempt.clone()))
            })
            .collect();
        for (of, attempt) in open {
            let (unclaimed, worker) = match &attempt.stage {
                Stage::Claimed { worker, .. } => (false, Some(worker.clone())),
                Stage::Offered => (
                    attempt.hold == Hold::Claim
                        || (attempt.held && attempt.sole && !attempt.maybe_sent),
                    None,
                ),
                Stage::Reported | Stage::Closed | Stage::NotRun => continue,
            };
            if unclaimed {
                // Whoever claims it now is refused; what the broker never took nobody has.
                self.emit(Record::Closed {
                    of: of.clone(),
                    why: ClosedWhy::Withdrawn,
                    maybe_acted: false,
                })?;
                self.after_withdrawal(&of)?;
            } else {
                self.emit(Record::CancelSent {
                    of,
                    dispatch: attempt.dispatch,
                    worker,
                })?;
            }
        }
        Ok(())
    }

    fn after_withdrawal(&mut self, of: &AttemptKey) -> Result<(), DecideError> {
        let step = self.step(&of.step)?;
        if step.phase != Phase::Trying {
            return Ok(());
        }
        let to = if step.may_have_effect {
            Phase::Doubtful
        } else {
            Phase::Failed
        };
        self.move_to(&of.step, to, None, None, None)
    }
}
