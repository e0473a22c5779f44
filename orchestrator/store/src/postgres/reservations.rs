//! What sagas take, in the database. Written by the batches (`change_reservations`) and by whoever looks at the waiting, at whichever member; each holds one
//! advisory lock until that is committed.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::reservations::{ADMIT_PAGE, OVER_PAGE};
use baton_driver::{Admission, ReservationChange, ReservationRow, StoreError};
use baton_engine::reservation::Change;
use baton_engine::{ReservationKind, Want};
use baton_messages::{SagaId, Timestamp};
use deadpool_postgres::GenericClient;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{
    get, instant, instant_if_set, int, rows as most, saga_id, small, string, uint, word,
};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::audit::limited;
use crate::read::{Page, page};
use crate::reservations::{
    ReservationBook, ReservationCursor, ReservationFilter, Seen, decide, kind_of, state_of,
    told_number, told_of,
};

/// The advisory lock under which these rows change: "BATN", then a word for this use. The migration has it as well.
const TAKING: i64 = 0x4241_544e_0000_0007;
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
/// What was begun is forgotten only when its saga knows that it was: nothing else says so to one that wants nothing beside.
const OVER: &str = "DELETE FROM reservations WHERE ctid = ANY (ARRAY
    (SELECT ctid FROM reservations WHERE until <= $1 AND told = 2 ORDER BY until LIMIT $2))";
/// The sagas of a page with each thing they want, and whether so many have it, or want it before, as there may be. What its root has, or another below it, a
/// saga has as well: also past those who wait for it.
pub(crate) const PAGE: &str = "SELECT p.saga, p.ticket, r.kind, r.told,
    NOT r.let_through AND NOT (r.kind = 'lock' AND EXISTS (SELECT 1 FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root))
    AND (SELECT count(*) FROM (
        SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'held' AND h.saga <> r.saga AND (r.kind <> 'lock' OR h.root <> r.root)
        UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'spent' AND h.saga <> r.saga
        UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'waiting' AND h.ticket < r.ticket AND r.saga = r.root AND (r.kind <> 'lock' OR h.root <> r.root)
        LIMIT r.max) taken) >= r.max
    , r.saga <> r.root FROM (SELECT ticket, saga FROM reservations WHERE held_at IS NULL AND ticket > $1 AND ticket <= $3 GROUP BY ticket, saga ORDER BY ticket, saga LIMIT $2) p
    JOIN LATERAL (SELECT * FROM reservations w WHERE w.saga = p.saga ORDER BY w.kind, w.name) r ON true ORDER BY p.ticket, p.saga";
/// All that one saga wants; a lock that is held below its root already keeps its number.
pub(crate) const GIVE: &str = "UPDATE reservations r SET state = CASE WHEN per_ms IS NULL THEN 'held' ELSE 'spent' END, held_at = $2::bigint, until = $2::bigint + per_ms,
    fence = CASE WHEN kind = 'lock' THEN coalesce((SELECT h.fence FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root LIMIT 1),
        nextval('reservation_numbers')) END
    WHERE saga = $1";
pub(crate) const UNTOLD: &str = "SELECT saga FROM reservations WHERE told < 2 AND state <> 'waiting' AND ticket > 0 GROUP BY ticket, saga ORDER BY ticket, saga LIMIT $1";
pub(crate) const FENCES: &str = "SELECT saga, name, fence FROM reservations WHERE saga = ANY ($1) AND kind = 'lock' AND fence IS NOT NULL";
pub(crate) const NEXT_OVER: &str = "SELECT min(until) FROM reservations WHERE until > $1";
pub(crate) const BEFORE: &str = "SELECT count(*) FROM reservations WHERE kind = $1 AND name = $2 AND state = 'waiting' AND ticket < $3";
const TIDY: &str = "DELETE FROM reservations r WHERE r.state = 'held'
    AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.saga AND s.active) AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.root AND s.active)";
/// A row of another store, as it was.
const PUT: &str = "INSERT INTO reservations (saga, root, ticket, kind, name, max, per_ms, state, let_through, fence, asked_at, held_at, until, told)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const NEXT_NUMBER: &str = "SELECT setval('reservation_numbers', greatest($1::bigint, 1))";

/// The query of a page of rows.
pub(crate) fn list(filter: &ReservationFilter) -> String {
    crate::reservations::list(filter, '$')
}

/// Every question here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 6] = [PAGE, GIVE, UNTOLD, FENCES, NEXT_OVER, BEFORE];

/// What a batch changes, as `change_reservations` reads it; none where it changes nothing.
pub(crate) fn changes(all: &[ReservationChange]) -> serde_json::Result<Option<String>> {
    let listed: Vec<Value> = all.iter().map(change).collect();
    let is_any = !listed.is_empty();
    is_any.then(|| serde_json::to_string(&listed)).transpose()
}

