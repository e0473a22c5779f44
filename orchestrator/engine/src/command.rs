//! Everything that can go out. Commands are not stored beside the records that caused them: they are read from them,
//! with the state the records led to, so that what leaves the process always stands in a committed row.

use baton_messages::control::CancelTask;
use baton_messages::{
    AttemptRef, ControlMessage, Direction, Event, Grant, GrantAnswer, InboxKey, InboxMessage, Task,
    TaskMessage, Timestamp, WorkerId,
};

use crate::child;
use crate::record::{AttemptKey, Record};
use crate::reservation::{self, Change};
use crate::state::{SagaState, Stage};
use crate::work_item::WorkItem;

/// Everything that can go out.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Publish a task; must arrive, or be known not to have.
    Dispatch(Box<TaskMessage>),
    /// Answer a claim; a lost one is asked for again.
    Grant(Box<ControlMessage>),
    /// Hint to stop; to one worker, or to all when nobody is known to hold the task.
    CancelTask {
        /// Whom.
        worker: Option<WorkerId>,
        /// What.
        message: Box<ControlMessage>,
    },
    /// Publish an event; must reach the broker, not a queue. Published again it is the same event, by its id.
    EmitEvent(Box<Event>),
    /// Tell another saga something, wherever it is driven; must reach its inbox. It says how things are: told again, it may say more.
    TellSaga(Box<InboxMessage>),
    /// Change what the store keeps of what this saga takes, in the same transaction.
    Reserve(Box<Change>),
    /// Keep the row of a work item, in the same transaction.
    OpenWorkItem(Box<WorkItem>),
    /// Keep what has become of it in that row, in the same transaction.
    ChangeWorkItem(Box<WorkItem>),
    /// Close that row, in the same transaction.
    CloseWorkItem {
        /// Its number.
        number: u32,
        /// By whom.
        by: String,
    },
}

/// Whether a record makes something leave the process; cheap, for recovery to pass over what does not.
#[must_use]
pub const fn publishes(record: &Record) -> bool {
    matches!(
        record,
        Record::Offered { .. }
            | Record::Resent { .. }
            | Record::Claimed { .. }
            | Record::Answered { .. }
            | Record::CancelSent { .. }
            | Record::Emitted { .. }
            | Record::ChildBegun { .. }
            | Record::ChildTold { .. }
            | Record::ParentHeard { .. }
            | Record::ParentTold
    )
}

/// What a record has another saga told, as things are now: also when it is told again, much later.
#[must_use]
pub fn word(state: &SagaState, record: &Record) -> Option<Box<InboxMessage>> {
    match record {
        Record::ChildBegun { step, .. } | Record::ChildTold { step, .. } => {
            child::wanted(state, step).map(InboxMessage::ChildWanted)
        }
        Record::ParentHeard { .. } | Record::ParentTold => {
            child::said(state).map(InboxMessage::ChildSaid)
        }
        _ => None,
    }
    .map(Box::new)
}

/// What the records, just folded into `state` at `at`, make leave the process. An offer that the same decision already closed is not sent.
#[must_use]
pub fn commands(state: &SagaState, inbox: &InboxKey, records: &[Record]) -> Vec<Command> {
    let all = records.iter().flat_map(|record| {
        let reserves = reservation::change(state, record);
        let reserves = reserves.map(|change| Command::Reserve(Box::new(change)));
        command(state, inbox, record).into_iter().chain(reserves)
    });
    all.collect()
}

fn command(state: &SagaState, inbox: &InboxKey, record: &Record) -> Option<Command> {
    match record {
        Record::Offered { of, dispatch, .. } | Record::Resent { of, dispatch, .. } => {
            let task = task_message(state, inbox, of, *dispatch)?;
            Some(Command::Dispatch(Box::new(task)))
        }
        Record::Claimed {
            of,
            run,
            worker,
            dispatch,
        } => Some(answer(
            state,
            of,
            *dispatch,
            *run,
            worker,
            granted(state, of),
        )),
        Record::Answered {
            of,
            run,
            worker,
            dispatch,
            refused,
        } => {
            let said =
                refused.map_or_else(|| granted(state, of), |why| GrantAnswer::Refused { why });
            Some(answer(state, of, *dispatch, *run, worker, said))
        }
        Record::CancelSent {
            of,
            dispatch,
            worker,
        } => Some(Command::CancelTask {
            worker: worker.clone(),
            message: Box::new(ControlMessage::Cancel(CancelTask {
                of: attempt_ref(state, of, *dispatch),
            })),
        }),
        Record::Emitted { event, .. } => Some(Command::EmitEvent(event.clone())),
        Record::ChildBegun { .. }
        | Record::ChildTold { .. }
        | Record::ParentHeard { .. }
        | Record::ParentTold => word(state, record).map(Command::TellSaga),
        Record::WorkItemOpened { item } => Some(Command::OpenWorkItem(item.clone())),
        Record::WorkItemClosed { number, by } => Some(Command::CloseWorkItem {
            number: *number,
            by: by.clone(),
        }),
        // One that the same decision has closed is gone from the state, and is closed as it was.
        Record::WorkItemEscalated { number, .. } => changed(state, *number),
        Record::WorkItemAssigned(change) => changed(state, change.number),
        Record::Started { .. }
        | Record::FannedOut { .. }
        | Record::ItemBegun { .. }
        | Record::Prepared { .. }
        | Record::Held { .. }
        | Record::Checkpointed { .. }
        | Record::Reported { .. }
        | Record::Closed { .. }
        | Record::Evidence { .. }
        | Record::Cleared { .. }
        | Record::Moved { .. }
        | Record::Forgiven { .. }
        | Record::NewRound { .. }
        | Record::Edited { .. }
        | Record::EditedReported { .. }
        | Record::Unwinding { .. }
        | Record::PivotReleased
        | Record::DeadlinePassed
        | Record::Applied { .. }
        | Record::Subscribed { .. }
        | Record::ChildHeard { .. }
        | Record::IsChild { .. }
        | Record::Reserving { .. }
        | Record::AdmissionAsked { .. }
        | Record::Admitted { .. }
        | Record::LetThrough { .. }
        | Record::LockBroken { .. }
        | Record::Upgraded { .. }
        | Record::Joined { .. }
        | Record::Paused
        | Record::Resumed
        | Record::StatusChanged { .. }
        | Record::Ended { .. }
        | Record::Noted { .. } => None,
    }
}

