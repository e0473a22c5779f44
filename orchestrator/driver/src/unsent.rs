//! Tasks the broker did not take, to be sent again: by the queue they go to. A queue that refuses is not asked again by everything that waits for it, which
//! would write as many records every time and change nothing: one task tries it, more and more rarely, and when it is let through the others follow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_messages::{AttemptRef, PoolName, TaskType, Timestamp};

/// How long before what the broker did not take is sent again while it is there; and the first pause of a queue that refuses.
pub(crate) const RESEND_MS: u64 = 5_000;
/// Longest pause of a queue that refuses: so late its tasks may notice that there is room again.
const REFUSED_MS_MAX: u64 = 60_000;
/// Tasks of one queue that are sent again together: as many as one turn takes of the driver's own.
const TOGETHER_MAX: usize = 512;

/// The queue of a task; none where that is not known, as after a start.
pub(crate) type Queue = Option<(PoolName, TaskType)>;

#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Every one of them, with its queue.
    of: BTreeMap<AttemptRef, Queue>,
    /// Those that wait for a time of their own before they wait for their queue.
    later: BTreeSet<(Timestamp, AttemptRef)>,
    queues: BTreeMap<Queue, Waiting>,
    /// Those that try a queue that has refused.
    trying: BTreeMap<AttemptRef, Queue>,
}

/// What waits for one queue.
#[derive(Debug)]
struct Waiting {
    /// The longest first. What is no longer among `Unsent::of` is passed over.
    tasks: VecDeque<AttemptRef>,
    due: Timestamp,
    /// How many try together.
    together: usize,
    /// How long after a try the next follows; 0 while nothing was refused.
    pause_ms: u64,
    /// Whether some try now.
    trying: bool,
}

impl Waiting {
    const fn from(due: Timestamp) -> Self {
        Self {
            tasks: VecDeque::new(),
            due,
            together: TOGETHER_MAX,
            pause_ms: 0,
            trying: false,
        }
    }
}

impl Unsent {
    /// All of them, of queues that are not known, due at once.
    pub(crate) fn recovered(all: impl Iterator<Item = AttemptRef>, now: Timestamp) -> Self {
        let mut unsent = Self::default();
        for of in all {
            unsent.keep(of, None, now);
        }
        unsent
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// One more: not before `at`, or when its queue lets something through again. One that is there already stays as it is.
    pub(crate) fn keep(&mut self, of: AttemptRef, queue: Queue, at: Timestamp) {
        if self.of.contains_key(&of) {
            return;
        }
        match self.queues.get_mut(&queue) {
            Some(waiting) if waiting.pause_ms > 0 && at <= waiting.due => {
                waiting.tasks.push_back(of.clone());
            }
            _ => {
                self.later.insert((at, of.clone()));
            }
        }
        self.of.insert(of, queue);
    }

    /// It is taken care of in another way.
    pub(crate) fn remove(&mut self, of: &AttemptRef) -> bool {
        self.of.remove(of).is_some()
    }

    /// One that was taken is not sent: nobody wants it any more, or it cannot be decided. Another tries instead.
    pub(crate) fn not_sent(&mut self, of: &AttemptRef, now: Timestamp) {
        let queue = self.trying.remove(of);
        if let Some(waiting) = queue.and_then(|queue| self.queues.get_mut(&queue)) {
            (waiting.trying, waiting.due) = (false, now);
        }
    }

    /// The broker refused a task of a queue. What is known of no queue holds up no queue.
    pub(crate) fn refused(&mut self, queue: Queue, now: Timestamp) {
        if queue.is_none() {
            return;
        }
        self.trying.retain(|_, of| *of != queue);
        let waiting = self.queues.entry(queue);
        let waiting = waiting.or_insert_with(|| Waiting::from(now));
        let again = waiting.trying && waiting.pause_ms > 0;
        if waiting.pause_ms == 0 || again {
            waiting.pause_ms = (waiting.pause_ms * 2).clamp(RESEND_MS, REFUSED_MS_MAX);
            waiting.due = now.plus_ms(waiting.pause_ms);
        }
        (waiting.together, waiting.trying) = (1, false);
    }

    /// The broker took a task of a queue: what waits for it follows, twice as many each time.
    pub(crate) fn taken(&mut self, queue: &Queue, now: Timestamp) {
        let Some(waiting) = self.queues.get_mut(queue) else {
            return;
        };
        self.trying.retain(|_, of| of != queue);
        waiting.together = (waiting.together * 2).min(TOGETHER_MAX);
        waiting.trying = false;
        if waiting.pause_ms > 0 {
            waiting.due = now;
            waiting.pause_ms = RESEND_MS;
        }
        if waiting.together == TOGETHER_MAX {
            waiting.pause_ms = 0;
            if waiting.tasks.is_empty() {
                self.queues.remove(queue);
            }
        }
    }

    /// Whether it matters what became of a task.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.is_empty()
    }

