//! The workers heard of lately, for those who look: never what a decision of a saga rests on. An operator who sends back a task that nobody could take is told so by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use baton_messages::fleet::{Announcement, HEARTBEAT_MS, Heartbeat, Running};
use baton_messages::{PoolName, TaskType, Timestamp, WorkerId, topology};
use schemars::JsonSchema;
use serde::Serialize;

use crate::metrics;

/// A worker that was silent for so long is no longer shown: it announces itself every 15 s. Whoever has heard the fleet for as long has heard everybody who
/// counts as being there.
pub(crate) const SHOWN_MS: u64 = 3 * 60_000;
/// Our own canary sings every second: who has not heard it for so long hears nobody.
const DEAF_MS: u64 = 3 * HEARTBEAT_MS;
/// Who has heard the fleet for so long has had a heartbeat of everybody who lives, and one more where one was lost; all were asked to announce themselves at once.
const HEARD_ALL_MS: u64 = 2 * HEARTBEAT_MS;
/// How long what workers say of tasks in one message is not looked at anew: it changes with each heartbeat, and is asked for with each batch.
const TOGETHER_FOR_MS: u64 = 1_000;
/// How far a worker's clock may be off before somebody is told.
const CLOCK_OFF_MS_MAX: u64 = 5_000;
/// Most workers remembered; a fleet larger than this is shown in part.
const WORKERS_MAX: usize = 10_000;
/// Most task types, each in a pool, remembered of workers that have left.
const LEFT_MAX: usize = 10_000;

/// A worker as it is shown.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Worker")]
pub(crate) struct WorkerView {
    /// Who.
    pub(crate) worker: WorkerId,
    /// Its pools.
    pub(crate) pools: Vec<PoolName>,
    /// The version of its program.
    pub(crate) version: Option<String>,
    /// How many tasks it runs at once.
    pub(crate) concurrency: Option<u32>,
    /// What it can do.
    pub(crate) types: Vec<TaskType>,
    /// The claimed tasks it runs.
    pub(crate) running: Vec<Running>,
    /// When it was last heard.
    pub(crate) heard_at: Timestamp,
    /// Whether it has missed three heartbeats.
    pub(crate) silent: bool,
    /// How far its clock is off, in milliseconds; positive when it is ahead.
    pub(crate) clock_off_ms: i64,
    /// How many tasks of a type suit it in one message, where that is more than one.
    #[serde(skip)]
    together: BTreeMap<TaskType, usize>,
    #[serde(skip)]
    told_of_clock: bool,
}

impl WorkerView {
    /// What it takes: each of its types in each of its pools.
    fn places(&self) -> impl Iterator<Item = (&TaskType, &PoolName)> {
        let types = self.types.iter();
        types.flat_map(move |of| self.pools.iter().map(move |pool| (of, pool)))
    }
}

#[cfg(test)]
impl WorkerView {
    /// One that serves these types in the default pool.
    pub(crate) fn of_test(types: &[&str]) -> Self {
        let types = types.iter().map(|name| TaskType::new(name).unwrap());
        Self {
            worker: WorkerId::new("w1").unwrap(),
            pools: vec![PoolName::default_pool()],
            version: None,
            concurrency: Some(4),
            types: types.collect(),
            running: Vec::new(),
            heard_at: Timestamp(0),
            silent: false,
            clock_off_ms: 0,
            together: BTreeMap::new(),
            told_of_clock: false,
        }
    }
}

/// The workers heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    known: Mutex<BTreeMap<WorkerId, WorkerView>>,
    /// What those could do that have left, in which pool, and when: they may only be starting anew.
    left: Mutex<BTreeMap<(TaskType, PoolName), Timestamp>>,
    hearing: Mutex<Option<Hearing>>,
    together: Mutex<Option<(Timestamp, Arc<Places>)>>,
}

/// How many tasks may go in one message, by the routing key of their queue.
pub(crate) type Places = HashMap<String, usize>;

/// That we hear our own canary.
#[derive(Debug, Clone, Copy)]
struct Hearing {
    since: Timestamp,
    last: Timestamp,
}

