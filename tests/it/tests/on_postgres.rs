//! The whole system on PostgreSQL: the same promise as on SQLite, and what only a database brings: it may be away. Several orchestrators on one: `cluster`.

use std::time::Duration;

use baton_harness::ledger::Did;
use baton_harness::{Direction, Process, Proxy, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System, long};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

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
    let client = system.database().client().await;
    let epochs = client.query_one("SELECT min(epoch) FROM partitions", &[]);
    let least: i64 = epochs.await.unwrap().get(0);
    assert!(
        least >= 3,
        "each partition was taken anew each time: {least}"
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

/// One that lost its partitions, and runs on.
async fn has_lost_them(process: &mut Process) {
    process
        .wait_for_line("no longer owns the partition", SOON)
        .await;
    assert!(process.is_running());
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

async fn sleeping(system: &System, name: &str) -> String {
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 4s\n")
        .effect("b", "");
    system.apply(&[&sleeps]).await;
    let id = system.run("sleeps", name).await;
    system.api.await_phase(&id, "z", "sleeping").await;
    id
}

async fn slept_once(system: &System, name: &str) {
    let book = Book::of(&system.ledger).await;
    for step in ["a", "b"] {
        let key = format!("{name}-{step}");
        assert_eq!(book.not_done_once(&key), None);
        assert_eq!(book.called_twice(&key), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_longer_than_the_lease_is_waited_for_by_the_same_process() {
    let mut system = system(Setup::workers(1).own_postgres()).await;
    let id = sleeping(&system, "s").await;
    let server = system.postgres();
    server.kill9();
    has_lost_them(system.orchestrator().process).await;
    server.start().await;
    system.api.await_status(&id, "completed", SOON).await;
    system.await_ready().await;
    slept_once(&system, "s").await;
    let id = system.run("row", "n").await;
    system.api.await_status(&id, "completed", SOON).await;
    done_once(&system, "n").await;
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

/// What can happen to a connection while a commit is under way.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It breaks.
    Cut,
    /// What is sent does not arrive, and then it breaks: a commit that was not made.
    LostOnTheWay,
    /// It arrives, and its answer does not: a commit that was made, and nobody knows.
    AnswerLost,
    /// Nothing comes through for longer than a statement may take.
    Silent,
    /// Everything takes long.
    Slow,
    /// Nobody is there for a while.
    Away,
}

/// Sagas that are started together: enough that some loop commits at any moment.
const TOGETHER: usize = 6;

const TROUBLES: [Trouble; 6] = [
    Trouble::Cut,
    Trouble::AnswerLost,
    Trouble::LostOnTheWay,
    Trouble::Slow,
    Trouble::Silent,
    Trouble::Away,
];

impl Trouble {
    async fn happens(self, relay: &Proxy) {
        let lasts = |ms| tokio::time::sleep(Duration::from_millis(ms));
        match self {
            Self::Cut => relay.cut(),
            Self::LostOnTheWay => {
                relay.hold(Direction::ToServer);
                lasts(400).await;
                relay.cut();
            }
            Self::AnswerLost => {
                relay.hold(Direction::ToClient);
                lasts(400).await;
                relay.cut();
            }
            Self::Silent => {
                relay.hold(Direction::Both);
                lasts(7_000).await;
            }
            Self::Slow => {
                relay.delay(Duration::from_millis(150));
                lasts(3_000).await;
                relay.delay(Duration::ZERO);
            }
            Self::Away => {
                relay.refuse();
                lasts(1_500).await;
                relay.accept();
            }
        }
        relay.resume();
        lasts(700).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_network_does_to_the_database_every_saga_ends_as_promised() {
    let (rounds, sagas) = if long() { (10, 600) } else { (1, 60) };
    let setup = Setup::workers(2)
        .postgres_through_a_relay()
        .orchestrator("store.lease_ms", "60000")
        .orchestrator("store.statement_timeout_ms", "1000");
    let mut system = system(setup).await;
    let fails = Saga::named("fails")
        .effect("a", "")
        .late("b", "")
        .effect("c", ", fail: final");
    system.apply(&[&fails]).await;
    let over = CancellationToken::new();
    let ids = async {
        let mut ids = Vec::new();
        // as long as there is trouble there is something to commit
        while ids.len() < sagas || !over.is_cancelled() {
            let some = (ids.len()..ids.len() + TOGETHER).map(|number| {
                let definition = if number % 2 == 0 { "row" } else { "fails" };
                let name = format!("n{number}");
                let system = &system;
                async move { system.run(definition, &name).await }
            });
            ids.extend(futures::future::join_all(some).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ids
    };
    let troubles = async {
        for _ in 0..rounds {
            for trouble in TROUBLES {
                trouble.happens(system.database_relay()).await;
            }
        }
        over.cancel();
    };
    let (ids, ()) = tokio::join!(ids, troubles);
    for (number, id) in ids.iter().enumerate() {
        let promised = if number % 2 == 0 {
            "completed"
        } else {
            "compensated"
        };
        let api = &system.api;
        api.await_status(id, promised, AFTER_A_LEASE).await;
    }
    let book = Book::of(&system.ledger).await;
    for number in 0..ids.len() {
        for step in ["a", "b"] {
            let key = format!("n{number}-{step}");
            if number % 2 == 0 {
                assert_eq!(book.not_done_once(&key), None);
            } else {
                assert_eq!(book.not_taken_back(&key), None);
            }
            if step == "a" {
                assert_eq!(book.called_twice(&key), None);
            }
        }
    }
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
    assert_eq!(system.api.work_items().await, Vec::<Value>::new());
    system.await_ready().await;
    let log = system.orchestrator().process.log();
    assert!(
        log.contains("its fate is unknown"),
        "a commit was under way when something happened:\n{log}"
    );
    assert!(!log.contains("panicked"), "{log}");
}

/// It may come to drive the sagas of it at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_that_is_there_cannot_read_is_registered_when_it_is_gone() {
    let mut system = Setup::workers(0).postgres().start().await;
    system.await_ready().await;
    system.end_orchestrator();
    let client = system.database().client().await;
    let joined = "INSERT INTO members (name, version, ready, joined_at, lease_until)
        VALUES ('old', '0.1.0', false, clock_timestamp(), clock_timestamp() + interval '1 hour')";
    client.batch_execute(joined).await.expect("it can join");
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    let rows = |cancels: &str| {
        let on = format!(
            "on:\n  - event: com.example.a\n    input: {{ name: \"${{ event.data.host }}\" }}\n    key: ${{ event.data.host }}\n{cancels}"
        );
        let saga = Saga::named("treats").step("  - id: z\n    sleep: 1s\n");
        saga.step(&on).yaml().to_owned()
    };
    let cancels =
        rows("  - event: com.example.b\n    key: ${ event.data.host }\n    cancel: it is over\n");
    let put = async |yaml: &str| {
        let yaml = Some(yaml.to_owned());
        let api = &system.api;
        api.ask_patiently("PUT", "/v1/definitions", "", yaml).await
    };
    let refused = put(&cancels).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let said = refused.body.to_string();
    assert!(said.contains("older version cannot read (old)"), "{said}");
    let plain = put(&rows("").replace("saga: treats", "saga: plain")).await;
    assert!((200..300).contains(&plain.status), "{}", plain.body);

    let left = "DELETE FROM members WHERE name = 'old'";
    client.batch_execute(left).await.expect("it can leave");
    await_until("the definition to be taken", SOON, async || {
        put(&cancels).await.status != 409
    })
    .await;
    let taken = put(&cancels).await;
    assert!((200..300).contains(&taken.status), "{}", taken.body);
}
