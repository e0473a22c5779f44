//! Recovery: the same after a start, a crash and a lost commit. Everything in memory is read anew; commands past the watermark may or may not
//! have left, so each task among them that is still wanted is sent again, under the same message id, as a decision of its own.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::command::{attempt_ref, still_wanted, word};
use baton_engine::definition::registered_as;
use baton_engine::state::Stage;
use baton_engine::{Catalogue, Definition, Input, Level, Record, replay};
use baton_messages::{AttemptRef, SagaId, Timestamp};

use crate::batch::LogRow;
use crate::cache::{Cache, Cached};
use crate::changed::Noted;
use crate::driver::{Driver, DriverError, Options, Own};
use crate::flight::Flight;
use crate::guard::guarded;
use crate::leases::LeaseTable;
use crate::outlet::{Outlet, Ticket};
use crate::owed::{Lanes, Owed};
use crate::store::{IN_DOUBT_ROWS, InDoubt, Loaded, Store, StoreError};
use crate::turn::{KEPT_BYTES, KEPT_MAX, flying_again, span};
use crate::unsent::Unsent;

/// Sagas read at once: bounds what one answer of the store holds in memory.
pub(crate) const LOAD_CHUNK: usize = 256;

/// More commands than one row can have.
const TICKETS_OF_A_ROW: u32 = 1 << 16;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// Begins (or begins again) to drive a partition.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub async fn recover(
        store: S,
        outlet: O,
        options: Options,
        now: Timestamp,
    ) -> Result<Self, DriverError> {
        let mut driver = Self {
            store,
            outlet,
            options,
            definitions: BTreeMap::new(),
            catalogue: Catalogue::default(),
            cache: Cache::default(),
            visitors: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            unreadable_definitions: BTreeSet::new(),
            looked_at: None,
            flight: Flight::default(),
            leases: LeaseTable::default(),
            own: std::collections::VecDeque::new(),
            unsent: Unsent::default(),
            owed: Lanes::default(),
            serving: std::collections::VecDeque::new(),
            unserved: BTreeSet::new(),
            subscribed: std::collections::VecDeque::new(),
            searched: Vec::new(),
            reserved: false,
            purging: Vec::new(),
            cold_wake: None,
            log_seq: 0,
            watermark_written: 0,
            committed_at: now,
            swept_at: now,
            now,
            bus_up: false,
            level: Level::NEWEST,
            timers_held: false,
            lost: true,
            owed_unread: 0,
            recoveries: 0,
            noted: Noted::default(),
        };
        driver.recover_again(now).await?;
        Ok(driver)
    }

    /// Drops everything in memory and reads it anew. Work of a lost turn is then to be given again.
    ///
    /// # Errors
    /// When the store cannot be read; call it again later.
    pub async fn recover_again(&mut self, now: Timestamp) -> Result<(), DriverError> {
        self.lost = true;
        self.recoveries = self.recoveries.wrapping_add(1);
        let partition = self.options.partition;
        let read = |source| DriverError::Read { partition, source };
        self.leases = self.leases.emptied();
        self.cache.clear();
        self.visitors.clear();
        self.own.clear();
        self.serving.clear();
        self.searched.clear();
        self.purging.clear();
        self.reserved = true;
        self.read_rules().await?;
        let found = self.store.recover(partition).await.map_err(read)?;
        self.log_seq = found.log_seq;
        self.watermark_written = found.watermark;
        self.flight = Flight::starting_at(found.log_seq);
        self.cold_wake = found.cold_wake;
        self.unserved = found.unserved.into_iter().collect();
        self.subscribed = found.unsearched.into();
        self.unsent = Unsent::default();
        self.owed.recovered(found.owed_lanes, found.owed, now);
        for chunk in found.hot.chunks(LOAD_CHUNK) {
            self.load(chunk.to_vec(), now).await?;
        }
        let mut unsent: BTreeSet<AttemptRef> = found.unsent.into_iter().map(|row| row.of).collect();
        let first = InDoubt {
            rows: found.in_doubt,
            more: found.in_doubt_more,
        };
        self.doubt(first, &mut unsent, now).await?;
        for of in unsent {
            self.keep_unsent(of, now);
        }
        self.committed_at = now;
        self.swept_at = now;
        self.now = self.now.max(now);
        self.lost = false;
        Ok(())
    }

    pub(crate) async fn read_rules(&mut self) -> Result<(), DriverError> {
        let partition = self.options.partition;
        let read = |source: StoreError| DriverError::Read { partition, source };
        for row in self.store.definitions().await.map_err(read)? {
            let key = (row.name.clone(), row.version);
            if self.definitions.contains_key(&key) || self.unreadable_definitions.contains(&key) {
                continue;
            }
            match Definition::parse(&row.source) {
                Ok(definition) => {
                    let definition = std::sync::Arc::new(definition);
                    self.definitions.insert(key, definition);
                }
                Err(wrong) => {
                    let error = wrong.first().map_or_else(String::new, ToString::to_string);
                    tracing::error!(
                        definition = %row.name, version = row.version, error,
                        "a registered definition cannot be read by this version: its sagas are left alone, everything else goes on; register a new version of it, or go back to the program that could read it"
                    );
                    self.unreadable_definitions.insert(key);
                }
            }
        }
        for manifest in self.store.manifests().await.map_err(read)? {
            let name = manifest.task_type.clone();
            if let Err(error) = self.catalogue.announce(manifest) {
                tracing::error!(task.r#type = %name, error = %error, "a kept manifest was refused; its steps wait for a worker to announce it");
            }
        }
        Ok(())
    }

    /// Reads sagas into memory.
    pub(crate) async fn load(
        &mut self,
        sagas: Vec<SagaId>,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let partition = self.options.partition;
        let loaded = self
            .store
            .load(sagas)
            .await
            .map_err(|source| DriverError::Read { partition, source })?;
        for one in loaded {
            let saga = one.saga;
            let cached = match self.folded(one, now) {
                Ok(cached) => cached,
                Err(why) => {
                    tracing::error!(saga.id = %saga, error = why, "its records cannot be read or do not fold: the saga is left alone; it was written by a newer version, or changed behind our back");
                    self.unreadable.insert(saga);
                    continue;
                }
            };
            for (spot, step) in cached.state.live() {
                for attempt in &step.attempts {
                    if let Stage::Claimed { run, .. } = &attempt.stage {
                        let key = baton_engine::record::AttemptKey {
                            step: spot.key(),
                            direction: attempt.direction,
                            round: step.round,
                            attempt: attempt.number,
                        };
                        let of = attempt_ref(&cached.state, &key, attempt.dispatch);
                        let span = span(&cached.state, &key);
                        self.leases
                            .claimed(of, *run, span.lease_ms, span.timeout_ms);
                    }
                }
            }
            self.cache.insert(saga, cached);
            self.visitors.insert(saga);
        }
        Ok(())
    }

    /// A loaded saga, folded.
    fn folded(&self, loaded: Loaded, now: Timestamp) -> Result<Cached, String> {
        if let Some(why) = loaded.unreadable {
            return Err(why);
        }
        let mut state = loaded.base;
        let kept = state.seq;
        // A panic in fold is a defect of ours; it must not take the neighbours along at every start.
        guarded(|| replay(&mut state, &loaded.entries))
            .map_err(|panic| format!("folding them {panic}"))?
            .map_err(|error| error.to_string())?;
        let key = (registered_as(&state.definition).to_owned(), state.version);
        if self.unreadable_definitions.contains(&key) {
            return Err(format!("its definition {}@{} cannot be read", key.0, key.1));
        }
        let definition = self
            .definition(&state.definition, Some(state.version))
            .cloned();
        let mut cached = Cached::new(state, definition.as_deref(), loaded.cold, now);
        cached.kept = kept;
        Ok(cached)
    }

    /// Every event past the watermark is published again: it stands whole in its record, and is the same event by its id. So is every word to another
    /// saga: it says how things are now.
    fn published_again(&mut self, rows: &[LogRow], now: Timestamp) {
        for row in rows {
            let state = self.cache.get(row.saga).map(|cached| &*cached.state);
            let emitted = row.entry.records.iter().filter_map(|record| match record {
                Record::Emitted { event, .. } => Some(Owed::Event(event.clone())),
                _ => word(state?, record).map(Owed::Word),
            });
            let emitted: Vec<Owed> = emitted.collect();
            // Of their own range: what was under way before may still land, and must not speak for another command of its row.
            let first = self.recoveries.wrapping_mul(TICKETS_OF_A_ROW);
            for (index, again) in (first..).zip(emitted) {
                let ticket = Ticket {
                    log_seq: row.log_seq,
                    index,
                };
                self.flight.committed(row.log_seq, 1);
                self.flight
                    .ground(ticket, flying_again(row.saga, again), now);
            }
        }
    }

    /// Every task past the watermark that its saga still wants is decided upon again; of several sendings of one attempt only once. Those that are kept as unsent
    /// are taken out of `unsent`: they are sent from here. However many rows there are, a page of them is in memory, with the sagas it needs.
    async fn doubt(
        &mut self,
        first: InDoubt,
        unsent: &mut BTreeSet<AttemptRef>,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let partition = self.options.partition;
        let mut last: BTreeMap<AttemptRef, u64> = BTreeMap::new();
        let mut page = first;
        self.flight.hold_at(Some(self.watermark_written));
        loop {
            let visited = self.load_missing(&page.rows, now).await?;
            self.published_again(&page.rows, now);
            self.still_offered(&page.rows, &mut last);
            if self.flight.len() >= KEPT_MAX || self.flight.bytes() >= KEPT_BYTES {
                self.write_owed().await?;
            }
            let Some(after) = page.more else { break };
            for saga in visited {
                self.cache.remove(saga);
                self.visitors.remove(&saga);
            }
            let next = self.store.in_doubt(partition, after, IN_DOUBT_ROWS).await;
            page = next.map_err(|source| DriverError::Read { partition, source })?;
        }
        self.flight.hold_at(None);
        for (of, log_seq) in last {
            self.flight.committed(log_seq, 1);
            let unsent = unsent.take(&of);
            self.own.push_back(Own {
                saga: of.saga,
                input: Input::Resend(of),
                settles: Some(log_seq),
                unsent,
            });
        }
        Ok(())
    }

    /// Reads the sagas of these rows that are not in memory; answers which.
    async fn load_missing(
        &mut self,
        rows: &[LogRow],
        now: Timestamp,
    ) -> Result<Vec<SagaId>, DriverError> {
        let sagas = rows.iter().map(|row| row.saga);
        let missing: BTreeSet<SagaId> = sagas
            .filter(|saga| self.cache.get(*saga).is_none())
            .collect();
        let missing: Vec<SagaId> = missing.into_iter().collect();
        for chunk in missing.chunks(LOAD_CHUNK) {
            self.load(chunk.to_vec(), now).await?;
        }
        Ok(missing)
    }

    /// The tasks of these rows that are still to be done, each with the last row that sends it.
    fn still_offered(&self, rows: &[LogRow], last: &mut BTreeMap<AttemptRef, u64>) {
        for row in rows {
            let Some(cached) = self.cache.get(row.saga) else {
                continue;
            };
            for record in &row.entry.records {
                if let Record::Offered { of, dispatch, .. } | Record::Resent { of, dispatch, .. } =
                    record
                {
                    let of = attempt_ref(&cached.state, of, *dispatch);
                    if still_wanted(&cached.state, &of) {
                        last.insert(of, row.log_seq);
                    }
                }
            }
        }
    }
}
