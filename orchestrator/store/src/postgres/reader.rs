//! Reading beside the driver, through connections of its own that cannot write.

use std::collections::BTreeMap;

use baton_driver::{DefinitionRow, Loaded, SagaRow, StoreError};
use baton_engine::{Entry, WorkItemKind};
use baton_messages::{AttemptRef, Manifest, SagaId, TaskType, Timestamp};
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

use super::columns::{
    digest, document, get, instant, instant_if_set, int, label_key, listed, owned, rows as limited,
    saga_id, saga_row, status, string, uint, word,
};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::letter_rows::{edit_head, edit_row, history_row, letter_row};
use super::load::{self, each};
use super::triggers::{event_row, schedule_row, type_column};
use super::{items, queries};
use crate::items::ItemFilter;
use crate::letters::{EditRow, HistoryRow, LetterRow, LetterState, OperationRow, OperationState};
use crate::read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, HOUR_MS, LOOKED_AT_MAX,
    LetterGroup, Listed, LogEnd, Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes, TRIED_MAX,
    UNSERVED_COUNTED_MAX, Unserved, WorkItemCursor, WorkItemView, listed as page, page_rows,
};
use crate::reader::Reader;
use crate::triggers::{EventRow, ScheduleRow};

/// Reads a store, from any task; clones share the connections.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    connections: Connections,
}

impl PostgresReader {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }

    pub(crate) async fn read<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let read = self.connections.with(work).await;
        read.map_err(|fault| fault.read(what))
    }

    /// Every row of one query, read.
    pub(super) async fn list<T>(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        of: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Vec<T>, StoreError> {
        self.read(what, async |client| {
            each(&rows(client, sql, values).await?, of)
        })
        .await
    }
}

