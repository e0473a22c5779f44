//! Every legal transition of a step, in one place. Whatever is not here is a typed error that names both phases.

use baton_messages::Timestamp;

use crate::state::{Phase, StepState};

/// Whether a step may go from one phase to another.
pub(crate) const fn legal(from: Phase, to: Phase) -> bool {
    use Phase::{
        Asked, Backoff, Continued, Doubtful, Failed, FannedOut, InChild, Listening, Parked,
        ProbeBackoff, Probing, Settling, Skipped, Sleeping, Succeeded, Trying, UndoBackoff,
        UndoInChild, UndoParked, UndoUnserved, Undoing, Undone, Unserved, Waiting,
    };
    match from {
        Waiting => matches!(
            to,
            Unserved
                | Trying
                | Sleeping
                | Listening
                | Asked
                | FannedOut
                | InChild
                | Skipped
                | Failed
                | Continued
                | Parked
                // An event that is published is done with the commit that says so.
                | Succeeded
        ),
        Unserved => matches!(
            to,
            Trying
                | Backoff
                | Failed
                | Doubtful
                | Skipped
                | Continued
                | Parked
                | Settling
                | Succeeded
        ),
        Trying => matches!(
            to,
            Succeeded | Backoff | Settling | Unserved | Failed | Doubtful | Continued | Parked
        ),
        Backoff => matches!(
            to,
            Trying
                | Sleeping
                | Listening
                | Asked
                | FannedOut
                | InChild
                | Unserved
                | Succeeded
                | Failed
                | Doubtful
                | Skipped
                | Settling
                | Continued
                | Parked
        ),
        Settling => matches!(
            to,
            Probing
                | Backoff
                | Succeeded
                | Doubtful
                | Failed
                | Parked
                | Continued
                | Skipped
                | ProbeBackoff
        ),
        Probing | ProbeBackoff => {
            matches!(
                to,
                Probing
                    | ProbeBackoff
                    | Backoff
                    | Succeeded
                    | Doubtful
                    | Failed
                    | Parked
                    | Continued
                    | Settling
            )
        }
        Sleeping => matches!(to, Succeeded | Failed | Skipped),
        // Parked when what its items returned is too much, after the pivot.
        FannedOut => matches!(to, Succeeded | Failed | Parked),
        InChild => matches!(
            to,
            Succeeded | Failed | Continued | Doubtful | Parked | UndoInChild
        ),
        UndoInChild => matches!(to, Undone | UndoParked),
        Listening | Asked => matches!(to, Succeeded | Failed | Skipped | Continued | Parked),
        // By hand, or by late evidence, or by the unwind.
        Parked => matches!(
            to,
            Trying
                | Backoff
                | Unserved
                | Settling
                | Succeeded
                | Skipped
                | Doubtful
                | Failed
                | Undone
                | Waiting
        ),
        Failed | Continued | Skipped => matches!(
            to,
            Doubtful
                | Undoing
                | UndoUnserved
                | UndoInChild
                | UndoParked
                | Undone
                | Succeeded
                | Parked
        ),
        Succeeded | Doubtful => {
            matches!(
                to,
                Undoing | UndoUnserved | UndoInChild | UndoParked | Undone | Succeeded
            )
        }
        Undoing => matches!(to, Undone | UndoBackoff | UndoUnserved | UndoParked),
        // Back to the end of the line when something that depends on it turned out to have happened.
        UndoBackoff | UndoUnserved => {
            matches!(to, Undoing | Undone | UndoParked | UndoUnserved | Doubtful)
        }
        UndoParked => matches!(
            to,
            Undoing | UndoBackoff | UndoUnserved | Undone | Succeeded
        ),
        Undone => matches!(to, Doubtful | UndoParked),
    }
}

/// When the way forward was over; what is done again begins anew, and an undo changes nothing of it.
pub(crate) fn went(step: &mut StepState, to: Phase, at: Timestamp) {
    match to {
        Phase::Succeeded | Phase::Skipped | Phase::Continued | Phase::Failed | Phase::Doubtful => {
            step.done_at.get_or_insert(at);
        }
        Phase::Waiting
        | Phase::Unserved
        | Phase::Trying
        | Phase::Backoff
        | Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Sleeping
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::InChild
        | Phase::Parked => step.done_at = None,
        Phase::Undoing
        | Phase::UndoUnserved
        | Phase::UndoBackoff
        | Phase::UndoInChild
        | Phase::UndoParked
        | Phase::Undone => {}
    }
}
