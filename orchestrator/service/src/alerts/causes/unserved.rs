//! Task types that sagas wait for and nobody serves: those whose tasks were not sent, since nobody has announced the type or none takes it any more, and those
//! whose tasks lie in a queue that the last worker has left.
//!
//! Guarantee: that a worker has gone is said only where the fleet is heard; while it is not, what was said of that stays. Bounded: so many rows of the log, and
//! so many sagas one by one, and that only while a type of the catalogue has no worker.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::StoreError;
use baton_engine::state::Stage;
use baton_engine::{Entry, Record, SagaState};
use baton_messages::{Direction, SagaId, StepKey, TaskType, Timestamp};
use baton_store::{AlertRow, AlertState, Reader as _, UNSERVED_COUNTED_MAX};
use serde_json::json;

use super::{Cause, Found, Look};
use crate::alerts::{Kind, Uses};
use crate::api::folded;
use crate::fleet::Workers;

/// Sagas that wait for a worker and are looked at, to find out whether alerts started them.
const UNSERVED_MAX: usize = 100;
/// Rows of the log that are searched for tasks in the queue of a type when its worker has just gone: what was sent before that was known.
const ROWS_FIRST: usize = 10_000;
/// The same while it stays away: what was sent since the last look, and some before.
const ROWS: usize = 1_000;
/// Sagas of one type that are followed, until they wait no more.
const SAGAS_MAX: usize = 10;
/// Sagas whose records one look reads.
const FOLDS_MAX: usize = 200;
/// Sagas whose records one look reads since the log does not say what type they wait for: it is some time ago that they were made ready.
const UNKNOWN_MAX: usize = 20;

/// Sagas of which a task lies in the queue of a type.
type ByType = BTreeMap<TaskType, BTreeSet<SagaId>>;

/// What it was found by, from look to look.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    /// Since when sagas wait for a type that nobody serves.
    since: BTreeMap<String, Timestamp>,
    /// Sagas of which a task lies in the queue of a type, of every type that has no worker.
    sent: ByType,
}

/// Who waits for one type.
#[derive(Debug, Default)]
struct Waits {
    sagas: usize,
    /// There may be more than were counted.
    or_more: bool,
    /// The first of them.
    first: Vec<SagaId>,
    /// One whose task was sent.
    sent: Option<SagaId>,
}

fn key(task_type: &TaskType) -> String {
    format!("unserved/{task_type}")
}

impl Unserved {
    pub(super) async fn find(
        &mut self,
        look: &Look<'_>,
        uses: &Uses,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let mut by_type = not_sent(look).await?;
        // a log that cannot be read hides none of those whose tasks were not sent; it is said, and of this kind nothing is over
        let (sent, read) = match self.sent(look, &uses.workers, found).await {
            Ok(sent) => (sent, Ok(())),
            Err(error) => (ByType::new(), Err(error)),
        };
        for (task_type, sagas) in sent {
            let waits = by_type.entry(task_type).or_default();
            waits.sagas += sagas.len();
            waits.or_more |= sagas.len() >= SAGAS_MAX;
            waits.sent = sagas.first().copied();
            waits.first.extend(sagas);
        }
        let mut since = BTreeMap::new();
        let mut waiting = Vec::new();
        for (task_type, waits) in by_type {
            let name = task_type.to_string();
            let began = self.since.get(&name).copied().unwrap_or(look.now);
            let key = key(&task_type);
            let long = look.now.since_ms(began) >= uses.rules.unserved_ms;
            if long || look.open(&key).is_some() {
                waiting.push((key, (task_type, waits)));
            }
            since.insert(name, began);
        }
        self.since = since;
        let (kept, beyond) = look.kept(waiting);
        let mut causes = Vec::with_capacity(kept.len());
        for (key, (task_type, waits)) in kept {
            let silent = is_own_type(look, &key, &waits.first).await?;
            causes.push(Cause {
                key,
                kind: Kind::Unserved,
                title: title(&task_type, &waits),
                object: format!("task-types/{task_type}"),
                command: "baton top".to_owned(),
                data: json!({ "task_type": task_type, "sagas": waits.sagas, "sent": waits.sent }),
                silent,
            });
        }
        found.take(Kind::Unserved, causes, beyond);
        read
    }

