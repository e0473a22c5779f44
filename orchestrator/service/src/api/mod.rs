//! The HTTP API, minimal: what is asked for goes through the loop and is answered after its commit; what is only looked at is read from
//! the store beside it. Nothing here decides, and nothing here is needed for sagas to go on.

mod actions;
mod auth;
mod cursor;
mod definitions;
mod extract;
mod lists;
mod probes;
mod problem;
mod sagas;
mod view;
mod why;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use baton_messages::BODY_BYTES_MAX;
use baton_store::Reader;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::fleet::Workers;
use crate::health::Health;
use crate::hot::mail::Post;
use crate::types::Types;

/// What every handler may use.
pub(crate) struct Api {
    pub(crate) post: Post,
    pub(crate) reader: Reader,
    pub(crate) health: Arc<Health>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) types: Arc<Types>,
    pub(crate) definitions: Known,
    pub(crate) token: String,
    pub(crate) numbers: Option<PrometheusHandle>,
    pub(crate) counted: Counted,
    pub(crate) stopping: CancellationToken,
}

pub(crate) use definitions::Known;
pub(crate) use probes::Counted;

type Shared = axum::extract::State<Arc<Api>>;

/// Every route.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/definitions", put(definitions::put).get(definitions::list))
        .route("/definitions/{name}/{version}", get(definitions::one))
        .route("/sagas", post(sagas::start).get(sagas::list))
        .route("/sagas/{id}", get(sagas::one))
        .route("/sagas/{id}/records", get(sagas::records))
        .route("/sagas/{id}/{action}", post(actions::on_saga))
        .route("/sagas/{id}/steps/{step}/{action}", post(actions::on_step))
        .route(
            "/sagas/{id}/work-items/{number}/acknowledge",
            post(actions::acknowledge),
        )
        .route("/work-items", get(lists::work_items))
        .route("/dead-letters", get(lists::dead_letters))
        .route("/workers", get(lists::workers))
        .route("/task-types", get(lists::task_types))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            auth::require_token,
        ));
    Router::new()
        .nest("/v1", v1)
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(problem::no_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}
