//! Sagas within sagas through the real broker, three deep: done, or taken back from the lowest up, each effect once, while the orchestrator is killed; and
//! what lies below a saga that goes on is not purged. On both stores.

use std::time::Duration;

use baton_harness::await_until;
use baton_harness::ledger::Did;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::{Value, json};

/// How long a tree may take while the orchestrator is killed again and again.
const END_LIMIT: Duration = Duration::from_secs(240);

/// A step that is another saga, which works under a name of its own.
fn child(id: &str, saga: &str, name: &str) -> String {
    format!("  - id: {id}\n    saga: {saga}@1\n    with: {{ name: \"{name}\" }}\n")
}

/// `top` does a, then `middle`, then z; `middle` does b, then `lowest`, then e; `lowest` does c and d.
async fn tree(system: &System, last: &str) {
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    let lowest = Saga::named("lowest")
        .effect("c", "")
        .late("d", "")
        .step("output: { of: \"${ d.key }\" }\n");
    let middle = Saga::named("middle")
        .effect("b", "")
        .step(&child("low", "lowest", "${ input.name }-l"))
        .effect("e", ", value: \"${ low.of }\"")
        .step("output: { of: \"${ low.of }\" }\n");
    let top = Saga::named("top")
        .effect("a", "")
        .step(&child("mid", "middle", "${ input.name }-m"))
        .effect("z", last)
        .step("output: { of: \"${ mid.of }\" }\n");
    system.apply(&[&lowest, &middle, &top]).await;
}

/// The keys of what a tree of that name does, in the order it is done.
fn keys(name: &str) -> [String; 5] {
    [
        format!("{name}-a"),
        format!("{name}-m-b"),
        format!("{name}-m-l-c"),
        format!("{name}-m-l-d"),
        format!("{name}-m-e"),
    ]
}

/// The child of a step.
async fn child_of(system: &System, id: &str, step: &str) -> Value {
    let saga = system.api.saga(id).await;
    let steps = saga["steps"].as_array().cloned().unwrap_or_default();
    let found = steps.into_iter().find(|one| one["id"] == step);
    found.map_or(Value::Null, |one| one["child"].clone())
}

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap_or_default().to_owned()
}

/// The sagas of a tree, from the top down.
async fn all_of(system: &System, top: &str) -> [String; 3] {
    let middle = id(&child_of(system, top, "mid").await);
    let lowest = id(&child_of(system, &middle, "low").await);
    [top.to_owned(), middle, lowest]
}

async fn is_done(system: &System, name: &str) {
    let book = Book::of(&system.ledger).await;
    for key in keys(name).iter().chain([&format!("{name}-z")]) {
        assert_eq!(book.not_done_once(key), None);
    }
}

async fn is_taken_back(system: &System, name: &str) {
    let book = Book::of(&system.ledger).await;
    let keys = keys(name);
    for key in &keys {
        assert_eq!(book.not_taken_back(key), None);
    }
    for pair in keys.windows(2) {
        assert_eq!(book.undone_out_of_order(&pair[1], &pair[0]), None);
    }
}

