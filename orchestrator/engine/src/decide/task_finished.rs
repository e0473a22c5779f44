//! `TaskFinished`: an attempt has ended, in time, late, or told a second time.

use baton_messages::{CheckpointKind, Direction, Finished, Hold, ProbeAnswer, TaskResult};

use super::settle::{OUTPUT_MISFIT, Outcome};
use super::{DecideError, Deciding, Handled, Refusal, Verdict, failure, key_of};
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::{Phase, Stage, Status};
use crate::work_item::WorkItemKind;

/// The longest that is noted of an output that does not fit, in characters: a saga of many items may note one of each.
const NOTED_MAX: usize = 500;

/// How an output that does not fit the type of its step is taken.
enum Odd {
    /// As one of no use: what the report comes to instead.
    Unusable(TaskResult),
    /// As it is, since each of those can read it that read it: what is noted of it.
    Read(String),
}

pub(super) fn task_finished(d: &mut Deciding<'_>, finished: &Finished) -> Handled {
    match odd(d, finished) {
        None => taken(d, finished, None),
        Some(Odd::Read(what)) => taken(d, finished, Some(what)),
        Some(Odd::Unusable(result)) => {
            let held = Finished {
                result,
                ..finished.clone()
            };
            taken(d, &held, None)
        }
    }
}

/// How a report is taken whose output does not fit the type of its step, if it does not: it may have happened, and what it returned is of no use. What stands in the output is not said.
///
/// One that each of those can read that read it is taken all the same: a later manifest of the same major version may promise more than the worker that was asked has known of, and whoever was
/// registered before does not read that. It stands in the history that it was.
fn odd(d: &Deciding<'_>, finished: &Finished) -> Option<Odd> {
    let of = &finished.of;
    let ((TaskResult::Succeeded { output }, Direction::Do)
    | (TaskResult::Probed(ProbeAnswer::Happened { output }), Direction::Probe)) =
        (&finished.result, of.direction)
    else {
        return None;
    };
    let step = d.state.at(&of.key())?;
    // of an earlier round nothing is known any more but that it was
    let ready = step.forward.as_ref().filter(|_| step.round == of.round)?;
    let task_type = &ready.facts.task_type;
    let known = d.rules.catalogue.get(task_type)?;
    let misfit = known.check_output(output).err()?;
    // this costs a look at all who read it, and few outputs come to it
    let readers = d.readers(&of.key());
    if readers.is_ok_and(|readers| readers.cannot_take(output).is_none()) {
        let misfit = shown(&misfit);
        let what = format!(
            "output of {task_type} at {} does not fit its schema, and is taken since nobody reads what does not: {misfit}",
            of.key()
        );
        return Some(Odd::Read(what));
    }
    let why = format!("output of {task_type} does not fit its schema: {misfit}");
    Some(Odd::Unusable(match of.direction {
        Direction::Probe => TaskResult::Probed(ProbeAnswer::CannotTell { reason: why }),
        Direction::Do | Direction::Undo => TaskResult::Unknown(failure(OUTPUT_MISFIT, why)),
    }))
}

/// What is noted of a misfit, which tells a place of the output by its keys: those may be long, and so may what its schema says.
fn shown(misfit: &str) -> String {
    let mut short: String = misfit.chars().take(NOTED_MAX).collect();
    if short.len() < misfit.len() {
        short.push('…');
    }
    short
}

/// Takes a report; `odd` is what is noted of its output, where that counts.
fn taken(d: &mut Deciding<'_>, finished: &Finished, odd: Option<String>) -> Handled {
    let of = &finished.of;
    let Some(step) = d.state.at(&of.key()) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("step {}", of.key()),
        }));
    };
    if of.round != step.round {
        let edited = step.edited.iter().find(|edited| edited.round == of.round);
        return if edited.is_some_and(|edited| !edited.reported) {
            late_of_edited(d, finished)
        } else if of.round < step.round {
            note(d, finished)
        } else {
            no_attempt(finished)
        };
    }
    let Some(attempt) = step.attempt(of.direction, of.attempt) else {
        return if of.attempt <= step.last_attempt(of.direction) {
            Ok(Verdict::Duplicate)
        } else {
            no_attempt(finished)
        };
    };
    if attempt.runs.contains(&finished.run) {
        return match breaks(Planted::ReportTakenTwice) {
            true => in_time(d, finished, odd),
            false => Ok(Verdict::Duplicate),
        };
    }
    let not_run = matches!(finished.result, TaskResult::NotRun { .. });
    match &attempt.stage {
        // Whoever was first to hold it late acts without asking; who asked after him may have the claim.
        Stage::Claimed { run, .. }
            if *run != finished.run && attempt.hold == Hold::Late && !not_run =>
        {
            late(d, finished, odd)
        }
        Stage::Claimed { run, .. } if *run != finished.run => note(d, finished),
        // A worker that gave a sending back or found it too late speaks of that sending only; and where another worker may
        // hold the same sending, that nobody ran it cannot be told by one.
        Stage::Offered if not_run && attempt.dispatch != of.dispatch => Ok(Verdict::Duplicate),
        Stage::Offered
            if not_run && attempt.hold == Hold::Late && !(attempt.sole && finished.sole) =>
        {
            note(d, finished)
        }
        Stage::Offered | Stage::Claimed { .. } => in_time(d, finished, odd),
        Stage::Reported | Stage::Closed | Stage::NotRun => late(d, finished, odd),
    }
}