fn changed(state: &SagaState, number: u32) -> Option<Command> {
    let item = state.work_items.get(&number)?;
    Some(Command::ChangeWorkItem(Box::new(item.clone())))
}

/// The full name of an attempt's sending.
#[must_use]
pub fn attempt_ref(state: &SagaState, of: &AttemptKey, dispatch: u32) -> AttemptRef {
    AttemptRef {
        saga: state.id,
        step: of.step.step.clone(),
        item: of.step.item,
        direction: of.direction,
        round: of.round,
        attempt: of.attempt,
        dispatch,
    }
}

/// Whether the state still wants this sending to be out: offered, and neither claimed, closed nor sent anew.
#[must_use]
pub fn still_wanted(state: &SagaState, of: &AttemptRef) -> bool {
    state.at(&of.key()).is_some_and(|step| {
        step.round == of.round
            && step
                .attempt(of.direction, of.attempt)
                .is_some_and(|attempt| {
                    attempt.dispatch == of.dispatch && attempt.stage == Stage::Offered
                })
    })
}

/// The task message of an offered attempt, built from the state: the same attempt gives the same message, but for checkpoints learned since.
#[must_use]
pub fn task_message(
    state: &SagaState,
    inbox: &InboxKey,
    of: &AttemptKey,
    dispatch: u32,
) -> Option<TaskMessage> {
    let key = &of.step;
    let of = attempt_ref(state, of, dispatch);
    if !still_wanted(state, &of) {
        return None;
    }
    let step = state.at(key)?;
    let ready = step.prepared(of.direction)?;
    let attempt = step.attempt(of.direction, of.attempt)?;
    let facts = &ready.facts;
    Some(TaskMessage::Task(Task {
        idempotency_key: of.idempotency_key(),
        task_type: facts.task_type.clone(),
        pool: facts.pool.clone(),
        inbox: inbox.clone(),
        hold: facts.hold,
        not_after: not_after(attempt.offered_at, facts.offer_ms),
        ask_after: attempt.unasked.map(|unasked| unasked.ask_after),
        timeout_ms: facts.timeout_ms,
        lease_ms: facts.lease_ms,
        input: ready.input.clone(),
        act: (ready.own_task && of.direction == Direction::Undo).then_some(Direction::Do),
        output: match of.direction {
            Direction::Do => None,
            Direction::Undo | Direction::Probe => {
                state.output_of(key).cloned().filter(|_| !ready.own_task)
            }
        },
        // What another automation found before it acted means nothing to this one.
        before: step
            .before
            .as_ref()
            .filter(|_| !ready.own_task)
            .map(|(_, value)| value.clone()),
        progress: step.progress.clone().filter(|_| !ready.own_task),
        fences: state.fences(),
        of,
    }))
}

const fn not_after(offered_at: Timestamp, offer_ms: u64) -> Timestamp {
    offered_at.plus_ms(offer_ms)
}

fn granted(state: &SagaState, of: &AttemptKey) -> GrantAnswer {
    // As in the task: checkpoints belong to the automation that stored them.
    let step = state.at(&of.step).filter(|step| {
        step.prepared(of.direction)
            .is_none_or(|ready| !ready.own_task)
    });
    GrantAnswer::Granted {
        before: step
            .and_then(|s| s.before.as_ref())
            .map(|(_, value)| value.clone()),
        progress: step.and_then(|s| s.progress.clone()),
    }
}

fn answer(
    state: &SagaState,
    of: &AttemptKey,
    dispatch: u32,
    run: baton_messages::RunId,
    worker: &WorkerId,
    answer: GrantAnswer,
) -> Command {
    let of = attempt_ref(state, of, dispatch);
    Command::Grant(Box::new(ControlMessage::Grant(Grant {
        of,
        run,
        worker: worker.clone(),
        answer,
    })))
}
