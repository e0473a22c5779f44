//! What sagas take, in memory: the rule itself.

use baton_driver::{Admission, ReservationRow, StoreError};
use baton_engine::ReservationKind;
use baton_messages::Timestamp;

use super::MemoryStore;
use crate::audit::limited;
use crate::read::{Page, page};
use crate::reservations::{ReservationBook, ReservationCursor, ReservationFilter};

impl ReservationBook for MemoryStore {
    async fn admit(&self, now: Timestamp, after: Option<u64>) -> Result<Admission, StoreError> {
        Ok(self.tables().reservations.admit(now, after))
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        self.tables().tidy_reservations();
        Ok(())
    }

    async fn reservations(
        &self,
        filter: ReservationFilter,
        after: Option<ReservationCursor>,
        limit: usize,
    ) -> Result<Page<ReservationRow, ReservationCursor>, StoreError> {
        let limit = limited(limit);
        let tables = self.tables();
        let fits = |row: &&ReservationRow| match &filter {
            ReservationFilter::All => true,
            ReservationFilter::Kind(kind) => row.want.kind == *kind,
            ReservationFilter::Name(kind, name) => row.want.kind == *kind && row.want.name == *name,
            ReservationFilter::Saga(saga) => row.saga == *saga,
        };
        let mut found: Vec<(ReservationCursor, ReservationRow)> = tables
            .reservations
            .rows()
            .filter(fits)
            .map(|row| (ReservationCursor::of(row), row.clone()))
            .filter(|(at, _)| after.as_ref().is_none_or(|last| at.place() > last.place()))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.place().cmp(&b.place()));
        found.truncate(limit + 1);
        let rows = found.into_iter().map(|(_, row)| row).collect();
        Ok(page(rows, limit, ReservationCursor::of))
    }

    async fn before(
        &self,
        kind: ReservationKind,
        name: String,
        ticket: u64,
    ) -> Result<u64, StoreError> {
        let tables = self.tables();
        let waits = |row: &&ReservationRow| {
            let same = row.want.kind == kind && row.want.name == name && row.ticket < ticket;
            same && row.state == baton_driver::ReservationState::Waiting
        };
        Ok(tables.reservations.rows().filter(waits).count() as u64)
    }
}
