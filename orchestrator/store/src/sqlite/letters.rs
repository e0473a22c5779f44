//! Dead letters after their intake, in the SQLite file. Everything goes to the store's one thread.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;
use uuid::Uuid;

use super::columns::{document, instant, int, rows, uuid, word};
use super::letter_rows::letter_row;
use super::load::all;
use super::queries;
use super::thread::WeakThread;
use crate::arrivals::{Arrived, Arriving, KEPT_MS, ROWS_MAX};
use crate::facets::facets_of;
use crate::group::group_of;
use crate::letters::{
    Claiming, Death, EditRow, GivingBack, HistoryRow, Imported, LetterRow, LetterState, Letters,
    Move, OperationRow, OperationState, OperationStep, Sending, Settling, Waiting, WholeLetter,
    Written,
};
use crate::read::DeadLetterCursor;

const MOVE: &str = "UPDATE dead_letters SET state = ?3, replays = replays + ?4, changed_at = ?5, changed_by = ?6, why = ?7, action = ?8,
    operation = NULL, outcome = NULL, stage = NULL, sent_at = NULL WHERE id = ?1 AND state = ?2";
const CLAIM: &str = "UPDATE dead_letters SET state = 'replaying', replays = replays + 1, changed_at = ?2, changed_by = ?3, why = ?4, action = ?5,
    operation = ?5, outcome = NULL, stage = ?6, sent_at = NULL WHERE id = ?1 AND state = 'dead'";
const SETTLE: &str = "UPDATE dead_letters SET state = ?3, replays = replays - ?4, changed_at = ?5, outcome = ?6, sent_at = NULL,
    attempt = coalesce(?7, attempt) WHERE id = ?1 AND state = 'replaying' AND action = ?2 RETURNING stage";
const SENT: &str = "UPDATE dead_letters SET sent_at = ?3, attempt = ?4, outcome = ?5 WHERE id = ?1 AND state = 'replaying' AND action = ?2 AND sent_at IS NULL";
/// Of a letter as it stands now: whoever moved it, and why.
const HAPPENED: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text)
    SELECT l.id, 1 + coalesce((SELECT max(n) FROM dead_history h WHERE h.letter = l.id), 0), ?2, ?3, coalesce(l.changed_by, ''), coalesce(l.why, ''), ?4
    FROM dead_letters l WHERE l.id = ?1";
const DEATH_KNOWN: &str = "SELECT 1 FROM dead_history WHERE death = ?1";
const STOOD: &str = "SELECT state, stage, operation FROM dead_letters WHERE id = ?1";
const DIED: &str = "UPDATE dead_letters SET state = 'dead', died_again = died_again + 1, died_at = max(coalesce(died_at, at), ?2), changed_at = ?2, outcome = ?3, sent_at = NULL WHERE id = ?1";
const DIED_TASK: &str = "UPDATE dead_letters SET died_again = died_again + 1, died_at = max(coalesce(died_at, at), ?3), attempt = ?2 WHERE id = ?1";
const PUT_HISTORY: &str =
    "INSERT INTO dead_history (letter, n, at, what, by, why, text, death, properties, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";
const DEATH: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text, death, properties, body)
    VALUES (?1, 1 + coalesce((SELECT max(n) FROM dead_history WHERE letter = ?1), 0), ?2, 'died', '', '', ?3, ?4, ?5, ?6)";
const GIVE_BACK: &str = "UPDATE dead_letters SET state = 'dead', replays = replays - 1, changed_at = ?3, changed_by = NULL, why = NULL, action = NULL,
    operation = ?4, stage = NULL, outcome = (SELECT h.text FROM dead_history h WHERE h.letter = dead_letters.id AND h.what <> 'noted' ORDER BY h.n DESC LIMIT 1) WHERE id = ?1 AND state = 'replaying' AND operation = ?2 AND sent_at IS NULL";
const EXPIRED: &str = "SELECT id, partition FROM dead_letters INDEXED BY dead_letters_by_change WHERE state = ?1 AND changed_at < ?2
    ORDER BY changed_at, id LIMIT ?3";