async fn three_deep(setup: Setup) {
    let system = setup.start().await;
    tree(&system, "").await;
    let top = system.run("top", "good").await;
    let ended = system.api.await_status(&top, "completed", SOON).await;
    assert_eq!(ended["output"], json!({ "of": "good-m-l-d" }));
    is_done(&system, "good").await;
    let [_, middle, lowest] = all_of(&system, &top).await;
    let shown = system.api.saga(&lowest).await;
    assert_eq!(shown["parent"]["saga"], json!(middle));
    assert_eq!(
        (&shown["parent"]["root"], &shown["parent"]["depth"]),
        (&json!(top), &json!(2))
    );
    let mid = child_of(&system, &top, "mid").await;
    assert_eq!(
        (&mid["definition"], &mid["status"]),
        (&json!("middle"), &json!("completed"))
    );
    let said = system.cli().run(&["show", &top]).await.exits(0);
    let named = format!("middle@1 completed: baton show {middle}");
    assert!(said.out.contains(&named), "{}", said.out);
    let said = system.cli().run(&["show", &lowest]).await.exits(0);
    assert!(said.out.contains("step low of saga"), "{}", said.out);
    assert!(system.api.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_within_a_saga_within_a_saga_is_done() {
    three_deep(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_within_a_saga_is_done_across_the_partitions_of_a_database() {
    three_deep(Setup::workers(1).postgres()).await;
}

async fn taken_back(setup: Setup) {
    let mut system = setup.start().await;
    tree(&system, ", fail: final").await;
    let names = ["one", "two", "three", "four"];
    // it is killed where words between sagas are on their way: down to the middle, down to the lowest, up again, and down to be taken back
    let moments = [(0, Did::Do), (1, Did::Do), (3, Did::Do), (4, Did::Undo)];
    let mut tops = Vec::new();
    for (name, (nth, did)) in names.into_iter().zip(moments) {
        tops.push(system.run("top", name).await);
        let key = keys(name)[nth].clone();
        let what = format!("{did:?} of {key}");
        await_until(&what, END_LIMIT, async || {
            let book = Book::of(&system.ledger).await;
            book.count(&key, did) > 0
        })
        .await;
        system.orchestrator().kill9_and_start();
    }
    for top in &tops {
        let ended = system.api.await_status(top, "compensated", END_LIMIT).await;
        assert_eq!(ended["unwinding"]["step-failed"]["step"], "z", "{ended}");
        for saga in all_of(&system, top).await {
            assert_eq!(system.api.status(&saga).await, "compensated");
        }
    }
    for name in names {
        is_taken_back(&system, name).await;
        let book = Book::of(&system.ledger).await;
        for key in keys(name) {
            assert!(book.count(&key, Did::Undo) >= 1, "{:?}", book.history(&key));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_the_orchestrator_while_trees_are_taken_back_from_the_lowest_up() {
    taken_back(Setup::workers(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_the_orchestrator_on_postgres_while_trees_are_taken_back() {
    taken_back(Setup::workers(2).postgres()).await;
}

/// What is cancelled at the top is taken back below, and what waits for a person below is said above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_the_top_reaches_what_waits_below() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let low = Saga::named("low").effect("b", "").task(
        "c",
        "test.effect@1",
        ", fail: final",
        "on_error: park\n    timeout: 30s\n    ",
    );
    let top = Saga::named("top")
        .effect("a", "")
        .step(&child("mid", "low", "${ input.name }-m"));
    system.apply(&[&low, &top]).await;
    let top = system.run("top", "n").await;
    await_until("the child to be parked", SOON, async || {
        child_of(&system, &top, "mid").await["status"] == "parked"
    })
    .await;
    await_until("the parent to know", SOON, async || {
        let saga = system.api.saga(&top).await;
        let why = saga["steps"][1]["why"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        why.contains("which is parked: c failed")
    })
    .await;
    let why = json!({ "reason": "not any more" });
    let said = system.api.act(&top, "cancel", why).await;
    assert_eq!(said.status, 200, "{}", said.body);
    system
        .api
        .await_status(&top, "compensated", AFTER_A_LEASE)
        .await;
    let below = id(&child_of(&system, &top, "mid").await);
    assert_eq!(system.api.status(&below).await, "compensated");
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-m-b"] {
        assert_eq!(book.not_taken_back(key), None);
    }
}

/// A definition whose child nobody has registered is refused, and several are registered in the order they need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_definition_names_has_to_be_registered_before_it() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let cli = system.cli();
    let (low, top) = (
        Saga::named("low").effect("b", ""),
        Saga::named("top").step(&child("mid", "low", "n")),
    );
    for (name, saga) in [("a-top.yaml", &top), ("b-low.yaml", &low)] {
        // shorter than a worker's signs is warned of
        let yaml = saga.yaml().replace("heartbeat: 4s", "heartbeat: 30s");
        std::fs::write(cli.dir().join(name), yaml).expect("it is written");
    }
    let refused = cli.run(&["apply", "a-top.yaml"]).await.exits(1);
    assert!(refused.err.contains("BT0036"), "{}", refused.err);
    let alone = cli.run(&["check", "a-top.yaml"]).await.exits(0);
    assert!(alone.err.contains("BT0036"), "a warning: {}", alone.err);
    cli.run(&["check", "--deny-warnings", "a-top.yaml"])
        .await
        .exits(1);
    let together = cli
        .run(&["check", "a-top.yaml", "b-low.yaml"])
        .await
        .exits(0);
    assert!(!together.err.contains("BT0036"), "{}", together.err);
    cli.run(&["check", "--deny-warnings", "a-top.yaml", "b-low.yaml"])
        .await
        .exits(0);
    cli.run(&["apply", "a-top.yaml", "b-low.yaml"])
        .await
        .exits(0);
    let top = system.run("top", "n").await;
    system.api.await_status(&top, "completed", SOON).await;
}

/// After its start an orchestrator passes over what has ended, once, within this time.
const A_PASS: Duration = Duration::from_secs(8);

/// How many files lie in a folder and below it.
fn files(folder: &std::path::Path) -> usize {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = found.map(|one| match one.path().is_dir() {
        true => files(&one.path()),
        false => 1,
    });
    count.sum()
}

/// A child that was done long ago is taken back with its root all the same: its records stay until all above it have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_below_a_saga_that_goes_on_is_not_purged() {
    let setup = Setup::workers(1).orchestrator("retention.ended_sagas", "1h");
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    let low = Saga::named("low").effect("b", "");
    let middle = Saga::named("middle").step(&child("low", "low", "${ input.name }-l"));
    let top = Saga::named("top")
        .step(&child("mid", "middle", "${ input.name }-m"))
        .step("  - id: ok\n    approve: { by: operator, timeout: 2h }\n");
    system.apply(&[&low, &middle, &top]).await;
    let top = system.run("top", "n").await;
    system.api.await_phase(&top, "ok", "asked").await;
    let below = id(&child_of(&system, &top, "mid").await);
    let lowest = id(&child_of(&system, &below, "low").await);
    let alone = system.run("low", "alone").await;
    system.api.await_status(&alone, "completed", SOON).await;

    system.end_orchestrator();
    let file = system.data_dir().join("baton.db");
    let conn = rusqlite::Connection::open(file).expect("the store can be asked behind its back");
    let back = "UPDATE sagas SET ended_at = ended_at - 7200000 WHERE ended_at IS NOT NULL";
    assert_eq!(conn.execute(back, []).expect("it is set back"), 3);
    drop(conn);
    system.orchestrator().wait_alive_in(SOON).await;
    // it ended last, and so it goes last
    await_until("what lies alone to be purged", AFTER_A_LEASE, async || {
        !system.api.saga(&alone).await["purged"].is_null()
    })
    .await;
    for saga in [&below, &lowest] {
        assert!(system.api.saga(saga).await["purged"].is_null());
    }
    // what is left is needed, whole pages of it: there is nothing to archive, and no archive
    let archives = files(&system.data_dir().join("archive"));
    assert!(archives > 0, "of what lay alone");
    system.end_orchestrator();
    system.orchestrator().wait_alive_in(SOON).await;
    tokio::time::sleep(A_PASS).await;
    assert_eq!(files(&system.data_dir().join("archive")), archives);
    let no = json!({ "note": "no" });
    let said = system.api.act(&top, "steps/ok/reject", no).await;
    assert_eq!(said.status, 200, "{}", said.body);
    system.api.await_status(&top, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_taken_back("n-m-l-b"), None);
}
