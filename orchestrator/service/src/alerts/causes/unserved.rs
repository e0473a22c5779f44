//! Task types that sagas wait for and nobody serves: those whose tasks were not sent, since nobody has announced the type or none takes it any more, and those
//! whose tasks lie in a queue that the last worker of its pool has left.
//!
//! Guarantee: that a worker has gone is said only where the fleet is heard; while it is not, what was said of that stays. Bounded: so many rows of the log, and
//! so many sagas one by one.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::StoreError;
use baton_engine::state::Stage;
use baton_engine::{Entry, Record, SagaState};
use baton_messages::{Direction, PoolName, SagaId, StepKey, TaskType, Timestamp};
use baton_store::{AlertRow, AlertState, Reader as _, UNSERVED_COUNTED_MAX};
use serde_json::json;

use super::{Cause, Found, Look};
use crate::alerts::{Kind, Uses};
use crate::api::folded;
use crate::fleet::Workers;

/// Sagas that wait for a worker and are looked at, to find out whether alerts started them.
const UNSERVED_MAX: usize = 100;
/// Rows of the log that are searched for tasks in queues without workers when one has just gone: what was sent before that was known.
const ROWS_FIRST: usize = 10_000;
/// The same at other times: what was sent since the last look, and some before.
const ROWS: usize = 1_000;
/// Sagas that are followed of one type in one pool, until they wait no more.
const SAGAS_MAX: usize = 10;
/// Sagas whose records one look reads.
const FOLDS_MAX: usize = 200;
/// Sagas whose records one look reads since the log does not say what they wait for: it is some time ago that they were made ready.
const UNKNOWN_MAX: usize = 20;

/// A queue of tasks.
type Place = (TaskType, PoolName);
/// Sagas of which a task lies there.
type ByPlace = BTreeMap<Place, BTreeSet<SagaId>>;

/// What it was found by, from look to look.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    /// Since when sagas wait for what nobody serves, by the alert's key.
    since: BTreeMap<String, Timestamp>,
    /// What was served at the last look, where that was known.
    served: Option<BTreeSet<Place>>,
    /// Sagas of which a task lies in a queue that has no worker.
    sent: ByPlace,
}

/// Who waits for one of them.
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

/// A type, and its pool where that is known and not the default one.
type Wanted = (TaskType, Option<PoolName>);

fn wanted((task_type, pool): Place) -> Wanted {
    let pool = Some(pool).filter(|pool| *pool != PoolName::default_pool());
    (task_type, pool)
}

fn key((task_type, pool): &Wanted) -> String {
    match pool {
        Some(pool) => format!("unserved/{task_type}/{pool}"),
        None => format!("unserved/{task_type}"),
    }
}

impl Unserved {
    pub(super) async fn find(
        &mut self,
        look: &Look<'_>,
        uses: &Uses,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let mut all = not_sent(look).await?;
        // a log that cannot be read hides none of those whose tasks were not sent; it is said, and of this kind nothing is over
        let read = self.look_at_sent(look, &uses.workers, found).await;
        if read.is_ok() {
            for (place, sagas) in &self.sent {
                let waits = all.entry(wanted(place.clone())).or_default();
                waits.sagas += sagas.len();
                waits.or_more |= sagas.len() >= SAGAS_MAX;
                waits.sent = sagas.first().copied();
                waits.first.extend(sagas);
            }
        }
        let mut since = BTreeMap::new();
        let mut waiting = Vec::new();
        for (wanted, waits) in all {
            let key = key(&wanted);
            let began = self.since.get(&key).copied().unwrap_or(look.now);
            since.insert(key.clone(), began);
            let long = look.now.since_ms(began) >= uses.rules.unserved_ms;
            if long || look.open(&key).is_some() {
                waiting.push((key, (wanted, waits)));
            }
        }
        self.since = since;
        let (kept, beyond) = look.kept(waiting);
        let mut causes = Vec::with_capacity(kept.len());
        for (key, (wanted, waits)) in kept {
            let silent = is_own_type(look, &key, &waits.first).await?;
            let title = title(&wanted, &waits);
            let (task_type, pool) = wanted;
            causes.push(Cause {
                key,
                kind: Kind::Unserved,
                title,
                object: format!("task-types/{task_type}"),
                command: "baton top".to_owned(),
                data: json!({ "task_type": task_type, "pool": pool, "sagas": waits.sagas, "sent": waits.sent }),
                silent,
            });
        }
        found.take(Kind::Unserved, causes, beyond);
        read
    }

