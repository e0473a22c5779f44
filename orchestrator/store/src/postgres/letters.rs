//! Dead letters after their intake. Whoever moves one holds an advisory lock until it is committed, so that two who move several never wait for each
//! other; the intake, which holds rows of figures of its own, is never waited for in a circle.

use std::collections::btree_map::{BTreeMap, Entry};

use baton_driver::StoreError;
use baton_messages::Timestamp;
use deadpool_postgres::Transaction;
use futures::future::try_join_all;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{document, get, int, owned, rows as limited, word};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::letter_rows::{letter_row, waiting};
use super::load::each;
use super::queries;
use crate::arrivals::{Arrived, Arriving, KEPT_MS, ROWS_MAX};
use crate::facets::facets_of;
use crate::group::group_of;
use crate::letters::{
    Claiming, Death, EditRow, GivingBack, HistoryRow, Imported, LetterRow, LetterState, Letters,
    Move, OperationRow, OperationState, OperationStep, Standing, Waiting, WholeLetter, Written,
};
use crate::read::DeadLetterCursor;

/// The advisory lock under which letters are moved: "BATN", then a word for this use.
const MOVING: i64 = 0x4241_544e_0000_0004;
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const MOVE: &str = "UPDATE dead_letters SET state = $3, replays = replays + $4, changed_at = $5, changed_by = $6, why = $7, action = $8,
    operation = NULL, outcome = NULL, stage = NULL, sent_at = NULL WHERE id = $1 AND state = $2 RETURNING id";
const CLAIM: &str = "UPDATE dead_letters SET state = 'replaying', replays = replays + 1, changed_at = $2, changed_by = $3, why = $4, action = $5,
    operation = $5, outcome = NULL, stage = $6, sent_at = NULL WHERE id = $1 AND state = 'dead' RETURNING id";
const SETTLE: &str = "UPDATE dead_letters SET state = $3, replays = replays - $4, changed_at = $5, outcome = $6, sent_at = NULL,
    attempt = coalesce($7, attempt) WHERE id = $1 AND state = 'replaying' AND action = $2 RETURNING stage";
const SENT: &str = "UPDATE dead_letters SET sent_at = $3, attempt = $4, outcome = $5
    WHERE id = $1 AND state = 'replaying' AND action = $2 AND sent_at IS NULL RETURNING id";
/// Of a letter as it stands now: whoever moved it, and why.
const HAPPENED: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text)
    SELECT l.id, 1 + coalesce((SELECT max(n) FROM dead_history h WHERE h.letter = l.id), 0), $2, $3, coalesce(l.changed_by, ''), coalesce(l.why, ''), $4
    FROM dead_letters l WHERE l.id = $1 RETURNING n";
const DEATH_KNOWN: &str = "SELECT n FROM dead_history WHERE death = $1 AND death IS NOT NULL";
const STOOD: &str = "SELECT state, stage, operation FROM dead_letters WHERE id = $1 FOR UPDATE";
const DIED: &str = "UPDATE dead_letters SET state = 'dead', died_again = died_again + 1, died_at = greatest(coalesce(died_at, at), $2), changed_at = $2, outcome = $3, sent_at = NULL
    WHERE id = $1 RETURNING id";
const DIED_TASK: &str = "UPDATE dead_letters SET died_again = died_again + 1, died_at = greatest(coalesce(died_at, at), $3), attempt = $2 WHERE id = $1 RETURNING id";
const DEATH: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text, death, properties, body)
    VALUES ($1, 1 + coalesce((SELECT max(n) FROM dead_history WHERE letter = $1), 0), $2, 'died', '', '', $3, $4, $5, $6) RETURNING n";
const GIVE_BACK: &str = "UPDATE dead_letters SET state = 'dead', replays = replays - 1, changed_at = $3, changed_by = NULL, why = NULL, action = NULL,
    operation = $4, stage = NULL, outcome = (SELECT h.text FROM dead_history h WHERE h.letter = dead_letters.id AND h.what <> 'noted' ORDER BY h.n DESC LIMIT 1) WHERE id = $1 AND state = 'replaying' AND operation = $2 AND sent_at IS NULL RETURNING id";
