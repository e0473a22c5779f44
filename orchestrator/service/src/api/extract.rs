//! What handlers take from a request: as axum reads it, but what cannot be read is answered as a problem document like everything else,
//! and each part says in the API's document what it is.

use std::convert::Infallible;
use std::time::Duration;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    MediaType, Operation, RequestBody, Response, SchemaObject, StatusCode as Code,
};
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema, set_body};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, StringRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use baton_settings::nearest::nearest;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::problem;
use super::problem::Problem;

/// How long a body may take: whoever is slower would keep a connection from others.
const BODY_WAIT: Duration = Duration::from_secs(20);

pub(super) async fn in_time<T>(read: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(BODY_WAIT, read).await.map_err(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The request took too long",
            format!("the body did not come within {} s", BODY_WAIT.as_secs()),
        )
    })
}

/// The JSON of the body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = in_time(axum::Json::<T>::from_request(request, state)).await?;
        read.map(|axum::Json(value)| Self(value))
            .map_err(|no: JsonRejection| unreadable(no.status(), no.body_text()))
    }
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        body(ctx, operation, "application/json", schema);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400, 408, 413, 415, 422])
    }
}

/// The body as it comes: an event, structured or binary.
pub(crate) struct EventBody(pub(crate) Bytes);

/// How a binary event says what it is.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described")]
struct EventHeadersSchema {
    /// Binary mode: the event's id.
    #[schemars(rename = "ce-id")]
    id: Option<String>,
    /// Binary mode: where it comes from.
    #[schemars(rename = "ce-source")]
    source: Option<String>,
    /// Binary mode: its type.
    #[schemars(rename = "ce-type")]
    kind: Option<String>,
    /// Binary mode: always 1.0.
    #[schemars(rename = "ce-specversion")]
    version: Option<String>,
    /// Binary mode: what it is about.
    #[schemars(rename = "ce-subject")]
    subject: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for EventBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = in_time(Bytes::from_request(request, state)).await?;
        read.map(Self)
            .map_err(|no: BytesRejection| unreadable(no.status(), no.body_text()))
    }
}

impl OperationInput for EventBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        header::<EventHeadersSchema>(ctx, operation);
        let event = ctx.schema.subschema_for::<baton_messages::Event>();
        let data = ctx.schema.subschema_for::<Value>();
        let all = [
            ("application/cloudevents+json", event),
            ("application/json", data),
        ];
        bodies(operation, ctx, all);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400, 408, 413])
    }
}

/// The text of the body: a saga definition.
pub(crate) struct Yaml(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Yaml {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = in_time(String::from_request(request, state)).await?;
        read.map(Self)
            .map_err(|no: StringRejection| unreadable(no.status(), no.body_text()))
    }
}

impl OperationInput for Yaml {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<String>();
        body(ctx, operation, "application/yaml", schema);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400, 408, 413])
    }
}

fn body(
    ctx: &mut GenContext,
    operation: &mut Operation,
    media_type: &str,
    schema: schemars::Schema,
) {
    bodies(operation, ctx, [(media_type, schema)]);
}

/// A body that may come as each of these.
pub(super) fn bodies<const N: usize>(
    operation: &mut Operation,
    ctx: &mut GenContext,
    all: [(&str, schemars::Schema); N],
) {
    let media = |schema| MediaType {
        schema: Some(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    };
    let all = all.into_iter();
    let body = RequestBody {
        content: all
            .map(|(media_type, schema)| (media_type.to_owned(), media(schema)))
            .collect(),
        required: true,
        ..RequestBody::default()
    };
    set_body(ctx, operation, body);
}

pub(super) fn early(ctx: &mut GenContext, codes: &[u16]) -> Vec<(Option<Code>, Response)> {
    codes
        .iter()
        .map(|code| (Some(Code::Code(*code)), problem(ctx, *code)))
        .collect()
}

/// Parts of the path, by name.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|no: PathRejection| unreadable(no.status(), no.body_text()))
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        parameters::<T>(ctx, operation, ParamLocation::Path);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400])
    }
}

/// What stands behind the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let no = match read {
            Ok(axum::extract::Query(value)) => return Ok(Self(value)),
            Err(no) => no,
        };
        let known = names::<T>();
        let given = parts.uri.query().unwrap_or_default();
        let unknown = given
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .find(|name| !name.is_empty() && !known.iter().any(|known| known == name));
        Err(match unknown {
            Some(name) => unknown_parameter(name, &known),
            None => unreadable(no.status(), of_parameter(&no.body_text()).to_owned()),
        })
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        parameters::<T>(ctx, operation, ParamLocation::Query);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400])
    }
}

