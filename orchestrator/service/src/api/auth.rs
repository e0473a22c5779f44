//! Who may ask: whoever carries the token. Who asks, for the record: the name in a header, since one token may be shared.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::problem::Problem;

/// Header with the name of who asks, as it stands in records.
const BY_HEADER: &str = "baton-by";
/// Longest name that is kept.
const BY_CHARS_MAX: usize = 100;

/// Lets through what carries the token.
pub(crate) async fn require_token(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| same(given.trim().as_bytes(), api.token.as_bytes())) {
        return next.run(request).await;
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "no-token",
        "A token is needed",
        "send `Authorization: Bearer <token>`; the token is in the data folder of the orchestrator, file `token`",
    );
    let mut response = problem.into_response();
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"baton\""),
    );
    response
}

/// Compares in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Who asks, for the record.
pub(crate) fn by(headers: &HeaderMap) -> String {
    let name: String = headers
        .get(BY_HEADER)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(BY_CHARS_MAX)
        .collect();
    if name.is_empty() {
        "operator".to_owned()
    } else {
        format!("operator:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
        assert!(!same(b"", b"a"));
    }

    #[test]
    fn who_asks_stands_in_the_record() {
        let mut headers = HeaderMap::new();
        assert_eq!(by(&headers), "operator");
        headers.insert(BY_HEADER, HeaderValue::from_static("anna"));
        assert_eq!(by(&headers), "operator:anna");
    }
}