const EXPIRED: &str = "SELECT id, partition FROM dead_letters WHERE state = $1 AND changed_at < $2 ORDER BY changed_at, id LIMIT $3";
const EXPIRE: [&str; 3] = [
    "DELETE FROM dead_edits WHERE letter = $1 RETURNING edition",
    "DELETE FROM dead_history WHERE letter = $1 RETURNING n",
    "DELETE FROM dead_letters WHERE id = $1 RETURNING id",
];
const GONE: &str = "SELECT add_count($1, 'dead_letters', -1)";
const NOTE: &str = "UPDATE dead_letters SET note = $2 WHERE id = $1 RETURNING id";
const NOTED: &str = "INSERT INTO dead_history (letter, n, at, what, by, why, text)
    VALUES ($1, 1 + coalesce((SELECT max(n) FROM dead_history WHERE letter = $1), 0), $2, 'noted', $3, '', $4) RETURNING n";
const EDITED: &str = "UPDATE dead_letters SET edition = $2 WHERE id = $1 AND edition = $2::bigint - 1 AND state = 'dead' RETURNING id";
const EDIT: &str = "INSERT INTO dead_edits (letter, edition, at, by, why, action, difference, properties, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (letter, edition) DO NOTHING RETURNING letter";
const IMPORT: &str = "INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body, grp,
    pool, task_type, event_type, definition, worker, replays_before, state, replays, changed_at, changed_by, why, note, outcome, edition, died_again, died_at, attempt)
    VALUES ($1, 0::smallint, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)
    ON CONFLICT (id) DO NOTHING RETURNING id";
const IMPORTED: &str = "SELECT add_count(0::smallint, 'dead_letters', $1)";
const OPERATION: &str = "SELECT body FROM dead_operations WHERE id = $1 FOR UPDATE";
const OPERATION_ADD: &str = "INSERT INTO dead_operations (id, made_at, state, body) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING id";
const OPERATION_PUT: &str =
    "UPDATE dead_operations SET state = $2, body = $3 WHERE id = $1 RETURNING id";
const PUT_STANDING: &str = "UPDATE dead_letters SET state = $2, replays = $3, changed_at = $4, changed_by = $5, why = $6, note = $7, action = $8,
    operation = $9, outcome = $10, grp = $11, edition = $12, attempt = $13, sent_at = $14, stage = $15, died_again = $16, died_at = $17 WHERE id = $1 RETURNING id";
const PUT_HISTORY: &str =
    "INSERT INTO dead_history (letter, n, at, what, by, why, text, death, properties, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING n";

const ARRIVALS_OVER: &str = "DELETE FROM dead_arrivals WHERE id = ANY ($1) RETURNING id";
const ARRIVALS: &str =
    "SELECT print, id FROM dead_arrivals WHERE queue = $1 AND print = ANY ($2) LIMIT 4096";
const ARRIVALS_OLD: &str = "DELETE FROM dead_arrivals WHERE queue = $1 AND at < $2 RETURNING id";
/// More of one queue than can be on their way: the oldest go.
const ARRIVALS_MANY: &str = "DELETE FROM dead_arrivals WHERE queue = $1
    AND at < (SELECT at FROM dead_arrivals WHERE queue = $1 ORDER BY at DESC LIMIT 1 OFFSET $2) RETURNING id";
const ARRIVALS_ADD: &str = "INSERT INTO dead_arrivals (id, queue, print, at) SELECT n.id, $1, n.print, $2 FROM unnest($3::uuid[], $4::uuid[]) AS n (id, print)
    ON CONFLICT (id) DO NOTHING RETURNING id";
/// Read here and not there: the database's JSON refuses a NUL, which a header may have.
const ARRIVALS_OF: &str = "SELECT id, properties FROM dead_letters WHERE id = ANY ($1)";

/// Every question here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 29] = [
    ARRIVALS_OVER,
    ARRIVALS,
    ARRIVALS_OLD,
    ARRIVALS_MANY,
    ARRIVALS_OF,
    EXPIRED,
    EXPIRE[0],
    EXPIRE[1],
    EXPIRE[2],
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
    PUT_HISTORY,
    NOTE,
    NOTED,
    EDITED,
    EDIT,
    IMPORT,
    OPERATION,
    OPERATION_ADD,
    OPERATION_PUT,
    PUT_STANDING,
];

/// The letters of a [`super::PostgresStore`].
#[derive(Debug, Clone)]
pub struct PostgresLetters {
    connections: Connections,
}

