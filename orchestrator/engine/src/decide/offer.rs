//! Sending: a direction of a step is made ready (facts taken from the catalogue, input evaluated and checked), and its attempts are offered.

use std::sync::Arc;

use baton_messages::fleet::LEASE_MS_DEFAULT;
use baton_messages::{
    Direction, Failure, Hold, INPUT_BYTES_MAX, Manifest, PoolName, Standing, StepKey, TaskType,
    Timestamp,
};
use serde_json::Value;

use super::fan_out::eyes;
use super::limits::{
    CLOCK_SKEW_MS, CONFIRM_BOUND_MS, KILL_GRACE_MS, OFFER_MS_MAX, PROBE_ATTEMPTS,
    PROBE_BACKOFF_MS_MAX, QUEUE_MS_DEFAULT, UNASKED_MS, UNDO_ATTEMPTS, UNDO_BACKOFF_MS_MAX,
};
use super::no_value::no_value;
use super::{DecideError, Deciding, failure};
use crate::child::Child;
use crate::definition::{
    Attempts, Jitter, OwnUndo, ProbePlan, RetryPolicy, StepKind, TaskStep, UndoPlan, UndoTask,
};
use crate::expr::{Scope, Template, kind_of};
use crate::fold::last_moment;
use crate::input::StepEdit;
use crate::record::{AttemptKey, Record, Unasked};
use crate::state::{Phase, Prepared, RetryFacts, Stage, TaskFacts};
use crate::work_item::WorkItemKind;

/// Why a direction could not be made ready.
pub(super) enum NotReady {
    /// Nobody has announced the type yet.
    Unserved,
    /// The author's expressions or values are at fault: not tried again.
    Bad(Failure),
}