    /// The broker is there (again).
    pub(crate) fn all_due(&mut self, now: Timestamp) {
        self.trying.clear();
        let later = std::mem::take(&mut self.later).into_iter();
        self.later = later.map(|(_, of)| (now, of)).collect();
        for waiting in self.queues.values_mut() {
            let tasks = std::mem::take(&mut waiting.tasks);
            *waiting = Waiting::from(now);
            waiting.tasks = tasks;
        }
    }

    /// When the next are due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.queues.values();
        let due = waiting.filter(|of| !of.tasks.is_empty()).map(|of| of.due);
        let later = self.later.first().map(|(at, _)| *at);
        due.chain(later).min()
    }

    /// Takes those that are to be sent again now, at most so many.
    pub(crate) fn take(&mut self, now: Timestamp, max: usize) -> Vec<AttemptRef> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, of)) = self.later.pop_first() else {
                break;
            };
            if let Some(queue) = self.of.get(&of) {
                let waiting = self.queues.entry(queue.clone());
                let waiting = waiting.or_insert_with(|| Waiting::from(now));
                waiting.tasks.push_back(of);
            }
        }
        let mut taken = Vec::new();
        for (queue, waiting) in self.queues.iter_mut().filter(|(_, of)| of.due <= now) {
            let before = taken.len();
            while taken.len() < max && taken.len() - before < waiting.together {
                let Some(of) = waiting.tasks.pop_front() else {
                    break;
                };
                if self.of.remove(&of).is_some() {
                    if waiting.pause_ms > 0 {
                        self.trying.insert(of.clone(), queue.clone());
                    }
                    taken.push(of);
                }
            }
            if taken.len() > before {
                waiting.trying = true;
                waiting.due = now.plus_ms(waiting.pause_ms);
            }
        }
        // where nothing was refused and nothing waits any more there is nothing to remember
        self.queues
            .retain(|_, of| !of.tasks.is_empty() || of.pause_ms > 0);
        taken
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::{Direction, SagaId, StepId};
    use uuid::Uuid;

    use super::*;

    fn task(n: u128) -> AttemptRef {
        AttemptRef {
            saga: SagaId(Uuid::from_u128(n)),
            step: StepId::new("a").unwrap(),
            item: None,
            direction: Direction::Do,
            round: 1,
            attempt: 1,
            dispatch: 1,
        }
    }

    fn queue(name: &str) -> Queue {
        Some((PoolName::default_pool(), name.parse().unwrap()))
    }

    /// What waits for a queue that refuses, as the driver keeps it.
    fn refused(unsent: &mut Unsent, tasks: std::ops::Range<u128>, of: &Queue, now: u64) {
        for n in tasks {
            unsent.refused(of.clone(), Timestamp(now));
            unsent.keep(task(n), of.clone(), Timestamp(now));
        }
    }

    #[test]
    fn one_task_tries_a_queue_that_refuses_more_and_more_rarely() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, 0..1_000, &full, 0);
        assert_eq!(unsent.len(), 1_000);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..6 {
            let due = unsent.next_due().unwrap().0;
            assert!(unsent.take(Timestamp(due - 1), 512).is_empty());
            pauses.push(due - now);
            now = due;
            let tried = unsent.take(Timestamp(now), 512);
            assert_eq!(tried.len(), 1);
            unsent.refused(full.clone(), Timestamp(now));
            unsent.keep(tried[0].clone(), full.clone(), Timestamp(now));
        }
        assert_eq!(pauses, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!(unsent.len(), 1_000);
    }

    #[test]
    fn where_one_is_let_through_the_others_follow() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, 0..1_000, &full, 0);
        let mut sizes = Vec::new();
        while unsent.len() > 0 {
            let now = unsent.next_due().unwrap();
            let sent = unsent.take(now, 512);
            sizes.push(sent.len());
            sent.iter().for_each(|_| unsent.taken(&full, now));
            assert!(
                unsent.len() == 0 || unsent.next_due() == Some(now),
                "at once"
            );
        }
        assert_eq!(sizes[..2], [1, 2]);
        assert!(sizes.len() < 12, "{sizes:?}");
        assert!(unsent.is_idle(), "and nothing is remembered");
    }

    #[test]
    fn a_queue_that_refuses_holds_up_no_other() {
        let (mut unsent, full, free) = (Unsent::default(), queue("a.b@1"), queue("c.d@1"));
        refused(&mut unsent, 0..1_000, &full, 0);
        for n in 1_000..2_000 {
            unsent.keep(task(n), free.clone(), Timestamp(100));
        }
        assert_eq!(unsent.take(Timestamp(100), 512).len(), 512);
        assert_eq!(unsent.take(Timestamp(100), 512).len(), 488);
        assert_eq!(unsent.take(Timestamp(100), 512).len(), 0);
        assert_eq!(unsent.take(Timestamp(5_000), 512).len(), 1);
        unsent.all_due(Timestamp(6_000));
        assert_eq!(
            unsent.take(Timestamp(6_000), 512).len(),
            512,
            "the broker is back"
        );
    }

    #[test]
    fn what_nobody_wants_any_more_holds_up_nothing() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, 0..100, &full, 0);
        let now = Timestamp(5_000);
        for n in 0..99 {
            let tried = unsent.take(now, 512);
            assert_eq!(tried, [task(n)], "the next, at once");
            unsent.not_sent(&tried[0], now);
        }
        assert_eq!(unsent.take(now, 512), [task(99)]);
        assert_eq!((unsent.len(), unsent.trying.len()), (0, 1));
        unsent.taken(&full, now);
        assert!(unsent.trying.is_empty());
    }

    #[test]
    fn what_waits_for_no_known_queue_holds_up_nothing_and_a_time_of_its_own_is_kept() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, 0..10, &None, 0);
        assert_eq!(unsent.take(Timestamp(0), 512).len(), 10);
        refused(&mut unsent, 10..20, &full, 0);
        unsent.keep(task(99), full.clone(), Timestamp(60_000));
        unsent.taken(&full, Timestamp(1));
        while !unsent.take(Timestamp(1), 512).is_empty() {
            unsent.taken(&full, Timestamp(1));
        }
        assert_eq!(
            (unsent.len(), unsent.next_due()),
            (1, Some(Timestamp(60_000)))
        );
    }

    #[test]
    fn what_is_taken_care_of_is_not_sent_and_what_is_there_is_there_once() {
        let all = [task(1), task(2), task(1)];
        let mut unsent = Unsent::recovered(all.into_iter(), Timestamp(1));
        assert_eq!(unsent.len(), 2);
        assert!(unsent.remove(&task(1)) && !unsent.remove(&task(1)));
        assert_eq!(unsent.take(Timestamp(1), 512), [task(2)]);
        assert!(unsent.is_idle() && unsent.next_due().is_none());
    }
}
