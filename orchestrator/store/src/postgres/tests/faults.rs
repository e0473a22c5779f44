//! Connections that end, servers that die or freeze: each refusal is called by its right name, what was said to be committed is there, nothing
//! is there in part, and the store goes on by itself when the trouble is over.

use std::time::Duration;

use baton_driver::{CommitError, Store};
use baton_harness::{Postgres, Proxy, await_some, postgres};

use super::{FreshDatabase, together};
use crate::Partition;
use crate::postgres::{PostgresOptions, PostgresStore};
use crate::suite::Subject;
use crate::suite::samples::{saga, started, starts};

const SOON: Duration = Duration::from_secs(60);
const BATCH: u64 = 7;

/// So many more sagas, after those that are there.
fn more(mine: Partition, log_seq: u64) -> baton_driver::Batch {
    let first = u32::try_from(log_seq).unwrap();
    let last = u32::try_from(log_seq + BATCH).unwrap();
    let mut all = starts(mine, log_seq + 1, first..last);
    all.watermark = log_seq;
    all
}

/// Reads until it can be read: how far the log goes, every saga of it whole.
async fn recovered(store: &mut PostgresStore, mine: Partition) -> u64 {
    let mut log_seq = None;
    await_some("the store to be read", SOON, async || {
        log_seq = store.recover(mine.id).await.ok().map(|found| found.log_seq);
        log_seq
    })
    .await;
    let log_seq = log_seq.unwrap();
    assert!(log_seq.is_multiple_of(BATCH), "a batch in part: {log_seq}");
    let last = u32::try_from(log_seq).unwrap();
    let ids = (last.saturating_sub(20)..last).map(saga).collect();
    let loaded = store.load(ids).await.unwrap();
    assert_eq!(loaded.len(), usize::try_from(last.min(20)).unwrap());
    for (one, n) in loaded.iter().zip(last.saturating_sub(20)..) {
        assert_eq!(one.entries, [started(n)]);
    }
    log_seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_ended_during_commits_leave_whole_batches() {
    const ENDED: u32 = 40;
    let mut subject = FreshDatabase::new().await;
    let options = PostgresOptions {
        owner: Some("victim".to_owned()),
        lease_ms: 60_000,
        ..subject.options()
    };
    let mut store = PostgresStore::open(&options).await.unwrap();
    let (mine, client) = (store.partition(), subject.database.client().await);
    let ending = tokio::spawn(async move {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'victim' AND query LIKE '%commit_batch%'";
        let mut ended = 0;
        for pause in 0.. {
            // spread over all that happens in a commit
            tokio::time::sleep(Duration::from_micros(500 + 997 * (pause % 13))).await;
            let row = client.query_one(end, &[]).await.unwrap();
            ended += u32::try_from(row.get::<_, i64>(0)).unwrap();
            if ended >= ENDED {
                break;
            }
        }
    });
    let (mut committed, mut unknown, mut written) = (0, 0, 0);
    while !ending.is_finished() || unknown == 0 {
        let before = committed;
        match store.commit(more(mine, before)).await {
            Ok(()) => committed = before + BATCH,
            Err(CommitError::Failed { .. }) => {
                committed = recovered(&mut store, mine).await;
                assert_eq!(committed, before, "nothing was written, it was said");
            }
            Err(CommitError::Unknown { .. }) => {
                committed = recovered(&mut store, mine).await;
                assert!(committed == before || committed == before + BATCH);
                (unknown, written) = (unknown + 1, written + u32::from(committed > before));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    ending.await.unwrap();
    // the last that was ended may notice only now
    if store.commit(more(mine, committed)).await.is_err() {
        committed = recovered(&mut store, mine).await;
        store.commit(more(mine, committed)).await.unwrap();
    }
    assert_eq!(recovered(&mut store, mine).await, committed + BATCH);
    assert!(
        unknown > 0,
        "{ENDED} backends were ended, {written} of them too late"
    );
    subject.close(store).await;
}

/// A store behind a relay, with short limits.
async fn behind(proxy: &Proxy, subject: &FreshDatabase) -> PostgresStore {
    let options = PostgresOptions {
        url: subject.database.url_through(proxy.port()),
        statement_timeout_ms: 1_000,
        connect_timeout_ms: 1_000,
        lease_ms: 60_000,
        ..subject.options()
    };
    PostgresStore::open(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_unknown_and_there() {
    let mut subject = FreshDatabase::new().await;
    let proxy = Proxy::to_port(subject.database.server().port()).await;
    let mut store = behind(&proxy, &subject).await;
    let mine = store.partition();
    store.commit(more(mine, 0)).await.unwrap();
    proxy.hold(baton_harness::Direction::ToClient);
    let cut = async {
        let client = subject.database.client().await;
        await_some("the batch to be written", SOON, async || {
            let row = client.query_one("SELECT count(*) FROM records", &[]).await;
            (row.unwrap().get::<_, i64>(0) == 14).then_some(())
        })
        .await;
        proxy.cut();
    };
    let (refused, ()) = tokio::join!(store.commit(more(mine, BATCH)), cut);
    proxy.resume();
    assert!(
        matches!(refused, Err(CommitError::Unknown { .. })),
        "{refused:?}"
    );
    assert_eq!(recovered(&mut store, mine).await, 2 * BATCH);
    store.commit(more(mine, 2 * BATCH)).await.unwrap();
    subject.close(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrives_is_unknown_and_one_that_never_left_is_failed() {
    let mut subject = FreshDatabase::new().await;
    let proxy = Proxy::to_port(subject.database.server().port()).await;
    let mut store = behind(&proxy, &subject).await;
    let mine = store.partition();
    store.commit(more(mine, 0)).await.unwrap();
    proxy.hold(baton_harness::Direction::ToServer);
    let refused = store.commit(more(mine, BATCH)).await;
    assert!(
        matches!(refused, Err(CommitError::Unknown { .. })),
        "{refused:?}"
    );
    proxy.refuse();
    proxy.resume();
    for _ in 0..2 {
        let refused = store.commit(more(mine, BATCH)).await;
        assert!(
            matches!(refused, Err(CommitError::Failed { .. })),
            "{refused:?}"
        );
    }
    proxy.accept();
    assert_eq!(recovered(&mut store, mine).await, BATCH);
    store.commit(more(mine, BATCH)).await.unwrap();
    subject.close(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_that_was_said_to_be_committed() {
    let server = Postgres::own(postgres::Options::default()).await;
    let mut subject = FreshDatabase::on(&server).await;
    let options = PostgresOptions {
        lease_ms: 60_000,
        connect_timeout_ms: 1_000,
        ..subject.options()
    };
    let mut store = PostgresStore::open(&options).await.unwrap();
    let mine = store.partition();
    let mut committed = 0;
    for round in 1..=3_u64 {
        let killer = server.clone();
        let (first, begun) = tokio::sync::oneshot::channel();
        let mut first = Some(first);
        let killing = tokio::spawn(async move {
            begun.await.unwrap();
            tokio::time::sleep(Duration::from_millis(17 * round)).await;
            killer.kill9();
        });
        let refused = loop {
            match store.commit(more(mine, committed)).await {
                Ok(()) => {
                    committed += BATCH;
                    // one commit of each round is there before the end
                    first.take().map(|first| first.send(()));
                }
                Err(refused) => break refused,
            }
        };
        killing.await.unwrap();
        assert!(
            matches!(
                refused,
                CommitError::Unknown { .. } | CommitError::Failed { .. }
            ),
            "{refused:?}"
        );
        let away = store.commit(more(mine, committed)).await;
        assert!(matches!(away, Err(CommitError::Failed { .. })), "{away:?}");
        server.start().await;
        let early = store.commit(more(mine, committed)).await;
        assert!(
            matches!(early, Err(CommitError::Failed { .. })),
            "another start of the server may hold less: it is read first: {early:?}"
        );
        let there = recovered(&mut store, mine).await;
        assert!(
            there == committed || there == committed + BATCH,
            "{there} after {committed}"
        );
        committed = there;
    }
    assert!(committed >= 3 * BATCH);
    assert_eq!(
        together(&subject.database.client().await).await,
        Vec::<String>::new()
    );
    // the epoch is still ours: nobody has taken the partition meanwhile
    store.commit(more(mine, committed)).await.unwrap();
    subject.close(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_given_up_and_what_it_does_later_changes_nothing() {
    let server = Postgres::own(postgres::Options::default()).await;
    let mut subject = FreshDatabase::on(&server).await;
    let options = PostgresOptions {
        statement_timeout_ms: 500,
        connect_timeout_ms: 1_000,
        lease_ms: 60_000,
        ..subject.options()
    };
    let mut store = PostgresStore::open(&options).await.unwrap();
    let mine = store.partition();
    store.commit(more(mine, 0)).await.unwrap();
    server.pause();
    let refused = store.commit(more(mine, BATCH)).await;
    assert!(
        matches!(refused, Err(CommitError::Unknown { .. })),
        "{refused:?}"
    );
    let refused = store.commit(more(mine, BATCH)).await;
    assert!(
        matches!(refused, Err(CommitError::Failed { .. })),
        "{refused:?}"
    );
    server.resume();
    let there = recovered(&mut store, mine).await;
    assert!(there == BATCH || there == 2 * BATCH);
    for n in 0..20 {
        store
            .commit(more(mine, there + n * BATCH))
            .await
            .expect("no late word of the old connection is in the way");
    }
    subject.close(store).await;
}

/// As where a standby that had not heard of the last commits was made the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_has_gone_back_is_read_anew_before_anything_is_written() {
    let subject = FreshDatabase::new().await;
    let proxy = Proxy::to_port(subject.database.server().port()).await;
    let mut store = behind(&proxy, &subject).await;
    let mine = store.partition();
    for before in [0, BATCH] {
        store.commit(more(mine, before)).await.unwrap();
    }
    let client = subject.database.client().await;
    let go_back = "DELETE FROM records WHERE log_seq > 7; UPDATE partitions SET watermark = 0";
    client.batch_execute(go_back).await.unwrap();
    proxy.cut();
    for _ in 0..3 {
        let refused = store.commit(more(mine, 2 * BATCH)).await;
        assert!(
            matches!(
                refused,
                Err(CommitError::Failed { .. } | CommitError::Unknown { .. })
            ),
            "{refused:?}"
        );
    }
    let refused = store.load(vec![saga(0)]).await;
    assert!(refused.is_err(), "what is in memory says nothing");
    let row = client.query_one("SELECT count(*) FROM records", &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 7, "nothing behind the gap");
    assert_eq!(recovered(&mut store, mine).await, BATCH);
    store.commit(more(mine, BATCH)).await.unwrap();
    assert_eq!(recovered(&mut store, mine).await, 2 * BATCH);
    store.close().await.unwrap();
}
