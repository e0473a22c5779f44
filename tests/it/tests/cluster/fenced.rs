//! One that wakes up past its lease with something to write at once: the database itself refuses its commit. That its renewal would tell it a moment later is not
//! what keeps it from writing.

use baton_harness::await_until;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup};

use super::{Cluster, two};

/// Sagas whose next turn falls due while their owner is stopped: with so many some are in each of its partitions.
const SLEEPERS: usize = 24;
/// How often it is stopped. Its loops and its renewals wake up in the same moment, and a loop whose renewal has heard the answer first writes nothing.
const ROUNDS_MAX: usize = 5;
/// What is said of a partition whose loop has ended since its commit was refused. A renewal that fails says something else.
const REFUSED: &str = "a partition has another owner now; nothing more was written there";

fn refused(cluster: &mut Cluster) -> usize {
    let log = cluster.system.orchestrator().process.log();
    log.matches(REFUSED).count()
}

/// The first is stopped while sagas of its own sleep, the second ends them, and the first wakes up when each of them is due in its memory.
async fn wakes_up_too_late(cluster: &mut Cluster, round: usize) {
    let mut ids = Vec::new();
    for number in 0..SLEEPERS {
        let name = format!("r{round}n{number}");
        ids.push(cluster.run("sleeps", &name).await);
    }
    for id in &ids {
        await_until("it to sleep, or to have slept", SOON, async || {
            let phase = cluster.others.phase(id, "z").await;
            ["sleeping", "succeeded"].contains(&phase.as_str())
        })
        .await;
    }
    cluster.system.orchestrator().process.sigstop();
    cluster.await_shared(1).await;
    for id in &ids {
        let status = cluster.others.await_status(id, "completed", AFTER_A_LEASE);
        status.await;
    }
    cluster.system.orchestrator().process.sigcont();
    // it has a share again only when its loops of before have ended
    cluster.await_shared(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wakes_up_with_something_to_write_is_refused_by_the_commit_itself() {
    let mut cluster = two(Setup::workers(2).postgres()).await;
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 6s\n")
        .effect("b", "");
    cluster.system.apply(&[&sleeps]).await;
    let mut rounds = 0;
    while refused(&mut cluster) == 0 {
        assert!(
            rounds < ROUNDS_MAX,
            "no commit of one that woke up too late was refused: {}",
            cluster.system.orchestrator().process.log()
        );
        wakes_up_too_late(&mut cluster, rounds).await;
        rounds += 1;
    }
    let id = cluster.run("sleeps", "after").await;
    cluster
        .system
        .api
        .await_status(&id, "completed", SOON)
        .await;
    let book = Book::of(&cluster.system.ledger).await;
    for round in 0..rounds {
        for number in 0..SLEEPERS {
            for step in ["a", "b"] {
                let key = format!("r{round}n{number}-{step}");
                assert_eq!(book.not_done_once(&key), None);
                assert_eq!(book.called_twice(&key), None);
            }
        }
    }
    assert_eq!(cluster.others.dead_letters().await.len(), 0);
}
