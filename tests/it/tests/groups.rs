//! Groups of steps for each item of a list through the real broker: an item as a whole is done, put back by itself, or taken back with everything else, each
//! effect once, while the orchestrator is killed. On both stores.

use std::time::Duration;

use baton_harness::ledger::Did;
use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// How long many items may take while the orchestrator is killed again and again.
const END_LIMIT: Duration = Duration::from_secs(240);

/// For each of a list: three steps, the last of which fails for a name that is called so; and one thing after all of them.
fn hosts(last: &str) -> Saga {
    let group = "  - id: each\n    for_each: ${ input.hosts }\n    max_items: 50\n    max_parallel: 3\n    tolerate: 1\n    steps:\n      - id: off\n        task: test.effect@1\n        heartbeat: 4s\n        with: { key: \"${ input.name }-${ item }-off\" }\n      - id: put\n        task: test.effect-late@1\n        timeout: 5s\n        queue_timeout: 10s\n        with: { key: \"${ input.name }-${ item }-put\", value: \"${ before.key }\" }\n      - id: on\n        task: test.effect@1\n        with: { key: \"${ input.name }-${ item }-on\", value: \"${ index }\", fail: \"${ item.startsWith('bad') ? 'final' : null }\" }\n    output: { host: \"${ item }\", was: \"${ put.key }\" }\n";
    Saga::named("hosts")
        .effect("before", "")
        .step(group)
        .effect("after", last)
        .step("output: { hosts: \"${ each }\" }\n")
}

async fn started(system: &System, name: &str, hosts: &[&str]) -> String {
    let input = json!({ "name": name, "hosts": hosts });
    system.api.start("hosts", &input, name).await
}