const EXPIRE: [&str; 3] = [
    "DELETE FROM dead_edits WHERE letter = ?1",
    "DELETE FROM dead_history WHERE letter = ?1",
    "DELETE FROM dead_letters WHERE id = ?1",
];
const GONE: &str = "UPDATE counts SET n = n - 1 WHERE partition = ?1 AND name = 'dead_letters'";
const NOTE: &str = "UPDATE dead_letters SET note = ?2 WHERE id = ?1";
const NOTED: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text)
    VALUES (?1, 1 + coalesce((SELECT max(n) FROM dead_history WHERE letter = ?1), 0), ?2, 'noted', ?3, '', ?4)";
const EDITED: &str =
    "UPDATE dead_letters SET edition = ?2 WHERE id = ?1 AND edition = ?2 - 1 AND state = 'dead'";
const EDIT: &str = "INSERT INTO dead_edits (letter, edition, at, by, why, action, difference, properties, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const IMPORT: &str = "INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body, grp,
    pool, task_type, event_type, definition, worker, replays_before, state, replays, changed_at, changed_by, why, note, outcome, edition, died_again, died_at, attempt)
    VALUES (?1, (SELECT min(id) FROM partitions), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)
    ON CONFLICT (id) DO NOTHING";
const IMPORTED: &str = "INSERT INTO counts (partition, name, n) VALUES ((SELECT min(id) FROM partitions), 'dead_letters', ?1)
    ON CONFLICT (partition, name) DO UPDATE SET n = n + excluded.n";
const OPERATION: &str = "SELECT body FROM dead_operations WHERE id = ?1";
const OPERATION_ADD: &str = "INSERT INTO dead_operations (id, made_at, state, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";
const OPERATION_PUT: &str = "UPDATE dead_operations SET state = ?2, body = ?3 WHERE id = ?1";

const ARRIVAL_OVER: &str = "DELETE FROM dead_arrivals WHERE id = ?1";
const ARRIVALS: &str = "SELECT id FROM dead_arrivals INDEXED BY dead_arrivals_by_print WHERE queue = ?1 AND print = ?2 LIMIT 4096";
const ARRIVALS_OLD: &str = "DELETE FROM dead_arrivals WHERE queue = ?1 AND at < ?2";
/// More of one queue than can be on their way: the oldest go.
const ARRIVALS_MANY: &str = "DELETE FROM dead_arrivals WHERE queue = ?1
    AND at < (SELECT at FROM dead_arrivals INDEXED BY dead_arrivals_by_age WHERE queue = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)";
const ARRIVAL_ADD: &str = "INSERT INTO dead_arrivals (id, queue, print, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";
const ARRIVAL_OF: &str =
    "SELECT json_extract(properties, '$.arrival') FROM dead_letters WHERE id = ?1";

/// Every question here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 25] = [
    ARRIVAL_OVER,
    ARRIVALS,
    ARRIVALS_OLD,
    ARRIVALS_MANY,
    ARRIVAL_OF,
    EXPIRED,
    EXPIRE[0],
    EXPIRE[1],
    EXPIRE[2],
    GONE,
    MOVE,
    CLAIM,
    SETTLE,
    SENT,
    HAPPENED,
    DEATH_KNOWN,
    STOOD,
    DIED,
    DEATH,
    GIVE_BACK,
    NOTE,
    NOTED,
    EDITED,
    OPERATION,
    OPERATION_PUT,
];

/// The letters of one store; answers errors once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteLetters {
    thread: WeakThread,
}

impl SqliteLetters {
    pub(crate) const fn new(thread: WeakThread) -> Self {
        Self { thread }
    }

    /// A look, on the store's thread.
    async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.thread.on_connection(what, |conn| work(conn)).await
    }

    /// One transaction on the store's thread.
    async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.thread
            .on_connection(what, move |conn| {
                let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
                let answer = work(&transaction)?;
                transaction.commit()?;
                Ok(answer)
            })
            .await
    }
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|source| rusqlite::Error::ToSqlConversionFailure(Box::new(source)))
}

fn operation(conn: &Connection, id: Uuid) -> rusqlite::Result<Option<OperationRow>> {
    conn.prepare_cached(OPERATION)?
        .query_row([id.as_bytes()], |row| document(row, 0))
        .optional()
}

