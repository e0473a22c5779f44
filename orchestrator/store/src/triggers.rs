//! What is kept for triggers beside the driver's own tables: events taken in with what they cause, keys, schedules, bindings.
//!
//! Guarantee: an event is there once, by source and id, with the effects that were planned when it first came, whatever triggers there are
//! when it comes again; a key belongs to one saga at a time, decided in the transaction that keeps the event. Each call is one
//! transaction, whole or absent.

use std::future::Future;

use baton_driver::{StoreError, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{Event, SagaId, StepId, Timestamp};
use serde::{Deserialize, Serialize};

/// An event to be taken in, with what it is to cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// It.
    pub event: Event,
    /// When it was received.
    pub at: Timestamp,
    /// What the triggers say to it.
    pub planned: Vec<Planned>,
    /// Whether some step may wait for it: then it is not done before those were asked for.
    pub awaited: bool,
    /// Triggers that refused it when it first came, and look at it again: where it is kept, only what they say is new.
    pub again: Vec<TriggerRef>,
}

impl Arrival {
    /// The effects of an event that is kept, once those that refused it have looked at it again; none where none is to. `resolve`: what comes of a plan.
    pub(crate) fn looked_again<E>(
        &self,
        kept: &[Effect],
        mut resolve: impl FnMut(&Planned) -> Result<Effect, E>,
    ) -> Result<Option<Vec<Effect>>, E> {
        let refused = |effect: &Effect| match effect {
            Effect::Refused { of, .. } if self.again.iter().any(|one| one.is_place_of(of)) => {
                Some(of.clone())
            }
            _ => None,
        };
        if !kept.iter().any(|effect| refused(effect).is_some()) {
            return Ok(None);
        }
        let mut effects = Vec::with_capacity(kept.len());
        for effect in kept {
            let Some(of) = refused(effect) else {
                effects.push(effect.clone());
                continue;
            };
            let mut planned = self.planned.iter();
            // one that wants nothing of it any more leaves nothing
            if let Some(planned) = planned.find(|planned| planned.of().is_place_of(&of)) {
                effects.push(resolve(planned)?);
            }
        }
        Ok(Some(effects))
    }
}

impl Planned {
    /// Which trigger says it.
    #[must_use]
    pub const fn of(&self) -> &TriggerRef {
        match self {
            Self::Start { of, .. } | Self::Cancel { of, .. } | Self::Refused { of, .. } => of,
        }
    }
}

impl TriggerRef {
    /// Whether it is the trigger in the same place, whatever the version.
    #[must_use]
    pub fn is_place_of(&self, other: &Self) -> bool {
        self.definition == other.definition && self.trigger == other.trigger
    }
}

/// What a trigger says to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// A saga is to be started; when its key belongs to another one, the event joins that.
    Start {
        /// Which trigger.
        of: TriggerRef,
        /// The saga.
        saga: SagaId,
        /// The key it claims.
        key: Option<Claim>,
    },
    /// The saga that was started with a key last is to be asked to cancel.
    Cancel {
        /// Which trigger.
        of: TriggerRef,
        /// The key, within its definition.
        key: String,
        /// Why, in the words of the trigger's author.
        reason: String,
    },
    /// The trigger cannot be used on this event.
    Refused {
        /// Which trigger.
        of: TriggerRef,
        /// A sentence.
        error: String,
    },
}

/// One trigger of one version of a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerRef {
    /// The definition.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// The place of the trigger in its list, from 0.
    pub trigger: u32,
}

/// A key to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// It, within its definition.
    pub key: String,
    /// Until when it is held at least, even if its saga ends before.
    pub until: Timestamp,
}

/// What an event causes, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// It starts a saga.
    Started {
        /// By which trigger.
        of: TriggerRef,
        /// The saga.
        saga: SagaId,
        /// The key that saga holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// It joins a saga that holds its key.
    Joined {
        /// By which trigger.
        of: TriggerRef,
        /// The saga.
        saga: SagaId,
        /// The key.
        key: String,
    },
    /// It asks the saga that was started with its key last to cancel: as by an operator, so that from the pivot on only a person is told.
    AskedToCancel {
        /// By which trigger.
        of: TriggerRef,
        /// The saga.
        saga: SagaId,
        /// The key.
        key: String,
        /// Why, as the trigger said when the event came.
        reason: String,
    },
    /// It was to cancel a saga, and there is none that could be: nothing was done.
    NothingToCancel {
        /// By which trigger.
        of: TriggerRef,
        /// The saga that was started with the key last, where one is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saga: Option<SagaId>,
        /// The key.
        key: String,
        /// Why there is none.
        why: String,
    },
    /// A trigger could not be used on it; a dead letter says the same.
    Refused {
        /// Which.
        of: TriggerRef,
        /// Why.
        error: String,
    },
    /// A saga that waited for it goes on.
    Woke {
        /// The saga.
        saga: SagaId,
        /// The step that waited.
        step: StepId,
    },
}

