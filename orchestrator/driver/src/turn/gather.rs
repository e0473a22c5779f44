//! The first half of a turn: what there is to decide, and every saga it needs in memory.

use std::collections::BTreeSet;

use baton_engine::definition::group_in;
use baton_engine::state::{SagaState, Stage};
use baton_engine::{Input, TimerKey};
use baton_messages::{SagaId, Timestamp};

use super::item::{Item, Origin};
use crate::driver::{Driver, DriverError};
use crate::outlet::Outlet;
use crate::recover::LOAD_CHUNK;
use crate::store::Store;
use crate::work::Work;

/// Things of the driver's own (returns, resends, timers) taken into one turn: as many as inbox inputs, so that neither starves the other.
const OWN_MAX: usize = 512;

/// How long the timers of a saga rest when all that is due would end a run that may still act.
const ACTS_STILL_MS: u64 = 1_000;

/// How long definitions are not read again for something that is not known: whoever asks at every turn for what does not exist must not have all of them read at
/// every turn, and what was registered in so short a time is told, or found by the next who asks.
const LOOK_AGAIN_MS: u64 = 200;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// What there is to decide: the driver's own first, since it makes room.
    pub(super) async fn gather(&mut self, work: Vec<Work>) -> Result<Vec<Item>, DriverError> {
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
        // Before the work: which of them may fire was looked up in what the sagas are now, and a claim in the same turn would change it.
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
        self.look_for_unknown(&items).await?;
        Ok(items)
    }

    /// Another driver may have registered what one of these asks for, and nobody may have said so here: before it is refused, definitions are read once more.
    async fn look_for_unknown(&mut self, items: &[Item]) -> Result<(), DriverError> {
        let unknown = items
            .iter()
            .any(|item| match (item.saga, item.input.as_deref()) {
                (Some(saga), Some(input)) => self.asks_for_unknown(saga, input),
                _ => false,
            });
        let rests = |at: Timestamp| self.now < at.plus_ms(LOOK_AGAIN_MS);
        if !unknown || self.looked_at.is_some_and(rests) {
            return Ok(());
        }
        self.looked_at = Some(self.now);
        self.read_rules().await
    }

    /// Whether an input names a definition, or a version of one, that is not known here.
    fn asks_for_unknown(&self, saga: SagaId, input: &Input) -> bool {
        match input {
            // a group is found by nobody who starts one
            Input::Start(start) => {
                group_in(&start.definition).is_none() && self.rules_for(saga, input).is_none()
            }
            Input::ChildWanted(_) => self.rules_for(saga, input).is_none(),
            Input::Upgrade { .. } => self.next_for(saga, input).is_none(),
            _ => false,
        }
    }

    pub(super) fn gather_own(&mut self, items: &mut Vec<Item>) {
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
        for of in self.unsent.take(self.now, OWN_MAX) {
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
    pub(super) async fn gather_unserved(
        &mut self,
        items: &mut Vec<Item>,
    ) -> Result<(), DriverError> {
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
    pub(super) async fn gather_cold(&mut self) -> Result<(), DriverError> {
        if self.timers_held || self.cold_wake.is_none_or(|at| at > self.now) {
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

    pub(super) fn gather_timers(&mut self, items: &mut Vec<Item>) {
        if self.timers_held {
            return;
        }
        for saga in self.cache.due(self.now, OWN_MAX) {
            let Some(cached) = self.cache.get(saga) else {
                continue;
            };
            let mut due = cached.state.due_timers(self.now);
            due.retain(|key| !self.acts_still(&cached.state, key));
            if due.is_empty() {
                // its worker reports, or falls silent, or its time really passes: soon enough either way
                self.cache.snooze(saga, self.now.plus_ms(ACTS_STILL_MS));
                continue;
            }
            items.extend(due.into_iter().map(|key| Item {
                origin: Origin::Own {
                    settles: None,
                    unsent: None,
                },
                saga: Some(saga),
                input: Some(Box::new(Input::TimerFired(key))),
                letter: None,
            }));
        }
    }

    /// Whether a timer would end an attempt whose run may really still act. The time of a claimed attempt is over when its lease says
    /// so, which counts what has passed; the clock on the wall may have been set forward.
    fn acts_still(&self, state: &SagaState, key: &TimerKey) -> bool {
        let TimerKey::AttemptEnd {
            step,
            direction,
            attempt,
        } = key
        else {
            return false;
        };
        let attempt = state
            .at(step)
            .and_then(|step| step.attempt(*direction, *attempt));
        let Some(Stage::Claimed { run, .. }) = attempt.map(|attempt| &attempt.stage) else {
            return false;
        };
        self.leases.may_act(*run)
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
