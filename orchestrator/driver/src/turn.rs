//! One turn: gather what there is, load what is missing, decide all of it, commit once, hand over what follows. The order is the promise:
//! nothing leaves before its row is committed, and the caller acknowledges only after this returned.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use baton_engine::command::{attempt_ref, commands};
use baton_engine::record::AttemptKey;
use baton_engine::state::{SNAPSHOT_VERSION, Stage};
use baton_engine::{
    Command, Decision, Definition, Entry, Input, Record, Refusal, Rules, SagaState, Verdict, decide,
};
use baton_messages::{
    AttemptRef, DeadReason, InputId, RunId, SagaId, Slice, TaskMessage, TaskType, Timestamp,
};
use uuid::Uuid;

use crate::batch::{
    Batch, ColdRow, DeadLetterRow, LogRow, SagaRow, SnapshotRow, UnsentRow, WorkItemRow,
};
use crate::cache::{Cached, waits_for};
use crate::driver::{Driver, DriverError};
use crate::flight::Flying;
use crate::outlet::{Outgoing, Outlet, Ticket};
use crate::recover::LOAD_CHUNK;
use crate::store::{CommitError, Store};
use crate::work::{Answer, Token, Work};

/// Things of the driver's own (returns, resends, timers) taken into one turn: as many as inbox inputs, so that neither starves the other.
const OWN_MAX: usize = 512;
/// Sagas evicted in one turn: a sweep of many idle sagas must not hold up those that are not.
const EVICT_MAX: usize = 256;

/// Where a piece of a turn comes from.
#[derive(Debug, Clone)]
enum Origin {
    /// The caller wants an answer.
    Caller(Token),
    /// The driver's own; it takes care of a command of a row, or of an unsent sending.
    Own {
        settles: Option<u64>,
        unsent: Option<AttemptRef>,
    },
}

/// One thing to decide.
#[derive(Debug, Clone)]
struct Item {
    origin: Origin,
    saga: Option<SagaId>,
    input: Option<Box<Input>>,
    letter: Option<Box<DeadLetterRow>>,
}

/// What one decided item adds to the commit.
#[derive(Debug, Default)]
struct Built {
    row: Option<(SagaId, u64, Entry)>,
    commands: Vec<Command>,
    saga_row: Option<SagaRow>,
    work_items: Vec<WorkItemRow>,
    unsent_add: Option<UnsentRow>,
    unsent_remove: Option<AttemptRef>,
    unserved_add: Vec<TaskType>,
    unserved_remove: Vec<TaskType>,
    letter: Option<Box<DeadLetterRow>>,
    claimed: Vec<(AttemptRef, RunId, u64)>,
    closed: Vec<RunId>,
    settles: Option<u64>,
    answer: Option<Answer>,
}

impl<S: Store, O: Outlet> Driver<S, O> {
    /// Decides and commits `work`, and with it whatever of the driver's own is due. After `Ok`, acknowledge what is behind the tokens and
    /// answer who waits. Chance for backoffs is drawn from `entropy`.
    ///
    /// # Errors
    /// [`DriverError`]: nothing was answered; acknowledge nothing.
    pub async fn turn(
        &mut self,
        work: Vec<Work>,
        now: Timestamp,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        if self.lost {
            return Err(DriverError::NotRecovered {
                partition: self.options.partition,
            });
        }
        // Until this turn is known to be committed, what is in memory is ahead of the store.
        self.lost = true;
        self.now = self.now.max(now);
        let items = self.gather(work).await?;
        let answers = self.attempt(items, entropy).await?;
        self.lost = false;
        Ok(answers)
    }

    /// Writes the watermark by itself, for an orderly end.
    ///
    /// # Errors
    /// As [`Driver::turn`].
    pub async fn write_watermark(&mut self, now: Timestamp) -> Result<(), DriverError> {
        self.now = self.now.max(now);
        if self.lost || self.flight.watermark() == self.watermark_written {
            return Ok(());
        }
        self.lost = true;
        self.commit(Batch {
            watermark: self.flight.watermark(),
            ..self.empty()
        })
        .await?;
        self.lost = false;
        Ok(())
    }