fn no_attempt(finished: &Finished) -> Handled {
    let of = &finished.of;
    let what = format!(
        "{} attempt {} of round {} of step {}",
        of.direction,
        of.attempt,
        of.round,
        of.key()
    );
    Ok(Verdict::Refused(Refusal::NoSuch { what }))
}

/// A report of a round that ended because somebody had the step tried with another input. It was edited since nothing was changed; what says otherwise is for a person, for nothing undoes it.
fn late_of_edited(d: &mut Deciding<'_>, finished: &Finished) -> Handled {
    let of = &finished.of;
    let says_done = matches!(
        finished.result,
        TaskResult::Succeeded { .. } | TaskResult::Unknown { .. }
    );
    if of.direction != Direction::Do || !says_done || d.state.status == Status::Abandoned {
        return note(d, finished);
    }
    if d.state.status.ended() {
        d.emit(Record::StatusChanged { to: Status::Parked })?;
    }
    note(d, finished)?;
    d.emit(Record::EditedReported {
        step: of.key(),
        round: of.round,
    })?;
    let title = format!(
        "{} was held as not done when it was edited; a worker reported afterwards of its round {} that it may have happened: undo that by hand",
        of.key(),
        of.round
    );
    d.open_work_item(None, WorkItemKind::LateEvidence, title, None)?;
    Ok(Verdict::Applied)
}

fn note(d: &mut Deciding<'_>, finished: &Finished) -> Handled {
    let of = &finished.of;
    let what = format!(
        "late report of {} {} attempt {} round {}, run {}",
        of.key(),
        of.direction,
        of.attempt,
        of.round,
        finished.run
    );
    d.emit(Record::Noted { what })?;
    Ok(Verdict::Applied)
}

/// The checkpoints a report repeats, where the messages that brought them are still on their way.
fn checkpoints(d: &mut Deciding<'_>, finished: &Finished) -> Result<(), DecideError> {
    if finished.of.direction != Direction::Do {
        return Ok(());
    }
    let step = d.step(&finished.of.key())?;
    let known_before = step
        .before
        .as_ref()
        .is_some_and(|(attempt, _)| *attempt <= finished.of.attempt)
        && !breaks(Planted::ImageOverwritten);
    let known_progress = step.progress == finished.progress;
    let of = key_of(&finished.of);
    if let Some(value) = &finished.before
        && !known_before
    {
        d.emit(Record::Checkpointed {
            of: of.clone(),
            kind: CheckpointKind::Before,
            value: value.clone(),
        })?;
    }
    if let Some(value) = &finished.progress
        && !known_progress
    {
        d.emit(Record::Checkpointed {
            of,
            kind: CheckpointKind::Progress,
            value: value.clone(),
        })?;
    }
    Ok(())
}

fn in_time(d: &mut Deciding<'_>, finished: &Finished, odd: Option<String>) -> Handled {
    checkpoints(d, finished)?;
    let of = key_of(&finished.of);
    let claimed = d
        .step(&of.step)?
        .attempt(of.direction, of.attempt)
        .is_some_and(|attempt| matches!(attempt.stage, Stage::Claimed { .. }));
    d.emit(Record::Reported {
        of: of.clone(),
        run: finished.run,
        sole: finished.sole,
        started: finished.started,
        ran_ms: finished
            .started
            .then(|| finished.finished_at.since_ms(finished.started_at)),
        worker: (!claimed).then(|| finished.worker.clone()),
        result: finished.result.clone(),
    })?;
    if let Some(what) = odd {
        d.emit(Record::Noted { what })?;
    }
    d.settle(&of, &Outcome::of(finished.of.direction, &finished.result))?;
    Ok(Verdict::Applied)
}

