//! What has been committed and is on its way out: which commands of which rows are not yet confirmed, and so how far the watermark may go.

use std::collections::BTreeMap;

use baton_messages::{AttemptRef, SagaId, Timestamp};

use crate::outlet::Ticket;
use crate::owed::Owed;

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
    pub(crate) again: Option<Owed>,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// Rows with commands that are neither confirmed nor moved aside, with how many.
    rows: BTreeMap<u64, u32>,
    flying: BTreeMap<Ticket, Flying>,
    /// Events and words the broker has not confirmed, with when each is published again. Their rows are passed when the store keeps them ([`crate::owed`]),
    /// with the next commit; until then they are found there after a crash.
    grounded: BTreeMap<Ticket, (Timestamp, Flying)>,
    bytes: usize,
    last: u64,
    /// What lies behind it is not looked at yet, after a start.
    held_at: Option<u64>,
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

    /// An event or a word was not confirmed: it is published again from that moment on. It counts as under way until the store keeps it.
    pub(crate) fn ground(&mut self, ticket: Ticket, flying: Flying, at: Timestamp) {
        self.bytes += flying.bytes;
        self.grounded.insert(ticket, (at, flying));
    }

    /// What the store is to keep next: at most so many, and so many bytes, at least one where there is any.
    pub(crate) fn owing(&self, most: usize, bytes: usize) -> Vec<(Ticket, Timestamp, &Flying)> {
        let (mut owing, mut room) = (Vec::new(), bytes);
        for (ticket, (at, flying)) in &self.grounded {
            if room == 0 || owing.len() == most {
                break;
            }
            room = room.saturating_sub(flying.bytes);
            owing.push((*ticket, *at, flying));
        }
        owing
    }

    /// Whether there is anything the store is to keep.
    pub(crate) fn is_owing(&self) -> bool {
        !self.grounded.is_empty()
    }

    /// The store keeps it: its row is passed.
    pub(crate) fn kept(&mut self, ticket: Ticket) {
        if let Some((_, flying)) = self.grounded.remove(&ticket) {
            self.bytes = self.bytes.saturating_sub(flying.bytes);
            self.settled(ticket.log_seq);
        }
    }

    /// Nothing is passed that lies behind this row: it is not known yet what it sends.
    pub(crate) const fn hold_at(&mut self, row: Option<u64>) {
        self.held_at = row;
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
        let known = self
            .rows
            .iter()
            .find(|(row, left)| settling.get(row).copied().unwrap_or(0) < **left)
            .map_or(self.last, |(row, _)| row.saturating_sub(1));
        self.held_at.map_or(known, |row| known.min(row))
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.watermark_with(&BTreeMap::new())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.len() < COMMANDS_MAX && self.bytes < BYTES_MAX
    }

    /// How much of bodies that is.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
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
        flight.hold_at(Some(11));
        assert_eq!(flight.watermark(), 11, "what lies behind is not looked at");
    }

    #[test]
    fn what_the_store_keeps_holds_up_nothing_and_is_handed_over_in_bounded_pieces() {
        let mut flight = Flight::starting_at(0);
        let event = serde_json::json!({
            "specversion": "1.0", "id": "e", "source": "/s", "type": "a.b",
        });
        let event: baton_messages::Event = serde_json::from_value(event).unwrap();
        for log_seq in 1..=5 {
            let flying = Flying {
                saga: SagaId(uuid::Uuid::nil()),
                task: None,
                again: Some(Owed::Event(Box::new(event.clone()))),
                bytes: 100,
            };
            flight.committed(log_seq, 1);
            flight.ground(Ticket { log_seq, index: 0 }, flying, Timestamp(1));
        }
        assert_eq!(flight.owing(3, 1_000).len(), 3);
        assert_eq!(flight.owing(9, 150).len(), 2);
        assert_eq!(flight.owing(9, 1).len(), 1, "one at least");
        assert_eq!((flight.watermark(), flight.len()), (0, 5));
        for log_seq in 1..=5 {
            flight.kept(Ticket { log_seq, index: 0 });
        }
        assert_eq!((flight.watermark(), flight.len()), (5, 0));
        assert!(!flight.is_owing() && flight.has_room());
    }
}