impl Effect {
    /// What comes of a trigger that cancels. `holder`: the saga that was started with the key last, and whether it goes on; none of that: it is about
    /// to be started.
    pub(crate) fn of_cancel(
        of: TriggerRef,
        key: String,
        reason: String,
        holder: Option<(SagaId, Option<bool>)>,
    ) -> Self {
        let (saga, why) = match holder {
            Some((saga, Some(true) | None)) => {
                return Self::AskedToCancel {
                    of,
                    saga,
                    key,
                    reason,
                };
            }
            Some((saga, Some(false))) => (Some(saga), "the saga that has this key has ended"),
            None => (None, "no saga has this key"),
        };
        Self::NothingToCancel {
            of,
            saga,
            key,
            why: why.to_owned(),
        }
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Its place among all that were taken in.
    pub seq: u64,
    /// It.
    pub event: Event,
    /// When it was received.
    pub received_at: Timestamp,
    /// Whether all it causes is committed.
    pub done: bool,
    /// What it causes.
    pub effects: Vec<Effect>,
}

/// What became of an event's effects.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The event's place.
    pub seq: u64,
    /// All its effects, as they came to be.
    pub effects: Vec<Effect>,
    /// Keys of sagas that could not be started after all.
    pub released: Vec<(String, String, SagaId)>,
}

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The definition.
    pub definition: String,
    /// What it goes by within its definition: its expression and zone. Another place in the list leaves it what it is.
    pub name: String,
    /// Its place in the list, when that was last looked at.
    pub trigger: u32,
    /// Nominal times up to here are dealt with: fired, skipped, or missed for good.
    pub after: Timestamp,
    /// The nominal time of the last firing.
    pub last_at: Option<Timestamp>,
    /// The saga it started.
    pub last_saga: Option<SagaId>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// How many nominal times were left out.
    pub skipped: u32,
    /// The last of them.
    pub skipped_at: Option<Timestamp>,
    /// Why that was.
    pub skipped_why: Option<String>,
}

/// The tables of triggers. Clones are the same tables; calls are done one after another, with the driver's commits between them.
pub trait Triggers: Clone + Send + Sync + 'static {
    /// Takes events in, in one transaction. One that is there already keeps its effects; the answer has them, in the order given.
    ///
    /// # Errors
    /// Nothing was written, or nobody knows: taken in again, it is the same.
    fn take_in(
        &self,
        arrivals: Vec<Arrival>,
    ) -> impl Future<Output = Result<Vec<EventRow>, StoreError>> + Send;

    /// All that these events cause is committed.
    ///
    /// # Errors
    /// As [`Triggers::take_in`].
    fn settle(&self, settled: Vec<Settled>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Events whose effects may not all be committed, after that place, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn undone(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>, StoreError>> + Send;

    /// Kept events of a type that were received then or later, after that place, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn kept(
        &self,
        pattern: EventPattern,
        from: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>, StoreError>> + Send;

    /// Steps that wait for events of this type, by saga and step, after that one. Asked once an event is taken in: every wait that was committed before is among them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn subscribers(
        &self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SubscriptionRow>, StoreError>> + Send;

    /// Takes out events that are done and were received before then, and keys that nothing holds any more; at most so many of each. True
    /// when there may be more.
    ///
    /// # Errors
    /// When it could not be written.
    fn purge(
        &self,
        events_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Every schedule's row.
    ///
    /// # Errors
    /// When they cannot be read.
    fn schedules(&self) -> impl Future<Output = Result<Vec<ScheduleRow>, StoreError>> + Send;

    /// Keeps a schedule's row: insert or replace.
    ///
    /// # Errors
    /// When it could not be written.
    fn put_schedule(&self, row: ScheduleRow)
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes out the row of a schedule that is no more.
    ///
    /// # Errors
    /// When it could not be written.
    fn remove_schedule(
        &self,
        definition: String,
        name: String,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What the queue may be bound to.
    ///
    /// # Errors
    /// When it cannot be read.
    fn bindings(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Notes that the queue may be bound to this (true), or no longer is (false).
    ///
    /// # Errors
    /// When it could not be written.
    fn note_binding(
        &self,
        pattern: String,
        bound: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether a saga has not ended; none when there is no such saga.
    ///
    /// # Errors
    /// When it cannot be read.
    fn is_active(
        &self,
        saga: SagaId,
    ) -> impl Future<Output = Result<Option<bool>, StoreError>> + Send;
}