impl PostgresLetters {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }

    /// One transaction under the lock.
    async fn write<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let writing = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            rows(&transaction, LOCK, &[&MOVING]).await?;
            let answer = work(&transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        });
        writing.await.map_err(|fault| fault.read(what))
    }

    /// Edited copies as they were in the store they come from.
    pub(crate) async fn put_edits(&self, edits: &[EditRow]) -> Result<(), StoreError> {
        self.write("edited dead letters", async |transaction| {
            for edit in edits {
                put_edit(transaction, edit).await?;
            }
            Ok(())
        })
        .await
    }

    /// What happened to letters in the store they come from.
    pub(crate) async fn put_history(
        &self,
        history: &[(Uuid, HistoryRow)],
    ) -> Result<(), StoreError> {
        self.write("what happened to dead letters", async |transaction| {
            for (letter, row) in history {
                put_history(transaction, *letter, row).await?;
            }
            Ok(())
        })
        .await
    }

    /// Where letters stood in the store they come from.
    pub(crate) async fn put_standings(
        &self,
        letters: &[(Uuid, Standing)],
    ) -> Result<(), StoreError> {
        self.write("where dead letters stood", async |transaction| {
            for (letter, standing) in letters {
                let Standing {
                    state,
                    group,
                    replays,
                    changed_at,
                    changed_by,
                    why,
                    note,
                    action,
                    operation,
                    outcome,
                    edition,
                    attempt,
                    sent_at,
                    stage,
                    died_again,
                    died_at,
                } = standing;
                let attempt = attempt.as_ref().map(serde_json::to_string).transpose()?;
                let text = |text: &Option<String>| text.as_deref().map(owned);
                let values: [&(dyn ToSql + Sync); 17] = [
                    letter,
                    &state.as_str(),
                    &i64::from(*replays),
                    &changed_at.map(|at| int(at.0)),
                    &text(changed_by),
                    &text(why),
                    &text(note),
                    action,
                    operation,
                    &text(outcome),
                    &owned(group),
                    &i64::from(*edition),
                    &attempt,
                    &sent_at.map(|at| int(at.0)),
                    &stage.map(i64::from),
                    &i64::from(*died_again),
                    &died_at.map(|at| int(at.0)),
                ];
                rows(transaction, PUT_STANDING, &values).await?;
            }
            Ok(())
        })
        .await
    }
}

/// Writes down what happened to a letter.
async fn happened(
    transaction: &Transaction<'_>,
    letter: Uuid,
    at: Timestamp,
    what: &str,
    text: &str,
) -> Result<(), Fault> {
    let values: [&(dyn ToSql + Sync); 4] = [&letter, &int(at.0), &what, &owned(text)];
    rows(transaction, HAPPENED, &values).await?;
    Ok(())
}

fn stage(row: &Row, column: usize) -> Result<Option<u32>, Fault> {
    let stage: Option<i64> = get(row, column)?;
    Ok(stage.map(|stage| u32::try_from(stage).unwrap_or_default()))
}

async fn died_again(transaction: &Transaction<'_>, death: &Death) -> Result<bool, Fault> {
    if !rows(transaction, DEATH_KNOWN, &[&death.death])
        .await?
        .is_empty()
    {
        return Ok(true);
    }
    let stood = rows(transaction, STOOD, &[&death.letter]).await?;
    let Some(stood) = stood.first() else {
        return Ok(false);
    };
    let state = word(stood, 0, LetterState::of)?;
    let (stage, of): (_, Option<Uuid>) = (stage(stood, 1)?, get(stood, 2)?);
    if let Some(attempt) = &death.attempt {
        let attempt = serde_json::to_string(attempt)?;
        let values: [&(dyn ToSql + Sync); 3] = [&death.letter, &attempt, &int(death.at.0)];
        rows(transaction, DIED_TASK, &values).await?;
    } else {
        let outcome = owned(&format!("it died again: {}", death.error));
        let values: [&(dyn ToSql + Sync); 3] = [&death.letter, &int(death.at.0), &outcome];
        rows(transaction, DIED, &values).await?;
    }
    let properties = serde_json::to_string(&death.properties)?;
    let values: [&(dyn ToSql + Sync); 6] = [
        &death.letter,
        &int(death.at.0),
        &owned(&death.error),
        &death.death,
        &properties,
        &death.body,
    ];
    rows(transaction, DEATH, &values).await?;
    if let Some(id) = of.filter(|_| death.attempt.is_none())
        && let Some(mut row) = operation(transaction, id).await?
    {
        row.died_again(stage, state, death.at);
        put(transaction, &row).await?;
    }
    Ok(true)
}

