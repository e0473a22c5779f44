//! One batch, one statement, one round trip: `commit_batch_12` (the migrations have it; the number is that of the migration that made it) checks the fence, then writes everything, in the
//! transaction of its own call. Once in some hundred sagas that start another goes before it, for their numbers (`numbers.rs`).
//!
//! What an error means is decided by where it arose. Before the statement has left this process nothing can have happened. What the server
//! answers is certain: it writes all of a statement it accepts and nothing of one it refuses. When no answer comes, or the backend's last
//! words are those of its own end, nobody knows; the connection is given up, and the next one fences what it may still do.

use std::borrow::Cow;
use std::fmt::Write as _;

use baton_driver::{Batch, CommitError};
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;

use super::columns::int;
use super::fault::Fault;
use super::ownership::Lease;
use super::rows::{Rows, starting};
use super::session::{Open, Session};

const COMMIT: &str = "SELECT commit_batch_12($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)";
/// How many values that takes.
const COMMIT_VALUES: usize = 25;

/// The statement of a batch, with what few of them have: records that are taken out, what becomes of work items, what sagas take, what is owed. What stands first in the
/// list is called first.
fn statement(rows: &Rows) -> Cow<'static, str> {
    let purge = rows.purged.as_ref().map(|_| "purge_sagas($1, $");
    let items = rows.items_changed.as_ref().map(|_| "change_work_items($");
    let reserve = rows.reservations.as_ref().map(|_| "change_reservations($");
    let owe = rows.owed.as_ref().map(|_| "change_owed($1, $");
    let calls = [purge, items, reserve, owe].into_iter().flatten();
    let mut sql = Cow::Borrowed(COMMIT);
    for (n, call) in calls.enumerate() {
        let _ = write!(sql.to_mut(), ", {call}{})", COMMIT_VALUES + 1 + n);
    }
    sql
}

/// Where an attempt ended that was no commit.
enum Refused {
    /// Nothing was sent.
    Before(Fault),
    /// The statement was on its way.
    UnderWay(Fault),
}

/// Writes a batch wholly or not at all.
pub(crate) async fn commit(session: &mut Session, batch: Batch) -> Result<(), CommitError> {
    let (partition, epoch, published) = (batch.partition, batch.epoch, batch.watermark);
    let (limit, lease) = (session.limit(), session.lease());
    let last = batch.rows.last().map(|row| row.log_seq);
    let fence = Fence {
        partition: i16::from(partition),
        epoch: int(epoch),
        published: int(published),
    };
    let open = session
        .trusting_open()
        .await
        .map_err(|fault| fault.before_commit(partition, epoch))?;
    let written = tokio::time::timeout(limit, write(open, fence, &lease, batch)).await;
    let refused = match written {
        Ok(Ok(())) => {
            session.committed(last, published);
            return Ok(());
        }
        Ok(Err(refused)) => refused,
        Err(_) => Refused::UnderWay(Fault::Late(limit)),
    };
    let (Refused::Before(fault) | Refused::UnderWay(fault)) = &refused;
    if !fault.leaves_the_connection() {
        session.end();
    }
    Err(match refused {
        Refused::Before(fault) => fault.before_commit(partition, epoch),
        Refused::UnderWay(fault) => fault.of_commit(partition, epoch),
    })
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    partition: i16,
    epoch: i64,
    published: i64,
}

async fn write(open: &mut Open, fence: Fence, lease: &Lease, batch: Batch) -> Result<(), Refused> {
    let Open {
        client,
        writer,
        numbers,
    } = open;
    let client: &Object = client;
    let absent = numbers.take_absent();
    let drawn = numbers.draw(client, starting(&batch, &absent)).await;
    drawn.map_err(Refused::Before)?;
    let rows = Rows::of(batch, &absent, numbers);
    let rows = rows.map_err(|error| Refused::Before(error.into()))?;
    send(client, *writer, fence, lease, &rows).await?;
    rows.sagas.note(numbers);
    Ok(())
}

async fn send(
    client: &Object,
    writer: u64,
    fence: Fence,
    lease: &Lease,
    rows: &Rows,
) -> Result<(), Refused> {
    let statement = client
        .prepare_cached(&statement(rows))
        .await
        .map_err(|error| Refused::Before(error.into()))?;
    let (writer, lease_ms) = (int(writer), lease.ms());
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![
        &fence.partition,
        &fence.epoch,
        &writer,
        &fence.published,
        &lease_ms,
        &rows.sagas.new,
        &rows.sagas.known,
        &rows.sagas.others,
        &rows.log.log_seqs,
        &rows.log.numbers,
        &rows.log.ids,
        &rows.log.saga_seqs,
        &rows.log.entries,
        &rows.cold,
        &rows.snapshots,
        &rows.unsent_gone,
        &rows.unsent,
        &rows.unserved_gone,
        &rows.unserved,
        &rows.steps_gone,
        &rows.steps,
        &rows.steps_searched,
        &rows.items_closed,
        &rows.items,
        &rows.letters,
    ];
    if let Some(purged) = &rows.purged {
        values.push(purged);
    }
    if let Some(changes) = &rows.items_changed {
        values.push(changes);
    }
    if let Some(changes) = &rows.reservations {
        values.push(changes);
    }
    if let Some(changes) = &rows.owed {
        values.push(changes);
    }
    let committing = lease.committing();
    match client.execute(&statement, &values).await {
        Ok(_) => {
            committing.done();
            Ok(())
        }
        Err(error) if never_left(&error) => Err(Refused::Before(Fault::Values(error))),
        Err(error) => Err(Refused::UnderWay(error.into())),
    }
}

/// Whether the values could not be written into the statement. The library says so by these words alone; an error it says otherwise counts as
/// one of a statement under way.
fn never_left(error: &tokio_postgres::Error) -> bool {
    let said = error.to_string();
    said.starts_with("error serializing parameter") || said.starts_with("error encoding message")
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::never_left;
    use crate::postgres::tests::FreshDatabase;

    #[tokio::test]
    async fn values_that_cannot_be_written_never_left() {
        let subject = FreshDatabase::new().await;
        let client = subject.database.client().await;
        let statement = client.prepare_typed("SELECT $1", &[Type::INT8]).await;
        let refused = client.execute(&statement.unwrap(), &[&"no number"]).await;
        assert!(never_left(&refused.unwrap_err()));
        let refused = client.execute("SELECT 1 / 0", &[]).await;
        assert!(!never_left(&refused.unwrap_err()));
    }
}