impl Reader for PostgresReader {
    async fn sagas(
        &self,
        filter: SagaFilter,
        after: Option<SagaCursor>,
        limit: usize,
    ) -> Result<Page<SagaRow, SagaCursor>, StoreError> {
        let limit = page_rows(limit);
        let (at, id) = after.map_or((i64::MAX, Uuid::max()), |after| {
            (int(after.started_at.0), after.saga.0)
        });
        let from = filter.started_from.map_or(0, |from| int(from.0));
        let until = filter.started_until.map_or(i64::MAX, |until| int(until.0));
        let most = limited(limit + 1);
        let key = filter
            .label
            .as_ref()
            .map(|(name, value)| label_key(name, value));
        let word = filter.status.map(|status| status.as_str());
        let definition = filter.definition.as_deref().map(owned);
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&at, &id, &from, &until, &most];
        if let Some(key) = &key {
            values.push(key);
        }
        if let Some(word) = &word {
            values.push(word);
        }
        if let Some(definition) = &definition {
            values.push(definition);
        }
        let found = self
            .list("sagas", &queries::sagas(&filter), &values, |row| {
                listed(row, saga_row, saga_name)
            })
            .await?;
        Ok(page(found, limit, |row: &SagaRow| SagaCursor {
            started_at: row.started_at,
            saga: row.saga,
        }))
    }

    async fn saga(&self, saga: SagaId) -> Result<Option<SagaLog>, StoreError> {
        self.read("a saga", async |client| {
            let seen = moment(client).await?;
            let found = rows(&seen, &queries::saga(), &[&saga.0]).await?;
            let Some(row) = found.first() else {
                return Ok(None);
            };
            let log = rows(&seen, queries::SAGA_LOG, &[&saga.0]).await?;
            let log = each(&log, |row| Ok((get(row, 0).map(uint)?, document(row, 1)?)))?;
            let row = saga_row(row)?;
            seen.commit().await?;
            Ok(Some((row, log)))
        })
        .await
    }

    async fn saga_row(&self, saga: SagaId) -> Result<Option<SagaRow>, StoreError> {
        let mut found = self
            .list("a saga's row", &queries::saga(), &[&saga.0], saga_row)
            .await?;
        Ok(found.pop())
    }

    async fn folding(&self, saga: SagaId) -> Result<Option<(Entry, Loaded)>, StoreError> {
        self.read("a saga", async |client| {
            let seen = moment(client).await?;
            let read = load::folding(&seen, saga).await?;
            seen.commit().await?;
            Ok(read)
        })
        .await
    }

    async fn unserved(&self, limit: usize) -> Result<Unserved, StoreError> {
        let of_name = |text: &str| TaskType::new(text).ok();
        self.read("who waits for a worker", async |client| {
            // one transaction: both of the same moment
            let seen = moment(client).await?;
            let (mut by_type, mut all) = (BTreeMap::<TaskType, usize>::new(), Vec::new());
            for partition in rows(&seen, queries::PARTITIONS, &[]).await? {
                let partition: i16 = get(&partition, 0)?;
                let counted: [&(dyn ToSql + Sync); 2] =
                    [&partition, &limited(UNSERVED_COUNTED_MAX)];
                for row in rows(&seen, queries::UNSERVED_BY_TYPE, &counted).await? {
                    let count = usize::try_from(get::<i64>(&row, 1)?).unwrap_or(usize::MAX);
                    let of = by_type.entry(word(&row, 0, of_name)?).or_default();
                    *of = (*of + count).min(UNSERVED_COUNTED_MAX);
                }
                let first: [&(dyn ToSql + Sync); 2] = [&partition, &limited(limit)];
                for row in rows(&seen, queries::UNSERVED, &first).await? {
                    all.push((word(&row, 0, of_name)?, saga_id(&row, 1)?));
                }
            }
            seen.commit().await?;
            all.sort();
            all.truncate(limit);
            Ok(Unserved {
                by_type: by_type.into_iter().collect(),
                first: all,
            })
        })
        .await
    }

    async fn ended(
        &self,
        partition: u8,
        before: Timestamp,
        after: Option<EndedCursor>,
        limit: usize,
    ) -> Result<Vec<EndedCursor>, StoreError> {
        let (at, id) = after.map_or((-1, Uuid::nil()), |after| {
            (int(after.ended_at.0), after.saga.0)
        });
        let most = limited(page_rows(limit));
        let values: [&(dyn ToSql + Sync); 5] =
            [&i16::from(partition), &at, &id, &int(before.0), &most];
        self.list("ended sagas", queries::ENDED, &values, |row| {
            Ok(EndedCursor {
                ended_at: instant(row, 0)?,
                saga: saga_id(row, 1)?,
            })
        })
        .await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.read("sizes", async |client| {
            let seen = moment(client).await?;
            let mut oldest: Vec<Timestamp> = Vec::new();
            for partition in rows(&seen, queries::PARTITIONS, &[]).await? {
                let partition: i16 = get(&partition, 0)?;
                let ended = rows(&seen, queries::OLDEST_ENDED, &[&partition]).await?;
                oldest.extend(each(&ended, |row| instant(row, 0))?);
            }
            let events = rows(&seen, queries::EVENTS_COUNT, &[]).await?;
            let events = events.first().map(|row| get(row, 0)).transpose()?;
            seen.commit().await?;
            Ok(Sizes {
                events: uint(events.unwrap_or(0)),
                oldest_ended: oldest.into_iter().min(),
            })
        })
        .await
    }

    async fn entries(
        &self,
        saga: SagaId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Entry)>, StoreError> {
        let values: [&(dyn ToSql + Sync); 3] = [&saga.0, &int(after), &limited(limit)];
        let mut found = self
            .list("a saga's records", queries::ENTRIES_AFTER, &values, |row| {
                Ok((get(row, 0).map(uint)?, document::<Entry>(row, 1)?))
            })
            .await?;
        found.retain(|(before, entry)| before + entry.records.len() as u64 > after);
        Ok(found)
    }

    async fn last_entries(&self, limit: usize) -> Result<LogEnd, StoreError> {
        const WHAT: &str = "the end of the log";
        let partitions = self.list(WHAT, queries::PARTITIONS, &[], |row| get::<i16>(row, 0));
        let mut found = LogEnd::default();
        for partition in partitions.await? {
            let values: [&(dyn ToSql + Sync); 2] = [&partition, &limited(limit)];
            let last = self.list(WHAT, queries::LAST_ENTRIES, &values, |row| {
                Ok((saga_id(row, 0)?, document::<Entry>(row, 1).ok()))
            });
            found.take(last.await?);
        }
        Ok(found.cut(limit))
    }

    async fn work_items(
        &self,
        open_only: bool,
        kind: Option<WorkItemKind>,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        items::all(self, open_only, kind, after, limit).await
    }

    async fn work_items_of(
        &self,
        filter: ItemFilter,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        items::of(self, &filter, after, limit).await
    }

    async fn dead_letters_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let sql = queries::dead_letters_between();
        self.list("a dead letter", &sql, &[&first, &last], letter_row)
            .await
    }

    async fn dead_letter_heads_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let sql = queries::dead_letter_heads_between();
        let what = "a dead letter, without its body";
        self.list(what, &sql, &[&first, &last], letter_row).await
    }

    async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<LetterRow, DeadLetterCursor>, StoreError> {
        let limit = page_rows(limit);
        let asked = LetterValues::of(&filter, after);
        let most = limited(limit + 1);
        let sql = queries::dead_letters(&filter);
        let found = self
            .list(
                "dead letters",
                &sql,
                &asked.values(Some(&most)),
                listed_letter,
            )
            .await?;
        Ok(page(found, limit, |row| DeadLetterCursor {
            at: row.seen_at(),
            id: row.letter.id,
        }))
    }

    async fn dead_letter_heads(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<LetterRow, DeadLetterCursor>, StoreError> {
        let limit = page_rows(limit);
        let what = "dead letters, without bodies";
        let mut asked = LetterValues::of(&filter, after);
        let end = if filter.is_indexed() {
            None
        } else {
            let along = DeadLetterFilter {
                from: filter.from,
                until: filter.until,
                state: filter.state,
                group: filter.group.clone(),
                oldest_first: filter.oldest_first,
                ..DeadLetterFilter::default()
            };
            let along = LetterValues::of(&along, after);
            let passed = limited(LOOKED_AT_MAX - 1);
            let sql = queries::dead_letters_end(&filter);
            let place = |row: &Row| {
                let (at, id) = (instant(row, 0)?, get(row, 1)?);
                Ok(DeadLetterCursor { at, id })
            };
            let values = along.values(Some(&passed));
            self.list(what, &sql, &values, place).await?.pop()
        };
        let none = match filter.oldest_first {
            true => (i64::MAX, Uuid::max()),
            false => (0, Uuid::nil()),
        };
        asked.end = Some(end.map_or(none, |end| (int(end.at.0), end.id)));
        let most = limited(limit + 1);
        let sql = queries::dead_letter_heads(&filter);
        let found = self
            .list(what, &sql, &asked.values(Some(&most)), listed_letter)
            .await?;
        let mut page = page(found, limit, |row: &LetterRow| DeadLetterCursor {
            at: row.seen_at(),
            id: row.letter.id,
        });
        page.next = page.next.or(end);
        Ok(page)
    }

    async fn dead_letter_edits(&self, letter: Uuid) -> Result<Vec<EditRow>, StoreError> {
        let what = "edits of a dead letter";
        self.list(what, queries::EDITS, &[&letter], edit_head).await
    }

    async fn dead_letter_edit(
        &self,
        letter: Uuid,
        edition: u32,
    ) -> Result<Option<EditRow>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&letter, &i64::from(edition)];
        let what = "an edited dead letter";
        let mut found = self.list(what, queries::EDIT, &values, edit_row).await?;
        Ok(found.pop())
    }

    async fn dead_letter_history(
        &self,
        letter: Uuid,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let most = limited(limit);
        let values: [&(dyn ToSql + Sync); 2] = [&letter, &most];
        let what = "what happened to a dead letter";
        let mut found = self
            .list(what, queries::LETTER_HISTORY, &values, history_row)
            .await?;
        found.reverse();
        Ok(found)
    }

    async fn dead_letters_of(
        &self,
        saga: SagaId,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let most = limited(page_rows(limit));
        let values: [&(dyn ToSql + Sync); 2] = [&saga.0, &most];
        let sql = queries::dead_letters_of();
        self.list("dead letters of a saga", &sql, &values, letter_row)
            .await
    }

    async fn dead_letters_tried(&self, of: AttemptRef) -> Result<Vec<LetterRow>, StoreError> {
        let item = of.item.map_or(-1, i64::from);
        let (step, most) = (of.step.as_str(), limited(TRIED_MAX));
        let values: [&(dyn ToSql + Sync); 4] = [&of.saga.0, &step, &item, &most];
        let sql = queries::dead_letters_tried();
        self.list("dead letters of a step", &sql, &values, letter_row)
            .await
    }

    async fn dead_letter_hours(
        &self,
        group: String,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&owned(&group), &int(since.0 / HOUR_MS)];
        let what = "dead letters by the hour";
        self.list(what, queries::LETTER_HOURS, &values, |row| {
            let (hour, n): (i64, i64) = (get(row, 0)?, get(row, 1)?);
            Ok((Timestamp(uint(hour) * HOUR_MS), uint(n)))
        })
        .await
    }

    async fn dead_letters_count(&self, filter: DeadLetterFilter) -> Result<u64, StoreError> {
        let asked = LetterValues::of(&filter, None);
        let sql = queries::dead_letters_count(&filter);
        let what = "dead letters, to count them";
        let found = self
            .list(what, &sql, &asked.values(None), |row| get(row, 0).map(uint))
            .await?;
        Ok(found.into_iter().sum())
    }

    async fn dead_letters_newest(
        &self,
        state: LetterState,
        not_after: Timestamp,
    ) -> Result<Newest, StoreError> {
        let (state, not_after) = (state.as_str(), int(not_after.0));
        let values: [&(dyn ToSql + Sync); 2] = [&state, &not_after];
        let what = "how far dead letters have come";
        let at = |row: &Row| instant(row, 0);
        let died = self.list(what, queries::NEWEST_DEATH, &values, at).await?;
        let moved = self.list(what, queries::NEWEST_MOVE, &values, at).await?;
        Ok(Newest::of(died.first().copied(), moved.first().copied()))
    }

    async fn dead_letter_groups(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        let after = after.unwrap_or_default();
        let values: [&(dyn ToSql + Sync); 2] = [&after, &limited(limit)];
        self.list(
            "groups of dead letters",
            queries::LETTER_GROUPS,
            &values,
            |row| {
                Ok(LetterGroup {
                    group: string(row, 0)?,
                    dead: get(row, 1).map(uint)?,
                    first_at: instant(row, 2)?,
                    last_at: instant(row, 3)?,
                })
            },
        )
        .await
    }

    async fn dead_operations(
        &self,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<OperationRow, DeadLetterCursor>, StoreError> {
        let limit = page_rows(limit);
        let (at, id) = after.map_or((i64::MAX, Uuid::max()), |after| (int(after.at.0), after.id));
        let values: [&(dyn ToSql + Sync); 3] = [&at, &id, &limited(limit + 1)];
        let what = "replays of dead letters";
        let found = self
            .list(what, queries::OPERATIONS, &values, |row| {
                listed(row, |row| document(row, 0), |row| letter_name(row, 1, 2))
            })
            .await?;
        Ok(page(found, limit, |row: &OperationRow| DeadLetterCursor {
            at: row.made_at,
            id: row.id,
        }))
    }

    async fn dead_operations_in(
        &self,
        state: OperationState,
        limit: usize,
    ) -> Result<Vec<OperationRow>, StoreError> {
        let (state, most) = (state.as_str(), limited(limit));
        let values: [&(dyn ToSql + Sync); 2] = [&state, &most];
        let what = "replays of dead letters by where they stand";
        self.list(what, queries::OPERATIONS_IN, &values, |row| {
            document(row, 0)
        })
        .await
    }

    async fn dead_operation(&self, id: Uuid) -> Result<Option<OperationRow>, StoreError> {
        let what = "a replay of dead letters";
        let mut found = self
            .list(what, queries::OPERATION, &[&id], |row| document(row, 0))
            .await?;
        Ok(found.pop())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let figures = self.list("figures", queries::COUNTS, &[], |row| {
            let (name, n): (String, i64) = (get(row, 0)?, get(row, 1)?);
            Ok((name, uint(n)))
        });
        Ok(figures.await?.into_iter().fold(Counts::default(), count))
    }

    async fn definitions(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.list("definitions", load::DEFINITIONS, &[], load::definition_row)
            .await
    }

    async fn manifests(&self) -> Result<Vec<Manifest>, StoreError> {
        self.list("manifests", load::MANIFESTS, &[], |row| document(row, 0))
            .await
    }

    async fn definition(
        &self,
        name: String,
        version: u32,
    ) -> Result<Option<DefinitionRow>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&owned(&name), &i64::from(version)];
        let found = self.list(
            "a definition",
            queries::DEFINITION,
            &values,
            load::definition_row,
        );
        Ok(found.await?.pop())
    }

    async fn events(
        &self,
        kind: Option<String>,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<Page<EventRow, EventCursor>, StoreError> {
        let limit = page_rows(limit);
        let (at, seq) = after.map_or((i64::MAX, i64::MAX), |after| {
            (int(after.received_at.0), int(after.seq))
        });
        let (most, kind) = (limited(limit + 1), kind.as_deref().map(type_column));
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&at, &seq, &most];
        if let Some(kind) = &kind {
            values.push(kind);
        }
        let sql = queries::events(kind.is_some());
        let found = self.list("events", &sql, &values, |row| {
            listed(row, event_row, event_name)
        });
        Ok(page(found.await?, limit, |row: &EventRow| EventCursor {
            received_at: row.received_at,
            seq: row.seq,
        }))
    }

    async fn event(&self, source: String, id: String) -> Result<Option<EventRow>, StoreError> {
        let digest = digest(&[&source, &id]);
        let mut found = self
            .list("an event", &queries::event(), &[&digest], event_row)
            .await?;
        Ok(found.pop())
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        self.list("schedules", queries::SCHEDULES, &[], schedule_row)
            .await
    }
}