    fn empty(&self) -> Batch {
        Batch {
            partition: self.options.partition,
            epoch: self.options.epoch,
            ..Batch::default()
        }
    }

    /// What there is to decide: the driver's own first, since it makes room.
    async fn gather(&mut self, work: Vec<Work>) -> Result<Vec<Item>, DriverError> {
        let mut items = Vec::with_capacity(work.len() + 16);
        self.gather_own(&mut items);
        self.gather_unserved(&mut items).await?;
        self.gather_cold().await?;
        let missing: BTreeSet<SagaId> = items
            .iter()
            .filter_map(|item| item.saga)
            .chain(work.iter().filter_map(needed))
            .filter(|saga| self.cache.get(*saga).is_none())
            .collect();
        let missing: Vec<SagaId> = missing.into_iter().collect();
        for chunk in missing.chunks(LOAD_CHUNK) {
            self.load(chunk.to_vec(), self.now).await?;
        }
        self.gather_timers(&mut items);
        items.extend(work.into_iter().map(|work| match work {
            Work::Saga { token, saga, input } => Item {
                origin: Origin::Caller(token),
                saga: Some(saga),
                input: Some(input),
                letter: None,
            },
            Work::Dead {
                token,
                letter,
                input,
            } => {
                let (saga, input) =
                    input.map_or((None, None), |(saga, input)| (Some(saga), Some(input)));
                Item {
                    origin: Origin::Caller(token),
                    saga,
                    input,
                    letter: Some(letter),
                }
            }
        }));
        Ok(items)
    }

    fn gather_own(&mut self, items: &mut Vec<Item>) {
        let take = self.own.len().min(OWN_MAX);
        for own in self.own.drain(..take) {
            items.push(Item {
                origin: Origin::Own {
                    settles: own.settles,
                    unsent: own.unsent,
                },
                saga: Some(own.saga),
                input: Some(Box::new(own.input)),
                letter: None,
            });
        }
        if !self.bus_up || !self.flight.has_room() {
            return;
        }
        let due: Vec<AttemptRef> = self
            .unsent
            .iter()
            .filter(|(_, at)| **at <= self.now)
            .map(|(of, _)| of.clone())
            .take(OWN_MAX)
            .collect();
        for of in due {
            self.unsent.remove(&of);
            items.push(Item {
                origin: Origin::Own {
                    settles: None,
                    unsent: Some(of.clone()),
                },
                saga: Some(of.saga),
                input: Some(Box::new(Input::Resend(of))),
                letter: None,
            });
        }
    }

    /// The next page of sagas that wait for a type somebody serves now.
    async fn gather_unserved(&mut self, items: &mut Vec<Item>) -> Result<(), DriverError> {
        if !self.flight.has_room() {
            return Ok(());
        }
        let Some((task_type, after)) = self.serving.pop_front() else {
            return Ok(());
        };
        let partition = self.options.partition;
        let page = self
            .store
            .unserved(partition, task_type.clone(), after, LOAD_CHUNK)
            .await
            .map_err(|source| DriverError::Read { partition, source })?;
        if page.is_empty() && after.is_none() {
            self.unserved.remove(&task_type);
        }
        if page.len() == LOAD_CHUNK {
            self.serving
                .push_front((task_type.clone(), page.last().copied()));
        }
        items.extend(page.into_iter().map(|saga| Item {
            origin: Origin::Own {
                settles: None,
                unsent: None,
            },
            saga: Some(saga),
            input: Some(Box::new(Input::TypeServed(task_type.clone()))),
            letter: None,
        }));
        Ok(())
    }

