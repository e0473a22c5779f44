//! Leases of claimed attempts, in memory: extended by heartbeats, never by hope.
//!
//! A verdict from silence is the most dangerous one there is, so it is taken in three steps. The clocks of leases run only while the
//! orchestrator hears its own canary on `baton.fleet`: deaf is not the same as silent. A lease that has run out makes its run a suspect,
//! and a marker is sent through the partition's own inbox. Only when the marker has come back, and with it everything that was
//! confirmed before it, is the lease over. After a start every claimed attempt gets a full fresh lease.
//!
//! They count what has really passed, not what the clock on the wall says: a clock that is set forward by an hour ends no run that its
//! worker still speaks for.

use std::collections::BTreeMap;

use baton_engine::decide::limits::CONFIRM_BOUND_MS;
use baton_messages::fleet::{Heartbeat, KILL_GRACE_MS};
use baton_messages::{AttemptRef, RunId};

/// A marker is to be sent through the partition's own inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// Its number; give it back to [`LeaseTable::marker_back`].
    pub marker: u64,
}

#[derive(Debug, Clone)]
struct Lease {
    of: AttemptRef,
    lease_ms: u64,
    left_ms: u64,
    /// How long it may yet act at most, whatever its worker says.
    acts_ms: u64,
    suspected_at: Option<u64>,
}

/// The leases of one partition.
#[derive(Debug, Clone, Default)]
pub struct LeaseTable {
    leases: BTreeMap<RunId, Lease>,
    markers: u64,
}

impl LeaseTable {
    /// An empty table that goes on counting markers: one that is still on its way from before must not speak for suspects of today.
    #[must_use]
    pub(crate) const fn emptied(&self) -> Self {
        Self {
            leases: BTreeMap::new(),
            markers: self.markers,
        }
    }

    /// A run was granted: its lease begins. It acts for `timeout_ms` at most, then its worker kills it.
    pub fn claimed(&mut self, of: AttemptRef, run: RunId, lease_ms: u64, timeout_ms: u64) {
        let left_ms = lease_ms.saturating_add(KILL_GRACE_MS);
        let acts_ms = timeout_ms.saturating_add(KILL_GRACE_MS + CONFIRM_BOUND_MS);
        self.leases.insert(
            run,
            Lease {
                of,
                lease_ms,
                left_ms,
                acts_ms,
                suspected_at: None,
            },
        );
    }

    /// Whether the run may still act: its lease is not over, and its time limit has not really passed.
    pub(crate) fn may_act(&self, run: RunId) -> bool {
        self.leases.get(&run).is_some_and(|lease| lease.acts_ms > 0)
    }

    /// A run's attempt has closed: no lease is needed.
    pub fn closed(&mut self, run: RunId) {
        self.leases.remove(&run);
    }