/// Writes down what happened to a letter.
fn happened(
    conn: &Connection,
    letter: Uuid,
    at: Timestamp,
    what: &str,
    text: &str,
) -> rusqlite::Result<()> {
    let values = params![letter.as_bytes(), int(at.0), what, text];
    conn.prepare_cached(HAPPENED)?.execute(values)?;
    Ok(())
}

/// Where a letter stood, in which stage of which operation.
type Stood = (LetterState, Option<u32>, Option<Uuid>);

fn stood(conn: &Connection, letter: Uuid) -> rusqlite::Result<Option<Stood>> {
    conn.prepare_cached(STOOD)?
        .query_row([letter.as_bytes()], |row| {
            let set = row.get_ref(2)? != rusqlite::types::ValueRef::Null;
            let operation = set.then(|| uuid(row, 2)).transpose()?;
            Ok((word(row, 0, LetterState::of)?, row.get(1)?, operation))
        })
        .optional()
}

fn died_again(conn: &Connection, death: &Death) -> rusqlite::Result<bool> {
    let mut known = conn.prepare_cached(DEATH_KNOWN)?;
    if known.exists([death.death.as_bytes()])? {
        return Ok(true);
    }
    let Some((state, stage, of)) = stood(conn, death.letter)? else {
        return Ok(false);
    };
    if let Some(attempt) = &death.attempt {
        let values = params![death.letter.as_bytes(), json(attempt)?, int(death.at.0)];
        conn.prepare_cached(DIED_TASK)?.execute(values)?;
    } else {
        let outcome = format!("it died again: {}", death.error);
        let values = params![death.letter.as_bytes(), int(death.at.0), outcome];
        conn.prepare_cached(DIED)?.execute(values)?;
    }
    conn.prepare_cached(DEATH)?.execute(params![
        death.letter.as_bytes(),
        int(death.at.0),
        death.error,
        death.death.as_bytes(),
        json(&death.properties)?,
        death.body,
    ])?;
    if let Some(id) = of.filter(|_| death.attempt.is_none())
        && let Some(mut row) = operation(conn, id)?
    {
        row.died_again(stage, state, death.at);
        put(conn, &row)?;
    }
    Ok(true)
}

fn arrived(conn: &Connection, arriving: &Arriving) -> rusqlite::Result<Vec<Arrived>> {
    let mut over = conn.prepare_cached(ARRIVAL_OVER)?;
    for id in &arriving.over {
        over.execute([id.as_bytes()])?;
    }
    let mut rows = Vec::new();
    for print in arriving.looked_for() {
        let values = params![arriving.queue, print.as_bytes()];
        let ids = all(conn, ARRIVALS, values, |row| uuid(row, 0))?;
        rows.extend(ids.into_iter().map(|id| (print, id)));
    }
    let arrived = arriving.arrived(&rows);
    if arriving.is_calm() {
        let before = int(arriving.at.0.saturating_sub(KEPT_MS));
        conn.prepare_cached(ARRIVALS_OLD)?
            .execute(params![arriving.queue, before])?;
    }
    let mut add = conn.prepare_cached(ARRIVAL_ADD)?;
    let new = arrived.iter().zip(&arriving.came);
    for (one, came) in new.filter(|(one, _)| !one.again) {
        let (id, print) = (one.id.as_bytes(), came.print.as_bytes());
        add.execute(params![id, arriving.queue, print, int(arriving.at.0)])?;
    }
    if arrived.iter().any(|one| !one.again) {
        conn.prepare_cached(ARRIVALS_MANY)?
            .execute(params![arriving.queue, ROWS_MAX])?;
    }
    Ok(arrived)
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let set = row.get_ref(2)? != rusqlite::types::ValueRef::Null;
    Ok(Waiting {
        letter: uuid(row, 0)?,
        action: uuid(row, 1)?,
        operation: set.then(|| uuid(row, 2)).transpose()?,
        attempt: document(row, 3)?,
        sent_at: instant(row, 4)?,
    })
}

