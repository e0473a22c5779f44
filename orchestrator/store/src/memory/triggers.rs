//! The tables of triggers in memory: the naive meaning of each call.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::{StoreError, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{SagaId, StepId, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::triggers::{Arrival, Effect, EventRow, Planned, ScheduleRow, Settled, Triggers};

#[derive(Debug, Default)]
pub(super) struct TriggerTables {
    pub(super) events: Vec<EventRow>,
    last_seq: u64,
    keys: BTreeMap<(String, String), (SagaId, Timestamp)>,
    pub(super) schedules: BTreeMap<(String, String), ScheduleRow>,
    bindings: BTreeSet<String>,
}

impl Tables {
    fn active(&self, saga: SagaId) -> Option<bool> {
        self.sagas.get(&saga).map(|(_, row)| !row.status.ended())
    }

    fn take_event(&mut self, arrival: Arrival) -> EventRow {
        let (source, id) = (&arrival.event.source, &arrival.event.id);
        let mut known = self.triggers.events.iter();
        let known = known.position(|row| row.event.source == *source && row.event.id == *id);
        if let Some(place) = known {
            let kept = self.triggers.events[place].effects.clone();
            let resolve = |planned: &Planned| {
                Ok::<_, std::convert::Infallible>(self.resolved(planned.clone(), arrival.at))
            };
            let Ok(looked) = arrival.looked_again(&kept, resolve);
            let known = &mut self.triggers.events[place];
            if let Some(effects) = looked {
                (known.effects, known.done) = (effects, false);
            }
            return known.clone();
        }
        let Arrival {
            event,
            at,
            planned,
            awaited,
            again: _,
        } = arrival;
        let effects: Vec<Effect> = planned
            .into_iter()
            .map(|planned| self.resolved(planned, at))
            .collect();
        self.triggers.last_seq += 1;
        let row = EventRow {
            seq: self.triggers.last_seq,
            event,
            received_at: at,
            done: effects.is_empty() && !awaited,
            effects,
        };
        self.triggers.events.push(row.clone());
        row
    }

    fn resolved(&mut self, planned: Planned, at: Timestamp) -> Effect {
        let (of, saga, claim) = match planned {
            Planned::Refused { of, error } => return Effect::Refused { of, error },
            Planned::Cancel { of, key, reason } => {
                let place = (of.definition.clone(), key.clone());
                let holder = self.triggers.keys.get(&place);
                let holder = holder.map(|(saga, _)| (*saga, self.active(*saga)));
                return Effect::of_cancel(of, key, reason, holder);
            }
            Planned::Start { of, saga, key } => (of, saga, key),
        };
        let Some(claim) = claim else {
            return Effect::Started {
                of,
                saga,
                key: None,
            };
        };
        let place = (of.definition.clone(), claim.key.clone());
        if let Some((holder, until)) = self.triggers.keys.get(&place).copied()
            && holder != saga
            && (until > at || self.active(holder).unwrap_or(true))
        {
            return Effect::Joined {
                of,
                saga: holder,
                key: claim.key,
            };
        }
        self.triggers.keys.insert(place, (saga, claim.until));
        Effect::Started {
            of,
            saga,
            key: Some(claim.key),
        }
    }
}

impl Triggers for MemoryStore {
    async fn take_in(&self, arrivals: Vec<Arrival>) -> Result<Vec<EventRow>, StoreError> {
        let mut tables = self.tables();
        Ok(arrivals
            .into_iter()
            .map(|arrival| tables.take_event(arrival))
            .collect())
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for one in settled {
            for (definition, key, saga) in one.released {
                let place = (definition, key);
                if tables.triggers.keys.get(&place).map(|(of, _)| *of) == Some(saga) {
                    tables.triggers.keys.remove(&place);
                }
            }
            let events = &mut tables.triggers.events;
            if let Some(row) = events.iter_mut().find(|row| row.seq == one.seq) {
                row.done = true;
                row.effects = one.effects;
            }
        }
        Ok(())
    }

    async fn undone(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        let tables = self.tables();
        let undone = tables.triggers.events.iter();
        Ok(undone
            .filter(|row| !row.done && row.seq > after)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn subscribers(
        &self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        Ok(self.tables().subscribers(&kind, after.as_ref(), limit))
    }

    async fn kept(
        &self,
        pattern: EventPattern,
        from: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let tables = self.tables();
        let mut kept: Vec<EventRow> = tables
            .triggers
            .events
            .iter()
            .filter(|row| pattern.fits(&row.event.kind) && row.received_at >= from)
            .filter(|row| after.is_none_or(|after| (row.received_at, row.seq) > after))
            .cloned()
            .collect();
        kept.sort_by_key(|row| (row.received_at, row.seq));
        kept.truncate(limit);
        Ok(kept)
    }

    async fn purge(
        &self,
        events_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let mut old: Vec<(Timestamp, u64)> = tables
            .triggers
            .events
            .iter()
            .filter(|row| row.done && row.received_at < events_before)
            .map(|row| (row.received_at, row.seq))
            .collect();
        old.sort_unstable();
        old.truncate(limit);
        tables
            .triggers
            .events
            .retain(|row| !old.contains(&(row.received_at, row.seq)));
        let mut free: Vec<(Timestamp, (String, String))> = tables
            .triggers
            .keys
            .iter()
            .filter(|(_, (saga, until))| *until < now && tables.active(*saga) == Some(false))
            .map(|(place, (_, until))| (*until, place.clone()))
            .collect();
        free.sort_unstable();
        free.truncate(limit);
        for (_, place) in &free {
            tables.triggers.keys.remove(place);
        }
        Ok(old.len().max(free.len()) >= limit)
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        Ok(self.tables().triggers.schedules.values().cloned().collect())
    }

    async fn put_schedule(&self, row: ScheduleRow) -> Result<(), StoreError> {
        let place = (row.definition.clone(), row.name.clone());
        self.tables().triggers.schedules.insert(place, row);
        Ok(())
    }

    async fn remove_schedule(&self, definition: String, name: String) -> Result<(), StoreError> {
        self.tables().triggers.schedules.remove(&(definition, name));
        Ok(())
    }

    async fn bindings(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.tables().triggers.bindings.iter().cloned().collect())
    }

    async fn note_binding(&self, pattern: String, bound: bool) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if bound {
            tables.triggers.bindings.insert(pattern);
        } else {
            tables.triggers.bindings.remove(&pattern);
        }
        Ok(())
    }

    async fn is_active(&self, saga: SagaId) -> Result<Option<bool>, StoreError> {
        Ok(self.tables().active(saga))
    }
}
