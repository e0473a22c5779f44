//! The one connection through which the owner of a partition commits and reads back. What is asked goes out in its order, also what a dropped
//! future left behind; so whoever reads after a commit whose answer nobody waited for reads after that commit.
//!
//! Another connection breaks that order: what the old one had under way may still be done by the server. A new one therefore counts the
//! partition's `writer` up before anything else, and the fence of a batch names its writer: from then on nothing of the old one is committed.

use std::sync::Arc;

use baton_messages::SagaId;
use deadpool_postgres::Object;

use super::columns::{int, uint};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::numbers::{Numbers, Standing};
use super::ownership::Lease;
use crate::Partition;

const WRITER: &str =
    "UPDATE partitions SET writer = writer + 1 WHERE id = $1 AND epoch = $2 RETURNING writer";

/// The owner's connection, made when it is needed.
#[derive(Debug)]
pub(crate) struct Session {
    connections: Connections,
    partition: Partition,
    lease: Arc<Lease>,
    open: Option<Open>,
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
            Ok(Open {
                client,
                writer: uint(writer),
                numbers: Numbers::default(),
            })
        };
        let open = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or(Err(Fault::Late(limit)))?;
        Ok(self.open.insert(open))
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