fn put_edit(conn: &Connection, edit: &EditRow) -> rusqlite::Result<()> {
    conn.prepare_cached(EDIT)?.execute(params![
        edit.letter.as_bytes(),
        edit.edition,
        int(edit.at.0),
        edit.by,
        edit.why,
        edit.action.as_bytes(),
        edit.difference,
        json(&edit.properties)?,
        edit.body,
    ])?;
    Ok(())
}

/// Whether it is new here.
fn import(conn: &Connection, row: &LetterRow) -> rusqlite::Result<bool> {
    let (letter, now) = (&row.letter, &row.now);
    let about = facets_of(letter);
    let added = conn.prepare_cached(IMPORT)?.execute(params![
        letter.id.as_bytes(),
        int(letter.at.0),
        letter.reason.as_str(),
        letter.error,
        letter.queue,
        letter.exchange,
        letter.key,
        letter.message_id,
        letter.kind,
        letter.saga.as_ref().map(|saga| saga.0.as_bytes()),
        json(&letter.properties)?,
        letter.body,
        group_of(letter, &about),
        about.pool,
        about.task_type,
        about.event_type,
        about.definition,
        about.worker,
        about.replays_before,
        now.state.as_str(),
        now.replays,
        now.changed_at.map(|at| int(at.0)),
        now.changed_by,
        now.why,
        now.note,
        now.outcome,
        now.edition,
        now.died_again,
        now.died_at.map(|at| int(at.0)),
        now.attempt.as_ref().map(json).transpose()?,
    ])?;
    Ok(added == 1)
}

fn put_history(conn: &Connection, letter: Uuid, row: &HistoryRow) -> rusqlite::Result<()> {
    let died = row.died.as_ref();
    conn.prepare_cached(PUT_HISTORY)?.execute(params![
        letter.as_bytes(),
        row.n,
        int(row.at.0),
        row.what,
        row.by,
        row.why,
        row.text,
        died.map(|died| died.death.as_bytes()),
        died.map(|died| json(&died.properties)).transpose()?,
        died.and_then(|died| died.body.as_ref()),
    ])?;
    Ok(())
}

fn put(conn: &Connection, row: &OperationRow) -> rusqlite::Result<()> {
    let values = params![row.id.as_bytes(), row.state.as_str(), json(row)?];
    conn.prepare_cached(OPERATION_PUT)?.execute(values)?;
    Ok(())
}

fn settle(conn: &Connection, settled: &Settling) -> rusqlite::Result<bool> {
    let values = params![
        settled.letter.as_bytes(),
        settled.action.as_bytes(),
        settled.ending.state().as_str(),
        settled.ending.uncounted(),
        int(settled.at.0),
        settled.outcome,
        settled.attempt.as_ref().map(json).transpose()?,
    ];
    let stage = conn
        .prepare_cached(SETTLE)?
        .query_row(values, |row| row.get::<_, Option<u32>>(0))
        .optional()?;
    let Some(stage) = stage else {
        return Ok(false);
    };
    let what = settled.ending.as_str();
    happened(conn, settled.letter, settled.at, what, &settled.outcome)?;
    if let Some(id) = settled.operation
        && let Some(mut row) = operation(conn, id)?
    {
        settled.apply(&mut row, stage);
        put(conn, &row)?;
    }
    Ok(true)
}

fn sent(conn: &Connection, sent: &Sending) -> rusqlite::Result<bool> {
    let written = conn.prepare_cached(SENT)?.execute(params![
        sent.letter.as_bytes(),
        sent.action.as_bytes(),
        int(sent.at.0),
        json(&sent.attempt)?,
        sent.outcome,
    ])?;
    if written == 1 {
        happened(conn, sent.letter, sent.at, "sent", &sent.outcome)?;
    }
    Ok(written == 1)
}

impl Letters for SqliteLetters {
    async fn move_letter(&self, asked: Move) -> Result<bool, StoreError> {
        self.write("a dead letter, to move it", move |conn| {
            let sent = asked.to == LetterState::Replaying;
            let moved = conn.prepare_cached(MOVE)?.execute(params![
                asked.letter.as_bytes(),
                asked.from.as_str(),
                asked.to.as_str(),
                i64::from(sent),
                int(asked.mover.at.0),
                asked.mover.by,
                asked.mover.why,
                asked.mover.action.as_bytes(),
            ])?;
            if moved == 1 && !sent {
                happened(conn, asked.letter, asked.mover.at, asked.to.as_str(), "")?;
            }
            Ok(moved == 1)
        })
        .await
    }