    /// Sagas of which a task lies in the queue of a type that nobody serves, by type: those that were known, and those that the log tells of.
    async fn sent(
        &mut self,
        look: &Look<'_>,
        workers: &Workers,
        found: &mut Found,
    ) -> Result<ByType, StoreError> {
        if !workers.hears_all(look.now) {
            found
                .unsure
                .extend(open_sent(look).map(|row| row.key.clone()));
            return Ok(ByType::new());
        }
        let gone = gone(look, workers).await?;
        self.sent.retain(|of, _| gone.contains(of));
        if gone.is_empty() {
            return Ok(ByType::new());
        }
        let is_new = gone.iter().any(|of| !self.sent.contains_key(of));
        let rows = if is_new { ROWS_FIRST } else { ROWS };
        let log = look.reader.last_entries(rows).await?;
        for of in &gone {
            self.sent.entry(of.clone()).or_default();
        }
        // what an earlier process found
        for row in open_sent(look) {
            let saga = row.data["sent"].as_str().and_then(|id| id.parse().ok());
            let of = self.sent.iter_mut().find(|(of, _)| key(of) == row.key);
            if let (Some((_, sagas)), Some(saga)) = (of, saga) {
                sagas.insert(saga);
            }
        }
        let (of_type, unknown) = in_queues(&log, &gone);
        for (of, sagas) in of_type {
            let known = self.sent.entry(of).or_default();
            let room = SAGAS_MAX.saturating_sub(known.len());
            let new: Vec<SagaId> = sagas.difference(known).copied().take(room).collect();
            known.extend(new);
        }
        self.still_wait(look, &unknown, found).await;
        let waiting = self.sent.iter().filter(|(_, sagas)| !sagas.is_empty());
        Ok(waiting
            .map(|(of, sagas)| (of.clone(), sagas.clone()))
            .collect())
    }

    /// Reads each of them, and keeps those whose task lies there; what cannot be read is left as it was.
    async fn still_wait(&mut self, look: &Look<'_>, unknown: &BTreeSet<SagaId>, found: &mut Found) {
        let known = self.sent.values().flatten().take(FOLDS_MAX);
        let some: BTreeSet<SagaId> = known
            .chain(unknown.iter().take(UNKNOWN_MAX))
            .copied()
            .collect();
        for saga in some {
            match folded(look.reader, saga).await {
                Ok(seen) => {
                    let waits = seen.map(|seen| waits_for(&seen.state)).unwrap_or_default();
                    for (of, sagas) in &mut self.sent {
                        if !waits.contains(of) {
                            sagas.remove(&saga);
                        } else if sagas.len() < SAGAS_MAX {
                            sagas.insert(saga);
                        }
                    }
                }
                // whoever looks for sagas that stand still says so of it
                Err(_) => {
                    let of = self.sent.iter().filter(|(_, sagas)| sagas.contains(&saga));
                    found.unsure.extend(of.map(|(of, _)| key(of)));
                }
            }
        }
    }
}

/// Who waits without a task.
async fn not_sent(look: &Look<'_>) -> Result<BTreeMap<TaskType, Waits>, StoreError> {
    let unserved = look.reader.unserved(UNSERVED_MAX).await?;
    let mut all: BTreeMap<TaskType, Waits> = BTreeMap::new();
    for (task_type, sagas) in unserved.by_type {
        let waits = all.entry(task_type).or_default();
        waits.sagas = sagas;
        waits.or_more = sagas >= UNSERVED_COUNTED_MAX;
    }
    for (task_type, saga) in unserved.first {
        all.entry(task_type).or_default().first.push(saga);
    }
    Ok(all)
}

/// Alerts of tasks that were sent: whether they are over is known only where the fleet is heard.
fn open_sent<'l>(look: &Look<'l>) -> impl Iterator<Item = &'l AlertRow> {
    let known = look.known;
    let unserved = known
        .values()
        .filter(|row| row.kind == Kind::Unserved.as_str() && row.state == AlertState::Open);
    unserved.filter(|row| row.data["sent"].is_string())
}

/// The types of the catalogue that have no worker any more.
async fn gone(look: &Look<'_>, workers: &Workers) -> Result<BTreeSet<TaskType>, StoreError> {
    let manifests = look.reader.manifests().await?.into_iter();
    let types = manifests.map(|manifest| manifest.task_type);
    Ok(types
        .filter(|of| workers.is_unserved(of, look.now))
        .collect())
}

/// Who was sent a task of one of these types and has not been heard of since, by type; and those of whom these rows do not say of which.
fn in_queues(rows: &[(SagaId, Entry)], gone: &BTreeSet<TaskType>) -> (ByType, BTreeSet<SagaId>) {
    let mut types: BTreeMap<(SagaId, StepKey, Direction), &TaskType> = BTreeMap::new();
    let mut open: BTreeSet<(SagaId, StepKey, Direction)> = BTreeSet::new();
    for (saga, entry) in rows {
        for record in &entry.records {
            match record {
                Record::Prepared {
                    step,
                    direction,
                    prepared,
                } => {
                    let place = (*saga, step.clone(), *direction);
                    types.insert(place, &prepared.facts.task_type);
                }
                Record::Offered { of, .. } | Record::Resent { of, .. } => {
                    open.insert((*saga, of.step.clone(), of.direction));
                }
                Record::Claimed { of, .. }
                | Record::Reported { of, .. }
                | Record::Closed { of, .. } => {
                    open.remove(&(*saga, of.step.clone(), of.direction));
                }
                _ => {}
            }
        }
    }
    let mut of_type = ByType::new();
    let mut unknown = BTreeSet::new();
    for place in open {
        match types.get(&place) {
            Some(of) if gone.contains(*of) => {
                of_type.entry((*of).clone()).or_default().insert(place.0);
            }
            Some(_) => {}
            None => {
                unknown.insert(place.0);
            }
        }
    }
    (of_type, unknown)
}

