//! Where committed commands leave. Handing over never waits; what became of each comes back through [`crate::Driver::sent`].

use baton_engine::Command;
use baton_messages::SagaId;

/// Names one command of one committed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The row in its partition's log; 0 for what is published again from the table of what is owed ([`crate::OwedRow`]).
    pub log_seq: u64,
    /// Which of the row's commands, from 0.
    pub index: u32,
}

/// A command on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its name; what became of it is told under this name.
    pub ticket: Ticket,
    /// The saga it belongs to.
    pub saga: SagaId,
    /// What to send: a dispatch, a grant, a hint or an event; never a work item, which stays in the store.
    pub command: Command,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The broker has it and has routed it.
    Confirmed,
    /// The broker had nowhere to put it.
    Returned,
    /// The broker refused it: it does not have it.
    Nacked,
    /// It never left: nothing could be sent at all.
    NotSent,
    /// Nobody knows: the channel was lost, or the confirm took too long.
    Unknown,
}

/// Where committed commands leave.
pub trait Outlet {
    /// Takes commands to be published, in this order. Must not wait and must not fail: what cannot be sent is told as [`Sent::Nacked`] or
    /// [`Sent::Unknown`]. The driver bounds how much is under way.
    fn publish(&mut self, commands: Vec<Outgoing>);
}
