//! What an orchestrator keeps is carried elsewhere while its sagas run: moved from a file into a database, and backed up and put back by the very
//! lines of `deploy/BACKUP.md`. No saga is lost on the way, and none does an effect twice.

use std::path::Path;
use std::time::{Duration, Instant};

use baton_harness::{Database, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::{Value, json};

/// The procedures.
const BACKUP: &str = include_str!("../../../deploy/BACKUP.md");

/// Sagas of every kind of waiting there is: for a task in hand, the clock, an event, a person.
async fn system(setup: Setup) -> System {
    let system = setup.orchestrator("sagas.idle_ms", "1000").start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    let row = Saga::named("row")
        .effect("a", "")
        .late("b", "")
        .effect("c", ", delay_before_ms: 300");
    let fails = Saga::named("fails")
        .effect("a", "")
        .late("b", ", delay_after_ms: 300")
        .effect("c", ", fail: final");
    let slow = Saga::named("slow")
        .task(
            "a",
            "test.effect-late@1",
            ", delay_before_ms: 5000",
            "timeout: 20s\n    ",
        )
        .late("b", "");
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 9s\n")
        .effect("b", "");
    let waits = Saga::named("waits")
        .effect("a", "")
        .step("  - id: z\n    wait: { event: com.example.paid, when: \"${ event.data.name == input.name }\", timeout: 2h }\n")
        .effect("b", "");
    let asks = Saga::named("asks")
        .effect("a", "")
        .step("  - id: z\n    approve: { by: operator, timeout: 2h, on_timeout: park }\n")
        .effect("b", "");
    system
        .apply(&[&row, &fails, &slow, &sleeps, &waits, &asks])
        .await;
    system
}

/// A saga of each of those that wait, waiting.
async fn waiting(system: &System) -> Vec<(&'static str, String)> {
    let mut ids = Vec::new();
    for name in ["sleeps", "waits", "asks", "slow"] {
        ids.push((name, system.run(name, name).await));
    }
    for ((_, id), phase) in ids.iter().zip(["sleeping", "listening", "asked"]) {
        system.api.await_phase(id, "z", phase).await;
    }
    system.api.await_phase(&ids[3].1, "a", "trying").await;
    ids
}

/// What they wait for comes; each ends, its effects done once.
async fn all_go_on(system: &System, ids: &[(&'static str, String)]) {
    let paid = json!({
        "specversion": "1.0", "id": "p", "source": "/test", "type": "com.example.paid", "data": { "name": "waits" },
    });
    system.api.publish(&paid).await;
    let (_, asks) = &ids[2];
    let say = json!({ "note": "tried" });
    let said = system.api.act(asks, "steps/z/approve", say).await;
    assert_eq!(said.status, 200, "{}", said.body);
    for (_, id) in ids {
        system
            .api
            .await_status(id, "completed", AFTER_A_LEASE)
            .await;
    }
    let book = Book::of(&system.ledger).await;
    for (name, _) in ids {
        for step in ["a", "b"] {
            let key = format!("{name}-{step}");
            assert_eq!(book.not_done_once(&key), None);
            // what is held late may be sent twice by whoever does not know that the broker had it; what is claimed acts once
            if *name != "slow" {
                assert_eq!(book.called_twice(&key), None);
            }
        }
    }
}

async fn a_row(system: &System, name: &str) -> String {
    system.run("row", name).await
}

async fn done_once(system: &System, name: &str) {
    let book = Book::of(&system.ledger).await;
    for step in ["a", "b", "c"] {
        assert_eq!(book.not_done_once(&format!("{name}-{step}")), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_that_runs_is_moved_from_a_file_into_a_database_and_no_saga_is_lost() {
    let mut system = system(Setup::workers(2).with_an_empty_database()).await;
    let file = system.data_dir().join("baton.db");
    let import = [
        "import",
        file.to_str().expect("a plain path"),
        "--by",
        "ann",
    ];
    let good = a_row(&system, "good").await;
    let bad = system.run("fails", "bad").await;
    system.api.await_status(&good, "completed", SOON).await;
    let (moved, said) = system.at_store(&import, true).await;
    assert!(!moved && said.contains("stop that one"), "{said}");
    let ids = waiting(&system).await;
    let mut running = Vec::new();
    for number in 0..15 {
        running.push(a_row(&system, &format!("n{number}")).await);
        running.push(system.run("fails", &format!("f{number}")).await);
    }
    // in the midst of it, with reports on their way
    system.end_orchestrator();
    let (moved, said) = system.at_store(&import, true).await;
    assert!(moved && said.contains("moved 36 sagas"), "{said}");
    let moved_to = "it was moved to the database at ";
    let (moved, said) = system.at_store(&import, true).await;
    assert!(!moved && said.contains(moved_to), "{said}");
    // with the settings of before: driven from both, every saga would be done twice
    let (driven, said) = system.at_store(&["migrate"], false).await;
    assert!(!driven && said.contains(moved_to), "{said}");
    let (read, said) = system.at_store(&["status"], false).await;
    assert!(read && said.contains("sagas "), "{said}");
    system.use_database(None);
    let (same, said) = system.at_store(&["migrate"], true).await;
    assert!(same && said.contains("already"), "{said}");
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    // behind what the file had of it, and the chain is whole; what was refused changed nothing
    let moved = written(&system, "importStore").await;
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(moved[0]["after"]["sagas"], 36, "{moved:?}");
    assert_eq!(moved[0]["behalf"], "ann", "{moved:?}");
    let looked = written(&system, "migrateStore").await.remove(0);
    assert_eq!(looked["before"], looked["after"], "{looked}");
    system.cli().run(&["audit", "verify"]).await.exits(0);

    assert_eq!(system.api.sagas().await.len(), 36);
    assert_eq!(
        a_row(&system, "good").await,
        good,
        "the same key, the same saga"
    );
    system.api.await_status(&bad, "compensated", SOON).await;
    for (number, pair) in running.chunks(2).enumerate() {
        let (row, fails) = (&pair[0], &pair[1]);
        let api = &system.api;
        api.await_status(row, "completed", AFTER_A_LEASE).await;
        api.await_status(fails, "compensated", AFTER_A_LEASE).await;
        done_once(&system, &format!("n{number}")).await;
        let book = Book::of(&system.ledger).await;
        for step in ["a", "b"] {
            assert_eq!(book.not_taken_back(&format!("f{number}-{step}")), None);
        }
    }
    all_go_on(&system, &ids).await;
    let dead = system.api.dead_letters().await;
    assert_eq!(dead, Vec::<Value>::new(), "every report found its saga");
    let new = a_row(&system, "new").await;
    system.api.await_status(&new, "completed", SOON).await;
}

/// How long the sagas below sleep: long enough that the last has begun to before the first wakes up.
const NAP: Duration = Duration::from_secs(20);

/// Reports that were on their way lie in the inbox of the first partition, in whichever partition their sagas lie now. Here nobody reads it for a while, and what
/// only waits for the clock says whether verdicts are taken from time meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_import_time_says_nothing_before_the_inbox_of_the_file_was_read() {
    let mut system = Setup::workers(1).with_an_empty_database().start().await;
    system.await_served("test.effect@1").await;
    let naps = Saga::named("naps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 20s\n")
        .effect("b", "");
    system.apply(&[&naps]).await;
    let mut ids = Vec::new();
    for number in 0..16 {
        ids.push(system.run("naps", &format!("n{number}")).await);
    }
    for id in &ids {
        system.api.await_phase(id, "z", "sleeping").await;
    }
    let asleep = Instant::now();
    system.end_orchestrator();
    let file = system.data_dir().join("baton.db");
    let file = file.to_str().expect("a plain path");
    let (moved, said) = system.at_store(&["import", file], true).await;
    assert!(moved, "{said}");
    system.use_database(None);
    let client = system.database().client().await;
    // by one who does not read its inbox
    let taken = "UPDATE partitions SET owner = 'another', epoch = epoch + 1, lease_until = clock_timestamp() + interval '1 hour' WHERE id = 0";
    client.batch_execute(taken).await.expect("it is free");
    system.orchestrator().wait_alive_in(SOON).await;
    let others = "SELECT count(*) FROM partitions WHERE id > 0 AND coalesce(lease_until < clock_timestamp(), true)";
    await_until("the others to be driven", SOON, async || {
        let free = client.query_one(others, &[]).await.expect("it answers");
        free.get::<_, i64>(0) == 0
    })
    .await;
    // all are over, and whoever counts time goes on within moments
    let over = NAP.saturating_sub(asleep.elapsed()) + Duration::from_secs(3);
    tokio::time::sleep(over).await;
    for id in &ids {
        assert_eq!(system.api.phase(id, "z").await, "sleeping");
    }
    let given_up = "UPDATE partitions SET lease_until = NULL WHERE id = 0";
    client.batch_execute(given_up).await.expect("it answers");
    for id in &ids {
        let (api, limit) = (&system.api, AFTER_A_LEASE);
        api.await_status(id, "completed", limit).await;
    }
    let left = client.query_one("SELECT count(*) FROM carried", &[]).await;
    assert_eq!(left.expect("it answers").get::<_, i64>(0), 0);
}

/// What stands in the audit log of this action.
async fn written(system: &System, action: &str) -> Vec<Value> {
    let path = format!("/v1/audit?action={action}");
    let found = system.api.get(&path).await;
    let rows = found["items"].as_array().expect("rows").clone();
    for row in &rows {
        for name in ["who", "from"] {
            assert!(row[name].as_str().is_some_and(|said| !said.is_empty()));
        }
    }
    rows
}

/// The lines of a shell below a heading.
fn lines(heading: &str) -> &'static str {
    let (_, below) = BACKUP
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let (_, block) = below.split_once("```sh\n").expect("lines of a shell");
    block.split_once("```").expect("they end").0
}

/// What the procedures name.
fn named(system: &System, backup: &Path, database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("BACKUP", backup.display().to_string()),
        ("DATA_DIR", system.data_dir().display().to_string()),
        ("DATABASE_URL", database.to_owned()),
    ]
}

/// Sagas that wait are backed up; another begins after that.
async fn backed_up(
    system: &System,
    heading: &str,
    url: &str,
) -> (Vec<(&'static str, String)>, [String; 2]) {
    let before = a_row(system, "before").await;
    system.api.await_status(&before, "completed", SOON).await;
    let ids = waiting(system).await;
    let backup = system.dir().join("the-backup");
    system
        .shell(lines(heading), &named(system, &backup, url))
        .await;
    let after = a_row(system, "after").await;
    system.api.await_status(&after, "completed", SOON).await;
    (ids, [before, after])
}

/// What was backed up goes on; what was begun later is not known, and is the same when it is asked for again.
async fn put_back(
    system: &mut System,
    ids: &[(&'static str, String)],
    [before, after]: [String; 2],
) {
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    assert_eq!(system.api.status(&before).await, "completed");
    let gone = system
        .api
        .ask("GET", &format!("/v1/sagas/{after}"), "", None)
        .await;
    assert_eq!(gone.map(|answer| answer.status), Some(404));
    all_go_on(system, ids).await;
    assert_eq!(a_row(system, "after").await, after);
    system.api.await_status(&after, "completed", SOON).await;
    done_once(system, "before").await;
    done_once(system, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_backed_up_while_it_is_used_and_put_back_by_the_lines_that_are_written_down() {
    let mut system = system(Setup::workers(2)).await;
    let (ids, others) = backed_up(&system, "SQLite: back up", "").await;
    // an orchestrator that has the file open finds who copied it, and goes on with the chain
    let copied = written(&system, "exportStore").await;
    assert_eq!(copied.len(), 1, "{copied:?}");
    assert_eq!(copied[0]["phase"], "done", "{copied:?}");
    assert!(copied[0]["after"]["bytes"].as_u64() > Some(0), "{copied:?}");
    system.cli().run(&["audit", "verify"]).await.exits(0);
    system.end_orchestrator();
    let backup = system.dir().join("the-backup");
    let said = system
        .shell(lines("SQLite: restore"), &named(&system, &backup, ""))
        .await;
    assert!(said.contains("sagas       1 completed"), "{said}");
    put_back(&mut system, &ids, others).await;
    // the copy says that it is one: it was asked for before it was made
    let asked = written(&system, "exportStore").await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0]["phase"], "asked", "{asked:?}");
    system.cli().run(&["audit", "verify"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_backed_up_while_it_is_used_and_put_back_by_the_lines_that_are_written_down()
{
    let mut system = system(Setup::workers(2).postgres()).await;
    let url = system.database().url();
    let (ids, others) = backed_up(&system, "PostgreSQL: back up", &url).await;
    let empty: Database = system.database().server().database().await;
    let (backup, url) = (system.dir().join("the-backup"), empty.url());
    system.use_database(Some(empty));
    let said = system
        .shell(lines("PostgreSQL: restore"), &named(&system, &backup, &url))
        .await;
    assert!(said.contains("sagas       1 completed"), "{said}");
    put_back(&mut system, &ids, others).await;
}