impl Deciding<'_> {
    pub(super) fn task(&self, id: &StepKey) -> Result<&TaskStep, DecideError> {
        match &self.defined(id)?.kind {
            StepKind::Task(task) => Ok(task),
            StepKind::Sleep(_)
            | StepKind::Wait(_)
            | StepKind::Approve(_)
            | StepKind::Emit(_)
            | StepKind::Saga(_) => Err(DecideError::Definition {
                definition: self.rules.definition.saga.clone(),
                step: id.clone(),
            }),
        }
    }

    /// Makes `do` ready and offers its first attempt; or waits for somebody who serves it; or fails where the author is at fault.
    pub(crate) fn prepare_and_offer(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let task = self.task(id)?;
        let made = ready(
            &eyes(self.state, id),
            self.rules,
            &task.task_type,
            ("", &task.pool, &task.with),
        )
        .map(|(manifest, pool, input)| {
            let facts = forward_facts(task, manifest, pool);
            Prepared {
                facts,
                input,
                own_task: false,
            }
        });
        let queue_ms = task.queue_timeout_ms.unwrap_or(QUEUE_MS_DEFAULT);
        match made {
            Ok(prepared) => {
                self.emit(Record::Prepared {
                    step: id.clone(),
                    direction: Direction::Do,
                    prepared: Arc::new(prepared),
                })?;
                self.offer(id, Direction::Do)
            }
            Err(NotReady::Unserved) if self.step(id)?.phase == Phase::Unserved => Ok(()),
            Err(NotReady::Unserved) => {
                let due = self.now.plus_ms(queue_ms);
                self.move_to(id, Phase::Unserved, Some(due), None, None)
            }
            Err(NotReady::Bad(failure)) => self.fail_for_good(id, failure),
        }
    }

    /// Makes the undo of a step ready and offers its first attempt.
    pub(crate) fn prepare_and_offer_undo(&mut self, id: &StepKey) -> Result<(), DecideError> {
        if self.is_child(id)? {
            return match self.step(id)?.by_hand.is_some() {
                true => self.undo_of_handwork(id),
                false => self.undo_child(id),
            };
        }
        if self.undo_is_unwanted(id)? {
            return self.not_wanted(id);
        }
        let by_hand = self.step(id)?.by_hand.is_some();
        let task = self.task(id)?;
        let made = match &task.undo {
            UndoPlan::None { because } => {
                let what = format!("{id} is not undone: {because}");
                self.emit(Record::Noted { what })?;
                return self.undone(id);
            }
            UndoPlan::Own | UndoPlan::Task(_) if by_hand => return self.undo_of_handwork(id),
            UndoPlan::Own => {
                let Some(forward) = self.step(id)?.forward.clone() else {
                    return self.undo_missing(id);
                };
                if !forward.facts.undo {
                    return self.undo_missing(id);
                }
                let known = self.rules.catalogue.get(&forward.facts.task_type);
                let most = known.map(|known| known.manifest.timeout_ms_max);
                let facts = backward_facts(forward.facts.clone(), &task.own_undo, most);
                Ok(Prepared {
                    facts,
                    input: forward.input.clone(),
                    own_task: false,
                })
            }
            UndoPlan::Task(undo) if !self.undo_fits(id, undo)? => {
                let title = format!(
                    "{id} was done with another input than its definition gives, and its undo may not fit that: undo it by hand, or name a task that does"
                );
                return self.park(
                    id,
                    Phase::UndoParked,
                    WorkItemKind::UndoMissing,
                    title,
                    None,
                );
            }
            UndoPlan::Task(undo) => {
                let done_by = self.pool_of(id, task)?;
                let pool = undo.pool.as_ref().unwrap_or(&done_by);
                ready(
                    &eyes(self.state, id),
                    self.rules,
                    &undo.task_type,
                    ("undo.", pool, &undo.with),
                )
                .map(|(manifest, pool, input)| {
                    let facts = undo_task_facts(task, Some(undo), manifest, pool);
                    Prepared {
                        facts,
                        input,
                        own_task: true,
                    }
                })
            }
        };
        match made {
            Ok(prepared) => {
                let prepared = Arc::new(prepared);
                self.emit(Record::Prepared {
                    step: id.clone(),
                    direction: Direction::Undo,
                    prepared,
                })?;
                self.offer(id, Direction::Undo)
            }
            Err(NotReady::Unserved) if self.step(id)?.phase == Phase::UndoUnserved => Ok(()),
            Err(NotReady::Unserved) => {
                let due = self.now.plus_ms(task_queue_ms(self.task(id)?));
                self.move_to(id, Phase::UndoUnserved, Some(due), None, None)
            }
            Err(NotReady::Bad(failure)) => self.undo_failed(id, failure),
        }
    }

    /// The task type an edited step is tried by: the one an operator names, else the one it was tried by last, as it is shown, else the definition's.
    pub(super) fn edited_type(
        &self,
        id: &StepKey,
        direction: Direction,
        named: Option<&TaskType>,
    ) -> Result<TaskType, DecideError> {
        let (step, task) = (self.step(id)?, self.task(id)?);
        let last = match direction {
            Direction::Undo => step.backward.as_ref().filter(|ready| ready.own_task),
            Direction::Do | Direction::Probe => step.forward.as_ref(),
        };
        let last = last.map(|ready| &ready.facts.task_type);
        let planned = planned_undo(task).filter(|_| direction == Direction::Undo);
        let planned = planned.map(|undo| &undo.task_type);
        let wanted = named.or(last).or(planned).unwrap_or(&task.task_type);
        Ok(wanted.clone())
    }

    /// The pool an edited step is tried in.
    pub(super) fn edited_pool(
        &self,
        id: &StepKey,
        direction: Direction,
    ) -> Result<Template, DecideError> {
        let task = self.task(id)?;
        if direction != Direction::Undo {
            return Ok(task.pool.clone());
        }
        let own = planned_undo(task).and_then(|undo| undo.pool.as_ref());
        own.map_or_else(|| self.pool_of(id, task), |pool| Ok(pool.clone()))
    }

    /// Why no pool comes of the definition for an edited step; none where one does.
    pub(super) fn edited_nowhere(
        &self,
        id: &StepKey,
        direction: Direction,
    ) -> Result<Option<String>, DecideError> {
        let of = match direction {
            Direction::Undo => "undo.",
            Direction::Do | Direction::Probe => "",
        };
        let pool = self.edited_pool(id, direction)?;
        let pool = pool_named(&eyes(self.state, id), of, &pool);
        Ok(pool.err().map(|failure| failure.message))
    }

    /// `do` with the input, and maybe the task type, that an operator names.
    pub(super) fn edited(
        &self,
        id: &StepKey,
        edit: &StepEdit,
    ) -> Result<Result<Prepared, NotReady>, DecideError> {
        let task = self.task(id)?;
        let task_type = self.edited_type(id, Direction::Do, edit.task_type.as_ref())?;
        let with = Template::literal(edit.input.clone());
        let scope = eyes(self.state, id);
        let made = ready(&scope, self.rules, &task_type, ("", &task.pool, &with));
        Ok(made.map(|(manifest, pool, input)| {
            let mut facts = forward_facts(task, manifest, pool);
            // the definition's own probe asks about what the definition has done
            facts.probe = manifest.probe;
            Prepared {
                facts,
                input,
                own_task: false,
            }
        }))
    }

    /// The same of an undo, which is a task of its own then.
    pub(super) fn edited_undo(
        &self,
        id: &StepKey,
        edit: &StepEdit,
    ) -> Result<Result<Prepared, NotReady>, DecideError> {
        let task = self.task(id)?;
        let task_type = self.edited_type(id, Direction::Undo, edit.task_type.as_ref())?;
        let pool = self.edited_pool(id, Direction::Undo)?;
        let with = Template::literal(edit.input.clone());
        let scope = eyes(self.state, id);
        let made = ready(&scope, self.rules, &task_type, ("undo.", &pool, &with));
        Ok(made.map(|(manifest, pool, input)| Prepared {
            facts: undo_task_facts(task, planned_undo(task), manifest, pool),
            input,
            own_task: true,
        }))
    }

    /// Where it was done, and is asked about and undone: the pool its task was given, whatever the definition gives by now.
    fn pool_of(&self, id: &StepKey, task: &TaskStep) -> Result<Template, DecideError> {
        let done = self.step(id)?.forward.as_ref();
        Ok(done.map_or_else(
            || task.pool.clone(),
            |ready| Template::literal(Value::from(ready.facts.pool.as_str())),
        ))
    }

    fn undo_missing(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let title = format!("{id} has an effect and its task type has no undo: undo it by hand");
        self.undo_by_hand(id, title)
    }

    fn undo_by_hand(&mut self, id: &StepKey, title: String) -> Result<(), DecideError> {
        let missing = WorkItemKind::UndoMissing;
        self.park(id, Phase::UndoParked, missing, title, None)
    }

    /// What a person did no worker takes back: nothing that was stored, and no word of a child, says what that was.
    fn undo_of_handwork(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let step = self.step(id)?;
        let by = step.by_hand.as_deref().unwrap_or("somebody");
        // who did not know whether a worker had may have found what that one left
        let and = match step.doubted {
            true => ", and a worker may have done it as well",
            false => "",
        };
        let left = step.child.as_deref().map_or_else(String::new, what_it_left);
        let title = format!("{id} was done by hand by {by}{and}{left}: undo it by hand");
        self.undo_by_hand(id, title)
    }

    /// The probe the definition names; none where it asks about something else: an operator has had the step tried with another input.
    fn defined_probe<'a>(
        &self,
        id: &StepKey,
        task: &'a TaskStep,
    ) -> Result<Option<&'a ProbePlan>, DecideError> {
        let as_defined = self.step(id)?.edited.is_empty();
        Ok(task.probe.as_ref().filter(|_| as_defined))
    }

    /// Whether the undo the definition names takes back what was done: always, unless an operator has had the step tried with another input. Then only one that goes in every part of its
    /// input by what the step's own task has returned.
    fn undo_fits(&self, id: &StepKey, undo: &UndoTask) -> Result<bool, DecideError> {
        let step = self.step(id)?;
        if step.edited.is_empty() {
            return Ok(true);
        }
        let as_defined = &self.task(id)?.task_type;
        let same_task = step
            .forward
            .as_ref()
            .is_some_and(|ready| ready.facts.task_type == *as_defined);
        Ok(same_task && undo.with.is_computed_from(id.step.as_str()))
    }

    /// Whether somebody can be asked if `do` happened.
    pub(crate) fn can_probe(&self, id: &StepKey) -> Result<bool, DecideError> {
        let task = self.task(id)?;
        let own = self
            .step(id)?
            .forward
            .as_ref()
            .is_some_and(|ready| ready.facts.probe);
        Ok(match self.defined_probe(id, task)? {
            // one without a probe has nothing to say
            Some(probe) => {
                let known = self.rules.catalogue.get(&probe.task_type);
                known.is_some_and(|known| known.manifest.probe)
            }
            None => own,
        })
    }

    /// Asks whether `do` happened.
    pub(crate) fn offer_probe(&mut self, id: &StepKey) -> Result<(), DecideError> {
        if self.step(id)?.asking.is_none() {
            let Some(forward) = self.step(id)?.forward.clone() else {
                return self.cannot_tell(id);
            };
            let task = self.task(id)?;
            let made = match self.defined_probe(id, task)? {
                None => Ok(Prepared {
                    facts: forward.facts.clone(),
                    input: forward.input.clone(),
                    own_task: false,
                }),
                Some(probe) => ready(
                    &eyes(self.state, id),
                    self.rules,
                    &probe.task_type,
                    ("probe.", &self.pool_of(id, task)?, &probe.with),
                )
                .map(|(manifest, pool, input)| {
                    let timeout = manifest.timeout_ms_default;
                    let retry = RetryPolicy::default();
                    let facts = facts(manifest, pool, timeout, None, task.queue_timeout_ms, &retry);
                    Prepared {
                        facts,
                        input,
                        own_task: true,
                    }
                }),
            };
            let Ok(mut prepared) = made else {
                return self.cannot_tell(id);
            };
            prepared.facts.retry.attempts = Some(PROBE_ATTEMPTS);
            prepared.facts.retry.max_ms = PROBE_BACKOFF_MS_MAX;
            let prepared = Arc::new(prepared);
            self.emit(Record::Prepared {
                step: id.clone(),
                direction: Direction::Probe,
                prepared,
            })?;
        }
        self.offer(id, Direction::Probe)
    }

    /// Offers the next attempt of a direction that is ready; the same attempt again when nobody ran the last one.
    pub(crate) fn offer(&mut self, id: &StepKey, direction: Direction) -> Result<(), DecideError> {
        let step = self.step(id)?;
        let Some(ready) = step.prepared(direction) else {
            return Err(crate::fold::FoldError::NotPrepared {
                step: id.clone(),
                direction,
            }
            .into());
        };
        let facts = &ready.facts;
        let end = last_moment(self.now, facts.hold, facts.offer_ms, facts.timeout_ms);
        let unasked = unasked(self.now, facts);
        let last = step.last_attempt(direction);
        let again = step
            .attempt(direction, last)
            .filter(|attempt| attempt.stage == Stage::NotRun);
        let (attempt, dispatch) =
            again.map_or((last + 1, 1), |attempt| (last, attempt.dispatch + 1));
        let of = AttemptKey {
            step: id.clone(),
            direction,
            round: step.round,
            attempt,
        };
        let pivot = direction == Direction::Do && self.defined(id)?.pivot;
        self.emit(Record::Offered {
            of,
            dispatch,
            last_moment: end,
            unasked,
            pivot,
        })
    }

    /// The retry rules of a direction of a step.
    pub(crate) fn retry_facts(
        &self,
        id: &StepKey,
        direction: Direction,
    ) -> Result<RetryFacts, DecideError> {
        let facts = self
            .step(id)?
            .prepared(direction)
            .map(|ready| ready.facts.retry.clone());
        facts.ok_or_else(|| {
            crate::fold::FoldError::NotPrepared {
                step: id.clone(),
                direction,
            }
            .into()
        })
    }
}

