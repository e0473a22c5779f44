//! A saga whose records were taken out of the store: only how it ended is known. It never begins again, and nothing adds a record to it, whatever
//! comes; a report that something was done is refused with the reason, so that it is kept as a dead letter and not lost.

use baton_messages::TaskResult;

use super::{Refusal, Verdict};
use crate::input::Input;
use crate::state::{SagaState, Status};

/// How an input about such a saga is taken; none when its records are there.
pub(super) fn of(state: &SagaState, input: &Input) -> Option<Verdict> {
    state.purged_at?;
    Some(match input {
        Input::Start(_) => Verdict::Duplicate,
        // One is purged only after all above it have ended: nobody there waits for an answer.
        Input::ChildWanted(_) | Input::ChildSaid(_) => ignored(state.status),
        Input::Cancel(_)
        | Input::Pause(_)
        | Input::Resume(_)
        | Input::RetryStep { .. }
        | Input::EditStep { .. }
        | Input::SkipStep { .. }
        | Input::ResolveStep { .. }
        | Input::Acknowledge { .. }
        | Input::AssignItem { .. }
        | Input::Approve { .. }
        | Input::Admit(_)
        | Input::BreakLock { .. }
        | Input::Upgrade { .. }
        | Input::Abandon(_) => Verdict::Refused(Refusal::Ended {
            status: state.status.as_str(),
        }),
        // Who asks is not answered and lets go; who says that nothing was done says nothing new.
        Input::TaskStarted(_) | Input::Checkpoint(_) => ignored(state.status),
        Input::TaskFinished(finished) if matches!(finished.result, TaskResult::NotRun { .. }) => {
            ignored(state.status)
        }
        Input::TaskFinished(_) | Input::TaskDead { .. } => {
            Verdict::Refused(no_records(state.status))
        }
        Input::EventArrived { .. }
        | Input::Joined { .. }
        | Input::Admitted { .. }
        | Input::HeldBack => ignored(state.status),
        // Of these the driver itself is the sender: what they are about is long over.
        Input::TaskUnroutable(_)
        | Input::TaskUnconfirmed { .. }
        | Input::Resend(_)
        | Input::TypeServed(_)
        | Input::LeaseOver { .. }
        | Input::TimerFired(_)
        | Input::Broken { .. } => Verdict::Duplicate,
    })
}

fn ignored(status: Status) -> Verdict {
    Verdict::Ignored {
        why: no_records(status).to_string(),
    }
}

fn no_records(status: Status) -> Refusal {
    Refusal::NoSuch {
        what: format!(
            "records any more: it is {}, and they were purged; look at it with `baton show`, which names the archive",
            status.as_str()
        ),
    }
}
