//! Notes of what is tried alone: counted while they stand, over the death of whoever wrote them, and forgotten in time.

use baton_messages::Timestamp;
use uuid::Uuid;

use super::Subject;
use crate::suspects::{KEPT_MS, Suspects};

/// Each owner that dies over a try leaves a note; a try that came to an end leaves none.
pub async fn a_try_that_came_to_no_end_is_counted_and_one_that_did_is_forgotten(
    subject: &mut impl Subject,
) {
    let (message, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for dead in 0..3 {
        let (store, _) = subject.open().await;
        let notes = subject.suspects(&store);
        let now = Timestamp(1_000 + u64::from(dead));
        assert_eq!(notes.begin(message, 7, now).await.unwrap(), dead);
        for (message, part) in [(message, 8), (other, 7)] {
            assert_eq!(notes.begin(message, part, now).await.unwrap(), 0);
            notes.done(message, part).await.unwrap();
        }
        subject.close(store).await;
    }
}

/// A try that is taken back says nothing, and those before it still do.
pub async fn a_try_that_is_taken_back_says_nothing(subject: &mut impl Subject) {
    let message = Uuid::from_u128(1);
    let (store, _) = subject.open().await;
    let notes = subject.suspects(&store);
    assert_eq!(notes.begin(message, 0, Timestamp(1)).await.unwrap(), 0);
    for _ in 0..5 {
        assert_eq!(notes.begin(message, 0, Timestamp(2)).await.unwrap(), 1);
        notes.take_back(message, 0).await.unwrap();
    }
    notes.take_back(message, 0).await.unwrap();
    notes.take_back(message, 0).await.unwrap();
    assert_eq!(notes.begin(message, 0, Timestamp(3)).await.unwrap(), 0);
    notes.take_back(message, 9).await.unwrap();
    subject.close(store).await;
}

/// A note whose message never came again goes a month after it was last touched.
pub async fn notes_are_forgotten_in_time(subject: &mut impl Subject) {
    let (message, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (store, _) = subject.open().await;
    let notes = subject.suspects(&store);
    assert_eq!(notes.begin(message, 7, Timestamp(1_002)).await.unwrap(), 0);
    let soon = Timestamp(1_002 + KEPT_MS);
    assert_eq!(notes.begin(other, 1, soon).await.unwrap(), 0);
    assert_eq!(notes.begin(message, 7, soon).await.unwrap(), 1);
    let late = soon.plus_ms(KEPT_MS + 1);
    assert_eq!(notes.begin(message, 7, late).await.unwrap(), 0);
    subject.close(store).await;
}