    async fn note(
        &self,
        letter: Uuid,
        note: String,
        by: String,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("a note on a dead letter", move |conn| {
            let noted = conn
                .prepare_cached(NOTE)?
                .execute(params![letter.as_bytes(), note])?;
            if noted == 1 {
                let values = params![letter.as_bytes(), int(at.0), by, note];
                conn.prepare_cached(NOTED)?.execute(values)?;
            }
            Ok(noted == 1)
        })
        .await
    }

    async fn edit(&self, edit: EditRow) -> Result<bool, StoreError> {
        self.write("an edited dead letter", move |conn| {
            let values = params![edit.letter.as_bytes(), edit.edition];
            if conn.prepare_cached(EDITED)?.execute(values)? != 1 {
                return Ok(false);
            }
            put_edit(conn, &edit)?;
            Ok(true)
        })
        .await
    }

    async fn import(&self, letters: Vec<WholeLetter>) -> Result<Imported, StoreError> {
        self.write("imported dead letters", move |conn| {
            let mut done = Imported::default();
            for WholeLetter {
                row,
                edits,
                history,
            } in &letters
            {
                if !import(conn, row)? {
                    done.known += 1;
                    continue;
                }
                for edit in edits {
                    put_edit(conn, edit)?;
                }
                for one in history {
                    put_history(conn, row.letter.id, one)?;
                }
                done.added += 1;
            }
            if done.added > 0 {
                let added = [int(done.added)];
                conn.prepare_cached(IMPORTED)?.execute(added)?;
            }
            Ok(done)
        })
        .await
    }

    async fn write_down(&self, written: Vec<Written>) -> Result<Vec<bool>, StoreError> {
        self.write("what came of dead letters", move |conn| {
            let written = written.iter().map(|one| match one {
                Written::Settled(settled) => settle(conn, settled),
                Written::Sent(one) => sent(conn, one),
            });
            written.collect()
        })
        .await
    }

    async fn waiting(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.read("dead letters whose outcome is waited for", move |conn| {
            let after = after.unwrap_or_default();
            let values = params![after.as_bytes(), rows(limit)];
            all(conn, queries::WAITING, values, waiting)
        })
        .await
    }

    async fn waiting_in(
        &self,
        operation: Uuid,
        stage: u32,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        self.read("dead letters a stage waits for", move |conn| {
            let values = params![operation.as_bytes(), stage, rows(limit)];
            all(conn, queries::WAITING_IN, values, waiting)
        })
        .await
    }

    async fn died_again(&self, death: Death) -> Result<bool, StoreError> {
        self.write("a dead letter that died again", move |conn| {
            died_again(conn, &death)
        })
        .await
    }

    async fn arrived(&self, arriving: Arriving) -> Result<Vec<Arrived>, StoreError> {
        self.write("what came out of a queue of dead letters", move |conn| {
            arrived(conn, &arriving)
        })
        .await
    }

    async fn arrivals_of(
        &self,
        letters: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, Option<Uuid>)>, StoreError> {
        self.read("the arrivals of dead letters", move |conn| {
            let mut ask = conn.prepare_cached(ARRIVAL_OF)?;
            let mut found = Vec::with_capacity(letters.len());
            for letter in letters {
                let arrival = ask
                    .query_row([letter.as_bytes()], |row| row.get::<_, Option<String>>(0))
                    .optional()?;
                let Some(arrival) = arrival else { continue };
                found.push((letter, arrival.and_then(|arrival| arrival.parse().ok())));
            }
            Ok(found)
        })
        .await
    }

