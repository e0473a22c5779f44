//! `decide`: one input in, the records it leads to out. One file for each kind of input; what several of them lead to
//! stands in `settle` (outcomes), `offer` (sending) and [`crate::advance`] (what can move now).

mod abandon;
mod acknowledge;
mod admit;
mod admitted;
mod approve;
mod assign_item;
mod break_lock;
mod broken;
mod cancel;
mod checkpoint;
mod child_said;
mod child_wanted;
pub mod choices;
mod edit_step;
mod event_arrived;
pub(crate) mod fan_out;
mod held_back;
mod joined;
mod lease_over;
pub mod limits;
mod nested;
pub(crate) mod no_value;
pub(crate) mod offer;
mod operator;
mod pause;
mod purged;
mod resend;
mod reserve;
mod resolve_step;
mod resume;
mod retry_step;
mod returned;
pub(crate) mod settle;
mod skip_step;
mod start;
mod task_dead;
mod task_finished;
mod task_started;
mod task_unconfirmed;
mod task_unroutable;
mod timer_fired;
mod type_served;
mod undo_when;
pub(crate) mod unwind;
mod upgrade;
mod waiting;

pub(crate) use start::labels;

use baton_messages::{AttemptRef, Failure, StepKey, Timestamp, Wanted};

use crate::catalogue::Catalogue;
use crate::definition::{Definition, Sagas};
use crate::fold::{FoldError, fold};
use crate::input::Input;
use crate::level::Level;
use crate::record::{AttemptKey, Record};
use crate::state::{SagaState, Status, StepState};
use crate::upgrade::Reason;

/// What a decision is made by, beside the state.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The definition the saga runs.
    pub definition: &'a Definition,
    /// The task types known.
    pub catalogue: &'a Catalogue,
    /// The definitions its steps may name, as far as they are known: whether such a saga could take what a step yields is asked of them.
    pub sagas: &'a dyn Sagas,
    /// What everybody reads who may come to read the records.
    pub level: Level,
}

/// What came of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What has happened now; already folded into the state. Empty when nothing has.
    pub records: Vec<Record>,
    /// How the input was taken.
    pub verdict: Verdict,
}

/// How an input was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was applied (or recorded as late).
    Applied,
    /// It had been applied before; nothing changed.
    Duplicate,
    /// It does not concern the saga, or no more; nothing changed.
    Ignored {
        /// Why, for whoever wonders.
        why: String,
    },
    /// It was refused; nothing changed.
    Refused(Refusal),
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks of a saga that never started.
    #[error("no such saga")]
    NoSaga,
    /// It speaks of a step or attempt the saga never had.
    #[error("saga has no {what}")]
    NoSuch {
        /// What it does not have.
        what: String,
    },
    /// The saga's input does not fit its definition.
    #[error("input does not fit {definition}: {misfit}")]
    Misfit {
        /// The definition.
        definition: String,
        /// What does not fit, and where.
        misfit: String,
    },
    /// What a person says that a step has returned is not what the steps after it read.
    #[error(
        "what {step} is said to have returned does not fit what comes after it: {misfit}; say what it returned (`--output JSON`)"
    )]
    OutputMisfit {
        /// The step.
        step: StepKey,
        /// Who cannot read it, and why.
        misfit: String,
    },
    /// The saga's records cannot be folded: they were written by a newer version, or changed behind our back. What comes for it is kept.
    #[error(
        "its records cannot be read; look at the orchestrator's log, and at the version that wrote them"
    )]
    Unreadable,
    /// The saga has ended.
    #[error("saga has ended: it is {status}")]
    Ended {
        /// How.
        status: &'static str,
    },
    /// What the operator saw is no longer so.
    #[error("{step} has moved since you looked: it is {now} now; look again with `baton show`")]
    Moved {
        /// Which step.
        step: StepKey,
        /// Where it stands.
        now: String,
    },
    /// The step asks for another person, or for a higher role.
    #[error("{action} is not for you: {step} asks for {asks}")]
    NotYours {
        /// What was asked.
        action: &'static str,
        /// The step.
        step: StepKey,
        /// The role or the name it asks for.
        asks: String,
    },
    /// Not possible where the saga or its step stands.
    #[error("{action} is not possible: {why}")]
    NotNow {
        /// What was asked.
        action: &'static str,
        /// Why not, and what to do instead.
        why: String,
    },
    /// It does not go on under the other version of its definition.
    #[error("it stays on its version: {}", crate::upgrade::sentence(.reasons))]
    Stays {
        /// Why; never empty.
        reasons: Vec<Reason>,
    },
}

