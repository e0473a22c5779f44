//! The tables of triggers. Events are taken in one transaction after another, whoever takes them: an advisory lock is held until each is
//! committed, so that their numbers are in the order in which they can be seen, and a key is claimed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_driver::{StoreError, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{SagaId, StepId, Timestamp};
use deadpool_postgres::Transaction;
use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{
    digest, document, get, instant, instant_if_set, int, owned, rows as limited, saga_id, small,
    string, string_if_set, text, uint,
};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::{self, each};
use super::queries;
use crate::triggers::{
    Arrival, Claim, Effect, EventRow, Planned, ScheduleRow, Settled, TriggerRef, Triggers,
};

/// The advisory lock under which events are taken in: "BATN", then a word for this use.
const TAKING: i64 = 0x4241_544e_0000_0002;
/// Kept events are read for so many waiting steps at once, in one process: hundreds of steps may begin to wait together, and what else stands beside the drivers shares
/// the connections with them.
const KEPT_SIDE_BY_SIDE: usize = 2;
/// As much of an event's type as stands in its column: patterns are shorter, and an index takes no more than some 2700 bytes.
const TYPE_CHARACTERS_MAX: usize = 500;

const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
// OFFSET 0 keeps a subquery from being made into a join, which might be planned to read the whole table
const KEYS: &str = "SELECT a.definition, a.digest, k.saga, k.until, (SELECT s.active FROM sagas s WHERE s.id = k.saga)
    FROM unnest($1::text[], $2::bytea[]) AS a (definition, digest)
    CROSS JOIN LATERAL (SELECT saga, until FROM keys WHERE definition = a.definition AND digest = a.digest OFFSET 0) AS k";
const EVENTS_ADD: &str = "INSERT INTO events (digest, type, received_at, done, effects, body)
    SELECT a.digest, a.type, a.received_at, a.done, a.effects, a.body
    FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::text[]) AS a (digest, type, received_at, done, effects, body)
    RETURNING seq, digest";
const KEYS_PUT: &str = "INSERT INTO keys (definition, digest, key, saga, until)
    SELECT a.definition, a.digest, a.key, a.saga, a.until
    FROM unnest($1::text[], $2::bytea[], $3::text[], $4::uuid[], $5::bigint[]) AS a (definition, digest, key, saga, until)
    ON CONFLICT (definition, digest) DO UPDATE SET saga = excluded.saga, until = excluded.until";
const DONE: &str = "UPDATE events e SET done = true, effects = a.effects FROM unnest($1::bigint[], $2::text[]) AS a (seq, effects)
    WHERE e.seq = ANY ($1) AND e.seq = a.seq";
const AGAIN: &str = "UPDATE events e SET done = false, effects = a.effects FROM unnest($1::bigint[], $2::text[]) AS a (seq, effects)
    WHERE e.seq = ANY ($1) AND e.seq = a.seq";
const RELEASE: &str = "DELETE FROM keys WHERE definition = $1 AND digest = $2 AND saga = $3";
const EVENTS_PURGE: &str = "DELETE FROM events WHERE seq = ANY (ARRAY
    (SELECT seq FROM events WHERE received_at < $1 AND done AND seq > 0 ORDER BY received_at, seq LIMIT $2))";
const KEYS_PURGE: &str = "DELETE FROM keys WHERE ctid = ANY (ARRAY
    (SELECT k.ctid FROM keys k WHERE k.until < $1 AND NOT (SELECT s.active FROM sagas s WHERE s.id = k.saga)
     ORDER BY k.until, k.definition, k.digest LIMIT $2))";
const SCHEDULE_PUT: &str = "INSERT INTO schedules (definition, name, trigger_no, after, last_at, last_saga, paused, skipped, skipped_at, skipped_why)
    SELECT $1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::uuid, $7::boolean, $8::bigint, $9::bigint, $10::text
    WHERE $11::text IS NULL OR EXISTS (SELECT 1 FROM partitions WHERE id = 0 AND owner = $11 AND lease_until > clock_timestamp())
    ON CONFLICT (definition, name) DO UPDATE SET trigger_no = excluded.trigger_no,
    after = excluded.after, last_at = excluded.last_at, last_saga = excluded.last_saga, paused = excluded.paused,
    skipped = excluded.skipped, skipped_at = excluded.skipped_at, skipped_why = excluded.skipped_why";
