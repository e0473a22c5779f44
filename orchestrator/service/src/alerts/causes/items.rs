//! Work items that should have been done, and those that stayed open and are another's now: found by their own indexes, so that what is due later costs
//! nothing. Each escalation is an alert of its own, over when the next comes, when somebody takes the item, or when it is closed.

use baton_driver::StoreError;
use baton_engine::definition::rfc3339;
use baton_engine::{WorkItem, WorkItemKind};
use baton_messages::SagaId;
use baton_store::{AlertRow, ItemFilter, Reader as _, WorkItemView};
use serde_json::{Value, json};

use super::{Cause, Found, ITEMS_MAX, Look, instant};
use crate::alerts::Kind;
use crate::choices;

/// Open work items whose time is over, approvals as well: whoever gave one a time wants to hear of it.
pub(super) async fn overdue(look: &Look<'_>, found: &mut Found) -> Result<(), StoreError> {
    let filter = ItemFilter {
        due_until: Some(look.now),
        ..ItemFilter::default()
    };
    let title = |item: &WorkItem| {
        let due = item.due_at.map(rfc3339).unwrap_or_default();
        format!(
            "{} should have decided by {due}: {}",
            item.who(),
            item.title
        )
    };
    // another time is another alert: what was late once is said again, to whom it is for then
    let key = |view: &WorkItemView| {
        let WorkItemView { saga, item, .. } = view;
        let due = item.due_at.map(|at| at.0).unwrap_or_default();
        format!("overdue/{saga}/{}/{due}", item.number)
    };
    find(look, Kind::Overdue, (filter, "due_at"), key, title, found).await
}

/// Open work items that were escalated, and that nobody has taken since.
pub(super) async fn escalated(look: &Look<'_>, found: &mut Found) -> Result<(), StoreError> {
    let filter = ItemFilter {
        escalated: true,
        ..ItemFilter::default()
    };
    let title = |item: &WorkItem| {
        let since = rfc3339(item.opened_at);
        format!(
            "{} has to decide what is open since {since}: {}",
            item.who(),
            item.title
        )
    };
    let key = |view: &WorkItemView| {
        let WorkItemView { saga, item, .. } = view;
        format!("escalated/{saga}/{}/{}", item.number, item.escalated)
    };
    find(
        look,
        Kind::Escalated,
        (filter, "opened_at"),
        key,
        title,
        found,
    )
    .await
}

async fn find(
    look: &Look<'_>,
    kind: Kind,
    // and the instant it is in the order of
    (filter, by): (ItemFilter, &str),
    key: impl Fn(&WorkItemView) -> String,
    title: impl Fn(&WorkItem) -> String,
    found: &mut Found,
) -> Result<(), StoreError> {
    let page = look.reader.work_items_of(filter, None, ITEMS_MAX).await?;
    if !page.unreadable.is_empty() {
        // of those nobody knows which alerts are theirs
        found.part(kind);
    }
    if let Some(next) = &page.next {
        let place = |row: &AlertRow| instant(&row.data, by);
        found.cut(look.known, kind, next.opened_at, place);
    }
    let keyed = page.rows.into_iter().map(|view| (key(&view), view));
    let (kept, beyond) = look.kept(keyed.collect());
    let mut causes = Vec::with_capacity(kept.len());
    for (key, WorkItemView { saga, item, .. }) in kept {
        let silent = look.settled(&key).is_none() && look.is_own(saga).await?;
        causes.push(Cause {
            key,
            kind,
            title: title(&item),
            object: format!("sagas/{saga}"),
            command: command(saga, &item),
            data: data(saga, &item),
            silent,
        });
    }
    found.take(kind, causes, beyond);
    Ok(())
}

/// One that is nobody's by hand is taken first, so that two do not see to it; of an approval that is the decision itself.
fn command(saga: SagaId, item: &WorkItem) -> String {
    let is_free = item.taken.as_ref().is_none_or(|taken| taken.team);
    match is_free && item.kind != WorkItemKind::Approval {
        true => format!("baton work take {saga} {}", item.number),
        false => format!("baton work show {saga}"),
    }
}

fn data(saga: SagaId, item: &WorkItem) -> Value {
    json!({
        "saga": saga, "number": item.number, "step": item.step, "item": item.kind, "owner": item.owner, "assignee": item.who(),
        "opened_at": item.opened_at, "due_at": item.due_at, "escalated": item.escalated, "taken": item.taken.is_some(),
        "choices": item.choices, "commands": choices::commands(saga, item),
    })
}
