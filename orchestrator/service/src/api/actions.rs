//! What an operator may do to a saga, a step or a work item. Each action has a reason and an id: sent again it is the same action.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use baton_engine::input::{Operator, Resolution, Seen};
use baton_engine::{Input, Role, Verdict};
use baton_messages::{InputId, StepId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::extract::{Body, Path};
use super::problem::{Answer, Problem};
use super::sagas::saga_id;
use super::{Api, Shared, auth};

/// Longest reason that is kept.
const REASON_CHARS_MAX: usize = 2_000;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    /// Why, for whoever reads it later.
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// What the caller saw of the step.
    seen: Option<Seen>,
    /// Of `resolve`: what it has come to.
    #[serde(rename = "as")]
    come_to: Option<ComeTo>,
    /// Of `resolve` as `done`: what later steps read.
    output: Option<Value>,
}

/// How a step is settled by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ComeTo {
    Done,
    Undone,
}

impl Act {
    fn operator(&self, headers: &HeaderMap) -> Answer<Operator> {
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            return Err(Problem::bad_request(format!(
                "`reason` has to be 1 to {REASON_CHARS_MAX} characters"
            )));
        }
        Ok(Operator {
            id: self.id.unwrap_or_else(|| InputId(Uuid::now_v7())),
            by: auth::by(headers),
            // There is one token so far, and it may do everything.
            role: Role::Admin,
            reason: reason.to_owned(),
            seen: self.seen.clone(),
        })
    }
}

/// `cancel`, `pause`, `resume`, `abandon`.
pub(crate) async fn on_saga(
    State(api): Shared,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
    Body(act): Body<Act>,
) -> Answer<Response> {
    let make = match action.as_str() {
        "cancel" => Input::Cancel,
        "pause" => Input::Pause,
        "resume" => Input::Resume,
        "abandon" => Input::Abandon,
        _ => {
            return Err(Problem::not_found(format!(
                "`{action}` is no action on a saga; there are cancel, pause, resume, abandon"
            )));
        }
    };
    let operator = act.operator(&headers)?;
    done(&api, &id, operator, make).await
}

/// `retry`, `skip`, `resolve`.
pub(crate) async fn on_step(
    State(api): Shared,
    Path((id, step, action)): Path<(String, String, String)>,
    headers: HeaderMap,
    Body(act): Body<Act>,
) -> Answer<Response> {
    let step = StepId::new(&step).map_err(|error| Problem::bad_request(error.to_string()))?;
    let operator = act.operator(&headers)?;
    match action.as_str() {
        "retry" => {
            done(&api, &id, operator, |operator| Input::RetryStep {
                step,
                operator,
            })
            .await
        }
        "skip" => {
            done(&api, &id, operator, |operator| Input::SkipStep {
                step,
                operator,
            })
            .await
        }
        "resolve" => {
            let resolution = resolution(&act)?;
            done(&api, &id, operator, |operator| Input::ResolveStep {
                step,
                resolution,
                operator,
            })
            .await
        }
        _ => Err(Problem::not_found(format!(
            "`{action}` is no action on a step; there are retry, skip, resolve"
        ))),
    }
}

fn resolution(act: &Act) -> Answer<Resolution> {
    match (act.come_to, &act.output) {
        (Some(ComeTo::Done), output) => Ok(Resolution::Done {
            output: output.clone().unwrap_or(Value::Null),
        }),
        (Some(ComeTo::Undone), None) => Ok(Resolution::Undone),
        (Some(ComeTo::Undone), Some(_)) => {
            Err(Problem::bad_request("what is undone has no `output`"))
        }
        (None, _) => Err(Problem::bad_request("`as` has to be `done` or `undone`")),
    }
}

/// A work item that only informs was seen.
pub(crate) async fn acknowledge(
    State(api): Shared,
    Path((id, number)): Path<(String, u32)>,
    headers: HeaderMap,
    Body(act): Body<Act>,
) -> Answer<Response> {
    let operator = act.operator(&headers)?;
    done(&api, &id, operator, |operator| Input::Acknowledge {
        number,
        operator,
    })
    .await
}

async fn done(
    api: &Api,
    saga: &str,
    operator: Operator,
    make: impl FnOnce(Operator) -> Input,
) -> Answer<Response> {
    let saga = saga_id(saga)?;
    let id = operator.id;
    let verdict = api.decided(saga, make(operator), id).await?;
    let duplicate = verdict == Verdict::Duplicate;
    let body = Json(json!({ "id": id, "saga": saga, "duplicate": duplicate }));
    Ok((StatusCode::OK, body).into_response())
}