impl Workers {
    pub(crate) fn announced(&self, announcement: &Announcement, now: Timestamp) {
        self.update(&announcement.worker, announcement.at, now, |view| {
            view.pools.clone_from(&announcement.pools);
            if view.version.as_ref() != Some(&announcement.version) {
                // another program under the same name: what the one before was glad of says nothing of it
                view.together.clear();
            }
            view.version = Some(announcement.version.clone());
            view.concurrency = Some(announcement.concurrency);
            view.types = announcement
                .types
                .iter()
                .map(|manifest| manifest.task_type.clone())
                .collect();
        });
        *self.together.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn heartbeat(
        &self,
        heartbeat: &Heartbeat,
        together: BTreeMap<TaskType, usize>,
        now: Timestamp,
    ) {
        self.update(&heartbeat.worker, heartbeat.at, now, |view| {
            view.running.clone_from(&heartbeat.running);
            view.together = together;
        });
    }

    /// Where several tasks may go in one message, and how many: as many as suit each who serves that queue. Looked at anew every second.
    pub(crate) fn together(&self, now: Timestamp) -> Arc<Places> {
        let mut together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, places)) = &*together
            && now.since_ms(*at) < TOGETHER_FOR_MS
            && *at <= now
        {
            return places.clone();
        }
        let places = Arc::new(self.places_together(now));
        *together = Some((now, places.clone()));
        places
    }

    /// Whoever may still be there counts, also when he is silent: he takes what lies in his queues when he is heard again. And nothing is said before everybody who
    /// lives can have been heard.
    fn places_together(&self, now: Timestamp) -> Places {
        let since = self.heard_since(now);
        if since.is_none_or(|since| now.since_ms(since) < HEARD_ALL_MS) {
            return Places::new();
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let there = || {
            known
                .values()
                .filter(|view| now.since_ms(view.heard_at) < SHOWN_MS)
        };
        let mut places = Places::new();
        // of one that was heard and has not said what it serves nobody knows which queues it takes from
        let unknown = there().any(|view| view.version.is_none());
        if unknown || known.len() >= WORKERS_MAX || there().all(|view| view.together.is_empty()) {
            return places;
        }
        for view in there() {
            for (of, pool) in view.places() {
                let its = view.together.get(of).copied().unwrap_or(1);
                let place = places.entry(topology::task_key(pool, of)).or_insert(its);
                *place = its.min(*place);
            }
        }
        places.retain(|_, together| *together > 1);
        places
    }

    pub(crate) fn left(&self, worker: &WorkerId, now: Timestamp) {
        let gone = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = known.remove(worker);
            metrics::workers(known.len());
            gone
        };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for (of, pool) in gone.iter().flat_map(WorkerView::places) {
            let place = (of.clone(), pool.clone());
            if left.len() < LEFT_MAX || left.contains_key(&place) {
                left.insert(place, now);
            }
        }
    }

    /// Whether it is known that nobody serves a task type, in this pool or, without one, in any; no where that is not known, as [`Self::served`] has it.
    pub(crate) fn is_unserved(
        &self,
        task_type: &TaskType,
        pool: Option<&PoolName>,
        now: Timestamp,
    ) -> bool {
        let mut served = false;
        let known = self.each_served(now, |of, its| {
            served |= of == task_type && pool.is_none_or(|pool| pool == its);
        });
        known && !served
    }

    /// Which task types somebody serves, and in which pools. Whoever was heard, or has left, so lately that it may only be starting anew counts as serving; and
    /// while the fleet is not heard, or was not for long enough, nothing is known.
    pub(crate) fn served(&self, now: Timestamp) -> Option<BTreeSet<(TaskType, PoolName)>> {
        let mut served = BTreeSet::new();
        let known = self.each_served(now, |of, pool| {
            served.insert((of.clone(), pool.clone()));
        });
        known.then_some(served)
    }

    /// Hands over each type in each pool that somebody serves, some of them more than once; false where it is not known who does.
    fn each_served(&self, now: Timestamp, mut each: impl FnMut(&TaskType, &PoolName)) -> bool {
        if !self.hears_all(now) {
            return false;
        }
        let lately = |at: Timestamp| now.since_ms(at) < SHOWN_MS;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= WORKERS_MAX {
            return false;
        }
        let there = known.values().filter(|view| lately(view.heard_at));
        for (of, pool) in there.flat_map(WorkerView::places) {
            each(of, pool);
        }
        drop(known);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= LEFT_MAX {
            return false;
        }
        for ((of, pool), _) in left.iter().filter(|(_, at)| lately(**at)) {
            each(of, pool);
        }
        true
    }

    /// Whether a worker that serves this was heard lately. That says something however short the fleet is heard.
    pub(crate) fn is_served(&self, task_type: &str, pool: &str, now: Timestamp) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = known
            .values()
            .filter(|view| now.since_ms(view.heard_at) < SHOWN_MS);
        there.any(|view| {
            let mut places = view.places();
            places.any(|(of, in_pool)| of.as_str() == task_type && in_pool.as_str() == pool)
        })
    }

    /// Whether the fleet has been heard for so long that whoever counts as being there was heard: who has left, or is gone without a word, before we began to
    /// hear is by then no longer waited for.
    fn hears_all(&self, now: Timestamp) -> bool {
        let since = self.heard_since(now);
        since.is_some_and(|since| now.since_ms(since) >= SHOWN_MS)
    }

    /// Our own canary was heard: whoever is silent now is silent.
    pub(crate) fn canary(&self, now: Timestamp) {
        let mut hearing = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = hearing.filter(|heard| now.since_ms(heard.last) <= DEAF_MS);
        let since = since.map_or(now, |heard| heard.since);
        *hearing = Some(Hearing { since, last: now });
    }

    /// Since when we have heard the fleet without a gap; none: we do not, and nobody's silence says anything.
    pub(crate) fn heard_since(&self, now: Timestamp) -> Option<Timestamp> {
        let hearing = *self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let hearing = hearing.filter(|heard| now.since_ms(heard.last) <= DEAF_MS)?;
        Some(hearing.since)
    }

    /// Forgets who has not been heard for long.
    pub(crate) fn forget_silent(&self, now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, view| now.since_ms(view.heard_at) < SHOWN_MS);
        metrics::workers(known.len());
        drop(known);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|_, at| now.since_ms(*at) < SHOWN_MS);
    }

    /// All of them, by name.
    pub(crate) fn all(&self, now: Timestamp) -> Vec<WorkerView> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .cloned()
            .map(|mut view| {
                view.silent = now.since_ms(view.heard_at) > 3 * HEARTBEAT_MS;
                view
            })
            .collect()
    }

    fn update(
        &self,
        worker: &WorkerId,
        its_clock: Timestamp,
        now: Timestamp,
        change: impl FnOnce(&mut WorkerView),
    ) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(worker) && known.len() >= WORKERS_MAX {
            return;
        }
        let view = known.entry(worker.clone()).or_insert_with(|| WorkerView {
            worker: worker.clone(),
            pools: Vec::new(),
            version: None,
            concurrency: None,
            types: Vec::new(),
            running: Vec::new(),
            heard_at: now,
            silent: false,
            clock_off_ms: 0,
            together: BTreeMap::new(),
            told_of_clock: false,
        });
        view.heard_at = now;
        view.clock_off_ms = off_ms(its_clock, now);
        let off = view.clock_off_ms.unsigned_abs() > CLOCK_OFF_MS_MAX;
        if off && !view.told_of_clock {
            tracing::error!(
                worker = %worker, clock_off_ms = view.clock_off_ms,
                "a worker's clock is off by more than 5 s, or its way to the broker takes that long; offers reach it as too old or last too long: set its clock, or look at its link"
            );
        }
        view.told_of_clock = off;
        change(view);
        metrics::workers(known.len());
    }
}