const SCHEDULE_REMOVE: &str = "DELETE FROM schedules WHERE definition = $1 AND name = $2";
pub(crate) const BINDINGS: &str = "SELECT pattern FROM bindings ORDER BY pattern";
const BINDING_PUT: &str =
    "INSERT INTO bindings (pattern) VALUES ($1) ON CONFLICT (pattern) DO NOTHING";
const BINDING_REMOVE: &str = "DELETE FROM bindings WHERE pattern = $1";
const ACTIVE: &str = "SELECT active FROM sagas WHERE id = $1";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 9] = [
    KEYS,
    EVENTS_ADD,
    KEYS_PUT,
    DONE,
    AGAIN,
    RELEASE,
    EVENTS_PURGE,
    KEYS_PURGE,
    ACTIVE,
];

/// An event's type as it stands in its column.
pub(crate) fn type_column(kind: &str) -> String {
    match text(kind).char_indices().nth(TYPE_CHARACTERS_MAX) {
        Some((end, _)) => text(kind)[..end].to_owned(),
        None => owned(kind),
    }
}

/// An event out of its columns.
pub(crate) fn event_row(row: &Row) -> Result<EventRow, Fault> {
    Ok(EventRow {
        seq: get(row, 0).map(uint)?,
        received_at: instant(row, 1)?,
        done: get(row, 2)?,
        effects: document(row, 3)?,
        event: document(row, 4)?,
    })
}

/// A schedule out of the columns of [`queries::SCHEDULES`].
pub(crate) fn schedule_row(row: &Row) -> Result<ScheduleRow, Fault> {
    let last_saga: Option<Uuid> = get(row, 5)?;
    Ok(ScheduleRow {
        definition: string(row, 0)?,
        name: string(row, 1)?,
        trigger: small(row, 2)?,
        after: instant(row, 3)?,
        last_at: instant_if_set(row, 4)?,
        last_saga: last_saga.map(SagaId),
        paused: get(row, 6)?,
        skipped: small(row, 7)?,
        skipped_at: instant_if_set(row, 8)?,
        skipped_why: string_if_set(row, 9)?,
    })
}

/// The tables of triggers of a [`super::PostgresStore`].
#[derive(Debug, Clone)]
pub struct PostgresTriggers {
    connections: Connections,
    /// Whoever leads is alone in writing how far schedules have come.
    leader: Option<String>,
    /// Who may read kept events; clones share it.
    keeping: Arc<Semaphore>,
}

impl PostgresTriggers {
    pub(crate) fn new(connections: Connections) -> Self {
        Self {
            connections,
            leader: None,
            keeping: Arc::new(Semaphore::new(KEPT_SIDE_BY_SIDE)),
        }
    }

    /// The same, for a member of a cluster: of schedules it writes nothing while another leads.
    #[must_use]
    pub(crate) fn led_by(self, name: &str) -> Self {
        Self {
            leader: Some(name.to_owned()),
            ..self
        }
    }