/// The engine could not decide: a defect. The state must be dropped and read anew; the saga is parked with the input kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// A record it made does not fit the state.
    #[error("decide: made a record that does not fit")]
    Fold(#[from] FoldError),
    /// It did not come to rest.
    #[error("decide: did not come to rest after {rounds} rounds")]
    Endless {
        /// After how many.
        rounds: usize,
    },
    /// The definition has no such step, though the state has.
    #[error("decide: definition {definition} has no step {step}")]
    Definition {
        /// Which definition.
        definition: String,
        /// Which step.
        step: StepKey,
    },
    /// An invariant does not hold after the decision; only looked at in builds with debug assertions.
    #[error("decide: {broken}")]
    Invariant {
        /// Which.
        broken: String,
    },
}

/// Decides one input about one saga at `now`, with 64 bits of chance.
///
/// `state` is moved on as records are made. `now` before the last record counts as the time of that record.
///
/// # Errors
/// [`DecideError`], after which `state` is not to be used any more.
pub fn decide(
    rules: Rules<'_>,
    state: &mut SagaState,
    input: &Input,
    now: Timestamp,
    entropy: u64,
) -> Result<Decision, DecideError> {
    decide_between(rules, None, state, input, now, entropy)
}

/// As [`decide`], with the version of its definition that an [`Input::Upgrade`] asks for: without it that input is refused.
///
/// # Errors
/// As [`decide`].
pub fn decide_between(
    rules: Rules<'_>,
    next: Option<&Definition>,
    state: &mut SagaState,
    input: &Input,
    now: Timestamp,
    entropy: u64,
) -> Result<Decision, DecideError> {
    let now = now.max(state.last_at);
    let mut deciding = Deciding {
        rules,
        next,
        state,
        now,
        entropy,
        records: Vec::new(),
        begun: 0,
    };
    let stood = stands(deciding.state);
    let verdict = deciding.dispatch(input)?;
    if !deciding.records.is_empty() {
        crate::advance::advance(&mut deciding)?;
        deciding.tell_parent(stood)?;
    }
    let records = deciding.records;
    if cfg!(debug_assertions) {
        // the one it runs now
        crate::invariants::check(deciding.rules.definition, deciding.state, now)
            .map_err(|broken| DecideError::Invariant { broken })?;
    }
    Ok(Decision { records, verdict })
}

/// How a child stands, as far as its parent has to know; cheap, since it is looked at before and after every decision.
fn stands(state: &SagaState) -> Option<(Status, bool)> {
    let parent = state.parent.as_ref()?;
    // Whether it goes forward or back is told only to who asks.
    let status = match state.status {
        Status::Compensating => Status::Running,
        other => other,
    };
    Some((status, state.past_pivot && parent.want == Wanted::Undone))
}

/// One decision under way.
pub(crate) struct Deciding<'a> {
    pub(crate) rules: Rules<'a>,
    /// The version it is to go on under, if that is asked.
    next: Option<&'a Definition>,
    pub(crate) state: &'a mut SagaState,
    pub(crate) now: Timestamp,
    entropy: u64,
    pub(crate) records: Vec<Record>,
    /// How many items, or undos of items, this decision has begun.
    pub(crate) begun: usize,
}

/// What handling an input gives.
pub(crate) type Handled = Result<Verdict, DecideError>;

