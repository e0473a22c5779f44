//! The tables of triggers in SQLite: written on the store's one thread, so that what is taken in and what the driver commits have one order.

use baton_driver::store::BoxError;
use baton_driver::{StoreError, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{SagaId, StepId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::columns::{document, failed, instant, instant_if_set, int, json, rows, saga_id, uint};
use super::commit::Fault;
use super::load::all;
use super::subscriptions;
use super::thread::WeakThread;
use crate::triggers::{Arrival, Effect, EventRow, Planned, ScheduleRow, Settled, Triggers};

const EVENT_COLUMNS: &str = "seq, received_at, done, effects, body";
const EVENT_ADD: &str = "INSERT INTO events (source, id, type, received_at, done, effects, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const EVENT_DONE: &str = "UPDATE events SET done = 1, effects = ?2 WHERE seq = ?1";
const EVENT_AGAIN: &str = "UPDATE events SET done = 0, effects = ?2 WHERE seq = ?1";
const KEY: &str = "SELECT k.saga, k.until, s.active FROM keys k LEFT JOIN sagas s ON s.id = k.saga
    WHERE k.definition = ?1 AND k.key = ?2";
const KEY_PUT: &str = "INSERT INTO keys (definition, key, saga, until) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (definition, key) DO UPDATE SET saga = excluded.saga, until = excluded.until";
const KEY_RELEASE: &str = "DELETE FROM keys WHERE definition = ?1 AND key = ?2 AND saga = ?3";
const EVENTS_PURGE: &str = "DELETE FROM events WHERE seq IN
    (SELECT seq FROM events INDEXED BY events_by_age WHERE received_at < ?1 AND done = 1 ORDER BY received_at LIMIT ?2)";
const KEYS_PURGE: &str = "DELETE FROM keys WHERE (definition, key) IN
    (SELECT k.definition, k.key FROM keys k INDEXED BY keys_by_until JOIN sagas s ON s.id = k.saga
     WHERE k.until < ?1 AND s.active = 0 ORDER BY k.until LIMIT ?2)";
pub(crate) const SCHEDULES: &str = "SELECT definition, name, trigger_no, after, last_at, last_saga, paused, skipped, skipped_at, skipped_why
    FROM schedules ORDER BY definition, name";
const SCHEDULE_PUT: &str = "INSERT INTO schedules (definition, name, trigger_no, after, last_at, last_saga, paused, skipped, skipped_at, skipped_why)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (definition, name) DO UPDATE SET trigger_no = excluded.trigger_no,
    after = excluded.after, last_at = excluded.last_at, last_saga = excluded.last_saga, paused = excluded.paused,
    skipped = excluded.skipped, skipped_at = excluded.skipped_at, skipped_why = excluded.skipped_why";
const SCHEDULE_REMOVE: &str = "DELETE FROM schedules WHERE definition = ?1 AND name = ?2";
pub(crate) const BINDINGS: &str = "SELECT pattern FROM bindings ORDER BY pattern";
const BINDING_PUT: &str =
    "INSERT INTO bindings (pattern) VALUES (?1) ON CONFLICT (pattern) DO NOTHING";
const BINDING_REMOVE: &str = "DELETE FROM bindings WHERE pattern = ?1";
pub(crate) const ACTIVE: &str = "SELECT active FROM sagas WHERE id = ?1";

/// One event by what makes it unique. Values: source, id.
pub(crate) fn event() -> String {
    format!("SELECT {EVENT_COLUMNS} FROM events WHERE source = ?1 AND id = ?2")
}

/// Events that may not be done. Values: the place after which, the limit.
pub(crate) fn undone() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM events INDEXED BY events_undone WHERE done = 0 AND seq > ?1 ORDER BY seq LIMIT ?2"
    )
}

/// Kept events of one type, or of all below one, oldest first. Values: 1 the type, or where the range of types begins and 6 where it ends; 2 from when; 3 and 4 the
/// cursor; 5 the limit.
pub(crate) fn kept(prefix: bool) -> String {
    let (index, kind) = if prefix {
        ("events_by_age", "type > ?1 AND type < ?6")
    } else {
        ("events_by_type", "type = ?1 AND ?6 IS NULL")
    };
    format!(
        "SELECT {EVENT_COLUMNS} FROM events INDEXED BY {index} WHERE {kind} AND received_at >= ?2 AND (received_at, seq) > (?3, ?4)
         ORDER BY received_at, seq LIMIT ?5"
    )
}

/// Events, newest first. Values: 1 and 2 the cursor, 3 the limit, 4 the type where there is one.
pub(crate) fn events(of_type: bool) -> String {
    let (index, kind) = if of_type {
        ("events_by_type", "type = ?4")
    } else {
        ("events_by_age", "?4 IS NULL")
    };
    format!(
        "SELECT {EVENT_COLUMNS} FROM events INDEXED BY {index} WHERE {kind} AND (received_at, seq) < (?1, ?2)
         ORDER BY received_at DESC, seq DESC LIMIT ?3"
    )
}