    async fn list<T>(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        of: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Vec<T>, StoreError> {
        let found = self.connections.rows(sql, values).await;
        let read = found.and_then(|rows| each(&rows, of));
        read.map_err(|fault| fault.read(what))
    }

    async fn change(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        let changed = self.connections.execute(sql, values).await;
        changed.map_err(|fault| fault.read(what))
    }
}

impl Triggers for PostgresTriggers {
    async fn take_in(&self, arrivals: Vec<Arrival>) -> Result<Vec<EventRow>, StoreError> {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        let taking = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            rows(&transaction, LOCK, &[&TAKING]).await?;
            let taken = take_in(&transaction, &arrivals).await?;
            transaction.commit().await?;
            Ok(taken)
        });
        let taken = taking.await;
        taken.map_err(|fault| fault.read("events, to keep them"))
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        let settling = self.connections.with(async |client| {
            let (mut seqs, mut effects) = (Vec::new(), Vec::new());
            for one in &settled {
                seqs.push(int(one.seq));
                effects.push(serde_json::to_string(&one.effects)?);
            }
            let transaction = client.transaction().await?;
            rows(&transaction, DONE, &[&seqs, &effects]).await?;
            for (definition, key, saga) in settled.iter().flat_map(|one| &one.released) {
                let (definition, digest) = (owned(definition), digest(&[key]));
                rows(&transaction, RELEASE, &[&definition, &digest, &saga.0]).await?;
            }
            transaction.commit().await?;
            Ok(())
        });
        let done = settling.await;
        done.map_err(|fault| fault.read("that events are done"))
    }

    async fn undone(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&int(after), &limited(limit)];
        self.list(
            "events that may not be done",
            &queries::undone(),
            &values,
            event_row,
        )
        .await
    }

    async fn kept(
        &self,
        pattern: EventPattern,
        from: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let (at, seq) = after.map_or((-1, -1), |(at, seq)| (int(at.0), int(seq)));
        let prefix = pattern.prefix();
        let kind = owned(prefix.unwrap_or(pattern.as_str()));
        // the character after the dot ends the range of what begins with the prefix
        let end = prefix.map(|prefix| owned(&format!("{}/", prefix.trim_end_matches('.'))));
        let (from, limit) = (int(from.0), limited(limit));
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&kind, &from, &at, &seq, &limit];
        if let Some(end) = &end {
            values.push(end);
        }
        let sql = queries::kept(end.is_some());
        // never closed
        let _turn = self.keeping.acquire().await;
        self.list("kept events of a type", &sql, &values, event_row)
            .await
    }

    async fn subscribers(
        &self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        let found = self
            .connections
            .with(async |client| load::subscribers(client, &kind, after.as_ref(), limit).await);
        let found = found.await;
        found.map_err(|fault| fault.read("steps that wait for an event"))
    }

    async fn purge(
        &self,
        events_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<bool, StoreError> {
        const WHAT: &str = "old events, to take them out";
        let most = limited(limit);
        let before = int(events_before.0);
        let events = self.change(WHAT, EVENTS_PURGE, &[&before, &most]).await?;
        let keys = self.change(WHAT, KEYS_PURGE, &[&int(now.0), &most]).await?;
        Ok(events.max(keys) >= uint(most))
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        self.list("schedules", queries::SCHEDULES, &[], schedule_row)
            .await
    }

    async fn put_schedule(&self, row: ScheduleRow) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 11] = [
            &owned(&row.definition),
            &owned(&row.name),
            &i64::from(row.trigger),
            &int(row.after.0),
            &row.last_at.map(|at| int(at.0)),
            &row.last_saga.map(|saga| saga.0),
            &row.paused,
            &i64::from(row.skipped),
            &row.skipped_at.map(|at| int(at.0)),
            &row.skipped_why.as_deref().map(owned),
            &self.leader,
        ];
        const WHAT: &str = "a schedule, to keep it";
        match self.change(WHAT, SCHEDULE_PUT, &values).await? {
            0 => Err(Fault::Fenced.read(WHAT)),
            _ => Ok(()),
        }
    }

    async fn remove_schedule(&self, definition: String, name: String) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&owned(&definition), &owned(&name)];
        self.change("a schedule, to take it out", SCHEDULE_REMOVE, &values)
            .await?;
        Ok(())
    }

    async fn bindings(&self) -> Result<Vec<String>, StoreError> {
        self.list("bindings", BINDINGS, &[], |row| string(row, 0))
            .await
    }

    async fn note_binding(&self, pattern: String, bound: bool) -> Result<(), StoreError> {
        let sql = if bound { BINDING_PUT } else { BINDING_REMOVE };
        self.change("a binding, to note it", sql, &[&owned(&pattern)])
            .await?;
        Ok(())
    }

    async fn is_active(&self, saga: SagaId) -> Result<Option<bool>, StoreError> {
        let mut found = self
            .list("whether a saga has ended", ACTIVE, &[&saga.0], |row| {
                get(row, 0)
            })
            .await?;
        Ok(found.pop())
    }
}