/// The types whose workers it waits for, with its task in their queue.
fn waits_for(state: &SagaState) -> BTreeSet<TaskType> {
    let live = state.live().filter(|_| state.active());
    let types = live.filter_map(|(_, step)| {
        let open = step.open_attempt()?;
        let ready = step.prepared(open.direction)?;
        (open.stage == Stage::Offered).then(|| ready.facts.task_type.clone())
    });
    types.collect()
}

/// What is said of a task type that so many sagas wait for.
fn title(task_type: &TaskType, waits: &Waits) -> String {
    let wait = match (waits.or_more, waits.sagas) {
        (true, _) => "sagas or more wait",
        (false, 1) => "saga waits",
        (false, _) => "sagas wait",
    };
    format!("nobody serves {task_type}; {} {wait} for it", waits.sagas)
}

/// Only where every saga that is looked at is one that alerts start; of a type whose sagas are beyond the page nobody knows that.
async fn is_own_type(look: &Look<'_>, key: &str, first: &[SagaId]) -> Result<bool, StoreError> {
    if look.settled(key).is_some() {
        return Ok(false);
    }
    let mut silent = false;
    for saga in first {
        silent = look.is_own(*saga).await?;
        if !silent {
            break;
        }
    }
    Ok(silent)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn saga(n: u128) -> SagaId {
        SagaId(Uuid::from_u128(n))
    }

    fn of(name: &str) -> TaskType {
        TaskType::new(name).unwrap()
    }

    fn row(n: u128, records: Value) -> (SagaId, Entry) {
        let entry = json!({ "at": 1_000, "records": records });
        (saga(n), serde_json::from_value(entry).unwrap())
    }

    fn attempt() -> Value {
        json!({ "step": "a", "direction": "do", "round": 1, "attempt": 1 })
    }

    fn prepared(task_type: &str) -> Value {
        json!({ "prepared": { "step": "a", "direction": "do", "prepared": {
            "facts": {
                "task_type": task_type, "pool": "default", "effect": "none", "idempotent": true, "undo": false, "probe": false,
                "hold": "claim", "timeout_ms": 1_000, "lease_ms": 1_000, "offer_ms": 1_000, "queue_ms": 1_000, "settle_ms": 0,
                "retry": { "attempts": 1, "backoff_ms": 0, "factor": 1.0, "max_ms": 0, "jitter": false },
            },
            "input": null } } })
    }

    fn offered() -> Value {
        json!({ "offered": { "of": attempt(), "dispatch": 1, "last_moment": 99_000 } })
    }

    fn closed() -> Value {
        json!({ "closed": { "of": attempt(), "why": "unheard", "maybe_acted": false } })
    }

    #[test]
    fn a_task_lies_in_its_queue_until_somebody_is_heard_of_it() {
        let log = [
            row(1, json!([prepared("a.b@1"), offered()])),
            row(2, json!([prepared("a.b@1"), offered()])),
            row(3, json!([prepared("c.d@1"), offered()])),
            row(2, json!([closed()])),
            // made ready before these rows
            row(4, json!([offered()])),
            row(5, json!([prepared("a.b@1")])),
        ];
        let (of_type, unknown) = in_queues(&log, &BTreeSet::from([of("a.b@1")]));
        let waiting = BTreeMap::from([(of("a.b@1"), BTreeSet::from([saga(1)]))]);
        assert_eq!(of_type, waiting);
        assert_eq!(unknown, BTreeSet::from([saga(4)]));
    }

    #[test]
    fn what_was_not_counted_to_its_end_is_said_so() {
        let title = |sagas, or_more| {
            let waits = Waits {
                sagas,
                or_more,
                ..Waits::default()
            };
            title(&of("a.b@1"), &waits)
        };
        assert_eq!(title(1, false), "nobody serves a.b@1; 1 saga waits for it");
        assert_eq!(title(2, false), "nobody serves a.b@1; 2 sagas wait for it");
        let more = "nobody serves a.b@1; 10 sagas or more wait for it";
        assert_eq!(title(10, true), more);
    }
}
