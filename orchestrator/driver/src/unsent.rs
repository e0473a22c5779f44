//! Tasks the broker did not take, to be sent again: by the queue they go to. A queue that refuses is not asked again by everything that waits for it, which
//! would write as many records every time and change nothing: one task tries it, more and more rarely, and when it is let through the others follow.

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::{AttemptRef, PoolName, TaskType, Timestamp};

/// How long before what the broker did not take is sent again while it is there; and the first pause of a queue that refuses.
pub(crate) const RESEND_MS: u64 = 5_000;
/// Longest pause of a queue that refuses: so late its tasks may notice that there is room again.
pub(crate) const REFUSED_MS_MAX: u64 = 60_000;
/// A queue that lets so many through together refuses no more.
const TOGETHER_MAX: usize = 512;

/// The queue of a task; none where that is not known, as after a start.
pub(crate) type Queue = Option<(PoolName, TaskType)>;

#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Every one of them, so that each is there once.
    all: BTreeSet<AttemptRef>,
    queues: BTreeMap<Queue, Waiting>,
}

/// What waits for one queue.
#[derive(Debug, Default)]
struct Waiting {
    /// Each not before its time.
    tasks: BTreeSet<(Timestamp, AttemptRef)>,
    refuses: Option<Refusing>,
}

/// A queue has refused, and has not let enough through since.
#[derive(Debug)]
struct Refusing {
    /// When the next try.
    due: Timestamp,
    /// How many try together.
    together: usize,
    /// How long after a try the next follows.
    pause_ms: u64,
    /// Those that try, until it is known what came of the first of them.
    trying: BTreeSet<AttemptRef>,
}

impl Waiting {
    /// When the next is due; none where nothing waits.
    fn due(&self) -> Option<Timestamp> {
        let (first, _) = self.tasks.first()?;
        let due = self.refuses.as_ref().map(|of| of.due);
        Some(due.map_or(*first, |due| due.max(*first)))
    }

    /// Takes those whose time has come, at most so many.
    fn take(&mut self, now: Timestamp, max: usize) -> Vec<AttemptRef> {
        let together = self.refuses.as_ref().map_or(max, |of| of.together.min(max));
        let mut taken = Vec::new();
        while taken.len() < together && self.tasks.first().is_some_and(|(at, _)| *at <= now) {
            taken.extend(self.tasks.pop_first().map(|(_, of)| of));
        }
        if let Some(refuses) = &mut self.refuses {
            refuses.due = now.plus_ms(refuses.pause_ms);
            refuses.trying = taken.iter().cloned().collect();
        }
        taken
    }
}

impl Unsent {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// One more, not before `at`; one that is there already stays as it is.
    pub(crate) fn keep(&mut self, of: AttemptRef, queue: Queue, at: Timestamp) {
        if self.all.insert(of.clone()) {
            let waiting = self.queues.entry(queue).or_default();
            waiting.tasks.insert((at, of));
        }
    }

    /// The broker refused a task of a queue. What is known of no queue holds up no queue.
    pub(crate) fn refused(&mut self, queue: Queue, now: Timestamp) {
        if queue.is_none() {
            return;
        }
        let waiting = self.queues.entry(queue).or_default();
        let first = Refusing {
            due: now.plus_ms(RESEND_MS),
            together: 1,
            pause_ms: RESEND_MS,
            trying: BTreeSet::new(),
        };
        let refuses = waiting.refuses.get_or_insert(first);
        // where some of them were let through one goes next, at once
        refuses.together = 1;
        if !refuses.trying.is_empty() {
            refuses.trying.clear();
            refuses.pause_ms = (refuses.pause_ms * 2).min(REFUSED_MS_MAX);
            refuses.due = now.plus_ms(refuses.pause_ms);
        }
    }

    /// The broker took a task of a queue: what waits for it follows at once, twice as many each time.
    pub(crate) fn taken(&mut self, queue: &Queue, now: Timestamp) {
        let Some(waiting) = self.queues.get_mut(queue) else {
            return;
        };
        let Some(refuses) = &mut waiting.refuses else {
            return;
        };
        refuses.due = now;
        if !refuses.trying.is_empty() {
            refuses.trying.clear();
            refuses.together *= 2;
            refuses.pause_ms = RESEND_MS;
        }
        let is_free = refuses.together >= TOGETHER_MAX || waiting.tasks.is_empty();
        if is_free {
            waiting.refuses = None;
        }
    }

    /// One that was taken is not sent: nobody wants it any more, or it cannot be decided. Where nobody else tries another does.
    pub(crate) fn not_sent(&mut self, of: &AttemptRef, now: Timestamp) {
        for waiting in self.queues.values_mut() {
            if let Some(refuses) = &mut waiting.refuses
                && refuses.trying.remove(of)
                && refuses.trying.is_empty()
            {
                refuses.due = now;
                if waiting.tasks.is_empty() {
                    waiting.refuses = None;
                }
            }
        }
    }

    /// Whether it matters what the broker takes.
    pub(crate) fn any_refuses(&self) -> bool {
        self.queues.values().any(|of| of.refuses.is_some())
    }

    /// The broker is there (again).
    pub(crate) fn all_due(&mut self, now: Timestamp) {
        for waiting in self.queues.values_mut() {
            let tasks = std::mem::take(&mut waiting.tasks).into_iter();
            waiting.tasks = tasks.map(|(_, of)| (now, of)).collect();
            waiting.refuses = None;
        }
    }

