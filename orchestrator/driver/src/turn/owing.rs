//! Events and words to other sagas that the broker did not confirm: written into the table of what is owed before a turn decides anything, in a commit of their
//! own, and tried again from there when it has committed. Nothing of it leaves that is not in a committed row.

use std::collections::BTreeMap;

use crate::batch::OwedRow;
use crate::driver::{Driver, DriverError};
use crate::outlet::{Outgoing, Outlet};
use crate::owed::UNDER_WAY_MAX;
use crate::store::Store;
use crate::turn::flying_again;
use crate::unsent::RESEND_MS;

/// Kept in one commit: as many as the inputs of one turn.
pub(crate) const KEPT_MAX: usize = 512;
/// The same in bytes, for large bodies.
pub(crate) const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Lanes looked at in one turn: a table of many must not hold up what comes in.
const LOOKS_MAX: usize = 32;
/// Readings in a row that may fail before everything is read anew: one that only took too long is none of those.
const UNREAD_MAX: u32 = 3;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// What was not confirmed is kept by the store, and its rows are passed; what was confirmed since leaves it. What is kept here stood in a record before: a
    /// store that took that takes this.
    pub(crate) async fn write_owed(&mut self) -> Result<(), DriverError> {
        while self.flight.is_owing() || !self.owed.gone().is_empty() {
            let mut batch = self.empty();
            let mut settling: BTreeMap<u64, u32> = BTreeMap::new();
            let mut kept = Vec::new();
            for (ticket, due, flying) in self.flight.owing(KEPT_MAX, KEPT_BYTES) {
                kept.push(ticket);
                let Some(what) = flying.again.clone() else {
                    continue;
                };
                *settling.entry(ticket.log_seq).or_default() += 1;
                let saga = flying.saga;
                batch.owed_add.push(OwedRow {
                    id: what.id(saga),
                    saga,
                    lane: self.owed.keep(&what, saga, due),
                    since: self.now,
                    what: Some(what),
                });
            }
            batch.owed_remove = self.owed.gone().to_vec();
            batch.watermark = self.flight.watermark_with(&settling);
            self.commit(batch).await?;
            self.owed.forget_gone();
            for ticket in kept {
                self.flight.kept(ticket);
            }
        }
        Ok(())
    }

    /// Whether there is room to try what is owed.
    pub(crate) fn may_try_owed(&self) -> bool {
        self.flight.has_room() && self.owed.under_way() < UNDER_WAY_MAX
    }

    /// Some of what is owed goes out again, a page of each lane whose time has come. What cannot be read now is read later: a turn that is committed stays so. False where
    /// it could not be read again and again: a store that wants everything read anew first says so to whoever asks, and nothing else may ask in a quiet partition.
    pub(super) async fn try_owed(&mut self) -> bool {
        let mut again = Vec::new();
        for _ in 0..LOOKS_MAX {
            if !self.bus_up || !self.may_try_owed() {
                break;
            }
            let Some(asked) = self.owed.next(self.now) else {
                break;
            };
            let (partition, lane) = (self.options.partition, asked.lane);
            let read = self
                .store
                .owed(partition, lane.clone(), asked.after, asked.most)
                .await;
            match read {
                Ok(rows) => {
                    self.owed_unread = 0;
                    self.try_rows(&lane, rows, &mut again);
                }
                Err(error) => {
                    self.owed_unread += 1;
                    tracing::warn!(partition, lane, error = %error.what, source = %error.source, "what is owed could not be read; it is tried again");
                    self.owed.later(&lane, self.now.plus_ms(RESEND_MS));
                    break;
                }
            }
        }
        if !again.is_empty() {
            self.outlet.publish(again);
        }
        self.owed_unread < UNREAD_MAX
    }

    fn try_rows(&mut self, lane: &str, rows: Vec<OwedRow>, again: &mut Vec<Outgoing>) {
        let last = rows.last().map(|row| (row.since, row.id));
        self.owed.read(lane, last, self.now);
        for row in rows {
            let Some(what) = row.what else {
                continue;
            };
            let ticket = self.owed.started(lane, row.id);
            again.push(Outgoing {
                ticket,
                saga: row.saga,
                command: what.command(),
            });
            let flying = flying_again(row.saga, what);
            self.flight.took_off(ticket, flying);
        }
    }
}
