//! Commits that name sagas by number: the log goes to the right saga, whatever the connection knows of it, and whoever else draws numbers meanwhile.

use baton_driver::{ColdRow, CommitError, Store};
use baton_engine::Status;

use super::FreshDatabase;
use crate::postgres::PostgresStore;
use crate::postgres::columns::int;
use crate::suite::Subject;
use crate::suite::samples::{batch, later, row, saga, saga_row, started, starts};

/// What the store's connection takes for the number of a saga.
async fn known(store: &mut PostgresStore, n: u32) -> Option<i64> {
    store.session.open().await.unwrap().numbers.of(saga(n).0)
}

async fn number(client: &tokio_postgres::Client, n: u32) -> i64 {
    let sql = "SELECT number FROM sagas WHERE id = $1";
    client.query_one(sql, &[&saga(n).0]).await.unwrap().get(0)
}

#[tokio::test]
async fn the_log_goes_to_its_saga_whether_its_number_is_known_or_not() {
    let mut subject = FreshDatabase::new().await;
    let client = subject.database.client().await;
    let (mut store, mine) = subject.open().await;
    // the last was not looked for
    store.load((0..4).map(saga).collect()).await.unwrap();
    store.commit(starts(mine, 1, 0..5)).await.unwrap();
    for n in 0..4 {
        let number = number(&client, n).await;
        assert_eq!(known(&mut store, n).await, Some(number), "{n}");
    }
    assert_eq!(known(&mut store, 4).await, None, "nobody has read it");
    let mut next = batch(mine, 5);
    next.rows = (0..5)
        .map(|n| row(6 + u64::from(n), saga(n), 2, later(n, 1)))
        .collect();
    next.sagas = vec![saga_row(0, Status::Completed), saga_row(1, Status::Parked)];
    next.cold = vec![ColdRow {
        saga: saga(2),
        cold: true,
        wake_at: None,
    }];
    store.commit(next).await.unwrap();
    assert_eq!(known(&mut store, 0).await, None, "it has ended");
    assert_eq!(known(&mut store, 2).await, None, "it left memory");
    assert!(known(&mut store, 1).await.is_some());
    store.session.end();
    assert_eq!(known(&mut store, 1).await, None, "all is read anew");
    let mut last = batch(mine, 10);
    last.rows = vec![row(11, saga(1), 3, later(9, 1))];
    store.commit(last).await.unwrap();
    let loaded = store.load((0..5).map(saga).collect()).await.unwrap();
    for (one, n) in loaded.iter().zip(0..) {
        let mut entries = vec![started(n), later(n, 1)];
        entries.extend((n == 1).then(|| later(9, 1)));
        assert_eq!(one.entries, entries, "{n}");
    }
    assert_eq!(
        known(&mut store, 1).await,
        Some(number(&client, 1).await),
        "it was read"
    );
    assert_eq!(known(&mut store, 0).await, None, "it has ended");
    subject.close(store).await;
}

#[tokio::test]
async fn a_batch_that_is_refused_gives_no_numbers() {
    let mut subject = FreshDatabase::new().await;
    let (mut store, mine) = subject.open().await;
    store.load((0..3).map(saga).collect()).await.unwrap();
    let mut twice = starts(mine, 1, 0..3);
    twice.rows[2].log_seq = 1;
    let refused = store.commit(twice).await;
    assert!(
        matches!(refused, Err(CommitError::Data { .. })),
        "{refused:?}"
    );
    for n in 0..3 {
        assert_eq!(known(&mut store, n).await, None, "{n}");
    }
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    let loaded = store.load((0..3).map(saga).collect()).await.unwrap();
    assert_eq!(loaded.len(), 3);
    subject.close(store).await;
}

/// What the version before calls goes on beside us, and draws its numbers from where ours are drawn.
#[tokio::test]
async fn an_orchestrator_of_the_version_before_draws_other_numbers() {
    let mut subject = FreshDatabase::new().await;
    let client = subject.database.client().await;
    let (mut store, mine) = subject.open().await;
    // numbers are drawn here before the other comes
    store.load(vec![saga(0)]).await.unwrap();
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    let writer = int(store.session.open().await.unwrap().writer);
    let entry = serde_json::to_string(&started(1)).unwrap();
    let nothing = ["'{}'"; 12].join(", ");
    let of_before = format!(
        "SELECT commit_batch_5(0::smallint, {}, {writer}, 0,
            ARRAY[ROW($1::uuid, 7, 'move-port', 3, 'running', true, false, '{{}}', '{{}}', 'tests', 1, 1, NULL)::batch_saga],
            ARRAY[ROW(2, $1::uuid, 0, $2::text)::batch_row], {nothing})",
        int(mine.epoch)
    );
    client
        .execute(&of_before, &[&saga(1).0, &entry])
        .await
        .unwrap();
    store.load(vec![saga(2)]).await.unwrap();
    store.commit(starts(mine, 3, 2..3)).await.unwrap();
    let loaded = store.load((0..3).map(saga).collect()).await.unwrap();
    for (one, n) in loaded.iter().zip(0..) {
        assert_eq!(one.entries, [started(n)]);
    }
    assert_eq!(loaded.len(), 3);
    subject.close(store).await;
}
