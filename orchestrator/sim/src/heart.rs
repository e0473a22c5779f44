//! The hearts of workers that hold claims: what they say runs, and what ends because its lease is over.

use baton_messages::fleet::{Heartbeat, Running};

use crate::act::unknown;
use crate::event::{Event, Whose};
use crate::fault::Fault;
use crate::worker::{HEARTBEAT_MS, Run, Stage};
use crate::world::World;

impl World {
    /// A worker that holds claims has a heartbeat.
    pub(crate) fn heart(&mut self, worker: usize) {
        let Some(at) = self.workers.get_mut(worker) else {
            return;
        };
        if !at.beating {
            at.beating = true;
            let life = at.life;
            self.after(HEARTBEAT_MS, Event::Beat(worker, life));
        }
    }

    /// A heartbeat: says what runs under a lease, and ends what has lost it.
    pub(crate) fn beat(&mut self, worker: usize, life: u64) {
        let now = self.now;
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.life == life)
        else {
            return;
        };
        if at.stopped_until > now {
            let late = at.stopped_until - now;
            return self.after(late, Event::Beat(worker, life));
        }
        let claims =
            |run: &Run| run.claims() && matches!(run.stage, Stage::Asking | Stage::Entered);
        let running: Vec<Running> = at
            .runs
            .values()
            .filter(|run| claims(run))
            .map(|run| Running {
                of: run.task.of.clone(),
                run: run.id,
            })
            .collect();
        let lost: Vec<Whose> = at
            .runs
            .iter()
            .filter(|(_, run)| run.stage == Stage::Entered && now >= run.killed_at().0)
            .map(|(number, _)| Whose {
                worker,
                life,
                run: *number,
            })
            .collect();
        if running.is_empty() {
            at.beating = false;
            return;
        }
        at.beats += 1;
        let heartbeat = Heartbeat {
            worker: at.id.clone(),
            number: at.beats,
            running,
            at: at.clock(now),
        };
        let connected = at.connected;
        if self.fault != Some(Fault::ActsTooLate) {
            for whose in lost {
                self.report_run(whose, unknown("lease-lost", true));
            }
        }
        if connected && self.broker.up {
            let delay = self.rng.range(1, 20);
            self.after(delay, Event::HeartbeatArrives(Box::new(heartbeat)));
            self.after(delay + 2, Event::Beaten(worker, life, now));
        }
        self.after(HEARTBEAT_MS, Event::Beat(worker, life));
    }

    /// A heartbeat sent at `sent` is confirmed: what it named has a lease from then.
    pub(crate) fn beaten(&mut self, worker: usize, life: u64, sent: u64) {
        let now = self.now;
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.life == life && at.stopped_until <= now)
        else {
            return;
        };
        // a lease that was over when it was sent stays over
        for run in at.runs.values_mut() {
            if sent < run.lease_end() {
                run.renewed_at = run.renewed_at.max(sent);
            }
        }
    }
}