async fn arrived(
    transaction: &Transaction<'_>,
    arriving: &Arriving,
) -> Result<Vec<Arrived>, Fault> {
    let queue = owned(&arriving.queue);
    if !arriving.over.is_empty() {
        rows(transaction, ARRIVALS_OVER, &[&arriving.over]).await?;
    }
    let prints = arriving.looked_for();
    let mut known = Vec::new();
    if !prints.is_empty() {
        for row in rows(transaction, ARRIVALS, &[&queue, &prints]).await? {
            known.push((get(&row, 0)?, get(&row, 1)?));
        }
    }
    let arrived = arriving.arrived(&known);
    if arriving.is_calm() {
        let before = int(arriving.at.0.saturating_sub(KEPT_MS));
        rows(transaction, ARRIVALS_OLD, &[&queue, &before]).await?;
    }
    let new = arrived.iter().zip(&arriving.came);
    let (mut ids, mut prints) = (Vec::new(), Vec::new());
    for (one, came) in new.filter(|(one, _)| !one.again) {
        ids.push(one.id);
        prints.push(came.print);
    }
    if !ids.is_empty() {
        let values: [&(dyn ToSql + Sync); 4] = [&queue, &int(arriving.at.0), &ids, &prints];
        rows(transaction, ARRIVALS_ADD, &values).await?;
        let most = i64::from(ROWS_MAX);
        rows(transaction, ARRIVALS_MANY, &[&queue, &most]).await?;
    }
    Ok(arrived)
}

async fn put_edit(transaction: &Transaction<'_>, edit: &EditRow) -> Result<(), Fault> {
    let properties = serde_json::to_string(&edit.properties)?;
    let values: [&(dyn ToSql + Sync); 9] = [
        &edit.letter,
        &i64::from(edit.edition),
        &int(edit.at.0),
        &owned(&edit.by),
        &owned(&edit.why),
        &edit.action,
        &owned(&edit.difference),
        &properties,
        &edit.body,
    ];
    rows(transaction, EDIT, &values).await?;
    Ok(())
}

async fn put_history(
    transaction: &Transaction<'_>,
    letter: Uuid,
    row: &HistoryRow,
) -> Result<(), Fault> {
    let died = row.died.as_ref();
    let properties = died.map(|died| serde_json::to_string(&died.properties));
    let properties = properties.transpose()?;
    let values: [&(dyn ToSql + Sync); 10] = [
        &letter,
        &i64::from(row.n),
        &int(row.at.0),
        &owned(&row.what),
        &owned(&row.by),
        &owned(&row.why),
        &owned(&row.text),
        &died.map(|died| died.death),
        &properties,
        &died.and_then(|died| died.body.as_ref()),
    ];
    rows(transaction, PUT_HISTORY, &values).await?;
    Ok(())
}

/// Whether it is new here.
async fn import(transaction: &Transaction<'_>, row: &LetterRow) -> Result<bool, Fault> {
    let (letter, now) = (&row.letter, &row.now);
    let about = facets_of(letter);
    let text = |text: &Option<String>| text.as_deref().map(owned);
    let properties = serde_json::to_string(&letter.properties)?;
    let attempt = now.attempt.as_ref().map(serde_json::to_string);
    let attempt = attempt.transpose()?;
    let values: [&(dyn ToSql + Sync); 30] = [
        &letter.id,
        &int(letter.at.0),
        &letter.reason.as_str(),
        &owned(&letter.error),
        &owned(&letter.queue),
        &owned(&letter.exchange),
        &owned(&letter.key),
        &text(&letter.message_id),
        &text(&letter.kind),
        &letter.saga.map(|saga| saga.0),
        &properties,
        &letter.body,
        &owned(&group_of(letter, &about)),
        &text(&about.pool),
        &text(&about.task_type),
        &text(&about.event_type),
        &text(&about.definition),
        &text(&about.worker),
        &i64::from(about.replays_before),
        &now.state.as_str(),
        &i64::from(now.replays),
        &now.changed_at.map(|at| int(at.0)),
        &text(&now.changed_by),
        &text(&now.why),
        &text(&now.note),
        &text(&now.outcome),
        &i64::from(now.edition),
        &i64::from(now.died_again),
        &now.died_at.map(|at| int(at.0)),
        &attempt,
    ];
    Ok(rows(transaction, IMPORT, &values).await?.len() == 1)
}