/// A saga's place and name, whatever else its row holds.
fn saga_name(row: &Row) -> Result<(SagaCursor, String), Fault> {
    let (started_at, saga) = (instant(row, 8)?, saga_id(row, 0)?);
    Ok((SagaCursor { started_at, saga }, saga.to_string()))
}

/// An event's place, and the number that is its name here.
fn event_name(row: &Row) -> Result<(EventCursor, String), Fault> {
    let (received_at, seq) = (instant(row, 1)?, get(row, 0).map(uint)?);
    Ok((EventCursor { received_at, seq }, seq.to_string()))
}

/// The place and name of what is named by one id.
fn letter_name(row: &Row, at: usize, id: usize) -> Result<(DeadLetterCursor, String), Fault> {
    let (at, id): (_, Uuid) = (instant(row, at)?, get(row, id)?);
    Ok((DeadLetterCursor { at, id }, id.to_string()))
}

fn listed_letter(row: &Row) -> Result<Listed<LetterRow, DeadLetterCursor>, Fault> {
    listed(row, letter_row, |row| {
        // where it died again, it stands there
        let again = instant_if_set(row, 34)?.is_some();
        letter_name(row, if again { 34 } else { 1 }, 0)
    })
}

/// A transaction that sees one moment.
async fn moment(client: &mut Object) -> Result<deadpool_postgres::Transaction<'_>, Fault> {
    let beginning = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true);
    Ok(beginning.start().await?)
}

