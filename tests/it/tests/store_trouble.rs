//! The orchestrator's disk is full, or somebody else holds its database: said once, degraded and not dead, nothing acknowledged that is not
//! committed, and when the trouble is over everything goes on by itself. And what one saga recorded cannot be read: it hides no other.

use std::io::Write as _;
use std::path::Path;

use baton_harness::await_until;
use baton_harness::ledger::State;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::json;

/// What the loop says when a turn is not committed, and when one is again.
const REFUSED: &str = "the turn was not committed: the store";
const TAKEN: &str = "the store takes commits again";

/// A saga whose first report comes a while after it began.
async fn begun(system: &System) -> String {
    system.await_served("test.effect-late@1").await;
    let first = ", delay_before_ms: 4000";
    let saga = Saga::named("late")
        .task("a", "test.effect-late@1", first, "timeout: 20s\n    ")
        .late("b", "");
    system.apply(&[&saga]).await;
    let id = system.run("late", "n").await;
    system.api.await_phase(&id, "a", "trying").await;
    id
}

/// The report of the first step is there and cannot be committed: it is not acknowledged, that is said, and the process lives.
async fn said_and_kept(system: &mut System, why: &str) {
    await_until("the effect to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("n-a").state == State::Applied
    })
    .await;
    system
        .await_ready_saying("the store takes no commits")
        .await;
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 1, SOON)
        .await;
    let healthy = system.api.ask("GET", "/healthz", "", None).await;
    assert_eq!(healthy.map(|answer| answer.status), Some(200));
    assert_eq!(system.api.sagas().await.len(), 1, "who asks is answered");
    let log = system.orchestrator().process.log();
    assert_eq!(log.matches(REFUSED).count(), 1, "said once:\n{log}");
    assert!(log.contains(why), "it says why:\n{log}");
}

async fn goes_on_by_itself(system: &mut System, id: &str) {
    system.api.await_status(id, "completed", SOON).await;
    system.await_ready().await;
    let log = system.orchestrator().process.log();
    assert_eq!(log.matches(TAKEN).count(), 1, "and that it is over:\n{log}");
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b"] {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None);
    }
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out_and_no_report_is_lost() {
    let mut system = Setup::workers(1).small_disk().start().await;
    let id = begun(&system).await;
    let ballast = system.orchestrator_sees(&system.data_dir().join("ballast"));
    fill(&ballast);
    said_and_kept(&mut system, "full").await;
    std::fs::remove_file(&ballast).expect("room can be made");
    goes_on_by_itself(&mut system, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_somebody_else_holds_is_waited_for_and_no_report_is_lost() {
    let mut system = Setup::workers(1).start().await;
    let id = begun(&system).await;
    let database = system.data_dir().join("baton.db");
    let lock = rusqlite::Connection::open(database).expect("the database can be opened");
    lock.execute_batch("BEGIN IMMEDIATE")
        .expect("it can be locked");
    said_and_kept(&mut system, "locked").await;
    lock.execute_batch("ROLLBACK").expect("it can be unlocked");
    goes_on_by_itself(&mut system, &id).await;
}

/// A worker announces types nobody knows yet, and the store cannot keep one of them: that is said, once, while the loop goes on and answers;
/// when it can, they are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_somebody_else_holds_when_a_worker_announces_itself_is_said_and_waited_for() {
    let mut system = Setup::workers(0).start().await;
    system.await_ready().await;
    let database = system.data_dir().join("baton.db");
    let lock = rusqlite::Connection::open(database).expect("the database can be opened");
    lock.execute_batch("BEGIN IMMEDIATE")
        .expect("it can be locked");
    system.add_worker(&[]);
    system
        .await_ready_saying("the store takes no commits")
        .await;
    let healthy = system.api.ask("GET", "/healthz", "", None).await;
    assert_eq!(healthy.map(|answer| answer.status), Some(200));
    lock.execute_batch("ROLLBACK").expect("it can be unlocked");
    system.await_served("test.effect@1").await;
    system.await_ready().await;
    let log = system.orchestrator().process.log();
    let said = log.matches("did not take a new task type").count();
    assert_eq!(said, 1, "said once, not for each of its types:\n{log}");
}

/// Somebody holds the database when the orchestrator starts: it waits, says so once, and comes up when he lets go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_somebody_else_holds_at_the_start_is_waited_for() {
    let mut system = Setup::workers(0).start().await;
    system.await_ready().await;
    system.orchestrator().process.kill9();
    let database = system.data_dir().join("baton.db");
    let lock = rusqlite::Connection::open(database).expect("the database can be opened");
    lock.execute_batch("BEGIN EXCLUSIVE")
        .expect("it can be locked");
    system.orchestrator().process.start_again();
    await_until("it to be said", SOON, async || {
        let log = system.orchestrator().process.log();
        log.contains("another program holds the database")
    })
    .await;
    lock.execute_batch("ROLLBACK").expect("it can be unlocked");
    system.await_ready().await;
    let log = system.orchestrator().process.log();
    let said = log.matches("another program holds the database").count();
    assert_eq!(said, 1, "said once:\n{log}");
}

