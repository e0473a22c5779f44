//! Where time goes, by task type: how long its tasks waited for a worker and how long they ran, over the last rows of the log. Reckoned
//! from the records and kept for a moment, so that many who look cost what one does.

use baton_store::Reader as _;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use baton_engine::Entry;
use baton_engine::record::{AttemptKey, Record};
use baton_messages::{Direction, Hold, SagaId, StepKey, TaskResult, TaskType, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::Shared;
use super::auth::Viewer;
use super::extract::{Nothing, Query};
use super::problem::{Answer, Problem};
use super::unserved::ByType;
use crate::clock;
use crate::fleet::WorkerView;

/// Rows of the log that are looked at: the last seconds of a busy orchestrator, the last day of a quiet one.
const ROWS: usize = 10_000;
/// Sagas that one answer names since they could not be read: enough to look at.
const UNREADABLE_MAX: usize = 20;
/// How long figures are shown again before they are reckoned anew.
const FRESH: Duration = Duration::from_secs(1);

/// Figures by task type.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Top {
    /// What waits for a worker that nobody has started comes first, then what waits longest.
    items: Vec<OfType>,
    /// How many rows of the log they are over; a task that was sent before them is not counted.
    over_rows: usize,
    /// When the first of these was written.
    since: Option<Timestamp>,
    /// Sagas that the figures leave out, wholly or in part, since what they recorded could not be read; the first twenty.
    unreadable: Vec<SagaId>,
}

/// Figures of one task type in one pool, all directions together.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
struct OfType {
    task_type: String,
    /// Empty where nobody can say yet which it will be.
    pool: String,
    /// Tasks that wait for a worker: sent ones nobody has claimed, of those that are held late as many as the workers have no place for, and
    /// those of `unserved`.
    waiting: usize,
    /// Sent tasks that are held late, and have a place at a worker: whether such a task waits still or runs nobody hears before its report.
    waiting_or_running: usize,
    /// Of these, steps whose task was not sent, since no worker has announced its type, or none takes it any more. Not counted beyond some ten
    /// thousand.
    unserved: usize,
    /// How long the one has waited that waits longest; none where all that is known of is `waiting_or_running`.
    longest_wait_ms: Option<u64>,
    /// Tasks claimed by a worker.
    running: usize,
    /// From the sending until a worker began: to its claim, or, of one that is held late, as long as it did not run by its worker's clock; median.
    wait_p50_ms: Option<u64>,
    wait_p95_ms: Option<u64>,
    /// From when a worker began to the report, median.
    run_p50_ms: Option<u64>,
    run_p95_ms: Option<u64>,
    /// How many of the reports were no success, from 0 to 1.
    failed_share: Option<f64>,
    /// Reports that were looked at.
    reports: usize,
    /// Workers that serve it.
    workers: usize,
    /// How many tasks these run at once, of all types.
    concurrency: u32,
}

/// The last figures.
#[derive(Debug, Default)]
pub(crate) struct LastTop(Mutex<Option<(Instant, Arc<Top>)>>);

impl LastTop {
    fn fresh(&self) -> Option<Arc<Top>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, top) = last.as_ref()?;
        (at.elapsed() < FRESH).then(|| top.clone())
    }

    fn keep(&self, top: Arc<Top>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), top));
    }
}

