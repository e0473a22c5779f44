//! What the driver reads, through the connection that commits: it sees exactly what it has committed.

use std::collections::BTreeMap;

use baton_driver::{
    DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded, LogRow, Recovered, SubscriptionRow, Unbroken,
    UnsentRow,
};
use baton_engine::definition::EventPattern;
use baton_engine::state::SNAPSHOT_VERSION;
use baton_engine::{Entry, SagaState};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use deadpool_postgres::{GenericClient, Object};
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{
    document, get, instant, instant_if_set, int, owned, rows as limited, saga_id, saga_row, small,
    string, uint, word,
};
use super::connect::rows;
use super::fault::Fault;
use super::numbers::Standing;
use super::{owed, queries};

// OFFSET 0 keeps a subquery from being made into a join, which might be planned to read the whole table
const SAGAS: &str = "SELECT a.place, s.number, s.cold, n.seq, n.state, s.purged_at IS NOT NULL, coalesce(s.active, false)
    FROM unnest($1::uuid[]) WITH ORDINALITY AS a (id, place)
    LEFT JOIN LATERAL (SELECT number, cold, purged_at, active FROM sagas WHERE id = a.id OFFSET 0) AS s ON true
    LEFT JOIN LATERAL (SELECT seq, state FROM snapshots WHERE saga = a.id AND version <= $2 OFFSET 0) AS n ON true
    WHERE s.number IS NOT NULL OR n.seq IS NOT NULL";
const ENTRIES: &str = "SELECT a.saga, r.saga_seq, r.log_seq, r.entry FROM unnest($1::bigint[], $2::bigint[]) AS a (saga, after)
    CROSS JOIN LATERAL (SELECT saga_seq, log_seq, entry FROM records WHERE saga = a.saga AND saga_seq >= a.after OFFSET 0) AS r";
const WATERMARK: &str = "SELECT watermark FROM partitions WHERE id = $1";
const LOG_END: &str =
    "SELECT log_seq FROM records WHERE partition = $1 ORDER BY log_seq DESC LIMIT 1";
const IN_DOUBT: &str =
    "SELECT r.log_seq, s.id, r.saga_seq, r.entry FROM records r JOIN sagas s ON s.number = r.saga
    WHERE r.partition = $1 AND r.log_seq > $2 ORDER BY r.log_seq LIMIT $3";
const UNSENT: &str = "SELECT attempt, since FROM unsent WHERE partition = $1 ORDER BY since, id";
const HOT: &str = "SELECT id FROM sagas WHERE partition = $1 AND active AND NOT cold ORDER BY id";
const COLD_DUE: &str = "SELECT id, wake_at FROM sagas WHERE partition = $1 AND wake_at IS NOT NULL ORDER BY wake_at, id LIMIT $2";
/// From type to type along the index, however many sagas wait for each.
const UNSERVED_TYPES: &str = "WITH RECURSIVE types (task_type) AS (
        (SELECT u.task_type FROM unserved u WHERE u.partition = $1 ORDER BY u.task_type LIMIT 1)
        UNION ALL SELECT (SELECT u.task_type FROM unserved u WHERE u.partition = $1 AND u.task_type > t.task_type ORDER BY u.task_type LIMIT 1)
            FROM types t WHERE t.task_type IS NOT NULL)
    SELECT t.task_type FROM types t WHERE t.task_type IS NOT NULL";
const UNSERVED: &str = "SELECT saga FROM unserved WHERE partition = $1 AND task_type = $2 AND saga > $3 ORDER BY saga LIMIT $4";
const UNSEARCHED: &str = "SELECT saga, step, event, since FROM subscriptions WHERE partition = $1 AND NOT searched ORDER BY saga, step";
const OF_EVENT: &str = "SELECT saga, step, event, since FROM subscriptions WHERE event = $1 AND (saga, step) > ($2, $3)
    ORDER BY saga, step LIMIT $4";
