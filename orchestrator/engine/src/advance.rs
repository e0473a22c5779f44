//! What can move now: after any input that changed something, steps whose time has come start, undos whose dependents are gone
//! start, and a saga that has nothing left to do ends. Every value is decided here, none in the fold.

use baton_messages::{Direction, Failure, StepKey};
use serde_json::Value;

use crate::decide::fan_out::eyes;
use crate::decide::no_value::{no_time, no_value, wrong_kind};
use crate::decide::{DecideError, Deciding};
use crate::definition::{StepKind, duration_ms_of};
use crate::expr::Template;
use crate::level::Feature;
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::{Phase, SagaState, Spot, Status, StepState};

/// Rounds of starting steps in one decision: each round moves at least one step, a step moves few times; beyond it something circles.
const ROUNDS_PER_STEP: usize = 8;

/// Moves everything that can move, and says where the saga stands.
pub(crate) fn advance(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    let rounds = (d.state.steps.len() + 1) * ROUNDS_PER_STEP;
    for _ in 0..rounds {
        if !d.state.active() {
            return Ok(());
        }
        let before = d.records.len();
        if d.state.unwinding.is_none() {
            forward(d)?;
        } else {
            backward(d)?;
        }
        if d.records.len() == before {
            return say_status(d);
        }
    }
    Err(DecideError::Endless { rounds })
}

fn forward(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    if d.state.waits_for_admission() {
        return Ok(());
    }
    if !d.state.paused {
        let definition = d.rules.definition;
        for step in &definition.steps {
            if d.state.unwinding.is_some() {
                return Ok(());
            }
            let key = StepKey::from(&step.id);
            if d.step(&key)?.phase == Phase::Waiting && may_begin(d, step.index) {
                begin(d, &key)?;
            }
            if let Some(rule) = &step.fan {
                d.spread(step, rule)?;
            }
        }
    }
    if d.state.unwinding.is_none()
        && d.state
            .live()
            .all(|(_, step)| step.phase.done() && step.open_attempt().is_none())
    {
        complete(d)?;
    }
    Ok(())
}

/// Whether everything before a step is done; the pivot is a barrier and waits for all that is not its descendant, for every attempt to close, and for
/// every item that is still taken back: from the pivot on nothing is.
fn may_begin(d: &Deciding<'_>, index: usize) -> bool {
    let steps = &d.rules.definition.steps;
    let Some(step) = steps.get(index) else {
        return false;
    };
    let state_of = |i: usize| steps.get(i).and_then(|other| d.state.step(&other.id));
    let done = |i: usize| state_of(i).is_some_and(|state| state.phase.done());
    if !step.after.iter().all(|i| done(*i)) {
        return false;
    }
    if !step.pivot || breaks(Planted::PivotBesideOthers) {
        return true;
    }
    (0..steps.len())
        .filter(|i| *i != index && !step.descendants.contains(i))
        .all(done)
        && d.state.live().all(|(Spot(_, item), other)| {
            let settled = item.is_none() || other.phase.done();
            settled && other.open_attempt().is_none()
        })
}

/// Begins a step: looks at its `if`, then does what it is there for.
pub(crate) fn begin(d: &mut Deciding<'_>, id: &StepKey) -> Result<(), DecideError> {
    let defined = d.rules.definition.step(&id.step);
    let Some(step) = defined else {
        return Err(DecideError::Definition {
            definition: d.state.definition.clone(),
            step: id.clone(),
        });
    };
    if let (Some(fan), None) = (&step.fan, id.item) {
        return d.fan_out(step, fan);
    }
    if let Some(condition) = &step.condition {
        let wanted = condition.eval(&eyes(d.state, id));
        match wanted {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => return d.move_to(id, Phase::Skipped, None, None, None),
            Ok(other) => {
                let wanted = "true or false: compare it, or ask has(…) of it";
                return d.fail_for_good(id, wrong_kind("if", &other, wanted));
            }
            Err(error) => return d.fail_for_good(id, no_value("if", &error)),
        }
    }
    match &step.kind {
        StepKind::Task(_) => d.prepare_and_offer(id),
        StepKind::Sleep(how_long) => match slept(d, how_long) {
            Ok(ms) => d.move_to(id, Phase::Sleeping, Some(d.now.plus_ms(ms)), None, None),
            Err(wrong) => d.fail_for_good(id, wrong),
        },
        StepKind::Wait(wait) => d.listen(id, wait),
        StepKind::Approve(approve) => d.ask(id, approve),
        StepKind::Emit(emit) => d.say(id, emit),
        StepKind::Saga(saga) => d.begin_child(id, saga),
    }
}

/// How long a sleep is, in milliseconds.
fn slept(d: &Deciding<'_>, how_long: &Template) -> Result<u64, Failure> {
    let value = how_long.eval(d.state);
    let value = value.map_err(|error| no_value("sleep", &error))?;
    duration_ms_of(&value).map_err(|why| no_time(&value, &why))
}