/// Where time goes, by task type.
pub(crate) async fn top(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Top>> {
    if let Some(top) = api.top.fresh() {
        return Ok(Json(top.as_ref().clone()));
    }
    let log = api.reader.last_entries(ROWS).await;
    let log = log.map_err(|error| Problem::store(&error))?;
    let mut unread = log.unreadable;
    let unserved = api.unserved(&mut unread).await?;
    let now = clock::now();
    let mut top = reckoned(&log.entries, &unserved, &api.workers.all(now), now);
    top.unreadable = unread.into_iter().take(UNREADABLE_MAX).collect();
    let top = Arc::new(top);
    api.top.keep(top.clone());
    Ok(Json(top.as_ref().clone()))
}

/// What a step was made ready to send.
struct Ready {
    of: (TaskType, String),
    /// Whether its worker says nothing before its report.
    late: bool,
}

/// One sending as it is followed through the log.
struct Sending {
    of: (TaskType, String),
    /// As [`Ready`] has it.
    late: bool,
    sent: Timestamp,
    claimed: Option<Timestamp>,
}

impl Sending {
    /// How long it waited, where its claim has not told that, and how long it ran. Clocks of workers may be off, spans of theirs are not.
    fn parts(&self, reported: Timestamp, started: bool, ran_ms: Option<u64>) -> Parts {
        if !started {
            return (None, None);
        }
        if let Some(claimed) = self.claimed {
            return (None, Some(reported.since_ms(claimed)));
        }
        let whole = reported.since_ms(self.sent);
        match ran_ms {
            Some(ran) => (Some(whole.saturating_sub(ran)), Some(ran.min(whole))),
            // written by an earlier version, which kept no more: how much of it was waiting, nobody knows
            None => (None, None),
        }
    }
}

type Parts = (Option<u64>, Option<u64>);

#[derive(Default)]
struct Gathered {
    waits: Vec<u64>,
    runs: Vec<u64>,
    reports: usize,
    failed: usize,
    waiting: usize,
    running: usize,
    unserved: usize,
    /// Since when the first waits.
    since: Option<Timestamp>,
    /// When each task that is held late was sent.
    late: Vec<Timestamp>,
}

impl Gathered {
    fn waits_since(&mut self, since: Timestamp) {
        self.since = Some(self.since.map_or(since, |first| first.min(since)));
    }

    /// What is held late waits where the workers have no place for it; they take what was sent first.
    fn sort_late(&mut self, places: usize) {
        self.late.sort_unstable();
        let free = places.saturating_sub(self.running);
        let beyond = self.late.split_off(self.late.len().min(free));
        for sent in beyond {
            self.waiting += 1;
            self.waits_since(sent);
        }
    }
}

type Attempt = (SagaId, StepKey, Direction, u32, u32);

fn key(saga: SagaId, of: &AttemptKey) -> Attempt {
    (saga, of.step.clone(), of.direction, of.round, of.attempt)
}

/// The figures of the log, and who waits without a task.
fn reckoned(
    rows: &[(SagaId, Entry)],
    unserved: &ByType,
    workers: &[WorkerView],
    now: Timestamp,
) -> Top {
    let mut all = followed(rows);
    for ((task_type, pool), waits) in unserved {
        let of = (task_type.clone(), pool.clone().unwrap_or_default());
        let gathered = all.entry(of).or_default();
        gathered.waiting += waits.steps;
        gathered.unserved += waits.steps;
        if let Some(since) = waits.since {
            gathered.waits_since(since);
        }
    }
    let mut items: Vec<OfType> = all
        .into_iter()
        .map(|((task_type, pool), gathered)| shown(&task_type, pool, gathered, workers, now))
        .collect();
    items.sort_by_key(|item| {
        let starved = item.waiting > 0 && item.workers == 0;
        let longest = item.longest_wait_ms.filter(|_| starved);
        std::cmp::Reverse((starved, longest, item.wait_p95_ms, item.waiting))
    });
    Top {
        items,
        over_rows: rows.len(),
        since: rows.first().map(|(_, entry)| entry.at),
        unreadable: Vec::new(),
    }
}

/// Follows every sending from row to row, oldest first.
fn followed(rows: &[(SagaId, Entry)]) -> BTreeMap<(TaskType, String), Gathered> {
    let mut types: HashMap<(SagaId, StepKey, Direction), Ready> = HashMap::new();
    let mut open: HashMap<Attempt, Sending> = HashMap::new();
    let mut all: BTreeMap<(TaskType, String), Gathered> = BTreeMap::new();
    for (saga, entry) in rows {
        for record in &entry.records {
            match record {
                Record::Prepared {
                    step,
                    direction,
                    prepared,
                } => {
                    let facts = &prepared.facts;
                    let of = (facts.task_type.clone(), facts.pool.to_string());
                    let late = facts.hold == Hold::Late;
                    types.insert((*saga, step.clone(), *direction), Ready { of, late });
                }
                Record::Offered { of, .. } => {
                    let known = types.get(&(*saga, of.step.clone(), of.direction));
                    if let Some(ready) = known {
                        let sending = Sending {
                            of: ready.of.clone(),
                            late: ready.late,
                            sent: entry.at,
                            claimed: None,
                        };
                        open.insert(key(*saga, of), sending);
                    }
                }
                Record::Claimed { of, .. } => {
                    if let Some(sending) = open.get_mut(&key(*saga, of)) {
                        sending.claimed = Some(entry.at);
                        let gathered = all.entry(sending.of.clone()).or_default();
                        gathered.waits.push(entry.at.since_ms(sending.sent));
                    }
                }
                Record::Reported {
                    of,
                    result,
                    started,
                    ran_ms,
                    ..
                } => {
                    if let Some(sending) = open.remove(&key(*saga, of)) {
                        let (wait, run) = sending.parts(entry.at, *started, *ran_ms);
                        let gathered = all.entry(sending.of).or_default();
                        gathered.waits.extend(wait);
                        gathered.runs.extend(run);
                        gathered.reports += 1;
                        gathered.failed += usize::from(!good(result));
                    }
                }
                Record::Closed { of, .. } => {
                    open.remove(&key(*saga, of));
                }
                _ => {}
            }
        }
    }
    for sending in open.into_values() {
        let gathered = all.entry(sending.of).or_default();
        match sending.claimed {
            Some(_) => gathered.running += 1,
            None if sending.late => gathered.late.push(sending.sent),
            None => {
                gathered.waiting += 1;
                gathered.waits_since(sending.sent);
            }
        }
    }
    all
}

const fn good(result: &TaskResult) -> bool {
    matches!(
        result,
        TaskResult::Succeeded { .. } | TaskResult::Probed { .. }
    )
}

fn shown(
    task_type: &TaskType,
    pool: String,
    mut gathered: Gathered,
    workers: &[WorkerView],
    now: Timestamp,
) -> OfType {
    gathered.waits.sort_unstable();
    gathered.runs.sort_unstable();
    let serves = |worker: &&WorkerView| {
        !worker.silent
            && worker.types.contains(task_type)
            && (pool.is_empty() || worker.pools.iter().any(|name| name.as_str() == pool))
    };
    let serving: BTreeSet<_> = workers
        .iter()
        .filter(serves)
        .map(|worker| (&worker.worker, worker.concurrency.unwrap_or(0)))
        .collect();
    let concurrency: u32 = serving.iter().map(|(_, concurrency)| concurrency).sum();
    gathered.sort_late(usize::try_from(concurrency).unwrap_or(usize::MAX));
    OfType {
        task_type: task_type.to_string(),
        waiting: gathered.waiting,
        waiting_or_running: gathered.late.len(),
        unserved: gathered.unserved,
        longest_wait_ms: gathered.since.map(|since| now.since_ms(since)),
        running: gathered.running,
        wait_p50_ms: quantile(&gathered.waits, 50),
        wait_p95_ms: quantile(&gathered.waits, 95),
        run_p50_ms: quantile(&gathered.runs, 50),
        run_p95_ms: quantile(&gathered.runs, 95),
        failed_share: share(gathered.failed, gathered.reports),
        reports: gathered.reports,
        workers: serving.len(),
        concurrency,
        pool,
    }
}

/// The smallest value that so many percent do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn share(of: usize, all: usize) -> Option<f64> {
    let of = u32::try_from(of).ok()?;
    let all = u32::try_from(all).ok().filter(|all| *all > 0)?;
    Some(f64::from(of) / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::super::unserved::Waits;
    use super::*;

    #[test]
    fn what_is_held_late_waits_until_its_worker_began() {
        let late = Sending {
            of: (
                TaskType::new("test.echo@1").unwrap(),
                String::from("default"),
            ),
            late: true,
            sent: Timestamp(1_000),
            claimed: None,
        };
        let at = Timestamp(61_000);
        assert_eq!(late.parts(at, true, Some(500)), (Some(59_500), Some(500)));
        let off = late.parts(at, true, Some(70_000));
        assert_eq!(off, (Some(0), Some(60_000)));
        assert_eq!(late.parts(at, true, None), (None, None));
        assert_eq!(late.parts(at, false, None), (None, None));
        let claimed = Sending {
            claimed: Some(Timestamp(41_000)),
            ..late
        };
        assert_eq!(claimed.parts(at, true, Some(500)), (None, Some(20_000)));
    }

    fn entries(all: serde_json::Value) -> Vec<(SagaId, Entry)> {
        let all: Vec<Entry> = serde_json::from_value(all).unwrap();
        let saga = SagaId(uuid::Uuid::from_u128(7));
        all.into_iter().map(|entry| (saga, entry)).collect()
    }

    /// A task of a step of its own, sent in the n-th second.
    fn offered(hold: &str, n: u64) -> serde_json::Value {
        let facts = serde_json::json!({
            "task_type": "test.echo@1", "pool": "default", "effect": "none", "idempotent": true, "undo": false, "probe": false,
            "hold": hold, "timeout_ms": 1_000, "lease_ms": 1_000, "offer_ms": 1_000, "queue_ms": 1_000, "settle_ms": 0,
            "retry": { "attempts": 1, "backoff_ms": 0, "factor": 1.0, "max_ms": 0, "jitter": false },
        });
        let step = format!("s{n}");
        serde_json::json!({ "at": n * 1_000, "records": [
            { "prepared": { "step": step, "direction": "do", "prepared": { "facts": facts, "input": null } } },
            { "offered": { "of": { "step": step, "direction": "do", "round": 1, "attempt": 1 }, "dispatch": 1, "last_moment": 99_000 } },
        ] })
    }

    #[test]
    fn what_waits_for_a_worker_nobody_has_started_comes_first() {
        let sent = entries(serde_json::json!([offered("late", 1)]));
        let nobody = (TaskType::new("switch.set-vlan@1").unwrap(), None);
        let waits = Waits {
            steps: 3,
            since: Some(Timestamp(40_000)),
        };
        let unserved = ByType::from([(nobody, waits)]);
        let serving = WorkerView::of_test(&["test.echo@1"]);
        let top = reckoned(&sent, &unserved, &[serving], Timestamp(61_000));
        let seen = |n: usize| {
            let item = &top.items[n];
            let name = item.task_type.as_str();
            (
                name,
                item.waiting,
                item.unserved,
                item.longest_wait_ms,
                item.workers,
            )
        };
        assert_eq!(seen(0), ("switch.set-vlan@1", 3, 3, Some(21_000), 0));
        assert_eq!(seen(1), ("test.echo@1", 0, 0, None, 1));
        assert_eq!(top.items[1].waiting_or_running, 1);
    }

    /// Nobody hears whether what is held late runs: as long as it has a place at a worker it is no bottleneck.
    #[test]
    fn what_is_held_late_waits_for_certain_where_no_worker_has_a_place_for_it() {
        let sent: Vec<_> = (1..=6).map(|n| offered("late", n)).collect();
        let sent = entries(serde_json::json!(sent));
        let seen = |workers: &[WorkerView]| {
            let top = reckoned(&sent, &ByType::new(), workers, Timestamp(61_000));
            let item = &top.items[0];
            (item.waiting, item.waiting_or_running, item.longest_wait_ms)
        };
        // of_test has four places
        let worker = WorkerView::of_test(&["test.echo@1"]);
        assert_eq!(seen(&[worker]), (2, 4, Some(56_000)));
        assert_eq!(seen(&[]), (6, 0, Some(60_000)));
    }

    #[test]
    fn what_is_claimed_before_it_runs_waits_until_it_is() {
        let sent = entries(serde_json::json!([offered("claim", 1)]));
        let worker = WorkerView::of_test(&["test.echo@1"]);
        let top = reckoned(&sent, &ByType::new(), &[worker], Timestamp(61_000));
        let item = &top.items[0];
        assert_eq!((item.waiting, item.waiting_or_running), (1, 0));
        assert_eq!(item.longest_wait_ms, Some(60_000));
    }

    #[test]
    fn who_was_not_looked_at_waits_since_nobody_knows_when() {
        let kind = TaskType::new("switch.set-vlan@1").unwrap();
        let waits = Waits {
            steps: 2,
            since: None,
        };
        let unserved = ByType::from([((kind, None), waits)]);
        let top = reckoned(&[], &unserved, &[], Timestamp(61_000));
        let item = &top.items[0];
        assert_eq!((item.waiting, item.longest_wait_ms), (2, None));
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[7], 95), Some(7));
        let all: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&all, 50), Some(50));
        assert_eq!(quantile(&all, 95), Some(95));
        assert_eq!(share(1, 4), Some(0.25));
        assert_eq!(share(0, 0), None);
    }
}
