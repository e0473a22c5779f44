//! A batch as the arrays that `commit_batch_12` takes: the log column by column, of all else one type for each kind of row. What a batch says of one row several times
//! is folded here: the database is told of each row once.

use std::collections::{BTreeMap, HashMap, HashSet};

use baton_driver::{
    Batch, ColdRow, DeadLetterRow, LogRow, PurgeRow, SagaRow, SnapshotRow, SubscriptionChange,
    SubscriptionRow, UnsentRow, WorkItemRow,
};
use baton_engine::WorkItem;
use baton_messages::{SagaId, StepId, TaskType, Timestamp};
use postgres_types::ToSql;
use serde::Serialize;
use uuid::Uuid;

use super::columns::{int, label_key, owned};
use super::numbers::Numbers;
use super::{owed, reservations};
use crate::facets::facets_of;
use crate::group::group_of;
use crate::items::{escalations, whose};

#[derive(Debug, ToSql)]
#[postgres(name = "batch_saga_12")]
pub(crate) struct Saga {
    number: Option<i64>,
    id: Uuid,
    slice: i16,
    definition: String,
    version: i64,
    status: &'static str,
    active: bool,
    paused: bool,
    labels: String,
    label_keys: Vec<Uuid>,
    started_by: String,
    started_at: i64,
    changed_at: i64,
    ended_at: Option<i64>,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_cold")]
pub(crate) struct Cold {
    saga: Uuid,
    cold: bool,
    wake_at: Option<i64>,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_snapshot")]
pub(crate) struct Snapshot {
    saga: Uuid,
    seq: i64,
    version: i64,
    state: String,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_unsent")]
pub(crate) struct Unsent {
    id: Uuid,
    saga: Uuid,
    since: i64,
    attempt: String,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_unserved")]
pub(crate) struct Unserved {
    task_type: String,
    saga: Uuid,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_step")]
pub(crate) struct Step {
    saga: Uuid,
    step: String,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_subscription")]
pub(crate) struct Subscription {
    saga: Uuid,
    step: String,
    event: String,
    since: i64,
    searched: bool,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_item")]
pub(crate) struct Item {
    saga: Uuid,
    number: i64,
    opened_at: i64,
    kind: String,
    owner: String,
    item: String,
    closed_at: Option<i64>,
    closed_by: Option<String>,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_closing")]
pub(crate) struct Closing {
    saga: Uuid,
    number: i64,
    closed_at: i64,
    closed_by: String,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_letter_5")]
pub(crate) struct Letter {
    id: Uuid,
    at: i64,
    reason: String,
    error: String,
    queue: String,
    exchange: String,
    key: String,
    message_id: Option<String>,
    kind: Option<String>,
    saga: Option<Uuid>,
    properties: String,
    body: Vec<u8>,
    grp: String,
    pool: Option<String>,
    task_type: Option<String>,
    event_type: Option<String>,
    definition: Option<String>,
    worker: Option<String>,
    replays_before: i64,
}

#[derive(Debug, ToSql)]
#[postgres(name = "batch_purge")]
pub(crate) struct Purge {
    saga: Uuid,
    log_seq: i64,
    ended_before: i64,
    purged_at: i64,
    archive: Option<String>,
}

/// One kind of row; none where a batch has none of it: an array that is null costs neither side anything, and most of them are.
pub(crate) type Array<T> = Option<Vec<T>>;

fn array<T>(rows: Vec<T>) -> Array<T> {
    (!rows.is_empty()).then_some(rows)
}

/// What a batch writes, beside its fence.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) sagas: Sagas,
    pub(crate) log: Log,
    pub(crate) cold: Array<Cold>,
    pub(crate) snapshots: Array<Snapshot>,
    pub(crate) unsent_gone: Array<Uuid>,
    pub(crate) unsent: Array<Unsent>,
    pub(crate) unserved_gone: Array<Unserved>,
    pub(crate) unserved: Array<Unserved>,
    pub(crate) steps_gone: Array<Step>,
    pub(crate) steps: Array<Subscription>,
    pub(crate) steps_searched: Array<Step>,
    pub(crate) items_closed: Array<Closing>,
    pub(crate) items: Array<Item>,
    pub(crate) letters: Array<Letter>,
    /// What else of work items changes, as JSON; none where nothing does.
    pub(crate) items_changed: Option<String>,
    /// As JSON; none where nothing changes.
    pub(crate) reservations: Option<String>,
    /// What changes of what is owed, as JSON; none where nothing does.
    pub(crate) owed: Option<String>,
    pub(crate) purged: Array<Purge>,
}

impl Rows {
    /// The arrays of a batch. Its sagas that are not there (`absent`) get numbers of `numbers`, which has as many to give ([`starting`]).
    ///
    /// # Errors
    /// When a value cannot be JSON.
    pub(crate) fn of(
        batch: Batch,
        absent: &HashSet<Uuid>,
        numbers: &mut Numbers,
    ) -> serde_json::Result<Self> {
        let items = Items::of(batch.work_items)?;
        let steps = Steps::of(batch.subscriptions);
        let mut sagas = Sagas::of(batch.sagas, absent, numbers)?;
        let numbers: &Numbers = numbers;
        let cold = last(batch.cold, |row| row.saga);
        let evicted = cold.iter().filter(|row| row.cold);
        sagas.gone.extend(evicted.map(|row| row.saga.0));
        let log = Log::of(batch.rows, |saga| sagas.number(saga, numbers))?;
        let sent_again = batch.unsent_remove.iter();
        Ok(Self {
            sagas,
            log,
            cold: array(cold.into_iter().map(self::cold).collect()),
            snapshots: array(each(last(batch.snapshots, |row| row.saga), snapshot)?),
            unsent_gone: array(sent_again.map(|of| of.message_id().0).collect()),
            unsent: array(each(batch.unsent_add, unsent)?),
            unserved_gone: array(batch.unserved_remove.into_iter().map(unserved).collect()),
            unserved: array(batch.unserved_add.into_iter().map(unserved).collect()),
            steps_gone: array(steps.gone),
            steps: array(steps.new),
            steps_searched: array(steps.searched),
            items_changed: items.changes()?,
            items_closed: array(items.closed),
            items: array(items.new),
            letters: array(each(batch.dead_letters, letter)?),
            reservations: reservations::changes(&batch.reservations)?,
            owed: owed::changes(&batch.owed_remove, &batch.owed_add)?,
            purged: array(batch.purged.into_iter().map(purge).collect()),
        })
    }
}

fn each<A, B>(rows: Vec<A>, of: impl Fn(A) -> serde_json::Result<B>) -> serde_json::Result<Vec<B>> {
    rows.into_iter().map(of).collect()
}

/// What is said last of each row counts.
fn last<T>(rows: Vec<T>, saga: impl Fn(&T) -> SagaId) -> Vec<T> {
    if rows.len() < 2 {
        return rows;
    }
    let mut kept: BTreeMap<SagaId, T> = BTreeMap::new();
    for row in rows {
        kept.insert(saga(&row), row);
    }
    kept.into_values().collect()
}

/// How many numbers a batch needs at most: as many as it has rows of sagas that are not there.
pub(crate) fn starting(batch: &Batch, absent: &HashSet<Uuid>) -> usize {
    let rows = batch.sagas.iter();
    rows.filter(|row| absent.contains(&row.saga.0)).count()
}

/// The rows of sagas, by what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Sagas {
    /// Those that start, under the numbers they were given.
    pub(crate) new: Array<Saga>,
    /// Those that are there, and under which number.
    pub(crate) known: Array<Saga>,
    /// Those of which the database has to be asked.
    pub(crate) others: Array<Saga>,
    /// The numbers that were given; they are the sagas' when the batch is committed.
    given: HashMap<Uuid, i64>,
    /// Those of which nothing more is to come: they ended, or leave memory.
    gone: Vec<Uuid>,
}

impl Sagas {
    fn of(
        rows: Vec<SagaRow>,
        absent: &HashSet<Uuid>,
        numbers: &mut Numbers,
    ) -> serde_json::Result<Self> {
        let mut all = Self::default();
        let (mut new, mut known, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for row in last(rows, |row| row.saga) {
            let id = row.saga.0;
            if row.status.ended() {
                all.gone.push(id);
            }
            if let Some(number) = numbers.of(id) {
                known.push(saga(row, Some(number))?);
            } else if absent.contains(&id)
                && let Some(number) = numbers.give()
            {
                all.given.insert(id, number);
                new.push(saga(row, Some(number))?);
            } else {
                others.push(saga(row, None)?);
            }
        }
        (all.new, all.known, all.others) = (array(new), array(known), array(others));
        Ok(all)
    }

    /// The number of a saga that is there when the batch is, if it is known.
    fn number(&self, saga: Uuid, numbers: &Numbers) -> Option<i64> {
        let given = self.given.get(&saga).copied();
        given.or_else(|| numbers.of(saga))
    }

    /// The batch is committed.
    pub(crate) fn note(self, numbers: &mut Numbers) {
        for (saga, number) in self.given {
            numbers.note(saga, Some(number));
        }
        for saga in self.gone {
            numbers.note(saga, None);
        }
    }
}

fn saga(row: SagaRow, number: Option<i64>) -> serde_json::Result<Saga> {
    Ok(Saga {
        number,
        id: row.saga.0,
        slice: i16::from(row.slice.0),
        definition: owned(&row.definition),
        version: i64::from(row.version),
        status: row.status.as_str(),
        active: !row.status.ended(),
        paused: row.paused,
        labels: serde_json::to_string(&row.labels)?,
        label_keys: row
            .labels
            .iter()
            .map(|(name, value)| label_key(name, value))
            .collect(),
        started_by: owned(&row.by),
        started_at: int(row.started_at.0),
        changed_at: int(row.changed_at.0),
        ended_at: row.ended_at.map(|at| int(at.0)),
    })
}

/// The rows of the log, column by column.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) log_seqs: Array<i64>,
    pub(crate) numbers: Array<Option<i64>>,
    /// Where the number is not known; none where all are.
    pub(crate) ids: Array<Option<Uuid>>,
    pub(crate) saga_seqs: Array<i64>,
    pub(crate) entries: Array<String>,
}

impl Log {
    fn of(rows: Vec<LogRow>, number: impl Fn(Uuid) -> Option<i64>) -> serde_json::Result<Self> {
        let many = rows.len();
        let (mut log_seqs, mut saga_seqs) = (Vec::with_capacity(many), Vec::with_capacity(many));
        let (mut numbers, mut ids) = (Vec::with_capacity(many), Vec::with_capacity(many));
        let mut entries = Vec::with_capacity(many);
        for row in rows {
            let number = number(row.saga.0);
            log_seqs.push(int(row.log_seq));
            numbers.push(number);
            ids.push(number.is_none().then_some(row.saga.0));
            saga_seqs.push(int(row.saga_seq));
            entries.push(serde_json::to_string(&row.entry)?);
        }
        let all_known = ids.iter().all(Option::is_none);
        Ok(Self {
            log_seqs: array(log_seqs),
            numbers: array(numbers),
            ids: (!all_known).then_some(ids),
            saga_seqs: array(saga_seqs),
            entries: array(entries),
        })
    }
}

fn cold(row: ColdRow) -> Cold {
    Cold {
        saga: row.saga.0,
        cold: row.cold,
        wake_at: row.wake_at.filter(|_| row.cold).map(|at| int(at.0)),
    }
}

fn snapshot(row: SnapshotRow) -> serde_json::Result<Snapshot> {
    Ok(Snapshot {
        saga: row.saga.0,
        seq: int(row.seq),
        version: i64::from(row.version),
        state: serde_json::to_string(&row.state)?,
    })
}

fn unsent(row: UnsentRow) -> serde_json::Result<Unsent> {
    Ok(Unsent {
        id: row.of.message_id().0,
        saga: row.of.saga.0,
        since: int(row.since.0),
        attempt: serde_json::to_string(&row.of)?,
    })
}

fn unserved((task_type, saga): (TaskType, SagaId)) -> Unserved {
    Unserved {
        task_type: task_type.as_str().to_owned(),
        saga: saga.0,
    }
}

fn letter(row: DeadLetterRow) -> serde_json::Result<Letter> {
    let about = facets_of(&row);
    let text = |text: Option<String>| text.as_deref().map(owned);
    Ok(Letter {
        grp: group_of(&row, &about),
        pool: text(about.pool),
        task_type: text(about.task_type),
        event_type: text(about.event_type),
        definition: text(about.definition),
        worker: text(about.worker),
        replays_before: i64::from(about.replays_before),
        id: row.id,
        at: int(row.at.0),
        reason: owned(row.reason.as_str()),
        error: owned(&row.error),
        queue: owned(&row.queue),
        exchange: owned(&row.exchange),
        key: owned(&row.key),
        message_id: row.message_id.as_deref().map(owned),
        kind: row.kind.as_deref().map(owned),
        saga: row.saga.map(|saga| saga.0),
        properties: serde_json::to_string(&row.properties)?,
        body: row.body,
    })
}

fn purge(row: PurgeRow) -> Purge {
    Purge {
        saga: row.saga.0,
        log_seq: int(row.log_seq),
        ended_before: int(row.ended_before.0),
        purged_at: int(row.purged.at.0),
        archive: row.purged.archive.as_deref().map(owned),
    }
}

/// What a batch's changes of subscriptions come to.
#[derive(Debug, Default)]
struct Steps {
    gone: Vec<Step>,
    new: Vec<Subscription>,
    searched: Vec<Step>,
}

enum Fate {
    Gone,
    New(SubscriptionRow, bool),
    Searched,
}

impl Steps {
    fn of(changes: Vec<SubscriptionChange>) -> Self {
        let mut fates: BTreeMap<(SagaId, StepId), Fate> = BTreeMap::new();
        for change in changes {
            match change {
                SubscriptionChange::Add(row) => {
                    fates.insert((row.saga, row.step.clone()), Fate::New(row, false));
                }
                SubscriptionChange::Remove(saga, step) => {
                    fates.insert((saga, step), Fate::Gone);
                }
                SubscriptionChange::Searched(saga, step) => {
                    match fates.entry((saga, step)).or_insert(Fate::Searched) {
                        Fate::New(_, searched) => *searched = true,
                        Fate::Gone | Fate::Searched => {}
                    }
                }
            }
        }
        let mut all = Self::default();
        for ((saga, step), fate) in fates {
            let key = Step {
                saga: saga.0,
                step: step.as_str().to_owned(),
            };
            match fate {
                Fate::Gone => all.gone.push(key),
                Fate::Searched => all.searched.push(key),
                Fate::New(row, searched) => all.new.push(Subscription {
                    saga: key.saga,
                    step: key.step,
                    event: row.event.as_str().to_owned(),
                    since: int(row.since.0),
                    searched,
                }),
            }
        }
        all
    }
}

/// What a batch's changes of work items come to. Those that are closed were there before, unless they are closed as they are opened.
#[derive(Debug, Default)]
struct Items {
    closed: Vec<Closing>,
    new: Vec<Item>,
    /// What else of them changes, by saga and number: whose they are, by when, to how many they were escalated.
    changed: BTreeMap<(Uuid, u32), WorkItem>,
}

/// A work item whose own columns are to be written, as `change_work_items` reads it.
#[derive(Debug, Serialize)]
struct ChangedItem<'i> {
    saga: Uuid,
    number: u32,
    item: &'i str,
    assignee: String,
    due_at: Option<i64>,
    escalated: u32,
}

impl Items {
    fn of(changes: Vec<WorkItemRow>) -> serde_json::Result<Self> {
        let mut all = Self::default();
        for change in changes {
            match change {
                WorkItemRow::Open { saga, item } => {
                    all.new.push(item_row(saga, &item)?);
                    // most belong to nobody, are due at no time, and cost nothing more
                    if item.assignee.is_some() || item.due_at.is_some() {
                        all.changed.insert((saga.0, item.number), *item);
                    }
                }
                WorkItemRow::Change { saga, item } => {
                    all.changed.insert((saga.0, item.number), *item);
                }
                WorkItemRow::Close {
                    saga,
                    number,
                    by,
                    at,
                } => all.close(saga, number, &by, at),
            }
        }
        Ok(all)
    }

