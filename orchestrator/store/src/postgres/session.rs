//! The one connection through which the owner of a partition commits and reads back. What is asked goes out in its order, also what a dropped
//! future left behind; so whoever reads after a commit whose answer nobody waited for reads after that commit.
//!
//! Another connection breaks that order: what the old one had under way may still be done by the server. A new one therefore counts the
//! partition's `writer` up before anything else, and the fence of a batch names its writer: from then on nothing of the old one is committed.
//!
//! It also looks whether the database is the one the old connection spoke to. Where a standby that did not follow synchronously was made the first, what was
//! committed last is gone, and whoever drives on from memory writes behind a gap. A server that was started at another time, or a log that ends before what was
//! committed, says so; then nothing is asked or written that goes by what is in memory before the partition was read anew.

use std::sync::Arc;

use baton_messages::SagaId;
use deadpool_postgres::Object;

use super::columns::{int, uint};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::numbers::{Numbers, Standing};
use super::ownership::Lease;
use crate::Partition;

const WRITER: &str = "UPDATE partitions SET writer = writer + 1 WHERE id = $1 AND epoch = $2
    RETURNING writer, watermark, coalesce((SELECT r.log_seq FROM records r WHERE r.partition = $1 ORDER BY r.log_seq DESC LIMIT 1), 0),
        (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

/// What a connection has seen of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// When its server was started: a server that runs on has lost nothing.
    started: i64,
    /// The last row of the partition's log.
    log_seq: u64,
    /// How far that is published. What lies before may have been taken out, also the last row.
    watermark: u64,
}

/// What another connection finds of the same partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// All that was there.
    Same,
    /// Another server, or one that was started anew: what is there has to be read.
    Anew,
    /// Less than was committed.
    Less,
}

impl Seen {
    /// The last place of the log that was given.
    fn end(&self) -> u64 {
        self.log_seq.max(self.watermark)
    }

    fn finds(&self, now: &Self) -> Found {
        if now.end() < self.end() || now.watermark < self.watermark {
            Found::Less
        } else if now.started != self.started {
            Found::Anew
        } else {
            Found::Same
        }
    }
}

/// The owner's connection, made when it is needed.
#[derive(Debug)]
pub(crate) struct Session {
    connections: Connections,
    partition: Partition,
    lease: Arc<Lease>,
    open: Option<Open>,
    /// What the last connection had seen when it ended, or this one has so far.
    seen: Option<Seen>,
    /// What is in memory may not be what is in the database.
    stale: bool,
}

/// An open connection, with its number, and with those of sagas that it knows.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) client: Object,
    pub(crate) writer: u64,
    pub(crate) numbers: Numbers,
}

impl Session {
    pub(crate) const fn new(
        connections: Connections,
        partition: Partition,
        lease: Arc<Lease>,
    ) -> Self {
        Self {
            connections,
            partition,
            lease,
            open: None,
            seen: None,
            stale: false,
        }
    }

    /// The connection, or a new one when it has ended.
    ///
    /// # Errors
    /// [`Fault::Fenced`] when the partition has another owner.
    pub(crate) async fn open(&mut self) -> Result<&mut Open, Fault> {
        if let Some(open) = self.open.take()
            && !open.client.is_closed()
        {
            return Ok(self.open.insert(open));
        }
        let (id, epoch) = (i16::from(self.partition.id), int(self.partition.epoch));
        let limit = self.connections.limit();
        let opening = async {
            let client = self.connections.get().await?;
            let counted = rows(&client, WRITER, &[&id, &epoch]).await?;
            let row = counted.first().ok_or(Fault::Fenced)?;
            let writer: i64 = row.try_get(0)?;
            let seen = Seen {
                watermark: uint(row.try_get(1)?),
                log_seq: uint(row.try_get(2)?),
                started: row.try_get(3)?,
            };
            let open = Open {
                client,
                writer: uint(writer),
                numbers: Numbers::default(),
            };
            Ok((open, seen))
        };
        let (open, seen) = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or(Err(Fault::Late(limit)))?;
        self.look(seen);
        Ok(self.open.insert(open))
    }

