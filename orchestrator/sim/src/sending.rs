//! What leaves the orchestrator, on its way to the broker: tasks, events, words to workers, each with what becomes of it.

use baton_driver::{Outgoing, Sent, Ticket};
use baton_engine::Command;
use baton_messages::{ChildSaid, InboxMessage, Standing, Task, TaskMessage, Wanted};

use crate::event::{Event, Fate};
use crate::fault::Fault;
use crate::host::short;
use crate::world::World;

/// Of a thousand words between sagas, so many are lost after the broker said that it has them.
const WORD_LOST: u64 = 15;
/// So many come once more, later.
const WORD_TWICE: u64 = 100;
/// So many come so late that others overtake them.
const WORD_LATE: u64 = 100;

impl World {
    pub(crate) fn publish(&mut self, life: u64, out: Outgoing) {
        match out.command {
            Command::Dispatch(message) => {
                let TaskMessage::Task(task) = *message;
                self.note(&format!(
                    "send {} {} {}/{} r{} of {}",
                    task.of.step,
                    task.of.direction,
                    task.of.attempt,
                    task.of.dispatch,
                    task.of.round,
                    short(task.of.saga)
                ));
                let fate = self.fate_of(&task);
                let (delay, survives) = (self.rng.range(1, 15), self.rng.per_mille(500));
                self.after(
                    delay,
                    Event::TaskArrives {
                        task: Box::new(task),
                        life,
                        ticket: out.ticket,
                        fate,
                        survives,
                    },
                );
            }
            Command::Grant(message) | Command::CancelTask { message, .. } => {
                let trouble = u64::from(!self.calm);
                if self.broker.up && !self.rng.per_mille(self.mood.control_lost * trouble) {
                    let delay = self.rng.range(1, 20);
                    self.after(delay, Event::ControlArrives(message));
                }
                self.after(5, Event::Told(life, out.ticket, Sent::Confirmed));
            }
            Command::EmitEvent(event) => {
                self.note(&format!("say {} {}", event.kind, event.id));
                let fate = self.fate();
                let (delay, survives) = (self.rng.range(1, 15), self.rng.per_mille(500));
                self.after(
                    delay,
                    Event::SaidArrives {
                        event,
                        life,
                        ticket: out.ticket,
                        fate,
                        survives,
                    },
                );
            }
            Command::TellSaga(word) => {
                self.note(&format!("tell {}", told(&word)));
                let word = self.mistaken(word);
                let fate = self.fate_of_word(&word);
                let (delay, survives) = (self.rng.range(1, 15), self.rng.per_mille(500));
                self.after(
                    delay,
                    Event::WordArrives {
                        word,
                        life,
                        ticket: out.ticket,
                        fate,
                        survives,
                    },
                );
            }
            Command::OpenWorkItem(_)
            | Command::ChangeWorkItem(_)
            | Command::CloseWorkItem { .. }
            | Command::Reserve(_) => self.breaks("a work item left the store".into()),
        }
    }

    pub(crate) fn fate(&mut self) -> Fate {
        if self.calm {
            return Fate::Well;
        }
        let (lost, confirm, nacked) = (
            self.mood.publish_lost,
            self.mood.confirm_lost,
            self.mood.nacked,
        );
        if self.rng.per_mille(lost) {
            Fate::Lost
        } else if self.rng.per_mille(confirm) {
            Fate::ConfirmLost
        } else if self.rng.per_mille(nacked) {
            Fate::Nacked
        } else {
            Fate::Well
        }
    }

    pub(crate) fn task_arrives(
        &mut self,
        task: Task,
        life: u64,
        ticket: Ticket,
        fate: Fate,
        survives: bool,
    ) {
        let alive = self.host.as_ref().is_some_and(|host| host.life == life);
        if !alive && !survives {
            return;
        }
        let fate = if self.broker.up { fate } else { Fate::Lost };
        let sent = match fate {
            Fate::Lost => Sent::Unknown,
            Fate::Nacked => Sent::Nacked,
            Fate::Well | Fate::ConfirmLost => {
                let routed = self.routed(task);
                self.pump_soon();
                match (fate, routed) {
                    (Fate::ConfirmLost, _) => Sent::Unknown,
                    (_, true) => Sent::Confirmed,
                    (_, false) => Sent::Returned,
                }
            }
        };
        let delay = if sent == Sent::Unknown {
            let longest = self.doubt_ms();
            self.rng.range(100, longest)
        } else {
            self.rng.range(1, 30)
        };
        self.after(delay, Event::Told(life, ticket, sent));
    }

