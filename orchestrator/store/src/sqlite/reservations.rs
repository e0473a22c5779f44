//! What sagas take, in the SQLite file. Written by the batches and by whoever looks at the waiting, on the store's one thread; read beside it.

use std::collections::BTreeMap;

use baton_driver::reservations::{ADMIT_PAGE, OVER_PAGE, Told};
use baton_driver::{Admission, ReservationChange, ReservationRow, StoreError};
use baton_engine::reservation::Change;
use baton_engine::{ReservationKind, Want};
use baton_messages::{SagaId, Timestamp};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::SqliteReader;
use super::columns::{instant, instant_if_set, int, rows, saga_id, uint, word};
use super::load::all;
use super::thread::WeakThread;
use crate::audit::limited;
use crate::read::{Page, page};
use crate::reservations::{
    ReservationBook, ReservationCursor, ReservationFilter, Seen, decide, kind_of, state_of,
    told_number, told_of,
};

const NUMBER: &str = "UPDATE reservation_numbers SET n = n + 1 WHERE one = 1 RETURNING n";
const LAST_NUMBER: &str = "SELECT n FROM reservation_numbers WHERE one = 1";
const WANT: &str =
    "INSERT INTO reservations (kind, name, state, ticket, saga, root, max, per_ms, asked_at)
    VALUES (?1, ?2, 'waiting', ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (saga, kind, name) DO NOTHING";
const TELL: &str = "UPDATE reservations SET told = max(told, ?2) WHERE saga = ?1";
/// It waits although it may have been admitted: whatever it was told, it does not know.
const TELL_AGAIN: &str = "UPDATE reservations SET told = 0 WHERE saga = ?1 AND state <> 'waiting'";
const LET_THROUGH: &str =
    "UPDATE reservations SET let_through = 1 WHERE saga = ?1 AND kind = 'blast-radius'";
const BREAK: &str = "DELETE FROM reservations WHERE kind = 'lock' AND name = ?2 AND state = 'held'
    AND root = (SELECT b.root FROM reservations b WHERE b.saga = ?1 AND b.kind = 'lock' AND b.name = ?2 AND b.state = 'held')";
const LEAVE: &str = "DELETE FROM reservations WHERE saga = ?1 AND (state = 'waiting' OR (state = 'held' AND kind <> 'lock'))";
/// A lock goes when neither its saga nor the one at the top goes on.
const RELEASE_OWN: &str = "DELETE FROM reservations WHERE saga = ?1 AND state = 'held'
    AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = reservations.root AND s.active = 1)";
const RELEASE_BELOW: &str = "DELETE FROM reservations WHERE root = ?1 AND state = 'held'
    AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = reservations.saga AND s.active = 1)";
const TIDY: &str = "DELETE FROM reservations WHERE state = 'held'
    AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id IN (reservations.saga, reservations.root) AND s.active = 1)";
/// What was begun is forgotten only when its saga knows that it was: nothing else says so to one that wants nothing beside.
const OVER: &str = "DELETE FROM reservations WHERE (saga, kind, name) IN
    (SELECT saga, kind, name FROM reservations WHERE until <= ?1 AND told = 2 ORDER BY until LIMIT ?2)";
const PAGE: &str = "SELECT ticket, saga FROM reservations WHERE held_at IS NULL AND ticket > ?1
    GROUP BY ticket, saga ORDER BY ticket, saga LIMIT ?2";
const WAITS_FOR: &str = "SELECT kind, name, max, root, told, let_through FROM reservations WHERE saga = ?1 ORDER BY kind, name";
/// How many have it, or want it before, as far as that matters; what is below a root goes past the line.
const TAKEN: &str = "SELECT count(*) FROM (
    SELECT 1 FROM reservations WHERE kind = ?1 AND name = ?2 AND state = 'held' AND saga <> ?4 AND (?1 <> 'lock' OR root <> ?5)
    UNION ALL SELECT 1 FROM reservations WHERE kind = ?1 AND name = ?2 AND state = 'spent' AND saga <> ?4
    UNION ALL SELECT 1 FROM reservations WHERE kind = ?1 AND name = ?2 AND state = 'waiting' AND ticket < ?3 AND ?4 = ?5 AND (?1 <> 'lock' OR root <> ?5)
    LIMIT ?6)";
