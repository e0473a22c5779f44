//! What an operator may do to a saga, a step or a work item. Each action has a reason and an id: sent again it is the same action.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_engine::Input;
use baton_engine::Verdict;
use baton_engine::input::{Approval, Operator as By, Resolution, Seen};
use baton_messages::{InputId, SagaId, StepKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Caller, Operator, Viewer};
use super::extract::{Body, Path};
use super::problem::{Answer, Problem};
use super::sagas::{OneSaga, saga_id};
use super::{Api, Shared};

/// Longest reason that is kept.
const REASON_CHARS_MAX: usize = 2_000;

/// An action on a saga, a step or a work item.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// What the caller saw of the step: the action is refused when it has moved since.
    seen: Option<Seen>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// How a step is settled by hand.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// What it has come to.
    r#as: ComeTo,
    /// Of `done`: what later steps read; null when absent.
    output: Option<Value>,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// What the caller saw of the step: the action is refused when it has moved since.
    seen: Option<Seen>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// What a step has come to, by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ComeTo {
    /// It is done.
    Done,
    /// It is undone, or never happened.
    Undone,
}

/// An action that is committed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    /// The action's id.
    id: InputId,
    saga: SagaId,
    /// Whether it was there already.
    duplicate: bool,
}

/// The step a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneStep {
    /// The saga.
    #[schemars(with = "Uuid")]
    id: String,
    /// The step, or one item of it: `restart`, `restart[3]`.
    #[schemars(with = "StepKey")]
    step: String,
}

impl OneStep {
    pub(super) fn read(&self) -> Answer<(SagaId, StepKey)> {
        let step =
            StepKey::new(&self.step).map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok((saga_id(&self.id)?, step))
    }
}

/// The work item a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneItem {
    /// The saga.
    #[schemars(with = "Uuid")]
    pub(super) id: String,
    /// Its number within the saga.
    pub(super) number: u32,
}

impl Act {
    pub(super) fn operator(self, caller: &Caller) -> Answer<By> {
        operator(caller, &self.reason, self.id, self.seen, self.by.as_deref())
    }
}

pub(super) fn operator(
    caller: &Caller,
    reason: &str,
    id: Option<InputId>,
    seen: Option<Seen>,
    by: Option<&str>,
) -> Answer<By> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "`reason` has to be 1 to {REASON_CHARS_MAX} characters"
        )));
    }
    Ok(By {
        id: id.unwrap_or_else(|| InputId(Uuid::now_v7())),
        by: caller.by(by),
        role: caller.token.role,
        reason: reason.to_owned(),
        seen,
    })
}

macro_rules! on_saga {
    ($($(#[$doc:meta])* $name:ident => $input:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            State(api): Shared,
            Operator(caller): Operator,
            Path(of): Path<OneSaga>,
            Body(act): Body<Act>,
        ) -> Answer<Json<Done>> {
            let saga = saga_id(&of.id)?;
            done(&api, saga, act.operator(&caller)?, Input::$input).await
        }
    )*};
}

on_saga! {
    /// Takes back what was done.
    cancel => Cancel,
    /// Starts nothing new.
    pause => Pause,
    /// Goes on.
    resume => Resume,
    /// Gives up.
    abandon => Abandon,
}

macro_rules! on_step {
    ($($(#[$doc:meta])* $name:ident => $input:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            State(api): Shared,
            Operator(caller): Operator,
            Path(of): Path<OneStep>,
            Body(act): Body<Act>,
        ) -> Answer<Json<Done>> {
            let (saga, step) = of.read()?;
            done(&api, saga, act.operator(&caller)?, |operator| Input::$input { step, operator }).await
        }
    )*};
}

on_step! {
    /// Tries a parked step, or a parked undo, again.
    retry => RetryStep,
    /// Goes on without a step.
    skip => SkipStep,
}

/// Settles a step by hand.
pub(crate) async fn resolve(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneStep>,
    Body(asked): Body<Resolve>,
) -> Answer<Json<Done>> {
    let (saga, step) = of.read()?;
    let resolution = match (asked.r#as, asked.output) {
        (ComeTo::Done, output) => Resolution::Done {
            output: output.unwrap_or(Value::Null),
        },
        (ComeTo::Undone, None) => Resolution::Undone,
        (ComeTo::Undone, Some(_)) => {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-request",
                "The request cannot be read",
                "what is undone has no `output`",
            ));
        }
    };
    let by = asked.by.as_deref();
    let operator = operator(&caller, &asked.reason, asked.id, asked.seen, by)?;
    done(&api, saga, operator, |operator| Input::ResolveStep {
        step,
        resolution,
        operator,
    })
    .await
}

/// What a person says to a step that asks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Say {
    /// For whoever reads it later.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    note: String,
    /// Minted by the caller: the same answer sent again carries the same id.
    id: Option<InputId>,
    /// What the caller saw of the step: the answer is refused when it has moved since.
    seen: Option<Seen>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// Says yes to a step that asks.
pub(crate) async fn approve(
    State(api): Shared,
    Viewer(caller): Viewer,
    Path(of): Path<OneStep>,
    Body(say): Body<Say>,
) -> Answer<Json<Done>> {
    decide(&api, &caller, &of, say, Approval::Approve).await
}

/// Says no to a step that asks.
pub(crate) async fn reject(
    State(api): Shared,
    Viewer(caller): Viewer,
    Path(of): Path<OneStep>,
    Body(say): Body<Say>,
) -> Answer<Json<Done>> {
    decide(&api, &caller, &of, say, Approval::Reject).await
}

/// Who may is said by the step itself, and decided with it.
async fn decide(
    api: &Api,
    caller: &Caller,
    of: &OneStep,
    say: Say,
    decision: Approval,
) -> Answer<Json<Done>> {
    let (saga, step) = of.read()?;
    let note = say.note.trim();
    if note.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "`note` has at most {REASON_CHARS_MAX} characters"
        )));
    }
    let operator = By {
        id: say.id.unwrap_or_else(|| InputId(Uuid::now_v7())),
        by: caller.by(say.by.as_deref()),
        role: caller.token.role,
        reason: note.to_owned(),
        seen: say.seen,
    };
    done(api, saga, operator, |operator| Input::Approve {
        step,
        decision,
        operator,
    })
    .await
}

/// A work item that only informs was seen.
pub(crate) async fn acknowledge(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneItem>,
    Body(act): Body<Act>,
) -> Answer<Json<Done>> {
    let saga = saga_id(&of.id)?;
    let number = of.number;
    done(&api, saga, act.operator(&caller)?, |operator| {
        Input::Acknowledge { number, operator }
    })
    .await
}

pub(super) async fn done(
    api: &Api,
    saga: SagaId,
    operator: By,
    make: impl FnOnce(By) -> Input,
) -> Answer<Json<Done>> {
    let id = operator.id;
    let verdict = api.decided(saga, make(operator), id).await?;
    let duplicate = verdict == Verdict::Duplicate;
    Ok(Json(Done {
        id,
        saga,
        duplicate,
    }))
}
