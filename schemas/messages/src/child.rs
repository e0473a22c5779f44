//! What a saga and the child of one of its steps tell each other. Both say how things are meant to be, or are, and never only what has changed: a message
//! that comes twice, late, or in another order is recognised by its number, and one that was lost is made good by the next.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inbox::Failure;
use crate::names::StepId;
use crate::present::present;
use crate::step_key::StepKey;
use crate::{MessageId, SagaId};

/// The largest output of a child, in bytes of JSON: it travels to the parent in one message.
pub const CHILD_OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// The step a child belongs to.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct ParentRef {
    /// The parent.
    pub saga: SagaId,
    /// Its step.
    pub step: StepId,
    /// The item, of a step with `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Which doing of the step, from 1: each has a child of its own.
    pub round: u32,
}

impl ParentRef {
    /// The step, or the item of it.
    #[must_use]
    pub fn key(&self) -> StepKey {
        StepKey {
            step: self.step.clone(),
            item: self.item,
        }
    }

    /// The child of this doing of the step.
    #[must_use]
    pub fn child(&self) -> SagaId {
        SagaId::of_child(self.saga, &self.step, self.item, self.round)
    }
}

/// What a parent wants of a child. It goes from the first to the second, and never back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// That it is done.
    Done,
    /// That nothing of it is left: it is taken back, or never begins.
    Undone,
}

/// A parent says what it wants of a child: to begin with, when that changes, and again when it has long heard nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildWanted {
    /// The child; derived from its parent.
    pub child: SagaId,
    /// Whose it is.
    pub parent: ParentRef,
    /// The saga at the top, with which all below it compensates.
    pub root: SagaId,
    /// How deep it lies: a child of the root is 1.
    pub depth: u32,
    /// Counts what this parent says to this child, from 1: an older word changes nothing.
    pub number: u32,
    /// The definition it runs.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// Its input.
    pub input: Value,
    /// What is wanted.
    pub want: Wanted,
    /// Whether the parent is paused: then the child is as well.
    pub paused: bool,
    /// Why, for people.
    pub why: String,
    /// The numbers of the locks of the sagas above it, under which it acts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fences: BTreeMap<String, u64>,
}

impl ChildWanted {
    /// The id of its message.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId::of_child("wanted", self.child, u64::from(self.number))
    }
}

/// A child says how it stands: when it has ended, waits for a person or no longer, and when it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildSaid {
    /// Whom it tells.
    pub parent: ParentRef,
    /// The child.
    pub child: SagaId,
    /// How many records the child has: an older word changes nothing.
    pub seq: u64,
    /// How it stands.
    pub standing: Standing,
}

impl ChildSaid {
    /// The id of its message.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId::of_child("said", self.child, self.seq)
    }
}

/// How a child stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standing {
    /// It goes on.
    UnderWay {
        /// Whether it takes back what it did.
        compensating: bool,
        /// What it asks a person, when only a person can move it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parked: Option<String>,
        /// Whether it is past its pivot, and only goes forward.
        only_forward: bool,
    },
    /// It is done.
    Completed {
        /// What it returns; left out where it is too large.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "present"
        )]
        output: Option<Value>,
        /// How large what is left out is, in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        too_large: Option<u64>,
        /// Why it returns nothing although its definition says what: what that could not be computed for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        no_output: Option<String>,
        /// Whether it was past its pivot: it cannot be taken back.
        only_forward: bool,
    },
    /// Nothing of it is left.
    Compensated {
        /// Why, unless its parent wanted it so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// An operator gave it up; what it left, nobody knows.
    Abandoned,
}
