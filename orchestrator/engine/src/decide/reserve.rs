//! What a saga takes before its first step: it says so with its first records, and nothing begins before the store has admitted it. Its timer has the store
//! asked again, so that a word that was lost costs time and never the saga; a child's wait has an end.

use baton_messages::Timestamp;

use super::{DecideError, Deciding, failure};
use crate::record::Record;
use crate::reservation::{
    LIMIT_TIMEOUT_MS_DEFAULT, LOCK_TIMEOUT_MS_DEFAULT, Reservation, ReservationKind, Want,
};
use crate::state::Cause;
use crate::work_item::WorkItemKind;

impl Deciding<'_> {
    /// What a saga with this first record takes; nothing where its definition says nothing.
    ///
    /// The inner error says what cannot be computed, for people.
    pub(super) fn wanted(&self, started: &Record) -> Result<Vec<Want>, String> {
        let definition = self.rules.definition;
        match (&definition.reserves, started) {
            // what whoever starts it adds to the labels must not lead past a limit
            (Some(reserves), Record::Started { input, .. }) => {
                let labels = super::labels(definition, input);
                reserves.wants(&definition.saga, input, &labels)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Says what it takes, if it takes anything: from here on it waits.
    pub(super) fn reserve(&mut self, wants: Vec<Want>) -> Result<(), DecideError> {
        if wants.is_empty() {
            return Ok(());
        }
        let until = self.state.parent.is_some().then(|| self.patience(&wants));
        let due = Reservation::next_asking(0, until, self.now);
        self.emit(Record::Reserving { wants, due, until })
    }

    /// Until when a child waits: its root may hold what others wait for, and each of two would wait for the other.
    fn patience(&self, wants: &[Want]) -> Timestamp {
        let told = self.rules.definition.reserves.as_ref();
        let of = |kind| wants.iter().any(|want| want.kind == kind);
        let by_time = of(ReservationKind::BlastRadius);
        let usual = if of(ReservationKind::Lock) && !by_time {
            LOCK_TIMEOUT_MS_DEFAULT
        } else {
            LIMIT_TIMEOUT_MS_DEFAULT
        };
        let ms = told.and_then(|told| told.lock_timeout_ms).unwrap_or(usual);
        self.now.plus_ms(ms)
    }

    /// It has waited for long: the store is asked again, or a child gives up, of which nothing has happened.
    pub(super) fn admission_due(&mut self) -> Result<(), DecideError> {
        let Some(taken) = self.state.reservation.as_deref() else {
            return Ok(());
        };
        let (asked, paused) = (taken.asked + 1, self.state.paused);
        // its time is over when it goes on
        let until = taken.until.filter(|_| !paused);
        if until.is_some_and(|until| until <= self.now) {
            let names = taken.wants.iter().map(|want| want.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let text = format!("it waited for {names} as long as it may, and was not admitted");
            let cause = Cause::Refused {
                failure: failure("lock-timeout", text),
            };
            return self.unwind(cause);
        }
        let due = Reservation::next_asking(asked, until, self.now);
        self.emit(Record::AdmissionAsked { due })
    }

    /// The numbers of what asks a person to let it through.
    pub(super) fn held_back_items(&self) -> impl Iterator<Item = u32> {
        let items = self.state.work_items.values();
        let held = items.filter(|item| item.kind == WorkItemKind::HeldBack);
        held.map(|item| item.number)
    }

    /// Closes what asks a person to let it through.
    pub(super) fn close_held_back(&mut self, by: &str) -> Result<(), DecideError> {
        for number in self.held_back_items().collect::<Vec<_>>() {
            self.emit(Record::WorkItemClosed {
                number,
                by: by.to_owned(),
            })?;
        }
        Ok(())
    }
}
