//! What this worker runs right now: found by run when a grant comes, by attempt when a cancel or a second delivery of the same task comes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_bus::Delivery;
use baton_messages::fleet::Running;
use baton_messages::{AttemptRef, GrantAnswer, RunId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::lease::Lease;
use crate::stop::{Stop, Why};

/// How many cancels are remembered for tasks that have not come yet: a cancel may overtake its task by as much as the prefetch holds.
/// Forgetting one costs only the work of a task nobody wants.
const CANCELS_KEPT: usize = 1_024;

/// One run.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) of: AttemptRef,
    pub(crate) run: RunId,
    pub(crate) stop: Stop,
    /// Of a claimed run, from the moment its claim is first sent.
    pub(crate) lease: Option<Arc<Lease>>,
}

struct Entry {
    handle: Arc<Handle>,
    grant: Option<oneshot::Sender<GrantAnswer>>,
    /// The same task delivered again while it runs here: acknowledged with it.
    again: Vec<Delivery>,
}

#[derive(Default)]
struct Inner {
    by_run: HashMap<RunId, Entry>,
    cancelled: VecDeque<AttemptRef>,
}

/// All runs of one worker.
#[derive(Default)]
pub(crate) struct Runs {
    inner: Mutex<Inner>,
}

impl Runs {
    /// Enters a run; asked to stop at once when its cancel came before it.
    pub(crate) fn add(&self, of: AttemptRef, run: RunId, lease: Option<Arc<Lease>>) -> Arc<Handle> {
        let handle = Arc::new(Handle {
            of,
            run,
            stop: Stop::default(),
            lease,
        });
        let mut inner = self.lock();
        if inner.cancelled.contains(&handle.of) {
            handle.stop.ask(Why::Cancelled);
        }
        inner.by_run.insert(
            run,
            Entry {
                handle: handle.clone(),
                grant: None,
                again: Vec::new(),
            },
        );
        handle
    }

    /// Takes a run out; returns the deliveries that came again while it ran.
    pub(crate) fn remove(&self, run: RunId) -> Vec<Delivery> {
        self.lock()
            .by_run
            .remove(&run)
            .map(|entry| entry.again)
            .unwrap_or_default()
    }

    /// Takes a redelivered task to the run that has it in hand already; gives it back when there is none.
    pub(crate) fn adopt(&self, of: &AttemptRef, delivery: Delivery) -> Option<Delivery> {
        let mut inner = self.lock();
        match inner.by_run.values_mut().find(|e| e.handle.of == *of) {
            Some(entry) => {
                entry.again.push(delivery);
                None
            }
            None => Some(delivery),
        }
    }

    /// From now on the answer to this run's claim goes to the receiver.
    pub(crate) fn await_grant(&self, run: RunId) -> oneshot::Receiver<GrantAnswer> {
        let (answer, answered) = oneshot::channel();
        if let Some(entry) = self.lock().by_run.get_mut(&run) {
            entry.grant = Some(answer);
        }
        answered
    }

    /// Hands on an answer; false when nobody waits for it (any more).
    pub(crate) fn answer(&self, run: RunId, answer: GrantAnswer) -> bool {
        let waiting = self
            .lock()
            .by_run
            .get_mut(&run)
            .and_then(|entry| entry.grant.take());
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Cancels the run of this attempt, or remembers to.
    pub(crate) fn cancel(&self, of: AttemptRef) {
        let mut inner = self.lock();
        let mut found = false;
        for entry in inner.by_run.values().filter(|e| e.handle.of == of) {
            entry.handle.stop.ask(Why::Cancelled);
            found = true;
        }
        if !found {
            if inner.cancelled.len() >= CANCELS_KEPT {
                inner.cancelled.pop_front();
            }
            inner.cancelled.push_back(of);
        }
    }

    /// Whether this attempt was cancelled before it came.
    pub(crate) fn was_cancelled(&self, of: &AttemptRef) -> bool {
        let inner = self.lock();
        !inner.cancelled.is_empty() && inner.cancelled.contains(of)
    }

    /// Asks every run to stop.
    pub(crate) fn stop_all(&self, why: Why) {
        for entry in self.lock().by_run.values() {
            entry.handle.stop.ask(why);
        }
    }

    /// Every claimed run, with its lease.
    pub(crate) fn claimed(&self) -> Vec<(Running, Arc<Lease>)> {
        let inner = self.lock();
        let claimed = inner.by_run.values().filter_map(|entry| {
            let lease = entry.handle.lease.clone()?;
            let running = Running {
                of: entry.handle.of.clone(),
                run: entry.handle.run,
            };
            Some((running, lease))
        });
        claimed.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A heartbeat sent at `sent` that named these runs has been confirmed.
pub(crate) fn renew(leases: &[(Running, Arc<Lease>)], sent: Instant) {
    for (_, lease) in leases {
        lease.renew(sent);
    }
}
