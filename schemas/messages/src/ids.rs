//! Ids as newtypes, and the one place where each is derived. An id that is derived is the same whoever derives it,
//! which is what makes "the same event twice is the same saga" and "every try of the same effect has the same key" true.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::names::{Direction, StepId};

/// The namespace of every derived id: `UUIDv5` of the DNS namespace and `baton.ids`.
pub const NAMESPACE: Uuid = Uuid::from_u128(0xefaa_0653_2f55_511c_aa67_8cdb_9f58_cb6c);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One run of a saga definition.
    SagaId
);
uuid_id!(
    /// The AMQP `message_id` of one message: the same bytes published again carry the same id.
    MessageId
);
uuid_id!(
    /// Names one effect: the same for every attempt of one step (item, direction, round), so that a system which remembers keys acts once.
    IdempotencyKey
);
uuid_id!(
    /// One execution of one attempt inside one worker. A redelivered task runs under another run id.
    RunId
);
uuid_id!(
    /// Names one input that is no report (a start, an operator's action), minted by whoever first sent it.
    InputId
);

/// Feeds the parts of a derived id: the kind, then each part behind a unit separator, so that no two lists of parts run together.
/// That holds because no part contains one: names and numbers cannot, and an [`Event`](crate::Event) whose id or source has a
/// control character is refused when it is read.
pub(crate) fn derive(kind: &str, parts: &[&str]) -> Uuid {
    let mut text = String::with_capacity(128);
    text.push_str(kind);
    for part in parts {
        text.push('\u{1f}');
        text.push_str(part);
    }
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

impl SagaId {
    /// The saga that trigger number `trigger` of `definition` starts for the event (`source`, `event_id`): the pair that `CloudEvents` makes unique.
    #[must_use]
    pub fn of_event(definition: &str, trigger: u32, source: &str, event_id: &str) -> Self {
        Self(derive(
            "saga/event",
            &[definition, &trigger.to_string(), source, event_id],
        ))
    }

    /// The saga a schedule starts for its nominal time, in milliseconds UTC. A schedule is known by its name, its expression with its time zone
    /// (`0 2 * * * UTC`): wherever in `on:` it stands, the same time is the same saga.
    #[must_use]
    pub fn of_schedule(definition: &str, name: &str, nominal_ms: u64) -> Self {
        Self(derive(
            "saga/schedule-name",
            &[definition, name, &nominal_ms.to_string()],
        ))
    }

    /// The saga that versions up to 0.1 started for it, which knew a schedule by its place in `on:`. None is started under it any more; it is asked for
    /// before a time is fired, so that what an earlier version has started is not started again.
    #[must_use]
    pub fn of_schedule_at(definition: &str, trigger: u32, nominal_ms: u64) -> Self {
        Self(derive(
            "saga/schedule",
            &[definition, &trigger.to_string(), &nominal_ms.to_string()],
        ))
    }

    /// The saga a caller starts with an `Idempotency-Key`.
    #[must_use]
    pub fn of_request(caller: &str, key: &str) -> Self {
        Self(derive("saga/request", &[caller, key]))
    }

    /// The child saga of a step.
    #[must_use]
    pub fn of_child(parent: Self, step: &StepId, item: Option<u32>, round: u32) -> Self {
        Self(derive(
            "saga/child",
            &[
                &parent.to_string(),
                step.as_str(),
                &item_text(item),
                &round.to_string(),
            ],
        ))
    }
}

impl InputId {
    /// The arrival of an event (`source`, `event_id`) at a step that waits: the same however often it is found.
    #[must_use]
    pub fn of_arrival(saga: SagaId, step: &StepId, source: &str, event_id: &str) -> Self {
        Self(derive(
            "input/arrival",
            &[&saga.to_string(), step.as_str(), source, event_id],
        ))
    }

    /// The beginning of a child: the same however often it is wanted.
    #[must_use]
    pub fn of_child(child: SagaId) -> Self {
        Self(derive("input/child", &[&child.to_string()]))
    }

    /// An event that joins a saga by the key of trigger number `trigger`.
    #[must_use]
    pub fn of_joined(saga: SagaId, trigger: u32, source: &str, event_id: &str) -> Self {
        Self(derive(
            "input/joined",
            &[&saga.to_string(), &trigger.to_string(), source, event_id],
        ))
    }

    /// An event by which trigger number `trigger` asks a saga to cancel: the same however often it is asked.
    #[must_use]
    pub fn of_cancel(saga: SagaId, trigger: u32, source: &str, event_id: &str) -> Self {
        Self(derive(
            "input/cancel",
            &[&saga.to_string(), &trigger.to_string(), source, event_id],
        ))
    }
}

impl MessageId {
    /// The id of a task message: one for each dispatch of an attempt, so that publishing it again is recognised and dispatching it anew is not.
    #[must_use]
    pub fn of_task(
        saga: SagaId,
        step: &StepId,
        item: Option<u32>,
        direction: Direction,
        round: u32,
        attempt: u32,
        dispatch: u32,
    ) -> Self {
        // A hot path: the name is written once, without a String for each part.
        use std::fmt::Write as _;
        let mut text = String::with_capacity(96);
        let _ = write!(
            text,
            "task\u{1f}{saga}\u{1f}{step}\u{1f}{}\u{1f}{direction}\u{1f}{round}\u{1f}{attempt}\u{1f}{dispatch}",
            item_text(item)
        );
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }

    /// The id of an event a step emits, which is also the event's own id: one for each round of the step, so that published again it is the same event.
    #[must_use]
    pub fn of_event(saga: SagaId, step: &StepId, item: Option<u32>, round: u32) -> Self {
        Self(derive(
            "event",
            &[
                &saga.to_string(),
                step.as_str(),
                &item_text(item),
                &round.to_string(),
            ],
        ))
    }

    /// The id of what a parent and a child tell each other: which way (`wanted`, `said`), which child, and the number of the word.
    #[must_use]
    pub fn of_child(way: &str, child: SagaId, number: u64) -> Self {
        Self(derive(
            "child",
            &[way, &child.to_string(), &number.to_string()],
        ))
    }

    /// The id of a report: its kind without version (`started`, `checkpoint`, `finished`), by which run, and its number where a run sends
    /// several of the kind.
    #[must_use]
    pub fn of_report(kind: &str, run: RunId, number: u32) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        let _ = write!(text, "report\u{1f}{kind}\u{1f}{run}\u{1f}{number}");
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }
}

impl IdempotencyKey {
    /// The key of one effect: saga, step, item, direction and round, without the attempt.
    #[must_use]
    pub fn of(
        saga: SagaId,
        step: &StepId,
        item: Option<u32>,
        direction: Direction,
        round: u32,
    ) -> Self {
        // As above: once for every task that is sent.
        use std::fmt::Write as _;
        let mut text = String::with_capacity(96);
        let _ = write!(
            text,
            "effect\u{1f}{saga}\u{1f}{step}\u{1f}{}\u{1f}{direction}\u{1f}{round}",
            item_text(item)
        );
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }
}

/// An item's number as it enters a derived id: empty for a step that is no loop.
fn item_text(item: Option<u32>) -> String {
    item.map_or_else(String::new, |n| n.to_string())
}