/// An event out of its columns.
pub(crate) fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        seq: uint(row.get(0)?),
        received_at: instant(row, 1)?,
        done: row.get(2)?,
        effects: document(row, 3)?,
        event: document(row, 4)?,
    })
}

/// A schedule out of the columns of [`SCHEDULES`].
pub(crate) fn schedule_row(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    let has_saga = row.get_ref(5)? != rusqlite::types::ValueRef::Null;
    Ok(ScheduleRow {
        definition: row.get(0)?,
        name: row.get(1)?,
        trigger: row.get(2)?,
        after: instant(row, 3)?,
        last_at: instant_if_set(row, 4)?,
        last_saga: has_saga.then(|| saga_id(row, 5)).transpose()?,
        paused: row.get(6)?,
        skipped: row.get(7)?,
        skipped_at: instant_if_set(row, 8)?,
        skipped_why: row.get(9)?,
    })
}

/// The tables of triggers of a [`super::SqliteStore`], while that is open.
#[derive(Debug, Clone)]
pub struct SqliteTriggers {
    way: WeakThread,
}

impl SqliteTriggers {
    pub(crate) const fn new(way: WeakThread) -> Self {
        Self { way }
    }

    /// One transaction on the store's thread.
    async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.on_thread(what, move |conn| {
            let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        })
        .await
    }

    async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.on_thread(what, move |conn| Ok(work(conn)?)).await
    }

    async fn on_thread<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let lost = |source: BoxError| StoreError {
            what: what.to_owned(),
            source,
        };
        let done = self.way.call(move |writer| work(writer.connection())).await;
        match done {
            Err(source) => Err(lost(Box::new(source))),
            Ok(Err(Fault::Sql(source))) => Err(failed(what)(source)),
            Ok(Err(Fault::Json(source))) => Err(lost(Box::new(source))),
            Ok(Err(Fault::Fenced)) => Err(lost("another orchestrator owns the store".into())),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

impl Triggers for SqliteTriggers {
    async fn take_in(&self, arrivals: Vec<Arrival>) -> Result<Vec<EventRow>, StoreError> {
        self.write("events, to keep them", move |conn| {
            let mut buffer = Vec::new();
            let mut taken = Vec::with_capacity(arrivals.len());
            for arrival in arrivals {
                taken.push(take_in(conn, &mut buffer, arrival)?);
            }
            Ok(taken)
        })
        .await
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        self.write("that events are done", move |conn| {
            let mut buffer = Vec::new();
            for one in settled {
                let effects = json(&mut buffer, &one.effects)?;
                conn.prepare_cached(EVENT_DONE)?
                    .execute(params![int(one.seq), effects])?;
                for (definition, key, saga) in one.released {
                    conn.prepare_cached(KEY_RELEASE)?.execute(params![
                        definition,
                        key,
                        saga.0.as_bytes()
                    ])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn undone(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        self.read("events that may not be done", move |conn| {
            all(conn, &undone(), params![int(after), rows(limit)], event_row)
        })
        .await
    }

    async fn subscribers(
        &self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        self.read("steps that wait for an event", move |conn| {
            subscriptions::of_event(conn, &kind, after.as_ref(), limit)
        })
        .await
    }

    async fn kept(
        &self,
        pattern: EventPattern,
        from: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.read("kept events of a type", move |conn| {
            let (at, seq) = after.map_or((-1, -1), |(at, seq)| (int(at.0), int(seq)));
            let prefix = pattern.prefix();
            // the character after the dot ends the range of what begins with the prefix
            let end = prefix.map(|prefix| format!("{}/", prefix.trim_end_matches('.')));
            let values = params![
                prefix.unwrap_or(pattern.as_str()),
                int(from.0),
                at,
                seq,
                rows(limit),
                end
            ];
            all(conn, &kept(prefix.is_some()), values, event_row)
        })
        .await
    }

    async fn purge(
        &self,
        events_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<bool, StoreError> {
        self.write("old events, to take them out", move |conn| {
            let events = conn
                .prepare_cached(EVENTS_PURGE)?
                .execute(params![int(events_before.0), rows(limit)])?;
            let keys = conn
                .prepare_cached(KEYS_PURGE)?
                .execute(params![int(now.0), rows(limit)])?;
            Ok(events.max(keys) >= limit)
        })
        .await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        self.read("schedules", |conn| all(conn, SCHEDULES, [], schedule_row))
            .await
    }

    async fn put_schedule(&self, row: ScheduleRow) -> Result<(), StoreError> {
        self.write("a schedule, to keep it", move |conn| {
            conn.prepare_cached(SCHEDULE_PUT)?.execute(params![
                row.definition,
                row.name,
                row.trigger,
                int(row.after.0),
                row.last_at.map(|at| int(at.0)),
                row.last_saga.as_ref().map(|saga| saga.0.as_bytes()),
                row.paused,
                row.skipped,
                row.skipped_at.map(|at| int(at.0)),
                row.skipped_why,
            ])?;
            Ok(())
        })
        .await
    }

    async fn remove_schedule(&self, definition: String, name: String) -> Result<(), StoreError> {
        self.write("a schedule, to take it out", move |conn| {
            conn.prepare_cached(SCHEDULE_REMOVE)?
                .execute([definition, name])?;
            Ok(())
        })
        .await
    }

    async fn bindings(&self) -> Result<Vec<String>, StoreError> {
        self.read("bindings", |conn| all(conn, BINDINGS, [], |row| row.get(0)))
            .await
    }

    async fn note_binding(&self, pattern: String, bound: bool) -> Result<(), StoreError> {
        self.write("a binding, to note it", move |conn| {
            let sql = if bound { BINDING_PUT } else { BINDING_REMOVE };
            conn.prepare_cached(sql)?.execute([pattern])?;
            Ok(())
        })
        .await
    }

    async fn is_active(&self, saga: SagaId) -> Result<Option<bool>, StoreError> {
        self.read("whether a saga has ended", move |conn| {
            conn.prepare_cached(ACTIVE)?
                .query_row([saga.0.as_bytes()], |row| row.get(0))
                .optional()
        })
        .await
    }
}

fn take_in(conn: &Connection, buffer: &mut Vec<u8>, arrival: Arrival) -> Result<EventRow, Fault> {
    let known = conn
        .prepare_cached(&event())?
        .query_row([&arrival.event.source, &arrival.event.id], event_row)
        .optional()?;
    if let Some(mut known) = known {
        let (effects, at) = (&known.effects, arrival.at);
        let looked =
            arrival.looked_again(effects, |planned| resolved(conn, planned.clone(), at))?;
        if let Some(effects) = looked {
            let values = params![int(known.seq), json(buffer, &effects)?];
            conn.prepare_cached(EVENT_AGAIN)?.execute(values)?;
            (known.effects, known.done) = (effects, false);
        }
        return Ok(known);
    }
    let Arrival {
        event,
        at,
        planned,
        awaited,
        again: _,
    } = arrival;
    let effects = planned
        .into_iter()
        .map(|planned| resolved(conn, planned, at))
        .collect::<Result<Vec<Effect>, Fault>>()?;
    let done = effects.is_empty() && !awaited;
    let body = serde_json::to_string(&event)?;
    let effects_text = json(buffer, &effects)?;
    conn.prepare_cached(EVENT_ADD)?.execute(params![
        event.source,
        event.id,
        event.kind,
        int(at.0),
        done,
        effects_text,
        body
    ])?;
    Ok(EventRow {
        seq: uint(conn.last_insert_rowid()),
        event,
        received_at: at,
        done,
        effects,
    })
}

/// Who has a key: the saga, until when at least, and whether it goes on; none of that where it is about to be started.
type Holder = (SagaId, Timestamp, Option<bool>);

fn holder(conn: &Connection, definition: &str, key: &str) -> rusqlite::Result<Option<Holder>> {
    conn.prepare_cached(KEY)?
        .query_row([definition, key], |row| {
            Ok((saga_id(row, 0)?, instant(row, 1)?, row.get(2)?))
        })
        .optional()
}

/// What comes of it: a key that another saga holds makes a start a joining, and leads to whom is to be cancelled.
fn resolved(conn: &Connection, planned: Planned, at: Timestamp) -> Result<Effect, Fault> {
    let (of, saga, claim) = match planned {
        Planned::Refused { of, error } => return Ok(Effect::Refused { of, error }),
        Planned::Cancel { of, key, reason } => {
            let holder = holder(conn, &of.definition, &key)?;
            let holder = holder.map(|(saga, _, active)| (saga, active));
            return Ok(Effect::of_cancel(of, key, reason, holder));
        }
        Planned::Start { of, saga, key } => (of, saga, key),
    };
    let Some(claim) = claim else {
        return Ok(Effect::Started {
            of,
            saga,
            key: None,
        });
    };
    if let Some((holder, until, active)) = holder(conn, &of.definition, &claim.key)?
        && holder != saga
        // a holder without a row is about to be started
        && (until > at || active.unwrap_or(true))
    {
        return Ok(Effect::Joined {
            of,
            saga: holder,
            key: claim.key,
        });
    }
    conn.prepare_cached(KEY_PUT)?.execute(params![
        of.definition,
        claim.key,
        saga.0.as_bytes(),
        int(claim.until.0)
    ])?;
    Ok(Effect::Started {
        of,
        saga,
        key: Some(claim.key),
    })
}
