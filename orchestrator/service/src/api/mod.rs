//! The HTTP API: what is asked for goes through the loop and is answered after its commit; what is only looked at is read from the store
//! beside it. Nothing here decides, and nothing here is needed for sagas to go on. The routes and the document that describes them are one.

mod actions;
mod alerts;
mod answer;
mod assign;
mod attempts;
mod audit;
mod audited;
mod auth;
mod cluster;
mod dead_letters;
mod definitions;
mod document;
mod edit_step;
mod events;
mod extract;
mod fits;
mod hooks;
mod items;
mod lists;
mod live;
mod page;
mod probes;
mod problem;
mod replays;
mod reservations;
mod sagas;
mod schedules;
mod seen;
mod standing;
mod tokens;
mod top;
mod unserved;
mod upgrades;
mod view;
mod why;
mod work_items;

use std::future::ready;
use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with, put_with};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::routing::get;
use baton_messages::{BODY_BYTES_MAX, Timestamp};
use baton_store::{AnyAlerts, AnyReader, AnyReservations};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::changes::Changes;
use crate::fleet::Workers;
use crate::health::Health;
use crate::types::Types;
use document::says;

/// What every handler may use.
pub(crate) struct Api {
    pub(crate) router: Arc<crate::cluster::Router>,
    pub(crate) replay: crate::replay::Replay,
    pub(crate) reader: AnyReader,
    pub(crate) book: AnyReservations,
    pub(crate) health: Arc<Health>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) types: Arc<Types>,
    pub(crate) definitions: Known,
    pub(crate) triggers: crate::triggers::Triggers,
    pub(crate) access: Arc<Access>,
    pub(crate) alerts: AnyAlerts,
    /// What links to this API begin with.
    pub(crate) link: Arc<str>,
    pub(crate) audit: Arc<crate::audit::Audit>,
    /// How long dead letters stay that are over; none: for ever.
    pub(crate) letters_stay_ms: Option<u64>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) streams: Streams,
    pub(crate) top: LastTop,
    pub(crate) numbers: Option<PrometheusHandle>,
    pub(crate) counted: Counted,
    pub(crate) stopping: CancellationToken,
    pub(crate) me: Me,
}

/// This process.
pub(crate) struct Me {
    /// Its name among orchestrators.
    pub(crate) name: String,
    /// When it began.
    pub(crate) began: Timestamp,
}

pub(crate) use definitions::Known;
pub(crate) use events::message as event_message;
pub(crate) use live::Streams;
pub(crate) use probes::{Counted, standing_by};
pub(crate) use seen::{Watched, folded, is_unreadable};
pub(crate) use top::LastTop;
pub(crate) use view::Row as SagaInList;

type Shared = axum::extract::State<Arc<Api>>;
type Routes = ApiRouter<Arc<Api>>;

/// What may go wrong with the store.
const READS: &[u16] = &[503];
/// What may go wrong with one thing that is named.
const READS_ONE: &[u16] = &[404, 503];
/// What may go wrong with what the loop decides.
const DECIDES: &[u16] = &[404, 409, 422, 429, 503];
/// What may go wrong with a stream.
const STREAMS: &[u16] = &[404, 429, 503];

/// Routes that want a token.
fn guarded() -> Routes {
    let routes = definition_routes(ApiRouter::new());
    let routes = saga_routes(routes);
    let routes = action_routes(routes);
    let routes = fleet_routes(routes);
    let routes = replays::routes(routes);
    let routes = cluster::routes(routes);
    let routes = events::routes(routes);
    let routes = schedules::routes(routes);
    let routes = audit::routes(routes);
    let routes = alerts::routes(routes);
    let routes = reservations::routes(routes);
    let routes = upgrades::routes(routes);
    access_routes(routes)
}

/// Routes under `/v1` that want none: each guards itself.
fn open() -> Routes {
    hooks::routes(ApiRouter::new())
}

fn definition_routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "definitions", summary, problems);
    routes
        .api_route(
            "/definitions",
            put_with(
                definitions::put,
                says("registerDefinition", "Register a definition.", DECIDES),
            )
            .get_with(
                definitions::list,
                says(
                    "listDefinitions",
                    "Registered definitions, newest first.",
                    READS,
                ),
            ),
        )
        .api_route(
            "/definitions/check",
            post_with(
                definitions::check,
                says(
                    "checkDefinition",
                    "Look at a definition without registering it.",
                    &[],
                ),
            ),
        )
        .api_route(
            "/definitions/{name}",
            get_with(
                definitions::versions,
                says(
                    "listVersions",
                    "The versions of one definition, and what is wrong with the newest, or with `version`, now.",
                    READS_ONE,
                ),
            ),
        )
        .api_route(
            "/definitions/{name}/{version}",
            get_with(
                definitions::one,
                says(
                    "getDefinition",
                    "A definition as it was registered.",
                    READS_ONE,
                ),
            ),
        )
}

