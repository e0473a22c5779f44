//! The triggers of a definition, `on:`, read and checked. What they find in an event or a nominal time is decided in [`crate::trigger`].

use super::{CatchUp, EventPattern, Overlap, Schedule};
use crate::expr::{Expr, Template};

/// The most triggers of one definition: each event of a type many name is held against each of them.
pub const TRIGGERS_MAX: usize = 32;

/// The longest reason of a trigger that cancels: as long as an operator's, since it stands where that would.
pub const CANCEL_REASON_CHARS_MAX: usize = 2_000;

/// A rule by which sagas of a definition start by themselves, or are cancelled. Its index in [`super::Definition::triggers`] is a part of the ids of the
/// sagas it starts, so that the same cause is always the same saga.
#[derive(Debug, Clone)]
pub enum Trigger {
    /// `event:`, what somebody published.
    Event {
        /// Of which type.
        event: EventPattern,
        /// What follows.
        rule: EventRule,
    },
    /// `schedule:`, a time.
    Schedule(ScheduleRule),
    /// `hook:`, a signed request, which becomes an event.
    Hook {
        /// The name in its path, `/v1/hooks/<name>`.
        name: String,
        /// The name of the secret in the orchestrator's configuration that signs it, `[hooks.<secret>]`.
        secret: String,
        /// What follows.
        rule: EventRule,
    },
}

impl Trigger {
    /// The rule for events, unless this is a schedule.
    #[must_use]
    pub const fn event_rule(&self) -> Option<&EventRule> {
        match self {
            Self::Event { rule, .. } | Self::Hook { rule, .. } => Some(rule),
            Self::Schedule(_) => None,
        }
    }

    /// Whether it looks at events of this type and source.
    #[must_use]
    pub fn looks_at(&self, kind: &str, source: &str) -> bool {
        match self {
            Self::Event { event, .. } => event.fits(kind),
            Self::Hook { name, .. } => kind == hook_type(name) && source == hook_source(name),
            Self::Schedule(_) => false,
        }
    }

    /// The events it looks at; none for a schedule.
    #[must_use]
    pub fn pattern(&self) -> Option<EventPattern> {
        match self {
            Self::Event { event, .. } => Some(event.clone()),
            // The name of a hook has no character that a type may not have.
            Self::Hook { name, .. } => EventPattern::new(&hook_type(name)).ok(),
            Self::Schedule(_) => None,
        }
    }

    /// The key that binds a queue to `baton.events` so that it gets what this trigger needs; none for a schedule.
    #[must_use]
    pub fn binding_key(&self) -> Option<String> {
        match self {
            Self::Event { event, .. } => Some(event.binding_key()),
            Self::Hook { name, .. } => Some(hook_type(name)),
            Self::Schedule(_) => None,
        }
    }
}

/// The type of the event that a request to a hook becomes.
#[must_use]
pub fn hook_type(name: &str) -> String {
    format!("hook.{name}")
}

/// Its source.
#[must_use]
pub fn hook_source(name: &str) -> String {
    format!("/v1/hooks/{name}")
}

/// What an event leads to.
#[derive(Debug, Clone)]
pub struct EventRule {
    /// `when`: only events for which this is true.
    pub when: Option<Expr>,
    /// `key`: while a saga with this key runs, and for the window after its start, further hits join it; what cancels finds by it whom to.
    pub key: Option<Template>,
    /// What is done then.
    pub then: OnHit,
}

/// What a trigger does that finds something.
#[derive(Debug, Clone)]
pub enum OnHit {
    /// It starts a saga.
    Start {
        /// `input` of the saga; the event's data when it is left out.
        input: Template,
        /// `window`, in milliseconds; zero when it is left out.
        window_ms: u64,
    },
    /// `cancel`: the saga that was started with the key last is asked to cancel, as by an operator.
    Cancel {
        /// Why, as it is written.
        reason: String,
    },
}

/// What a schedule leads to.
#[derive(Debug, Clone)]
pub struct ScheduleRule {
    /// When.
    pub schedule: Schedule,
    /// `input` of the saga; an empty object when it is left out.
    pub input: Template,
    /// What is done about missed times.
    pub catch_up: CatchUp,
    /// What happens when the saga of the firing before runs.
    pub overlap: Overlap,
}

impl ScheduleRule {
    /// The nominal times to make up for, oldest first, when it last fired at `after` and nobody ran until now, `until`.
    #[must_use]
    pub fn missed(
        &self,
        after: baton_messages::Timestamp,
        until: baton_messages::Timestamp,
    ) -> Vec<baton_messages::Timestamp> {
        let most = match self.catch_up {
            CatchUp::None => return Vec::new(),
            CatchUp::Last => 1,
            CatchUp::All => super::CATCH_UP_MAX,
        };
        self.schedule.between(after, until, most)
    }
}
