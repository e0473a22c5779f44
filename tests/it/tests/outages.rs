//! Parts that are away, blocked, told to end, or in each other's way: said clearly, degraded and not dead, nothing lost.

use std::time::Duration;

use baton_harness::ledger::State;
use baton_harness::{Direction, Launch, await_until};
use baton_it::oracle::Book;
use baton_it::poison::log_rows;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::Value;

/// A memory alarm is lifted a moment after it is told to be, and connections are given time to be used again.
const ALARM: Duration = Duration::from_secs(60);

/// An idle orchestrator writes down within a second how far it has published; it is given the time to be wrong.
const BETWEEN: Duration = Duration::from_millis(500);

fn row() -> Saga {
    Saga::named("row")
        .effect("a", "")
        .late("b", "")
        .effect("c", "")
}

async fn completes(system: &System, name: &str) {
    let id = system.run("row", name).await;
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    for step in ["a", "b", "c"] {
        assert_eq!(book.not_done_once(&format!("{name}-{step}")), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_at_the_start_is_waited_for_and_nothing_asked_meanwhile_is_lost() {
    let mut system = Setup::workers(1).start_without_orchestrator().await;
    system.proxy.refuse();
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready_saying("degraded").await;
    system.apply(&[&row()]).await;
    let id = system.run("row", "n").await;
    let log = system.orchestrator().process.log();
    assert!(
        log.contains("127.0.0.1"),
        "the log names the broker it cannot reach:\n{log}"
    );
    assert!(!log.contains("guest:guest"), "and not the password:\n{log}");

    system.proxy.accept();
    system.api.await_status(&id, "completed", SOON).await;
    system.await_ready().await;
    assert_eq!(Book::of(&system.ledger).await.not_done_once("n-a"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_away_and_comes_back_finds_everything_going_on() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    system.apply(&[&row()]).await;
    completes(&system, "before").await;
    system.proxy.refuse();
    system.await_ready_saying("degraded").await;
    let id = system.run("row", "meanwhile").await;
    system.proxy.accept();
    system.api.await_status(&id, "completed", SOON).await;
    completes(&system, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_is_tried_by_one_task_and_then_everything_goes_on() {
    const SAGAS: u64 = 40;
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.echo@1").await;
    let echo = Saga::named("echo").step("  - id: a\n    task: test.echo@1\n");
    system.apply(&[&echo]).await;
    let full = serde_json::json!({ "max-length": 1, "overflow": "reject-publish" });
    system.vhost.policy("full", r"test\.echo@1$", full).await;
    let worker = &mut system.workers[0];
    worker.sigterm_and_wait(SOON).await;

    let mut ids = Vec::new();
    for number in 0..SAGAS {
        ids.push(system.run("echo", &format!("n{number}")).await);
    }
    // a queue may take one more than it is to have
    let waiting = async || system.api.figure("baton_orchestrator_unsent").await;
    await_until(
        "what the queue has no room for to wait",
        SOON * 3,
        async || waiting().await >= Some(SAGAS - 3),
    )
    .await;
    // each that is sent again is two rows; the last of those that were sent first may still be written
    let before = log_rows(&system);
    await_until("one to try", SOON * 3, async || {
        log_rows(&system) >= before + 4
    })
    .await;
    let written = log_rows(&system) - before;
    assert!(written < 10, "{written} rows: how many have tried?");

    system.add_worker(&[]);
    for id in &ids {
        system.api.await_status(id, "completed", ALARM * 2).await;
    }
}

/// Sagas asked for while the broker is away: more than may have a task under way.
const TOO_MANY: usize = 4_000;
/// How many ask at once.
const ASKERS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_more_than_may_be_under_way_is_refused_and_what_was_accepted_ends() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.echo@1").await;
    let saga =
        Saga::named("echo").step("  - id: a\n    task: test.echo@1\n    queue_timeout: 1h\n");
    system.apply(&[&saga]).await;
    system.proxy.refuse();
    system.await_ready_saying("degraded").await;
    let ask = async |number: usize| {
        let name = format!("n{number}");
        let body = serde_json::json!({ "definition": "echo", "input": { "name": name } });
        let answer = system
            .api
            .ask("POST", "/v1/sagas", &name, Some(body.to_string()))
            .await;
        answer.expect("it answers").status
    };
    let (mut accepted, mut refused) = (0, 0);
    for first in (0..TOO_MANY).step_by(ASKERS) {
        let asked = (first..first + ASKERS).map(&ask);
        for status in futures::future::join_all(asked).await {
            match status {
                200..=202 => accepted += 1,
                429 => refused += 1,
                other => panic!("answered {other}"),
            }
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "all {accepted} were accepted");
    let written = async || system.api.get("/v1/audit?limit=1").await["items"][0]["seq"].clone();
    let before = written().await;
    assert_eq!(ask(TOO_MANY).await, 429);
    assert_eq!(
        written().await,
        before,
        "what was turned away was written down"
    );
    let healthy = system.api.ask("GET", "/healthz", "", None).await;
    assert_eq!(healthy.map(|answer| answer.status), Some(200));
    system.proxy.accept();
    let ended = "/metrics";
    let line = format!("status=\"completed\"}} {accepted}");
    await_until("everything accepted to complete", ALARM * 2, async || {
        let answer = system.api.ask("GET", ended, "", None).await;
        answer.is_some_and(|answer| answer.body.to_string().replace('\\', "").contains(&line))
    })
    .await;
    // and nothing beside: who was refused asks again, and is accepted
    assert!((200..300).contains(&ask(TOO_MANY).await));
}

/// Tries of one outage, after which what is said at each of them would stand there often.
const TRIES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_said_once_for_each_reason_in_a_log_that_programs_read() {
    let mut system = Setup::workers(0)
        .orchestrator("log.format", "json")
        .orchestrator("log.filter", "info,lapin=off,baton_bus=debug")
        .start()
        .await;
    system.proxy.refuse();
    system.await_ready_saying("degraded").await;
    let orchestrator = system.orchestrator();
    await_until("the broker to be tried again and again", SOON, async || {
        let log = orchestrator.process.log();
        log.matches("still no connection to the broker").count() >= TRIES
    })
    .await;

    let log = orchestrator.process.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| {
            let read = serde_json::from_str(line);
            read.unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
        })
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "target"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    let mut said: Vec<(String, String)> = lines
        .iter()
        .map(|line| &line["fields"])
        .filter(|fields| {
            let message = fields["message"].as_str().unwrap_or_default();
            message.starts_with("no connection to the broker")
        })
        .map(|fields| {
            assert!(fields["hint"].is_string(), "what to do: {fields}");
            (fields["bus.use_"].to_string(), fields["why"].to_string())
        })
        .collect();
    assert!(!said.is_empty(), "{log}");
    let all = said.len();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), all, "something is said twice:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_broker_with_a_memory_alarm_blocks_and_is_waited_for() {
    let system = Setup::workers(1).own_broker().start().await;
    system.await_served("test.effect-late@1").await;
    system.apply(&[&row()]).await;
    completes(&system, "before").await;
    system
        .broker
        .ctl(&["set_vm_memory_high_watermark", "0.00001"])
        .await;
    // a connection is told only when it publishes
    let id = system.run("row", "meanwhile").await;
    system.await_ready_saying("blocked").await;
    assert_eq!(system.api.status(&id).await, "running");
    system
        .broker
        .ctl(&["set_vm_memory_high_watermark", "0.6"])
        .await;
    system.api.await_status(&id, "completed", ALARM).await;
    system.await_ready().await;
    completes(&system, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_deleted_under_everybody_are_made_again() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    system.apply(&[&row()]).await;
    completes(&system, "before").await;
    for queue in [
        "baton.inbox.00",
        "baton.task.default.test.effect@1",
        "baton.dead",
    ] {
        system.vhost.delete_queue(queue).await;
    }
    completes(&system, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_told_to_end_finishes_what_it_runs_and_gives_back_the_rest() {
    let mut system = Setup::workers(0).start().await;
    let leaving = system.add_worker(&[("worker.concurrency", "1")]);
    system.await_served("test.effect@1").await;
    let saga = Saga::named("slow").effect("a", ", delay_after_ms: 1500");
    system.apply(&[&saga]).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(system.run("slow", &format!("n{number}")).await);
    }
    await_until("one effect to stand", SOON, async || {
        Book::of(&system.ledger).await.keys().count() > 0
    })
    .await;
    let ended = system.workers[leaving].sigterm_and_wait(SOON).await;
    assert!(ended.success(), "{ended}");
    let done: Vec<String> = Book::of(&system.ledger)
        .await
        .keys()
        .map(str::to_owned)
        .collect();
    system.add_worker(&[]);
    for id in &ids {
        let saga = system.api.await_status(id, "completed", SOON).await;
        assert_eq!(
            saga["steps"][0]["tries"], 1,
            "giving back costs no attempt, and finishing is no failure"
        );
    }
    let book = Book::of(&system.ledger).await;
    for number in 0..4 {
        assert_eq!(book.not_done_once(&format!("n{number}-a")), None);
        assert_eq!(book.called_twice(&format!("n{number}-a")), None);
    }
    assert!(done.len() < 4, "it did not wait for everything: {done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_told_to_end_ends_in_order_and_goes_on_where_it_was() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("slow")
        .effect("a", ", delay_after_ms: 1000")
        .effect("b", "")
        .effect("c", "");
    system.apply(&[&saga]).await;
    let id = system.run("slow", "n").await;
    await_until("the first effect to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("n-a").state == State::Applied
    })
    .await;
    let ended = system.orchestrator().process.sigterm_and_wait(SOON).await;
    assert!(ended.success(), "{ended}");
    system.orchestrator().process.start_again();
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b", "n-c"] {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_orchestrator_on_the_same_file_is_refused_and_the_first_goes_on() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    let mut second = system.second_orchestrator().start();
    let ended = second.wait(SOON).await;
    assert!(!ended.success() && ended.code().is_some(), "{ended}");
    let log = second.log();
    assert!(log.contains("baton.db"), "it names the file:\n{log}");
    assert!(
        log.contains("Only one orchestrator"),
        "it says what to do:\n{log}"
    );
    system.apply(&[&row()]).await;
    completes(&system, "n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named() {
    let system = Setup::workers(0).start().await;
    let mut second = system.orchestrator_on_the_same_port().start();
    let ended = second.wait(SOON).await;
    assert!(!ended.success() && ended.code().is_some(), "{ended}");
    let log = second.log();
    let address = system.api.url().trim_start_matches("http://").to_owned();
    assert!(log.contains(&address), "it names the address:\n{log}");
    assert!(log.contains("http.listen"), "and the key to change:\n{log}");
    assert_eq!(system.api.sagas().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_the_orchestrator_while_a_saga_waits_and_its_timers_are_still_there() {
    let mut system = Setup::workers(1)
        .orchestrator("sagas.idle_ms", "1000")
        .start()
        .await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("naps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 5s\n")
        .effect("b", "");
    system.apply(&[&saga]).await;
    let id = system.run("naps", "n").await;
    system.api.await_phase(&id, "z", "sleeping").await;
    system.orchestrator().kill9_and_start();
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.not_done_once("n-a"), book.not_done_once("n-b")),
        (None, None)
    );
}

/// What is committed and has not left when the orchestrator dies leaves when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_between_commit_and_publish_and_nothing_committed_is_lost() {
    let mut system = Setup::workers(1).start().await;
    system.await_takers("test.effect@1", 1).await;
    system.await_takers("test.effect-late@1", 1).await;
    system.apply(&[&row()]).await;
    completes(&system, "before").await;
    system.proxy.hold(Direction::ToServer);
    let mut ids = Vec::new();
    for number in 0..5 {
        // answered once it is committed; each commit may say of the ones before how far they are published
        ids.push(system.run("row", &format!("n{number}")).await);
        tokio::time::sleep(BETWEEN).await;
    }
    system.orchestrator().process.kill9();
    // what was held dies with its connection
    system.proxy.cut();
    system.proxy.resume();
    assert_eq!(Book::of(&system.ledger).await.keys().count(), 3);
    system.orchestrator().process.start_again();
    for (number, id) in ids.iter().enumerate() {
        system.api.await_status(id, "completed", SOON).await;
        let book = Book::of(&system.ledger).await;
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
        assert_eq!(book.called_twice(&format!("n{number}-a")), None);
    }
}

/// A report that comes while the store takes no commits is neither acknowledged nor lost, also when the orchestrator dies of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_the_database_is_locked_and_no_report_is_lost() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    let saga = Saga::named("late")
        .task(
            "a",
            "test.effect-late@1",
            ", delay_before_ms: 4000",
            "timeout: 20s\n    ",
        )
        .late("b", "");
    system.apply(&[&saga]).await;
    let id = system.run("late", "n").await;
    system.api.await_phase(&id, "a", "trying").await;
    let database = system.data_dir().join("baton.db");
    let lock = rusqlite::Connection::open(database).expect("the database can be opened");
    // the report has to be what the next turn is about, not what has been published before
    let at_rest =
        "SELECT (SELECT MAX(log_seq) FROM records) = (SELECT MAX(watermark) FROM partitions)";
    await_until(
        "everything published to be written down",
        SOON,
        async || {
            lock.query_row(at_rest, [], |row| row.get(0))
                .unwrap_or(false)
        },
    )
    .await;
    lock.execute_batch("BEGIN IMMEDIATE")
        .expect("it can be locked");
    await_until("the effect to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("n-a").state == State::Applied
    })
    .await;
    // the report is in the orchestrator's hands, unacknowledged
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 1, SOON)
        .await;
    system
        .await_ready_saying("the store takes no commits")
        .await;
    let log = system.orchestrator().process.log();
    assert!(log.contains("locked"), "it says why:\n{log}");
    system.orchestrator().process.kill9();
    lock.execute_batch("ROLLBACK").expect("it can be unlocked");
    drop(lock);
    system.orchestrator().process.start_again();
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.not_done_once("n-a"), book.not_done_once("n-b")),
        (None, None)
    );
}

/// A queue with a single active consumer that is somebody else's: nothing comes, and nothing tells. No timer may fire then; that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_somebody_else_consumes_is_said_and_gone_on_with_when_it_is_free() {
    let mut system = Setup::workers(0).start().await;
    system.orchestrator().process.kill9();
    let inbox = "baton.inbox.00";
    system.vhost.await_consumers(inbox, 0, SOON).await;
    let mut other = Launch::program("another", "amqp-consume")
        .args(["--url", &system.vhost.url(), "--queue", inbox])
        .args(["--prefetch-count", "1", "sleep", "1000"])
        .start();
    system.vhost.await_consumers(inbox, 1, SOON).await;
    system.orchestrator().process.start_again();
    system
        .await_ready_saying("the inbox does not come up to now")
        .await;
    let nap =
        "saga: nap\nversion: 1\ninput: { type: object }\nsteps:\n  - id: rest\n    sleep: 1ms\n";
    system.api.apply(nap).await;
    let id = system.run("nap", "n").await;
    assert_eq!(system.api.status(&id).await, "running", "no timer fires");
    other.kill9();
    system.api.await_status(&id, "completed", SOON).await;
    system.await_ready().await;
    let log = system.orchestrator().process.log();
    let vain = "WARN baton_orchestrator::hot::vain";
    assert_eq!(log.matches(vain).count(), 1, "said once:\n{log}");
}
