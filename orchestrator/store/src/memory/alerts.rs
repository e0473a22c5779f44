//! Alerts in memory.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use uuid::Uuid;

use super::MemoryStore;
use crate::alerts::{AlertCursor, AlertRow, AlertState, Alerts, cursor};
use crate::audit::limited;
use crate::read::{Page, page};

impl MemoryStore {
    fn alerts(&self, fits: impl Fn(&AlertRow) -> bool) -> Vec<AlertRow> {
        let tables = self.tables();
        let mut found: Vec<AlertRow> = tables
            .alerts
            .values()
            .filter(|row| fits(row))
            .cloned()
            .collect();
        found.sort_by_key(|row| (row.opened_at, row.id));
        found
    }
}

impl Alerts for MemoryStore {
    async fn put(&self, alerts: Vec<AlertRow>) -> Result<Vec<Uuid>, StoreError> {
        let mut tables = self.tables();
        let mut written = Vec::new();
        for row in alerts {
            let there = tables.alerts.get(&row.id).map_or(0, |row| row.revision);
            if there + 1 == row.revision {
                written.push(row.id);
                tables.alerts.insert(row.id, row);
            }
        }
        Ok(written)
    }

    async fn standing(&self, limit: usize) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        let is_open = |row: &AlertRow| row.state == AlertState::Open;
        let mut found = self.alerts(is_open);
        found.truncate(limit);
        let mut over = self.alerts(|row| !is_open(row) && row.unsaid.is_some());
        over.truncate(limit);
        found.extend(over);
        Ok(page(found, usize::MAX, cursor))
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<Vec<AlertRow>, StoreError> {
        Ok(self.alerts(|row| keys.contains(&row.key)))
    }

    async fn page(
        &self,
        state: Option<AlertState>,
        after: Option<AlertCursor>,
        limit: usize,
    ) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        let limit = limited(limit);
        let mut found = self.alerts(|row| {
            state.is_none_or(|state| row.state == state)
                && after.is_none_or(|last| (row.opened_at, row.id) < (last.opened_at, last.id))
        });
        found.reverse();
        found.truncate(limit + 1);
        Ok(page(found, limit, cursor))
    }

    async fn between(&self, first: Uuid, last: Uuid) -> Result<Vec<AlertRow>, StoreError> {
        let mut found = self.alerts(|row| (first..=last).contains(&row.id));
        found.truncate(2);
        Ok(found)
    }

    async fn forget(&self, opened_before: Timestamp, _: usize) -> Result<(), StoreError> {
        let over = |row: &AlertRow| {
            row.state == AlertState::Resolved
                && row.unsaid.is_none()
                && row.opened_at < opened_before
        };
        self.tables().alerts.retain(|_, row| !over(row));
        Ok(())
    }
}