const SHARED: &str = "SELECT fence FROM reservations WHERE kind = 'lock' AND name = ?1 AND state = 'held' AND root = ?2 LIMIT 1";
const GIVE: &str = "UPDATE reservations SET state = CASE WHEN per_ms IS NULL THEN 'held' ELSE 'spent' END, held_at = ?4, until = ?4 + per_ms, fence = ?5
    WHERE saga = ?1 AND kind = ?2 AND name = ?3";
const UNTOLD: &str =
    "SELECT ticket, saga FROM reservations WHERE told < 2 AND state <> 'waiting' AND ticket > 0
    GROUP BY ticket, saga ORDER BY ticket, saga LIMIT ?1";
const FENCES: &str =
    "SELECT name, fence FROM reservations WHERE saga = ?1 AND kind = 'lock' AND fence IS NOT NULL";
const NEXT_OVER: &str = "SELECT min(until) FROM reservations WHERE until > ?1";
const BEFORE: &str = "SELECT count(*) FROM reservations WHERE kind = ?1 AND name = ?2 AND state = 'waiting' AND ticket < ?3";

/// The query of a page of rows.
pub(crate) fn list(filter: &ReservationFilter) -> String {
    crate::reservations::list(filter, '?')
}

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 9] = [
    PAGE,
    WAITS_FOR,
    SHARED,
    UNTOLD,
    FENCES,
    NEXT_OVER,
    BEFORE,
    RELEASE_OWN,
    RELEASE_BELOW,
];

/// What sagas take, of one store; cannot be changed once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteReservations {
    thread: WeakThread,
    reader: SqliteReader,
}

impl SqliteReservations {
    pub(crate) const fn new(thread: WeakThread, reader: SqliteReader) -> Self {
        Self { thread, reader }
    }

    /// The last number that was given.
    pub(crate) async fn last_number(&self) -> Result<u64, StoreError> {
        self.reader
            .read("the last number given", |conn| {
                conn.prepare_cached(LAST_NUMBER)?
                    .query_row([], |row| row.get::<_, i64>(0))
                    .map(uint)
            })
            .await
    }
}

/// Makes a batch's changes, in their order.
pub(crate) fn write(conn: &Connection, changes: &[ReservationChange]) -> rusqlite::Result<()> {
    for ReservationChange { saga, at, change } in changes {
        let id = saga.0.as_bytes();
        match change {
            Change::Wanted { root, wants } => want(conn, *saga, *root, wants, *at)?,
            Change::Asked => {
                conn.prepare_cached(TELL_AGAIN)?.execute([id])?;
            }
            Change::Told => tell(conn, *saga, Told::Admitted)?,
            Change::HeldBack => tell(conn, *saga, Told::HeldBack)?,
            Change::LetThrough => {
                conn.prepare_cached(LET_THROUGH)?.execute([id])?;
            }
            Change::Broken { lock } => {
                conn.prepare_cached(BREAK)?.execute(params![id, lock])?;
            }
            Change::Over => {
                conn.prepare_cached(LEAVE)?.execute([id])?;
                conn.prepare_cached(RELEASE_OWN)?.execute([id])?;
                conn.prepare_cached(RELEASE_BELOW)?.execute([id])?;
                tell(conn, *saga, Told::Admitted)?;
            }
        }
    }
    Ok(())
}

fn number(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(NUMBER)?.query_row([], |row| row.get(0))
}

fn want(
    conn: &Connection,
    saga: SagaId,
    root: SagaId,
    wants: &[Want],
    at: Timestamp,
) -> rusqlite::Result<()> {
    let ticket = number(conn)?;
    for want in wants {
        conn.prepare_cached(WANT)?.execute(params![
            want.kind.as_str(),
            want.name,
            ticket,
            saga.0.as_bytes(),
            root.0.as_bytes(),
            want.max,
            want.per_ms.map(int),
            int(at.0),
        ])?;
    }
    Ok(())
}