fn off_ms(its_clock: Timestamp, now: Timestamp) -> i64 {
    let ahead = i64::try_from(its_clock.since_ms(now)).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.since_ms(its_clock)).unwrap_or(i64::MAX);
    ahead.saturating_sub(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(worker: &str, at: u64) -> Heartbeat {
        Heartbeat {
            worker: WorkerId::new(worker).unwrap(),
            number: 1,
            running: Vec::new(),
            at: Timestamp(at),
        }
    }

    #[test]
    fn who_is_silent_is_shown_so_and_then_forgotten() {
        let workers = Workers::default();
        workers.heartbeat(&heartbeat("a", 1_000), BTreeMap::new(), Timestamp(1_000));
        assert!(!workers.all(Timestamp(2_000))[0].silent);
        assert!(workers.all(Timestamp(60_000))[0].silent);
        workers.forget_silent(Timestamp(1_000 + SHOWN_MS));
        assert!(workers.all(Timestamp(60_000)).is_empty());
    }

    #[test]
    fn who_does_not_hear_himself_hears_nobody() {
        let workers = Workers::default();
        let since = |at| workers.heard_since(Timestamp(at));
        assert_eq!(since(0), None);
        workers.canary(Timestamp(1_000));
        workers.canary(Timestamp(1_000 + DEAF_MS));
        assert_eq!(since(1_000 + 2 * DEAF_MS), Some(Timestamp(1_000)));
        assert_eq!(since(1_001 + 2 * DEAF_MS), None);
        let again = 1_001 + 2 * DEAF_MS;
        workers.canary(Timestamp(again));
        assert_eq!(since(again), Some(Timestamp(again)));
    }

    /// A worker that serves `a.b@1` is heard.
    fn heard(workers: &Workers, at: u64) {
        let view = WorkerView {
            heard_at: Timestamp(at),
            ..WorkerView::of_test(&["a.b@1"])
        };
        let mut known = workers.known.lock().unwrap();
        known.insert(view.worker.clone(), view);
    }

    #[test]
    fn a_type_is_unserved_when_the_fleet_is_heard_and_nobody_who_can_was_lately() {
        let (workers, of) = (Workers::default(), TaskType::new("a.b@1").unwrap());
        let heard_until = |at: u64| {
            for second in (0..=at).step_by(1_000) {
                workers.canary(Timestamp(second));
            }
            workers.is_unserved(&of, None, Timestamp(at))
        };
        assert!(!workers.is_unserved(&of, None, Timestamp(SHOWN_MS)), "deaf");
        assert!(!heard_until(SHOWN_MS - 1_000), "not long enough");
        assert!(heard_until(SHOWN_MS));
        let came = SHOWN_MS + 10_000;
        heard(&workers, came);
        assert!(!heard_until(came + 10_000));
        // it leaves, and may come again at once
        let left = came + 20_000;
        workers.left(&WorkerId::new("w1").unwrap(), Timestamp(left));
        assert!(!heard_until(left + SHOWN_MS - 1_000));
        assert!(heard_until(left + SHOWN_MS));
        // it dies without a word
        let again = left + 10_000 + SHOWN_MS;
        heard(&workers, again);
        assert!(!heard_until(again + SHOWN_MS - 1_000));
        assert!(heard_until(again + SHOWN_MS));
    }

    /// An orchestrator that begins while a worker is starting anew, or after one has said its last word, knows of neither: whoever would still count as being
    /// there, had it been heard, is not gone to one who could not hear it.
    #[test]
    fn who_began_a_minute_ago_says_of_nobody_that_he_is_gone() {
        let (workers, of) = (Workers::default(), TaskType::new("a.b@1").unwrap());
        for second in (1_000_000..=1_000_000 + SHOWN_MS).step_by(1_000) {
            workers.canary(Timestamp(second));
            let for_ms = second - 1_000_000;
            let gone = workers.is_unserved(&of, None, Timestamp(second));
            assert_eq!(gone, for_ms >= SHOWN_MS, "after {for_ms} ms");
        }
    }

    #[test]
    fn a_type_that_is_served_elsewhere_is_unserved_in_a_pool_nobody_is_in() {
        const AT: u64 = SHOWN_MS + 10_000;
        let (workers, of) = (Workers::default(), TaskType::new("a.b@1").unwrap());
        let until = |at: u64| {
            (0..=at)
                .step_by(1_000)
                .for_each(|at| workers.canary(Timestamp(at)))
        };
        until(AT);
        let unserved = |pool: &str, at: u64| {
            let pool = PoolName::new(pool).unwrap();
            workers.is_unserved(&of, Some(&pool), Timestamp(at))
        };
        heard(&workers, AT);
        assert!(!unserved("default", AT));
        assert!(unserved("dmz", AT));
        assert!(!workers.is_unserved(&of, None, Timestamp(AT)));
        // it leaves, and may come again at once, where it was
        workers.left(&WorkerId::new("w1").unwrap(), Timestamp(AT));
        assert!(!unserved("default", AT));
        assert!(unserved("dmz", AT));
    }

    #[test]
    fn a_type_is_served_in_the_pools_of_those_who_were_heard_or_left_lately() {
        let workers = Workers::default();
        let served_at = |at: u64| {
            for second in (0..=at).step_by(1_000) {
                workers.canary(Timestamp(second));
            }
            let places = workers.served(Timestamp(at))?.into_iter();
            let words = places.map(|(of, pool)| format!("{of} in {pool}"));
            Some(words.collect::<Vec<_>>())
        };
        assert_eq!(served_at(SHOWN_MS - 1_000), None, "not long enough");
        assert_eq!(served_at(SHOWN_MS), Some(Vec::new()));
        let came = SHOWN_MS + 10_000;
        heard(&workers, came);
        let there = Some(vec!["a.b@1 in default".to_owned()]);
        assert_eq!(served_at(came + 10_000), there);
        let left = came + 20_000;
        workers.left(&WorkerId::new("w1").unwrap(), Timestamp(left));
        assert_eq!(served_at(left + SHOWN_MS - 1_000), there);
        assert_eq!(served_at(left + SHOWN_MS), Some(Vec::new()));
    }

    #[test]
    fn who_was_heard_serves_also_to_one_who_has_only_just_begun() {
        let workers = Workers::default();
        let serves = |of: &str, pool: &str, at| workers.is_served(of, pool, Timestamp(at));
        heard(&workers, 1_000);
        assert!(serves("a.b@1", "default", 1_000));
        assert!(!serves("a.b@1", "far", 1_000));
        assert!(!serves("c.d@1", "default", 1_000));
        assert!(!serves("a.b@1", "default", 1_000 + SHOWN_MS));
    }

    #[test]
    fn several_tasks_go_in_a_message_where_that_suits_all_who_serve_them() {
        let workers = Workers::default();
        let join = |name: &str, types: &[&str], together: &[(&str, usize)], at: u64| {
            let glad = together.iter();
            let glad = glad.map(|(of, n)| (TaskType::new(of).unwrap(), *n));
            let view = WorkerView {
                worker: WorkerId::new(name).unwrap(),
                heard_at: Timestamp(at),
                version: Some("1".to_owned()),
                together: glad.collect(),
                ..WorkerView::of_test(types)
            };
            let mut known = workers.known.lock().unwrap();
            known.insert(view.worker.clone(), view);
        };
        let key =
            |of: &str| topology::task_key(&PoolName::default_pool(), &TaskType::new(of).unwrap());
        let at = |at: u64| workers.together(Timestamp(at));
        let hear = |from: u64, to: u64| {
            let canaries = (from..=to).step_by(1_000);
            canaries.for_each(|at| workers.canary(Timestamp(at)));
        };
        hear(0, 20_000);
        join("early", &["a.b@1"], &[("a.b@1", 9)], 0);
        assert!(at(9_000).is_empty(), "not heard for long enough");
        assert_eq!(*at(10_000), Places::from([(key("a.b@1"), 9)]));
        workers.left(&WorkerId::new("early").unwrap(), Timestamp(16_000));
        hear(21_000, 70_000);
        assert!(at(20_000).is_empty());
        join(
            "a",
            &["a.b@1", "b.c@1"],
            &[("a.b@1", 32), ("b.c@1", 4)],
            21_000,
        );
        assert!(at(20_999).is_empty(), "not looked at anew yet");
        assert_eq!(
            *at(21_000),
            Places::from([(key("a.b@1"), 32), (key("b.c@1"), 4)])
        );
        join("b", &["a.b@1"], &[("a.b@1", 8)], 22_000);
        assert_eq!(at(22_000)[&key("a.b@1")], 8);
        // one of an older version, or one that has just begun
        join("c", &["a.b@1"], &[], 23_000);
        assert_eq!(*at(23_000), Places::from([(key("b.c@1"), 4)]));
        // silent, and perhaps there again
        assert!(!at(60_000).contains_key(&key("a.b@1")));
        workers.left(&WorkerId::new("c").unwrap(), Timestamp(60_000));
        assert_eq!(at(61_000)[&key("a.b@1")], 8);
    }

    #[test]
    fn a_clock_is_measured_in_both_directions() {
        assert_eq!(off_ms(Timestamp(10), Timestamp(7)), 3);
        assert_eq!(off_ms(Timestamp(7), Timestamp(10)), -3);
    }
}