/// A report of an attempt that was closed without one, or by the report of another run, is evidence.
fn late(d: &mut Deciding<'_>, finished: &Finished, odd: Option<String>) -> Handled {
    if breaks(Planted::LateReportDropped) {
        return note(d, finished);
    }
    checkpoints(d, finished)?;
    let of = key_of(&finished.of);
    let had_effect = d.step(&of.step)?.may_have_effect;
    d.emit(Record::Evidence {
        of: of.clone(),
        run: finished.run,
        result: finished.result.clone(),
    })?;
    if let Some(what) = odd {
        d.emit(Record::Noted { what })?;
    }
    let succeeded = matches!(finished.result, TaskResult::Succeeded { .. });
    if d.state.status == Status::Abandoned {
        // The operator who gave the saga up took over all of it.
        return Ok(Verdict::Applied);
    }
    match of.direction {
        Direction::Probe => {}
        Direction::Undo => {
            let step = d.step(&of.step)?;
            let waiting = matches!(
                step.phase,
                Phase::UndoBackoff | Phase::UndoUnserved | Phase::UndoParked
            );
            if succeeded && waiting && !step.unsettled(d.now) {
                d.undone(&of.step)?;
            }
        }
        Direction::Do => late_do(d, finished, had_effect, succeeded)?,
    }
    Ok(Verdict::Applied)
}

fn late_do(
    d: &mut Deciding<'_>,
    finished: &Finished,
    had_effect: bool,
    succeeded: bool,
) -> Result<(), DecideError> {
    let id = &finished.of.key();
    let step = d.step(id)?;
    let news = step.may_have_effect && !had_effect;
    match step.phase {
        // It is not known, or held as not done but still wanted: now it is known.
        Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Backoff
        | Phase::Unserved
        | Phase::Parked
            if succeeded && d.state.unwinding.is_none() =>
        {
            let output = match &finished.result {
                TaskResult::Succeeded { output } => Some(output.clone()),
                TaskResult::Failed(_)
                | TaskResult::Unknown(_)
                | TaskResult::NotRun { .. }
                | TaskResult::Probed(_) => None,
            };
            d.close_work_item_of(id, "late report")?;
            d.move_to(id, Phase::Succeeded, None, output, None)
        }
        Phase::Failed | Phase::Continued | Phase::Skipped | Phase::Undone if news => {
            late_effect(d, id)
        }
        // Settled by hand, never undone since it was clear: now it is not.
        Phase::Succeeded if news && d.state.status == Status::Compensated => late_effect(d, id),
        Phase::Failed
        | Phase::Continued
        | Phase::Skipped
        | Phase::Undone
        | Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Backoff
        | Phase::Unserved
        | Phase::Parked
        | Phase::Waiting
        | Phase::Trying
        | Phase::Sleeping
        | Phase::Succeeded
        | Phase::Doubtful
        | Phase::Undoing
        | Phase::UndoUnserved
        | Phase::UndoBackoff
        | Phase::UndoParked
        // No task of theirs was ever sent.
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::InChild
        | Phase::UndoInChild => Ok(()),
    }
}

/// A step held as not happened has happened: it joins the running unwind; an item that was tolerated is taken back (again) while the saga goes forward;
/// from the pivot on, and on an ended saga, a person is asked.
fn late_effect(d: &mut Deciding<'_>, id: &baton_messages::StepKey) -> Result<(), DecideError> {
    let phase = d.step(id)?.phase;
    let undone = phase == Phase::Undone;
    let asks = if undone {
        Phase::UndoParked
    } else {
        Phase::Parked
    };
    let ended = matches!(d.state.status, Status::Completed | Status::Compensated);
    let to = match d.state.status {
        Status::Abandoned | Status::New => return Ok(()),
        _ if ended && d.state.unwinding.is_some() => Phase::UndoParked,
        _ if ended => asks,
        _ if d.state.unwinding.is_some() => Phase::Doubtful,
        // What an operator skipped stays as it was said; it is known, and undone if the saga unwinds.
        _ if id.item.is_none() || phase == Phase::Skipped => return Ok(()),
        _ if d.pivot_has_begun() => asks,
        _ => Phase::Doubtful,
    };
    if to == Phase::Doubtful {
        d.move_to(id, to, None, None, None)?;
    } else {
        if ended {
            d.emit(Record::StatusChanged { to: Status::Parked })?;
        }
        let title =
            format!("{id} was held as not done; a worker reported afterwards that it happened");
        d.park(id, to, WorkItemKind::LateEvidence, title, None)?;
    }
    if undone {
        // Done again after its undo: the next undo is another effect, under another key. A system that remembers the first would not act upon it again.
        d.emit(Record::NewRound { step: id.clone() })?;
    }
    Ok(())
}