    /// When the next are due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.queues.values().filter_map(Waiting::due).min()
    }

    /// Takes those that are to be sent again now, at most so many, and of no queue so many that others have to wait.
    pub(crate) fn take(&mut self, now: Timestamp, max: usize) -> Vec<AttemptRef> {
        let is_due = |of: &&mut Waiting| of.due().is_some_and(|due| due <= now);
        let due = self.queues.values_mut().filter(is_due).count();
        let share = max.checked_div(due).unwrap_or_default().max(1);
        let mut taken = Vec::new();
        for waiting in self.queues.values_mut().filter(is_due) {
            taken.extend(waiting.take(now, share.min(max - taken.len())));
        }
        for of in &taken {
            self.all.remove(of);
        }
        // of a queue for which nothing waits and that refuses nothing there is nothing to remember
        self.queues
            .retain(|_, of| !of.tasks.is_empty() || of.refuses.is_some());
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

    /// What a queue refused, as the driver keeps it.
    fn refused(
        unsent: &mut Unsent,
        tasks: impl IntoIterator<Item = AttemptRef>,
        of: &Queue,
        now: u64,
    ) {
        for task in tasks {
            unsent.refused(of.clone(), Timestamp(now));
            unsent.keep(task, of.clone(), Timestamp(now + RESEND_MS));
        }
    }

    #[test]
    fn one_task_tries_a_queue_that_refuses_more_and_more_rarely() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, (0..1_000).map(task), &full, 0);
        assert_eq!(unsent.len(), 1_000);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..6 {
            let due = unsent.next_due().unwrap().0;
            assert!(unsent.take(Timestamp(due - 1), 512).is_empty());
            pauses.push(due - now);
            now = due;
            let tried = unsent.take(Timestamp(now), 512);
            assert_eq!(tried.len(), 1);
            refused(&mut unsent, tried, &full, now);
        }
        assert_eq!(pauses, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!(unsent.len(), 1_000);
    }

    #[test]
    fn where_one_is_let_through_the_others_follow() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, (0..2_000).map(task), &full, 0);
        let mut sizes = Vec::new();
        while let Some(now) = unsent.next_due() {
            let sent = unsent.take(now, 512);
            sizes.push(sent.len());
            sent.iter().for_each(|_| unsent.taken(&full, now));
            let at_once = unsent.next_due().is_none_or(|due| due <= now);
            assert!(at_once, "{sizes:?}");
        }
        assert_eq!(sizes[..9], [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!((unsent.len(), unsent.any_refuses()), (0, false));
    }

    #[test]
    fn a_queue_that_takes_some_and_refuses_others_is_not_stormed() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, (0..1_000).map(task), &full, 0);
        let (mut now, mut room, mut sent, mut in_vain) = (Timestamp(0), 0, 0, 0);
        while let Some(due) = unsent.next_due() {
            // ten a second are taken out of the queue, which holds a hundred
            room = (room + usize::try_from(due.since_ms(now) / 100).unwrap()).min(100);
            now = now.max(due);
            let tried = unsent.take(now, 512);
            let fits = tried.len().min(room);
            (room, sent, in_vain) = (room - fits, sent + fits, in_vain + tried.len() - fits);
            (0..fits).for_each(|_| unsent.taken(&full, now));
            refused(&mut unsent, tried.into_iter().skip(fits), &full, now.0);
        }
        assert!(
            now < Timestamp(300_000),
            "{now:?}: it takes a hundred seconds at least"
        );
        assert_eq!(sent, 1_000);
        assert!(in_vain < 1_000, "{in_vain} were sent in vain");
    }

    #[test]
    fn a_queue_that_refuses_holds_up_no_other_and_no_queue_takes_all_there_is() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, (0..1_000).map(task), &full, 0);
        for n in 1_000..3_000 {
            let of = queue(if n % 2 == 0 { "c.d@1" } else { "e.f@1" });
            unsent.keep(task(n), of, Timestamp(100));
        }
        let taken = unsent.take(Timestamp(100), 512);
        let even = taken.iter().filter(|of| of.saga.0.as_u128() % 2 == 0);
        assert_eq!((taken.len(), even.count()), (512, 256));
        let left = [512, 512, 464];
        assert_eq!(left.map(|_| unsent.take(Timestamp(100), 512).len()), left);
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
        refused(&mut unsent, (0..100).map(task), &full, 0);
        let now = Timestamp(5_000);
        for n in 0..97 {
            let tried = unsent.take(now, 512);
            assert_eq!(tried, [task(n)], "the next, at once");
            unsent.not_sent(&tried[0], now);
        }
        assert_eq!(unsent.take(now, 512), [task(97)]);
        unsent.taken(&full, now);
        let two = unsent.take(now, 512);
        unsent.not_sent(&two[0], now);
        assert!(unsent.next_due().is_none(), "another of them is out");
        refused(&mut unsent, two.into_iter().skip(1), &full, 5_000);
        assert_eq!(
            unsent.next_due(),
            Some(Timestamp(15_000)),
            "and what came of it counts"
        );
    }

    #[test]
    fn what_waits_for_no_known_queue_holds_up_nothing_and_a_time_of_its_own_is_kept() {
        let (mut unsent, full) = (Unsent::default(), queue("a.b@1"));
        refused(&mut unsent, (0..10).map(task), &None, 0);
        assert_eq!(unsent.take(Timestamp(5_000), 512).len(), 10);
        refused(&mut unsent, [task(10), task(10)], &full, 5_000);
        unsent.keep(task(99), full.clone(), Timestamp(60_000));
        assert_eq!(unsent.len(), 2, "each is there once");
        assert_eq!(unsent.take(Timestamp(10_000), 512), [task(10)]);
        unsent.taken(&full, Timestamp(10_000));
        assert_eq!(unsent.next_due(), Some(Timestamp(60_000)));
        assert_eq!(unsent.take(Timestamp(60_000), 512), [task(99)]);
        unsent.taken(&full, Timestamp(60_000));
        assert!(!unsent.any_refuses() && unsent.next_due().is_none());
    }
}