const DEFINITION_ADD: &str =
    "INSERT INTO definitions (name, version, source, registered_at, registered_by)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name, version) DO NOTHING";
const DEFINITION_SOURCE: &str = "SELECT source FROM definitions WHERE name = $1 AND version = $2";
const MANIFEST_PUT: &str = "INSERT INTO task_types (task_type, manifest, at) VALUES ($1, $2, $3)
    ON CONFLICT (task_type) DO UPDATE SET manifest = excluded.manifest, at = excluded.at";
pub(crate) const MANIFESTS: &str = "SELECT manifest, task_type FROM task_types ORDER BY task_type";
/// Definitions: all of them, which are few.
pub(crate) const DEFINITIONS: &str = "SELECT name, version, source, registered_at, registered_by FROM definitions ORDER BY name, version";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 12] = [
    SAGAS,
    ENTRIES,
    WATERMARK,
    LOG_END,
    IN_DOUBT,
    UNSENT,
    HOT,
    COLD_DUE,
    UNSERVED_TYPES,
    UNSERVED,
    UNSEARCHED,
    OF_EVENT,
];

/// One of the sagas that were asked for.
struct Found {
    saga: SagaId,
    number: Option<i64>,
    cold: bool,
    snapshot: Option<(u64, Box<SagaState>)>,
    purged: bool,
    active: bool,
}

/// Sagas as the driver folds them, in the order asked for. Most that are asked for are about to start, and cost one question for all of them.
pub(crate) async fn sagas(
    client: &impl GenericClient,
    ids: &[SagaId],
) -> Result<Vec<Loaded>, Fault> {
    let known = known(client, ids).await?;
    folded(client, known).await
}

/// The same, and how each that was asked for stands.
pub(crate) async fn sagas_and_standings(
    client: &impl GenericClient,
    ids: &[SagaId],
) -> Result<(Vec<Loaded>, Vec<(SagaId, Standing)>), Fault> {
    let known = known(client, ids).await?;
    let there = known.iter().filter_map(|one| {
        let number = one.number?;
        let standing = if one.active {
            Standing::Active(number)
        } else {
            Standing::Ended
        };
        Some((one.saga, standing))
    });
    // what is found is told behind all that was asked for
    let asked = ids.iter().map(|saga| (*saga, Standing::Absent));
    let standings = asked.chain(there).collect();
    Ok((folded(client, known).await?, standings))
}

/// Those that are there, in the order asked for.
async fn known(client: &impl GenericClient, ids: &[SagaId]) -> Result<Vec<Found>, Fault> {
    let asked: Vec<Uuid> = ids.iter().map(|saga| saga.0).collect();
    let mut known = rows(client, SAGAS, &[&asked, &i64::from(SNAPSHOT_VERSION)])
        .await?
        .iter()
        .map(|row| found(row, ids))
        .collect::<Result<Vec<(i64, Found)>, Fault>>()?;
    known.sort_unstable_by_key(|(place, _)| *place);
    Ok(known.into_iter().map(|(_, one)| one).collect())
}

async fn folded(client: &impl GenericClient, known: Vec<Found>) -> Result<Vec<Loaded>, Fault> {
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let (mut numbers, mut afters) = (Vec::new(), Vec::new());
    for one in &known {
        if let Some(number) = one.number {
            numbers.push(number);
            afters.push(one.snapshot.as_ref().map_or(0, |(seq, _)| int(*seq)));
        }
    }
    let mut entries: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in rows(client, ENTRIES, &[&numbers, &afters]).await? {
        entries.entry(get(&row, 0)?).or_default().push(row);
    }
    let mut all = Vec::with_capacity(known.len());
    for one in known {
        if one.purged {
            let row = rows(client, &queries::saga(), &[&one.saga.0]).await?;
            let row = row.first().map(saga_row).transpose()?;
            all.extend(row.as_ref().and_then(Loaded::tombstone));
            continue;
        }
        let rows = one.number.and_then(|number| entries.remove(&number));
        all.extend(loaded(one, rows.unwrap_or_default())?);
    }
    Ok(all)
}

