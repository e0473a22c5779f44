//! `baton` as an operator's shell runs it: what it prints, and the exit codes scripts branch on.

use baton_harness::await_until;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

async fn system(sagas: &[&Saga]) -> System {
    let system = Setup::workers(1).start().await;
    for saga in sagas {
        let name = saga.yaml().lines().next().unwrap_or_default();
        let file = format!("{}.yaml", name.trim_start_matches("saga: "));
        std::fs::write(system.dir().join(file), saga.yaml())
            .expect("the definition can be written");
    }
    system.await_served("test.effect@1").await;
    system
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_registered_run_listed_and_shown() {
    let row = Saga::named("row")
        .effect("a", "")
        .effect("b", "")
        .step("output: { key: \"${ b.key }\" }\n");
    let system = system(&[&row]).await;
    let baton = system.cli();
    baton.run(&["apply", "row.yaml"]).await.exits(0);
    baton.run(&["apply", "row.yaml"]).await.exits(0);

    let args = [
        "run",
        "row",
        "--field",
        "name=cli",
        "--label",
        "team=red",
        "--wait",
        "--timeout",
        "50",
    ];
    let ran = baton.run(&[&args[..], &["--json"]].concat()).await.exits(0);
    let saga = ran.json();
    assert_eq!(saga["status"], "completed");
    assert_eq!(saga["output"], json!({ "key": "cli-b" }));
    let id = saga["id"].as_str().expect("it has an id");
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.not_done_once("cli-a"), book.not_done_once("cli-b")),
        (None, None)
    );

    let listed = baton
        .run(&["ls", "--status", "completed", "--label", "team=red"])
        .await
        .exits(0);
    assert!(
        listed.out.contains(id) || listed.out.contains(&id[..8]),
        "{}",
        listed.out
    );
    assert!(listed.out.contains("row"), "{}", listed.out);
    let none = baton
        .run(&["ls", "--status", "parked", "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(none["sagas"], json!([]));
    let shown = baton.run(&["show", id]).await.exits(0);
    for word in ["completed", "test.effect@1", "a", "b"] {
        assert!(shown.out.contains(word), "{word} is not in\n{}", shown.out);
    }
    let shown = baton.run(&["show", id, "--json"]).await.exits(0).json();
    assert_eq!(shown["steps"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_how_a_saga_ended() {
    let fails = Saga::named("fails")
        .effect("a", "")
        .effect("b", ", fail: final");
    let sticks = Saga::named("sticks")
        .effect("a", ", fail_undo: final")
        .effect("b", ", fail: final");
    let sleeps = Saga::named("sleeps").step("  - id: z\n    sleep: 1h\n");
    let system = system(&[&fails, &sticks, &sleeps]).await;
    let baton = system.cli();
    baton
        .run(&["apply", "fails.yaml", "sticks.yaml", "sleeps.yaml"])
        .await
        .exits(0);
    let run = async |what: &str, seconds: &str| {
        let args = [
            "run",
            what,
            "--field",
            &format!("name={what}"),
            "--wait",
            "--timeout",
            seconds,
            "--json",
        ];
        baton.run(&args).await
    };
    run("fails", "50").await.exits(3);
    let parked = run("sticks", "50").await.exits(4).json();
    let id = parked["id"].as_str().expect("it has an id").to_owned();
    let asleep = run("sleeps", "1").await.exits(6);
    assert!(!asleep.out.is_empty() || !asleep.err.is_empty());

    let work = baton.run(&["work"]).await.exits(0);
    assert!(
        work.out.contains(&id) || work.out.contains(&id[..8]),
        "{}",
        work.out
    );
    baton
        .run(&["resolve", &id, "a", "--as", "undone", "-m", "by hand"])
        .await
        .exits(0);
    baton
        .run(&["show", &id, "--wait", "--timeout", "50"])
        .await
        .exits(3);
    let work = baton.run(&["work", "--json"]).await.exits(0).json();
    assert_eq!(work["work_items"], json!([]));

    let all = baton
        .run(&["ls", "--definition", "sleeps", "--json"])
        .await
        .exits(0)
        .json();
    let asleep = all["sagas"][0]["id"]
        .as_str()
        .expect("it is listed")
        .to_owned();
    baton
        .run(&["abandon", &asleep, "-m", "not wanted"])
        .await
        .exits(0);
    let shown = baton.run(&["show", &asleep, "--wait"]).await.exits(5);
    assert!(shown.out.contains("abandoned by "), "{}", shown.out);
    assert!(shown.out.contains(": not wanted"), "{}", shown.out);
    let saga = system.api.saga(&asleep).await;
    assert_eq!(saga["abandoned"]["reason"], "not wanted", "{saga}");
    assert_eq!(saga["abandoned"]["at"], saga["ended_at"], "{saga}");
    assert_eq!(system.api.saga(&id).await["abandoned"], Value::Null);
}

/// What the state does not keep is found in the log, also by whoever reads from a snapshot on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_abandoned_a_saga_that_had_left_memory_is_known() {
    let system = Setup::workers(0)
        .orchestrator("sagas.idle_ms", "1000")
        .start()
        .await;
    system
        .apply(&[&Saga::named("sleeps").step("  - { id: rest, sleep: 1h }\n")])
        .await;
    let id = system.run("sleeps", "x").await;
    let database = system.data_dir().join("baton.db");
    await_until("a snapshot of it", SOON, async || {
        let open = rusqlite::Connection::open(&database).expect("the database is there");
        let rows = open.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0));
        rows.unwrap_or(0) == 1
    })
    .await;
    let baton = system.cli();
    let given_up = ["abandon", &id, "-m", "not wanted", "--by", "anna"];
    baton.run(&given_up).await.exits(0);
    let saga = system.api.saga(&id).await;
    assert_eq!(saga["abandoned"]["reason"], "not wanted", "{saga}");
    let shown = baton.run(&["show", &id]).await.exits(0).out;
    assert!(
        shown.contains("abandoned by ") && shown.contains("anna"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_saga() {
    let row = Saga::named("row").effect("a", "");
    let system = system(&[&row]).await;
    let baton = system.cli();
    baton.run(&["apply", "row.yaml"]).await.exits(0);
    let args = [
        "run",
        "row",
        "-f",
        "name=k",
        "--key",
        "one-key",
        "--wait",
        "--timeout",
        "50",
        "--json",
    ];
    let first = baton.run(&args).await.exits(0).json();
    let again = baton.run(&args).await.exits(0).json();
    assert_eq!(first["id"], again["id"]);
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.not_done_once("k-a"), book.called_twice("k-a")),
        (None, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_said_and_nothing_is_started() {
    let system = system(&[]).await;
    let baton = system.cli();
    let wrong = "saga: wrong\nversion: 1\nsteps:\n  - id: a\n    tusk: test.echo@1\n";
    std::fs::write(system.dir().join("wrong.yaml"), wrong).expect("it can be written");
    let refused = baton.run(&["apply", "wrong.yaml"]).await.exits(1);
    assert!(
        refused.err.contains("wrong.yaml") && refused.err.contains('5'),
        "{}",
        refused.err
    );
    assert!(
        refused.err.contains("did you mean `task`?"),
        "{}",
        refused.err
    );
    baton.run(&["run", "nobody-registered-it"]).await.exits(1);
    baton
        .run(&["show", &uuid::Uuid::new_v4().to_string()])
        .await
        .exits(1);
    baton.run(&["fly"]).await.exits(2);
    let nowhere = baton
        .run(&["ls", "--url", "http://127.0.0.1:9"])
        .await
        .exits(1);
    assert!(nowhere.err.contains("127.0.0.1:9"), "{}", nowhere.err);
    let nobody = baton
        .run(&["ls", "--token", "not-the-right-token"])
        .await
        .exits(1);
    assert!(nobody.err.contains("token"), "{}", nobody.err);
    assert_eq!(system.api.sagas().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_runs_on_its_own() {
    let system = system(&[]).await;
    let baton = system.cli();
    let args = [
        "run",
        "test.effect@1",
        "--with",
        "{\"key\": \"alone\"}",
        "--wait",
        "--timeout",
        "50",
    ];
    baton.run(&args).await.exits(0);
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("alone"), None);
}

/// What failed with the input it was given is done with another, by another task where that is named; what differs is shown first, and who and why is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_has_what_is_parked_done_otherwise() {
    let saga = Saga::named("otherwise")
        .task(
            "a",
            "test.effect@1",
            ", fail: final",
            "on_error: park\n    ",
        )
        .task(
            "b",
            "test.effect@1",
            ", fail: final",
            "on_error: park\n    ",
        )
        .step("  - id: c\n    task: test.effect@1\n    with: { key: \"${ string(int(input.name)) }\" }\n    on_error: park\n")
        .step("output: { a: \"${ a.key }\", b: \"${ b.key }\", c: \"${ c.key }\" }\n");
    let system = system(&[&saga]).await;
    let baton = system.cli();
    baton.run(&["apply", "otherwise.yaml"]).await.exits(0);
    let run = [
        "run",
        "otherwise",
        "-f",
        "name=o",
        "--wait",
        "--timeout",
        "50",
        "--json",
    ];
    let parked = baton.run(&run).await.exits(4).json();
    let id = parked["id"].as_str().expect("it has an id").to_owned();
    let shown = baton.run(&["show", &id]).await.out;
    assert!(
        shown.contains("edit") && shown.contains("--set PLACE=VALUE"),
        "it is among what can be done: {shown}"
    );
    let edit = ["edit", &id, "a", "--unset", "fail", "--set", "key=other"];
    let dry = baton
        .run(&[&edit[..], &["--dry-run"]].concat())
        .await
        .exits(0);
    assert!(
        dry.out.contains("fail") && dry.out.contains("other"),
        "{dry:?}"
    );
    baton.run(&[&edit[..], &["-y"]].concat()).await.exits(2);
    let with_reason = [&edit[..], &["-m", "this site has another", "-y"]].concat();
    baton.run(&with_reason).await.exits(0);
    let wait = ["show", &id, "--wait", "--timeout", "50", "--json"];
    baton.run(&wait).await.exits(4);
    let twice = baton.run(&with_reason).await.exits(1);
    assert!(twice.err.contains("only a parked step"), "{twice:?}");
    let unfit = ["edit", &id, "b", "--input", "[1]", "-m", "why", "-y"];
    let unfit = baton.run(&unfit).await.exits(1);
    assert!(unfit.err.contains("does not fit"), "{unfit:?}");
    let rehearsed = ["edit", &id, "b", "--input", "[1]", "--dry-run"];
    let rehearsed = baton.run(&rehearsed).await.exits(1);
    assert!(rehearsed.err.contains("does not fit"), "{rehearsed:?}");
    let late = [
        "edit",
        &id,
        "b",
        "--task",
        "test.effect-late@1",
        "--input",
        "{\"key\": \"late\"}",
        "-m",
        "the other one hangs",
        "-y",
    ];
    baton.run(&late).await.exits(0);
    baton.run(&wait).await.exits(4);
    let place = ["edit", &id, "c", "--set", "key=c", "-m", "why", "-y"];
    let place = baton.run(&place).await.exits(1);
    assert!(place.err.contains("ever made ready"), "{place:?}");
    let whole = [
        "edit",
        &id,
        "c",
        "--input",
        "{\"key\": \"c\"}",
        "-m",
        "it is no number",
        "-y",
    ];
    baton.run(&whole).await.exits(0);
    let saga = baton.run(&wait).await.exits(0).json();
    assert_eq!(
        saga["output"],
        json!({ "a": "other", "b": "late", "c": "c" })
    );
    let records = baton.run(&["show", &id, "--records"]).await.exits(0).out;
    for reason in ["this site has another", "the other one hangs"] {
        assert!(records.contains(reason), "{reason:?} is not in\n{records}");
    }
    let audit = baton
        .run(&["audit", "ls", "--action", "editStep", "--json"])
        .await
        .exits(0)
        .out;
    assert!(audit.contains("this site has another"), "{audit}");
}

/// Tries a step again, goes on without one, says that one was done by hand, and says that a notice was seen: each succeeds, and is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_brings_what_is_parked_to_its_end() {
    const ONCE_IN_VAIN: &str = "  - id: a\n    task: test.effect@1\n    with: { key: \"${ input.name }-a\", fail_until_attempt: 2 }\n    retry: { attempts: 1 }\n    on_error: park\n";
    const PARKS: &str = "on_error: park\n    timeout: 30s\n    ";
    let parks = Saga::named("parks")
        .step(ONCE_IN_VAIN)
        .task("b", "test.effect@1", ", fail: final", PARKS)
        .task("c", "test.effect@1", ", fail: final", PARKS)
        .step("output: { key: \"${ c.key }\" }\n");
    let past = Saga::named("past")
        .task(
            "a",
            "test.effect@1",
            "",
            "pivot: true\n    timeout: 30s\n    ",
        )
        .step("  - id: rest\n    sleep: 1h\n");
    let system = system(&[&parks, &past]).await;
    let baton = system.cli();
    baton
        .run(&["apply", "parks.yaml", "past.yaml"])
        .await
        .exits(0);

    let run = [
        "run",
        "parks",
        "-f",
        "name=p",
        "--wait",
        "--timeout",
        "50",
        "--json",
    ];
    let parked = baton.run(&run).await.exits(4).json();
    let id = parked["id"].as_str().expect("it has an id").to_owned();
    let wait = ["show", &id, "--wait", "--timeout", "50", "--json"];
    let phase = |saga: &Value, step: &str| {
        let steps = saga["steps"].as_array().expect("it has steps");
        let step = steps.iter().find(|one| one["id"] == step);
        step.expect("it has the step")["phase"].clone()
    };
    baton
        .run(&["retry", &id, "a", "-m", "the disk is free again", "--yes"])
        .await
        .exits(0);
    let saga = baton.run(&wait).await.exits(4).json();
    assert_eq!(
        (phase(&saga, "a"), phase(&saga, "b")),
        (json!("succeeded"), json!("parked"))
    );
    baton
        .run(&["skip", &id, "b", "-m", "not needed today", "--yes"])
        .await
        .exits(0);
    let saga = baton.run(&wait).await.exits(4).json();
    assert_eq!(
        (phase(&saga, "b"), phase(&saga, "c")),
        (json!("skipped"), json!("parked"))
    );
    let by_hand = [
        "resolve",
        &id,
        "c",
        "--as",
        "done",
        "-m",
        "done by hand",
        "--yes",
        "--output",
        "{\"key\":\"by hand\"}",
    ];
    baton.run(&by_hand).await.exits(0);
    let saga = baton.run(&wait).await.exits(0).json();
    assert_eq!(saga["output"], json!({ "key": "by hand" }));
    let records = baton.run(&["show", &id, "--records"]).await.exits(0).out;
    for reason in ["the disk is free again", "not needed today", "done by hand"] {
        assert!(records.contains(reason), "{reason:?} is not in\n{records}");
    }

    let past = baton
        .run(&["run", "past", "-f", "name=q", "--json"])
        .await
        .exits(0)
        .json();
    let id = past["id"].as_str().expect("it has an id").to_owned();
    await_until("the pivot", SOON, async || {
        let saga = baton.run(&["show", &id, "--json"]).await.exits(0).json();
        phase(&saga, "a") == "succeeded"
    })
    .await;
    baton
        .run(&["cancel", &id, "-m", "wrong site", "--yes"])
        .await
        .exits(0);
    let open = baton.run(&["work", "ls", "--json"]).await.exits(0).out;
    assert!(open.contains("cancel-after-pivot"), "{open}");
    baton.run(&["acknowledge", &id, "1"]).await.exits(0);
    let open = baton.run(&["work", "ls", "--json"]).await.exits(0).out;
    assert!(!open.contains("cancel-after-pivot"), "{open}");
}