impl Deciding<'_> {
    fn dispatch(&mut self, input: &Input) -> Handled {
        if !matches!(input, Input::Start(_) | Input::ChildWanted(_))
            && self.state.status == Status::New
        {
            return Ok(Verdict::Refused(Refusal::NoSaga));
        }
        if let Some(verdict) = purged::of(self.state, input) {
            return Ok(verdict);
        }
        match input {
            Input::Start(start) => start::start(self, start),
            Input::ChildWanted(wanted) => child_wanted::child_wanted(self, wanted),
            Input::ChildSaid(said) => child_said::child_said(self, said),
            Input::TaskStarted(started) => task_started::task_started(self, started),
            Input::Checkpoint(checkpoint) => checkpoint::checkpoint(self, checkpoint),
            Input::TaskFinished(finished) => {
                let typed = returned::as_typed(self, finished);
                task_finished::task_finished(self, typed.as_ref().unwrap_or(finished))
            }
            Input::TaskDead {
                message,
                reason,
                error,
            } => task_dead::task_dead(self, *message, *reason, error),
            Input::TaskUnroutable(of) => task_unroutable::task_unroutable(self, of),
            Input::TaskUnconfirmed { of, maybe_sent } => {
                task_unconfirmed::task_unconfirmed(self, of, *maybe_sent)
            }
            Input::Resend(of) => resend::resend(self, of),
            Input::TypeServed(task_type) => type_served::type_served(self, task_type),
            Input::LeaseOver { of, run } => lease_over::lease_over(self, of, *run),
            Input::TimerFired(key) => timer_fired::timer_fired(self, key),
            Input::EventArrived {
                id,
                step,
                event,
                received_at,
            } => event_arrived::event_arrived(self, *id, step, event, *received_at),
            Input::Joined {
                id,
                trigger,
                source,
                event,
            } => joined::joined(self, *id, *trigger, source, event),
            Input::Approve {
                step,
                decision,
                operator,
            } => approve::approve(self, step, *decision, operator),
            Input::Cancel(operator) => cancel::cancel(self, operator),
            Input::Pause(operator) => pause::pause(self, operator),
            Input::Resume(operator) => resume::resume(self, operator),
            Input::RetryStep { step, operator } => retry_step::retry_step(self, step, operator),
            Input::EditStep {
                step,
                edit,
                operator,
            } => edit_step::edit_step(self, step, edit, operator),
            Input::SkipStep { step, operator } => skip_step::skip_step(self, step, operator),
            Input::ResolveStep {
                step,
                resolution,
                operator,
            } => resolve_step::resolve_step(self, step, resolution, operator),
            Input::Acknowledge { number, operator } => {
                acknowledge::acknowledge(self, *number, operator)
            }
            Input::AssignItem {
                number,
                assignment,
                operator,
            } => assign_item::assign_item(self, *number, assignment, operator),
            Input::Admitted { fences } => admitted::admitted(self, fences),
            Input::HeldBack => held_back::held_back(self),
            Input::Admit(operator) => admit::admit(self, operator),
            Input::BreakLock { name, operator } => break_lock::break_lock(self, name, operator),
            Input::Upgrade { to, from, operator } => upgrade::upgrade(self, (*from, *to), operator),
            Input::Abandon(operator) => abandon::abandon(self, operator),
            Input::Broken { id, error } => broken::broken(self, *id, error),
        }
    }

    /// A child whose standing has changed says so, unless it answers its parent anyway.
    fn tell_parent(&mut self, stood: Option<(Status, bool)>) -> Result<(), DecideError> {
        let answers = |record: &Record| matches!(record, Record::ParentHeard { .. });
        if stood.is_none() || stood == stands(self.state) || self.records.iter().any(answers) {
            return Ok(());
        }
        self.emit(Record::ParentTold)
    }

    /// Makes a record: folds it and keeps it.
    pub(crate) fn emit(&mut self, record: Record) -> Result<(), DecideError> {
        fold(self.state, self.now, &record)?;
        self.records.push(record);
        Ok(())
    }

    /// A number drawn from the chance given with the input; each call draws another (splitmix64).
    pub(crate) fn draw(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A step's state; its absence is a defect here, since ids from outside are checked first.
    pub(crate) fn step(&self, id: &StepKey) -> Result<&StepState, DecideError> {
        self.state
            .at(id)
            .ok_or_else(|| DecideError::Fold(FoldError::NoStep { step: id.clone() }))
    }

    /// A step's definition.
    pub(crate) fn defined(&self, id: &StepKey) -> Result<&crate::definition::Step, DecideError> {
        let definition = self.rules.definition;
        definition
            .step(&id.step)
            .ok_or_else(|| DecideError::Definition {
                definition: definition.saga.clone(),
                step: id.clone(),
            })
    }
}

/// The short name of an attempt within its saga.
pub(crate) fn key_of(of: &AttemptRef) -> AttemptKey {
    AttemptKey {
        step: of.key(),
        direction: of.direction,
        round: of.round,
        attempt: of.attempt,
    }
}

/// A failure made by the engine itself.
pub(crate) fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.into(),
        message: message.into(),
        retryable: false,
        retry_after_ms: None,
    }
}