/// Who holds a key.
struct Holder {
    saga: SagaId,
    until: Timestamp,
    /// None: it is about to be started.
    active: Option<bool>,
}

/// Keys by definition and digest.
type Holders = BTreeMap<(String, Vec<u8>), Holder>;

/// What is to be written, in the order of the arrivals.
#[derive(Default)]
struct New {
    digests: Vec<Vec<u8>>,
    types: Vec<String>,
    received: Vec<i64>,
    done: Vec<bool>,
    effects: Vec<String>,
    bodies: Vec<String>,
    rows: Vec<EventRow>,
}

/// Three questions for all of them: which are there, who holds their keys, and what is new.
async fn take_in(
    transaction: &Transaction<'_>,
    arrivals: &[Arrival],
) -> Result<Vec<EventRow>, Fault> {
    let digests: Vec<Vec<u8>> = arrivals
        .iter()
        .map(|arrival| digest(&[&arrival.event.source, &arrival.event.id]))
        .collect();
    let mut known: BTreeMap<Vec<u8>, EventRow> = BTreeMap::new();
    for row in rows(transaction, &queries::known_events(), &[&digests]).await? {
        known.insert(get(&row, 5)?, event_row(&row)?);
    }
    let mut holders = holders(transaction, arrivals).await?;
    let (mut new, mut claimed) = (New::default(), BTreeMap::new());
    for (arrival, digest) in arrivals.iter().zip(&digests) {
        if let Some(kept) = known.get_mut(digest) {
            let resolve = |planned: &Planned| {
                Ok::<_, Fault>(resolved(planned, arrival.at, &mut holders, &mut claimed))
            };
            if let Some(effects) = arrival.looked_again(&kept.effects, resolve)? {
                let (seqs, text) = (vec![int(kept.seq)], vec![serde_json::to_string(&effects)?]);
                rows(transaction, AGAIN, &[&seqs, &text]).await?;
                (kept.effects, kept.done) = (effects, false);
            }
            continue;
        }
        if new.digests.contains(digest) {
            continue;
        }
        let effects: Vec<Effect> = arrival
            .planned
            .iter()
            .map(|planned| resolved(planned, arrival.at, &mut holders, &mut claimed))
            .collect();
        new.add(arrival, digest.clone(), effects)?;
    }
    put_keys(transaction, claimed).await?;
    for row in new.write(transaction).await? {
        known.insert(digest(&[&row.event.source, &row.event.id]), row);
    }
    let taken = digests.iter().map(|digest| {
        known.get(digest).cloned().ok_or_else(|| Fault::Misfit {
            column: "digest".to_owned(),
            what: "an event that was written is not there".to_owned(),
        })
    });
    taken.collect()
}

impl New {
    fn add(
        &mut self,
        arrival: &Arrival,
        digest: Vec<u8>,
        effects: Vec<Effect>,
    ) -> Result<(), Fault> {
        let done = effects.is_empty() && !arrival.awaited;
        self.digests.push(digest);
        self.types.push(type_column(&arrival.event.kind));
        self.received.push(int(arrival.at.0));
        self.done.push(done);
        self.effects.push(serde_json::to_string(&effects)?);
        self.bodies.push(serde_json::to_string(&arrival.event)?);
        self.rows.push(EventRow {
            seq: 0,
            event: arrival.event.clone(),
            received_at: arrival.at,
            done,
            effects,
        });
        Ok(())
    }

    /// The rows, with their places.
    async fn write(mut self, transaction: &Transaction<'_>) -> Result<Vec<EventRow>, Fault> {
        if self.rows.is_empty() {
            return Ok(self.rows);
        }
        let values: [&(dyn ToSql + Sync); 6] = [
            &self.digests,
            &self.types,
            &self.received,
            &self.done,
            &self.effects,
            &self.bodies,
        ];
        let mut places: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for row in rows(transaction, EVENTS_ADD, &values).await? {
            places.insert(get(&row, 1)?, get(&row, 0).map(uint)?);
        }
        for (row, digest) in self.rows.iter_mut().zip(&self.digests) {
            row.seq = places.get(digest).copied().unwrap_or_default();
        }
        Ok(self.rows)
    }
}

