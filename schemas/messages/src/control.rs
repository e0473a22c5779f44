//! What workers are told on `baton.control`: the answer to a claim, and hints. A lost one does no harm: a worker that hears
//! no answer asks again, and the truth (paused, cancelled) is in the store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::RunId;
use crate::inbox::AttemptRef;
use crate::names::WorkerId;
use crate::present::present;

/// What travels on `baton.control`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ControlMessage {
    /// The answer to `started`.
    #[serde(rename = "grant@1")]
    Grant(Grant),
    /// Stop this run if it can be stopped; it still reports how it ended.
    #[serde(rename = "cancel@1")]
    Cancel(CancelTask),
    /// Finish what runs, take nothing new.
    #[serde(rename = "drain@1")]
    Drain(Drain),
    /// An orchestrator has come up and asks every worker to announce itself.
    #[serde(rename = "roll-call@1")]
    RollCall(RollCall),
}

/// The answer to one claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The attempt.
    pub of: AttemptRef,
    /// The run that asked.
    pub run: RunId,
    /// Whom it is for.
    pub worker: WorkerId,
    /// Act, or do not.
    pub answer: GrantAnswer,
}

/// Act, or do not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GrantAnswer {
    /// The claim is committed: act, under a lease, knowing these checkpoints.
    Granted {
        /// The before-image of the step, if any attempt stored one.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "present"
        )]
        before: Option<Value>,
        /// The last progress of any attempt.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "present"
        )]
        progress: Option<Value>,
    },
    /// Do not act.
    Refused {
        /// Why.
        why: RefusedWhy,
    },
}

/// Why a claim was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedWhy {
    /// Another run of the same attempt was first.
    AnotherRun,
    /// The saga has moved on: this attempt is no longer wanted.
    NoLongerWanted,
    /// No such saga or step.
    Unknown,
}

/// A hint to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelTask {
    /// The attempt.
    pub of: AttemptRef,
}

/// A hint to take nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The worker meant.
    pub worker: WorkerId,
    /// Who asked.
    pub by: String,
}

/// An orchestrator asks who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollCall {
    /// Who asks.
    pub orchestrator: String,
}

impl ControlMessage {
    /// The AMQP `type` property of this message: kind and version.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant@1",
            Self::Cancel(_) => "cancel@1",
            Self::Drain(_) => "drain@1",
            Self::RollCall(_) => "roll-call@1",
        }
    }
}
