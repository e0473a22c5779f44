//! What waits for a person, through every real part: it is shown with what was tried and what can be done, and each of that is done, to the end, while the branches that do not
//! depend on it go on.

use baton_harness::await_until;
use baton_harness::ledger::State;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

async fn system() -> System {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    system
}

/// The number of the open work item of a step.
async fn number(system: &System, saga: &str, step: &str) -> u64 {
    let saga = system.api.saga(saga).await;
    let items = saga["work_items"].as_array().expect("a list of them");
    let found = items.iter().find(|item| item["step"] == step);
    found.unwrap_or_else(|| panic!("no item of {step}: {items:?}"))["number"]
        .as_u64()
        .expect("items are numbered")
}

/// An open work item, whole.
async fn detail(system: &System, saga: &str, step: &str) -> Value {
    let number = number(system, saga, step).await;
    let path = format!("/v1/sagas/{saga}/work-items/{number}");
    system.api.get(&path).await
}

/// The command of a choice, which has to be possible.
fn command(detail: &Value, choice: &str) -> String {
    let offers = detail["choices"].as_array().expect("a list of them");
    let offer = offers.iter().find(|one| one["choice"] == choice);
    let offer = offer.unwrap_or_else(|| panic!("{choice} is not offered: {offers:?}"));
    assert_eq!(offer["refused"], Value::Null, "{offer}");
    offer["command"].as_str().expect("it is text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_undo_is_edited_substituted_or_resolved_by_hand_while_others_go_on() {
    let system = system().await;
    let fork = "after: [first]\n    timeout: 30s\n    ";
    let edited = "  - id: edited\n    task: test.effect@1\n    after: [first]\n    with: { key: \"${ input.name }-edited\" }\n    undo: { task: test.effect@1, with: { key: \"${ input.name }-back\", fail: final } }\n";
    let saga = Saga::named("asks")
        .effect("first", "")
        .step(edited)
        .task("other", "test.effect@1", ", fail_undo: final", fork)
        .task("by_hand", "test.effect@1", ", fail_undo: final", fork)
        .task("beside", "test.effect@1", "", fork)
        .task(
            "fails",
            "test.effect@1",
            ", fail: final",
            "after: [edited, other, by_hand, beside]\n    timeout: 30s\n    ",
        );
    system.apply(&[&saga]).await;
    let id = system.run("asks", "n").await;
    for step in ["edited", "other", "by_hand"] {
        system.api.await_phase(&id, step, "undo-parked").await;
    }
    system.api.await_phase(&id, "beside", "undone").await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.effect("n-beside").state, State::Reverted);
    assert_eq!(book.effect("n-first").state, State::Applied, "it waits");

    let shown = detail(&system, &id, "edited").await;
    assert_eq!(shown["meanwhile"]["other_items"], 2, "{shown}");
    let last = shown["tried"]["attempts"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(
        (&last["direction"], &last["outcome"]),
        (&json!("undo"), &json!("failed")),
        "{shown}"
    );
    let input = shown["inputs"].as_array().unwrap().last().unwrap();
    assert_eq!(input["input"], json!({ "key": "n-back", "fail": "final" }));
    let typed = command(&shown, "edit");
    assert!(
        typed.starts_with(&format!("baton edit {id} edited")),
        "{typed}"
    );
    let seen = json!({ "phase": "undo-parked", "attempt": 1 });

    let cli = system.cli();
    let words = [
        "edit", &id, "edited", "--unset", "/fail", "-m", "a typo", "-y",
    ];
    cli.run(&words).await.exits(0);
    system.api.await_phase(&id, "edited", "undone").await;
    let stale = json!({ "reason": "late", "unset": ["/fail"], "seen": seen });
    let refused = system.api.act(&id, "steps/edited/edit", stale).await;
    assert_eq!(refused.status, 409, "{}", refused.body);

    let shown = detail(&system, &id, "other").await;
    command(&shown, "substitute");
    let offers = shown["choices"].as_array().unwrap();
    let by_itself = offers.iter().all(|one| one["choice"] != "edit");
    assert!(by_itself, "its own automation undoes it: {offers:?}");
    let words = [
        "edit",
        &id,
        "other",
        "--task",
        "test.effect-late@1",
        "--input",
        "{\"key\":\"n-instead\"}",
        "-m",
        "the other way",
        "-y",
    ];
    cli.run(&words).await.exits(0);
    system.api.await_phase(&id, "other", "undone").await;

    let typed = command(&detail(&system, &id, "by_hand").await, "resolve-undone");
    assert_eq!(
        typed,
        format!("baton resolve {id} by_hand --as undone -m WHY")
    );
    let words = [
        "resolve",
        &id,
        "by_hand",
        "--as",
        "undone",
        "-m",
        "took it back by hand, ticket 7",
        "-y",
    ];
    cli.run(&words).await.exits(0);
    system.api.await_status(&id, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["n-back", "n-instead"] {
        assert_eq!(book.not_done_once(key), None, "another task undid it");
    }
    assert_eq!(book.effect("n-first").state, State::Reverted);
    let records = system.api.records(&id).await;
    for word in ["a typo", "the other way", "ticket 7"] {
        assert!(records.contains(word), "{word} stands in no record");
    }
    let gone = format!("/v1/sagas/{id}/work-items/1");
    let gone = system.api.ask_patiently("GET", &gone, "", None).await;
    assert_eq!(gone.status, 404, "{}", gone.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_step_is_shown_with_its_inputs_covered_and_each_edit_of_it() {
    let system = system().await;
    let saga = Saga::named("parks")
        .step("  - id: a\n    task: test.effect@1\n    with: { key: \"${ input.name }-a\", fail: final, value: { port: 1 } }\n    on_error: park\n")
        .step("  - id: beside\n    task: test.effect@1\n    after: []\n    with: { key: \"${ input.name }-beside\" }\n");
    system.apply(&[&saga]).await;
    let id = system.run("parks", "n").await;
    system.api.await_phase(&id, "a", "parked").await;
    system.api.await_phase(&id, "beside", "succeeded").await;
    let cli = system.cli();
    // it fails again, and that is seen
    let again = [
        "edit",
        &id,
        "a",
        "--set",
        "/value/port=2",
        "--set",
        "/value/password=hunter2",
        "-m",
        "the port",
        "-y",
    ];
    cli.run(&again).await.exits(0);
    await_until("it to park again", SOON, async || {
        let saga = system.api.saga(&id).await;
        saga["work_items"][0]["number"] == 2
    })
    .await;

    let shown = detail(&system, &id, "a").await;
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let inputs = shown["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 2, "{shown}");
    assert_eq!(
        inputs[1]["input"]["value"],
        json!({ "password": "***", "port": 2 })
    );
    let difference = inputs[1]["difference"].as_str().unwrap();
    assert!(difference.contains("port"), "{difference}");
    let decided = &shown["decisions"][0];
    assert_eq!(
        (&decided["action"], &decided["reason"], &decided["round"]),
        (&json!("edit"), &json!("the port"), &json!(2))
    );
    assert_eq!(shown["errors"][0]["times"], 2, "{shown}");
    assert_eq!(shown["tried"]["attempts"].as_array().unwrap().len(), 2);

    let text = cli.run(&["work", "show", &id]).await.exits(0).out;
    for words in ["baton edit", "--task", "do 1 of round 2", "the port", "***"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let list = cli.run(&["work", "ls"]).await.exits(0).out;
    assert!(list.lines().count() < 8, "it stays a list: {list}");

    let done = ["edit", &id, "a", "--unset", "/fail", "-m", "now", "-y"];
    cli.run(&done).await.exits(0);
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("n-a"), None);
}
