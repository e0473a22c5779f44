//! Who may ask: whoever carries a token that is known and has not expired, and whose role is enough. Who asked, for the record: the
//! token's name, and on whose behalf where that is said. A handler names the role it wants by its argument: [`Viewer`], [`Operator`] or [`Admin`].

use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Documented, StatusCode as Code};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header as headers};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use baton_engine::Role;
use baton_engine::definition::rfc3339;
use baton_engine::input::ON_BEHALF_OF;
use baton_messages::Timestamp;
use schemars::JsonSchema;
use uuid::Uuid;

use super::Api;
use super::audited::Said;
use super::document::{SECURITY, problem};
use super::extract::header;
use super::problem::{Answer, Problem};
use crate::access::{Known, NoEntry};
use crate::clock;
use crate::http::Peer;

/// Header with the name of the person or program behind the token, as it stands in records.
const BY_HEADER: &str = "baton-by";
/// The header by which a caller, or a proxy, names a request.
const REQUEST_HEADER: &str = "x-request-id";
/// Where a proxy says who is behind it.
const FORWARDED_HEADER: &str = "x-forwarded-for";
/// Longest name that is kept.
const BY_CHARS_MAX: usize = 100;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The token.
    pub(crate) token: Known,
    /// Who is behind it, where that is said.
    pub(super) behalf: Option<String>,
    /// The address of the peer.
    pub(super) from: String,
    /// Whom a proxy says it speaks for.
    pub(super) forwarded: Option<String>,
    /// What he, or a proxy, calls the request; one of ours where nobody does.
    pub(super) request: String,
    /// What was asked for in the address, after the question mark.
    pub(super) query: Option<String>,
    /// What the handler says of what it does, for the audit log.
    pub(crate) said: Said,
}

impl Caller {
    /// Who asks, for the record; `also` is what the body says of it, which goes before the header.
    pub(crate) fn by(&self, also: Option<&str>) -> String {
        let name = &self.token.name;
        match also.and_then(cleaned).or_else(|| self.behalf.clone()) {
            Some(behalf) if behalf != *name => format!("{name}{ON_BEHALF_OF}{behalf}"),
            Some(_) | None => name.clone(),
        }
    }
}

/// Lets through who has a token; what its role allows is said by each handler.
pub(crate) async fn require_token(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match caller(&api, request.headers(), peer) {
        Ok(mut caller) => {
            caller.query = request.uri().query().map(str::to_owned);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            let mut response = problem.into_response();
            response.headers_mut().insert(
                headers::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"baton\""),
            );
            response
        }
    }
}

fn caller(api: &Api, given: &HeaderMap, peer: Option<Peer>) -> Answer<Caller> {
    let token = given
        .get(headers::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(bearer)
        .ok_or_else(|| {
            no_entry(
                "no-token",
                "A token is needed",
                "send `Authorization: Bearer <token>`; the first one is in the data folder of the orchestrator, file `token`",
            )
        })?;
    let token = api.access.check(token, clock::now()).map_err(|no| match no {
        NoEntry::Unknown => no_entry(
            "unknown-token",
            "Nobody knows this token",
            "it was never made here, or it was revoked; ask for another: POST /v1/tokens, or the file `token` of the data folder",
        ),
        NoEntry::Expired { name, at } => expired(&name, at),
    })?;
    let said = |name: &str| cleaned(given.get(name)?.to_str().ok()?);
    Ok(Caller {
        token,
        behalf: said(BY_HEADER),
        forwarded: said(FORWARDED_HEADER),
        request: said(REQUEST_HEADER).unwrap_or_else(|| Uuid::now_v7().to_string()),
        from: peer.map_or_else(|| "unknown".to_owned(), |Peer(ip)| ip.to_string()),
        query: None,
        said: Said::default(),
    })
}

fn expired(name: &str, at: Timestamp) -> Problem {
    // to the second: for people
    let until = rfc3339(Timestamp(at.0 / 1_000 * 1_000));
    let detail = format!(
        "`{name}` was good until {until}; an admin makes another: `baton token create NAME --role ROLE`, or POST /v1/tokens"
    );
    no_entry("expired-token", "The token has expired", detail)
}

/// The scheme's name is written as one likes (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn no_entry(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, kind, title, detail)
}

