//! The driver itself: what it holds, what it is told from outside between two turns, and when it wants the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use baton_engine::definition::group_in;
use baton_engine::{Catalogue, CatalogueError, Definition, Input, Level};
use baton_messages::{AttemptRef, InboxKey, Manifest, RunId, SagaId, StepId, TaskType, Timestamp};

use crate::batch::{PurgeRow, SubscriptionRow};
use crate::cache::Cache;
use crate::changed::Noted;
use crate::flight::Flight;
use crate::leases::LeaseTable;
use crate::outlet::{Outlet, Sent, Ticket};
use crate::owed::Lanes;
use crate::store::{CommitError, DefinitionRow, Store, StoreError};
use crate::unsent::{Queue, RESEND_MS, Unsent};

/// How long an unpublished watermark may stand before it is written by itself.
const WATERMARK_MS: u64 = 1_000;

/// What a driver is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The partition it drives.
    pub partition: u8,
    /// The epoch under which it owns it.
    pub epoch: u64,
    /// The inbox of that partition: where workers report.
    pub inbox: InboxKey,
    /// How long a saga may be idle before it leaves memory.
    pub idle_ms: u64,
    /// How many tasks may wait to be sent again before no new saga starts.
    pub unsent_max: usize,
    /// How many steps that began to wait for an event may not have been told yet before no new saga starts.
    pub subscribed_max: usize,
    /// How many sagas may be in memory before those that are idle leave it sooner.
    pub hot_max: usize,
}

impl Options {
    /// The usual ones: idle for a minute leaves memory.
    #[must_use]
    pub const fn new(partition: u8, epoch: u64, inbox: InboxKey) -> Self {
        Self {
            partition,
            epoch,
            inbox,
            idle_ms: 60_000,
            unsent_max: UNSENT_MAX,
            subscribed_max: SUBSCRIBED_MAX,
            hot_max: HOT_MAX,
        }
    }
}

/// Why a turn did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The partition has another owner: stop at once, acknowledge nothing.
    #[error("drive partition {partition}: another orchestrator owns it now")]
    Fenced {
        /// The partition.
        partition: u8,
    },
    /// A commit failed or its fate is unknown. Nothing was answered; call [`Driver::recover_again`], then give the same work again.
    #[error("drive partition {partition}: the turn was not committed, or nobody knows")]
    Lost {
        /// The partition.
        partition: u8,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// A read failed before anything was decided. Call [`Driver::recover_again`], then give the same work again.
    #[error("drive partition {partition}: could not read")]
    Read {
        /// The partition.
        partition: u8,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// [`Driver::turn`] was called after a lost turn without [`Driver::recover_again`].
    #[error("drive partition {partition}: recover first")]
    NotRecovered {
        /// The partition.
        partition: u8,
    },
}

/// What there is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Sagas in memory.
    pub hot: usize,
    /// Commands not yet confirmed.
    pub in_flight: usize,
    /// Tasks to be sent again.
    pub unsent: usize,
    /// Events and words to other sagas to be published again.
    pub owed: usize,
    /// Lanes of those that were refused when they were last tried.
    pub owed_refused: usize,
    /// Leases that run.
    pub leases: usize,
    /// Sagas that are left alone since their records or their definition cannot be read.
    pub unreadable: usize,
    /// The last row of the log.
    pub log_seq: u64,
    /// How far its commands are published.
    pub watermark: u64,
}

/// Something the driver itself has to decide in one of its next turns.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) saga: SagaId,
    pub(crate) input: Input,
    /// The row one of whose commands this takes care of.
    pub(crate) settles: Option<u64>,
    /// The sending that then need not be kept as unsent any more.
    pub(crate) unsent: Option<AttemptRef>,
}

