//! Timers are part of the state: each is derived from the fold, none is stored. The driver keeps only the next wake of each saga.

use baton_messages::{Direction, Hold, StepKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::{Attempt, Phase, SagaState, Stage, StepState};

/// Which timer fired.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKey {
    /// The saga's deadline.
    Deadline,
    /// It waits to be admitted: the store is asked again, or a child has waited long enough.
    Admission,
    /// The end of a step's phase.
    StepDue {
        /// Which step.
        step: StepKey,
    },
    /// The last moment of an attempt.
    AttemptEnd {
        /// Which step.
        step: StepKey,
        /// Which way.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
    },
    /// A work item goes to the next, since it is still open.
    Escalation {
        /// Which.
        number: u32,
        /// The how manieth escalation of it, from 1.
        rung: u32,
    },
}

impl SagaState {
    /// Calls `each` with every timer that runs, in the order of steps.
    pub fn each_timer(&self, mut each: impl FnMut(Timestamp, &dyn Fn() -> TimerKey)) {
        if !self.active() {
            return;
        }
        if let Some(at) = self.deadline_at {
            each(at, &|| TimerKey::Deadline);
        }
        if let Some(at) = self.reservation.as_ref().and_then(|taken| taken.due) {
            each(at, &|| TimerKey::Admission);
        }
        for (spot, step) in self.live() {
            if let Some(at) = self.step_due(step) {
                each(at, &|| TimerKey::StepDue { step: spot.key() });
            }
            for attempt in &step.attempts {
                if let Some(at) = self.attempt_end(step, attempt) {
                    each(at, &|| TimerKey::AttemptEnd {
                        step: spot.key(),
                        direction: attempt.direction,
                        attempt: attempt.number,
                    });
                }
            }
        }
        // Also while it is paused: nothing begins by it, and the task is still somebody's.
        for item in self.work_items.values() {
            if let Some((rung, next)) = item.next_escalation() {
                let number = item.number;
                each(next.at, &|| TimerKey::Escalation { number, rung });
            }
        }
    }

    /// When this saga next needs to be looked at, if ever.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        self.each_timer(|at, _| next = Some(next.map_or(at, |n| n.min(at))));
        next
    }

    /// The timers that are due at `now`, soonest first.
    #[must_use]
    pub fn due_timers(&self, now: Timestamp) -> Vec<TimerKey> {
        let mut due = Vec::new();
        self.each_timer(|at, key| {
            if at <= now {
                due.push((at, key()));
            }
        });
        due.sort();
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// A step's own timer. Paused sagas start nothing, so their timers stand still; what is overdue at the resume fires then.
    pub(crate) fn step_due(&self, step: &StepState) -> Option<Timestamp> {
        if self.paused && step.phase != Phase::Sleeping {
            return None;
        }
        step.due
    }

    /// When an attempt is certainly over. A held one (not taken by the broker) has no end while the saga goes forward: it
    /// will be sent again. On the way back whoever asks is refused, so that what goes forward is over when whoever has not asked is. One
    /// that has closed and lingers matters only then, and where one item is taken back while the saga goes forward: neither undo nor end
    /// comes before.
    pub(crate) fn attempt_end(&self, step: &StepState, attempt: &Attempt) -> Option<Timestamp> {
        match attempt.stage {
            Stage::Offered if attempt.held && self.unwinding.is_none() => None,
            Stage::Offered if attempt.held && attempt.direction == Direction::Undo => None,
            Stage::Offered
                if self.unwinding.is_some()
                    && attempt.direction != Direction::Undo
                    && attempt.hold == Hold::Late =>
            {
                Some(attempt.unasked_end())
            }
            Stage::Offered | Stage::Claimed { .. } => Some(attempt.last_moment),
            Stage::Reported | Stage::Closed | Stage::NotRun => {
                let back = self.unwinding.is_some() || step.phase.backward();
                (attempt.lingers() && back).then_some(attempt.unasked_end())
            }
        }
    }
}
