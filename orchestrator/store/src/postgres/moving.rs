//! Taking in a whole store: what no batch and no trigger writes, the mark that keeps orchestrators off a database that is only half there, and the one that says
//! that what was on its way to the file was not read yet.

use baton_driver::StoreError;

use super::PostgresStore;
use super::columns::{digest, get, int, owned};
use super::connect::{Connections, rows};
use super::triggers::type_column;
use crate::sqlite::KeyRow;
use crate::triggers::EventRow;

const EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM sagas WHERE number > 0) AND NOT EXISTS (SELECT 1 FROM events WHERE seq > 0)
    AND NOT EXISTS (SELECT 1 FROM definitions) AND NOT EXISTS (SELECT 1 FROM tokens)
    AND NOT EXISTS (SELECT 1 FROM audit WHERE seq > 0)";
/// No orchestrator opens a database in which slices lie below 0; where they will lie can still be told.
const BEGIN: &str = "UPDATE slices SET partition = -1 - partition WHERE partition >= 0";
/// In one statement: whoever drives it finds what lies in the inbox of the file unread.
const END: &str = "WITH laid AS (UPDATE slices SET partition = -1 - partition WHERE partition < 0)
    INSERT INTO carried (one) VALUES (1) ON CONFLICT (one) DO NOTHING";
const UNREAD: &str = "SELECT EXISTS (SELECT 1 FROM carried)";
const READ: &str = "DELETE FROM carried";
const EVENTS: &str = "INSERT INTO events (seq, digest, type, received_at, done, effects, body) OVERRIDING SYSTEM VALUE
    SELECT a.seq, a.digest, a.type, a.received_at, a.done, a.effects, a.body
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::text[])
        AS a (seq, digest, type, received_at, done, effects, body)";
const NEXT_EVENT: &str = "SELECT setval(pg_get_serial_sequence('events', 'seq'), $1)";
const KEYS: &str = "INSERT INTO keys (definition, digest, key, saga, until)
    SELECT a.definition, a.digest, a.key, a.saga, a.until
    FROM unnest($1::text[], $2::bytea[], $3::text[], $4::uuid[], $5::bigint[]) AS a (definition, digest, key, saga, until)";

/// Whether what was on its way when a file was imported has been read.
#[derive(Debug, Clone)]
pub struct PostgresCarried {
    connections: Connections,
}

impl PostgresCarried {
    /// Whether some of it may still lie in the inbox of the first partition.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_unread(&self) -> Result<bool, StoreError> {
        let found = self.connections.rows(UNREAD, &[]).await;
        let read = found.and_then(|rows| rows.first().map(|row| get(row, 0)).transpose());
        let unread =
            read.map_err(|fault| fault.read("whether what an import left on its way was read"))?;
        Ok(unread.unwrap_or(false))
    }

    /// All of it was read, and what belongs to other partitions lies in their inboxes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn was_read(&self) -> Result<(), StoreError> {
        let done = self.connections.execute(READ, &[]).await;
        done.map_err(|fault| fault.read("that what an import left on its way was read"))?;
        Ok(())
    }
}

impl PostgresStore {
    /// Marks the database as one that is being filled. False, and nothing is marked, when something is there already.
    pub(crate) async fn begin_moving(&self) -> Result<bool, StoreError> {
        let begun = self.beside.with(async |client| {
            let empty = rows(client, EMPTY, &[]).await?;
            if !empty.first().is_some_and(|row| row.get(0)) {
                return Ok(false);
            }
            client.batch_execute(BEGIN).await?;
            Ok(true)
        });
        let begun = begun.await;
        begun.map_err(|fault| fault.read("whether the database is empty"))
    }

    /// All of it is there.
    pub(crate) async fn end_moving(&self) -> Result<(), StoreError> {
        let ended = self.beside.execute(END, &[]).await;
        ended.map_err(|fault| fault.read("the end of the import"))?;
        Ok(())
    }

    /// Keeps events under the places they had.
    pub(crate) async fn put_events(&self, events: &[EventRow]) -> Result<(), StoreError> {
        let put = self.beside.with(async |client| {
            let (mut seqs, mut digests, mut types) = (Vec::new(), Vec::new(), Vec::new());
            let (mut received, mut done) = (Vec::new(), Vec::new());
            let (mut effects, mut bodies) = (Vec::new(), Vec::new());
            for row in events {
                seqs.push(int(row.seq));
                digests.push(digest(&[&row.event.source, &row.event.id]));
                types.push(type_column(&row.event.kind));
                received.push(int(row.received_at.0));
                done.push(row.done);
                effects.push(serde_json::to_string(&row.effects)?);
                bodies.push(serde_json::to_string(&row.event)?);
            }
            let last = seqs.last().copied().unwrap_or(1);
            rows(
                client,
                EVENTS,
                &[&seqs, &digests, &types, &received, &done, &effects, &bodies],
            )
            .await?;
            rows(client, NEXT_EVENT, &[&last]).await?;
            Ok(())
        });
        let put = put.await;
        put.map_err(|fault| fault.read("events, to keep them"))
    }

    /// Keeps who holds which key.
    pub(crate) async fn put_keys(&self, keys: &[KeyRow]) -> Result<(), StoreError> {
        let put = self.beside.with(async |client| {
            let (mut definitions, mut digests, mut names) = (Vec::new(), Vec::new(), Vec::new());
            let (mut sagas, mut until) = (Vec::new(), Vec::new());
            for row in keys {
                definitions.push(owned(&row.definition));
                digests.push(digest(&[&row.key]));
                names.push(owned(&row.key));
                sagas.push(row.saga.0);
                until.push(int(row.until.0));
            }
            rows(
                client,
                KEYS,
                &[&definitions, &digests, &names, &sagas, &until],
            )
            .await?;
            Ok(())
        });
        let put = put.await;
        put.map_err(|fault| fault.read("keys, to keep them"))
    }

    /// Whether what was on its way when a file was imported has been read.
    #[must_use]
    pub fn carried(&self) -> PostgresCarried {
        PostgresCarried {
            connections: self.beside.clone(),
        }
    }
}
