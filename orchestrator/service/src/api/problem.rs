//! What goes wrong for a caller, as a problem document (RFC 9457): a stable type to branch on, a title that never changes, a detail
//! that says what to do.

use std::future::{Ready, ready};

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Documented, StatusCode as Code};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use baton_driver::Purged;
use baton_engine::Refusal;
use baton_engine::definition::rfc3339;
use baton_settings::nearest::nearest;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::chain::chain;
use crate::cluster::NotTaken;
use crate::replay::Cure;

/// The media type of problem documents.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem as it is written (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    /// Stable, to branch on: `urn:baton:problem:<kind>`.
    #[schemars(pattern(r"^urn:baton:problem:[a-z-]+$"))]
    r#type: String,
    /// The same for every problem of this type.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong here, and what to do.
    detail: String,
    /// Of a dead letter that is refused, what helps: a word to branch on.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<Cure>,
    /// What else there is to say: `id` to repeat a request with, `saga`, `errors` of a definition.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    cure: Option<Cure>,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
}

/// What a problem was, as an extension of its answer: for the audit log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind(pub(super) &'static str);

/// What a handler gives.
pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            cure: None,
            more: Map::new(),
            retry_after_s: None,
        }
    }

    /// A member beside the standard ones.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// With what helps, where a dead letter is refused.
    pub(crate) const fn curing(mut self, cure: Cure) -> Self {
        self.cure = Some(cure);
        self
    }

    /// What it is, as the last word of its type.
    pub(crate) const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is wrong here.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same, said with more knowledge of what was asked.
    pub(crate) fn saying(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    /// When it makes sense to try again.
    pub(crate) const fn again_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be read",
            detail,
        )
    }

    /// It does not stand where it has to.
    pub(crate) fn not_now(why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not-now",
            "Not possible where it stands",
            why,
        )
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            detail,
        )
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "role",
            "The token may not do this",
            detail,
        )
    }

    /// Of a saga that has ended only its row is left.
    pub(crate) fn purged(gone: &Purged) -> Self {
        let place = gone.archive.as_ref().map_or_else(
            || "they were archived nowhere".to_owned(),
            |file| format!("they lie in {file}, below retention.archive_dir of the orchestrator"),
        );
        Self::new(
            StatusCode::GONE,
            "purged",
            "Its records were purged",
            format!(
                "the saga has ended, and its records were taken out of the store {}: {place}",
                rfc3339(gone.at)
            ),
        )
        .with("purged_at", json!(gone.at))
        .with("archive", json!(gone.archive))
    }

    /// Too much is under way.
    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            "Too much is under way",
            "the broker, or the database, takes less than is asked for; try again",
        )
        .again_after_s(1)
    }

    /// The loop is gone: the process ends.
    pub(crate) fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The orchestrator is stopping",
            "nothing was changed; try again when it is back",
        )
        .again_after_s(5)
    }

    /// No commit within the time a caller waits.
    pub(crate) fn not_committed(id: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-committed",
            "Not committed in time",
            "nothing was committed within the time a caller waits, see /readyz for why; it may still happen, so repeat it with this `id` (or with the same Idempotency-Key, where one was sent)",
        )
        .with("id", json!(id.to_string()))
        .again_after_s(5)
    }

    /// What was asked for was not taken.
    pub(crate) fn not_taken(not: NotTaken, id: impl std::fmt::Display) -> Self {
        match not {
            NotTaken::Busy => Self::busy(),
            NotTaken::Stopping => Self::stopping(),
            NotTaken::Late => Self::not_committed(id),
        }
    }

    /// The store could not be read.
    pub(crate) fn store(error: &dyn std::error::Error) -> Self {
        let why = chain(error);
        tracing::error!(error = %why, "the store could not be read for a caller");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "The store cannot be read",
            why,
        )
        .again_after_s(5)
    }

    /// Something of the orchestrator itself failed.
    pub(crate) fn failed(error: &dyn std::error::Error) -> Self {
        let why = chain(error);
        tracing::error!(error = %why, "a request could not be carried out");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "The orchestrator failed",
            why,
        )
    }

    /// What the engine refused.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        let (status, kind, title) = match refusal {
            Refusal::NoSaga => (StatusCode::NOT_FOUND, "no-saga", "There is no such saga"),
            Refusal::NoSuch { .. } => {
                (StatusCode::NOT_FOUND, "not-found", "There is no such thing")
            }
            Refusal::Misfit { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "misfit",
                "The input does not fit",
            ),
            Refusal::OutputMisfit { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "output-misfit",
                "The output does not fit",
            ),
            Refusal::Ended { .. } => (StatusCode::CONFLICT, "ended", "The saga has ended"),
            Refusal::Moved { .. } => (
                StatusCode::CONFLICT,
                "moved",
                "It has moved since you looked",
            ),
            Refusal::NotNow { .. } => (
                StatusCode::CONFLICT,
                "not-now",
                "Not possible where it stands",
            ),
            Refusal::Stays { .. } => (
                StatusCode::CONFLICT,
                "stays",
                "It does not go on under that version",
            ),
            Refusal::NotYours { .. } => (
                StatusCode::FORBIDDEN,
                "not-yours",
                "The step asks for somebody else",
            ),
            Refusal::Unreadable => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "unreadable",
                "The saga's records cannot be read",
            ),
        };
        Self::new(status, kind, title, refusal.to_string())
    }

    fn document(&self) -> Document {
        Document {
            r#type: format!("urn:baton:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            cure: self.cure,
            more: self.more.clone(),
        }
    }
}

