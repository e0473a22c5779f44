//! What handlers take from a request: as axum reads it, but what cannot be read is answered as a problem document like everything else.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection, StringRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The JSON of the body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::<T>::from_request(request, state).await;
        read.map(|axum::Json(value)| Self(value))
            .map_err(|no: JsonRejection| unreadable(no.status(), no.body_text()))
    }
}

/// The text of the body.
pub(crate) struct Text(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = String::from_request(request, state).await;
        read.map(Self)
            .map_err(|no: StringRejection| unreadable(no.status(), no.body_text()))
    }
}

/// Parts of the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|no: PathRejection| unreadable(no.status(), no.body_text()))
    }
}

/// What stands behind the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|no: QueryRejection| unreadable(no.status(), no.body_text()))
    }
}

fn unreadable(status: StatusCode, why: String) -> Problem {
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "media-type",
        _ => "bad-request",
    };
    Problem::new(status, kind, "The request cannot be read", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;
    use axum::response::IntoResponse as _;
    use serde_json::Value;

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

    #[tokio::test]
    async fn what_cannot_be_read_is_a_problem_document() {
        let problem = "application/problem+json".to_owned();
        assert_eq!(refused("[1, ").await, (400, problem.clone()));
        assert_eq!(refused("{\"a\":1}").await, (422, problem));
        let (mut parts, ()) = Request::builder()
            .uri("/?limit=many")
            .body(())
            .unwrap()
            .into_parts();
        let read =
            Query::<std::collections::BTreeMap<String, u32>>::from_request_parts(&mut parts, &());
        let Err(problem) = read.await else {
            panic!("`many` was read as a number");
        };
        let response = problem.into_response();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["type"], "urn:baton:problem:bad-request");
    }
}