    /// Evicted sagas whose time has come are read into memory; their timers are then found like everybody's.
    async fn gather_cold(&mut self) -> Result<(), DriverError> {
        if self.cold_wake.is_none_or(|at| at > self.now) {
            return Ok(());
        }
        let partition = self.options.partition;
        let (due, next) = self
            .store
            .cold_due(partition, self.now, LOAD_CHUNK)
            .await
            .map_err(|source| DriverError::Read { partition, source })?;
        self.cold_wake = next;
        let missing: Vec<SagaId> = due
            .into_iter()
            .filter(|saga| self.cache.get(*saga).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.load(missing, self.now).await
    }

    fn gather_timers(&self, items: &mut Vec<Item>) {
        for saga in self.cache.due(self.now, OWN_MAX) {
            let Some(cached) = self.cache.get(saga) else {
                continue;
            };
            items.extend(
                cached
                    .state
                    .due_timers(self.now)
                    .into_iter()
                    .map(|key| Item {
                        origin: Origin::Own {
                            settles: None,
                            unsent: None,
                        },
                        saga: Some(saga),
                        input: Some(Box::new(Input::TimerFired(key))),
                        letter: None,
                    }),
            );
        }
    }

    /// Decides and commits; what cannot be decided or stored is separated from what can.
    async fn attempt(
        &mut self,
        items: Vec<Item>,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        match self.decide_all(&items, entropy) {
            Ok(built) => match self.commit_built(built).await {
                Err(DriverError::Lost {
                    source: CommitError::Data { .. },
                    ..
                }) => self.one_by_one(items, entropy).await,
                done => done,
            },
            Err(broken) => {
                tracing::error!(saga.id = %broken.saga, error = %broken.why, "could not decide an input; its batch is decided one by one");
                self.one_by_one(items, entropy).await
            }
        }
    }

    /// After a batch failed on its content: every item by itself, so that its neighbours are unharmed.
    async fn one_by_one(
        &mut self,
        items: Vec<Item>,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        let mut answers = Vec::with_capacity(items.len());
        self.forget(&items).await?;
        for (n, item) in items.into_iter().enumerate() {
            let chance = entropy.wrapping_add(n as u64);
            let (saga, origin) = (item.saga, item.origin.clone());
            let failed = match self.decide_all(std::slice::from_ref(&item), chance) {
                Ok(built) => match self.commit_built(built).await {
                    Ok(answered) => {
                        answers.extend(answered);
                        continue;
                    }
                    Err(DriverError::Lost {
                        source: source @ CommitError::Data { .. },
                        ..
                    }) => source.to_string(),
                    Err(error) => return Err(error),
                },
                Err(broken) => broken.why,
            };
            self.forget(std::slice::from_ref(&item)).await?;
            let Some(saga) = saga else { continue };
            let broken = self.broken(saga, origin, &item, &failed);
            let built = self
                .decide_all(&[broken], chance)
                .map_err(|again| DriverError::Fold {
                    partition: self.options.partition,
                    saga: again.saga,
                    why: again.why,
                })?;
            answers.extend(self.commit_built(built).await?);
        }
        Ok(answers)
    }

    /// Reads the sagas of these items anew: their states in memory are not to be used.
    async fn forget(&mut self, items: &[Item]) -> Result<(), DriverError> {
        let sagas: BTreeSet<SagaId> = items.iter().filter_map(|item| item.saga).collect();
        for saga in &sagas {
            self.cache.remove(*saga);
        }
        let sagas: Vec<SagaId> = sagas.into_iter().collect();
        for chunk in sagas.chunks(LOAD_CHUNK) {
            self.load(chunk.to_vec(), self.now).await?;
        }
        Ok(())
    }

    /// In place of an item that cannot be decided: the saga is parked, and the input kept as a dead letter.
    fn broken(&self, saga: SagaId, origin: Origin, item: &Item, why: &str) -> Item {
        let body = item
            .input
            .as_ref()
            .and_then(|input| serde_json::to_vec(input).ok())
            .unwrap_or_default();
        let id = Uuid::new_v5(&saga.0, &body);
        let letter = DeadLetterRow {
            id,
            at: self.now,
            reason: DeadReason::Other,
            error: format!("could not be decided: {why}"),
            queue: String::new(),
            exchange: String::new(),
            key: String::new(),
            message_id: None,
            kind: item
                .input
                .as_ref()
                .map(|input| format!("input/{}", input.kind())),
            saga: Some(saga),
            properties: serde_json::Value::Null,
            body,
        };
        // Of a letter that came from outside the original is kept; the input is only what we read from it.
        let letter = item.letter.clone().unwrap_or_else(|| Box::new(letter));
        let known = self.cache.get(saga).is_some();
        let input = known.then(|| {
            Box::new(Input::Broken {
                id: InputId(id),
                error: why.into(),
            })
        });
        Item {
            origin,
            saga: Some(saga),
            input,
            letter: Some(letter),
        }
    }

    fn decide_all(&mut self, items: &[Item], entropy: u64) -> Result<Vec<Built>, Undecided> {
        let mut all = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let chance = entropy.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            all.push(self.decide_one(item, chance)?);
        }
        Ok(all)
    }

