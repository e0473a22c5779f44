//! What came out of queues of dead letters and is not known to be acknowledged.

use baton_driver::Store as _;
use baton_messages::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::Subject;
use super::letters::id;
use super::samples::{batch, dead_letter};
use crate::arrivals::{Arriving, CameOut, KEPT_MS};
use crate::letters::Letters;

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn came(print: u128, fresh: u128, redelivered: bool) -> CameOut {
    CameOut {
        print: uuid(print),
        fresh: uuid(fresh),
        redelivered,
        named: false,
    }
}

async fn arrive(
    letters: &impl Letters,
    queue: &str,
    at: u64,
    over: &[u128],
    came: Vec<CameOut>,
) -> Vec<(u128, bool)> {
    let arriving = Arriving {
        queue: queue.to_owned(),
        at: Timestamp(at),
        over: over.iter().map(|n| uuid(*n)).collect(),
        came,
    };
    let arrived = letters.arrived(arriving).await.unwrap();
    let each = arrived.iter().map(|one| (one.id.as_u128(), one.again));
    each.collect()
}

/// Also after whoever took it in is gone; one that is acknowledged is never taken for another that comes later.
pub async fn what_came_and_was_not_acknowledged_is_known_again(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let letters = subject.letters(&store);
    let first = vec![came(1, 10, false), came(2, 11, false), came(3, 12, false)];
    let new = [(10, false), (11, false), (12, false)];
    assert_eq!(arrive(&letters, "q", 1, &[], first).await, new);
    subject.close(store).await;
    let (store, _) = subject.open().await;
    let letters = subject.letters(&store);
    let again = vec![came(1, 20, true), came(2, 21, true)];
    assert_eq!(
        arrive(&letters, "q", 2, &[11], again).await,
        [(10, true), (21, false)],
        "one is acknowledged: what is like it is another"
    );
    let elsewhere = vec![came(3, 30, true)];
    let there = arrive(&letters, "other", 3, &[], elsewhere).await;
    assert_eq!(there, [(30, false)], "another queue");
    // nothing is delivered again: what waited long waits for nothing
    let late = KEPT_MS + 100;
    arrive(&letters, "q", late, &[], vec![came(9, 40, false)]).await;
    let forgotten = vec![came(3, 50, true), came(9, 51, true)];
    assert_eq!(
        arrive(&letters, "q", late, &[], forgotten).await,
        [(50, false), (40, true)]
    );
    subject.close(store).await;
}

/// Which arrival a letter was made of is read back.
pub async fn a_letter_says_which_arrival_it_was(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    let mut one = dead_letter(0);
    one.properties = json!({ "headers": {}, "arrival": uuid(7).to_string() });
    all.dead_letters = vec![one, dead_letter(1)];
    store.commit(all).await.unwrap();
    let letters = subject.letters(&store);
    let mut found = letters
        .arrivals_of(vec![id(0), id(1), id(9)])
        .await
        .unwrap();
    found.sort_unstable();
    assert_eq!(found, [(id(0), Some(uuid(7))), (id(1), None)]);
    subject.close(store).await;
}