/// Writes until nothing more fits.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).expect("there is some room");
    let page = [0; 4096];
    while file.write_all(&page).is_ok() {}
}

/// Figures and lists show all others, and whose are missing is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_cannot_be_read_is_named_beside_all_others() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&Saga::named("one").effect("a", "")]).await;
    let spoilt = system.run("one", "spoilt").await;
    let whole = system.run("one", "whole").await;
    for id in [&spoilt, &whole] {
        system.api.await_status(id, "completed", SOON).await;
    }
    system.end_orchestrator();
    let file = system.data_dir().join("baton.db");
    let conn = rusqlite::Connection::open(file).expect("the store can be changed behind its back");
    let spoil = "UPDATE records SET entry = '{\"from\":\"a newer version\"}' WHERE saga = (SELECT number FROM sagas WHERE id = ?1)";
    let id = uuid::Uuid::parse_str(&spoilt).expect("it is an id");
    let rows = conn.execute(spoil, [id.as_bytes()]);
    assert!(rows.is_ok_and(|rows| rows > 0), "it is spoilt");
    let spoil = "UPDATE sagas SET labels = 'no {JSON' WHERE id = ?1";
    let rows = conn.execute(spoil, [id.as_bytes()]);
    assert!(rows.is_ok_and(|rows| rows == 1), "and so is its row");
    drop(conn);
    system.orchestrator().wait_alive_in(SOON).await;
    let top = system.api.get("/v1/top").await;
    assert_eq!(top["unreadable"], json!([spoilt]), "{top}");
    let figures = &top["items"][0];
    assert_eq!(
        (&figures["task_type"], &figures["reports"]),
        (&json!("test.effect@1"), &json!(1)),
        "{top}"
    );
    let shown = system.cli().run(&["top"]).await.exits(0);
    let named = format!("baton show {spoilt}");
    let words: Vec<&str> = shown.out.split_whitespace().collect();
    assert!(words.join(" ").contains(&named), "{}", shown.out);
    let listed = system.api.get("/v1/sagas").await;
    let ids = listed["sagas"]
        .as_array()
        .map(|rows| rows.iter().map(|row| &row["id"]));
    let ids: Vec<_> = ids.expect("it is a list").collect();
    assert_eq!(ids, [&json!(whole)], "{listed}");
    assert_eq!(listed["unreadable"], json!([spoilt]), "{listed}");
    let shown = system.cli().run(&["ls"]).await.exits(0);
    let named = format!("without what cannot be read of {spoilt}");
    let words: Vec<&str> = shown.out.split_whitespace().collect();
    assert!(words.join(" ").contains(&named), "{}", shown.out);
}