fn tell(conn: &Connection, saga: SagaId, what: Told) -> rusqlite::Result<()> {
    let values = params![saga.0.as_bytes(), told_number(what)];
    conn.prepare_cached(TELL)?.execute(values).map(drop)
}

/// One thing a saga on the page waits for.
struct Thing {
    want: Want,
    root: Vec<u8>,
}

fn look(
    conn: &Connection,
    ticket: i64,
    saga: SagaId,
    seen: &mut Vec<Seen>,
) -> rusqlite::Result<Vec<Thing>> {
    let id = saga.0.as_bytes();
    let things = all(conn, WAITS_FOR, [id], |row| {
        let want = Want {
            kind: word(row, 0, kind_of)?,
            name: row.get(1)?,
            max: row.get(2)?,
            per_ms: None,
        };
        let root: Vec<u8> = row.get(3)?;
        Ok((
            Thing { want, root },
            row.get::<_, i64>(4)?,
            row.get::<_, bool>(5)?,
        ))
    })?;
    let mut found = Vec::with_capacity(things.len());
    for (thing, told, let_through) in things {
        let Want {
            kind, name, max, ..
        } = &thing.want;
        let values = params![kind.as_str(), name, ticket, id, thing.root, max];
        let taken: i64 = conn
            .prepare_cached(TAKEN)?
            .query_row(values, |row| row.get(0))?;
        // what its root has, or another below it, it has as well: also past those who wait for it
        let shares = *kind == ReservationKind::Lock
            && conn
                .prepare_cached(SHARED)?
                .exists(params![name, thing.root])?;
        seen.push(Seen {
            saga,
            kind: *kind,
            untold: told == 0,
            full: !let_through && !shares && taken >= i64::from(*max),
        });
        found.push(thing);
    }
    Ok(found)
}

fn give(conn: &Connection, saga: SagaId, things: &[Thing], now: Timestamp) -> rusqlite::Result<()> {
    for Thing { want, root } in things {
        let fence: Option<i64> = match want.kind {
            ReservationKind::Lock => {
                let shared = all(conn, SHARED, params![want.name, root], |row| row.get(0))?;
                Some(match shared.first() {
                    Some(fence) => *fence,
                    None => number(conn)?,
                })
            }
            ReservationKind::Concurrency | ReservationKind::BlastRadius => None,
        };
        let (kind, id) = (want.kind.as_str(), saga.0.as_bytes());
        let values = params![id, kind, want.name, int(now.0), fence];
        conn.prepare_cached(GIVE)?.execute(values)?;
    }
    Ok(())
}

fn admit(conn: &Connection, now: Timestamp, after: Option<u64>) -> rusqlite::Result<Admission> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let conn = &transaction;
    let mut answer = Admission::default();
    conn.prepare_cached(OVER)?
        .execute(params![int(now.0), rows(OVER_PAGE)])?;
    let from = after.map_or(0, int);
    let pair = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, saga_id(row, 1)?));
    let waiting = all(conn, PAGE, params![from, rows(ADMIT_PAGE)], pair)?;
    if waiting.len() == ADMIT_PAGE {
        answer.next = waiting.last().map(|(ticket, _)| uint(*ticket));
    }
    let mut told = Vec::new();
    for (ticket, saga) in waiting {
        let mut seen = Vec::new();
        let things = look(conn, ticket, saga, &mut seen)?;
        let (admitted, held_back) = decide(&seen);
        answer.held_back.extend(held_back);
        for saga in admitted {
            give(conn, saga, &things, now)?;
            told.push(saga);
        }
    }
    if after.is_none() {
        let untold = all(conn, UNTOLD, [rows(ADMIT_PAGE)], pair)?;
        told.extend(untold.into_iter().map(|(_, saga)| saga));
        let mut once = std::collections::BTreeSet::new();
        told.retain(|saga| once.insert(*saga));
    }
    for saga in told {
        let fences = all(conn, FENCES, [saga.0.as_bytes()], |row| {
            Ok((row.get::<_, String>(0)?, uint(row.get(1)?)))
        })?;
        let fences: BTreeMap<String, u64> = fences.into_iter().collect();
        answer.admitted.push((saga, fences));
    }
    if answer.next.is_none() {
        let mut next = conn.prepare_cached(NEXT_OVER)?;
        answer.wake_at = next.query_row([int(now.0)], |row| instant_if_set(row, 0))?;
    }
    transaction.commit()?;
    Ok(answer)
}

