//! What workers say to the orchestrator: reports that are ready together go in one message, as it happens; on its way to the inbox, lost,
//! late, said twice, confirmed, always as one.

use std::collections::BTreeMap;

use baton_messages::{InboxMessage, Report, ReportBatch};

use crate::event::{Do, Event, Said, Then, Whose};
use crate::fault::Fault;
use crate::seats::saga_of;
use crate::worker::Stage;
use crate::world::World;

/// Reports in one message at most: enough for batches of every kind.
const REPORTS_MOST: u64 = 6;

impl World {
    pub(crate) fn say(&mut self, whose: Whose, report: Report, then: Then) {
        let can = self.broker.up
            && self
                .workers
                .get(whose.worker)
                .is_some_and(|worker| worker.connected);
        let again = self.rng.range(300, 1_500);
        if then == Then::Asked
            && !self
                .run_of(whose)
                .is_some_and(|run| run.stage == Stage::Asking)
        {
            return;
        }
        if then == Then::Imaged && self.fault == Some(Fault::ImageLost) {
            return self.go_on(1, whose, Do::Confirmed(then));
        }
        if !can {
            return self.go_on(again, whose, Do::Say(Box::new(report), then));
        }
        let wait = self.rng.below(self.mood.gather_ms + 1);
        let Some(worker) = self.workers.get_mut(whose.worker) else {
            return;
        };
        worker.ready.push(Said {
            report,
            whose,
            then,
        });
        if worker.ready.len() == 1 {
            self.after(wait, Event::Post(whose.worker, whose.life));
        }
    }

    /// What a worker has ready goes into messages, as many reports in each as it happens.
    pub(crate) fn post(&mut self, worker: usize, life: u64) {
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
            return self.after(late, Event::Post(worker, life));
        }
        let connected = at.connected;
        let mut ready = std::mem::take(&mut at.ready);
        while !ready.is_empty() {
            let most = REPORTS_MOST.min(ready.len() as u64);
            let some = usize::try_from(self.rng.range(1, most)).unwrap_or(1);
            let rest = ready.split_off(some.min(ready.len()));
            let parcel = std::mem::replace(&mut ready, rest);
            self.send(parcel, connected);
        }
    }

    /// One message of a worker; what becomes of it becomes of all it carries.
    fn send(&mut self, parcel: Vec<Said>, connected: bool) {
        if !self.broker.up || !connected {
            return self.say_again(parcel);
        }
        let trouble = u64::from(!self.calm);
        if self.rng.per_mille(self.mood.report_lost * trouble) {
            return self.say_again(parcel);
        }
        let drawn = self.rng.per_mille(self.mood.report_twice * trouble);
        let twice = drawn || self.said_twice(&parcel);
        if twice {
            self.say_again(parcel.clone());
        }
        let late = self.rng.per_mille(self.mood.report_late * trouble);
        let delay = if let Some(delay) = self.said_late(&parcel) {
            delay
        } else if late {
            self.rng.range(1_000, 20_000)
        } else {
            self.rng.range(1, 15)
        };
        let confirmed = !twice;
        self.after(delay, Event::ParcelArrives { parcel, confirmed });
    }

    /// Their sender does not know that the broker has them.
    fn say_again(&mut self, parcel: Vec<Said>) {
        let again = self.rng.range(300, 1_500);
        for said in parcel {
            self.go_on(again, said.whose, Do::Say(Box::new(said.report), said.then));
        }
    }

    /// Reports reach the inbox in one message, if the broker is there; their sender hears of it.
    pub(crate) fn parcel_arrives(&mut self, parcel: Vec<Said>, confirmed: bool) {
        if !self.broker.up {
            if confirmed {
                self.say_again(parcel);
            }
            return;
        }
        if confirmed {
            let delay = self.rng.range(1, 10);
            for said in &parcel {
                self.go_on(delay, said.whose, Do::Confirmed(said.then));
            }
        }
        let mut of: BTreeMap<u8, Vec<Report>> = BTreeMap::new();
        for said in parcel {
            let partition = self.partition_of(saga_of(&said.report));
            of.entry(partition).or_default().push(said.report);
        }
        for reports in of.into_values() {
            self.reports_arrive(reports);
        }
    }

    /// Reports about sagas of one partition.
    fn reports_arrive(&mut self, mut reports: Vec<Report>) {
        let message = if reports.len() > 1 {
            self.report.batches += 1;
            Some(InboxMessage::Batch(ReportBatch { reports }))
        } else {
            reports.pop().map(InboxMessage::from)
        };
        if let Some(message) = message {
            self.inbox_arrives(message);
        }
    }

    /// A message reaches the inbox, if the broker is there.
    pub(crate) fn inbox_arrives(&mut self, message: InboxMessage) {
        if self.broker.up {
            if let InboxMessage::ChildWanted(wanted) = &message {
                self.meet(wanted);
            }
            let partition = self.inbox_of(&message);
            self.broker.inbox(partition).push(message);
            self.at_seat(partition, |world| world.wake_host(2));
        }
    }

    pub(crate) fn confirmed(&mut self, whose: Whose, then: Then) {
        match then {
            Then::Asked => {
                let ungranted = self.fault == Some(Fault::ActsUngranted);
                if let Some(run) = self.run_of(whose) {
                    run.delivery = None;
                    if ungranted && run.stage == Stage::Asking {
                        self.go_on(1, whose, Do::Enter);
                    }
                }
            }
            Then::Imaged => {
                let work = self.rng.range(1, 800);
                self.go_on(work, whose, Do::Act);
            }
            Then::Reported => self.forget(whose),
        }
    }

    /// A run is over for its worker: acknowledged, its place free.
    pub(crate) fn forget(&mut self, whose: Whose) {
        if let Some(worker) = self
            .workers
            .get_mut(whose.worker)
            .filter(|worker| worker.life == whose.life)
        {
            worker.runs.remove(&whose.run);
        }
        self.pump_soon();
    }
}