/// The values of a question about letters.
struct LetterValues {
    at: i64,
    id: Uuid,
    from: i64,
    until: i64,
    texts: [Option<String>; 3],
    saga: Option<Uuid>,
    more: [Option<String>; 3],
    changed_until: Option<i64>,
    about: [Option<String>; 6],
    replays: Option<i64>,
    label: Option<Uuid>,
    operation: Option<Uuid>,
    ids: Option<Vec<Uuid>>,
    /// The place of the last letter that is looked at; none where a statement does not ask.
    end: Option<(i64, Uuid)>,
}

impl LetterValues {
    fn of(filter: &DeadLetterFilter, after: Option<DeadLetterCursor>) -> Self {
        let first = match filter.oldest_first {
            true => (-1, Uuid::nil()),
            false => (i64::MAX, Uuid::max()),
        };
        let (at, id) = after.map_or(first, |after| (int(after.at.0), after.id));
        Self {
            at,
            id,
            from: filter.from.map_or(0, |from| int(from.0)),
            until: filter.until.map_or(i64::MAX, |until| int(until.0)),
            texts: [
                filter.reason.map(|reason| reason.as_str().to_owned()),
                filter.queue.as_deref().map(owned),
                filter.kind.as_deref().map(owned),
            ],
            saga: filter.saga.map(|saga| saga.0),
            more: [
                filter.text.as_deref().map(owned),
                filter.state.map(|state| state.as_str().to_owned()),
                filter.group.as_deref().map(owned),
            ],
            changed_until: filter.changed_until.map(|at| int(at.0)),
            about: [
                filter.error.as_deref().map(owned),
                filter.pool.as_deref().map(owned),
                filter.task_type.as_deref().map(owned),
                filter.event_type.as_deref().map(owned),
                filter.definition.as_deref().map(owned),
                filter.worker.as_deref().map(owned),
            ],
            replays: filter.replays.map(i64::from),
            label: filter
                .label
                .as_ref()
                .map(|(name, value)| label_key(name, value)),
            operation: filter.operation,
            ids: (!filter.ids.is_empty()).then(|| filter.ids.clone()),
            end: None,
        }
    }