async fn operation(transaction: &Transaction<'_>, id: Uuid) -> Result<Option<OperationRow>, Fault> {
    let found = rows(transaction, OPERATION, &[&id]).await?;
    found.first().map(|row| document(row, 0)).transpose()
}

async fn put(transaction: &Transaction<'_>, row: &OperationRow) -> Result<(), Fault> {
    let body = serde_json::to_string(row)?;
    let values: [&(dyn ToSql + Sync); 3] = [&row.id, &row.state.as_str(), &body];
    rows(transaction, OPERATION_PUT, &values).await?;
    Ok(())
}

/// Whether it was written, and the stage of its operation that counts it.
type Wrote = Option<Option<u32>>;

async fn wrote(transaction: &Transaction<'_>, one: &Written) -> Result<Wrote, Fault> {
    match one {
        Written::Settled(settled) => {
            let attempt = settled.attempt.as_ref().map(serde_json::to_string);
            let attempt = attempt.transpose()?;
            let values: [&(dyn ToSql + Sync); 7] = [
                &settled.letter,
                &settled.action,
                &settled.ending.state().as_str(),
                &i64::from(settled.ending.uncounted()),
                &int(settled.at.0),
                &owned(&settled.outcome),
                &attempt,
            ];
            let moved = rows(transaction, SETTLE, &values).await?;
            moved.first().map(|row| stage(row, 0)).transpose()
        }
        Written::Sent(sent) => {
            let attempt = serde_json::to_string(&sent.attempt)?;
            let values: [&(dyn ToSql + Sync); 5] = [
                &sent.letter,
                &sent.action,
                &int(sent.at.0),
                &attempt,
                &owned(&sent.outcome),
            ];
            let written = rows(transaction, SENT, &values).await?;
            Ok((written.len() == 1).then_some(None))
        }
    }
}

async fn noted(transaction: &Transaction<'_>, one: &Written) -> Result<(), Fault> {
    let (letter, at, what, text) = match one {
        Written::Settled(of) => (of.letter, of.at, of.ending.as_str(), &of.outcome),
        Written::Sent(of) => (of.letter, of.at, "sent", &of.outcome),
    };
    happened(transaction, letter, at, what, text).await
}

/// The statements of all of them are on their way together: the server answers them in order, and nobody waits for each.
async fn write_down(
    transaction: &Transaction<'_>,
    written: &[Written],
) -> Result<Vec<bool>, Fault> {
    let wrote = try_join_all(written.iter().map(|one| wrote(transaction, one))).await?;
    let both = || written.iter().zip(&wrote);
    let new = both().filter(|(_, stage)| stage.is_some());
    try_join_all(new.map(|(one, _)| noted(transaction, one))).await?;
    let mut operations: BTreeMap<Uuid, Option<OperationRow>> = BTreeMap::new();
    for (one, stage) in both() {
        let (Written::Settled(settled), Some(stage)) = (one, stage) else {
            continue;
        };
        let Some(id) = settled.operation else {
            continue;
        };
        let row = match operations.entry(id) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) => place.insert(operation(transaction, id).await?),
        };
        if let Some(row) = row {
            settled.apply(row, *stage);
        }
    }
    for row in operations.into_values().flatten() {
        put(transaction, &row).await?;
    }
    Ok(wrote.iter().map(Option::is_some).collect())
}