    /// Follows the sagas of which a task lies in a queue that nobody serves: those that were known, and those that the log tells of.
    async fn look_at_sent(
        &mut self,
        look: &Look<'_>,
        workers: &Workers,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let Some(served) = workers.served(look.now) else {
            self.sent.clear();
            self.served = None;
            let unsure = open_sent(look).filter(|row| !is_served(row, workers, look.now));
            found.unsure.extend(unsure.map(|row| row.key.clone()));
            return Ok(());
        };
        // at first, and when somebody has gone
        let before = self.served.as_ref();
        let is_new = before.is_none_or(|before| !before.is_subset(&served));
        let rows = if is_new { ROWS_FIRST } else { ROWS };
        let log = look.reader.last_entries(rows).await?;
        let (lying, unknown) = in_queues(&log, &served);
        self.sent.retain(|place, _| !served.contains(place));
        for (place, sagas) in lying {
            let known = self.sent.entry(place).or_default();
            let room = SAGAS_MAX.saturating_sub(known.len());
            let new: Vec<SagaId> = sagas.difference(known).copied().take(room).collect();
            known.extend(new);
        }
        // what an earlier process found, and what the log tells too little of
        let ids = open_sent(look).filter_map(|row| row.data["sent"].as_str());
        let ids = ids.filter_map(|id| id.parse::<SagaId>().ok());
        let mut others: BTreeSet<SagaId> = unknown.into_iter().take(UNKNOWN_MAX).collect();
        others.extend(ids);
        self.still_wait(look, &served, others, found).await;
        self.served = Some(served);
        Ok(())
    }

    /// Reads each of them, and keeps those whose task lies there; what cannot be read is left as it was.
    async fn still_wait(
        &mut self,
        look: &Look<'_>,
        served: &BTreeSet<Place>,
        mut sagas: BTreeSet<SagaId>,
        found: &mut Found,
    ) {
        sagas.extend(self.sent.values().flatten().take(FOLDS_MAX));
        for saga in sagas {
            let Ok(seen) = folded(look.reader, saga).await else {
                // whoever looks for sagas that stand still says so of it
                let of = self.sent.iter().filter(|(_, sagas)| sagas.contains(&saga));
                let keys = of.map(|(place, _)| key(&wanted(place.clone())));
                found.unsure.extend(keys);
                continue;
            };
            let waits = seen.map(|seen| waits_for(&seen.state)).unwrap_or_default();
            for (place, sagas) in &mut self.sent {
                if !waits.contains(place) {
                    sagas.remove(&saga);
                }
            }
            for place in waits.into_iter().filter(|place| !served.contains(place)) {
                let known = self.sent.entry(place).or_default();
                if known.len() < SAGAS_MAX {
                    known.insert(saga);
                }
            }
        }
        self.sent.retain(|_, sagas| !sagas.is_empty());
    }
}

