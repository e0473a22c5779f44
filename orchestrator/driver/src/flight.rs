//! What has been committed and is on its way out: which commands of which rows are not yet confirmed, and so how far the watermark may go.

use std::collections::BTreeMap;

use baton_engine::Command;
use baton_messages::{AttemptRef, Event, InboxMessage, SagaId, Timestamp};

use crate::outlet::Ticket;

/// Commands under way before no inbox input is taken: four full batches. More would only be more to publish again after a crash.
pub(crate) const COMMANDS_MAX: usize = 4 * 512;
/// The same in bytes, for large bodies.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A command on its way.
#[derive(Debug, Clone)]
pub(crate) struct Flying {
    pub(crate) saga: SagaId,
    /// The task it sends; none for a grant or a hint, whose loss does no harm.
    pub(crate) task: Option<AttemptRef>,
    /// What it publishes that is published again until it is confirmed, since nobody asks for it.
    pub(crate) again: Option<Again>,
    pub(crate) bytes: usize,
}

/// What is published again until it is confirmed.
#[derive(Debug, Clone)]
pub(crate) enum Again {
    /// An event.
    Event(Box<Event>),
    /// A word to another saga.
    Word(Box<InboxMessage>),
}

impl Again {
    /// What publishes it.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Event(event) => Command::EmitEvent(event.clone()),
            Self::Word(word) => Command::TellSaga(word.clone()),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// Rows with commands that are neither confirmed nor moved aside, with how many.
    rows: BTreeMap<u64, u32>,
    flying: BTreeMap<Ticket, Flying>,
    /// Events the broker has not confirmed, with when each is published again. Their rows are not passed: what was not sent is found there after a crash.
    grounded: BTreeMap<Ticket, (Timestamp, Flying)>,
    bytes: usize,
    last: u64,
}

impl Flight {
    pub(crate) fn starting_at(log_seq: u64) -> Self {
        Self {
            last: log_seq,
            ..Self::default()
        }
    }

    /// A committed row, with as many commands under way.
    pub(crate) fn committed(&mut self, log_seq: u64, commands: u32) {
        self.last = self.last.max(log_seq);
        if commands > 0 {
            *self.rows.entry(log_seq).or_default() += commands;
        }
    }

    pub(crate) fn took_off(&mut self, ticket: Ticket, flying: Flying) {
        self.bytes += flying.bytes;
        self.flying.insert(ticket, flying);
    }

    /// Something became known of a command; it is no longer under way, but its row is passed only by [`Flight::settled`].
    pub(crate) fn landed(&mut self, ticket: Ticket) -> Option<Flying> {
        let flying = self.flying.remove(&ticket)?;
        self.bytes = self.bytes.saturating_sub(flying.bytes);
        Some(flying)
    }

    /// An event was not confirmed: it is published again from that moment on. It goes on counting as under way.
    pub(crate) fn ground(&mut self, ticket: Ticket, flying: Flying, at: Timestamp) {
        self.bytes += flying.bytes;
        self.grounded.insert(ticket, (at, flying));
    }

    /// The events to be published again by now, at most so many.
    pub(crate) fn due(&mut self, now: Timestamp, most: usize) -> Vec<(Ticket, Flying)> {
        let due = self.grounded.iter().filter(|(_, (at, _))| *at <= now);
        let due: Vec<Ticket> = due.map(|(ticket, _)| *ticket).take(most).collect();
        let mut again = Vec::with_capacity(due.len());
        for ticket in due {
            if let Some((_, flying)) = self.grounded.remove(&ticket) {
                self.bytes = self.bytes.saturating_sub(flying.bytes);
                again.push((ticket, flying));
            }
        }
        again
    }

    /// When the next event is published again.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.grounded.values().map(|(at, _)| *at).min()
    }

    /// The broker is there: no event waits any longer.
    pub(crate) fn all_due(&mut self, now: Timestamp) {
        for (at, _) in self.grounded.values_mut() {
            *at = now;
        }
    }

    /// One command of a row is confirmed, or taken care of by a commit.
    pub(crate) fn settled(&mut self, log_seq: u64) {
        if let Some(left) = self.rows.get_mut(&log_seq) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.rows.remove(&log_seq);
            }
        }
    }

    /// How far everything is published, if those commands of rows were settled as well.
    pub(crate) fn watermark_with(&self, settling: &BTreeMap<u64, u32>) -> u64 {
        self.rows
            .iter()
            .find(|(row, left)| settling.get(row).copied().unwrap_or(0) < **left)
            .map_or(self.last, |(row, _)| row.saturating_sub(1))
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.watermark_with(&BTreeMap::new())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.len() < COMMANDS_MAX && self.bytes < BYTES_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.flying.len() + self.grounded.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_never_passes_a_command_nobody_knows_the_fate_of() {
        let mut flight = Flight::starting_at(10);
        assert_eq!(flight.watermark(), 10);
        flight.committed(11, 1);
        flight.committed(12, 0);
        flight.committed(13, 2);
        assert_eq!(flight.watermark(), 10);
        flight.settled(13);
        assert_eq!(flight.watermark(), 10, "a later row does not lift it");
        flight.settled(11);
        assert_eq!(flight.watermark(), 12, "row 12 had nothing to publish");
        assert_eq!(flight.watermark_with(&BTreeMap::from([(13, 1)])), 13);
        flight.settled(13);
        assert_eq!(flight.watermark(), 13);
    }
}
