//! `ChildWanted`: the saga whose step this one is says what it wants: that it begins and is done, or that nothing of it is left. One that is to be
//! undone before it has begun begins and ends at once, so that a beginning that comes later finds it.

use baton_messages::{ChildWanted, Failure, Wanted};

use super::{DecideError, Deciding, Handled, Refusal, Verdict, failure};
use crate::child::DEPTH_MAX;
use crate::record::Record;
use crate::reservation::Want;
use crate::state::{Cause, Status};
use crate::work_item::WorkItemKind;

pub(super) fn child_wanted(d: &mut Deciding<'_>, wanted: &ChildWanted) -> Handled {
    let (mut held, mut new) = (false, None);
    if wanted.parent.child() != wanted.child {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("parent {}: it is no child of that", wanted.parent.saga),
        }));
    }
    if d.state.status == Status::New {
        new = Some(begin(d, wanted)?);
    } else {
        let Some(parent) = d.state.parent.as_deref().filter(|p| p.of == wanted.parent) else {
            return Ok(Verdict::Refused(Refusal::NoSuch {
                what: format!("parent {}", wanted.parent.saga),
            }));
        };
        if wanted.number <= parent.heard {
            return Ok(Verdict::Duplicate);
        }
        held = parent.paused;
    }
    // One that an operator paused by itself is not held by its parent, and does not go on with it.
    let holds = wanted.paused && (held || !d.state.paused);
    d.emit(Record::ParentHeard {
        number: wanted.number,
        want: wanted.want,
        paused: holds,
    })?;
    match new.map(|wants| unfit(d, wanted).map_or(wants, Err)) {
        Some(Err(failure)) => d.unwind(Cause::Refused { failure })?,
        _ if wanted.want == Wanted::Undone => take_back(d, wanted)?,
        Some(Ok(wants)) => d.reserve(wants)?,
        None => {}
    }
    pause(d, held, holds)?;
    Ok(Verdict::Applied)
}

/// Begins it; answers what it takes before its first step, or why that cannot be computed.
fn begin(
    d: &mut Deciding<'_>,
    wanted: &ChildWanted,
) -> Result<Result<Vec<Want>, Failure>, DecideError> {
    let begun = super::start::begun(
        d,
        &wanted.input,
        &std::collections::BTreeMap::new(),
        format!("saga:{} {}", wanted.parent.saga, wanted.parent.key()),
        baton_messages::InputId::of_child(wanted.child),
    );
    // One that is not wanted any more takes nothing.
    let wants = match wanted.want {
        Wanted::Done => d.wanted(&begun),
        Wanted::Undone => Ok(Vec::new()),
    };
    d.emit(begun)?;
    d.emit(Record::IsChild {
        parent: wanted.parent.clone(),
        root: wanted.root,
        depth: wanted.depth,
        fences: wanted.fences.clone(),
    })?;
    Ok(wants.map_err(|why| failure("input-misfit", why)))
}

/// Why it cannot begin. Its parent is told, and no dead letter made: it is the parent that has to go on.
fn unfit(d: &Deciding<'_>, wanted: &ChildWanted) -> Option<Failure> {
    if wanted.depth > DEPTH_MAX {
        let text = format!("sagas lie within each other {DEPTH_MAX} deep at most");
        return Some(failure("too-deep", text));
    }
    let definition = d.rules.definition;
    let misfit = definition.check_input(&wanted.input).err()?;
    let name = format!("{}@{}", definition.saga, definition.version);
    let text = format!(
        "input of {name} does not fit: {misfit}; `baton definitions show {}` has what it takes",
        definition.saga
    );
    // One that is not wanted any more says nothing of its input.
    (wanted.want == Wanted::Done).then(|| failure("input-misfit", text))
}

/// Nothing of it is to be left: as with a cancel; and one that is done takes back what it did.
fn take_back(d: &mut Deciding<'_>, wanted: &ChildWanted) -> Result<(), DecideError> {
    let cause = Cause::Parent {
        saga: wanted.parent.saga,
        why: wanted.why.clone(),
    };
    match d.state.status {
        Status::Compensated | Status::Abandoned | Status::New => Ok(()),
        // Its parent is told so, and asks a person.
        Status::Completed if d.state.past_pivot => Ok(()),
        Status::Completed => {
            // whoever paused it meant what it did then
            if d.state.paused && !wanted.paused {
                d.emit(Record::Resumed)?;
            }
            d.emit(Record::StatusChanged {
                to: Status::Compensating,
            })?;
            d.unwind(cause)
        }
        Status::Running | Status::Compensating | Status::Parked if d.state.past_pivot => {
            let asked = |kind| kind == WorkItemKind::CancelAfterPivot;
            if d.state.work_items.values().any(|item| asked(item.kind)) {
                return Ok(());
            }
            let title = format!(
                "saga {} wants it undone after the pivot: it goes on, only forward ({})",
                wanted.parent.saga, wanted.why
            );
            d.open_work_item(None, WorkItemKind::CancelAfterPivot, title, None)
        }
        Status::Running | Status::Compensating | Status::Parked => d.unwind(cause),
    }
}

/// A child rests while its parent does.
fn pause(d: &mut Deciding<'_>, held: bool, holds: bool) -> Result<(), DecideError> {
    if !d.state.active() {
        // One that ended while it was held is not held any more: it would else count as paused by itself, once it takes back what it did.
        return match held && !holds && d.state.paused {
            true => d.emit(Record::Resumed),
            false => Ok(()),
        };
    }
    match (held, holds) {
        (false, true) if !d.state.paused => {
            d.emit(Record::Paused)?;
            d.tell_children()
        }
        (true, false) if d.state.paused => super::resume::go_on(d),
        _ => Ok(()),
    }
}
