//! A member whose connections to the database are all taken by statements of operators that do not come to an end: it stays a member and keeps its partitions, sagas go on
//! there, and whoever asks for more is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_harness::await_until;
use baton_it::oracle::Book;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup};
use futures::future::join_all;
use serde_json::json;

use super::{row, two};

/// Operators who ask at the same time: several times the connections there are for what they ask.
const CROWD: usize = 48;
/// Statements that have to be seen to wait before it is said that they crowd: more than are left beside the loops, whose connections nobody takes away.
const WAITING: i64 = 5;
/// How long a partition is owned without a word here.
const LEASE_MS: &str = "4000";
/// How long their statements wait: three leases.
const HELD: Duration = Duration::from_secs(12);
/// A statement, and a connection for it, may be waited for so long at most: one of its own and one of the audit log.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// Between two requests of one who was turned away: he heeds no word of when to come again.
const BETWEEN: Duration = Duration::from_millis(50);

/// Asks for a token until he has it, or all is over; how often he was turned away.
async fn asks(api: &Api, number: usize, over: &AtomicBool) -> usize {
    let mut turned_away = 0;
    while !over.load(Ordering::Relaxed) {
        let wanted = json!({ "name": format!("guest-{number}"), "role": "viewer" });
        let answer = api.ask("POST", "/v1/tokens", "", Some(wanted.to_string()));
        let answer = answer.await.expect("whoever asks is answered in time");
        match answer.status {
            429 | 503 => assert!(answer.retry_after.is_some(), "{answer:?}"),
            // made now, or by a statement of which nobody heard the end
            200..300 | 409 => break,
            _ => panic!("{answer:?}"),
        }
        turned_away += 1;
        tokio::time::sleep(BETWEEN).await;
    }
    turned_away
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_connections_are_all_taken_keeps_its_partitions() {
    let setup = Setup::workers(1)
        .postgres()
        .orchestrator("store.lease_ms", LEASE_MS)
        .orchestrator("store.statement_timeout_ms", "3000");
    let cluster = two(setup).await;
    cluster.system.apply(&[&row("row")]).await;
    let client = cluster.system.database().client().await;
    let owners = async || -> Vec<(String, i64)> {
        let sql = "SELECT owner, epoch FROM partitions ORDER BY id";
        let rows = client.query(sql, &[]).await.expect("the database answers");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let alive = "SELECT count(*) FROM members WHERE lease_until > clock_timestamp()";
    let one = async |sql: &str| -> i64 {
        let row = client.query_one(sql, &[]).await;
        row.expect("the database answers").get(0)
    };
    let before = owners().await;
    // whoever reads tokens is let in, whoever makes one waits
    let blocker = cluster.system.database().client().await;
    let lock = "BEGIN; LOCK TABLE tokens IN SHARE ROW EXCLUSIVE MODE";
    let locked = blocker.batch_execute(lock).await;
    locked.expect("the table can be locked");

    let over = AtomicBool::new(false);
    let api = cluster.system.api.within(ANSWERED_WITHIN);
    let crowd = join_all((0..CROWD).map(|number| asks(&api, number, &over)));
    let going_on = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock'";
        await_until("operators to wait for the lock", SOON, async || {
            one(waiting).await >= WAITING
        })
        .await;
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < HELD {
            let name = format!("n{number}");
            let input = cluster.system.input(&name);
            let id = cluster.others.start("row", &input, &name).await;
            let status = cluster.others.await_status(&id, "completed", AFTER_A_LEASE);
            status.await;
            assert_eq!(one(alive).await, 2, "who is busy is still there");
            number += 1;
        }
        assert_eq!(owners().await, before, "nobody has lost anything");
        let released = blocker.batch_execute("ROLLBACK").await;
        released.expect("the lock can be given up");
        over.store(true, Ordering::Relaxed);
        number
    };
    let (turned_away, number) = tokio::join!(crowd, going_on);
    let turned_away: usize = turned_away.into_iter().sum();
    assert!(turned_away > 0, "all were served: the pool was never full");
    let wanted = json!({ "name": "at-last", "role": "viewer" }).to_string();
    let made = cluster
        .system
        .api
        .ask_patiently("POST", "/v1/tokens", "", Some(wanted))
        .await;
    assert!((200..300).contains(&made.status), "{made:?}");
    assert_eq!(owners().await, before, "nor afterwards");
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..number {
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
    }
}