/// The one loop between the engine and the world, for one partition.
#[derive(Debug)]
pub struct Driver<S, O> {
    pub(crate) store: S,
    pub(crate) outlet: O,
    pub(crate) options: Options,
    pub(crate) definitions: BTreeMap<(String, u32), Arc<Definition>>,
    pub(crate) catalogue: Catalogue,
    pub(crate) cache: Cache,
    /// Sagas read or made since the last commit: those to which nothing happens need not stay.
    pub(crate) visitors: std::collections::BTreeSet<SagaId>,
    /// Sagas whose records do not fold: left alone, so that they harm no neighbour.
    pub(crate) unreadable: std::collections::BTreeSet<SagaId>,
    /// Registered definitions that this version cannot read; their sagas are left alone.
    pub(crate) unreadable_definitions: std::collections::BTreeSet<(String, u32)>,
    /// When definitions were last read for one that was not known.
    pub(crate) looked_at: Option<Timestamp>,
    pub(crate) flight: Flight,
    pub(crate) leases: LeaseTable,
    pub(crate) own: VecDeque<Own>,
    /// Tasks to be sent again.
    pub(crate) unsent: Unsent,
    /// Events and words to other sagas to be published again.
    pub(crate) owed: Lanes,
    /// Task types whose waiting sagas are being offered, with how far it has come.
    pub(crate) serving: VecDeque<(TaskType, Option<SagaId>)>,
    /// Task types some step may wait for.
    pub(crate) unserved: std::collections::BTreeSet<TaskType>,
    /// Subscriptions that are committed and were not told yet.
    pub(crate) subscribed: VecDeque<SubscriptionRow>,
    /// Subscriptions whose search is committed and has to be written down.
    pub(crate) searched: Vec<(SagaId, StepId)>,
    /// Whether what sagas take has changed, and nobody was told yet.
    pub(crate) reserved: bool,
    /// Sagas whose records the next commit takes out.
    pub(crate) purging: Vec<PurgeRow>,
    pub(crate) cold_wake: Option<Timestamp>,
    pub(crate) log_seq: u64,
    pub(crate) watermark_written: u64,
    pub(crate) committed_at: Timestamp,
    pub(crate) swept_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) bus_up: bool,
    /// What everybody reads who may come to drive this partition.
    pub(crate) level: Level,
    /// Whether what was confirmed into the inbox while nobody read it has been read: before that no verdict is taken from time.
    pub(crate) timers_held: bool,
    /// How often everything was read anew: tickets of each time are told apart.
    pub(crate) recoveries: u32,
    pub(crate) lost: bool,
    /// How often in a row what is owed could not be read.
    pub(crate) owed_unread: u32,
    pub(crate) noted: Noted,
}