fn found(row: &Row, ids: &[SagaId]) -> Result<(i64, Found), Fault> {
    let place: i64 = get(row, 0)?;
    let saga = usize::try_from(place - 1).ok().and_then(|at| ids.get(at));
    let saga = *saga.ok_or_else(|| Fault::misfit(row, 0, format!("{place} was not asked for")))?;
    let seq: Option<i64> = get(row, 3)?;
    let snapshot = match seq {
        None => None,
        // the log says the same
        Some(seq) => match document(row, 4) {
            Ok(state) => Some((uint(seq), state)),
            Err(error) => {
                tracing::warn!(saga.id = %saga, %error, "a snapshot cannot be read: the saga is folded from its records");
                None
            }
        },
    };
    let cold: Option<bool> = get(row, 2)?;
    let one = Found {
        saga,
        number: get(row, 1)?,
        cold: cold.unwrap_or(false),
        snapshot,
        purged: get(row, 5)?,
        active: get(row, 6)?,
    };
    Ok((place, one))
}

/// None when it has neither a snapshot nor a record.
fn loaded(one: Found, mut rows: Vec<Row>) -> Result<Option<Loaded>, Fault> {
    if one.snapshot.is_none() && rows.is_empty() {
        return Ok(None);
    }
    let mut places = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        let saga_seq: i64 = get(&row, 1)?;
        places.push((saga_seq, row));
    }
    places.sort_by_key(|(saga_seq, _)| *saga_seq);
    let mut entries = Vec::with_capacity(places.len());
    let mut unreadable = None;
    let mut unbroken = Unbroken::after(one.snapshot.as_ref().map_or(0, |(seq, _)| *seq));
    for (saga_seq, row) in &places {
        match document::<Entry>(row, 3) {
            Ok(entry) => {
                // behind one that cannot be read nobody knows what is to follow
                if unreadable.is_none() {
                    let followed = unbroken.follow(uint(*saga_seq), entry.records.len());
                    unreadable = followed.err();
                }
                entries.push(entry);
            }
            Err(error) => {
                let log_seq: i64 = get(row, 2)?;
                unreadable =
                    unreadable.or_else(|| Some(format!("row {log_seq} of the log: {error}")));
            }
        }
    }
    let base = one
        .snapshot
        .map_or_else(|| Box::new(SagaState::new(one.saga)), |(_, state)| state);
    Ok(Some(Loaded {
        saga: one.saga,
        base,
        entries,
        cold: one.cold,
        unreadable,
    }))
}

/// One saga as it folds, with its first entry.
pub(crate) async fn folding(
    client: &impl GenericClient,
    saga: SagaId,
) -> Result<Option<(Entry, Loaded)>, Fault> {
    let first = rows(client, queries::FIRST_ENTRY, &[&saga.0]).await?;
    let Some(first) = first.first() else {
        let row = rows(client, &queries::saga(), &[&saga.0]).await?;
        let row = row.first().map(saga_row).transpose()?;
        return Ok(row.as_ref().and_then(Loaded::tombstone_with_first));
    };
    let first: Entry = document(first, 0)?;
    let loaded = sagas(client, &[saga]).await?.pop();
    match loaded {
        Some(Loaded {
            unreadable: Some(what),
            ..
        }) => Err(Fault::Misfit {
            column: "entry".to_owned(),
            what,
        }),
        loaded => Ok(loaded.map(|loaded| (first, loaded))),
    }
}