impl Letters for PostgresLetters {
    async fn move_letter(&self, asked: Move) -> Result<bool, StoreError> {
        self.write("a dead letter, to move it", async |transaction| {
            let sent = asked.to == LetterState::Replaying;
            let values: [&(dyn ToSql + Sync); 8] = [
                &asked.letter,
                &asked.from.as_str(),
                &asked.to.as_str(),
                &i64::from(sent),
                &int(asked.mover.at.0),
                &owned(&asked.mover.by),
                &owned(&asked.mover.why),
                &asked.mover.action,
            ];
            let moved = rows(transaction, MOVE, &values).await?.len() == 1;
            if moved && !sent {
                let (letter, at) = (asked.letter, asked.mover.at);
                happened(transaction, letter, at, asked.to.as_str(), "").await?;
            }
            Ok(moved)
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
        self.write("a note on a dead letter", async |transaction| {
            let (note, by) = (owned(&note), owned(&by));
            let noted = rows(transaction, NOTE, &[&letter, &note]).await?.len() == 1;
            if noted {
                let values: [&(dyn ToSql + Sync); 4] = [&letter, &int(at.0), &by, &note];
                rows(transaction, NOTED, &values).await?;
            }
            Ok(noted)
        })
        .await
    }

    async fn edit(&self, edit: EditRow) -> Result<bool, StoreError> {
        self.write("an edited dead letter", async |transaction| {
            let values: [&(dyn ToSql + Sync); 2] = [&edit.letter, &i64::from(edit.edition)];
            let fits = rows(transaction, EDITED, &values).await?.len() == 1;
            if fits {
                put_edit(transaction, &edit).await?;
            }
            Ok(fits)
        })
        .await
    }

    async fn import(&self, letters: Vec<WholeLetter>) -> Result<Imported, StoreError> {
        self.write("imported dead letters", async |transaction| {
            let mut done = Imported::default();
            for WholeLetter {
                row,
                edits,
                history,
            } in &letters
            {
                if !import(transaction, row).await? {
                    done.known += 1;
                    continue;
                }
                for edit in edits {
                    put_edit(transaction, edit).await?;
                }
                for one in history {
                    put_history(transaction, row.letter.id, one).await?;
                }
                done.added += 1;
            }
            if done.added > 0 {
                rows(transaction, IMPORTED, &[&int(done.added)]).await?;
            }
            Ok(done)
        })
        .await
    }

    async fn write_down(&self, written: Vec<Written>) -> Result<Vec<bool>, StoreError> {
        self.write("what came of dead letters", async |transaction| {
            write_down(transaction, &written).await
        })
        .await
    }

    async fn waiting(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let (after, most) = (after.unwrap_or_default(), limited(limit));
        let values: [&(dyn ToSql + Sync); 2] = [&after, &most];
        let found = self.connections.rows(queries::WAITING, &values).await;
        let read = found.and_then(|rows| each(&rows, waiting));
        read.map_err(|fault| fault.read("dead letters whose outcome is waited for"))
    }

    async fn waiting_in(
        &self,
        operation: Uuid,
        stage: u32,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let (stage, most) = (i64::from(stage), limited(limit));
        let values: [&(dyn ToSql + Sync); 3] = [&operation, &stage, &most];
        let found = self.connections.rows(queries::WAITING_IN, &values).await;
        let read = found.and_then(|rows| each(&rows, waiting));
        read.map_err(|fault| fault.read("dead letters a stage waits for"))
    }

    async fn died_again(&self, death: Death) -> Result<bool, StoreError> {
        self.write("a dead letter that died again", async |transaction| {
            died_again(transaction, &death).await
        })
        .await
    }

    async fn arrived(&self, arriving: Arriving) -> Result<Vec<Arrived>, StoreError> {
        // nobody else waits for these rows: they are no letters yet
        let writing = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            let arrived = arrived(&transaction, &arriving).await?;
            transaction.commit().await?;
            Ok(arrived)
        });
        let read = writing.await;
        read.map_err(|fault| fault.read("what came out of a queue of dead letters"))
    }

    async fn arrivals_of(
        &self,
        letters: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, Option<Uuid>)>, StoreError> {
        let read = async {
            let found = self.connections.rows(ARRIVALS_OF, &[&letters]).await?;
            each(&found, |row| {
                let properties: serde_json::Value = document(row, 1)?;
                let arrival = properties["arrival"].as_str();
                Ok((get(row, 0)?, arrival.and_then(|id| id.parse().ok())))
            })
        };
        read.await
            .map_err(|fault| fault.read("the arrivals of dead letters"))
    }

    async fn give_back(&self, letters: GivingBack) -> Result<usize, StoreError> {
        self.write("dead letters that were not sent", async |transaction| {
            let Some(mut row) = operation(transaction, letters.operation).await? else {
                return Ok(0);
            };
            let mut back = 0;
            for letter in &letters.letters {
                let (until, of) = (int(row.takes_until().0), row.filter.operation);
                let values: [&(dyn ToSql + Sync); 4] = [letter, &row.id, &until, &of];
                back += rows(transaction, GIVE_BACK, &values).await?.len();
            }
            letters.apply(&mut row, back);
            put(transaction, &row).await?;
            Ok(back)
        })
        .await
    }

