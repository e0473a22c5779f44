//! From a SQLite file into a PostgreSQL database, whole: whoever drove the sagas of the file goes on driving them in the database, since ids, the order
//! of the log, how far it is published and the queue they are told through are the same. The file is only read, and marked.
//!
//! Guarantee: never can both be driven. Both are owned meanwhile; a database that is only half filled is marked, and no orchestrator takes it; the file is marked
//! before the database has anything, and that goes only where the database is certainly left half filled. Whatever dies in between, no orchestrator takes the file.

mod database;

use baton_driver::{
    Batch, CommitError, PurgeRow, Store, StoreError, SubscriptionChange, SubscriptionRow,
    UnsentRow, WorkItemRow,
};
use baton_messages::{AuditEntry, SagaId, TaskType, Timestamp};
use uuid::Uuid;

use self::database::Database;
use crate::alerts::Alerts as _;
use crate::audit::AuditLog as _;
use crate::letters::Letters as _;
use crate::postgres::{PostgresCluster, PostgresStore};
use crate::read::{DeadLetterFilter, PAGE_ROWS_MAX, SagaFilter};
use crate::reader::Reader;
use crate::reservations::{ReservationBook as _, ReservationFilter};
use crate::sqlite::{Mark, SqliteStore};
use crate::tokens::TokenStore;
use crate::triggers::Triggers;

/// Rows of one commit: what a batch of the driver has at most.
const ROWS: usize = PAGE_ROWS_MAX;
/// Of rows with whole bodies: each may be of any size.
const BODY_ROWS: usize = 16;

/// Why a store was not moved, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Something is there.
    #[error(
        "import: the database has sagas, events, definitions or tokens already, or is what an import left half done. Give an empty database; nothing was changed"
    )]
    NotEmpty,
    /// One of the two cannot be read or written.
    #[error(
        "import; what is in the database so far is of no use: drop it, make it anew and import again"
    )]
    Store(#[from] StoreError),
    /// Somebody drives it.
    #[error(
        "import: an orchestrator has partition {partition} of the database; stop it first, or give an empty database"
    )]
    Driven {
        /// Which it has.
        partition: u8,
    },
    /// The file was moved before.
    #[error(
        "import: the file was moved to the database at {place} already, which has its sagas; nothing was changed"
    )]
    Moved {
        /// Hosts and database.
        place: String,
    },
    /// Nobody knows whether the database can be driven now.
    #[error(
        "import: the database at {place} did not answer when all was there. Start the orchestrator on it: where it starts, everything was moved. Where it says \
         that an import was not finished, drop the database, make it anew and import again. No orchestrator takes the file any more"
    )]
    Unsure {
        /// Hosts and database.
        place: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The database refuses rows.
    #[error(
        "import; what is in the database so far is of no use: drop it, make it anew and import again"
    )]
    Commit(#[from] CommitError),
}

/// How much was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Sagas, ended ones included.
    pub sagas: u64,
    /// Rows of the log.
    pub log_rows: u64,
    /// Kept events.
    pub events: u64,
}

/// Moves everything from the file into the database, which has to be empty. Each saga comes to lie in the partition its slice has there; what was on its way
/// to the inbox of the file is passed on by whoever drives the first partition, whose inbox has the same name. `told`: what stands in the audit log of the
/// database behind what was moved; a database without it counts as half filled.
///
/// # Errors
/// [`MoveError`].
pub async fn move_into(
    from: &mut SqliteStore,
    cluster: &PostgresCluster,
    told: impl FnOnce(Moved) -> Vec<AuditEntry>,
) -> Result<Moved, MoveError> {
    let before = from.mark().await?;
    if let Some(Mark { place, .. }) = before.as_ref().filter(|mark| mark.done) {
        let place = place.clone();
        return Err(MoveError::Moved { place });
    }
    let mut into = Database::taken(cluster).await?;
    let moved = marked(from, &mut into, (cluster.place(), before), told).await;
    into.given_up().await;
    moved
}

