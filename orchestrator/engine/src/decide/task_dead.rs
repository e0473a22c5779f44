//! `TaskDead`: the task of an attempt was dead-lettered: no worker could use it, or every worker that took it died.

use baton_messages::{DeadReason, Direction, Hold, MessageId};

use super::settle::Outcome;
use super::{Deciding, Handled, Refusal, Verdict, failure};
use crate::command::attempt_ref;
use crate::record::{AttemptKey, ClosedWhy, Record};
use crate::state::Stage;

pub(super) fn task_dead(
    d: &mut Deciding<'_>,
    message: MessageId,
    reason: DeadReason,
    error: &str,
) -> Handled {
    let found = d.state.all().find_map(|(spot, step)| {
        step.attempts.iter().find_map(|attempt| {
            let of = AttemptKey {
                step: spot.key(),
                direction: attempt.direction,
                round: step.round,
                attempt: attempt.number,
            };
            (attempt_ref(d.state, &of, attempt.dispatch).message_id() == message)
                .then(|| (of, attempt.clone()))
        })
    });
    let Some((of, attempt)) = found else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("attempt with message {message}"),
        }));
    };
    if attempt.stage != Stage::Offered {
        // Claimed by a run, reported or closed: the dead copy changes nothing.
        return Ok(Verdict::Duplicate);
    }
    // A claimed type acts only when granted, and this attempt never was; a late one may have acted each time it was delivered. One that was sent
    // twice may be in another's hands whatever became of this copy.
    let maybe_acted = attempt.hold == Hold::Late
        && (!attempt.sole
            || attempt.maybe_sent
            || matches!(
                reason,
                DeadReason::DeliveredTooOften | DeadReason::BrokerRejected | DeadReason::Other
            ));
    d.emit(Record::Closed {
        of: of.clone(),
        why: ClosedWhy::Dead,
        maybe_acted,
    })?;
    let failed = failure(
        "dead-lettered",
        format!("its task was dead-lettered ({}): {error}", reason.as_str()),
    );
    let outcome = if maybe_acted && of.direction == Direction::Do {
        Outcome::Unknown(failed)
    } else {
        Outcome::Failed(failed)
    };
    d.settle(&of, &outcome)?;
    Ok(Verdict::Applied)
}