    /// A worker lives: the runs it lists have a full lease again.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        for running in &heartbeat.running {
            if let Some(lease) = self.leases.get_mut(&running.run) {
                lease.left_ms = lease.lease_ms.saturating_add(KILL_GRACE_MS);
                lease.suspected_at = None;
            }
        }
    }

    /// `elapsed_ms` have really passed since the last call. While the canary is not heard no lease runs.
    /// Answers a marker to send when runs have become suspect since the last one.
    pub fn tick(&mut self, elapsed_ms: u64, hearing: bool) -> Option<Suspicion> {
        let next = self.markers + 1;
        let mut suspects = false;
        for lease in self.leases.values_mut() {
            lease.acts_ms = lease.acts_ms.saturating_sub(elapsed_ms);
            if !hearing {
                continue;
            }
            lease.left_ms = lease.left_ms.saturating_sub(elapsed_ms);
            if lease.left_ms == 0 && lease.suspected_at.is_none() {
                lease.suspected_at = Some(next);
                suspects = true;
            }
        }
        if suspects {
            self.markers = next;
            return Some(Suspicion { marker: next });
        }
        None
    }

    /// The marker could not be sent, or may be lost: its suspects are suspected anew at the next tick.
    pub fn marker_lost(&mut self, marker: u64) {
        for lease in self.leases.values_mut() {
            if lease.suspected_at == Some(marker) {
                lease.suspected_at = None;
            }
        }
    }

    /// A marker came back: the leases of those suspected by then are over. They leave the table.
    pub fn marker_back(&mut self, marker: u64) -> Vec<(AttemptRef, RunId)> {
        let over: Vec<RunId> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.suspected_at.is_some_and(|at| at <= marker))
            .map(|(run, _)| *run)
            .collect();
        over.into_iter()
            .filter_map(|run| self.leases.remove(&run).map(|lease| (lease.of, run)))
            .collect()
    }

    /// How many leases run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_messages::{Direction, SagaId, StepId, Timestamp, WorkerId, fleet::Running};
    use uuid::Uuid;

    fn attempt() -> AttemptRef {
        AttemptRef {
            saga: SagaId(Uuid::from_u128(1)),
            step: StepId::new("a").unwrap(),
            item: None,
            direction: Direction::Do,
            round: 1,
            attempt: 1,
            dispatch: 1,
        }
    }

    const LEASE_MS: u64 = 30_000;
    const TIMEOUT_MS: u64 = 600_000;

    fn table() -> (LeaseTable, RunId) {
        let run = RunId(Uuid::from_u128(2));
        let mut table = LeaseTable::default();
        table.claimed(attempt(), run, LEASE_MS, TIMEOUT_MS);
        (table, run)
    }

    #[test]
    fn silence_ends_a_lease_only_after_the_marker_is_back() {
        let (mut table, run) = table();
        assert_eq!(
            table.tick(LEASE_MS, true),
            None,
            "the grace to kill belongs to the lease"
        );
        let marker = table.tick(KILL_GRACE_MS, true).expect("suspect").marker;
        assert_eq!(table.tick(1_000, true), None, "one marker is enough");
        assert_eq!(
            table.marker_back(marker - 1),
            vec![],
            "an older marker says nothing of it"
        );
        assert_eq!(table.marker_back(marker), vec![(attempt(), run)]);
        assert!(table.is_empty());
    }

    #[test]
    fn a_heartbeat_clears_the_suspicion() {
        let (mut table, run) = table();
        let marker = table
            .tick(LEASE_MS + KILL_GRACE_MS, true)
            .expect("suspect")
            .marker;
        let running = vec![Running { of: attempt(), run }];
        let worker = WorkerId::new("w").unwrap();
        table.heartbeat(&Heartbeat {
            worker,
            number: 1,
            running,
            at: Timestamp(0),
        });
        assert_eq!(table.marker_back(marker), vec![]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_run_may_act_while_its_lease_lives_and_its_time_limit_has_not_passed() {
        let (mut table, run) = table();
        let running = vec![Running { of: attempt(), run }];
        let heartbeat = Heartbeat {
            worker: WorkerId::new("w").unwrap(),
            number: 1,
            running,
            at: Timestamp(0),
        };
        table.tick(TIMEOUT_MS, false);
        table.heartbeat(&heartbeat);
        assert!(table.may_act(run), "it is being killed");
        table.tick(KILL_GRACE_MS + CONFIRM_BOUND_MS, false);
        assert!(
            !table.may_act(run),
            "nobody acts for longer, whatever he says"
        );
        assert_eq!(table.len(), 1, "the lease itself is not over");
        table.closed(run);
        assert!(!table.may_act(run));
    }

    #[test]
    fn deaf_is_not_silent() {
        let (mut table, _) = table();
        assert_eq!(table.tick(10 * LEASE_MS, false), None);
        assert_eq!(table.tick(LEASE_MS, true), None);
    }

    #[test]
    fn a_marker_from_before_a_recovery_judges_nobody() {
        let (mut table, run) = table();
        let before = table
            .tick(LEASE_MS + KILL_GRACE_MS, true)
            .expect("suspect")
            .marker;
        let mut table = table.emptied();
        table.claimed(attempt(), run, LEASE_MS, TIMEOUT_MS);
        let after = table
            .tick(LEASE_MS + KILL_GRACE_MS, true)
            .expect("suspect")
            .marker;
        assert!(after > before);
        assert_eq!(table.marker_back(before), vec![]);
    }

    #[test]
    fn a_lost_marker_is_sent_again() {
        let (mut table, run) = table();
        let first = table
            .tick(LEASE_MS + KILL_GRACE_MS, true)
            .expect("suspect")
            .marker;
        table.marker_lost(first);
        let second = table.tick(1, true).expect("suspect again").marker;
        assert!(second > first);
        assert_eq!(table.marker_back(second), vec![(attempt(), run)]);
    }
}
