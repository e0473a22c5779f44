//! `TaskStarted`: a worker holds a claimed task and asks whether it may act. The first run of a current attempt wins; everybody
//! else is told not to. Asked again, the answer is the same.

use baton_messages::{Direction, RefusedWhy, Started};

use super::{Deciding, Handled, Refusal, Verdict, key_of};
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::Stage;

pub(super) fn task_started(d: &mut Deciding<'_>, started: &Started) -> Handled {
    let of = &started.of;
    let Some(step) = d.state.at(&of.key()) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("step {}", of.key()),
        }));
    };
    let attempt = step
        .attempt(of.direction, of.attempt)
        .filter(|_| step.round == of.round);
    let forward_wanted = of.direction == Direction::Undo || d.state.unwinding.is_none();
    let said = match attempt {
        None => Some(RefusedWhy::NoLongerWanted),
        Some(attempt) => match &attempt.stage {
            Stage::Claimed { run, .. } if *run == started.run => None,
            Stage::Claimed { .. } if !breaks(Planted::GrantedTwice) => Some(RefusedWhy::AnotherRun),
            Stage::Offered | Stage::Claimed { .. }
                if attempt.dispatch == of.dispatch && d.state.active() && forward_wanted =>
            {
                d.emit(Record::Claimed {
                    of: key_of(of),
                    run: started.run,
                    worker: started.worker.clone(),
                    dispatch: of.dispatch,
                })?;
                return Ok(Verdict::Applied);
            }
            Stage::Offered
            | Stage::Claimed { .. }
            | Stage::Reported
            | Stage::Closed
            | Stage::NotRun => Some(RefusedWhy::NoLongerWanted),
        },
    };
    d.emit(Record::Answered {
        of: key_of(of),
        run: started.run,
        worker: started.worker.clone(),
        dispatch: of.dispatch,
        refused: said,
    })?;
    Ok(Verdict::Applied)
}
