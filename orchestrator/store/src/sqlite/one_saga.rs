//! Reading one saga beside the driver: as it folds, or page by page of its records.

use baton_driver::{DefinitionRow, Loaded, SagaRow, StoreError};
use baton_engine::Entry;
use baton_messages::{SagaId, TaskType};
use rusqlite::{OptionalExtension, params};

use super::columns::{document, int, rows, saga_id, saga_row, uint, word};
use super::load::{self, all};
use super::{Reader, queries};
use crate::read::Unserved;

impl Reader {
    /// One saga as the driver folds it, from its last snapshot on, with its first entry.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub async fn folding(&self, saga: SagaId) -> Result<Option<(Entry, Loaded)>, StoreError> {
        self.read("a saga", move |conn| {
            // one transaction: snapshot and log of the same moment
            let seen = conn.unchecked_transaction()?;
            let first = seen
                .prepare_cached(queries::FIRST_ENTRY)?
                .query_row([saga.0.as_bytes()], |row| document::<Entry>(row, 0))
                .optional()?;
            let Some(first) = first else { return Ok(None) };
            let loaded = load::saga(&seen, saga)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            match loaded {
                Some(Loaded {
                    unreadable: Some(why),
                    ..
                }) => Err(rusqlite::Error::ToSqlConversionFailure(why.into())),
                loaded => Ok(loaded.map(|loaded| (first, loaded))),
            }
        })
        .await
    }

    /// Entries of a saga that hold records after number `after`, at most `limit`, each with the number of records before it. The first may
    /// begin with records up to `after`. None of a saga that is not there.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub async fn entries(
        &self,
        saga: SagaId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Entry)>, StoreError> {
        self.read("a saga's records", move |conn| {
            let values = params![saga.0.as_bytes(), int(after), rows(limit)];
            let mut found: Vec<(u64, Entry)> = all(conn, queries::ENTRIES_AFTER, values, |row| {
                Ok((uint(row.get(0)?), document::<Entry>(row, 1)?))
            })?;
            found.retain(|(before, entry)| before + entry.records.len() as u64 > after);
            Ok(found)
        })
        .await
    }

    /// One saga's row.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn saga_row(&self, saga: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.read("a saga's row", move |conn| {
            conn.prepare_cached(&queries::saga())?
                .query_row([saga.0.as_bytes()], saga_row)
                .optional()
        })
        .await
    }

    /// The last entries of the log, at most `limit`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub async fn last_entries(&self, limit: usize) -> Result<Vec<(SagaId, Entry)>, StoreError> {
        self.read("the end of the log", move |conn| {
            let mut found = all(conn, queries::LAST_ENTRIES, [rows(limit)], |row| {
                Ok((saga_id(row, 0)?, document::<Entry>(row, 1)?))
            })?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    /// Who waits for a worker of a task type that nobody serves: how many sagas of each type, and the first `limit` of them.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub async fn unserved(&self, limit: usize) -> Result<Unserved, StoreError> {
        self.read("who waits for a worker", move |conn| {
            // one transaction: both of the same moment
            let seen = conn.unchecked_transaction()?;
            let of_name = |text: &str| TaskType::new(text).ok();
            Ok(Unserved {
                by_type: all(&seen, queries::UNSERVED_BY_TYPE, [], |row| {
                    let count = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
                    Ok((word(row, 0, of_name)?, count))
                })?,
                first: all(&seen, queries::UNSERVED, [rows(limit)], |row| {
                    Ok((word(row, 0, of_name)?, saga_id(row, 1)?))
                })?,
            })
        })
        .await
    }

    /// One registered definition.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn definition(
        &self,
        name: String,
        version: u32,
    ) -> Result<Option<DefinitionRow>, StoreError> {
        self.read("a definition", move |conn| {
            conn.prepare_cached(queries::DEFINITION)?
                .query_row(params![name, version], load::definition_row)
                .optional()
        })
        .await
    }
}
