//! Whose a work item is, and by when: somebody takes it, gives it back, or gives it to another. Each is decided by the engine and stands in the saga's
//! history; the audit log has it as any other action.

use axum::Json;
use axum::extract::State;
use baton_engine::definition::duration_ms;
use baton_engine::{Assignment, Input, Whose};
use baton_messages::InputId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::actions::{self, Done, OneItem};
use super::auth::{Caller, Operator};
use super::extract::{Body, Path};
use super::problem::{Answer, Problem};
use super::sagas::saga_id;
use super::{Api, Shared};

/// Why, where whoever takes it, or gives it back, says nothing: that he does.
const TAKEN: &str = "takes it";
const GIVEN_BACK: &str = "gives it back";

/// Whose a work item is from now on, and by when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assign {
    /// Whose: a person's, by the name of a token, or a team's, by any other: any of it may take it then. As it was when absent.
    #[schemars(length(min = 1, max = 128))]
    to: Option<String>,
    /// When it should be done, from now: `2h`; as it was when absent.
    due: Option<String>,
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// Somebody takes a work item, or gives it back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Take {
    /// When it should be done, from now: `2h`; as it was when absent.
    due: Option<String>,
    /// Why, for whoever reads it later.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record; the work item is the token's own name's all the same.
    by: Option<String>,
}

/// Gives a work item to somebody, or says by when it should be done.
pub(crate) async fn assign(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneItem>,
    Body(asked): Body<Assign>,
) -> Answer<Json<Done>> {
    // nobody comes in by the name of a team
    let whose = |name: String| match api.access.is_known(name.trim()) {
        true => Whose::Of(name),
        false => Whose::Team(name),
    };
    let assignment = Assignment {
        whose: asked.to.map(whose),
        due_ms: due_ms(asked.due.as_deref())?,
    };
    let why = (asked.reason.as_str(), asked.id, asked.by.as_deref());
    said(&api, &caller, &of, assignment, why).await
}

/// Takes a work item.
pub(crate) async fn take(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneItem>,
    Body(asked): Body<Take>,
) -> Answer<Json<Done>> {
    by_himself(&api, &caller, &of, Whose::Mine, asked).await
}

/// Gives a work item back.
pub(crate) async fn give_back(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneItem>,
    Body(asked): Body<Take>,
) -> Answer<Json<Done>> {
    by_himself(&api, &caller, &of, Whose::Back, asked).await
}

async fn by_himself(
    api: &Api,
    caller: &Caller,
    of: &OneItem,
    whose: Whose,
    asked: Take,
) -> Answer<Json<Done>> {
    let unsaid = match whose {
        Whose::Back => GIVEN_BACK,
        Whose::Mine | Whose::Of(_) | Whose::Team(_) => TAKEN,
    };
    let assignment = Assignment {
        whose: Some(whose),
        due_ms: due_ms(asked.due.as_deref())?,
    };
    let reason = asked.reason.as_deref().map(str::trim);
    let reason = reason.filter(|reason| !reason.is_empty());
    let why = (reason.unwrap_or(unsaid), asked.id, asked.by.as_deref());
    said(api, caller, of, assignment, why).await
}

async fn said(
    api: &Api,
    caller: &Caller,
    of: &OneItem,
    assignment: Assignment,
    (reason, id, by): (&str, Option<InputId>, Option<&str>),
) -> Answer<Json<Done>> {
    let (saga, number) = (saga_id(&of.id)?, of.number);
    let operator = actions::operator(caller, reason, id, None, by)?;
    actions::done(api, saga, operator, |operator| Input::AssignItem {
        number,
        assignment,
        operator,
    })
    .await
}

fn due_ms(text: Option<&str>) -> Answer<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let ms = duration_ms(text).map_err(|why| {
        Problem::bad_request(format!(
            "`due`: `{text}` {why}; write how long from now: 30m, 2h, 1d"
        ))
    })?;
    Ok(Some(ms))
}