    fn decide_one(&mut self, item: &Item, entropy: u64) -> Result<Built, Undecided> {
        let mut built = Built {
            letter: item.letter.clone(),
            ..Built::default()
        };
        let verdict = match (item.saga, &item.input) {
            (Some(saga), Some(input)) => self.decide_input(saga, input, entropy, &mut built)?,
            _ => Verdict::Applied,
        };
        match &item.origin {
            Origin::Caller(token) => {
                built.answer = Some(Answer {
                    token: *token,
                    saga: item.saga,
                    verdict,
                })
            }
            Origin::Own { settles, unsent } => {
                built.settles = *settles;
                built.unsent_remove.clone_from(unsent);
            }
        }
        if let Some(Input::TaskUnconfirmed { of, .. }) = item.input.as_deref()
            && built.row.is_some()
        {
            built.unsent_add = Some(UnsentRow {
                of: of.clone(),
                since: self.now,
            });
        }
        Ok(built)
    }

    fn decide_input(
        &mut self,
        saga: SagaId,
        input: &Input,
        entropy: u64,
        built: &mut Built,
    ) -> Result<Verdict, Undecided> {
        let Some(definition) = self.rules_for(saga, input) else {
            let refusal = match input {
                Input::Start(start) => Refusal::NoSuch {
                    what: format!("definition {}", start.definition),
                },
                _ => Refusal::NoSaga,
            };
            return Ok(Verdict::Refused(refusal));
        };
        if self.cache.get(saga).is_none() {
            self.cache.insert(
                saga,
                Cached::new(Box::new(SagaState::new(saga)), None, false, self.now),
            );
            self.visitors.insert(saga);
        }
        let rules = Rules {
            definition: &definition,
            catalogue: &self.catalogue,
        };
        let now = self.now;
        let Some(cached) = self.cache.get_mut(saga) else {
            return Err(Undecided {
                saga,
                why: "its state left memory within a turn".into(),
            });
        };
        let state = &mut cached.state;
        let before = (state.status, state.paused, state.seq);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(rules, state, input, now, entropy)
        }));
        let Decision { records, verdict } = match decided {
            Ok(Ok(decision)) => decision,
            Ok(Err(error)) => {
                return Err(Undecided {
                    saga,
                    why: chain(&error),
                });
            }
            Err(panic) => {
                return Err(Undecided {
                    saga,
                    why: format!("panicked: {}", panic_text(&*panic)),
                });
            }
        };
        cached.touched = now;
        if records.is_empty() {
            return Ok(verdict);
        }
        if (state.status, state.paused) != (before.0, before.1) {
            built.saga_row = Some(saga_row(state));
        }
        built.commands = commands(state, &self.options.inbox, &records);
        built.take_work_items(saga, now);
        built.take_leases(state, &records);
        let waits = waits_for(state, &definition);
        if waits != cached.unserved {
            built.unserved_add = waits.difference(&cached.unserved).cloned().collect();
            built.unserved_remove = cached.unserved.difference(&waits).cloned().collect();
            cached.unserved = waits;
        }
        built.row = Some((
            saga,
            before.2,
            Entry {
                at: state.last_at,
                records,
            },
        ));
        Ok(verdict)
    }

    fn rules_for(&self, saga: SagaId, input: &Input) -> Option<Arc<Definition>> {
        match self.cache.get(saga) {
            Some(cached) if !cached.state.definition.is_empty() => self
                .definition(&cached.state.definition, Some(cached.state.version))
                .cloned(),
            Some(_) | None => match input {
                Input::Start(start) => self.definition(&start.definition, start.version).cloned(),
                _ => None,
            },
        }
    }

    /// One commit for all of it; then, and only then, what follows from it.
    async fn commit_built(&mut self, built: Vec<Built>) -> Result<Vec<Answer>, DriverError> {
        let mut batch = self.empty();
        let mut settling: BTreeMap<u64, u32> = BTreeMap::new();
        let mut outgoing = Vec::new();
        let mut answers = Vec::new();
        let mut rows: Vec<(u64, u32)> = Vec::new();
        let mut touched: BTreeSet<SagaId> = BTreeSet::new();
        let mut leases = Vec::new();
        let mut log_seq = self.log_seq;
        for one in built {
            if let Some(row) = one.settles {
                *settling.entry(row).or_default() += 1;
            }
            if let Some((saga, saga_seq, entry)) = one.row {
                log_seq += 1;
                touched.insert(saga);
                let sending: Vec<Command> = one.commands.into_iter().filter(leaves).collect();
                rows.push((log_seq, u32::try_from(sending.len()).unwrap_or(u32::MAX)));
                outgoing.extend((0u32..).zip(sending).map(|(index, command)| Outgoing {
                    ticket: Ticket { log_seq, index },
                    saga,
                    command,
                }));
                batch.unserved_add.extend(
                    one.unserved_add
                        .into_iter()
                        .map(|task_type| (task_type, saga)),
                );
                batch.unserved_remove.extend(
                    one.unserved_remove
                        .into_iter()
                        .map(|task_type| (task_type, saga)),
                );
                batch.rows.push(LogRow {
                    log_seq,
                    saga,
                    saga_seq,
                    entry,
                });
            }
            batch.sagas.extend(one.saga_row);
            batch.work_items.extend(one.work_items);
            batch.unsent_remove.extend(one.unsent_remove);
            batch.unsent_add.extend(one.unsent_add);
            batch.dead_letters.extend(one.letter.map(|letter| *letter));
            leases.push((one.claimed, one.closed));
            answers.extend(one.answer);
        }
        self.cold_rows(&mut batch, &touched);
        let evicted = self.sweep(&mut batch, &touched);
        batch.watermark = self.flight.watermark_with(&settling);
        if batch.watermark == self.log_seq {
            // Nothing older is under way: the watermark passes new rows that send nothing at once.
            let silent = rows.iter().take_while(|(_, sending)| *sending == 0);
            batch.watermark = silent.last().map_or(batch.watermark, |(row, _)| *row);
        }
        let idle = batch.watermark != self.watermark_written
            && self.now.since_ms(self.committed_at) >= 1_000;
        if batch.is_empty() && !idle {
            self.after_commit(touched, evicted);
            return Ok(answers);
        }
        for (task_type, _) in &batch.unserved_add {
            self.unserved.insert(task_type.clone());
        }
        let unsent: Vec<AttemptRef> = batch.unsent_add.iter().map(|row| row.of.clone()).collect();
        self.commit(batch).await?;
        self.log_seq = log_seq;
        for (row, times) in settling {
            (0..times).for_each(|_| self.flight.settled(row));
        }
        for (row, sending) in rows {
            self.flight.committed(row, sending);
        }
        for of in unsent {
            self.keep_unsent(of, self.now);
        }
        for (claimed, closed) in leases {
            closed.into_iter().for_each(|run| self.leases.closed(run));
            claimed
                .into_iter()
                .for_each(|(of, run, lease_ms)| self.leases.claimed(of, run, lease_ms));
        }
        for out in &outgoing {
            self.flight.took_off(out.ticket, flying(out));
        }
        if !outgoing.is_empty() {
            self.outlet.publish(outgoing);
        }
        self.after_commit(touched, evicted);
        Ok(answers)
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), DriverError> {
        let partition = self.options.partition;
        let watermark = batch.watermark;
        match self.store.commit(batch).await {
            Ok(()) => {
                self.watermark_written = watermark;
                self.committed_at = self.now;
                Ok(())
            }
            Err(CommitError::Fenced { .. }) => Err(DriverError::Fenced { partition }),
            Err(source) => Err(DriverError::Lost { partition, source }),
        }
    }

    /// Evicted sagas that were read: in memory again when something happened to them, else back where they were, with the wake they have now.
    fn cold_rows(&mut self, batch: &mut Batch, touched: &BTreeSet<SagaId>) {
        let visitors = std::mem::take(&mut self.visitors);
        for saga in visitors {
            let Some(cached) = self.cache.get_mut(saga).filter(|cached| cached.cold) else {
                if !touched.contains(&saga)
                    && self
                        .cache
                        .get(saga)
                        .is_some_and(|cached| !cached.state.active())
                {
                    self.cache.remove(saga);
                }
                continue;
            };
            if touched.contains(&saga) {
                cached.cold = false;
                batch.cold.push(ColdRow {
                    saga,
                    cold: false,
                    wake_at: None,
                });
                continue;
            }
            let wake_at = cached.state.next_wake();
            if cached.state.active() && wake_at.is_some_and(|at| at <= self.now) {
                // More is due than one turn takes: it is looked at again in the next.
                self.visitors.insert(saga);
                continue;
            }
            batch.cold.push(ColdRow {
                saga,
                cold: true,
                wake_at,
            });
            self.cold_wake = [self.cold_wake, wake_at].into_iter().flatten().min();
            self.cache.remove(saga);
        }
    }

    /// Idle sagas leave memory, as a snapshot.
    fn sweep(&mut self, batch: &mut Batch, touched: &BTreeSet<SagaId>) -> Vec<SagaId> {
        if self.now.since_ms(self.swept_at) < self.sweep_every_ms() {
            return Vec::new();
        }
        let idle_ms = self.options.idle_ms;
        let soon = self.now.plus_ms(idle_ms);
        let idle: Vec<SagaId> = self
            .cache
            .iter()
            .filter(|(saga, cached)| {
                self.now.since_ms(cached.touched) >= idle_ms
                    && !touched.contains(saga)
                    && cached.evictable()
                    && cached.state.next_wake().is_none_or(|at| at > soon)
            })
            .map(|(saga, _)| saga)
            .take(EVICT_MAX)
            .collect();
        if idle.len() < EVICT_MAX {
            self.swept_at = self.now;
        }
        for saga in &idle {
            let Some(cached) = self.cache.get(*saga) else {
                continue;
            };
            let wake_at = cached.state.next_wake();
            batch.snapshots.push(SnapshotRow {
                saga: *saga,
                seq: cached.state.seq,
                version: SNAPSHOT_VERSION,
                state: cached.state.clone(),
            });
            batch.cold.push(ColdRow {
                saga: *saga,
                cold: true,
                wake_at,
            });
            self.cold_wake = [self.cold_wake, wake_at].into_iter().flatten().min();
        }
        idle
    }

    fn after_commit(&mut self, touched: BTreeSet<SagaId>, evicted: Vec<SagaId>) {
        for saga in touched {
            match self.cache.get(saga) {
                Some(cached) if cached.state.active() => self.cache.rewind(saga),
                _ => {
                    self.cache.remove(saga);
                }
            }
        }
        for saga in evicted {
            self.cache.remove(saga);
        }
    }
}

