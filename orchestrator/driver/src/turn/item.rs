//! What a turn is made of: the things to decide, and what each adds to the commit.

use std::collections::BTreeMap;

use baton_engine::command::attempt_ref;
use baton_engine::record::AttemptKey;
use baton_engine::state::{Listens, SagaState, Stage};
use baton_engine::{Command, Entry, Input, Record};
use baton_messages::{AttemptRef, RunId, SagaId, StepId, TaskType, Timestamp};

use crate::batch::{
    DeadLetterRow, ReservationChange, SagaRow, SubscriptionChange, SubscriptionRow, UnsentRow,
    WorkItemRow,
};
use crate::cache::listening;
use crate::work::{Answer, Token};

/// Where a piece of a turn comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The caller wants an answer.
    Caller(Token),
    /// The driver's own; it takes care of a command of a row, or of an unsent sending.
    Own {
        settles: Option<u64>,
        unsent: Option<AttemptRef>,
    },
}

/// One thing to decide.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) origin: Origin,
    pub(super) saga: Option<SagaId>,
    pub(super) input: Option<Box<Input>>,
    pub(super) letter: Option<Box<DeadLetterRow>>,
}

/// What one decided item adds to the commit.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) row: Option<(SagaId, u64, Entry)>,
    pub(super) commands: Vec<Command>,
    pub(super) saga_row: Option<SagaRow>,
    pub(super) work_items: Vec<WorkItemRow>,
    pub(super) unsent_add: Option<UnsentRow>,
    pub(super) unsent_remove: Option<AttemptRef>,
    pub(super) unserved_add: Vec<TaskType>,
    pub(super) unserved_remove: Vec<TaskType>,
    pub(super) subscriptions: Vec<SubscriptionChange>,
    pub(super) reservations: Vec<ReservationChange>,
    pub(super) letter: Option<Box<DeadLetterRow>>,
    pub(super) claimed: Vec<Claim>,
    pub(super) closed: Vec<RunId>,
    pub(super) settles: Option<u64>,
    pub(super) answer: Option<Answer>,
}

/// An item could not be decided.
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) saga: SagaId,
    pub(super) why: String,
}

impl Built {
    pub(super) fn take_work_items(&mut self, saga: SagaId, at: Timestamp) {
        self.work_items = self
            .commands
            .iter()
            .filter_map(|command| match command {
                Command::OpenWorkItem(item) => Some(WorkItemRow::Open {
                    saga,
                    item: item.clone(),
                }),
                Command::ChangeWorkItem(item) => Some(WorkItemRow::Change {
                    saga,
                    item: item.clone(),
                }),
                Command::CloseWorkItem { number, by } => Some(WorkItemRow::Close {
                    saga,
                    number: *number,
                    by: by.clone(),
                    at,
                }),
                Command::Dispatch(_)
                | Command::Grant(_)
                | Command::CancelTask { .. }
                | Command::EmitEvent(_)
                | Command::TellSaga(_)
                | Command::Reserve(_) => None,
            })
            .collect();
    }

    /// What becomes of what the saga takes before its first step.
    pub(super) fn take_reservations(&mut self, saga: SagaId, at: Timestamp) {
        let changes = self.commands.iter().filter_map(|command| match command {
            Command::Reserve(change) => Some(ReservationChange {
                saga,
                at,
                change: (**change).clone(),
            }),
            _ => None,
        });
        self.reservations = changes.collect();
    }

    /// What the saga's steps wait for now, and no more: taken from the state, since many a record ends a wait.
    pub(super) fn take_subscriptions(
        &mut self,
        state: &SagaState,
        known: &mut BTreeMap<StepId, Listens>,
    ) {
        let (saga, now) = (state.id, listening(state));
        if now == *known {
            return;
        }
        for (step, _) in known
            .iter()
            .filter(|(step, was)| now.get(*step) != Some(*was))
        {
            let gone = SubscriptionChange::Remove(saga, step.clone());
            self.subscriptions.push(gone);
        }
        for (step, is) in now
            .iter()
            .filter(|(step, is)| known.get(*step) != Some(*is))
        {
            let new = SubscriptionChange::Add(SubscriptionRow {
                saga,
                step: step.clone(),
                event: is.event.clone(),
                since: is.since,
            });
            self.subscriptions.push(new);
        }
        *known = now;
    }

    /// Claims begin a lease; a claimed attempt that is over ends it.
    pub(super) fn take_leases(&mut self, state: &SagaState, records: &[Record]) {
        for record in records {
            match record {
                Record::Claimed {
                    of, run, dispatch, ..
                } => {
                    self.claimed.push(Claim {
                        of: attempt_ref(state, of, *dispatch),
                        run: *run,
                        span: span(state, of),
                    });
                }
                Record::Reported { run, .. } | Record::Evidence { run, .. } => {
                    self.closed.push(*run)
                }
                _ => {}
            }
        }
        let still = |of: &AttemptKey| {
            let attempt = state
                .at(&of.step)
                .and_then(|step| step.attempt(of.direction, of.attempt));
            attempt.is_some_and(|attempt| matches!(attempt.stage, Stage::Claimed { .. }))
        };
        self.claimed.retain(|Claim { of, .. }| {
            still(&AttemptKey {
                step: of.key(),
                direction: of.direction,
                round: of.round,
                attempt: of.attempt,
            })
        });
    }
}

/// How long a run's lease is, and how long it may act.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) lease_ms: u64,
    pub(crate) timeout_ms: u64,
}

/// A run that was granted.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) of: AttemptRef,
    pub(super) run: RunId,
    pub(super) span: Span,
}

pub(crate) fn span(state: &SagaState, of: &AttemptKey) -> Span {
    let ready = state
        .at(&of.step)
        .and_then(|step| step.prepared(of.direction));
    ready.map_or_else(Span::default, |ready| Span {
        lease_ms: ready.facts.lease_ms,
        timeout_ms: ready.facts.timeout_ms,
    })
}
