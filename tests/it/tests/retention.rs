//! Ended sagas are archived and purged: every record of them lies in a file before any is gone, whatever dies in between; their ids are never another
//! saga's; and what has not ended, is too young, or asks somebody for something, is whole. On both stores, with the real thing.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::{Value, json};

/// What is set back in the tests: the age nobody may go below, and as much again.
const SET_BACK: &str =
    "UPDATE sagas SET ended_at = ended_at - 7200000 WHERE ended_at IS NOT NULL AND ";

/// The engine closes what is open at a saga's end; should an item stay open all the same, nothing of it may go.
const ASKED_AGAIN: &str = "UPDATE work_items SET closed_at = NULL, closed_by = NULL";
/// The id of no saga.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

async fn system(setup: Setup) -> System {
    let setup = setup.orchestrator("retention.ended_sagas", "1h");
    let system = setup.start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    let row = Saga::named("row")
        .effect("a", "")
        .late("b", "")
        .effect("c", "");
    let fails = Saga::named("fails")
        .effect("a", "")
        .late("b", ", fail: final");
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 2h\n");
    let asks = Saga::named("asks")
        .effect("a", "")
        .step("  - id: z\n    approve: { by: operator, timeout: 2h, on_timeout: park }\n")
        .effect("b", "");
    let rejected = Saga::named("parks")
        .effect("a", "")
        .step("  - id: z\n    wait: { event: com.example.never, timeout: 1s, on_timeout: park }\n");
    let forward = Saga::named("forward")
        .task(
            "a",
            "test.effect@1",
            "",
            "pivot: true\n    timeout: 30s\n    ",
        )
        .step("  - id: z\n    wait: { event: com.example.on, timeout: 2h }\n");
    let all = [&row, &fails, &sleeps, &asks, &rejected, &forward];
    system.apply(&all).await;
    system
}

/// Sagas that are to go, and sagas that are to stay: running, parked, asked about, ended with an open work item, ended a moment ago.
struct Sagas {
    go: BTreeMap<&'static str, String>,
    stay: BTreeMap<&'static str, String>,
    young: String,
}

async fn ended_and_not(system: &System) -> Sagas {
    let run = async |definition, name| system.run(definition, name).await;
    let go = BTreeMap::from([
        ("good", run("row", "good").await),
        ("other", run("row", "other").await),
        ("bad", run("fails", "bad").await),
    ]);
    let young = run("row", "young").await;
    let stay = BTreeMap::from([
        ("young", young.clone()),
        ("sleeping", run("sleeps", "sleeping").await),
        ("asked", run("asks", "asked").await),
        ("parked", run("parks", "parked").await),
        ("forward", run("forward", "forward").await),
    ]);
    for (name, status) in [
        ("good", "completed"),
        ("other", "completed"),
        ("bad", "compensated"),
    ] {
        system.api.await_status(&go[name], status, SOON).await;
    }
    system.api.await_status(&young, "completed", SOON).await;
    system
        .api
        .await_phase(&stay["sleeping"], "z", "sleeping")
        .await;
    system.api.await_phase(&stay["asked"], "z", "asked").await;
    system
        .api
        .await_status(&stay["parked"], "parked", SOON)
        .await;
    // past its pivot it goes on to its end, and somebody is asked to take note of that
    system
        .api
        .await_phase(&stay["forward"], "z", "listening")
        .await;
    let why = json!({ "reason": "too late" });
    let said = system.api.act(&stay["forward"], "cancel", why).await;
    assert_eq!(said.status, 200, "{}", said.body);
    let on =
        json!({ "specversion": "1.0", "id": "on", "source": "/test", "type": "com.example.on" });
    system.api.publish(&on).await;
    system
        .api
        .await_status(&stay["forward"], "completed", SOON)
        .await;
    Sagas { go, stay, young }
}

/// Lets time pass for what has ended, but for one.
async fn set_back(system: &System, on_database: bool, young: &str) {
    if on_database {
        let client = system.database().client().await;
        let sql = format!("{SET_BACK} id <> '{young}'; {ASKED_AGAIN}");
        client
            .batch_execute(&sql)
            .await
            .expect("the store can be asked behind its back");
        return;
    }
    let young = young.replace('-', "").to_uppercase();
    let sql = format!("{SET_BACK} hex(id) <> '{young}'; {ASKED_AGAIN}");
    file(system)
        .execute_batch(&sql)
        .expect("the store can be asked behind its back");
}

fn file(system: &System) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(system.data_dir().join("baton.db"))
        .expect("the store can be asked behind its back");
    conn.busy_timeout(SOON)
        .expect("the store can be asked behind its back");
    conn
}

async fn records(system: &System, id: &str) -> Value {
    let path = format!("/v1/sagas/{id}/records?limit=500");
    let page = system.api.get(&path).await;
    assert!(page["next"].is_null(), "{page}");
    page["records"].clone()
}