/// Who holds the keys these arrivals claim, or cancel by.
async fn holders(transaction: &Transaction<'_>, arrivals: &[Arrival]) -> Result<Holders, Fault> {
    let (mut definitions, mut digests) = (Vec::new(), Vec::new());
    for planned in arrivals.iter().flat_map(|arrival| &arrival.planned) {
        let (of, key) = match planned {
            Planned::Start {
                of,
                key: Some(claim),
                ..
            } => (of, &claim.key),
            Planned::Cancel { of, key, .. } => (of, key),
            Planned::Start { key: None, .. } | Planned::Refused { .. } => continue,
        };
        definitions.push(owned(&of.definition));
        digests.push(digest(&[key]));
    }
    let mut holders = Holders::new();
    if digests.is_empty() {
        return Ok(holders);
    }
    for row in rows(transaction, KEYS, &[&definitions, &digests]).await? {
        let holder = Holder {
            saga: saga_id(&row, 2)?,
            until: instant(&row, 3)?,
            active: get(&row, 4)?,
        };
        holders.insert((string(&row, 0)?, get(&row, 1)?), holder);
    }
    Ok(holders)
}

/// What comes of it: a key that another saga holds makes a start a joining, and leads to whom is to be cancelled.
fn resolved(
    planned: &Planned,
    at: Timestamp,
    holders: &mut Holders,
    claimed: &mut BTreeMap<(String, Vec<u8>), (SagaId, Claim)>,
) -> Effect {
    let (of, saga, claim): (&TriggerRef, SagaId, &Option<Claim>) = match planned {
        Planned::Refused { of, error } => {
            return Effect::Refused {
                of: of.clone(),
                error: error.clone(),
            };
        }
        Planned::Cancel { of, key, reason } => {
            let holder = holders.get(&(of.definition.clone(), digest(&[key])));
            let holder = holder.map(|holder| (holder.saga, holder.active));
            return Effect::of_cancel(of.clone(), key.clone(), reason.clone(), holder);
        }
        Planned::Start { of, saga, key } => (of, *saga, key),
    };
    let Some(claim) = claim else {
        return Effect::Started {
            of: of.clone(),
            saga,
            key: None,
        };
    };
    let place = (of.definition.clone(), digest(&[&claim.key]));
    if let Some(holder) = holders.get(&place)
        && holder.saga != saga
        && (holder.until > at || holder.active.unwrap_or(true))
    {
        return Effect::Joined {
            of: of.clone(),
            saga: holder.saga,
            key: claim.key.clone(),
        };
    }
    let active = holders
        .get(&place)
        .filter(|holder| holder.saga == saga)
        .and_then(|holder| holder.active);
    holders.insert(
        place.clone(),
        Holder {
            saga,
            until: claim.until,
            active,
        },
    );
    claimed.insert(place, (saga, claim.clone()));
    Effect::Started {
        of: of.clone(),
        saga,
        key: Some(claim.key.clone()),
    }
}

async fn put_keys(
    transaction: &Transaction<'_>,
    claimed: BTreeMap<(String, Vec<u8>), (SagaId, Claim)>,
) -> Result<(), Fault> {
    if claimed.is_empty() {
        return Ok(());
    }
    let (mut definitions, mut digests, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sagas, mut untils) = (Vec::new(), Vec::new());
    for ((definition, digest), (saga, claim)) in claimed {
        definitions.push(owned(&definition));
        digests.push(digest);
        keys.push(owned(&claim.key));
        sagas.push(saga.0);
        untils.push(int(claim.until.0));
    }
    let values: [&(dyn ToSql + Sync); 5] = [&definitions, &digests, &keys, &sagas, &untils];
    rows(transaction, KEYS_PUT, &values).await?;
    Ok(())
}
