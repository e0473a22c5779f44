//! The table of what is owed: events and words to other sagas that are published again. Written with a batch, read lane by lane.

use baton_driver::OwedRow;
use baton_messages::Timestamp;
use deadpool_postgres::GenericClient;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{
    document, get, instant, int, owned, rows as limited, saga_id, string, text, uint,
};
use super::connect::rows;
use super::fault::Fault;
use super::load::each;

/// From lane to lane along the index, however much waits in each.
const LANES: &str = "WITH RECURSIVE lanes (lane) AS (
        (SELECT o.lane FROM owed o WHERE o.partition = $1 ORDER BY o.lane LIMIT 1)
        UNION ALL SELECT (SELECT o.lane FROM owed o WHERE o.partition = $1 AND o.lane > l.lane ORDER BY o.lane LIMIT 1)
            FROM lanes l WHERE l.lane IS NOT NULL)
    SELECT l.lane FROM lanes l WHERE l.lane IS NOT NULL";
const PAGE: &str = "SELECT id, saga, lane, since, what FROM owed
    WHERE partition = $1 AND lane = $2 AND (since, id) > ($3, $4) ORDER BY since, id LIMIT $5";
const COUNT: &str = "SELECT n FROM counts WHERE partition = $1 AND name = 'owed'";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 2] = [LANES, PAGE];

/// What a batch changes, as `change_owed` takes it; none where it changes nothing.
pub(crate) fn changes(remove: &[Uuid], add: &[OwedRow]) -> serde_json::Result<Option<String>> {
    if remove.is_empty() && add.is_empty() {
        return Ok(None);
    }
    let mut new = Vec::with_capacity(add.len());
    for row in add {
        new.push(json!({
            "id": row.id, "lane": text(&row.lane), "saga": row.saga, "since": int(row.since.0),
            "what": serde_json::to_string(&row.what)?,
        }));
    }
    serde_json::to_string(&json!({ "gone": remove, "new": new })).map(Some)
}

/// In which lanes something is owed, and how much in all of them.
pub(crate) async fn lanes(
    client: &impl GenericClient,
    partition: u8,
) -> Result<(Vec<String>, u64), Fault> {
    let id = i16::from(partition);
    let lanes = rows(client, LANES, &[&id]).await?;
    let count = rows(client, COUNT, &[&id]).await?;
    let count = count.first().map_or(Ok(0), |row| get(row, 0).map(uint))?;
    Ok((each(&lanes, |row| string(row, 0))?, count))
}

/// Some of a lane, longest first.
pub(crate) async fn page(
    client: &impl GenericClient,
    partition: u8,
    lane: &str,
    after: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> Result<Vec<OwedRow>, Fault> {
    // nothing is owed since before 1970
    let (since, id) = after.map_or((-1, Uuid::nil()), |(since, id)| (int(since.0), id));
    let (partition, lane) = (i16::from(partition), owned(lane));
    let found = rows(
        client,
        PAGE,
        &[&partition, &lane, &since, &id, &limited(limit)],
    )
    .await?;
    each(&found, row)
}

fn row(row: &Row) -> Result<OwedRow, Fault> {
    let id: Uuid = get(row, 0)?;
    let what = document(row, 4);
    if let Err(error) = &what {
        tracing::error!(message.id = %id, %error, "what is owed cannot be read by this version; it stays, and one that can read it publishes it");
    }
    Ok(OwedRow {
        id,
        saga: saga_id(row, 1)?,
        lane: string(row, 2)?,
        since: instant(row, 3)?,
        what: what.ok(),
    })
}