    async fn give_back(&self, letters: GivingBack) -> Result<usize, StoreError> {
        self.write("dead letters that were not sent", move |conn| {
            let Some(mut row) = operation(conn, letters.operation)? else {
                return Ok(0);
            };
            let mut back = 0;
            for letter in &letters.letters {
                let values = params![
                    letter.as_bytes(),
                    row.id.as_bytes(),
                    int(row.takes_until().0),
                    row.filter.operation.as_ref().map(Uuid::as_bytes)
                ];
                back += conn.prepare_cached(GIVE_BACK)?.execute(values)?;
            }
            letters.apply(&mut row, back);
            put(conn, &row)?;
            Ok(back)
        })
        .await
    }

    async fn is_any_over(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.read("dead letters that are over", move |conn| {
            let mut any = conn.prepare_cached(EXPIRED)?;
            for state in LetterState::SETTLED {
                if any.exists(params![state.as_str(), int(before.0), 1])? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    async fn expire(&self, before: Timestamp, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        self.write(
            "dead letters that are over, to take them out",
            move |conn| {
                let mut gone = Vec::new();
                for state in LetterState::SETTLED {
                    let left = limit.saturating_sub(gone.len());
                    let values = params![state.as_str(), int(before.0), rows(left)];
                    let found = all(conn, EXPIRED, values, |row| {
                        Ok((uuid(row, 0)?, row.get::<_, i64>(1)?))
                    })?;
                    for (letter, partition) in found {
                        for sql in EXPIRE {
                            conn.prepare_cached(sql)?.execute([letter.as_bytes()])?;
                        }
                        conn.prepare_cached(GONE)?.execute([partition])?;
                        gone.push(letter);
                    }
                }
                Ok(gone)
            },
        )
        .await
    }

    async fn begin(&self, row: OperationRow) -> Result<bool, StoreError> {
        self.write("a replay of dead letters, to keep it", move |conn| {
            let values = params![
                row.id.as_bytes(),
                int(row.made_at.0),
                row.state.as_str(),
                json(&row)?
            ];
            Ok(conn.prepare_cached(OPERATION_ADD)?.execute(values)? == 1)
        })
        .await
    }

    async fn claim(&self, claiming: Claiming) -> Result<Option<Vec<Uuid>>, StoreError> {
        self.write("dead letters, to send them back", move |conn| {
            let found = operation(conn, claiming.operation)?;
            let Some(mut row) = found.filter(|row| row.state == OperationState::Running) else {
                return Ok(None);
            };
            let mut taken = Vec::with_capacity(claiming.letters.len());
            for letter in &claiming.letters {
                let moved = conn.prepare_cached(CLAIM)?.execute(params![
                    letter.as_bytes(),
                    int(claiming.at.0),
                    row.by,
                    row.reason,
                    row.id.as_bytes(),
                    row.leg,
                ])?;
                if moved == 1 {
                    taken.push(*letter);
                }
            }
            claiming.apply(&mut row, taken.len());
            put(conn, &row)?;
            Ok(Some(taken))
        })
        .await
    }

    async fn step(&self, id: Uuid, step: OperationStep) -> Result<Option<bool>, StoreError> {
        self.write("a replay of dead letters, to change it", move |conn| {
            let Some(mut row) = operation(conn, id)? else {
                return Ok(None);
            };
            let fits = row.step(&step);
            if fits {
                put(conn, &row)?;
            }
            Ok(Some(fits))
        })
        .await
    }

    async fn on_their_way(
        &self,
        operation: Option<Uuid>,
        before: Timestamp,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read("dead letters that set out", move |conn| {
            // no letter was taken in before the time began
            let (at, id) = after.map_or((-1, Uuid::nil()), |last| (int(last.at.0), last.id));
            let values = params![
                operation.as_ref().map(Uuid::as_bytes),
                int(before.0),
                at,
                id.as_bytes(),
                rows(limit)
            ];
            all(conn, &queries::on_their_way(), values, letter_row)
        })
        .await
    }

    async fn running(&self) -> Result<Vec<OperationRow>, StoreError> {
        self.read("replays of dead letters that run", |conn| {
            let body = |row: &Row<'_>| document(row, 0);
            let mut found = all(conn, queries::OPERATIONS_RUNNING, [], body)?;
            found.extend(all(conn, queries::OPERATIONS_LEFT, [], body)?);
            Ok(found)
        })
        .await
    }
}