    /// What a saga says reaches the broker, or does not; nobody has to listen.
    pub(crate) fn said_arrives(
        &mut self,
        event: baton_messages::Event,
        life: u64,
        ticket: Ticket,
        fate: Fate,
        survives: bool,
    ) {
        let alive = self.host.as_ref().is_some_and(|host| host.life == life);
        if !alive && !survives {
            return;
        }
        let fate = if self.broker.up { fate } else { Fate::Lost };
        let sent = match fate {
            _ if self.fault == Some(Fault::EventBelieved) => Sent::Confirmed,
            Fate::Lost => Sent::Unknown,
            Fate::Nacked => Sent::Nacked,
            Fate::ConfirmLost => Sent::Unknown,
            Fate::Well => Sent::Confirmed,
        };
        if matches!(fate, Fate::Well | Fate::ConfirmLost) {
            self.said.insert(event.id.clone(), event.clone());
            // We hear ourselves like everybody else.
            self.after(5, Event::Happens(Box::new(event)));
        }
        let delay = if sent == Sent::Unknown {
            self.rng.range(100, 30_000)
        } else {
            self.rng.range(1, 30)
        };
        self.after(delay, Event::Told(life, ticket, sent));
    }

    /// What a saga tells another one reaches the inbox: once, twice, late, or not at all although its sender believes it.
    pub(crate) fn word_arrives(
        &mut self,
        word: InboxMessage,
        (life, ticket): (u64, Ticket),
        fate: Fate,
        survives: bool,
    ) {
        let alive = self.host.as_ref().is_some_and(|host| host.life == life);
        if !alive && !survives {
            return;
        }
        let fate = if self.broker.up { fate } else { Fate::Lost };
        let sent = match fate {
            Fate::Lost | Fate::ConfirmLost => Sent::Unknown,
            Fate::Nacked => Sent::Nacked,
            Fate::Well => Sent::Confirmed,
        };
        if matches!(fate, Fate::Well | Fate::ConfirmLost) {
            self.word_is_there(word);
        }
        let delay = if sent == Sent::Unknown {
            self.rng.range(100, 30_000)
        } else {
            self.rng.range(1, 30)
        };
        self.after(delay, Event::Told(life, ticket, sent));
    }

    /// A word as a fault has it that is planted.
    fn mistaken(&self, word: Box<InboxMessage>) -> Box<InboxMessage> {
        match (self.fault, *word) {
            (Some(Fault::ChildLeftStanding), InboxMessage::ChildWanted(wanted))
                if wanted.want == Wanted::Undone =>
            {
                Box::new(InboxMessage::ChildSaid(ChildSaid {
                    parent: wanted.parent,
                    child: wanted.child,
                    seq: u64::MAX,
                    standing: Standing::Compensated { failure: None },
                }))
            }
            (Some(Fault::ChildFailureUnheard), InboxMessage::ChildSaid(mut said)) => {
                if matches!(said.standing, Standing::Compensated { failure: Some(_) }) {
                    said.standing = Standing::Completed {
                        output: Some(serde_json::Value::Null),
                        too_large: None,
                        no_output: None,
                        only_forward: false,
                    };
                }
                Box::new(InboxMessage::ChildSaid(said))
            }
            (_, word) => Box::new(word),
        }
    }

    fn word_is_there(&mut self, word: InboxMessage) {
        if let Some(late) = self.word_late(&word) {
            return self.after(late, Event::InboxArrives(Box::new(word)));
        }
        if self.calm || self.mood.quiet {
            return self.inbox_arrives(word);
        }
        if self.rng.per_mille(WORD_LOST) {
            self.note("  and it is lost");
            return;
        }
        if self.rng.per_mille(WORD_TWICE) {
            let late = self.rng.range(1, 90_000);
            self.after(late, Event::InboxArrives(Box::new(word.clone())));
        }
        if self.rng.per_mille(WORD_LATE) {
            let late = self.rng.range(1, 90_000);
            return self.after(late, Event::InboxArrives(Box::new(word)));
        }
        self.inbox_arrives(word);
    }

    pub(crate) fn told(&mut self, life: u64, ticket: Ticket, sent: Sent) {
        if self.host_is_stopped(life, Event::Told(life, ticket, sent)) {
            return;
        }
        if let Some(host) = self.host.as_mut().filter(|host| host.life == life) {
            host.driver.sent(vec![(ticket, sent)]);
            if sent != Sent::Confirmed {
                self.note(&format!("  told {} {sent:?}", ticket.log_seq));
                self.wake_host(2);
            } else {
                self.schedule_turn();
            }
        }
    }
}

/// A word, for the trace.
fn told(word: &InboxMessage) -> String {
    match word {
        InboxMessage::ChildWanted(wanted) => format!(
            "{} by {}: {} wants it {:?}, {}",
            short(wanted.child),
            short(wanted.parent.saga),
            wanted.parent.key(),
            wanted.want,
            wanted.number
        ),
        InboxMessage::ChildSaid(said) => format!(
            "{} by {}: {:?}",
            short(said.parent.saga),
            short(said.child),
            said.standing
        ),
        other => other.kind().to_owned(),
    }
}
