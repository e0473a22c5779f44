//! Files of earlier versions, with what a real orchestrator kept in them: opening one brings it to this version, and everything in it can be
//! read and gone on with.

use rusqlite::Connection;

use super::TempStore;
use crate::sqlite::schema::version_known;
use crate::suite::migrated::{Before, sagas_fold, what_lies_beside_them_is_read};
use crate::{SqliteOptions, SqliteStore};

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
        let conn = Connection::open(file.path()).unwrap();
        conn.execute_batch(fixture).unwrap();
        let version = format!("version {number}");
        let before = Before::of(&conn, number);
        drop(conn);
        let mut store = SqliteStore::open(file.path(), SqliteOptions::default()).unwrap();
        assert_eq!(user_version(&file), version_known(), "{version}");
        assert_eq!(
            store.integrity().await.unwrap(),
            Vec::<String>::new(),
            "{version}"
        );
        let partition = store.partition().id;
        sagas_fold(&file, &mut store, partition, &before, &version).await;
        what_lies_beside_them_is_read(&file, &store, &before, &version).await;
        store.close().await.unwrap();
    }
}

fn user_version(file: &TempStore) -> u32 {
    let conn = Connection::open(file.path()).unwrap();
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn there_is_a_file_of_every_version() {
    assert_eq!(FIXTURES.len(), version_known() as usize);
    for (number, fixture) in (1..).zip(FIXTURES) {
        let version = format!("PRAGMA user_version = {number};");
        assert!(fixture.contains(&version), "fixture {number}");
    }
}