/// Where nothing else is said of a status, it is a problem.
impl OperationOutput for Problem {
    type Inner = Self;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        let mut response = super::document::problem(ctx, 500);
        response.description = "A problem".to_owned();
        vec![(None, response)]
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self.document()).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(Kind(self.kind));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The first parts of the paths there are; a test holds them against the document.
const PATHS: [&str; 21] = [
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/alerts",
    "/v1/reservations",
    "/v1/audit",
    "/v1/cluster",
    "/v1/dead-letters",
    "/v1/definitions",
    "/v1/events",
    "/v1/hooks",
    "/v1/me",
    "/v1/openapi.json",
    "/v1/sagas",
    "/v1/schedules",
    "/v1/task-types",
    "/v1/tokens",
    "/v1/top",
    "/v1/watch",
    "/v1/work-items",
    "/v1/workers",
];

/// For every path that is none.
pub(crate) fn no_route(
    axum::extract::OriginalUri(uri): axum::extract::OriginalUri,
) -> Ready<Problem> {
    let path = uri.path();
    let near = nearest(path, PATHS).filter(|near| *near != path);
    let hint = match near {
        Some(near) => format!("did you mean {near}?"),
        None => "all of them stand in /v1/openapi.json".to_owned(),
    };
    ready(Problem::not_found(format!(
        "{path} is no path of this API; {hint}"
    )))
}

/// For every method a path does not know.
pub(crate) fn no_method(
    method: axum::http::Method,
    axum::extract::OriginalUri(uri): axum::extract::OriginalUri,
) -> Ready<Problem> {
    ready(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-method",
        "The path does not know this method",
        format!("{method} {} is not possible", uri.path()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_is_a_document_with_type_status_and_detail() {
        let problem = Problem::busy().with("id", json!("x"));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["type"], "urn:baton:problem:busy");
        assert_eq!(document["status"], 429);
        assert_eq!(document["id"], "x");
        assert!(document["detail"].as_str().unwrap().contains("try again"));
    }

    #[tokio::test]
    async fn a_path_there_is_not_gets_the_nearest_and_all_of_them_are_known() {
        let said = async |path: &str| {
            let uri: axum::http::Uri = path.parse().unwrap();
            let problem = no_route(axum::extract::OriginalUri(uri)).await;
            assert_eq!(problem.status, StatusCode::NOT_FOUND);
            problem.detail
        };
        assert!(said("/v1/saga").await.ends_with("did you mean /v1/sagas?"));
        assert!(
            said("/v1/nothing-at-all")
                .await
                .ends_with("/v1/openapi.json")
        );
        let document: Value = serde_json::from_str(&super::super::openapi().unwrap()).unwrap();
        for path in document["paths"].as_object().unwrap().keys() {
            let first: Vec<&str> = path.splitn(4, '/').take(3).collect();
            let first = first.join("/");
            assert!(PATHS.contains(&first.as_str()), "{path}");
        }
    }

    #[test]
    fn each_refusal_has_its_status() {
        let status = |refusal: &Refusal| Problem::refused(refusal).status.as_u16();
        assert_eq!(status(&Refusal::NoSaga), 404);
        assert_eq!(
            status(&Refusal::Ended {
                status: "completed"
            }),
            409
        );
        let misfit = Refusal::Misfit {
            definition: "a".into(),
            misfit: "b".into(),
        };
        assert_eq!(status(&misfit), 422);
        let misfit = Refusal::OutputMisfit {
            step: "a".parse().unwrap(),
            misfit: "b".into(),
        };
        assert_eq!(status(&misfit), 422);
        assert_eq!(status(&Refusal::Unreadable), 500);
    }
}
