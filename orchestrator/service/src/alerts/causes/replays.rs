//! Replays of dead letters that have stopped by themselves: nothing of them goes on until somebody resumes or cancels them. One that somebody paused is none.

use std::collections::BTreeSet;

use baton_driver::StoreError;
use baton_store::{AlertState, OperationRow, OperationState, Reader as _};
use serde_json::json;
use uuid::Uuid;

use super::{Cause, Found, Look};
use crate::alerts::Kind;
use crate::metrics;

/// Replays that have stopped and are looked at, the newest. One that is an alert is looked at for as long as it is one.
const REPLAYS_MAX: usize = 500;

fn key(id: Uuid) -> String {
    format!("replay-stopped/{id}")
}

pub(super) async fn find(look: &Look<'_>, found: &mut Found) -> Result<(), StoreError> {
    let state = OperationState::Stopped;
    let mut rows = look.reader.dead_operations_in(state, REPLAYS_MAX).await?;
    let is_full = rows.len() == REPLAYS_MAX;
    let seen: BTreeSet<String> = rows.iter().map(|row| key(row.id)).collect();
    let alerts = look
        .known
        .values()
        .filter(|row| row.kind == Kind::ReplayStopped.as_str() && row.state == AlertState::Open);
    // where all that have stopped were read, what is not among them has not
    let older: Vec<Uuid> = alerts
        .filter(|row| is_full && !seen.contains(&row.key))
        .filter_map(|row| row.data["operation"].as_str()?.parse().ok())
        .collect();
    for id in older {
        rows.extend(look.reader.dead_operation(id).await?);
    }
    rows.retain(|row| row.state == state);
    metrics::dead_operations("stopped", rows.len());
    let keyed = rows.into_iter().map(|row| (key(row.id), row)).collect();
    let (kept, beyond) = look.kept(keyed);
    let causes = kept.into_iter().map(|(key, row)| cause(key, &row));
    found.take(Kind::ReplayStopped, causes.collect(), beyond);
    Ok(())
}

fn cause(key: String, row: &OperationRow) -> Cause {
    let id = row.id;
    Cause {
        key,
        kind: Kind::ReplayStopped,
        title: format!(
            "a replay of {} dead letters has stopped by itself: {}",
            row.found, row.why
        ),
        object: format!("dead-letters/operations/{id}"),
        command: format!("baton dead ops show {id}"),
        data: json!({ "operation": id, "by": row.by, "reason": row.reason, "stopped_at": row.changed_at, "found": row.found, "replayed": row.total.replayed, "failed": row.total.failed }),
        silent: false,
    }
}