/// What is needed to go on with a partition.
pub(crate) async fn recover(client: &Object, partition: u8) -> Result<Recovered, Fault> {
    let id = i16::from(partition);
    let marked = rows(client, WATERMARK, &[&id]).await?;
    let watermark: i64 = get(marked.first().ok_or(Fault::Fenced)?, 0)?;
    let log_end = rows(client, LOG_END, &[&id]).await?;
    let doubted = in_doubt(client, partition, uint(watermark), IN_DOUBT_ROWS).await?;
    let unsent = rows(client, UNSENT, &[&id]).await?;
    let (owed_lanes, owed) = owed::lanes(client, partition).await?;
    let hot = rows(client, HOT, &[&id]).await?;
    let cold = rows(client, COLD_DUE, &[&id, &1_i64]).await?;
    let unserved = rows(client, UNSERVED_TYPES, &[&id]).await?;
    let unsearched = rows(client, UNSEARCHED, &[&id]).await?;
    Ok(Recovered {
        watermark: uint(watermark),
        // what lay at the end may have been taken out; its places are never given again
        log_seq: log_end
            .first()
            .map_or(Ok(0), |row| get(row, 0).map(uint))?
            .max(uint(watermark)),
        in_doubt: doubted.rows,
        in_doubt_more: doubted.more,
        unsent: each(&unsent, |row| {
            Ok(UnsentRow {
                of: document(row, 0)?,
                since: instant(row, 1)?,
            })
        })?,
        owed_lanes,
        owed,
        hot: each(&hot, |row| saga_id(row, 0))?,
        cold_wake: cold
            .first()
            .map_or(Ok(None), |row| instant_if_set(row, 1))?,
        unserved: each(&unserved, |row| {
            word(row, 0, |text| TaskType::new(text).ok())
        })?,
        unsearched: each(&unsearched, subscription)?,
    })
}

/// Rows of the log behind this one.
pub(crate) async fn in_doubt(
    client: &Object,
    partition: u8,
    after: u64,
    limit: usize,
) -> Result<InDoubt, Fault> {
    let (id, after) = (i16::from(partition), int(after));
    let found = rows(client, IN_DOUBT, &[&id, &after, &limited(limit)]).await?;
    let end = found.last().filter(|_| found.len() >= limit);
    Ok(InDoubt {
        more: end.map(|row| get(row, 0).map(uint)).transpose()?,
        rows: found
            .iter()
            .filter_map(|row| log_row(row).transpose())
            .collect::<Result<_, _>>()?,
    })
}

/// Each row, read.
pub(crate) fn each<T>(
    rows: &[Row],
    of: impl Fn(&Row) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    rows.iter().map(of).collect()
}

/// A row of the log; none when what it records cannot be decoded: its saga is then left alone, and sends nothing.
fn log_row(row: &Row) -> Result<Option<LogRow>, Fault> {
    let saga = saga_id(row, 1)?;
    let entry = match document(row, 3) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(saga.id = %saga, %error, "a row of the log cannot be read; what it sends is not sent again");
            return Ok(None);
        }
    };
    Ok(Some(LogRow {
        log_seq: get(row, 0).map(uint)?,
        saga,
        saga_seq: get(row, 2).map(uint)?,
        entry,
    }))
}

/// Evicted sagas whose wake has come, and the soonest wake after those.
pub(crate) async fn cold_due(
    client: &Object,
    partition: u8,
    until: Timestamp,
    limit: usize,
) -> Result<(Vec<SagaId>, Option<Timestamp>), Fault> {
    // one more than asked for: it is the wake after those
    let most = limited(limit).saturating_add(1);
    let soonest = rows(client, COLD_DUE, &[&i16::from(partition), &most]).await?;
    let soonest = each(&soonest, |row| Ok((saga_id(row, 0)?, instant(row, 1)?)))?;
    let due = soonest
        .iter()
        .take(limit)
        .take_while(|(_, wake)| *wake <= until)
        .count();
    let next = soonest.get(due).map(|(_, wake)| *wake);
    let due = soonest.into_iter().take(due).map(|(saga, _)| saga);
    Ok((due.collect(), next))
}