fn reservation(row: &Row<'_>) -> rusqlite::Result<ReservationRow> {
    Ok(ReservationRow {
        saga: saga_id(row, 0)?,
        root: saga_id(row, 1)?,
        ticket: uint(row.get(2)?),
        want: Want {
            kind: word(row, 3, kind_of)?,
            name: row.get(4)?,
            max: row.get(5)?,
            per_ms: row.get::<_, Option<i64>>(6)?.map(uint),
        },
        state: word(row, 7, state_of)?,
        let_through: row.get(8)?,
        fence: row.get::<_, Option<i64>>(9)?.map(uint),
        asked_at: instant(row, 10)?,
        held_at: instant_if_set(row, 11)?,
        until: instant_if_set(row, 12)?,
        told: told_of(row.get(13)?),
    })
}

impl ReservationBook for SqliteReservations {
    async fn admit(&self, now: Timestamp, after: Option<u64>) -> Result<Admission, StoreError> {
        self.thread
            .on_connection("sagas that wait to be admitted", move |conn| {
                admit(conn, now, after)
            })
            .await
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        self.thread
            .on_connection("locks of sagas that have ended", |conn| {
                conn.prepare_cached(TIDY)?.execute([]).map(drop)
            })
            .await
    }

    async fn reservations(
        &self,
        filter: ReservationFilter,
        after: Option<ReservationCursor>,
        limit: usize,
    ) -> Result<Page<ReservationRow, ReservationCursor>, StoreError> {
        let limit = limited(limit);
        let most = rows(limit + 1);
        self.reader
            .read("what sagas take", move |conn| {
                let sql = list(&filter);
                if let ReservationFilter::Saga(saga) = filter {
                    let values = params![saga.0.as_bytes(), most];
                    let found = all(conn, &sql, values, reservation)?;
                    return Ok(page(found, limit, ReservationCursor::of));
                }
                let (kind, name, state, ticket, saga) = after.as_ref().map_or(
                    ("", "", "", 0, SagaId(uuid::Uuid::nil())),
                    ReservationCursor::place,
                );
                let mut values: Vec<rusqlite::types::Value> = vec![
                    kind.to_owned().into(),
                    name.to_owned().into(),
                    state.to_owned().into(),
                    int(ticket).into(),
                    saga.0.as_bytes().to_vec().into(),
                    most.into(),
                ];
                match &filter {
                    ReservationFilter::All | ReservationFilter::Saga(_) => {}
                    ReservationFilter::Kind(kind) => values.push(kind.as_str().to_owned().into()),
                    ReservationFilter::Name(kind, name) => {
                        values.push(kind.as_str().to_owned().into());
                        values.push(name.clone().into());
                    }
                }
                let values = rusqlite::params_from_iter(values);
                let found = all(conn, &sql, values, reservation)?;
                Ok(page(found, limit, ReservationCursor::of))
            })
            .await
    }

    async fn before(
        &self,
        kind: ReservationKind,
        name: String,
        ticket: u64,
    ) -> Result<u64, StoreError> {
        self.reader
            .read("who waits before", move |conn| {
                let values = params![kind.as_str(), name, int(ticket)];
                let mut count = conn.prepare_cached(BEFORE)?;
                count
                    .query_row(values, |row| row.get::<_, i64>(0))
                    .map(uint)
            })
            .await
    }
}
