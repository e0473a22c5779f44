//! Who waits for whom when something takes long: a slow commit, callers that use up every connection, a member that is stopped in the middle. None of it costs
//! a partition, and nobody waits for more than he has to.

use std::time::{Duration, SystemTime};

use baton_driver::{Batch, ReservationChange, Store};
use baton_engine::definition::EventPattern;
use baton_engine::reservation::Change;
use baton_engine::{ReservationKind, Status, Want};
use baton_harness::{Direction, Proxy, await_until};
use baton_messages::Timestamp;
use deadpool_postgres::Object;
use tokio_postgres::Client;

use super::FreshDatabase;
use crate::postgres::connect::{Connections, Use};
use crate::postgres::options::Target;
use crate::postgres::{
    PostgresCluster, PostgresOptions, PostgresReservations, PostgresStore, WRITERS,
};
use crate::suite::Subject;
use crate::suite::samples::{at, batch, saga, saga_row, starts};
use crate::{ReservationBook as _, TokenStore as _, Triggers as _};

/// What any of this may take, on a machine that is building something on every core meanwhile.
const SOON: Duration = Duration::from_secs(60);
/// So long a commit is held up: longer than two renewals take, and shorter than a statement may take.
const SLOW: Duration = Duration::from_secs(7);

/// The lock under which what sagas take changes.
const TAKING: &str = "SELECT pg_advisory_xact_lock(4774189773973618695)";

async fn is(client: &Client, sql: &str) -> bool {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn lease_until(client: &Client) -> Option<SystemTime> {
    let sql = "SELECT lease_until FROM partitions WHERE id = 0";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Every connection of those who write, and so many more.
async fn all_connections(store: &PostgresStore, more: usize) -> Vec<Object> {
    let mut all = Vec::new();
    for _ in 0..WRITERS + more {
        all.push(store.beside.get().await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_seconds_costs_no_partition() {
    let mut subject = FreshDatabase::new().await;
    let options = PostgresOptions {
        url: subject.database.url(),
        ..PostgresOptions::default()
    };
    let mut store = PostgresStore::open(&options).await.unwrap();
    let (mine, mut ownership) = (store.partition(), store.ownership());
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    let (holding, watching) = (
        subject.database.client().await,
        subject.database.client().await,
    );
    // what a commit writes after its fence
    let hold = "BEGIN; SELECT 1 FROM sagas FOR UPDATE";
    holding.batch_execute(hold).await.unwrap();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%commit_batch%'";
    let slow = async {
        await_until("the commit to wait", SOON, async || {
            is(&watching, waits).await
        })
        .await;
        tokio::time::sleep(SLOW).await;
        holding.batch_execute("ROLLBACK").await.unwrap();
    };
    let parked = Batch {
        sagas: vec![saga_row(0, Status::Parked)],
        ..batch(mine, 3)
    };
    let (committed, ()) = tokio::join!(store.commit(parked.clone()), slow);
    committed.expect("nobody has taken the partition");
    let lost = tokio::time::timeout(Duration::ZERO, ownership.lost()).await;
    assert!(lost.is_err(), "given up: {lost:?}");
    let leased = "SELECT lease_until > clock_timestamp() FROM partitions WHERE id = 0";
    assert!(is(&watching, leased).await);
    store.commit(parked).await.expect("it goes on");
    subject.close(store).await;
}

#[tokio::test]
async fn a_lease_is_renewed_while_every_other_connection_is_in_use() {
    let mut subject = FreshDatabase::new().await;
    let client = subject.database.client().await;
    let (store, _) = subject.open().await;
    let all = all_connections(&store, 1).await;
    let before = lease_until(&client).await;
    await_until("the lease to be renewed", SOON, async || {
        lease_until(&client).await > before
    })
    .await;
    drop(all);
    subject.close(store).await;
}

#[tokio::test]
async fn a_member_says_that_it_is_there_while_every_other_connection_is_in_use() {
    const COUNT: u8 = 2;
    let subject = FreshDatabase::new().await;
    let cluster = PostgresCluster::open(&subject.options(), Some(COUNT), "1").await;
    let cluster = cluster.unwrap();
    let store = cluster.take(0).await.unwrap().unwrap();
    let all = all_connections(&store, 1 + usize::from(COUNT)).await;
    let view = cluster.beat(true, SOON).await.unwrap();
    assert_eq!(view.unwrap().members.len(), 1);
    drop(all);
    store.close().await.unwrap();
    cluster.close();
}

#[tokio::test]
async fn however_many_steps_search_for_kept_events_others_are_answered() {
    let mut subject = FreshDatabase::new().await;
    let (holding, watching) = (
        subject.database.client().await,
        subject.database.client().await,
    );
    let (store, _) = subject.open().await;
    let hold = "BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE";
    holding.batch_execute(hold).await.unwrap();
    let triggers = store.triggers();
    let search = || {
        let triggers = triggers.clone();
        let pattern = EventPattern::new("a.b.c").unwrap();
        tokio::spawn(async move { triggers.kept(pattern, at(0), None, 10).await })
    };
    let searches: Vec<_> = (0..64).map(|_| search()).collect();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM events%'";
    await_until("a search to wait", SOON, async || {
        is(&watching, waits).await
    })
    .await;
    let tokens = store.tokens().tokens().await;
    assert!(tokens.expect("there is a connection").is_empty());
    holding.batch_execute("ROLLBACK").await.unwrap();
    for search in searches {
        assert!(search.await.unwrap().unwrap().is_empty());
    }
    subject.close(store).await;
}

/// What it has said the database goes on with; what that answers does not arrive any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_stopped_while_looking_at_the_waiting_holds_up_no_commit() {
    let mut subject = FreshDatabase::new().await;
    let (mut store, mine) = subject.open().await;
    let proxy = Proxy::to_port(subject.database.server().port()).await;
    let options = PostgresOptions {
        url: subject.database.url_through(proxy.port()),
        // nothing ends it by itself
        statement_timeout_ms: 300_000,
        ..subject.options()
    };
    let target = Target::of(&options).unwrap();
    let others = Connections::new(&target, &options, Use::Write, 1).unwrap();
    let book = PostgresReservations::new(others);
    let (holding, watching) = (
        subject.database.client().await,
        subject.database.client().await,
    );
    holding
        .batch_execute(&format!("BEGIN; {TAKING}"))
        .await
        .unwrap();
    let looking = tokio::spawn(async move { book.admit(Timestamp(1), None).await });
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    await_until("the look to wait", SOON, async || {
        is(&watching, waits).await
    })
    .await;
    proxy.hold(Direction::ToClient);
    holding.batch_execute("ROLLBACK").await.unwrap();
    let wanted = ReservationChange {
        saga: saga(1),
        at: Timestamp(1),
        change: Change::Wanted {
            root: saga(1),
            wants: vec![Want {
                kind: ReservationKind::Lock,
                name: "a".to_owned(),
                max: 1,
                per_ms: None,
            }],
        },
    };
    let all = Batch {
        sagas: vec![saga_row(1, Status::Running)],
        reservations: vec![wanted],
        ..batch(mine, 0)
    };
    let committed = tokio::time::timeout(SOON, store.commit(all)).await;
    committed.expect("nobody is waited for").unwrap();
    proxy.resume();
    looking.await.unwrap().unwrap();
    subject.close(store).await;
}