/// An item could not be decided.
#[derive(Debug)]
struct Undecided {
    saga: SagaId,
    why: String,
}

impl Built {
    fn take_work_items(&mut self, saga: SagaId, at: Timestamp) {
        self.work_items = self
            .commands
            .iter()
            .filter_map(|command| match command {
                Command::OpenWorkItem(item) => Some(WorkItemRow::Open {
                    saga,
                    item: item.clone(),
                }),
                Command::CloseWorkItem { number, by } => Some(WorkItemRow::Close {
                    saga,
                    number: *number,
                    by: by.clone(),
                    at,
                }),
                Command::Dispatch(_) | Command::Grant(_) | Command::CancelTask { .. } => None,
            })
            .collect();
    }

    /// Claims begin a lease; a claimed attempt that is over ends it.
    fn take_leases(&mut self, state: &SagaState, records: &[Record]) {
        for record in records {
            match record {
                Record::Claimed {
                    of, run, dispatch, ..
                } => {
                    let lease_ms = lease_ms(state, of);
                    self.claimed
                        .push((attempt_ref(state, of, *dispatch), *run, lease_ms));
                }
                Record::Reported { run, .. } | Record::Evidence { run, .. } => {
                    self.closed.push(*run)
                }
                _ => {}
            }
        }
        let still = |of: &AttemptKey| {
            let attempt = state
                .step(&of.step)
                .and_then(|step| step.attempt(of.direction, of.attempt));
            attempt.is_some_and(|attempt| matches!(attempt.stage, Stage::Claimed { .. }))
        };
        self.claimed.retain(|(of, _, _)| {
            still(&AttemptKey {
                step: of.step.clone(),
                direction: of.direction,
                round: of.round,
                attempt: of.attempt,
            })
        });
    }
}

