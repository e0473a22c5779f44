//! Notes of what is tried alone: counted while they stand, over the death of whoever wrote them, and forgotten in time.

use baton_messages::Timestamp;
use uuid::Uuid;

use super::TempStore;
use crate::{SqliteOptions, SqliteStore};

const MONTH_MS: u64 = 30 * 24 * 3_600_000;

#[tokio::test]
async fn a_try_that_came_to_no_end_is_counted_and_one_that_did_is_forgotten() {
    let subject = TempStore::new();
    let (message, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for dead in 0..3 {
        let store = SqliteStore::open(subject.path(), SqliteOptions::default()).unwrap();
        let notes = store.suspects();
        let now = Timestamp(1_000 + u64::from(dead));
        assert_eq!(notes.begin(message, 7, now).await.unwrap(), dead);
        for (message, part) in [(message, 8), (other, 7)] {
            assert_eq!(notes.begin(message, part, now).await.unwrap(), 0);
            notes.done(message, part).await.unwrap();
        }
        store.close().await.unwrap();
    }
    let store = SqliteStore::open(subject.path(), SqliteOptions::default()).unwrap();
    let notes = store.suspects();
    let soon = Timestamp(1_002 + MONTH_MS);
    assert_eq!(notes.begin(other, 1, soon).await.unwrap(), 0);
    assert_eq!(notes.begin(message, 7, soon).await.unwrap(), 3);
    let late = soon.plus_ms(MONTH_MS + 1);
    assert_eq!(notes.begin(message, 7, late).await.unwrap(), 0);
    store.close().await.unwrap();
    assert!(notes.begin(message, 7, late).await.is_err(), "closed");
}

#[tokio::test]
async fn a_try_that_is_taken_back_says_nothing_and_those_before_it_still_do() {
    let subject = TempStore::new();
    let message = Uuid::from_u128(1);
    let store = SqliteStore::open(subject.path(), SqliteOptions::default()).unwrap();
    let notes = store.suspects();
    assert_eq!(notes.begin(message, 0, Timestamp(1)).await.unwrap(), 0);
    for _ in 0..5 {
        assert_eq!(notes.begin(message, 0, Timestamp(2)).await.unwrap(), 1);
        notes.take_back(message, 0).await.unwrap();
    }
    notes.take_back(message, 0).await.unwrap();
    notes.take_back(message, 0).await.unwrap();
    assert_eq!(notes.begin(message, 0, Timestamp(3)).await.unwrap(), 0);
    notes.take_back(message, 9).await.unwrap();
    store.close().await.unwrap();
}
