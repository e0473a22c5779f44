//! What operators did, in memory.

use baton_driver::StoreError;
use baton_messages::{AuditEntry, AuditPhase, AuditRow};

use super::MemoryStore;
use crate::audit::{AuditCursor, AuditFilter, AuditLog, cursor, limited, sealed};
use crate::read::{Page, page};

impl AuditLog for MemoryStore {
    async fn append(&self, entries: Vec<AuditEntry>) -> Result<Vec<AuditRow>, StoreError> {
        let mut tables = self.tables();
        let last = tables.audit.last().cloned();
        let chained = sealed(entries, last).map_err(|source| StoreError {
            what: "the audit log, to add to it".to_owned(),
            source: Box::new(source),
        })?;
        tables.audit.extend(chained.iter().cloned());
        Ok(chained)
    }

    async fn rows(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let tables = self.tables();
        let behind = tables.audit.iter().filter(|row| row.seq > after);
        Ok(behind.take(limited(limit)).cloned().collect())
    }

    async fn head(&self) -> Result<Option<AuditRow>, StoreError> {
        Ok(self.tables().audit.last().cloned())
    }

    async fn page(
        &self,
        filter: AuditFilter,
        after: Option<AuditCursor>,
        limit: usize,
    ) -> Result<Page<AuditRow, AuditCursor>, StoreError> {
        let tables = self.tables();
        let read = tables
            .audit
            .iter()
            .filter_map(|row| Some((row, row.entry()?)));
        let all: Vec<(&AuditRow, AuditEntry)> = read.collect();
        let answered = |seq: u64| all.iter().any(|(_, entry)| entry.of == Some(seq));
        let fits = |entry: &AuditEntry| {
            filter.who.as_ref().is_none_or(|who| entry.who == *who)
                && filter.action.as_ref().is_none_or(|of| entry.action == *of)
                && filter.object.as_ref().is_none_or(|of| entry.object == *of)
                && filter.from.is_none_or(|from| entry.at >= from)
                && filter.until.is_none_or(|until| entry.at <= until)
                && filter.phase.is_none_or(|phase| entry.phase == phase)
                && (filter.all || entry.phase != AuditPhase::Asked || !answered(entry.seq))
                && after.is_none_or(|last| (entry.at, entry.seq) < (last.at, last.seq))
        };
        let mut found: Vec<&(&AuditRow, AuditEntry)> =
            all.iter().filter(|(_, entry)| fits(entry)).collect();
        found.sort_by_key(|(_, entry)| std::cmp::Reverse((entry.at, entry.seq)));
        let found: Vec<AuditRow> = found.into_iter().map(|(row, _)| (*row).clone()).collect();
        let limit = limited(limit);
        let found = found.into_iter().take(limit + 1).collect();
        Ok(page(found, limit, cursor))
    }
}