/// Tasks that may wait to be sent again before no new saga starts: some hundred bytes each, in memory and in the store.
const UNSENT_MAX: usize = 100_000;
/// Steps that began to wait and nobody was told of: some hundred bytes each. Searching for them is slower than starting sagas can be.
const SUBSCRIBED_MAX: usize = 100_000;
/// Sagas in memory of one partition: some kilobytes each.
const HOT_MAX: usize = 50_000;
/// How long one may be idle beyond that.
const CROWDED_IDLE_MS: u64 = 5_000;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// What became of commands handed to the outlet.
    pub fn sent(&mut self, results: Vec<(Ticket, Sent)>) {
        for (ticket, sent) in results {
            let Some(flying) = self.flight.landed(ticket) else {
                continue;
            };
            if self.owed.landed(ticket, sent == Sent::Confirmed, self.now) {
                continue;
            }
            if sent != Sent::Confirmed && flying.again.is_some() {
                let at = self.now.plus_ms(RESEND_MS);
                self.flight.ground(ticket, flying, at);
                continue;
            }
            let input = match (flying.task, sent) {
                // A grant or a hint that is lost is asked for again, or was only a hint.
                (task, Sent::Confirmed) => {
                    if let Some(of) = task.filter(|_| self.unsent.any_refuses()) {
                        self.unsent.taken(&self.queue_of(&of), self.now);
                    }
                    self.flight.settled(ticket.log_seq);
                    continue;
                }
                (None, _) => {
                    self.flight.settled(ticket.log_seq);
                    continue;
                }
                (Some(of), Sent::Returned) => Input::TaskUnroutable(of),
                (Some(of), Sent::NotSent) => Input::TaskUnconfirmed {
                    of,
                    maybe_sent: false,
                },
                (Some(of), Sent::Nacked) => {
                    self.unsent.refused(self.queue_of(&of), self.now);
                    Input::TaskUnconfirmed {
                        of,
                        maybe_sent: false,
                    }
                }
                (Some(of), Sent::Unknown) => Input::TaskUnconfirmed {
                    of,
                    maybe_sent: true,
                },
            };
            self.own.push_back(Own {
                saga: flying.saga,
                input,
                settles: Some(ticket.log_seq),
                unsent: None,
            });
        }
    }

    /// The broker is there (again): what it did not take is sent at once.
    pub fn bus_is_up(&mut self, now: Timestamp) {
        self.bus_up = true;
        self.unsent.all_due(now);
        self.owed.all_due(now);
    }

    /// The broker is away: nothing is sent again until it is back.
    pub const fn bus_is_down(&mut self) {
        self.bus_up = false;
    }

    /// From now on nothing is recorded that a program of this level does not read as it is meant: one may come to drive this partition. Without a word whoever
    /// comes reads as much as this one.
    pub const fn write_for(&mut self, level: Level) {
        self.level = level;
    }

    /// From now on no verdict is taken from time: what was reported while nobody read the inbox may still lie in it. Called after a start and
    /// whenever the inbox is lost; ended by [`Driver::caught_up`].
    pub const fn hold_timers(&mut self) {
        self.timers_held = true;
    }

    /// A marker that was sent through the inbox has come back, and its turn is committed: everything confirmed before it is decided.
    pub const fn caught_up(&mut self) {
        self.timers_held = false;
    }

    /// Whether inbox input may be taken; else the outlet has enough to do, and the API says so.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flight.has_room()
    }

    /// Whether new sagas may start: not while so many tasks wait for the broker to take them, or so many steps to be searched for, that more would only wait
    /// behind them. What runs goes on, and people may act.
    #[must_use]
    pub fn takes_starts(&self) -> bool {
        self.has_room()
            && self.unsent.len() < self.options.unsent_max
            && self.subscribed.len() < self.options.subscribed_max
    }

    /// When [`Driver::turn`] wants to be called at the latest, even without work.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let to_write = self.flight.is_owing() || !self.owed.gone().is_empty();
        if to_write || !self.own.is_empty() || !self.serving.is_empty() || !self.purging.is_empty()
        {
            return Some(Timestamp(0));
        }
        let unsent = if self.bus_up {
            let tasks = self.unsent.next_due();
            // while as much is under way as may be nothing more is tried: what comes back wakes
            let owed = self.owed.next_due().filter(|_| self.may_try_owed());
            [tasks, owed].into_iter().flatten().min()
        } else {
            None
        };
        let dirty = self.flight.watermark() != self.watermark_written;
        let watermark = dirty.then(|| self.committed_at.plus_ms(WATERMARK_MS));
        let sweep = (self.cache.len() > 0).then(|| self.swept_at.plus_ms(self.sweep_every_ms()));
        let (wake, cold_wake) = if self.timers_held {
            (None, None)
        } else {
            (self.cache.next_wake(), self.cold_wake)
        };
        [wake, cold_wake, unsent, watermark, sweep]
            .into_iter()
            .flatten()
            .min()
    }

    /// How long a saga may be idle before it leaves memory, as many as there are now.
    pub(crate) fn idle_ms(&self) -> u64 {
        match self.cache.len() > self.options.hot_max {
            true => self.options.idle_ms.min(CROWDED_IDLE_MS),
            false => self.options.idle_ms,
        }
    }

    pub(crate) fn sweep_every_ms(&self) -> u64 {
        // Often enough that an idle saga stays at most a sixth longer than it is told.
        let every = self.idle_ms() / 6;
        if every < 1_000 { 1_000 } else { every }
    }

    /// Takes a task type into the catalogue, durably when it is new; true when it is.
    ///
    /// # Errors
    /// When it contradicts what is known of the same major version, or cannot be kept.
    pub async fn announce(
        &mut self,
        manifest: Manifest,
        now: Timestamp,
    ) -> Result<Result<bool, CatalogueError>, StoreError> {
        // Tried on a copy first: what the store does not have must not be decided by, and is announced again.
        let mut with = self.catalogue.clone();
        let said = with.announce(manifest.clone());
        if said == Ok(true) {
            self.store.put_manifest(manifest, now).await?;
            self.catalogue = with;
        }
        Ok(said)
    }

    /// Somebody serves a task type: sagas that wait for it are offered in the next turns.
    pub fn serve(&mut self, task_type: &TaskType) {
        let waited_for = self.unserved.contains(task_type);
        if waited_for && !self.serving.iter().any(|(known, _)| known == task_type) {
            self.serving.push_back((task_type.clone(), None));
        }
    }

    /// Whether some step may wait for this type.
    #[must_use]
    pub fn waits_for(&self, task_type: &TaskType) -> bool {
        self.unserved.contains(task_type)
    }

    /// Subscriptions committed since this was last asked, the first `most` of them; after a start, those of which nobody wrote down that they were searched. The caller searches the events
    /// kept for each, gives those that fit as [`Input::EventArrived`], and says [`Driver::searched`] when the turns that took them have returned. Ask after
    /// every turn and after every recovery.
    pub fn take_subscribed(&mut self, most: usize) -> Vec<SubscriptionRow> {
        let some = self.subscribed.len().min(most);
        self.subscribed.drain(..some).collect()
    }

    /// Whether a commit since this was last asked has changed what sagas wait for or hold: then the store may be able to admit somebody. Also after every
    /// recovery, since of a lost commit nobody knows.
    pub const fn take_reserved(&mut self) -> bool {
        std::mem::replace(&mut self.reserved, false)
    }

    /// What the kept events had for a subscription is committed. Written with the next commit; until then a start tells of it again, which does no harm.
    pub fn searched(&mut self, saga: SagaId, step: StepId) {
        self.searched.push((saga, step));
    }

    /// Takes the records of these sagas out with the next turn's commit, as far as the store lets them go ([`PurgeRow`]). A commit that is lost takes out
    /// none or all of them; nobody tries again but whoever finds them anew.
    pub fn purge(&mut self, sagas: Vec<PurgeRow>) {
        self.purging.extend(sagas);
    }

    /// Registers a definition. The same content again is no change; other content under the same name and version is refused.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn put_definition(
        &mut self,
        definition: Definition,
        by: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = DefinitionRow {
            name: definition.saga.clone(),
            version: definition.version,
            source: definition.source.to_string(),
            at: now,
            by: by.into(),
        };
        if !self.store.put_definition(row).await? {
            return Ok(false);
        }
        self.definitions.insert(
            (definition.saga.clone(), definition.version),
            Arc::new(definition),
        );
        Ok(true)
    }

    /// Reads definitions and manifests anew: another driver may have kept some.
    ///
    /// # Errors
    /// When the store cannot be read; nothing is known otherwise than before.
    pub async fn learn(&mut self) -> Result<(), DriverError> {
        self.read_rules().await
    }

    /// A registered definition, or a group that stands in one; the newest when no version is asked for.
    #[must_use]
    pub fn definition(&self, name: &str, version: Option<u32>) -> Option<&Arc<Definition>> {
        if let Some((saga, way)) = group_in(name) {
            return self.definition(saga, version)?.group(way);
        }
        let from = (name.to_owned(), version.unwrap_or(0));
        let to = (name.to_owned(), version.unwrap_or(u32::MAX));
        self.definitions
            .range(from..=to)
            .next_back()
            .map(|(_, definition)| definition)
    }

    /// The task types known.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The leases of claimed attempts: heartbeats, the canary and markers are told here.
    pub const fn leases(&mut self) -> &mut LeaseTable {
        &mut self.leases
    }

    /// Leases that are over (see [`LeaseTable::marker_back`]) are decided in the next turn.
    pub fn leases_over(&mut self, over: Vec<(AttemptRef, RunId)>) {
        for (of, run) in over {
            self.own.push_back(Own {
                saga: of.saga,
                input: Input::LeaseOver { of, run },
                settles: None,
                unsent: None,
            });
        }
    }

    /// What there is to show.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            hot: self.cache.len(),
            in_flight: self.flight.len(),
            unsent: self.unsent.len(),
            owed: self.owed.waiting(),
            owed_refused: self.owed.refusing(),
            leases: self.leases.len(),
            unreadable: self.unreadable.len(),
            log_seq: self.log_seq,
            watermark: self.flight.watermark(),
        }
    }

    /// The state of a saga in memory, for those who only look.
    #[must_use]
    pub fn peek(&self, saga: SagaId) -> Option<&baton_engine::SagaState> {
        self.cache.get(saga).map(|cached| &*cached.state)
    }

    /// The outlet, for the shell that owns it.
    pub const fn outlet(&mut self) -> &mut O {
        &mut self.outlet
    }

    /// The store, for the shell that owns it.
    pub const fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// Gives the store back, to close it; what is not committed is gone.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Keeps a task that has to be sent again, not before `at`.
    pub(crate) fn keep_unsent(&mut self, of: AttemptRef, at: Timestamp) {
        let queue = self.queue_of(&of);
        self.unsent.keep(of, queue, at);
    }

    /// Where a task goes; none when its saga is not in memory.
    fn queue_of(&self, of: &AttemptRef) -> Queue {
        let step = self.peek(of.saga)?.at(&of.key())?;
        let facts = &step.prepared(of.direction)?.facts;
        Some((facts.pool.clone(), facts.task_type.clone()))
    }
}
