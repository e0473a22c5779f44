//! Reading work items: all by age, and the open ones by whose they are and by when.

use baton_driver::StoreError;
use baton_engine::WorkItemKind;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{
    document, instant, instant_if_set, int, listed, owned, rows as limited, saga_id, small,
    string_if_set,
};
use super::fault::Fault;
use super::queries;
use super::reader::PostgresReader;
use super::rows::kind_word;
use crate::items::ItemFilter;
use crate::read::{Listed, Page, WorkItemCursor, WorkItemView, listed as page, page_rows};

/// The values of a place; before the first: nothing was opened, or due, before 1970.
fn place(after: Option<WorkItemCursor>) -> (i64, Uuid, i64) {
    after.map_or((-1, Uuid::nil(), 0), |after| {
        let number = i64::from(after.number);
        (int(after.opened_at.0), after.saga.0, number)
    })
}

/// A page of all of them, or of those that are open.
pub(super) async fn all(
    reader: &PostgresReader,
    open_only: bool,
    kind: Option<WorkItemKind>,
    after: Option<WorkItemCursor>,
    limit: usize,
) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
    const WHAT: &str = "work items";
    let limit = page_rows(limit);
    let (at, saga, number) = place(after);
    let most = limited(limit + 1);
    let kind = kind.map(kind_word).transpose();
    let kind = kind.map_err(|error| Fault::from(error).read(WHAT))?;
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&at, &saga, &number, &most];
    if let Some(kind) = &kind {
        values.push(kind);
    }
    let sql = queries::work_items(open_only, kind.is_some());
    let found = reader.list(WHAT, &sql, &values, listed_item).await?;
    Ok(page(found, limit, |view| WorkItemCursor {
        opened_at: view.item.opened_at,
        saga: view.saga,
        number: view.item.number,
    }))
}

/// A page of the open ones by whose they are and by when.
pub(super) async fn of(
    reader: &PostgresReader,
    filter: &ItemFilter,
    after: Option<WorkItemCursor>,
    limit: usize,
) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
    const WHAT: &str = "work items by whose they are";
    let limit = page_rows(limit);
    let (at, saga, number) = place(after);
    let most = limited(limit + 1);
    let kind = filter.kind.map(kind_word).transpose();
    let kind = kind.map_err(|error| Fault::from(error).read(WHAT))?;
    let whose = filter.whose.as_deref().map(owned);
    let due = filter.due_until.map(|at| int(at.0));
    let values: [&(dyn ToSql + Sync); 7] = [&at, &saga, &number, &most, &kind, &whose, &due];
    let sql = queries::work_items_of(filter);
    let found = reader.list(WHAT, &sql, &values, listed_item).await?;
    Ok(page(found, limit, |view| filter.cursor(view)))
}

fn listed_item(row: &Row) -> Result<Listed<WorkItemView, WorkItemCursor>, Fault> {
    listed(row, work_item, |row| {
        let place = WorkItemCursor {
            saga: saga_id(row, 0)?,
            number: small(row, 1)?,
            opened_at: instant(row, 2)?,
        };
        let name = format!("{}/{}", place.saga, place.number);
        Ok((place, name))
    })
}

fn work_item(row: &Row) -> Result<WorkItemView, Fault> {
    Ok(WorkItemView {
        saga: saga_id(row, 0)?,
        item: document(row, 3)?,
        closed: instant_if_set(row, 4)?.zip(string_if_set(row, 5)?),
    })
}