fn change(of: &ReservationChange) -> Value {
    let what = |word: &str| json!({ "saga": of.saga.0, "at": int(of.at.0), "what": word });
    match &of.change {
        Change::Wanted { root, wants } => {
            let wants = wants.iter().map(|want| {
                let per_ms = want.per_ms.map(int);
                json!({ "kind": want.kind.as_str(), "name": want.name, "max": want.max, "per_ms": per_ms })
            });
            let wants: Vec<Value> = wants.collect();
            json!({ "saga": of.saga.0, "at": int(of.at.0), "what": "wanted", "root": root.0, "wants": wants })
        }
        Change::Asked => what("asked"),
        Change::Told => what("told"),
        Change::HeldBack => what("held-back"),
        Change::LetThrough => what("let-through"),
        Change::Broken { lock } => {
            json!({ "saga": of.saga.0, "at": int(of.at.0), "what": "broken", "lock": lock })
        }
        Change::Over => what("over"),
    }
}

/// What sagas take, of a database.
#[derive(Debug, Clone)]
pub struct PostgresReservations {
    connections: Connections,
}

impl PostgresReservations {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }

    /// Keeps rows of another store as they are; numbers given from here on are higher than `number`.
    pub(crate) async fn put(
        &self,
        moved: Vec<ReservationRow>,
        number: u64,
    ) -> Result<(), StoreError> {
        let put = self.connections.with(async |client| {
            for row in &moved {
                let values: [&(dyn ToSql + Sync); 14] = [
                    &row.saga.0,
                    &row.root.0,
                    &int(row.ticket),
                    &row.want.kind.as_str(),
                    &row.want.name,
                    &i64::from(row.want.max),
                    &row.want.per_ms.map(int),
                    &row.state.as_str(),
                    &row.let_through,
                    &row.fence.map(int),
                    &int(row.asked_at.0),
                    &row.held_at.map(|at| int(at.0)),
                    &row.until.map(|at| int(at.0)),
                    &told_number(row.told),
                ];
                rows(client, PUT, &values).await?;
            }
            rows(client, NEXT_NUMBER, &[&int(number)]).await?;
            Ok(())
        });
        put.await
            .map_err(|fault| fault.read("what sagas take, to keep it"))
    }
}

async fn admit(
    client: &impl GenericClient,
    now: Timestamp,
    after: Option<u64>,
) -> Result<Admission, Fault> {
    let mut answer = Admission::default();
    rows(client, LOCK, &[&TAKING]).await?;
    rows(client, OVER, &[&int(now.0), &most(OVER_PAGE)]).await?;
    let mut given: Vec<(u64, SagaId)> = Vec::new();
    // who is given a lock lets in whoever shares a root with him; of the sagas of the first look, so that it ends
    let mut upto = u64::MAX;
    loop {
        let seen = look(client, after, upto).await?;
        upto = seen.last().map_or(0, |one| one.ticket);
        if given.is_empty() && seen.chunk_by(|a, b| a.saga == b.saga).count() == ADMIT_PAGE {
            answer.next = seen.last().map(|one| one.ticket);
        }
        let (admitted, held_back) = decide(&seen);
        answer.held_back = held_back;
        if admitted.is_empty() {
            break;
        }
        let mut first = true;
        for saga in admitted {
            let seen = seen.iter().find(|one| one.saga == saga);
            // what goes past the line was looked at without those before it, some of whom have something now
            if !first && seen.is_some_and(|one| one.below) {
                break;
            }
            first = false;
            rows(client, GIVE, &[&saga.0, &int(now.0)]).await?;
            given.push((seen.map_or(0, |one| one.ticket), saga));
        }
    }
    given.sort_unstable();
    let mut told: Vec<SagaId> = given.into_iter().map(|(_, saga)| saga).collect();
    if after.is_none() {
        let untold = rows(client, UNTOLD, &[&most(ADMIT_PAGE)]).await?;
        told.extend(each(&untold, |row| saga_id(row, 0))?);
        let mut once = BTreeSet::new();
        told.retain(|saga| once.insert(*saga));
    }
    answer.admitted = fences(client, told).await?;
    if answer.next.is_none() {
        let next = rows(client, NEXT_OVER, &[&int(now.0)]).await?;
        answer.wake_at = next
            .first()
            .map_or(Ok(None), |row| instant_if_set(row, 0))?;
    }
    Ok(answer)
}

