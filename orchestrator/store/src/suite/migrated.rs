//! Stores of earlier versions, with what a real orchestrator kept in them: how much of what there was, and whether all of it can be read and gone on with once the
//! store was opened by this version.

use std::collections::BTreeMap;

use baton_driver::Store as _;
use baton_engine::replay;
use baton_messages::{AuditCheck, Timestamp};
use rusqlite::Connection;
use uuid::Uuid;

use super::Subject;
use crate::alerts::Alerts as _;
use crate::audit::AuditLog as _;
use crate::read::{DeadLetterFilter, SagaFilter};
use crate::reader::Reader as _;
use crate::reservations::{ReservationBook as _, ReservationFilter};
use crate::suspects::Suspects as _;
use crate::tokens::TokenStore as _;
use crate::triggers::Triggers as _;

/// More than there is of anything.
const PAGE: usize = 500;

/// How many rows each table had, before the store was opened.
#[derive(Debug)]
pub struct Before(BTreeMap<&'static str, usize>);

impl Before {
    /// Every table that a file of this version has, with something in each.
    #[must_use]
    pub fn of(conn: &Connection, number: u32) -> Self {
        let tables = [
            (1, "sagas"),
            (1, "records"),
            (1, "definitions"),
            (1, "task_types"),
            (1, "dead_letters"),
            (1, "unserved"),
            (2, "tokens"),
            (3, "saga_labels"),
            (3, "events"),
            (3, "keys"),
            (3, "schedules"),
            (3, "bindings"),
            (4, "work_items"),
            (4, "subscriptions"),
            (5, "suspects"),
            (8, "dead_operations"),
            (9, "dead_edits"),
            (9, "dead_group_hours"),
            (10, "audit"),
            (10, "alerts"),
            (11, "dead_history"),
            (13, "dead_arrivals"),
            (14, "reservations"),
            (16, "owed"),
        ];
        let rows = tables
            .into_iter()
            .filter(|(since, _)| *since <= number)
            .map(|(_, table)| {
                let sql = format!("SELECT count(*) FROM {table}");
                let rows: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
                assert!(rows > 0, "version {number} has nothing in {table}");
                (table, usize::try_from(rows).unwrap())
            });
        let mut rows: BTreeMap<_, _> = rows.collect();
        if number >= 7 {
            let sql = "SELECT count(*) FROM sagas WHERE purged_at IS NOT NULL";
            let left: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            assert!(left > 0, "version {number} has no saga that was purged");
            rows.insert("purged", usize::try_from(left).unwrap());
        }
        Self(rows)
    }

    /// Of one table; none where that version had none.
    #[must_use]
    pub fn rows(&self, table: &str) -> usize {
        self.0.get(table).copied().unwrap_or_default()
    }
}

/// As the driver reads them, and as people do.
pub async fn sagas_fold<S: Subject>(
    subject: &S,
    store: &mut S::Store,
    partition: u8,
    before: &Before,
    version: &str,
) {
    let reader = subject.reader(store);
    let page = reader
        .sagas(SagaFilter::default(), None, PAGE)
        .await
        .unwrap();
    let left = before.rows("purged");
    assert_eq!(page.rows.len(), before.rows("sagas") - left, "{version}");
    let figures = reader.counts().await.unwrap();
    assert_eq!(figures.purged, left as u64, "{version}");
    let mut entries = 0;
    for row in &page.rows {
        let (_, log) = reader.saga(row.saga).await.unwrap().unwrap();
        entries += log.len();
        let loaded = store.load(vec![row.saga]).await.unwrap();
        let [one] = &loaded[..] else {
            panic!("{version}: {} is not loaded", row.saga)
        };
        assert_eq!(one.unreadable, None, "{version}: {}", row.saga);
        let mut state = (*one.base).clone();
        replay(&mut state, &one.entries)
            .unwrap_or_else(|error| panic!("{version}: {}: {error}", row.saga));
        assert_eq!(state.status, row.status, "{version}: {}", row.saga);
    }
    assert_eq!(entries, before.rows("records"), "{version}");
    let recovered = store.recover(partition).await.unwrap();
    assert_eq!(recovered.log_seq, entries as u64, "{version}");
    assert_eq!(recovered.watermark, entries as u64, "{version}");
    let owed = before.rows("owed");
    assert_eq!(recovered.owed, owed as u64, "{version}");
    for lane in recovered.owed_lanes {
        let rows = store.owed(partition, lane, None, PAGE).await.unwrap();
        assert_eq!(rows.len(), owed, "{version}");
        assert!(rows.iter().all(|row| row.what.is_some()), "{version}");
    }
    assert!(!recovered.hot.is_empty(), "{version}: something goes on");
    assert!(!recovered.unserved.is_empty(), "{version}");
}

/// Whatever is no saga.
pub async fn what_lies_beside_them_is_read<S: Subject>(
    subject: &S,
    store: &S::Store,
    before: &Before,
    version: &str,
) {
    let reader = subject.reader(store);
    let letters = reader
        .dead_letters(DeadLetterFilter::default(), None, PAGE)
        .await
        .unwrap()
        .rows;
    let items = reader
        .work_items(false, None, None, PAGE)
        .await
        .unwrap()
        .rows;
    let triggers = subject.triggers(store);
    let mut waiting = Vec::new();
    for kind in triggers.bindings().await.unwrap() {
        waiting.extend(triggers.subscribers(kind, None, PAGE).await.unwrap());
    }
    for (table, rows) in [
        ("definitions", reader.definitions().await.unwrap().len()),
        ("dead_letters", letters.len()),
        (
            "dead_operations",
            reader.dead_operations(None, PAGE).await.unwrap().rows.len(),
        ),
        ("work_items", items.len()),
        (
            "tokens",
            subject.tokens(store).tokens().await.unwrap().len(),
        ),
        ("audit", verified(subject, store).await),
        (
            "alerts",
            subject
                .alerts(store)
                .page(None, None, PAGE)
                .await
                .unwrap()
                .rows
                .len(),
        ),
        (
            "events",
            reader.events(None, None, PAGE).await.unwrap().rows.len(),
        ),
        ("schedules", triggers.schedules().await.unwrap().len()),
        ("bindings", triggers.bindings().await.unwrap().len()),
        ("subscriptions", waiting.len()),
        (
            "reservations",
            subject
                .reservations(store)
                .reservations(ReservationFilter::All, None, PAGE)
                .await
                .unwrap()
                .rows
                .len(),
        ),
    ] {
        assert_eq!(rows, before.rows(table), "{version}: {table}");
    }
    let notes = subject.suspects(store);
    let message = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let tries = notes.begin(message, 2, Timestamp(1_795_873_019_625)).await;
    let noted = u32::try_from(before.rows("suspects")).unwrap();
    assert_eq!(tries.unwrap(), noted, "{version}");
}

/// How many rows of the audit log hang together.
async fn verified<S: Subject>(subject: &S, store: &S::Store) -> usize {
    let mut check = AuditCheck::default();
    for row in subject.audit(store).rows(0, PAGE).await.unwrap() {
        check.row(row).unwrap();
    }
    usize::try_from(check.rows()).unwrap()
}
