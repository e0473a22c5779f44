//! Reading the store in memory: every row is looked at, sorted, and cut to a page. What a list means is said here.

use std::collections::BTreeMap;

use baton_driver::{DefinitionRow, Loaded, LogRow, SagaRow, StoreError};
use baton_engine::{Entry, WorkItemKind};
use baton_messages::{AttemptRef, Manifest, SagaId, TaskType, Timestamp};
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::facets::facets_of;
use crate::items::ItemFilter;
use crate::letters::{EditRow, HistoryRow, LetterRow, LetterState, OperationRow, OperationState};
use crate::read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, HEAD_BYTES_MAX, HOUR_MS,
    LetterGroup, LogEnd, Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes,
    UNSERVED_COUNTED_MAX, Unserved, WorkItemCursor, WorkItemView, page, page_rows,
};
use crate::reader::Reader;
use crate::triggers::{EventRow, ScheduleRow};

impl Tables {
    /// A saga's rows of the log, in the order of the fold.
    fn log_of(&self, saga: SagaId) -> Vec<&LogRow> {
        let mut rows: Vec<&LogRow> = self.log.values().filter(|row| row.saga == saga).collect();
        rows.sort_by_key(|row| row.saga_seq);
        rows
    }
}

/// The page of what was found in its order.
fn cut<T, C>(found: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Page<T, C> {
    let limit = page_rows(limit);
    page(found.into_iter().take(limit + 1).collect(), limit, cursor)
}

impl MemoryStore {
    /// The rows of the sagas that letters speak of.
    fn sagas_of(&self, letters: &[LetterRow]) -> BTreeMap<SagaId, SagaRow> {
        let tables = self.tables();
        let named = letters.iter().filter_map(|row| row.letter.saga);
        let rows = named.filter_map(|saga| Some((saga, tables.sagas.get(&saga)?.1.clone())));
        rows.collect()
    }
}

fn wanted(filter: &SagaFilter, row: &SagaRow) -> bool {
    row.purged.is_none()
        && filter.status.is_none_or(|status| row.status == status)
        && filter
            .definition
            .as_ref()
            .is_none_or(|name| row.definition == *name)
        && filter
            .label
            .as_ref()
            .is_none_or(|(name, value)| row.labels.get(name) == Some(value))
        && filter
            .started_from
            .is_none_or(|from| row.started_at >= from)
        && filter
            .started_until
            .is_none_or(|until| row.started_at <= until)
}

impl Reader for MemoryStore {
    async fn sagas(
        &self,
        filter: SagaFilter,
        after: Option<SagaCursor>,
        limit: usize,
    ) -> Result<Page<SagaRow, SagaCursor>, StoreError> {
        let place = |row: &SagaRow| (row.started_at, row.saga);
        let tables = self.tables();
        let rows = tables.sagas.values().map(|(_, row)| row);
        let mut found: Vec<SagaRow> = rows
            .filter(|row| wanted(&filter, row))
            .filter(|row| after.is_none_or(|last| place(row) < (last.started_at, last.saga)))
            .cloned()
            .collect();
        found.sort_by_key(|row| std::cmp::Reverse(place(row)));
        Ok(cut(found, limit, |row| SagaCursor {
            started_at: row.started_at,
            saga: row.saga,
        }))
    }

    async fn saga(&self, saga: SagaId) -> Result<Option<SagaLog>, StoreError> {
        let tables = self.tables();
        let Some((_, row)) = tables.sagas.get(&saga) else {
            return Ok(None);
        };
        let log = tables.log_of(saga).into_iter();
        let log = log.map(|row| (row.log_seq, row.entry.clone())).collect();
        Ok(Some((row.clone(), log)))
    }

    async fn saga_row(&self, saga: SagaId) -> Result<Option<SagaRow>, StoreError> {
        Ok(Self::saga_row(self, saga))
    }

    async fn folding(&self, saga: SagaId) -> Result<Option<(Entry, Loaded)>, StoreError> {
        let tables = self.tables();
        let first = tables.log_of(saga).first().map(|row| row.entry.clone());
        let row = tables.sagas.get(&saga).map(|(_, row)| row);
        let left = row.and_then(Loaded::tombstone_with_first);
        Ok(left.or_else(|| first.zip(tables.load(saga))))
    }

    async fn ended(
        &self,
        partition: u8,
        before: Timestamp,
        after: Option<EndedCursor>,
        limit: usize,
    ) -> Result<Vec<EndedCursor>, StoreError> {
        let tables = self.tables();
        let mut found: Vec<EndedCursor> = tables
            .sagas
            .values()
            .filter_map(|(_, row)| {
                let (saga, ended_at) = (row.saga, row.ended_at?);
                Some(EndedCursor { ended_at, saga })
            })
            .filter(|one| tables.rests(partition, one.saga, u64::MAX, before))
            .filter(|one| after.is_none_or(|after| *one > after))
            .collect();
        found.sort_unstable();
        found.truncate(page_rows(limit));
        Ok(found)
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        let tables = self.tables();
        let rows = tables.sagas.values().map(|(_, row)| row);
        let there = rows.filter(|row| row.purged.is_none() && row.status.ended());
        Ok(Sizes {
            events: u64::try_from(tables.triggers.events.len()).unwrap_or(u64::MAX),
            oldest_ended: there.filter_map(|row| row.ended_at).min(),
        })
    }

    async fn unserved(&self, limit: usize) -> Result<Unserved, StoreError> {
        let tables = self.tables();
        let mut waiting: Vec<(TaskType, SagaId)> = tables
            .unserved
            .iter()
            .map(|(_, task_type, saga)| (task_type.clone(), *saga))
            .collect();
        waiting.sort();
        let mut by_type: BTreeMap<TaskType, usize> = BTreeMap::new();
        for (task_type, _) in &waiting {
            let of = by_type.entry(task_type.clone()).or_default();
            *of = (*of + 1).min(UNSERVED_COUNTED_MAX);
        }
        waiting.truncate(limit);
        Ok(Unserved {
            by_type: by_type.into_iter().collect(),
            first: waiting,
        })
    }

    async fn entries(
        &self,
        saga: SagaId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Entry)>, StoreError> {
        let tables = self.tables();
        let rows = tables.log_of(saga).into_iter();
        Ok(rows
            .filter(|row| row.saga_seq + row.entry.records.len() as u64 > after)
            .take(limit)
            .map(|row| (row.saga_seq, row.entry.clone()))
            .collect())
    }

    async fn last_entries(&self, limit: usize) -> Result<LogEnd, StoreError> {
        let tables = self.tables();
        let rows = tables.log.values();
        let entries = rows.map(|row| (row.saga, row.entry.clone())).collect();
        let all = LogEnd {
            entries,
            ..LogEnd::default()
        };
        Ok(all.cut(limit))
    }

    async fn work_items(
        &self,
        open_only: bool,
        kind: Option<WorkItemKind>,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        let cursor = |view: &WorkItemView| WorkItemCursor {
            opened_at: view.item.opened_at,
            saga: view.saga,
            number: view.item.number,
        };
        let place = |of: WorkItemCursor| (of.opened_at, of.saga, of.number);
        let tables = self.tables();
        let mut found: Vec<WorkItemView> = tables
            .work_items
            .iter()
            .map(|((saga, _), (item, closed))| WorkItemView {
                saga: *saga,
                item: item.clone(),
                closed: closed.clone(),
            })
            .filter(|view| !open_only || view.closed.is_none())
            .filter(|view| kind.is_none_or(|kind| view.item.kind == kind))
            .filter(|view| after.is_none_or(|last| place(cursor(view)) > place(last)))
            .collect();
        found.sort_by_key(|view| place(cursor(view)));
        Ok(cut(found, limit, cursor))
    }

    async fn work_items_of(
        &self,
        filter: ItemFilter,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        let place = |of: WorkItemCursor| (of.opened_at, of.saga, of.number);
        let tables = self.tables();
        let open = tables.work_items.iter();
        let open = open.filter(|(_, (_, closed))| closed.is_none());
        let views = open.map(|((saga, _), (item, _))| WorkItemView {
            saga: *saga,
            item: item.clone(),
            closed: None,
        });
        let wanted = views.filter(|view| filter.takes(&view.item));
        let mut found: Vec<WorkItemView> = wanted
            .filter(|view| after.is_none_or(|last| place(filter.cursor(view)) > place(last)))
            .collect();
        found.sort_by_key(|view| place(filter.cursor(view)));
        Ok(cut(found, limit, |view| filter.cursor(view)))
    }

    async fn dead_letters_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut found = self.letter_rows();
        found.retain(|row| (first..=last).contains(&row.letter.id));
        found.truncate(2);
        Ok(found)
    }

    async fn dead_letter_heads_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut found = self.dead_letters_between(first, last).await?;
        for row in &mut found {
            row.letter.body.truncate(HEAD_BYTES_MAX);
        }
        Ok(found)
    }

    async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<LetterRow, DeadLetterCursor>, StoreError> {
        let mut found = self.letter_rows();
        let sagas = self.sagas_of(&found);
        found.retain(|row| {
            let place = (row.seen_at(), row.letter.id);
            let is_past = |last: DeadLetterCursor| match filter.oldest_first {
                true => place > (last.at, last.id),
                false => place < (last.at, last.id),
            };
            after.is_none_or(is_past) && fits(row, &filter, &sagas)
        });
        found.sort_by_key(|row| (row.seen_at(), row.letter.id));
        if !filter.oldest_first {
            found.reverse();
        }
        Ok(cut(found, limit, |row| DeadLetterCursor {
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
        let mut page = Reader::dead_letters(self, filter, after, limit).await?;
        for row in &mut page.rows {
            row.letter.body.truncate(HEAD_BYTES_MAX);
        }
        Ok(page)
    }

    async fn dead_letter_edits(&self, letter: Uuid) -> Result<Vec<EditRow>, StoreError> {
        let tables = self.tables();
        let own = tables.edits.range((letter, 0)..=(letter, u32::MAX));
        let bare = own.map(|(_, edit)| EditRow {
            body: None,
            ..edit.clone()
        });
        Ok(bare.collect())
    }

    async fn dead_letter_edit(
        &self,
        letter: Uuid,
        edition: u32,
    ) -> Result<Option<EditRow>, StoreError> {
        Ok(self.tables().edits.get(&(letter, edition)).cloned())
    }

    async fn dead_letter_history(
        &self,
        letter: Uuid,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let tables = self.tables();
        let all = tables.history.get(&letter).map_or(&[][..], Vec::as_slice);
        Ok(all[all.len().saturating_sub(limit)..].to_vec())
    }

    async fn dead_letters_of(
        &self,
        saga: SagaId,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let filter = DeadLetterFilter {
            saga: Some(saga),
            ..DeadLetterFilter::default()
        };
        let page = self.dead_letter_heads(filter, None, usize::MAX - 1).await?;
        let mut found = page.rows;
        found.sort_by_key(|row| std::cmp::Reverse((row.letter.at, row.letter.id)));
        found.truncate(limit);
        Ok(found)
    }

    async fn dead_letters_tried(&self, of: AttemptRef) -> Result<Vec<LetterRow>, StoreError> {
        let mut found = self.letter_rows();
        found.retain(|row| match &row.now.attempt {
            Some(minted) => minted.saga == of.saga && minted.key() == of.key(),
            None => {
                row.letter.saga == Some(of.saga)
                    && row.now.state == LetterState::Replaying
                    && row.now.sent_at.is_none()
            }
        });
        Ok(found)
    }

    async fn dead_letter_hours(
        &self,
        group: String,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, StoreError> {
        let mut hours: BTreeMap<Timestamp, u64> = BTreeMap::new();
        for row in self.letter_rows() {
            let hour = Timestamp(row.seen_at().0 / HOUR_MS * HOUR_MS);
            let own = row.now.state == LetterState::Dead && row.now.group == group;
            if own && hour.0 / HOUR_MS >= since.0 / HOUR_MS {
                *hours.entry(hour).or_default() += 1;
            }
        }
        Ok(hours.into_iter().collect())
    }

    async fn dead_letters_count(&self, filter: DeadLetterFilter) -> Result<u64, StoreError> {
        let mut found = self.letter_rows();
        let sagas = self.sagas_of(&found);
        found.retain(|row| fits(row, &filter, &sagas));
        Ok(found.len() as u64)
    }

    async fn dead_letters_newest(
        &self,
        state: LetterState,
        not_after: Timestamp,
    ) -> Result<Newest, StoreError> {
        let found = self.letter_rows();
        let there = || found.iter().filter(|row| row.now.state == state);
        let is_counted = |at: &Timestamp| *at <= not_after;
        let died = there().map(LetterRow::seen_at).filter(is_counted).max();
        let moved = there().filter_map(|row| row.now.changed_at);
        Ok(Newest::of(died, moved.filter(is_counted).max()))
    }

    async fn dead_letter_groups(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        let mut groups: BTreeMap<String, LetterGroup> = BTreeMap::new();
        for row in self.letter_rows() {
            if row.now.state != LetterState::Dead {
                continue;
            }
            let at = row.seen_at();
            let group = groups
                .entry(row.now.group.clone())
                .or_insert_with(|| LetterGroup {
                    group: row.now.group,
                    dead: 0,
                    first_at: at,
                    last_at: at,
                });
            group.dead += 1;
            group.first_at = group.first_at.min(at);
            group.last_at = group.last_at.max(at);
        }
        let is_after = |one: &LetterGroup| after.as_ref().is_none_or(|after| one.group > *after);
        Ok(groups.into_values().filter(is_after).take(limit).collect())
    }

    async fn dead_operations(
        &self,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<OperationRow, DeadLetterCursor>, StoreError> {
        let mut found: Vec<OperationRow> = self.tables().operations.values().cloned().collect();
        found.retain(|row| after.is_none_or(|last| (row.made_at, row.id) < (last.at, last.id)));
        found.sort_by_key(|row| std::cmp::Reverse((row.made_at, row.id)));
        Ok(cut(found, limit, |row| DeadLetterCursor {
            at: row.made_at,
            id: row.id,
        }))
    }

    async fn dead_operations_in(
        &self,
        state: OperationState,
        limit: usize,
    ) -> Result<Vec<OperationRow>, StoreError> {
        let tables = self.tables();
        let found = tables.operations.values().filter(|row| row.state == state);
        let mut found: Vec<OperationRow> = found.cloned().collect();
        found.sort_by_key(|row| std::cmp::Reverse((row.made_at, row.id)));
        found.truncate(limit);
        Ok(found)
    }

    async fn dead_operation(&self, id: Uuid) -> Result<Option<OperationRow>, StoreError> {
        Ok(self.tables().operations.get(&id).cloned())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(Self::counts(self))
    }

    async fn definitions(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        Ok(self.tables().definitions.values().cloned().collect())
    }

    async fn manifests(&self) -> Result<Vec<Manifest>, StoreError> {
        Ok(self.tables().manifests.values().cloned().collect())
    }

    async fn definition(
        &self,
        name: String,
        version: u32,
    ) -> Result<Option<DefinitionRow>, StoreError> {
        Ok(self.tables().definitions.get(&(name, version)).cloned())
    }

    async fn events(
        &self,
        kind: Option<String>,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<Page<EventRow, EventCursor>, StoreError> {
        let tables = self.tables();
        let mut found: Vec<EventRow> = tables.triggers.events.clone();
        found.retain(|row| kind.as_ref().is_none_or(|kind| row.event.kind == *kind));
        found.retain(|row| {
            after.is_none_or(|last| (row.received_at, row.seq) < (last.received_at, last.seq))
        });
        found.sort_by_key(|row| std::cmp::Reverse((row.received_at, row.seq)));
        Ok(cut(found, limit, |row| EventCursor {
            received_at: row.received_at,
            seq: row.seq,
        }))
    }

    async fn event(&self, source: String, id: String) -> Result<Option<EventRow>, StoreError> {
        let tables = self.tables();
        let mut events = tables.triggers.events.iter();
        Ok(events
            .find(|row| row.event.source == source && row.event.id == id)
            .cloned())
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        Ok(self.tables().triggers.schedules.values().cloned().collect())
    }
}

fn fits(row: &LetterRow, filter: &DeadLetterFilter, sagas: &BTreeMap<SagaId, SagaRow>) -> bool {
    let (seen_at, row, now) = (row.seen_at(), &row.letter, &row.now);
    let about = facets_of(row);
    let of_saga = row.saga.and_then(|saga| sagas.get(&saga));
    let DeadLetterFilter {
        reason,
        queue,
        kind,
        saga,
        from,
        until,
        text,
        state,
        group,
        changed_until,
        error,
        pool,
        task_type,
        event_type,
        definition,
        worker,
        replays,
        label,
        operation,
        ids,
        oldest_first: _,
    } = filter;
    let runs = |name: &String| of_saga.is_some_and(|saga| saga.definition == *name);
    let labelled = |(name, value): &(String, String)| {
        of_saga.is_some_and(|saga| saga.labels.get(name) == Some(value))
    };
    let all_replays = now.replays.saturating_add(about.replays_before);
    let has = |text: &String| {
        let in_body = |text: &[u8]| row.body.windows(text.len()).any(|part| part == text);
        row.error.contains(text.as_str()) || text.is_empty() || in_body(text.as_bytes())
    };
    (ids.is_empty() || ids.contains(&row.id))
        && reason.is_none_or(|reason| row.reason == reason)
        && queue.as_ref().is_none_or(|queue| row.queue == *queue)
        && (kind.is_none() || row.kind == *kind)
        && (saga.is_none() || row.saga == *saga)
        && from.is_none_or(|from| seen_at >= from)
        && until.is_none_or(|until| seen_at <= until)
        && text.as_ref().is_none_or(has)
        && state.is_none_or(|state| now.state == state)
        && group.as_ref().is_none_or(|group| now.group == *group)
        && changed_until.is_none_or(|until| now.changed_at.is_none_or(|at| at <= until))
        && error
            .as_ref()
            .is_none_or(|text| row.error.contains(text.as_str()))
        && (pool.is_none() || about.pool == *pool)
        && (task_type.is_none() || about.task_type == *task_type)
        && (event_type.is_none() || about.event_type == *event_type)
        && (worker.is_none() || about.worker == *worker)
        && definition
            .as_ref()
            .is_none_or(|name| about.definition.as_ref() == Some(name) || runs(name))
        && replays.is_none_or(|least| all_replays >= least)
        && label.as_ref().is_none_or(labelled)
        && (operation.is_none() || now.operation == *operation)
}