fn saga_routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "sagas", summary, problems);
    routes
        .api_route(
            "/sagas",
            post_with(
                sagas::start,
                says("startSaga", "Start a saga. With the header Idempotency-Key (or `key`, or `id`), asked again it is the same saga.", DECIDES),
            )
            .get_with(sagas::list, says("listSagas", "Sagas, newest first.", READS)),
        )
        .api_route(
            "/sagas/{id}",
            get_with(sagas::one, says("getSaga", "One saga, with its steps and why they wait.", READS_ONE)),
        )
        .api_route(
            "/sagas/{id}/records",
            get_with(sagas::records, says("listRecords", "What happened to a saga.", READS_ONE)),
        )
        .api_route(
            "/sagas/{id}/attempts",
            get_with(
                attempts::attempts,
                says("listAttempts", "The attempts of a saga: by whom, when, and what came of each.", READS_ONE),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/items",
            get_with(
                items::items,
                says("listItems", "The items of a step that is done for each of a list, in their order.", READS_ONE),
            ),
        )
        .api_route(
            "/sagas/{id}/events",
            get_with(live::saga, says("watchSaga", "A saga as it changes: server-sent events `saga`, `end`, `stopping`.", STREAMS)),
        )
        .api_route(
            "/watch",
            get_with(live::list, says("watchSagas", "Sagas as they start and change: server-sent events `watching`, `saga`, `lagged`, `stopping`.", STREAMS)),
        )
}

