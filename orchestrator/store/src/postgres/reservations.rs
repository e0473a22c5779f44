//! What sagas take, in the database. Written by the batches (`change_reservations`) and by whoever looks at the waiting, at whichever member; each holds one
//! advisory lock until that is committed. Commits of every partition wait for that lock: whoever takes it does so within one call of a function, and so never holds
//! it while the server waits for a process.

use std::collections::BTreeMap;

use baton_driver::reservations::{ADMIT_PAGE, OVER_PAGE};
use baton_driver::{Admission, ReservationChange, ReservationRow, StoreError};
use baton_engine::reservation::Change;
use baton_engine::{ReservationKind, Want};
use baton_messages::{SagaId, Timestamp};
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{
    get, instant, instant_if_set, int, plain, rows as most, saga_id, small, string, uint, word,
};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::audit::limited;
use crate::read::{Page, page};
use crate::reservations::{
    ReservationBook, ReservationCursor, ReservationFilter, kind_of, state_of, told_number, told_of,
};

const ADMIT: &str = "SELECT o_told, o_held_back, o_next_ticket, o_wake_at, o_fence_sagas, o_fence_names, o_fences FROM admit_reservations_12($1, $2, $3, $4)";
const TIDY: &str = "SELECT tidy_reservations_12()";
pub(crate) const BEFORE: &str = "SELECT count(*) FROM reservations WHERE kind = $1 AND name = $2 AND state = 'waiting' AND ticket < $3";
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
pub(crate) const QUERIES: [&str; 6] = [PAGE.0, GIVE.0, UNTOLD.0, FENCES.0, NEXT_OVER.0, BEFORE];

// What `admit_reservations_12` asks and changes, with the names that the values have there: so their plans can be read.

/// The sagas of a page, each with whether of something it wants so many have it, or want it before, as there may be; what its root has, or another below it, a saga
/// has as well: also past those who wait for it.
#[cfg(test)]
const PAGE: (&str, &[&str]) = ("SELECT p.saga, p.ticket, f.is_full, f.by_time, f.untold, f.is_below
    FROM (SELECT ticket, saga FROM reservations WHERE held_at IS NULL AND ticket > $1 AND ticket <= $3 GROUP BY ticket, saga ORDER BY ticket, saga LIMIT $2) p
    CROSS JOIN LATERAL (SELECT bool_or(w.is_full) AS is_full, bool_and(w.kind = 'blast-radius' OR NOT w.is_full) AS by_time, bool_and(w.told = 0) AS untold,
        bool_or(w.is_below) AS is_below FROM (SELECT r.kind, r.told, r.saga <> r.root AS is_below,
        NOT r.let_through AND NOT (r.kind = 'lock' AND EXISTS (SELECT 1 FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root))
        AND (SELECT count(*) FROM (
            SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'held' AND h.saga <> r.saga AND (r.kind <> 'lock' OR h.root <> r.root)
            UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'spent' AND h.saga <> r.saga
            UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'waiting' AND h.ticket < r.ticket AND r.saga = r.root AND (r.kind <> 'lock' OR h.root <> r.root)
            LIMIT r.max) taken) >= r.max AS is_full
        FROM reservations r WHERE r.saga = p.saga OFFSET 0) w) f
    ORDER BY p.ticket, p.saga", &["p_from", "p_page", "p_upto"]);
/// All that one saga wants; a lock that is held below its root already keeps its number.
#[cfg(test)]
const GIVE: (&str, &[&str]) = ("UPDATE reservations r SET state = CASE WHEN per_ms IS NULL THEN 'held' ELSE 'spent' END, held_at = $2::bigint, until = $2::bigint + per_ms,
    fence = CASE WHEN kind = 'lock' THEN coalesce((SELECT h.fence FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root LIMIT 1),
        nextval('reservation_numbers')) END
    WHERE saga = $1", &["to_give[place]", "p_now"]);
#[cfg(test)]
const UNTOLD: (&str, &[&str]) = (
    "SELECT saga FROM reservations WHERE told < 2 AND state <> 'waiting' AND ticket > 0 GROUP BY ticket, saga ORDER BY ticket, saga LIMIT $1",
    &["p_page"],
);
#[cfg(test)]
const FENCES: (&str, &[&str]) = (
    "SELECT saga, name, fence FROM reservations WHERE saga = ANY ($1) AND kind = 'lock' AND fence IS NOT NULL",
    &["o_told"],
);
#[cfg(test)]
const NEXT_OVER: (&str, &[&str]) = (
    "SELECT min(until) FROM reservations WHERE until > $1",
    &["p_now"],
);
#[cfg(test)]
const ADMITTING: [(&str, &[&str]); 5] = [PAGE, GIVE, UNTOLD, FENCES, NEXT_OVER];

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

/// What one look came to, out of the columns of [`ADMIT`].
fn admission(row: &Row) -> Result<Admission, Fault> {
    let (told, held_back): (Vec<Uuid>, Vec<Uuid>) = (get(row, 0)?, get(row, 1)?);
    let (sagas, names): (Vec<Uuid>, Vec<String>) = (get(row, 4)?, get(row, 5)?);
    let numbers: Vec<i64> = get(row, 6)?;
    let mut fences: BTreeMap<Uuid, BTreeMap<String, u64>> = BTreeMap::new();
    for ((saga, name), number) in sagas.into_iter().zip(names).zip(numbers) {
        let of_saga = fences.entry(saga).or_default();
        of_saga.insert(plain(&name), uint(number));
    }
    let admitted = told.into_iter().map(|saga| {
        let fences = fences.remove(&saga).unwrap_or_default();
        (SagaId(saga), fences)
    });
    Ok(Admission {
        admitted: admitted.collect(),
        held_back: held_back.into_iter().map(SagaId).collect(),
        next: get::<Option<i64>>(row, 2)?.map(uint),
        wake_at: instant_if_set(row, 3)?,
    })
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
        let values: [&(dyn ToSql + Sync); 4] = [
            &int(now.0),
            &after.map(int),
            &most(ADMIT_PAGE),
            &most(OVER_PAGE),
        ];
        let found = self.connections.rows(ADMIT, &values).await;
        let read = found.and_then(|rows| {
            rows.first()
                .map_or_else(|| Ok(Admission::default()), admission)
        });
        read.map_err(|fault| fault.read("sagas that wait to be admitted"))
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let tidied = self.connections.execute(TIDY, &[]).await;
        tidied.map_err(|fault| fault.read("locks of sagas that have ended"))?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::ADMITTING;

    /// With one blank wherever there are some.
    fn flat(text: &str) -> String {
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_queries_whose_plans_are_read_are_those_of_the_function() {
        let migration = flat(include_str!("../../migrations/postgres/V12__hot_path.sql"));
        for (sql, names) in ADMITTING {
            let mut there = flat(sql);
            for (place, name) in names.iter().enumerate() {
                there = there.replace(&format!("${}", place + 1), name);
            }
            assert!(migration.contains(&there), "{there}");
        }
    }
}