/// What a child may have left in whose place a person has done a step, in words; nothing of one that took back what it did, or never began.
fn what_it_left(child: &Child) -> String {
    match child.standing {
        Some(Standing::Abandoned | Standing::Completed { .. }) => format!(
            ", and saga {} ({}@{}) may have left something",
            child.id, child.definition, child.version
        ),
        Some(Standing::UnderWay { .. } | Standing::Compensated { .. }) | None => String::new(),
    }
}

/// How long whoever does not ask may act on what is offered now: to begin it, to run it, to be killed; with the time a confirm may take and
/// what clocks may differ.
pub(super) fn unasked(now: Timestamp, facts: &TaskFacts) -> Option<Unasked> {
    matches!(facts.hold, Hold::Late).then(|| {
        let ask_after = now.plus_ms(facts.offer_ms.min(UNASKED_MS));
        let end = ask_after
            .plus_ms(facts.timeout_ms.saturating_add(KILL_GRACE_MS))
            .plus_ms(CONFIRM_BOUND_MS + CLOCK_SKEW_MS);
        Unasked { ask_after, end }
    })
}

fn task_queue_ms(task: &TaskStep) -> u64 {
    task.queue_timeout_ms.unwrap_or(QUEUE_MS_DEFAULT)
}

/// What a task is sent with: how its keys begin where the definition has them, its pool, its input.
type Said<'t> = (&'static str, &'t Template, &'t Template);