/// Marks both, fills the database, and takes the mark off one of them: off the database when it has everything, off the file when it certainly has not. `before`:
/// how the file was marked, by an import that was cut short.
async fn marked(
    from: &mut SqliteStore,
    into: &mut Database,
    (place, before): (&str, Option<Mark>),
    told: impl FnOnce(Moved) -> Vec<AuditEntry>,
) -> Result<Moved, MoveError> {
    if !into.home.store.begin_moving().await? {
        return Err(MoveError::NotEmpty);
    }
    from.begin_mark(place).await?;
    let moved = match fill(from, into, told).await {
        Ok(moved) => moved,
        Err(error) => {
            if let Err(stays) = from.mark_as(before).await {
                tracing::warn!(error = %stays, "the file stays marked as one that is being moved; its next start says what to do");
            }
            return Err(error);
        }
    };
    let ended = into.home.store.end_moving().await;
    ended.map_err(|source| MoveError::Unsure {
        place: place.to_owned(),
        source,
    })?;
    if let Err(error) = from.end_mark().await {
        // it is marked all the same, and nobody drives it
        tracing::warn!(%error, "that everything was moved could not be written into the file");
    }
    Ok(moved)
}

/// Everything but the end of the mark.
async fn fill(
    from: &mut SqliteStore,
    into: &mut Database,
    told: impl FnOnce(Moved) -> Vec<AuditEntry>,
) -> Result<Moved, MoveError> {
    let mut moved = Moved::default();
    beside(from, &mut into.home.store).await?;
    moved.sagas = sagas(from, into).await?;
    let found = from.recover(from.partition().id).await?;
    moved.log_rows = log(from, into, found.watermark).await?;
    around(from, into, found.unsent).await?;
    let home = &into.home.store;
    moved.events = events(from, home).await?;
    audit(from, home).await?;
    alerts(from, home).await?;
    reservations(from, home).await?;
    home.audit().append(told(moved)).await?;
    Ok(moved)
}

/// What people and workers have told.
async fn beside(from: &mut SqliteStore, into: &mut PostgresStore) -> Result<(), MoveError> {
    for definition in from.definitions().await? {
        into.put_definition(definition).await?;
    }
    for manifest in from.manifests().await? {
        into.put_manifest(manifest, Timestamp(0)).await?;
    }
    for token in from.tokens().tokens().await? {
        into.tokens().put_token(token).await?;
    }
    let (read, write) = (from.triggers(), into.triggers());
    for schedule in read.schedules().await? {
        write.put_schedule(schedule).await?;
    }
    for binding in read.bindings().await? {
        write.note_binding(binding, true).await?;
    }
    Ok(())
}

