//! For machines that watch machines: alive, ready, and in numbers. Without a token, since whoever asks has none.

use baton_store::Reader as _;
use std::future::{Ready, ready};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Shared;
use crate::health::STUCK_AFTER;

/// The store is counted at most this often: it reads every status there is.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// When the store was last counted.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Option<Instant>>);

/// What a process without a store answers: it is to be left alone, and to be asked for nothing.
pub(crate) fn standing_by() -> Router {
    const WAITS: &str = "stands by: the store cannot be had yet, since the database does not answer or somebody else holds the file; which of them stands in the log\n";
    Router::new()
        .route("/healthz", get(|| ready("ok\n")))
        .fallback(|| ready((StatusCode::SERVICE_UNAVAILABLE, WAITS)))
}

/// Whether the process should be left alone: its loop turns.
pub(crate) fn healthz(State(api): Shared) -> Ready<(StatusCode, String)> {
    ready({
        let still = api.health.still_for();
        if still > STUCK_AFTER {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the loop has not turned for {} s\n", still.as_secs()),
            )
        } else {
            (StatusCode::OK, "ok\n".to_owned())
        }
    })
}

/// Whether it can be asked for something. A broker that is away makes it degraded, not unready: what is asked for is kept.
pub(crate) fn readyz(State(api): Shared) -> Ready<(StatusCode, String)> {
    ready(if api.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
    } else if !api.health.store_takes() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store takes no commits; why stands in the log\n".to_owned(),
        )
    } else if let Some(what) = api.health.trouble() {
        (
            StatusCode::OK,
            format!("degraded: what is asked for is kept. {what}\n"),
        )
    } else {
        (StatusCode::OK, "ok\n".to_owned())
    })
}

/// Everything in numbers.
pub(crate) async fn metrics(State(api): Shared) -> Response {
    let Some(numbers) = &api.numbers else {
        return (StatusCode::NOT_FOUND, "metrics are not collected\n").into_response();
    };
    if api.counted.due()
        && let Ok(counts) = api.reader.counts().await
    {
        crate::metrics::counts(&counts);
    }
    api.health.gauges();
    numbers.run_upkeep();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, numbers.render()).into_response()
}

impl Counted {
    fn due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= COUNT_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