/// Evaluates what a task is to be sent with, and checks it against its type.
fn ready<'a>(
    scope: &dyn Scope,
    rules: super::Rules<'a>,
    task_type: &TaskType,
    (of, pool, with): Said<'_>,
) -> Result<(&'a Manifest, PoolName, Value), NotReady> {
    let known = rules.catalogue.get(task_type).ok_or(NotReady::Unserved)?;
    let bad = |code: &str, message: String| NotReady::Bad(failure(code, message));
    let pool = pool_named(scope, of, pool).map_err(NotReady::Bad)?;
    let input = with.eval(scope);
    let input = input.map_err(|error| NotReady::Bad(no_value(&format!("{of}with"), &error)))?;
    known.check_input(&input).map_err(|misfit| {
        let text = format!(
            "input of {task_type} does not fit: {misfit}; `baton tasks show {task_type}` says what it takes"
        );
        bad("input-misfit", text)
    })?;
    let bytes = crate::expr::json_bytes(&input);
    if bytes > INPUT_BYTES_MAX {
        let text = format!(
            "input of {task_type} has {bytes} bytes; an input may have {INPUT_BYTES_MAX}: pass a reference instead"
        );
        return Err(bad("too-large", text));
    }
    Ok((&known.manifest, pool, input))
}

/// The pool a template gives the name of.
fn pool_named(scope: &dyn Scope, of: &str, template: &Template) -> Result<PoolName, Failure> {
    let value = template.eval(scope);
    let value = value.map_err(|error| no_value(&format!("{of}pool"), &error))?;
    let text = value.as_str().unwrap_or_default();
    PoolName::new(text).map_err(|error| {
        let kind = kind_of(&value);
        failure(
            "pool",
            format!("`{of}pool` gives {kind} that names no pool: {error}"),
        )
    })
}

