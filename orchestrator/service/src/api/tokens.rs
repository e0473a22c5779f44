//! Tokens: made, listed, revoked; and who the caller is. A token is shown once, in the answer that makes it.

use std::future::{Ready, ready};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::NoContent;
use baton_engine::Role;
use baton_engine::definition::duration::duration_ms;
use baton_messages::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::answer::Created;
use super::auth::{Admin, Viewer};
use super::extract::{Body, Nothing, Path, Query};
use super::problem::{Answer, Problem};
use crate::access::{ADMIN, Known, NotMade, TOKENS_MAX};
use crate::clock;

/// Who the caller is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    /// The token's name.
    name: String,
    role: Role,
    /// From when on it is refused; none: never.
    expires_at: Option<Timestamp>,
}

/// Who the caller is.
pub(crate) fn me(Viewer(caller): Viewer, Query(Nothing {}): Query<Nothing>) -> Ready<Json<Me>> {
    ready(Json(Me {
        name: caller.token.name,
        role: caller.token.role,
        expires_at: caller.token.expires_at,
    }))
}

/// A token as it is shown: without itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Token {
    name: String,
    role: Role,
    /// From when on it is refused; none: never.
    expires_at: Option<Timestamp>,
    /// None: it belongs to the data folder or the configuration.
    made_at: Option<Timestamp>,
    made_by: Option<String>,
}

impl From<Known> for Token {
    fn from(known: Known) -> Self {
        let (made_at, made_by) = known.made.unzip();
        Self {
            name: known.name,
            role: known.role,
            expires_at: known.expires_at,
            made_at,
            made_by,
        }
    }
}

/// Every token.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tokens {
    /// By name.
    items: Vec<Token>,
}

/// Every token, without itself.
pub(crate) fn list(
    State(api): Shared,
    Admin(_): Admin,
    Query(Nothing {}): Query<Nothing>,
) -> Ready<Json<Tokens>> {
    let items = api.access.all().into_iter().map(Token::from).collect();
    ready(Json(Tokens { items }))
}

/// The token that is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Stands in records for whoever carries it.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    name: String,
    /// What it may do.
    role: Role,
    /// How long it is good, such as `90d` or `12h`; for ever when absent.
    expires_in: Option<String>,
}

/// A token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Made {
    name: String,
    role: Role,
    expires_at: Option<Timestamp>,
    made_at: Timestamp,
    made_by: String,
    /// The token. Nobody can show it again.
    token: String,
}

/// Makes a token.
pub(crate) async fn make(
    State(api): Shared,
    Admin(caller): Admin,
    Body(wanted): Body<Wanted>,
) -> Answer<Created<Made>> {
    let now = clock::now();
    let expires_at = match &wanted.expires_in {
        None => None,
        Some(text) => {
            let ms = duration_ms(text).map_err(|why| {
                unusable(format!("`expires_in`: `{text}` {why}; give 90d or 12h"))
            })?;
            Some(now.plus_ms(ms))
        }
    };
    caller.said.object(format!("tokens/{}", wanted.name));
    let by = caller.by(None);
    let made = api
        .access
        .make(&wanted.name, wanted.role, expires_at, &by, now);
    let (known, token) = made.await.map_err(|no| not_made(&wanted.name, no))?;
    Ok(Created::new(Made {
        name: known.name,
        role: known.role,
        expires_at: known.expires_at,
        made_at: now,
        made_by: by,
        token,
    }))
}

fn unusable(why: String) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "token",
        "Such a token cannot be made",
        why,
    )
}

fn not_made(name: &str, no: NotMade) -> Problem {
    let conflict = |kind, title, why: String| Problem::new(StatusCode::CONFLICT, kind, title, why);
    match no {
        NotMade::Name(why) => unusable(why),
        NotMade::Taken => conflict(
            "token-taken",
            "The name is taken",
            format!("there is a token `{name}` already; revoke it first: DELETE /v1/tokens/{name}"),
        ),
        NotMade::TooMany => conflict(
            "too-many",
            "There are too many tokens",
            format!("there are {TOKENS_MAX}; revoke those nobody uses"),
        ),
        NotMade::Store(error) => Problem::store(&error),
    }
}

/// One token.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneToken {
    name: String,
}

/// Revokes a token: it lets nobody in from here on.
pub(crate) async fn revoke(
    State(api): Shared,
    Admin(caller): Admin,
    Path(of): Path<OneToken>,
) -> Answer<NoContent> {
    if of.name == ADMIN {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "token-fixed",
            "This token is not revoked here",
            "`admin` is the token of the data folder (or of http.token): delete the file `token` there and start the orchestrator again, and another is made",
        ));
    }
    let gone = api.access.revoke(&of.name, &caller.by(None)).await;
    match gone.map_err(|error| Problem::store(&error))? {
        true => Ok(NoContent),
        false => Err(Problem::not_found(format!(
            "there is no token `{}`; see /v1/tokens",
            of.name
        ))),
    }
}