/// Who waits without a task.
async fn not_sent(look: &Look<'_>) -> Result<BTreeMap<Wanted, Waits>, StoreError> {
    let unserved = look.reader.unserved(UNSERVED_MAX).await?;
    let mut all: BTreeMap<Wanted, Waits> = BTreeMap::new();
    for (task_type, sagas) in unserved.by_type {
        let waits = all.entry((task_type, None)).or_default();
        waits.sagas = sagas;
        waits.or_more = sagas >= UNSERVED_COUNTED_MAX;
    }
    for (task_type, saga) in unserved.first {
        let waits = all.entry((task_type, None)).or_default();
        waits.first.push(saga);
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

/// Whether somebody who takes what an alert speaks of was heard lately: it is over then, also to one who does not know yet who is gone.
fn is_served(row: &AlertRow, workers: &Workers, now: Timestamp) -> bool {
    let default = PoolName::default_pool();
    let pool = row.data["pool"].as_str().unwrap_or(default.as_str());
    let task_type = row.data["task_type"].as_str();
    task_type.is_some_and(|of| workers.is_served(of, pool, now))
}

/// Whose task lies in a queue that nobody serves, as far as these rows say: it was sent and nothing was heard of it since; and those of whom they do not say
/// in which queue.
fn in_queues(rows: &[(SagaId, Entry)], served: &BTreeSet<Place>) -> (ByPlace, BTreeSet<SagaId>) {
    let mut places: BTreeMap<(SagaId, StepKey, Direction), Place> = BTreeMap::new();
    let mut open: BTreeSet<(SagaId, StepKey, Direction)> = BTreeSet::new();
    for (saga, entry) in rows {
        for record in &entry.records {
            match record {
                Record::Prepared {
                    step,
                    direction,
                    prepared,
                } => {
                    let facts = &prepared.facts;
                    let place = (facts.task_type.clone(), facts.pool.clone());
                    places.insert((*saga, step.clone(), *direction), place);
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
    let (mut lying, mut unknown) = (ByPlace::new(), BTreeSet::new());
    for step in open {
        match places.get(&step) {
            Some(place) if !served.contains(place) => {
                lying.entry(place.clone()).or_default().insert(step.0);
            }
            Some(_) => {}
            None => {
                unknown.insert(step.0);
            }
        }
    }
    (lying, unknown)
}

/// The queues in which a task of it lies.
fn waits_for(state: &SagaState) -> BTreeSet<Place> {
    let live = state.live().filter(|_| state.active());
    let places = live.filter_map(|(_, step)| {
        let open = step.open_attempt()?;
        let facts = &step.prepared(open.direction)?.facts;
        let is_sent = open.stage == Stage::Offered;
        is_sent.then(|| (facts.task_type.clone(), facts.pool.clone()))
    });
    places.collect()
}

/// What is said of a task type that so many sagas wait for.
fn title((task_type, pool): &Wanted, waits: &Waits) -> String {
    let wait = match (waits.or_more, waits.sagas) {
        (true, _) => "sagas or more wait",
        (false, 1) => "saga waits",
        (false, _) => "sagas wait",
    };
    let pool = pool.as_ref();
    let pool = pool.map(|pool| format!(" in the pool {pool}"));
    let pool = pool.unwrap_or_default();
    format!(
        "nobody serves {task_type}{pool}; {} {wait} for it",
        waits.sagas
    )
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

    fn prepared(task_type: &str, pool: &str) -> Value {
        json!({ "prepared": { "step": "a", "direction": "do", "prepared": {
            "facts": {
                "task_type": task_type, "pool": pool, "effect": "none", "idempotent": true, "undo": false, "probe": false,
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
            row(1, json!([prepared("a.b@1", "default"), offered()])),
            row(2, json!([prepared("a.b@1", "default"), offered()])),
            row(3, json!([prepared("c.d@1", "default"), offered()])),
            row(2, json!([closed()])),
            // made ready before these rows
            row(4, json!([offered()])),
            row(5, json!([prepared("a.b@1", "default")])),
            // another pool has workers, this one has none
            row(6, json!([prepared("c.d@1", "far"), offered()])),
        ];
        let place = |name: &str, pool: &str| (of(name), PoolName::new(pool).unwrap());
        let served = BTreeSet::from([place("c.d@1", "default")]);
        let (lying, unknown) = in_queues(&log, &served);
        let waiting = BTreeMap::from([
            (place("a.b@1", "default"), BTreeSet::from([saga(1)])),
            (place("c.d@1", "far"), BTreeSet::from([saga(6)])),
        ]);
        assert_eq!(lying, waiting);
        assert_eq!(unknown, BTreeSet::from([saga(4)]));
    }

    #[test]
    fn what_was_not_counted_to_its_end_is_said_so_and_which_pool_it_is() {
        let title = |pool: &str, sagas, or_more| {
            let waits = Waits {
                sagas,
                or_more,
                ..Waits::default()
            };
            let place = (of("a.b@1"), PoolName::new(pool).unwrap());
            title(&wanted(place), &waits)
        };
        let one = title("default", 1, false);
        assert_eq!(one, "nobody serves a.b@1; 1 saga waits for it");
        let two = title("far", 2, false);
        assert_eq!(
            two,
            "nobody serves a.b@1 in the pool far; 2 sagas wait for it"
        );
        let more = title("default", 10, true);
        assert_eq!(more, "nobody serves a.b@1; 10 sagas or more wait for it");
    }
}