/// Sagas that wait for a task type.
pub(crate) async fn unserved(
    client: &Object,
    partition: u8,
    task_type: &TaskType,
    after: Option<SagaId>,
    limit: usize,
) -> Result<Vec<SagaId>, Fault> {
    // no saga has the id that is all zero
    let after = after.map_or(Uuid::nil(), |saga| saga.0);
    let (id, kind) = (i16::from(partition), task_type.as_str());
    let found = rows(client, UNSERVED, &[&id, &kind, &after, &limited(limit)]).await?;
    each(&found, |row| saga_id(row, 0))
}

/// Steps that wait for events of this type, by saga and step.
pub(crate) async fn subscribers(
    client: &Object,
    kind: &str,
    after: Option<&(SagaId, StepId)>,
    limit: usize,
) -> Result<Vec<SubscriptionRow>, Fault> {
    let (saga, step) = after.map_or((Uuid::nil(), ""), |(saga, step)| (saga.0, step.as_str()));
    let mut found = Vec::new();
    for pattern in EventPattern::all_for(kind) {
        let pattern = owned(&pattern);
        let some = rows(client, OF_EVENT, &[&pattern, &saga, &step, &limited(limit)]).await?;
        found.extend(each(&some, subscription)?);
    }
    found.sort_by(|a, b| (a.saga, &a.step).cmp(&(b.saga, &b.step)));
    found.truncate(limit);
    Ok(found)
}

fn subscription(row: &Row) -> Result<SubscriptionRow, Fault> {
    Ok(SubscriptionRow {
        saga: saga_id(row, 0)?,
        step: word(row, 1, |text| StepId::new(text).ok())?,
        event: word(row, 2, |text| EventPattern::new(text).ok())?,
        since: instant(row, 3)?,
    })
}

/// Keeps a definition; false when other content has its name and version.
pub(crate) async fn put_definition(client: &Object, row: &DefinitionRow) -> Result<bool, Fault> {
    let (name, version, at) = (owned(&row.name), i64::from(row.version), int(row.at.0));
    let add = client.prepare_cached(DEFINITION_ADD).await?;
    let (source, by) = (owned(&row.source), owned(&row.by));
    let added = client
        .execute(&add, &[&name, &version, &source, &at, &by])
        .await?;
    if added == 1 {
        return Ok(true);
    }
    let kept = rows(client, DEFINITION_SOURCE, &[&name, &version]).await?;
    let kept = kept.first().map(|row| string(row, 0)).transpose()?;
    Ok(kept.as_ref() == Some(&row.source))
}

/// A definition out of the columns of [`DEFINITIONS`].
pub(crate) fn definition_row(row: &Row) -> Result<DefinitionRow, Fault> {
    Ok(DefinitionRow {
        name: string(row, 0)?,
        version: small(row, 1)?,
        source: string(row, 2)?,
        at: instant(row, 3)?,
        by: string(row, 4)?,
    })
}

/// Every manifest this version can read: of the others the type is as good as unknown until a worker announces it again, which writes it anew.
pub(crate) async fn manifests(client: &impl GenericClient) -> Result<Vec<Manifest>, Fault> {
    let kept = rows(client, MANIFESTS, &[]).await?;
    let read = each(&kept, |row| match document(row, 0) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error @ Fault::Misfit { .. }) => {
            let name = string(row, 1)?;
            tracing::error!(task.r#type = %name, %error, "a kept manifest cannot be read; its steps wait for a worker to announce it");
            Ok(None)
        }
        Err(fault) => Err(fault),
    })?;
    Ok(read.into_iter().flatten().collect())
}

/// Keeps a manifest.
pub(crate) async fn put_manifest(
    client: &Object,
    manifest: &Manifest,
    at: Timestamp,
) -> Result<(), Fault> {
    let (kind, text) = (
        manifest.task_type.as_str(),
        serde_json::to_string(manifest)?,
    );
    let put = client.prepare_cached(MANIFEST_PUT).await?;
    client.execute(&put, &[&kind, &text, &int(at.0)]).await?;
    Ok(())
}