    /// What `change_work_items` is to write, as JSON; none where it changes nothing.
    ///
    /// # Errors
    /// When an item cannot be JSON.
    fn changes(&self) -> serde_json::Result<Option<String>> {
        if self.changed.is_empty() {
            return Ok(None);
        }
        let items = self.changed.values().map(serde_json::to_string);
        let items: Vec<String> = items.collect::<serde_json::Result<_>>()?;
        let all = self.changed.iter().zip(&items);
        let all: Vec<ChangedItem<'_>> = all
            .map(|(((saga, number), of), item)| ChangedItem {
                saga: *saga,
                number: *number,
                item,
                assignee: owned(whose(of)),
                due_at: of.due_at.map(|at| int(at.0)),
                escalated: escalations(of),
            })
            .collect();
        serde_json::to_string(&all).map(Some)
    }

    /// Who closes it first has closed it.
    fn close(&mut self, saga: SagaId, number: u32, by: &str, at: Timestamp) {
        let (saga, number, at) = (saga.0, i64::from(number), int(at.0));
        if let Some(new) = self
            .new
            .iter_mut()
            .find(|new| (new.saga, new.number) == (saga, number))
        {
            if new.closed_at.is_none() {
                (new.closed_at, new.closed_by) = (Some(at), Some(owned(by)));
            }
            return;
        }
        let known = |one: &Closing| (one.saga, one.number) == (saga, number);
        if !self.closed.iter().any(known) {
            self.closed.push(Closing {
                saga,
                number,
                closed_at: at,
                closed_by: owned(by),
            });
        }
    }
}

fn item_row(saga: SagaId, item: &WorkItem) -> serde_json::Result<Item> {
    Ok(Item {
        saga: saga.0,
        number: i64::from(item.number),
        opened_at: int(item.opened_at.0),
        kind: kind_word(item.kind)?,
        owner: owned(&item.owner),
        item: serde_json::to_string(item)?,
        closed_at: None,
        closed_by: None,
    })
}

/// A kind of work item, as it stands in the item's own JSON.
pub(crate) fn kind_word(kind: baton_engine::WorkItemKind) -> serde_json::Result<String> {
    let word = serde_json::to_value(kind)?;
    Ok(word.as_str().unwrap_or_default().to_owned())
}