/// The task the definition undoes a step by, where it names one.
pub(super) fn planned_undo(task: &TaskStep) -> Option<&UndoTask> {
    match &task.undo {
        UndoPlan::Task(undo) => Some(&**undo),
        UndoPlan::Own | UndoPlan::None { .. } => None,
    }
}

fn forward_facts(task: &TaskStep, manifest: &Manifest, pool: PoolName) -> TaskFacts {
    let timeout = task
        .timeout_ms
        .unwrap_or(manifest.timeout_ms_default)
        .min(manifest.timeout_ms_max);
    let mut facts = facts(
        manifest,
        pool,
        timeout,
        task.lease_ms,
        task.queue_timeout_ms,
        &task.retry,
    );
    facts.probe = manifest.probe || task.probe.is_some();
    facts
}

/// A task of its own that undoes.
fn undo_task_facts(
    task: &TaskStep,
    undo: Option<&UndoTask>,
    manifest: &Manifest,
    pool: PoolName,
) -> TaskFacts {
    let timeout = undo
        .and_then(|undo| undo.timeout_ms)
        .unwrap_or(manifest.timeout_ms_default)
        .min(manifest.timeout_ms_max);
    let usual = RetryPolicy::default();
    let retry = undo.map_or(&usual, |undo| &undo.retry);
    let (lease, queue) = (task.lease_ms, task.queue_timeout_ms);
    let mut facts = facts(manifest, pool, timeout, lease, queue, retry);
    if retry.attempts.is_none() {
        facts.retry.attempts = Some(UNDO_ATTEMPTS.max(manifest.retry.attempts));
    }
    // what the step says is said of the task it names, not of another that an operator has put in its place
    let said = undo.filter(|undo| undo.task_type == manifest.task_type);
    if let Some(idempotent) = said.and_then(|undo| undo.idempotent) {
        facts.idempotent = idempotent;
        if !idempotent {
            // one that is held late may be run twice
            facts.hold = Hold::Claim;
        }
    }
    facts
}