pub(super) fn cleaned(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(BY_CHARS_MAX)
        .collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The caller, if his role is at least `least`.
fn allowed(parts: &Parts, least: Role) -> Answer<Caller> {
    let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(|| {
        no_entry(
            "no-token",
            "A token is needed",
            "send `Authorization: Bearer <token>`",
        )
    })?;
    if caller.token.role >= least {
        return Ok(caller);
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "role",
        "The token may not do this",
        format!(
            "this wants the role {}, and `{}` has the role {}; ask somebody with the role admin for another token",
            least.as_str(),
            caller.token.name,
            caller.token.role.as_str()
        ),
    ))
}

/// How the header is described, where it goes into records.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described")]
struct ByHeaderSchema {
    /// On whose behalf, for the record: a person or a program behind the token.
    #[schemars(rename = "Baton-By", length(max = 100))]
    by: Option<String>,
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident, $records:expr) => {
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                allowed(parts, Role::$name).map(Self)
            }
        }

        impl OperationInput for $name {
            fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
                if $records {
                    header::<ByHeaderSchema>(ctx, operation);
                }
                let role = Role::$name.as_str();
                operation.security = vec![[(SECURITY.to_owned(), Vec::new())].into_iter().collect()];
                operation.extensions.insert("x-role".to_owned(), role.into());
            }

            fn inferred_early_responses(ctx: &mut GenContext, _: &mut Operation) -> Vec<(Option<Code>, Documented)> {
                vec![(Some(Code::Code(401)), problem(ctx, 401)), (Some(Code::Code(403)), problem(ctx, 403))]
            }
        }
    };
}

role!(
    /// Any token.
    Viewer,
    false
);
role!(
    /// One that may see what operators did.
    Auditor,
    false
);
role!(
    /// One that may start sagas and act on them.
    Operator,
    true
);
role!(
    /// One that may do everything.
    Admin,
    true
);

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(behalf: Option<&str>) -> Caller {
        Caller {
            token: Known::of_test("ci", Role::Operator),
            behalf: behalf.and_then(cleaned),
            from: "::1".to_owned(),
            forwarded: None,
            request: "r".to_owned(),
            query: None,
            said: Said::default(),
        }
    }

    #[test]
    fn the_token_and_who_is_behind_it_stand_in_the_record() {
        assert_eq!(caller(None).by(None), "ci");
        assert_eq!(caller(Some("ci")).by(None), "ci");
        assert_eq!(caller(Some("anna")).by(None), "ci on behalf of anna");
        assert_eq!(
            caller(Some("anna")).by(Some("b\nob")),
            "ci on behalf of bob"
        );
        assert_eq!(caller(None).by(Some(" ")), "ci");
    }

    #[test]
    fn a_role_allows_what_lies_below_it_and_nobody_is_nobody() {
        let (mut parts, ()) = Request::builder().body(()).unwrap().into_parts();
        assert!(allowed(&parts, Role::Viewer).is_err());
        parts.extensions.insert(caller(None));
        assert!(allowed(&parts, Role::Viewer).is_ok());
        assert!(allowed(&parts, Role::Operator).is_ok());
        assert!(allowed(&parts, Role::Admin).is_err());
    }

    #[tokio::test]
    async fn an_expired_token_says_when_that_was_and_what_to_do() {
        let response = expired("ci", Timestamp(1_790_000_000_123)).into_response();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(
            text.contains("`ci` was good until 2026-09-21T14:13:20Z"),
            "{text}"
        );
        assert!(text.contains("baton token create"), "{text}");
    }

    #[test]
    fn a_bearer_token_is_read_as_it_is_written() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