/// Sagas' own rows, then which of them were evicted, then their snapshots.
async fn sagas(from: &SqliteStore, into: &mut Database) -> Result<u64, MoveError> {
    let (reader, mut after, mut moved) = (from.reader(), None, 0);
    loop {
        let page = reader
            .sagas(SagaFilter::default(), after, ROWS)
            .await?
            .whole("sagas")?;
        moved += page.rows.len() as u64;
        let mut rows = Batch::default();
        rows.sagas = page.rows;
        into.commit(rows).await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    moved += tombstones(from, into).await?;
    let mut after = 0;
    loop {
        let page = from.evicted(after, ROWS).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let rows = Batch {
            cold: page.into_iter().map(|(_, cold)| cold).collect(),
            ..Batch::default()
        };
        into.commit(rows).await?;
    }
    let mut after = None;
    loop {
        let page = from.snapshots(after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.saga);
        let rows = Batch {
            snapshots: page,
            ..Batch::default()
        };
        into.commit(rows).await?;
    }
    Ok(moved)
}

/// The rows of sagas whose records were taken out: each comes and is marked in one commit, before there is anything of it to be taken out.
async fn tombstones(from: &SqliteStore, into: &mut Database) -> Result<u64, MoveError> {
    let (mut after, mut moved) = (0, 0);
    loop {
        let page = from.tombstones(after, ROWS).await?;
        let Some((last, _)) = page.last() else {
            return Ok(moved);
        };
        after = *last;
        moved += page.len() as u64;
        let mut rows = Batch::default();
        for (_, row) in page {
            rows.purged
                .extend(row.purged.clone().map(|purged| PurgeRow {
                    saga: row.saga,
                    log_seq: 0,
                    ended_before: Timestamp(u64::MAX),
                    purged,
                }));
            rows.sagas.push(row);
        }
        into.commit(rows).await?;
    }
}

/// The log, row by row in the order it has: in each partition the places are counted anew, and what was published is.
async fn log(from: &SqliteStore, into: &mut Database, watermark: u64) -> Result<u64, MoveError> {
    let (mut after, mut moved) = (0, 0);
    loop {
        let page = from.records(after, ROWS).await?;
        let Some(last) = page.last() else {
            return Ok(moved);
        };
        after = last.log_seq;
        moved += page.len() as u64;
        let mut rows = Batch::default();
        for mut row in page {
            let part = into.of(row.saga);
            part.log_seq += 1;
            if row.log_seq <= watermark {
                part.watermark = part.log_seq;
            }
            row.log_seq = part.log_seq;
            rows.rows.push(row);
        }
        into.commit(rows).await?;
    }
}

/// What is still to be done: tasks to be sent again, steps that wait, work items, dead letters.
async fn around(
    from: &mut SqliteStore,
    into: &mut Database,
    unsent: Vec<UnsentRow>,
) -> Result<(), MoveError> {
    let (unserved, waits) = (from.all_unserved().await?, from.all_subscriptions().await?);
    for rows in in_batches(&unsent, &unserved, &waits) {
        into.commit(rows).await?;
    }
    owed(from, into).await?;
    let (reader, mut after) = (from.reader(), None);
    loop {
        let page = reader
            .work_items(false, None, after, ROWS)
            .await?
            .whole("work items")?;
        let mut rows = Batch::default();
        for view in page.rows {
            let (saga, number) = (view.saga, view.item.number);
            let item = Box::new(view.item);
            rows.work_items.push(WorkItemRow::Open { saga, item });
            if let Some((at, by)) = view.closed {
                rows.work_items.push(WorkItemRow::Close {
                    saga,
                    number,
                    by,
                    at,
                });
            }
        }
        into.commit(rows).await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = reader
            .dead_letters(DeadLetterFilter::default(), after, BODY_ROWS)
            .await?
            .whole("dead letters")?;
        let mut rows = Batch::default();
        let mut standings = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            standings.push((row.letter.id, row.now));
            rows.dead_letters.push(row.letter);
        }
        into.commit(rows).await?;
        into.home.store.letters().put_standings(&standings).await?;
        for (letter, now) in standings {
            for edition in 1..=now.edition {
                let edit = reader.dead_letter_edit(letter, edition).await?;
                let edits: Vec<_> = edit.into_iter().collect();
                into.home.store.letters().put_edits(&edits).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut after = 0;
    loop {
        let page = from.letter_history(after, BODY_ROWS).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let history: Vec<_> = page.into_iter().map(|(_, kept)| kept).collect();
        into.home.store.letters().put_history(&history).await?;
    }
    let mut after = None;
    loop {
        let page = reader
            .dead_operations(after, ROWS)
            .await?
            .whole("replays of dead letters")?;
        for operation in page.rows {
            into.home.store.letters().begin(operation).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Events and words to other sagas that are to be published again, under their ids.
async fn owed(from: &SqliteStore, into: &mut Database) -> Result<(), MoveError> {
    let mut after = Uuid::nil();
    loop {
        let page = from.all_owed(after, BODY_ROWS).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.id;
        let rows = Batch {
            owed_add: page,
            ..Batch::default()
        };
        into.commit(rows).await?;
    }
}

/// What waits, in batches of [`ROWS`] at most: a batch is one statement, and has to end within the time one may take.
fn in_batches(
    unsent: &[UnsentRow],
    unserved: &[(TaskType, SagaId)],
    waits: &[(SubscriptionRow, bool)],
) -> Vec<Batch> {
    let unsent = unsent.chunks(ROWS).map(|some| Batch {
        unsent_add: some.to_vec(),
        ..Batch::default()
    });
    let unserved = unserved.chunks(ROWS).map(|some| Batch {
        unserved_add: some.to_vec(),
        ..Batch::default()
    });
    let waits = waits.chunks(ROWS).map(|some| Batch {
        subscriptions: some.iter().flat_map(subscribed).collect(),
        ..Batch::default()
    });
    unsent.chain(unserved).chain(waits).collect()
}

/// A step that waits, and that the kept events were searched for it where they were.
fn subscribed((waits, searched): &(SubscriptionRow, bool)) -> Vec<SubscriptionChange> {
    let add = SubscriptionChange::Add(waits.clone());
    let was = SubscriptionChange::Searched(waits.saga, waits.step.clone());
    std::iter::once(add)
        .chain(searched.then_some(was))
        .collect()
}

/// What operators did, row by row as it stands: the chain is the same.
async fn audit(from: &SqliteStore, into: &PostgresStore) -> Result<(), MoveError> {
    let (read, write) = (from.audit(), into.audit());
    let mut after = 0;
    loop {
        let page = read.rows(after, ROWS).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.seq;
        write.put(page).await?;
    }
}

/// Alerts as they stand, with what is still to be said of them.
async fn alerts(from: &SqliteStore, into: &PostgresStore) -> Result<(), MoveError> {
    let (read, write) = (from.alerts(), into.alerts());
    let mut after = None;
    loop {
        let page = read.page(None, after, ROWS).await?.whole("alerts")?;
        let first = page.rows.into_iter().map(|mut row| {
            // what counts is who changes it from here on
            row.revision = 1;
            row
        });
        write.put(first.collect()).await?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// What sagas have taken and wait for, each in its place.
async fn reservations(from: &SqliteStore, into: &PostgresStore) -> Result<(), MoveError> {
    let (read, write) = (from.reservations(), into.reservations());
    let number = read.last_number().await?;
    let mut after = None;
    loop {
        let page = read
            .reservations(ReservationFilter::All, after, ROWS)
            .await?;
        write.put(page.rows, number).await?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Kept events under their places, and who holds which key.
async fn events(from: &SqliteStore, into: &PostgresStore) -> Result<u64, MoveError> {
    let (mut after, mut moved) = (0, 0);
    loop {
        let page = from.kept_events(after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        moved += page.len() as u64;
        into.put_events(&page).await?;
    }
    let mut after = (String::new(), String::new());
    loop {
        let page = from.keys(after, ROWS).await?;
        let Some(last) = page.last() else {
            return Ok(moved);
        };
        after = (last.definition.clone(), last.key.clone());
        into.put_keys(&page).await?;
    }
}

#[cfg(test)]
mod tests {
    use baton_engine::definition::EventPattern;
    use baton_messages::StepId;

    use super::*;
    use crate::suite::samples::{at, kind, saga, unsent};

    #[test]
    fn what_waits_is_written_in_batches_of_so_many_rows_and_nothing_is_left_out() {
        let many = u32::try_from(ROWS).unwrap() * 2 + 1;
        let held: Vec<_> = (0..many).map(|n| unsent(n, 1, 5)).collect();
        let unserved: Vec<_> = (0..many).map(|n| (kind("a.b@1"), saga(n))).collect();
        let waits: Vec<_> = (0..many)
            .map(|n| {
                let row = SubscriptionRow {
                    saga: saga(n),
                    step: StepId::new("waits").unwrap(),
                    event: EventPattern::new("a.b").unwrap(),
                    since: at(1),
                };
                (row, n % 2 == 0)
            })
            .collect();
        let mut all = Batch::default();
        for batch in in_batches(&held, &unserved, &waits) {
            let adds = |one: &&SubscriptionChange| matches!(one, SubscriptionChange::Add(_));
            let added = batch.subscriptions.iter().filter(adds).count();
            let rows = batch.unsent_add.len() + batch.unserved_add.len() + added;
            assert!((1..=ROWS).contains(&rows), "{rows} rows in one statement");
            all.unsent_add.extend(batch.unsent_add);
            all.unserved_add.extend(batch.unserved_add);
            all.subscriptions.extend(batch.subscriptions);
        }
        assert_eq!(all.unsent_add, held);
        assert_eq!(all.unserved_add, unserved);
        let wanted: Vec<_> = waits.iter().flat_map(subscribed).collect();
        assert_eq!(all.subscriptions, wanted);
        assert_eq!(wanted.len(), waits.len() + ROWS + 1);
    }
}
