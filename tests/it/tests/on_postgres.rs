//! The whole system on PostgreSQL: the same promise as on SQLite, and what only a database brings: it may be away, and two orchestrators may want it.

use baton_harness::ledger::Did;
use baton_harness::{Launch, Process, await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::json;

async fn system(setup: Setup) -> System {
    let system = setup.start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    let row = Saga::named("row")
        .effect("a", "")
        .late("b", ", value: \"${ a.key }\"")
        .effect("c", ", value: \"${ b.key }\"")
        .step("output: { last: \"${ c.key }\" }\n");
    system.apply(&[&row]).await;
    system
}

async fn done_once(system: &System, name: &str) {
    let book = Book::of(&system.ledger).await;
    for step in ["a", "b", "c"] {
        assert_eq!(book.not_done_once(&format!("{name}-{step}")), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_are_done_undone_found_and_read() {
    let system = system(Setup::workers(1).postgres()).await;
    let fails = Saga::named("fails")
        .effect("a", "")
        .late("b", "")
        .effect("c", ", fail: final");
    system.apply(&[&fails]).await;
    let good = system.run("row", "good").await;
    let bad = system.run("fails", "bad").await;
    assert_eq!(
        good,
        system.run("row", "good").await,
        "the same key is the same saga"
    );
    let ended = system.api.await_status(&good, "completed", SOON).await;
    assert_eq!(ended["output"], json!({ "last": "good-c" }));
    system.api.await_status(&bad, "compensated", SOON).await;
    done_once(&system, "good").await;
    let book = Book::of(&system.ledger).await;
    for key in ["bad-a", "bad-b"] {
        assert_eq!(book.not_taken_back(key), None);
    }
    assert!(book.first("bad-b", Did::Undo) < book.first("bad-a", Did::Undo));

    let list = system
        .api
        .get("/v1/sagas?status=compensated&definition=fails")
        .await;
    assert_eq!(list["sagas"][0]["id"], json!(bad), "{list}");
    assert_eq!(system.api.sagas().await.len(), 2);
    assert!(system.api.records(&good).await.contains("started"));
    let metrics = system
        .api
        .ask("GET", "/metrics", "", None)
        .await
        .expect("it answers");
    assert!(
        metrics.body.to_string().contains("baton"),
        "{}",
        metrics.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_the_orchestrator_on_postgres_loses_no_saga_and_doubles_no_effect() {
    let mut system = system(Setup::workers(2).postgres()).await;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(system.run("row", &format!("n{number}")).await);
        if number % 10 == 5 {
            system.orchestrator().kill9_and_start();
        }
    }
    for id in &ids {
        system
            .api
            .await_status(id, "completed", AFTER_A_LEASE)
            .await;
    }
    for number in 0..30 {
        done_once(&system, &format!("n{number}")).await;
    }
    let log = system.orchestrator().process.log();
    assert!(
        log.contains("the partition is leased"),
        "it waited for its own lease:\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_evicted_and_what_waits_for_the_clock_goes_on_after_a_restart() {
    let setup = Setup::workers(1)
        .postgres()
        .orchestrator("sagas.idle_ms", "1000");
    let mut system = system(setup).await;
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 8s\n")
        .effect("b", "");
    system.apply(&[&sleeps]).await;
    let id = system.run("sleeps", "n").await;
    let client = system.database().client().await;
    await_until("the saga to be evicted", SOON, async || {
        let cold = client.query_one(
            "SELECT count(*) FROM sagas WHERE cold AND wake_at IS NOT NULL",
            &[],
        );
        cold.await.is_ok_and(|row| row.get::<_, i64>(0) == 1)
    })
    .await;
    system.orchestrator().kill9_and_start();
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b"] {
        assert_eq!(book.not_done_once(key), None);
    }
}

/// An orchestrator on the same database, as a supervisor would keep it running.
async fn second(launch: Launch) -> Process {
    let mut process = launch.start();
    process.wait_for_line("the partition is leased", SOON).await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_orchestrator_is_refused_and_takes_over_when_the_first_is_killed() {
    let mut system = system(Setup::workers(1).postgres()).await;
    let mut other = second(system.second_orchestrator()).await;
    let ended = other.wait(SOON).await;
    assert!(!ended.success());
    let log = other.log();
    assert!(log.contains("renews its lease"), "it says why:\n{log}");
    let id = system.run("row", "n").await;
    system.api.await_status(&id, "completed", SOON).await;

    let waiting = Saga::named("waits")
        .effect("a", "")
        .step("  - id: z\n    sleep: 3s\n")
        .effect("b", "");
    system.apply(&[&waiting]).await;
    system.run("waits", "w").await;
    let mut other = second(system.second_orchestrator()).await;
    system.orchestrator().process.kill9();
    other.wait_for_line("the orchestrator runs", SOON).await;
    await_some(
        "what the first began to be done by the other",
        SOON,
        async || {
            (Book::of(&system.ledger)
                .await
                .not_done_once("w-b")
                .is_none())
            .then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_was_frozen_past_its_lease_ends_and_writes_nothing_more() {
    let mut system = system(Setup::workers(1).postgres()).await;
    system.orchestrator().process.sigstop();
    let mut other = second(system.second_orchestrator()).await;
    other.wait_for_line("the orchestrator runs", SOON).await;
    let frozen = system.orchestrator().process;
    frozen.sigcont();
    let ended = frozen.wait(SOON).await;
    assert!(!ended.success(), "{}", frozen.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for_and_no_report_is_lost() {
    let setup = Setup::workers(1)
        .own_postgres()
        .orchestrator("store.lease_ms", "60000");
    let mut system = system(setup).await;
    let slow = Saga::named("slow")
        .task(
            "a",
            "test.effect-late@1",
            ", delay_before_ms: 4000",
            "timeout: 20s\n    ",
        )
        .late("b", "");
    system.apply(&[&slow]).await;
    let id = system.run("slow", "n").await;
    system.api.await_phase(&id, "a", "trying").await;
    let server = system.postgres();
    server.kill9();
    system
        .await_ready_saying("the store takes no commits")
        .await;
    let log = system.orchestrator().process.log();
    assert!(!log.contains("panicked"), "{log}");
    server.start().await;
    system.api.await_status(&id, "completed", SOON).await;
    system.await_ready().await;
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b"] {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None);
    }
}