    fn values<'a>(&'a self, limit: Option<&'a i64>) -> Vec<&'a (dyn ToSql + Sync)> {
        let mut values: Vec<&(dyn ToSql + Sync)> =
            vec![&self.at, &self.id, &self.from, &self.until];
        values.extend(limit.map(|limit| limit as &(dyn ToSql + Sync)));
        if let Some((at, id)) = &self.end {
            values.extend([at as &(dyn ToSql + Sync), id]);
        }
        let of_text = |text: &'a String| text as &(dyn ToSql + Sync);
        values.extend(self.texts.iter().flatten().map(of_text));
        values.extend(self.saga.as_ref().map(|saga| saga as &(dyn ToSql + Sync)));
        values.extend(self.more.iter().flatten().map(of_text));
        let changed = self.changed_until.as_ref();
        values.extend(changed.map(|at| at as &(dyn ToSql + Sync)));
        values.extend(self.about.iter().flatten().map(of_text));
        let replays = self.replays.as_ref();
        values.extend(replays.map(|n| n as &(dyn ToSql + Sync)));
        values.extend(self.label.as_ref().map(|key| key as &(dyn ToSql + Sync)));
        let operation = self.operation.as_ref();
        values.extend(operation.map(|id| id as &(dyn ToSql + Sync)));
        values.extend(self.ids.as_ref().map(|ids| ids as &(dyn ToSql + Sync)));
        values
    }
}

fn count(mut counts: Counts, (name, n): (String, u64)) -> Counts {
    if let Some(state) = name.strip_prefix("letters.").and_then(LetterState::of) {
        if n > 0 {
            *counts.letters.entry(state).or_default() += n;
        }
        return counts;
    }
    match name.as_str() {
        "log_rows" => counts.log_rows += n,
        "unsent" => counts.unsent += n,
        "owed" => counts.owed += n,
        "dead_letters" => counts.dead_letters += n,
        "work_items_open" => counts.work_items_open += n,
        "purged" => counts.purged += n,
        "bytes" => counts.db_bytes = n,
        other => {
            if let Some(status) = other.strip_prefix("saga.").and_then(status)
                && n > 0
            {
                *counts.sagas.entry(status).or_default() += n;
            }
        }
    }
    counts
}
