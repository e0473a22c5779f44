//! Lists: work items, workers, task types.

use std::future::{Ready, ready};

use axum::Json;
use axum::extract::State;
use baton_engine::{WorkItem, WorkItemKind};
use baton_messages::{Manifest, SagaId, TaskType, Timestamp};
use baton_store::{ItemFilter, Reader as _, WorkItemView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::{Caller, Viewer};
use super::extract::{Nothing, Path, Query};
use super::page::{Cursor, Limit};
use super::problem::{Answer, Problem};
use crate::clock;
use crate::fleet::WorkerView;

/// Which work items.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichItems {
    /// Closed ones as well.
    #[serde(default)]
    all: bool,
    /// Only open ones (the default), or, as `false`, closed ones as well.
    open: Option<bool>,
    /// Only those of this kind.
    kind: Option<WorkItemKind>,
    /// Only open ones of this person or team.
    assignee: Option<String>,
    /// Only open ones of the token that asks.
    #[serde(default)]
    mine: bool,
    /// Only open ones of nobody.
    #[serde(default)]
    unassigned: bool,
    /// Only open ones that should have been done; those that are due longest come first.
    #[serde(default)]
    overdue: bool,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of work items.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkItems {
    /// Oldest first.
    work_items: Vec<OneWorkItem>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, as `SAGA/NUMBER`: they hide none of the others.
    unreadable: Vec<String>,
}

/// A work item of a saga.
#[derive(Debug, Serialize, JsonSchema)]
struct OneWorkItem {
    saga: SagaId,
    item: WorkItem,
    /// Whether it is open and should have been done.
    overdue: bool,
    /// When and by whom it was closed; none while it is open.
    closed: Option<Closed>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Closed {
    at: Timestamp,
    by: String,
}

impl WhichItems {
    /// Whose and by when, where that is asked for: of open ones alone.
    fn filter(&self, caller: &Caller, now: Timestamp) -> Answer<Option<ItemFilter>> {
        let asked = [
            self.assignee.as_ref().map(|name| name.trim().to_owned()),
            self.mine.then(|| caller.token.name.clone()),
            self.unassigned.then(String::new),
        ];
        let mut asked = asked.into_iter().flatten();
        let whose = asked.next();
        if asked.next().is_some() {
            return Err(Problem::bad_request(
                "`assignee`, `mine` and `unassigned` say whose: name one of them",
            ));
        }
        if whose.is_none() && !self.overdue {
            return Ok(None);
        }
        if self.all || self.open == Some(false) {
            return Err(Problem::bad_request(
                "what is closed is not listed by whose it was or by when it was due; leave `all` out",
            ));
        }
        Ok(Some(ItemFilter {
            whose,
            due_until: self.overdue.then_some(now),
            escalated: false,
            kind: self.kind,
        }))
    }
}

/// What people have to act on, oldest first.
pub(crate) async fn work_items(
    State(api): Shared,
    Viewer(caller): Viewer,
    Query(which): Query<WhichItems>,
) -> Answer<Json<WorkItems>> {
    let now = clock::now();
    let filter = which.filter(&caller, now)?;
    let open_only = which.open.unwrap_or(!which.all);
    let after = which.cursor.map(Cursor::work_item);
    let limit = Limit::rows(which.limit);
    let page = match filter {
        Some(filter) => api.reader.work_items_of(filter, after, limit).await,
        None => {
            let (reader, kind) = (&api.reader, which.kind);
            reader.work_items(open_only, kind, after, limit).await
        }
    };
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page.next;
    let rows = page.rows.into_iter();
    Ok(Json(WorkItems {
        work_items: rows.map(|view| work_item(view, now)).collect(),
        next: next.map(|next| Cursor::text(next.opened_at, next.saga.0, next.number)),
        unreadable: page.unreadable,
    }))
}

fn work_item(view: WorkItemView, now: Timestamp) -> OneWorkItem {
    OneWorkItem {
        saga: view.saga,
        overdue: view.closed.is_none() && view.item.overdue(now),
        item: view.item,
        closed: view.closed.map(|(at, by)| Closed { at, by }),
    }
}

/// Workers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Workers {
    /// By name.
    workers: Vec<WorkerView>,
}

/// The workers heard of lately.
pub(crate) fn workers(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(Nothing {}): Query<Nothing>,
) -> Ready<Json<Workers>> {
    let workers = api.workers.all(clock::now());
    ready(Json(Workers { workers }))
}

/// The catalogue.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskTypes {
    /// By name.
    task_types: Vec<Manifest>,
}

/// The catalogue.
pub(crate) fn task_types(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(Nothing {}): Query<Nothing>,
) -> Ready<Json<TaskTypes>> {
    let task_types = api.types.all();
    ready(Json(TaskTypes { task_types }))
}

/// One task type.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneType {
    /// Its name and major version.
    #[schemars(with = "TaskType")]
    r#type: String,
}

/// The manifest of one task type.
pub(crate) fn task_type(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<OneType>,
) -> Ready<Answer<Json<Manifest>>> {
    let found = TaskType::new(&of.r#type)
        .map_err(|error| Problem::bad_request(error.to_string()))
        .and_then(|wanted| {
            let known = api.known_type(&wanted)?;
            Ok(known.manifest.clone())
        });
    ready(found.map(Json))
}