    /// A new connection has seen this: is it what the one before it left?
    fn look(&mut self, now: Seen) {
        let (partition, epoch) = (self.partition.id, self.partition.epoch);
        let found = self.seen.map_or(Found::Same, |before| before.finds(&now));
        match (found, self.seen) {
            (Found::Less, Some(before)) => tracing::error!(
                partition,
                epoch,
                from = before.end(),
                to = now.end(),
                published_from = before.watermark,
                published_to = now.watermark,
                "the database has gone back: what was committed last in this partition is not there any more, as where a standby that did not follow synchronously was made the first; all of it is read anew, and what is lost is done again, or becomes a dead letter (deploy/BACKUP.md, \"What a restore means for sagas\")"
            ),
            (Found::Anew, _) => tracing::warn!(
                partition,
                epoch,
                log_seq = now.log_seq,
                "the database was started anew, or is another server: the partition is read anew, since what was committed last need not be there"
            ),
            (Found::Same | Found::Less, _) => {}
        }
        self.stale |= found != Found::Same;
        self.seen = Some(now);
    }

    /// A batch is committed: the last row of it, if it has any, and how far the log is published.
    pub(crate) fn committed(&mut self, log_seq: Option<u64>, watermark: u64) {
        if let Some(seen) = &mut self.seen {
            seen.log_seq = log_seq.map_or(seen.log_seq, |last| seen.log_seq.max(last));
            seen.watermark = watermark;
        }
    }

    /// Everything was read anew: this is how the partition stands.
    pub(crate) fn recovered(&mut self, log_seq: u64, watermark: u64) {
        self.stale = false;
        if let Some(seen) = &mut self.seen {
            (seen.log_seq, seen.watermark) = (log_seq, watermark);
        }
    }

    /// Whether what goes by what is in memory may be asked or written.
    ///
    /// # Errors
    /// [`Fault::Anew`] until everything was read anew.
    fn trusted(&self) -> Result<(), Fault> {
        if self.stale { Err(Fault::Anew) } else { Ok(()) }
    }

    /// Keeps what reading through the connection said of sagas: the numbers of those that are there and have not ended, and which are not there.
    pub(crate) fn note(&mut self, seen: Vec<(SagaId, Standing)>) {
        let Some(open) = &mut self.open else {
            return;
        };
        for (saga, standing) in seen {
            match standing {
                Standing::Absent => open.numbers.note_absent(saga.0),
                Standing::Ended => open.numbers.note(saga.0, None),
                Standing::Active(number) => open.numbers.note(saga.0, Some(number)),
            }
        }
    }

    /// The lease of the partition, which every commit renews.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    /// How long an answer is waited for.
    pub(crate) const fn limit(&self) -> std::time::Duration {
        self.connections.limit()
    }

    /// Ends the connection: whatever the server still does for it is refused once there is another.
    pub(crate) fn end(&mut self) {
        if let Some(open) = self.open.take() {
            drop(Object::take(open.client));
        }
    }

    /// As [`Session::open`], for what goes by what is in memory.
    ///
    /// # Errors
    /// [`Fault::Anew`] until everything was read anew; [`Fault::Fenced`] when the partition has another owner.
    pub(crate) async fn trusting_open(&mut self) -> Result<&mut Open, Fault> {
        self.open().await?;
        self.trusted()?;
        self.open.as_mut().ok_or(Fault::Anew)
    }

    /// As [`Session::with`], where what is read goes by what is in memory.
    ///
    /// # Errors
    /// [`Fault::Anew`] until everything was read anew.
    pub(crate) async fn trusting<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.trusting_open().await?;
        let read = self.with(work).await;
        // it may have ended in between, and another been opened
        self.trusted()?;
        read
    }

    /// Reads through the connection, within the limit of time; one that did not answer is not used again.
    pub(crate) async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let limit = self.limit();
        let client = &mut self.open().await?.client;
        let done = tokio::time::timeout(limit, work(client)).await;
        let done = done.unwrap_or(Err(Fault::Late(limit)));
        if done
            .as_ref()
            .is_err_and(|fault| !fault.leaves_the_connection())
        {
            self.end();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_holds_less_or_is_another_one_is_told_from_the_same() {
        let before = Seen {
            started: 7,
            log_seq: 100,
            watermark: 90,
        };
        let finds = |started, log_seq, watermark| {
            before.finds(&Seen {
                started,
                log_seq,
                watermark,
            })
        };
        assert_eq!(finds(7, 100, 90), Found::Same);
        assert_eq!(
            finds(7, 130, 95),
            Found::Same,
            "of a commit nobody heard of"
        );
        assert_eq!(
            finds(8, 100, 90),
            Found::Anew,
            "rows without places may be gone"
        );
        assert_eq!(finds(8, 99, 90), Found::Less);
        assert_eq!(finds(7, 99, 90), Found::Less);
        assert_eq!(
            finds(8, 100, 89),
            Found::Less,
            "what was published is not known to be"
        );
        assert_eq!(
            finds(7, 0, 100),
            Found::Same,
            "the end was taken out, as it may be"
        );
    }
}
