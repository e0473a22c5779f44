//! Checkpoint: a run stores what it found before acting, or how far it has come. Counts from any attempt at any time.

use baton_messages::{Checkpoint, CheckpointKind, Direction};

use super::{Deciding, Handled, Refusal, Verdict, key_of};
use crate::planted::{Planted, breaks};
use crate::record::Record;

pub(super) fn checkpoint(d: &mut Deciding<'_>, checkpoint: &Checkpoint) -> Handled {
    let of = &checkpoint.of;
    let Some(step) = d.state.at(&of.key()) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("step {}", of.key()),
        }));
    };
    if step.round != of.round || of.direction != Direction::Do || !news(d, checkpoint) {
        return Ok(Verdict::Duplicate);
    }
    d.emit(Record::Checkpointed {
        of: key_of(of),
        kind: checkpoint.kind,
        value: checkpoint.value.clone(),
    })?;
    Ok(Verdict::Applied)
}

/// Whether the state does not have it already: reports come twice.
fn news(d: &Deciding<'_>, checkpoint: &Checkpoint) -> bool {
    let Some(step) = d.state.at(&checkpoint.of.key()) else {
        return false;
    };
    match checkpoint.kind {
        CheckpointKind::Before => {
            let later = |(attempt, _): &(u32, _)| checkpoint.of.attempt < *attempt;
            step.before.as_ref().is_none_or(later) || breaks(Planted::ImageOverwritten)
        }
        CheckpointKind::Progress => step.progress.as_ref() != Some(&checkpoint.value),
    }
}
