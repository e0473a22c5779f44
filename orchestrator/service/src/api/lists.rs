//! Lists: work items, dead letters, workers, task types.

use std::future::{Ready, ready};

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use baton_driver::DeadLetterRow;
use baton_messages::SagaId;
use baton_store::{DeadLetterCursor, WorkItemCursor, WorkItemView};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::Query;
use super::problem::{Answer, Problem};
use super::{Shared, cursor};
use crate::clock;

/// Rows of a page where none are asked for.
const PAGE_ROWS: usize = 50;
/// Dead letters of a page at most: each may be half a mebibyte.
const LETTERS_MAX: usize = 100;

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Of work items: closed ones as well.
    #[serde(default)]
    all: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// What people have to act on, newest first.
pub(crate) async fn work_items(
    State(api): Shared,
    Query(which): Query<Which>,
) -> Answer<Json<Value>> {
    let after = match &which.cursor {
        None => None,
        Some(text) => {
            let (opened_at, id, number) = cursor::read(text)?;
            Some(WorkItemCursor {
                opened_at,
                saga: SagaId(id),
                number: number.unwrap_or(0),
            })
        }
    };
    let limit = which.limit.unwrap_or(PAGE_ROWS);
    let page = api.reader.work_items(!which.all, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page
        .next
        .map(|next| cursor::write(next.opened_at, next.saga.0, Some(next.number)));
    let rows: Vec<Value> = page.rows.iter().map(work_item).collect();
    Ok(Json(json!({ "work_items": rows, "next": next })))
}

fn work_item(view: &WorkItemView) -> Value {
    let closed = view
        .closed
        .as_ref()
        .map(|(at, by)| json!({ "at": at, "by": by }));
    json!({ "saga": view.saga, "item": view.item, "closed": closed })
}

/// What nobody could use, newest first.
pub(crate) async fn dead_letters(
    State(api): Shared,
    Query(which): Query<Which>,
) -> Answer<Json<Value>> {
    let after = match &which.cursor {
        None => None,
        Some(text) => {
            let (at, id, _) = cursor::read(text)?;
            Some(DeadLetterCursor { at, id })
        }
    };
    let limit = which.limit.unwrap_or(PAGE_ROWS).min(LETTERS_MAX);
    let page = api.reader.dead_letters(after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page.next.map(|next| cursor::write(next.at, next.id, None));
    let rows: Vec<Value> = page.rows.iter().map(dead_letter).collect();
    Ok(Json(json!({ "dead_letters": rows, "next": next })))
}

/// The body as text where it is text, else in base64: byte for byte either way.
fn dead_letter(row: &DeadLetterRow) -> Value {
    let (body, base64) = match std::str::from_utf8(&row.body) {
        Ok(text) => (Some(text), None),
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&row.body);
            (None, Some(encoded))
        }
    };
    json!({
        "id": row.id, "at": row.at, "reason": row.reason, "error": row.error,
        "queue": row.queue, "exchange": row.exchange, "key": row.key,
        "message_id": row.message_id, "kind": row.kind, "saga": row.saga,
        "properties": row.properties, "body": body, "body_base64": base64,
    })
}

/// The workers heard of lately.
pub(crate) fn workers(State(api): Shared) -> Ready<Json<Value>> {
    let all = api.workers.all(clock::now());
    ready(Json(json!({ "workers": all })))
}

/// The catalogue.
pub(crate) fn task_types(State(api): Shared) -> Ready<Json<Value>> {
    ready(Json(json!({ "task_types": api.types.all() })))
}