fn lease_ms(state: &SagaState, of: &AttemptKey) -> u64 {
    let ready = state
        .step(&of.step)
        .and_then(|step| step.prepared(of.direction));
    ready.map_or(0, |ready| ready.facts.lease_ms)
}

/// Whether a command leaves the process; work items stay in the store.
const fn leaves(command: &Command) -> bool {
    match command {
        Command::Dispatch(_) | Command::Grant(_) | Command::CancelTask { .. } => true,
        Command::OpenWorkItem(_) | Command::CloseWorkItem { .. } => false,
    }
}

/// A rough size: the values it carries, without serialising it a second time.
fn flying(out: &Outgoing) -> Flying {
    let (task, bytes) = match &out.command {
        Command::Dispatch(message) => match &**message {
            TaskMessage::Task(task) => (Some(task.of.clone()), 512 + rough_bytes(&task.input)),
        },
        Command::Grant(_)
        | Command::CancelTask { .. }
        | Command::OpenWorkItem(_)
        | Command::CloseWorkItem { .. } => (None, 512),
    };
    Flying {
        saga: out.saga,
        task,
        bytes,
    }
}

fn rough_bytes(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 8,
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(all) => all.iter().map(rough_bytes).sum::<usize>() + 2,
        serde_json::Value::Object(map) => {
            map.iter()
                .map(|(key, value)| key.len() + rough_bytes(value) + 4)
                .sum::<usize>()
                + 2
        }
    }
}

fn saga_row(state: &SagaState) -> SagaRow {
    SagaRow {
        saga: state.id,
        slice: Slice::of(state.id),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status,
        paused: state.paused,
        labels: state.labels.clone(),
        by: state.by.clone(),
        started_at: state.started_at,
        changed_at: state.last_at,
        ended_at: state.ended_at,
    }
}

/// The sagas a piece of work needs in memory; a start needs to know that there is none yet.
const fn needed(work: &Work) -> Option<SagaId> {
    match work {
        Work::Saga { saga, .. } => Some(*saga),
        Work::Dead {
            input: Some((saga, _)),
            ..
        } => Some(*saga),
        Work::Dead { input: None, .. } => None,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