async fn side_by_side(setup: Setup) {
    let system = setup.start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    system.apply(&[&hosts("")]).await;
    let saga = started(&system, "good", &["h0", "bad", "h2", "h3"]).await;
    let ended = system.api.await_status(&saga, "completed", SOON).await;
    let one = |n: u32| json!({ "host": format!("h{n}"), "was": format!("good-h{n}-put") });
    assert_eq!(
        ended["output"],
        json!({ "hosts": [one(0), null, one(2), one(3)] })
    );
    let book = Book::of(&system.ledger).await;
    for host in ["h0", "h2", "h3"] {
        for step in ["off", "put", "on"] {
            assert_eq!(book.not_done_once(&format!("good-{host}-{step}")), None);
        }
    }
    for step in ["off", "put"] {
        assert_eq!(book.not_taken_back(&format!("good-bad-{step}")), None);
    }
    assert_eq!(
        book.undone_out_of_order("good-bad-put", "good-bad-off"),
        None
    );
    let of_group = ["ls", "--definition", "hosts/each", "--json"];
    let listed = system.cli().run(&of_group).await.exits(0).json();
    let listed = listed["sagas"].as_array().cloned().unwrap_or_default();
    assert_eq!(listed.len(), 4, "{listed:?}");
    let first = listed[0]["id"].as_str().unwrap_or_default().to_owned();
    let said = system.cli().run(&["show", &first]).await.exits(0);
    assert!(said.out.contains("hosts/each@1"), "{}", said.out);
    assert!(said.out.contains("step each["), "{}", said.out);
    assert!(system.api.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_group_are_done_and_put_back_each_as_a_whole() {
    side_by_side(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_group_run_across_the_partitions_of_a_database() {
    side_by_side(Setup::workers(1).postgres()).await;
}

/// What fails after the group takes back every item, from its last step to its first, while the orchestrator is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_the_orchestrator_while_groups_are_taken_back() {
    let mut system = Setup::workers(2).start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    system.apply(&[&hosts(", fail: final")]).await;
    let names = ["one", "two", "three"];
    let all = ["h0", "h1", "h2", "h3"];
    // it is killed where items begin, where they report, and where they are taken back
    let moments = [("off", Did::Do), ("put", Did::Do), ("on", Did::Undo)];
    let mut sagas = Vec::new();
    for (name, (step, did)) in names.into_iter().zip(moments) {
        sagas.push(started(&system, name, &all).await);
        let what = format!("{did:?} of {step} of an item of {name}");
        await_until(&what, END_LIMIT, async || {
            let book = Book::of(&system.ledger).await;
            let called = |host: &str| book.count(&format!("{name}-{host}-{step}"), did) > 0;
            all.into_iter().any(called)
        })
        .await;
        system.orchestrator().kill9_and_start();
    }
    for saga in &sagas {
        let ended = system
            .api
            .await_status(saga, "compensated", END_LIMIT)
            .await;
        assert_eq!(
            ended["unwinding"]["step-failed"]["step"], "after",
            "{ended}"
        );
    }
    let book = Book::of(&system.ledger).await;
    for name in names {
        assert_eq!(book.not_taken_back(&format!("{name}-before")), None);
        for host in all {
            let key = |step: &str| format!("{name}-{host}-{step}");
            for step in ["off", "put", "on"] {
                assert_eq!(book.not_taken_back(&key(step)), None);
                assert!(book.count(&key(step), Did::Undo) >= 1);
            }
            assert_eq!(book.undone_out_of_order(&key("on"), &key("put")), None);
            assert_eq!(book.undone_out_of_order(&key("put"), &key("off")), None);
            assert_eq!(
                book.undone_out_of_order(&key("off"), &format!("{name}-before")),
                None
            );
        }
    }
}

/// A group is nobody's to start or to register: it is an item of its step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_not_started_by_itself() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&hosts("")]).await;
    let cli = system.cli();
    let refused = cli.run(&["run", "hosts/each", "--with", "{}"]).await;
    assert_ne!(refused.code, 0, "{}", refused.out);
    let shown = cli.run(&["definitions"]).await.exits(0);
    assert!(!shown.out.contains("hosts/each"), "{}", shown.out);
}

/// An approval, and for each of a list another approval and an effect; with `last` one more behind all of them.
fn racks(version: u32, value: &str, last: bool) -> String {
    let asks = "approve: { by: operator, timeout: 1d }\n";
    let group = format!(
        "  - id: each\n    for_each: ${{ input.hosts }}\n    max_items: 5\n    max_parallel: 1\n    steps:\n      - id: go\n        {asks}      - id: put\n        task: test.effect@1\n        heartbeat: 4s\n        with: {{ key: \"${{ input.name }}-${{ item }}-put\", value: {value} }}\n"
    );
    let saga = Saga::named("racks")
        .step(&format!("  - id: ok\n    {asks}"))
        .step(&group);
    let saga = if last { saga.effect("last", "") } else { saga };
    saga.yaml()
        .replace("version: 1\n", &format!("version: {version}\n"))
}

async fn approve(system: &System, saga: &str, step: &str) {
    system.api.await_phase(saga, step, "asked").await;
    let path = format!("steps/{step}/approve");
    let said = system.api.act(saga, &path, json!({})).await;
    assert_eq!(said.status, 200, "{}", said.body);
}

/// The item of a saga that waits for its approval, and the version it runs.
async fn waiting_item(system: &System, saga: &str) -> (String, Value) {
    await_some("an item to wait", SOON, async || {
        let list = system.api.get("/v1/sagas?definition=racks/each").await;
        for row in list["sagas"].as_array()? {
            let id = row["id"].as_str()?.to_owned();
            let item = system.api.saga(&id).await;
            let waits = system.api.phase(&id, "go").await == "asked";
            if item["parent"]["saga"] == *saga && waits {
                return Some((id, item["version"].clone()));
            }
        }
        None
    })
    .await
}

async fn upgrade(system: &System, asked: Value) -> baton_it::Answer {
    let path = "/v1/definitions/racks/upgrade";
    system
        .api
        .ask_patiently("POST", path, "", Some(asked.to_string()))
        .await
}

async fn moved_as_their_groups_allow(setup: Setup) {
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    system.api.apply(&racks(1, "one", false)).await;
    let start = async |name: &str| {
        let input = json!({ "name": name, "hosts": ["h0", "h1"] });
        system.api.start("racks", &input, name).await
    };
    let (before, within) = (start("before").await, start("within").await);
    system.api.await_phase(&before, "ok", "asked").await;
    approve(&system, &within, "ok").await;
    let (first, version) = waiting_item(&system, &within).await;
    assert_eq!(version, 1);

    // its group is another one
    system.api.apply(&racks(2, "two", false)).await;
    let page = upgrade(&system, json!({ "to": 2, "reason": "r" }))
        .await
        .body;
    let rows = page["sagas"].as_array().expect("a page");
    assert_eq!(rows.len(), 2, "items are none of its sagas: {page}");
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).expect("it is told");
    assert_eq!(row(&before)["outcome"], "moved", "{page}");
    assert_eq!(row(&within)["outcome"], "stays", "{page}");
    let why = &row(&within)["reasons"][0];
    assert_eq!(
        (&why["kind"], &why["step"]),
        (&json!("step-type"), &json!("each"))
    );
    let alone = upgrade(&system, json!({ "to": 2, "reason": "r", "saga": first })).await;
    assert_eq!(
        alone.status, 400,
        "an item is moved by its saga alone: {alone:?}"
    );

    // its group is written the same
    system.api.apply(&racks(3, "one", true)).await;
    let asked = json!({ "to": 3, "reason": "r", "saga": within });
    let page = upgrade(&system, asked).await.body;
    assert_eq!(page["moved"], 1, "{page}");
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    assert_eq!(
        waiting_item(&system, &within).await,
        (first.clone(), json!(1))
    );
    approve(&system, &first, "go").await;
    system.api.await_status(&first, "completed", SOON).await;
    let (second, version) = waiting_item(&system, &within).await;
    assert_eq!(
        version, 3,
        "what begins later is of the version it was moved to"
    );
    approve(&system, &second, "go").await;
    approve(&system, &before, "ok").await;
    for _ in 0..2 {
        let (item, version) = waiting_item(&system, &before).await;
        assert_eq!(version, 2);
        approve(&system, &item, "go").await;
        system.api.await_status(&item, "completed", SOON).await;
    }
    for saga in [&before, &within] {
        system.api.await_status(saga, "completed", SOON).await;
    }
    let book = Book::of(&system.ledger).await;
    for name in ["before", "within"] {
        for host in ["h0", "h1"] {
            assert_eq!(book.not_done_once(&format!("{name}-{host}-put")), None);
        }
    }
    assert_eq!(book.not_done_once("within-last"), None);
    assert_eq!(book.ever_done("before-last"), None, "it had no such step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_moved_where_its_group_has_not_begun_or_is_written_the_same() {
    moved_as_their_groups_allow(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_in_a_database_is_moved_where_its_group_has_not_begun_or_is_written_the_same() {
    moved_as_their_groups_allow(Setup::workers(1).postgres()).await;
}