    async fn is_any_over(&self, before: Timestamp) -> Result<bool, StoreError> {
        let before = int(before.0);
        for state in LetterState::SETTLED {
            let values: [&(dyn ToSql + Sync); 3] = [&state.as_str(), &before, &1_i64];
            let found = self.connections.rows(EXPIRED, &values).await;
            let found = found.map_err(|fault| fault.read("dead letters that are over"))?;
            if !found.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn expire(&self, before: Timestamp, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        let what = "dead letters that are over, to take them out";
        self.write(what, async |transaction| {
            let mut gone = Vec::new();
            for state in LetterState::SETTLED {
                let left = limited(limit.saturating_sub(gone.len()));
                let values: [&(dyn ToSql + Sync); 3] = [&state.as_str(), &int(before.0), &left];
                for row in rows(transaction, EXPIRED, &values).await? {
                    let (letter, partition): (Uuid, i16) = (get(&row, 0)?, get(&row, 1)?);
                    // the figure first: figures are touched in the order of their names
                    rows(transaction, GONE, &[&partition]).await?;
                    for sql in EXPIRE {
                        rows(transaction, sql, &[&letter]).await?;
                    }
                    gone.push(letter);
                }
            }
            Ok(gone)
        })
        .await
    }

    async fn begin(&self, row: OperationRow) -> Result<bool, StoreError> {
        let what = "a replay of dead letters, to keep it";
        self.write(what, async |transaction| {
            let body = serde_json::to_string(&row)?;
            let made_at = int(row.made_at.0);
            let values: [&(dyn ToSql + Sync); 4] = [&row.id, &made_at, &row.state.as_str(), &body];
            Ok(rows(transaction, OPERATION_ADD, &values).await?.len() == 1)
        })
        .await
    }

    async fn claim(&self, claiming: Claiming) -> Result<Option<Vec<Uuid>>, StoreError> {
        self.write("dead letters, to send them back", async |transaction| {
            let found = operation(transaction, claiming.operation).await?;
            let Some(mut row) = found.filter(|row| row.state == OperationState::Running) else {
                return Ok(None);
            };
            // each by its id, and all on their way together
            let claims = claiming.letters.iter().map(async |letter| {
                let values: [&(dyn ToSql + Sync); 6] = [
                    letter,
                    &int(claiming.at.0),
                    &owned(&row.by),
                    &owned(&row.reason),
                    &row.id,
                    &i64::from(row.leg),
                ];
                rows(transaction, CLAIM, &values).await
            });
            let claimed = try_join_all(claims).await?;
            let both = claiming.letters.iter().zip(&claimed);
            let taken = both.filter(|(_, moved)| moved.len() == 1);
            let taken: Vec<Uuid> = taken.map(|(letter, _)| *letter).collect();
            claiming.apply(&mut row, taken.len());
            put(transaction, &row).await?;
            Ok(Some(taken))
        })
        .await
    }

    async fn step(&self, id: Uuid, step: OperationStep) -> Result<Option<bool>, StoreError> {
        let what = "a replay of dead letters, to change it";
        self.write(what, async |transaction| {
            let Some(mut row) = operation(transaction, id).await? else {
                return Ok(None);
            };
            let fits = row.step(&step);
            if fits {
                put(transaction, &row).await?;
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
        // no letter was taken in before the time began
        let (at, id) = after.map_or((-1, Uuid::nil()), |last| (int(last.at.0), last.id));
        let (before, most) = (int(before.0), limited(limit));
        let values: [&(dyn ToSql + Sync); 5] = [&operation, &before, &at, &id, &most];
        let found = self
            .connections
            .rows(&queries::on_their_way(), &values)
            .await;
        let read = found.and_then(|rows| each(&rows, letter_row));
        read.map_err(|fault| fault.read("dead letters that set out"))
    }

    async fn running(&self) -> Result<Vec<OperationRow>, StoreError> {
        let body = |row: &Row| document::<OperationRow>(row, 0);
        let read = async {
            let running = self.connections.rows(queries::OPERATIONS_RUNNING, &[]);
            let mut found = each(&running.await?, body)?;
            let left = self.connections.rows(queries::OPERATIONS_LEFT, &[]).await?;
            for row in left {
                let id: Uuid = get(&row, 0)?;
                if found.iter().all(|row| row.id != id) {
                    let one = self.connections.rows(queries::OPERATION, &[&id]).await?;
                    found.extend(each(&one, body)?);
                }
            }
            Ok::<_, Fault>(found)
        };
        read.await
            .map_err(|fault| fault.read("replays of dead letters that run"))
    }
}