async fn records_of(
    system: &System,
    sagas: &BTreeMap<&'static str, String>,
) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for id in sagas.values() {
        all.insert(id.clone(), records(system, id).await);
    }
    all
}

/// Every archive, whole or not.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = found.map(|one| one.unwrap().path());
    let mut all: Vec<PathBuf> = paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect();
    all.sort();
    all
}

/// Every line of every archive, read as deploy/BACKUP.md says.
fn archived(system: &System) -> Vec<Value> {
    let mut lines = Vec::new();
    for file in files(&system.data_dir().join("archive")) {
        let read = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
        assert!(read.status.success(), "{}: {read:?}", file.display());
        let text = String::from_utf8(read.stdout).unwrap();
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    lines
}

async fn await_purged(system: &System, id: &str) -> Value {
    await_some(
        &format!("saga {id} to be purged"),
        AFTER_A_LEASE,
        async || {
            let saga = system.api.saga(id).await;
            (!saga["purged"].is_null()).then_some(saga)
        },
    )
    .await
}

/// What is archived of these is what the API showed of them, to the last record.
fn holds_every_record(lines: &[Value], before: &BTreeMap<String, Value>) {
    for (id, records) in before {
        let line = lines.iter().find(|line| line["saga"]["id"] == json!(id));
        let line = line.unwrap_or_else(|| panic!("{id} is in no archive"));
        assert_eq!(line["format"], "baton-saga@1");
        assert_eq!(&line["records"], records, "{id}");
        assert!(records.as_array().unwrap().len() > 5, "{id}: {records}");
    }
}

async fn goes_through_its_life(setup: Setup, on_database: bool) {
    let mut system = system(setup).await;
    let sagas = ended_and_not(&system).await;
    let before = records_of(&system, &sagas.go).await;
    let kept = records_of(&system, &sagas.stay).await;
    system.end_orchestrator();
    set_back(&system, on_database, &sagas.young).await;
    system.orchestrator().wait_alive_in(SOON).await;

    for (name, id) in &sagas.go {
        let saga = await_purged(&system, id).await;
        let archive = saga["purged"]["archive"].as_str().unwrap();
        assert!(system.data_dir().join("archive").join(archive).exists());
        assert_eq!(saga["steps"], json!([]), "{name}: {saga}");
        let path = format!("/v1/sagas/{id}/records");
        let gone = system.api.ask_patiently("GET", &path, "", None).await;
        assert_eq!(
            (gone.status, &gone.body["type"]),
            (410, &json!("urn:baton:problem:purged"))
        );
        let shown = system.cli().run(&["show", id]).await.exits(0);
        assert!(
            shown.out.contains("archived and purged") && shown.out.contains(archive),
            "{}",
            shown.out
        );
    }
    holds_every_record(&archived(&system), &before);
    the_others_are_whole(&system, &sagas, &kept).await;
    figures_say_so(&system).await;
    ids_are_never_given_again(&system, &sagas).await;
    let waits = &sagas.stay["asked"];
    let said = system
        .api
        .act(waits, "steps/z/approve", json!({ "note": "yes" }))
        .await;
    assert_eq!(said.status, 200, "{}", said.body);
    system.api.await_status(waits, "completed", SOON).await;
}

async fn the_others_are_whole(system: &System, sagas: &Sagas, kept: &BTreeMap<String, Value>) {
    for (name, id) in &sagas.stay {
        let saga = system.api.saga(id).await;
        assert!(saga["purged"].is_null(), "{name}: {saga}");
        // of those that wait for a worker's word more may have come; nothing is gone
        let records = records(system, id).await;
        let before = kept[id].as_array().unwrap();
        assert_eq!(
            records.as_array().unwrap()[..before.len()],
            before[..],
            "{name}"
        );
    }
    let listed: Vec<Value> = system.api.sagas().await;
    assert_eq!(listed.len(), sagas.stay.len(), "{listed:?}");
    let items = system.api.work_items().await;
    assert!(
        items
            .iter()
            .any(|item| item["saga"] == json!(sagas.stay["forward"])),
        "{items:?}"
    );
}

async fn figures_say_so(system: &System) {
    let (_, said) = system.at_store(&["status"], true).await;
    for expected in ["3 purged", "1h after their end", "events", "oldest end"] {
        assert!(said.contains(expected), "no {expected} in:\n{said}");
    }
    await_until("the metrics to be counted", SOON, async || {
        let metrics = system.api.ask("GET", "/metrics", "", None).await;
        metrics.is_some_and(|answer| {
            let text = answer.body.to_string();
            text.contains("baton_orchestrator_sagas_purged 3")
        })
    })
    .await;
}

/// The same request again is the same saga, which does nothing again; an operator is told that it has ended.
async fn ids_are_never_given_again(system: &System, sagas: &Sagas) {
    let done = Book::of(&system.ledger).await;
    for (name, definition) in [("good", "row"), ("bad", "fails")] {
        let id = &sagas.go[name];
        assert_eq!(&system.run(definition, name).await, id);
        let why = json!({ "reason": "tried" });
        let refused = system.api.act(id, "cancel", why).await;
        assert_eq!(
            (refused.status, &refused.body["type"]),
            (409, &json!("urn:baton:problem:ended"))
        );
        let saga = system.api.saga(id).await;
        assert!(!saga["purged"].is_null(), "{saga}");
    }
    // a saga that starts now goes through the same workers: whatever those above had caused would have come before it
    let fresh = system.run("row", "fresh").await;
    system.api.await_status(&fresh, "completed", SOON).await;
    let again = Book::of(&system.ledger).await;
    for key in ["good-a", "good-b", "good-c", "bad-a"] {
        assert_eq!(again.history(key), done.history(key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_sagas_of_a_file_are_archived_and_purged_and_no_other() {
    goes_through_its_life(Setup::workers(1), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_sagas_of_a_database_are_archived_and_purged_and_no_other() {
    goes_through_its_life(Setup::workers(1).postgres(), true).await;
}

/// Whatever would purge is held up, or refused, until what is answered is called.
async fn hold(system: &System, on_database: bool) -> Box<dyn FnOnce()> {
    if on_database {
        let client = system.database().client().await;
        let held = "BEGIN; LOCK TABLE snapshots IN SHARE MODE";
        client.batch_execute(held).await.unwrap();
        // with its connection the lock ends
        return Box::new(move || drop(client));
    }
    let conn = file(system);
    let held = "CREATE TRIGGER held BEFORE UPDATE OF purged_at ON sagas BEGIN SELECT RAISE(ABORT, 'held'); END";
    conn.execute_batch(held).unwrap();
    Box::new(move || conn.execute_batch("DROP TRIGGER held").unwrap())
}

/// Rows of the log of sagas that are not marked as purged.
async fn rows_left(system: &System, on_database: bool) -> i64 {
    let sql = "SELECT count(*) FROM records r JOIN sagas s ON s.number = r.saga WHERE s.purged_at IS NULL";
    if on_database {
        let client = system.database().client().await;
        return client.query_one(sql, &[]).await.unwrap().get(0);
    }
    file(system).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Somebody holds the store, so that sagas are archived and cannot be purged; then the process dies.
async fn dies_in_between(setup: Setup, on_database: bool) {
    let mut system = system(setup).await;
    let id = system.run("row", "good").await;
    system.api.await_status(&id, "completed", SOON).await;
    let sagas = BTreeMap::from([("good", id.clone())]);
    let before = records_of(&system, &sagas).await;
    system.end_orchestrator();
    set_back(&system, on_database, NOBODY).await;
    let let_go = hold(&system, on_database).await;
    system.orchestrator().wait_alive_in(SOON).await;
    let folder = system.data_dir().join("archive");
    await_until("an archive", AFTER_A_LEASE, async || {
        let whole = |path: &PathBuf| path.extension().is_some_and(|end| end == "gz");
        files(&folder).iter().any(whole)
    })
    .await;
    system.end_orchestrator();
    if on_database {
        // what the server still has of it under way would be done once nothing holds it up
        let client = system.database().client().await;
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        client.batch_execute(ended).await.unwrap();
    }
    let_go();
    assert!(
        rows_left(&system, on_database).await > 0,
        "its records are gone"
    );
    let first = archived(&system);
    holds_every_record(&first, &before);
    system.orchestrator().wait_alive_in(SOON).await;
    await_purged(&system, &id).await;
    let both = archived(&system);
    assert_eq!(both.len(), 2, "archived once more, since nobody knew");
    holds_every_record(&both[1..], &before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_archive_and_purge_loses_nothing_of_a_file() {
    dies_in_between(Setup::workers(1), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_archive_and_purge_loses_nothing_of_a_database() {
    dies_in_between(Setup::workers(1).postgres(), true).await;
}

/// What cannot be archived is not purged, and that is said where people look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_cannot_be_written_keeps_everything() {
    let mut system = system(Setup::workers(1)).await;
    let id = system.run("row", "good").await;
    system.api.await_status(&id, "completed", SOON).await;
    let sagas = BTreeMap::from([("good", id.clone())]);
    let before = records_of(&system, &sagas).await;
    // where the folder is to be there is a file
    let folder = system.data_dir().join("archive");
    std::fs::write(&folder, "no folder").unwrap();
    system.end_orchestrator();
    set_back(&system, false, NOBODY).await;
    system.orchestrator().wait_alive_in(SOON).await;
    system
        .await_ready_saying("ended sagas cannot be archived")
        .await;
    assert_eq!(records(&system, &id).await, before[&id]);
    std::fs::remove_file(&folder).unwrap();
    await_purged(&system, &id).await;
    holds_every_record(&archived(&system), &before);
}