fn complete(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    if d.state.work_items.values().any(|item| item.kind.blocks()) {
        return Ok(());
    }
    close_work_items(d)?;
    let template = d.rules.definition.output.as_ref();
    let output = template.map(|template| template.eval(d.state));
    let (output, no_output) = match output {
        None => (None, None),
        Some(Ok(output)) => (Some(output), None),
        Some(Err(error)) => {
            // Everything is done; that its summary cannot be computed undoes nothing here. Whoever goes on with it is told why there is none.
            d.emit(Record::Noted {
                what: format!("output could not be computed: {error}"),
            })?;
            let is_told = d.state.parent.is_some() && Feature::NoOutput.is_read_at(d.rules.level);
            (None, is_told.then(|| error.to_string()))
        }
    };
    d.emit(Record::Ended {
        status: Status::Completed,
        output,
        no_output,
    })
}

fn backward(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    // those that had to wait for what depends on them
    d.recall_children()?;
    // First every open attempt of `do` and `probe` closes.
    let going = |step: &StepState| {
        step.open_attempt()
            .is_some_and(|attempt| attempt.direction != Direction::Undo)
    };
    let at_once = breaks(Planted::UndoesWhileOpen) || breaks(Planted::EndsWhileOpen);
    if d.state.live().any(|(_, step)| going(step)) && !at_once {
        return Ok(());
    }
    let held = breaks(Planted::ParkedUndoHoldsAll)
        && d.state
            .live()
            .any(|(_, step)| step.phase == Phase::UndoParked);
    if !d.state.paused && !held {
        let definition = d.rules.definition;
        for step in definition.steps.iter().rev() {
            let key = StepKey::from(&step.id);
            if let Some(rule) = &step.fan {
                if dependents_gone(d, step.index) {
                    if wants_undo(d.step(&key)?) {
                        // a person did all of it in place of its items
                        d.prepare_and_offer_undo(&key)?;
                    }
                    d.take_back(step, rule)?;
                }
            } else if wants_undo(d.step(&key)?) && may_be_undone(d, step.index)
                || breaks(Planted::UndoesWhileOpen) && going(d.step(&key)?)
            {
                d.prepare_and_offer_undo(&key)?;
            }
        }
    }
    let clean = d.state.steps.keys().all(|id| d.state.gone(id, d.now));
    let untouched = || d.state.live().all(|(_, step)| !step.may_have_effect);
    let clean = clean || breaks(Planted::EndsWhileOpen) && untouched();
    if clean && !d.state.work_items.values().any(|item| item.kind.blocks()) {
        close_work_items(d)?;
        d.emit(Record::Ended {
            status: Status::Compensated,
            output: None,
            no_output: None,
        })?;
    }
    Ok(())
}

/// Whether a step has an effect that nobody has begun to take back.
pub(crate) fn wants_undo(step: &StepState) -> bool {
    step.may_have_effect
        && matches!(
            step.phase,
            Phase::Succeeded | Phase::Doubtful | Phase::Failed | Phase::Skipped | Phase::Continued
        )
        && !(step.phase == Phase::Doubtful && breaks(Planted::DoubtLeftStanding))
}

/// Whether everything that depends on a step is gone, and nobody may still act for the step itself.
fn may_be_undone(d: &Deciding<'_>, index: usize) -> bool {
    let own = d
        .rules
        .definition
        .steps
        .get(index)
        .and_then(|step| d.state.step(&step.id));
    own.is_some_and(|step| !step.unsettled(d.now)) && dependents_gone(d, index)
}

/// Whether nothing that depends on a step may have an effect, now or later.
pub(crate) fn dependents_gone(d: &Deciding<'_>, index: usize) -> bool {
    let steps = &d.rules.definition.steps;
    let gone = |i: &usize| {
        let other = steps.get(*i);
        other.is_none_or(|other| d.state.gone(&other.id, d.now))
    };
    breaks(Planted::UndoneInAnyOrder)
        || steps
            .get(index)
            .is_some_and(|step| step.descendants.iter().all(gone))
}

fn close_work_items(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    let numbers: Vec<u32> = d.state.work_items.keys().copied().collect();
    for number in numbers {
        d.emit(Record::WorkItemClosed {
            number,
            by: "the saga ended".into(),
        })?;
    }
    Ok(())
}

fn say_status(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    let to = standing(d.state);
    if to == d.state.status {
        return Ok(());
    }
    d.emit(Record::StatusChanged { to })
}

/// Where an active saga stands: parked when only a person can move it.
#[must_use]
pub(crate) fn standing(state: &SagaState) -> Status {
    let blocked = state.work_items.values().any(|item| item.kind.blocks());
    let moves = || {
        state.live().any(|(_, step)| {
            step.due.is_some()
                || step
                    .attempts
                    .iter()
                    .any(|attempt| attempt.open() || state.attempt_end(step, attempt).is_some())
        })
    };
    if blocked && !moves() {
        Status::Parked
    } else if state.unwinding.is_some() {
        Status::Compensating
    } else {
        Status::Running
    }
}
