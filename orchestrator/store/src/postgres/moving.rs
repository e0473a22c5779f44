//! Taking in a whole store: what no batch and no trigger writes, and the mark that keeps orchestrators off a database that is only half there.

use baton_driver::StoreError;

use super::PostgresStore;
use super::columns::{digest, int, owned};
use super::connect::rows;
use super::triggers::type_column;
use crate::sqlite::KeyRow;
use crate::triggers::EventRow;

const EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM sagas WHERE number > 0) AND NOT EXISTS (SELECT 1 FROM events WHERE seq > 0)
    AND NOT EXISTS (SELECT 1 FROM definitions) AND NOT EXISTS (SELECT 1 FROM tokens)
    AND NOT EXISTS (SELECT 1 FROM audit WHERE seq > 0)";
/// No orchestrator opens a database in which slices lie below 0; where they will lie can still be told.
const BEGIN: &str = "UPDATE slices SET partition = -1 - partition WHERE partition >= 0";
const END: &str = "UPDATE slices SET partition = -1 - partition WHERE partition < 0";
const EVENTS: &str = "INSERT INTO events (seq, digest, type, received_at, done, effects, body) OVERRIDING SYSTEM VALUE
    SELECT a.seq, a.digest, a.type, a.received_at, a.done, a.effects, a.body
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::text[])
        AS a (seq, digest, type, received_at, done, effects, body)";
const NEXT_EVENT: &str = "SELECT setval(pg_get_serial_sequence('events', 'seq'), $1)";
const KEY: &str =
    "INSERT INTO keys (definition, digest, key, saga, until) VALUES ($1, $2, $3, $4, $5)";

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

    /// Keeps who holds a key.
    pub(crate) async fn put_key(&self, row: &KeyRow) -> Result<(), StoreError> {
        let put = self.beside.with(async |client| {
            let (definition, key) = (owned(&row.definition), owned(&row.key));
            let (digest, until) = (digest(&[&row.key]), int(row.until.0));
            rows(
                client,
                KEY,
                &[&definition, &digest, &key, &row.saga.0, &until],
            )
            .await?;
            Ok(())
        });
        let put = put.await;
        put.map_err(|fault| fault.read("a key, to keep it"))
    }
}
