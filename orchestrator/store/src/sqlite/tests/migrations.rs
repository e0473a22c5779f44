//! Files of earlier versions, with what a real orchestrator kept in them: opening one brings it to this version, and everything in it can be
//! read and gone on with.

use baton_driver::Store as _;
use baton_engine::replay;
use baton_messages::{AuditCheck, Timestamp};
use rusqlite::Connection;
use uuid::Uuid;

use super::TempStore;
use crate::read::DeadLetterFilter;
use crate::sqlite::schema::version_known;
use crate::{
    Alerts as _, AuditLog as _, Reader as _, ReservationBook as _, ReservationFilter, SagaFilter,
    SqliteOptions, SqliteStore, Suspects as _, TokenStore as _, Triggers as _,
};

/// More than there is of anything.
const PAGE: usize = 500;

/// A dump of each version there ever was, the newest included: whoever adds a migration adds a dump of its version.
const FIXTURES: &[&str] = &[
    include_str!("fixtures/version_1.sql"),
    include_str!("fixtures/version_2.sql"),
    include_str!("fixtures/version_3.sql"),
    include_str!("fixtures/version_4.sql"),
    include_str!("fixtures/version_5.sql"),
    include_str!("fixtures/version_6.sql"),
    include_str!("fixtures/version_7.sql"),
    include_str!("fixtures/version_8.sql"),
    include_str!("fixtures/version_9.sql"),
    include_str!("fixtures/version_10.sql"),
    include_str!("fixtures/version_11.sql"),
    include_str!("fixtures/version_12.sql"),
    include_str!("fixtures/version_13.sql"),
    include_str!("fixtures/version_14.sql"),
    include_str!("fixtures/version_15.sql"),
    include_str!("fixtures/version_16.sql"),
];

#[tokio::test]
async fn a_file_of_every_version_is_opened_and_all_in_it_can_be_read_and_gone_on_with() {
    for (number, fixture) in (1..).zip(FIXTURES) {
        let file = TempStore::new();
        Connection::open(file.path())
            .unwrap()
            .execute_batch(fixture)
            .unwrap();
        let version = format!("version {number}");
        let before = Before::of(&file, number);
        let mut store = SqliteStore::open(file.path(), SqliteOptions::default()).unwrap();
        assert_eq!(user_version(&file), version_known(), "{version}");
        assert_eq!(
            store.integrity().await.unwrap(),
            Vec::<String>::new(),
            "{version}"
        );
        sagas_fold(&mut store, &before, &version).await;
        what_lies_beside_them_is_read(&store, &before, &version).await;
        store.close().await.unwrap();
    }
}

/// How many rows each table had, before the file was opened.
struct Before(std::collections::BTreeMap<&'static str, usize>);

impl Before {
    /// Every table that this version has, with something in each.
    fn of(file: &TempStore, number: u32) -> Self {
        let conn = Connection::open(file.path()).unwrap();
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
        let mut rows: std::collections::BTreeMap<_, _> = rows.collect();
        if number >= 7 {
            let sql = "SELECT count(*) FROM sagas WHERE purged_at IS NOT NULL";
            let left: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            assert!(left > 0, "version {number} has no saga that was purged");
            rows.insert("purged", usize::try_from(left).unwrap());
        }
        Self(rows)
    }

    fn rows(&self, table: &str) -> usize {
        self.0.get(table).copied().unwrap_or_default()
    }
}

fn user_version(file: &TempStore) -> u32 {
    let conn = Connection::open(file.path()).unwrap();
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

/// As the driver reads them, and as people do.
async fn sagas_fold(store: &mut SqliteStore, before: &Before, version: &str) {
    let partition = store.partition().id;
    let reader = store.reader();
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
    assert!(!recovered.hot.is_empty(), "{version}: something goes on");
    assert!(!recovered.unserved.is_empty(), "{version}");
}

async fn what_lies_beside_them_is_read(store: &SqliteStore, before: &Before, version: &str) {
    let reader = store.reader();
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
    let triggers = store.triggers();
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
        ("tokens", store.tokens().tokens().await.unwrap().len()),
        ("audit", verified(store).await),
        (
            "alerts",
            store
                .alerts()
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
            store
                .reservations()
                .reservations(ReservationFilter::All, None, PAGE)
                .await
                .unwrap()
                .rows
                .len(),
        ),
    ] {
        assert_eq!(rows, before.rows(table), "{version}: {table}");
    }
    let notes = store.suspects();
    let message = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let tries = notes.begin(message, 2, Timestamp(1_795_873_019_625)).await;
    let noted = u32::try_from(before.rows("suspects")).unwrap();
    assert_eq!(tries.unwrap(), noted, "{version}");
}

/// How many rows of the audit log hang together.
async fn verified(store: &SqliteStore) -> usize {
    let mut check = AuditCheck::default();
    for row in store.audit().rows(0, PAGE).await.unwrap() {
        check.row(row).unwrap();
    }
    usize::try_from(check.rows()).unwrap()
}

#[test]
fn there_is_a_file_of_every_version() {
    assert_eq!(FIXTURES.len(), version_known() as usize);
    for (number, fixture) in (1..).zip(FIXTURES) {
        let version = format!("PRAGMA user_version = {number};");
        assert!(fixture.contains(&version), "fixture {number}");
    }
}