/// A header a handler reads, by the name of its schema's field.
pub(super) fn header<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    parameters::<T>(ctx, operation, ParamLocation::Header);
}

/// The headers of a request that starts something: `Idempotency-Key` is read by its handler.
pub(crate) struct KeyHeader(pub(crate) HeaderMap);

/// How it is described.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described")]
struct KeyHeaderSchema {
    /// The same key asked for again is the same saga; keys are each token's own.
    #[schemars(
        rename = "Idempotency-Key",
        length(min = 1, max = 255),
        regex(pattern = r"^[ -~]+$")
    )]
    key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for KeyHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.clone()))
    }
}

impl OperationInput for KeyHeader {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        header::<KeyHeaderSchema>(ctx, operation);
    }
}

/// The number of the last record a reader of a stream has seen.
pub(crate) struct LastEventId(pub(crate) Option<u64>);

/// How it is described.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described")]
struct LastEventIdSchema {
    /// The `id` of the last event that was seen: what it told is left out. Browsers send it by themselves.
    #[schemars(rename = "Last-Event-ID", range(max = 9_007_199_254_740_991_u64))]
    id: Option<u64>,
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get("last-event-id");
        Ok(Self(id.and_then(|id| id.to_str().ok()?.parse().ok())))
    }
}

impl OperationInput for LastEventId {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        header::<LastEventIdSchema>(ctx, operation);
    }
}

/// Parameters for a route that takes none: any is refused.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// The parameters of `T` are described in place: they are no types of their own.
fn parameters<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation, at: ParamLocation) {
    let schema = T::json_schema(&mut ctx.schema);
    let all = parameters_from_schema(ctx, schema, at);
    add_parameters(ctx, operation, all);
}

fn names<T: JsonSchema>() -> Vec<String> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default()
}

fn unknown_parameter(name: &str, known: &[String]) -> Problem {
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if known.is_empty() => "; there are none".to_owned(),
        None => format!("; there are {}", known.join(", ")),
    };
    Problem::bad_request(format!("`{name}` is no parameter here{hint}"))
}

/// What is wrong with a parameter, where it says itself which one it is.
fn of_parameter(why: &str) -> &str {
    let why = why
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(why);
    match why.split_once(": ") {
        Some((name, rest)) if rest.starts_with(&format!("`{name}`")) => rest,
        _ => why,
    }
}

pub(super) fn unreadable(status: StatusCode, why: String) -> Problem {
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "media-type",
        _ => "bad-request",
    };
    // where it stands is said by the status and the path; what is wrong is what is left
    let why = why.strip_prefix("Invalid URL: ").unwrap_or(&why).to_owned();
    Problem::new(status, kind, "The request cannot be read", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;
    use axum::response::IntoResponse as _;
    use serde_json::Value;

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Page {
        #[expect(dead_code, reason = "only read")]
        limit: Option<u32>,
    }

    async fn refused(body: &str) -> (u16, String) {
        let request = Request::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let Err(problem) = Body::<Vec<u32>>::from_request(request, &()).await else {
            panic!("{body} was read");
        };
        let response = problem.into_response();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
        (response.status().as_u16(), kind.to_owned())
    }

    async fn said_of(query: &str) -> Value {
        let request = Request::builder().uri(format!("/?{query}"));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Err(problem) = Query::<Page>::from_request_parts(&mut parts, &()).await else {
            panic!("`{query}` was read");
        };
        let body = axum::body::to_bytes(problem.into_response().into_body(), 10_000);
        serde_json::from_slice(&body.await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_a_problem_document() {
        let problem = "application/problem+json".to_owned();
        assert_eq!(refused("[1, ").await, (400, problem.clone()));
        assert_eq!(refused("{\"a\":1}").await, (422, problem));
        let document = said_of("limit=many").await;
        assert_eq!(document["type"], "urn:baton:problem:bad-request");
    }

    #[tokio::test]
    async fn an_unknown_parameter_is_refused_with_the_nearest() {
        let detail = said_of("limt=3").await["detail"].clone();
        assert_eq!(detail, "`limt` is no parameter here; did you mean `limit`?");
        let detail = said_of("limit=3&colour=red").await["detail"].clone();
        assert_eq!(detail, "`colour` is no parameter here; there are limit");
    }
}
