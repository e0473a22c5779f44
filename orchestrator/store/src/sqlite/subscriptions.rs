//! The table of steps that wait for events: written with the batch that says so, looked up by the type of an event.

use baton_driver::{SubscriptionChange, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{SagaId, StepId};
use rusqlite::{Connection, Row, params};

use super::columns::{instant, int, rows, saga_id, word};
use super::load::all;

const ADD: &str = "INSERT INTO subscriptions (partition, saga, step, event, since) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (saga, step) DO UPDATE SET event = excluded.event, since = excluded.since, searched = 0";
const REMOVE: &str = "DELETE FROM subscriptions WHERE saga = ?1 AND step = ?2";
const SEARCHED: &str = "UPDATE subscriptions SET searched = 1 WHERE saga = ?1 AND step = ?2";
const UNSEARCHED: &str =
    "SELECT saga, step, event, since FROM subscriptions WHERE partition = ?1 AND searched = 0
    ORDER BY saga, step";
const OF_EVENT: &str = "SELECT saga, step, event, since FROM subscriptions WHERE event = ?1 AND (saga, step) > (?2, ?3)
    ORDER BY saga, step LIMIT ?4";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 2] = [UNSEARCHED, OF_EVENT];

/// Makes a batch's changes, in their order.
pub(crate) fn write(
    conn: &Connection,
    partition: u8,
    changes: &[SubscriptionChange],
) -> rusqlite::Result<()> {
    for change in changes {
        match change {
            SubscriptionChange::Add(row) => conn.prepare_cached(ADD)?.execute(params![
                partition,
                row.saga.0.as_bytes(),
                row.step.as_str(),
                row.event.as_str(),
                int(row.since.0)
            ])?,
            SubscriptionChange::Remove(saga, step) => conn
                .prepare_cached(REMOVE)?
                .execute(params![saga.0.as_bytes(), step.as_str()])?,
            SubscriptionChange::Searched(saga, step) => conn
                .prepare_cached(SEARCHED)?
                .execute(params![saga.0.as_bytes(), step.as_str()])?,
        };
    }
    Ok(())
}

/// Those for which nobody has written down that the kept events were searched.
pub(crate) fn unsearched(
    conn: &Connection,
    partition: u8,
) -> rusqlite::Result<Vec<SubscriptionRow>> {
    all(conn, UNSEARCHED, [partition], row)
}

/// Steps that wait for events of this type, by saga and step.
pub(crate) fn of_event(
    conn: &Connection,
    kind: &str,
    after: Option<&(SagaId, StepId)>,
    limit: usize,
) -> rusqlite::Result<Vec<SubscriptionRow>> {
    // The empty blob sorts before every id.
    let (saga, step): (&[u8], &str) =
        after.map_or((&[], ""), |(saga, step)| (saga.0.as_bytes(), step.as_str()));
    let mut found = Vec::new();
    for pattern in EventPattern::all_for(kind) {
        let values = params![pattern, saga, step, rows(limit)];
        found.extend(all(conn, OF_EVENT, values, row)?);
    }
    found.sort_by(|a, b| (a.saga, &a.step).cmp(&(b.saga, &b.step)));
    found.truncate(limit);
    Ok(found)
}

fn row(row: &Row<'_>) -> rusqlite::Result<SubscriptionRow> {
    Ok(SubscriptionRow {
        saga: saga_id(row, 0)?,
        step: word(row, 1, |text| StepId::new(text).ok())?,
        event: word(row, 2, |text| EventPattern::new(text).ok())?,
        since: instant(row, 3)?,
    })
}
