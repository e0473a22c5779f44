//! Which dead letters: the same fields in a query and in a body, so that what was looked at is what is replayed, discarded or exported.

use baton_messages::{DeadReason, SagaId};
use baton_store::{DeadLetterFilter, LetterState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::auth::Caller;
use super::super::page::{Cursor, Label, Limit, Moment};
use super::super::problem::{Answer, Problem};

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LetterState")]
pub(crate) enum Stands {
    /// Nobody has done anything about it, or what was done did not help.
    Dead,
    /// It is on its way back to work.
    Replaying,
    /// It did its work after all.
    Resolved,
    /// Somebody said that it is not wanted.
    Discarded,
}

impl Stands {
    pub(super) const fn state(self) -> LetterState {
        match self {
            Self::Dead => LetterState::Dead,
            Self::Replaying => LetterState::Replaying,
            Self::Resolved => LetterState::Resolved,
            Self::Discarded => LetterState::Discarded,
        }
    }
}

impl From<LetterState> for Stands {
    fn from(state: LetterState) -> Self {
        match state {
            LetterState::Dead => Self::Dead,
            LetterState::Replaying => Self::Replaying,
            LetterState::Resolved => Self::Resolved,
            LetterState::Discarded => Self::Discarded,
        }
    }
}

macro_rules! letters_that {
    ($(#[$doc:meta])* $name:ident { $($(#[$more:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            /// Those that died of this.
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<DeadReason>,
            /// Those that came from this queue.
            #[serde(skip_serializing_if = "Option::is_none")]
            queue: Option<String>,
            /// Those of this kind of message: its `type`, such as `task@1`.
            #[serde(skip_serializing_if = "Option::is_none")]
            kind: Option<String>,
            /// Those that speak of this saga.
            #[serde(skip_serializing_if = "Option::is_none")]
            saga: Option<SagaId>,
            /// Those that died then or later, the last time.
            #[serde(skip_serializing_if = "Option::is_none")]
            since: Option<Moment>,
            /// Those that died then or earlier, the last time.
            #[serde(skip_serializing_if = "Option::is_none")]
            until: Option<Moment>,
            /// Those whose error or body has this in it, to the letter. Wants the role operator.
            #[serde(skip_serializing_if = "Option::is_none")]
            text: Option<String>,
            /// Those whose error has this in it, to the letter. Wants the role operator.
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
            /// Those of this group (see `/v1/dead-letters/groups`).
            #[serde(skip_serializing_if = "Option::is_none")]
            group: Option<String>,
            /// Those of a task for this pool.
            #[serde(skip_serializing_if = "Option::is_none")]
            pool: Option<String>,
            /// Those of this task type, such as `net.ping@1`.
            #[serde(skip_serializing_if = "Option::is_none")]
            task_type: Option<String>,
            /// Those that are events of this type.
            #[serde(skip_serializing_if = "Option::is_none")]
            event_type: Option<String>,
            /// Those that ask for this definition, or whose saga runs it.
            #[serde(skip_serializing_if = "Option::is_none")]
            definition: Option<String>,
            /// Those this worker sent, or put aside.
            #[serde(skip_serializing_if = "Option::is_none")]
            worker: Option<String>,
            /// Those that were sent back to work so often or oftener, over all the times they died.
            #[serde(skip_serializing_if = "Option::is_none")]
            replays: Option<u32>,
            /// Those whose saga has this label: `name=value`.
            #[serde(skip_serializing_if = "Option::is_none")]
            label: Option<Label>,
            /// Those that belong to this replay of many, or belonged to it last: what it left is dead.
            #[serde(skip_serializing_if = "Option::is_none")]
            operation: Option<Uuid>,
            $($(#[$more])* pub(super) $field: $kind,)*
        }

        impl $name {
            /// As the store is asked, for those that stand there.
            pub(crate) fn filter(&self, state: Option<LetterState>) -> DeadLetterFilter {
                DeadLetterFilter {
                    reason: self.reason,
                    queue: self.queue.clone(),
                    kind: self.kind.clone(),
                    saga: self.saga,
                    from: self.since.map(|Moment(at)| at),
                    until: self.until.map(|Moment(at)| at),
                    text: self.text.clone(),
                    state,
                    group: self.group.clone(),
                    changed_until: None,
                    error: self.error.clone(),
                    pool: self.pool.clone(),
                    task_type: self.task_type.clone(),
                    event_type: self.event_type.clone(),
                    definition: self.definition.clone(),
                    worker: self.worker.clone(),
                    replays: self.replays,
                    label: self.label.clone().map(|Label { name, value }| (name, value)),
                    operation: self.operation,
                    ids: Vec::new(),
                    oldest_first: false,
                }
            }
        }
    };
}

letters_that! {
    /// Which dead letters are listed.
    WhichLetters {
        /// Those that stand there.
        state: Option<Stands>,
        limit: Option<Limit>,
        cursor: Option<Cursor>,
    }
}

letters_that! {
    /// Which dead letters are exported.
    WhichExported {
        /// Those that stand there.
        state: Option<Stands>,
    }
}

letters_that! {
    /// Which dead letters: all that is given has to fit.
    #[derive(Serialize)]
    LetterFilter {}
}

impl From<&DeadLetterFilter> for LetterFilter {
    /// As it was asked for.
    fn from(kept: &DeadLetterFilter) -> Self {
        let label = kept.label.clone();
        Self {
            reason: kept.reason,
            queue: kept.queue.clone(),
            kind: kept.kind.clone(),
            saga: kept.saga,
            since: kept.from.map(Moment),
            until: kept.until.map(Moment),
            text: kept.text.clone(),
            error: kept.error.clone(),
            group: kept.group.clone(),
            pool: kept.pool.clone(),
            task_type: kept.task_type.clone(),
            event_type: kept.event_type.clone(),
            definition: kept.definition.clone(),
            worker: kept.worker.clone(),
            replays: kept.replays,
            label: label.map(|(name, value)| Label { name, value }),
            operation: kept.operation,
        }
    }
}

impl WhichLetters {
    /// Whoever is not shown all of errors and bodies may not guess it letter by letter either.
    pub(super) fn allowed(&self, caller: &Caller) -> Answer<()> {
        if (self.text.is_none() && self.error.is_none()) || super::may_read(caller) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "`text` and `error` look into what is covered for this token, which wants the role operator; look by `reason`, `group`, `task_type` or `label`",
        ))
    }
}