/// The automation's own undo runs under the facts of `do`, but with attempts of its own; what the step says of it goes before both. An attempt has what the
/// task type allows at most.
fn backward_facts(mut facts: TaskFacts, said: &OwnUndo, timeout_ms_max: Option<u64>) -> TaskFacts {
    let retry = &said.retry;
    // the longest wait is no shorter than the first one that was asked for
    let longest = UNDO_BACKOFF_MS_MAX.max(retry.backoff_ms.unwrap_or_default());
    facts.retry = RetryFacts {
        attempts: match retry.attempts {
            None => Some(UNDO_ATTEMPTS),
            Some(Attempts::Times(times)) => Some(times.get()),
            Some(Attempts::Forever) => None,
        },
        backoff_ms: retry.backoff_ms.unwrap_or(facts.retry.backoff_ms),
        factor: retry.factor.unwrap_or(facts.retry.factor),
        max_ms: retry.max_ms.unwrap_or(longest),
        jitter: retry.jitter != Some(Jitter::None),
    };
    if let Some(timeout) = said.timeout_ms {
        facts.timeout_ms = timeout.min(timeout_ms_max.unwrap_or(u64::MAX));
    }
    facts
}

fn facts(
    manifest: &Manifest,
    pool: PoolName,
    timeout_ms: u64,
    lease_ms: Option<u64>,
    queue_timeout_ms: Option<u64>,
    retry: &RetryPolicy,
) -> TaskFacts {
    let queue_ms = queue_timeout_ms.unwrap_or(QUEUE_MS_DEFAULT);
    TaskFacts {
        task_type: manifest.task_type.clone(),
        pool,
        effect: manifest.effect,
        idempotent: manifest.idempotent,
        undo: manifest.undo,
        probe: manifest.probe,
        hold: manifest.hold(),
        timeout_ms,
        lease_ms: lease_ms.unwrap_or(LEASE_MS_DEFAULT),
        offer_ms: queue_ms.min(OFFER_MS_MAX),
        queue_ms,
        settle_ms: manifest.settle_ms,
        retry: RetryFacts {
            attempts: match retry.attempts {
                None => Some(manifest.retry.attempts.max(1)),
                Some(Attempts::Times(times)) => Some(times.get()),
                Some(Attempts::Forever) => None,
            },
            backoff_ms: retry.backoff_ms.unwrap_or(manifest.retry.backoff_ms),
            factor: retry.factor.unwrap_or(manifest.retry.factor),
            max_ms: retry.max_ms.unwrap_or(manifest.retry.max_ms),
            jitter: retry.jitter != Some(Jitter::None),
        },
    }
}