/// The waiting behind a ticket, up to another, as they stand now.
async fn look(
    client: &impl GenericClient,
    after: Option<u64>,
    upto: u64,
) -> Result<Vec<Seen>, Fault> {
    let from = after.map_or(0, int);
    let found = rows(client, PAGE, &[&from, &most(ADMIT_PAGE), &int(upto)]).await?;
    each(&found, |row| {
        Ok(Seen {
            saga: saga_id(row, 0)?,
            ticket: get(row, 1).map(uint)?,
            kind: word(row, 2, kind_of)?,
            untold: get::<i16>(row, 3)? == 0,
            full: get(row, 4)?,
            below: get(row, 5)?,
        })
    })
}

/// Each with the numbers of its locks.
async fn fences(
    client: &impl GenericClient,
    sagas: Vec<SagaId>,
) -> Result<Vec<(SagaId, BTreeMap<String, u64>)>, Fault> {
    if sagas.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.0).collect();
    let found = rows(client, FENCES, &[&ids]).await?;
    let mut of: BTreeMap<SagaId, BTreeMap<String, u64>> = BTreeMap::new();
    for row in &found {
        let fence = get(row, 2).map(uint)?;
        of.entry(saga_id(row, 0)?)
            .or_default()
            .insert(string(row, 1)?, fence);
    }
    let sagas = sagas.into_iter();
    Ok(sagas
        .map(|saga| (saga, of.remove(&saga).unwrap_or_default()))
        .collect())
}

fn reservation(row: &Row) -> Result<ReservationRow, Fault> {
    Ok(ReservationRow {
        saga: saga_id(row, 0)?,
        root: saga_id(row, 1)?,
        ticket: get(row, 2).map(uint)?,
        want: Want {
            kind: word(row, 3, kind_of)?,
            name: string(row, 4)?,
            max: small(row, 5)?,
            per_ms: get::<Option<i64>>(row, 6)?.map(uint),
        },
        state: word(row, 7, state_of)?,
        let_through: get(row, 8)?,
        fence: get::<Option<i64>>(row, 9)?.map(uint),
        asked_at: instant(row, 10)?,
        held_at: instant_if_set(row, 11)?,
        until: instant_if_set(row, 12)?,
        told: told_of(i64::from(get::<i16>(row, 13)?)),
    })
}

impl ReservationBook for PostgresReservations {
    async fn admit(&self, now: Timestamp, after: Option<u64>) -> Result<Admission, StoreError> {
        let admitting = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            let answer = admit(&transaction, now, after).await?;
            transaction.commit().await?;
            Ok(answer)
        });
        let admitted = admitting.await;
        admitted.map_err(|fault| fault.read("sagas that wait to be admitted"))
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let tidying = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            rows(&transaction, LOCK, &[&TAKING]).await?;
            rows(&transaction, TIDY, &[]).await?;
            transaction.commit().await?;
            Ok(())
        });
        let tidied = tidying.await;
        tidied.map_err(|fault| fault.read("locks of sagas that have ended"))
    }

    async fn reservations(
        &self,
        filter: ReservationFilter,
        after: Option<ReservationCursor>,
        limit: usize,
    ) -> Result<Page<ReservationRow, ReservationCursor>, StoreError> {
        let limit = limited(limit);
        let rows_most = most(limit + 1);
        let (kind, name, state, ticket, saga) = after.as_ref().map_or(
            ("", "", "", 0, SagaId(Uuid::nil())),
            ReservationCursor::place,
        );
        let ticket = int(ticket);
        let mut values: Vec<&(dyn ToSql + Sync)> =
            vec![&kind, &name, &state, &ticket, &saga.0, &rows_most];
        let word;
        match &filter {
            ReservationFilter::All => {}
            ReservationFilter::Kind(kind) => {
                word = kind.as_str();
                values.push(&word);
            }
            ReservationFilter::Name(kind, name) => {
                word = kind.as_str();
                values.push(&word);
                values.push(name);
            }
            ReservationFilter::Saga(saga) => values = vec![&saga.0, &rows_most],
        }
        let found = self.connections.rows(&list(&filter), &values).await;
        let read = found.and_then(|rows| each(&rows, reservation));
        let read = read.map_err(|fault| fault.read("what sagas take"))?;
        Ok(page(read, limit, ReservationCursor::of))
    }

    async fn before(
        &self,
        kind: ReservationKind,
        name: String,
        ticket: u64,
    ) -> Result<u64, StoreError> {
        let values: [&(dyn ToSql + Sync); 3] = [&kind.as_str(), &name, &int(ticket)];
        let found = self.connections.rows(BEFORE, &values).await;
        let count = found.and_then(|rows| rows.first().map_or(Ok(0), |row| get::<i64>(row, 0)));
        count
            .map(uint)
            .map_err(|fault| fault.read("who waits before"))
    }
}
