//! What workers say to the orchestrator: on its way to the inbox, lost, late, said twice, confirmed.

use baton_messages::InboxMessage;

use crate::event::{Do, Event, Then, Whose};
use crate::fault::Fault;
use crate::worker::Stage;
use crate::world::World;

impl World {
    pub(crate) fn say(&mut self, whose: Whose, message: InboxMessage, then: Then) {
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
            return self.go_on(again, whose, Do::Say(Box::new(message), then));
        }
        let trouble = u64::from(!self.calm);
        if self.rng.per_mille(self.mood.report_lost * trouble) {
            return self.go_on(again, whose, Do::Say(Box::new(message), then));
        }
        let twice = self.rng.per_mille(self.mood.report_twice * trouble);
        if twice {
            self.go_on(again, whose, Do::Say(Box::new(message.clone()), then));
        }
        let late = self.rng.per_mille(self.mood.report_late * trouble);
        let delay = if late {
            self.rng.range(1_000, 20_000)
        } else {
            self.rng.range(1, 15)
        };
        self.after(
            delay,
            Event::InboxArrives {
                message: Box::new(message),
                whose: Some((whose, then)),
                confirmed: !twice,
            },
        );
    }

    /// A message reaches the inbox, if the broker is there; its sender hears of it.
    pub(crate) fn inbox_arrives(
        &mut self,
        message: InboxMessage,
        whose: Option<(Whose, Then)>,
        confirmed: bool,
    ) {
        if !self.broker.up {
            if let Some((whose, then)) = whose
                && confirmed
            {
                let again = self.rng.range(300, 1_500);
                self.go_on(again, whose, Do::Say(Box::new(message), then));
            }
            return;
        }
        self.broker.inbox.push(message);
        self.wake_host(2);
        if let Some((whose, then)) = whose
            && confirmed
        {
            let delay = self.rng.range(1, 10);
            self.go_on(delay, whose, Do::Confirmed(then));
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