fn action_routes(routes: Routes) -> Routes {
    let saga = |id, summary| says(id, "sagas", summary, DECIDES);
    let person = |id, summary| says(id, "people", summary, DECIDES);
    routes
        .api_route(
            "/sagas/{id}/cancel",
            post_with(
                actions::cancel,
                saga("cancelSaga", "Take back what was done."),
            ),
        )
        .api_route(
            "/sagas/{id}/pause",
            post_with(actions::pause, saga("pauseSaga", "Start nothing new.")),
        )
        .api_route(
            "/sagas/{id}/resume",
            post_with(actions::resume, saga("resumeSaga", "Go on.")),
        )
        .api_route(
            "/sagas/{id}/abandon",
            post_with(
                actions::abandon,
                saga("abandonSaga", "Give up, leaving what was done."),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/retry",
            post_with(
                actions::retry,
                person("retryStep", "Try a parked step, or a parked undo, again."),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/edit",
            post_with(
                edit_step::edit,
                person(
                    "editStep",
                    "Try a parked step, or a parked undo, with another input, or by another task type.",
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/skip",
            post_with(actions::skip, person("skipStep", "Go on without a step.")),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/approve",
            post_with(
                actions::approve,
                person(
                    "approveStep",
                    "Say yes to a step that asks; the step says who may.",
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/reject",
            post_with(
                actions::reject,
                person(
                    "rejectStep",
                    "Say no to a step that asks; the step says who may.",
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/steps/{step}/resolve",
            post_with(
                actions::resolve,
                person("resolveStep", "Say that a step was done or undone by hand."),
            ),
        )
        .api_route(
            "/sagas/{id}/work-items/{number}",
            get_with(
                work_items::one,
                says(
                    "getWorkItem",
                    "people",
                    "One open work item: what was tried and with what, what can be done now, and what goes on meanwhile.",
                    READS_ONE,
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/work-items/{number}/acknowledge",
            post_with(
                actions::acknowledge,
                person("acknowledge", "A work item that only informs was seen."),
            ),
        )
        .api_route(
            "/sagas/{id}/work-items/{number}/assign",
            post_with(
                assign::assign,
                person(
                    "assignWorkItem",
                    "Give a work item to somebody, or say by when it should be done.",
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/work-items/{number}/take",
            post_with(
                assign::take,
                person("takeWorkItem", "Take a work item: it is escalated no further."),
            ),
        )
        .api_route(
            "/sagas/{id}/work-items/{number}/give-back",
            post_with(
                assign::give_back,
                person(
                    "giveWorkItemBack",
                    "Give a work item back to whose it was: it is escalated again.",
                ),
            ),
        )
        .api_route(
            "/work-items",
            get_with(
                lists::work_items,
                says(
                    "listWorkItems",
                    "people",
                    "What people have to decide, oldest first.",
                    READS,
                ),
            ),
        )
        .api_route(
            "/dead-letters",
            get_with(
                dead_letters::list,
                says(
                    "listDeadLetters",
                    "people",
                    "Messages nobody could use, newest first.",
                    READS,
                ),
            ),
        )
        .api_route(
            "/dead-letters/{id}",
            get_with(
                dead_letters::one,
                says(
                    "getDeadLetter",
                    "people",
                    "One message nobody could use, byte for byte.",
                    READS_ONE,
                ),
            ),
        )
}

fn fleet_routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "fleet", summary, problems);
    routes
        .api_route(
            "/workers",
            get_with(
                lists::workers,
                says(
                    "listWorkers",
                    "Workers heard of lately, and what they run.",
                    &[],
                ),
            ),
        )
        .api_route(
            "/task-types",
            get_with(
                lists::task_types,
                says("listTaskTypes", "The catalogue.", &[]),
            ),
        )
        .api_route(
            "/task-types/{type}",
            get_with(
                lists::task_type,
                says("getTaskType", "One task type's manifest.", &[404]),
            ),
        )
        .api_route(
            "/top",
            get_with(
                top::top,
                says("top", "Where time goes, by task type.", READS),
            ),
        )
}

fn access_routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "access", summary, problems);
    routes
        .api_route(
            "/me",
            get_with(tokens::me, says("me", "Who the caller is.", &[])),
        )
        .api_route(
            "/tokens",
            get_with(
                tokens::list,
                says("listTokens", "Every token, without itself.", &[]),
            )
            .post_with(
                tokens::make,
                says(
                    "makeToken",
                    "Make a token; it is shown this once.",
                    &[409, 422, 503],
                ),
            ),
        )
        .api_route(
            "/tokens/{name}",
            delete_with(
                tokens::revoke,
                says("revokeToken", "Revoke a token.", &[404, 409, 503]),
            ),
        )
}

/// The OpenAPI document of the API, as it is served and as it stands in `schemas/json`.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    let (_, _, document) = document::drawn(|| (guarded(), open()));
    document::text(&document)
}

/// Every route.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let (guarded, open, document) = document::drawn(|| (guarded(), open()));
    let document = document::text(&document).unwrap_or_default();
    let auditing = Arc::new(audited::Auditing::new(api.clone(), &document));
    let guarded = guarded
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(
            auditing,
            audited::audited,
        ))
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            auth::require_token,
        ));
    let json = [(header::CONTENT_TYPE, "application/json")];
    let served = get(move || ready((json, document.clone())));
    let open = open.route("/openapi.json", served);
    let open = open.method_not_allowed_fallback(problem::no_method);
    Router::new()
        .nest(document::PREFIX, guarded)
        .nest(document::PREFIX, open)
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(problem::no_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_operation_says_who_may_and_what_goes_wrong() {
        let document: Value = serde_json::from_str(&openapi().unwrap()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/v1/"), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                let of = format!("{method} {path}");
                let id = operation["operationId"].as_str();
                assert!(ids.insert(id.unwrap().to_owned()), "{of}");
                assert!(operation["summary"].is_string(), "{of}");
                let responses = operation["responses"].as_object().unwrap();
                let guards_itself = path.starts_with("/v1/hooks/");
                if !guards_itself {
                    let role = operation["x-role"].as_str().unwrap_or_default();
                    assert!(baton_engine::Role::of(role).is_some(), "{of} wants no role");
                    assert!(responses.contains_key("401"), "{of}");
                    assert!(responses.contains_key("403"), "{of}");
                }
                let good = responses.keys().any(|code| code.starts_with('2'));
                assert!(good, "{of} has no good answer");
            }
        }
        assert!(ids.len() > 25, "{ids:?}");
    }

    #[test]
    fn every_part_of_a_path_stands_in_the_document() {
        let document: Value = serde_json::from_str(&openapi().unwrap()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let parts = path.split('/').filter_map(|part| part.strip_prefix('{'));
            let parts: BTreeSet<&str> = parts.filter_map(|part| part.strip_suffix('}')).collect();
            for (method, operation) in item.as_object().unwrap() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let named = parameters.filter(|one| one["in"] == "path");
                let named: BTreeSet<&str> = named.filter_map(|one| one["name"].as_str()).collect();
                assert_eq!(named, parts, "{method} {path}");
            }
        }
    }

    #[test]
    fn the_headers_that_are_read_stand_in_the_document() {
        let document: Value = serde_json::from_str(&openapi().unwrap()).unwrap();
        let names = |method: &str, path: &str| -> Vec<String> {
            let parameters = document["paths"][path][method]["parameters"].as_array();
            let headers = parameters
                .into_iter()
                .flatten()
                .filter(|one| one["in"] == "header");
            let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
            headers.map(name).collect()
        };
        assert_eq!(names("post", "/v1/sagas"), ["Baton-By", "Idempotency-Key"]);
        assert_eq!(names("post", "/v1/sagas/{id}/cancel"), ["Baton-By"]);
        assert_eq!(names("get", "/v1/sagas/{id}/events"), ["Last-Event-ID"]);
        assert!(names("get", "/v1/sagas").is_empty());
    }
}
