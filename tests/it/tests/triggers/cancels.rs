//! Triggers that cancel: what an event says is over is taken back while it can be, that and nothing else, and once.

use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::poison::Poison;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

use super::{hooks, kept, nothing_left, structured, text};

const REASON: &str = "the alarm is over";

/// An effect, a wait for what lets it go on, and another effect; started by an alarm of a host, and cancelled when that is over. `keys`: of the first
/// effect.
fn treats(name: &str, keys: &str) -> Saga {
    let keys = format!("{keys}timeout: 30s\n    ");
    let on = format!(
        "on:
  - event: com.example.{name}
    when: ${{ event.data.status == \"firing\" }}
    input: {{ name: \"${{ event.data.host }}\" }}
    key: ${{ event.data.host }}
    window: 1h
  - event: com.example.{name}
    when: ${{ event.data.status == \"resolved\" }}
    key: ${{ event.data.host }}
    cancel: {REASON}
"
    );
    Saga::named(name)
        .task("a", "test.effect@1", "", &keys)
        .step("  - id: held\n    wait: { event: com.example.on, when: \"${ event.data.host == input.name }\", timeout: 2h }\n")
        .effect("b", "")
        .step(&on)
}

async fn begun(sagas: &[&Saga]) -> System {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.apply(sagas).await;
    system
}

/// An alarm of a host begins, and its saga has come to its wait; which it is.
async fn fires(system: &System, id: &str, name: &str, host: &str) -> String {
    says(system, id, name, host, "firing");
    let shown = kept(system, id).await;
    assert_eq!(shown["effects"][0]["what"], "started", "{shown}");
    let saga = text(&shown["effects"][0]["saga"]);
    system.api.await_phase(&saga, "held", "listening").await;
    saga
}

fn says(system: &System, id: &str, name: &str, host: &str, status: &str) {
    let data = json!({ "host": host, "status": status });
    structured(system, id, &format!("com.example.{name}"), &data);
}

/// An alarm is over; the one thing that came of it.
async fn is_over(system: &System, id: &str, name: &str, host: &str) -> Value {
    says(system, id, name, host, "resolved");
    only_effect(&kept(system, id).await)
}

fn only_effect(shown: &Value) -> Value {
    let effects = shown["effects"].as_array().cloned().unwrap_or_default();
    assert_eq!(effects.len(), 1, "{shown}");
    effects[0].clone()
}

/// How often a saga was cancelled.
async fn cancels(system: &System, saga: &str) -> usize {
    let records = system.api.records(saga).await;
    records.matches("\"action\":\"cancel\"").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_before_its_pivot_is_taken_back_and_no_other() {
    let system = begun(&[&treats("treat", "")]).await;
    let first = fires(&system, "a1", "treat", "one").await;
    let other = fires(&system, "b1", "treat", "two").await;

    says(&system, "a2", "treat", "one", "resolved");
    let asked = is_over(&system, "a2", "treat", "one").await;
    assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
    assert_eq!(
        (text(&asked["saga"]), &asked["key"]),
        (first.clone(), &json!("one"))
    );
    assert_eq!(asked["reason"], REASON, "{asked}");
    assert_eq!(asked["trigger"]["trigger"], 1, "{asked}");
    // said once more, under another id: it is being taken back, or has been
    let again = is_over(&system, "a3", "treat", "one").await;
    assert_eq!(again["what"], "nothing-to-cancel", "{again}");
    assert_eq!(text(&again["saga"]), first, "{again}");
    system.api.await_status(&first, "compensated", SOON).await;
    let records = system.api.records(&first).await;
    assert!(
        records.contains("event com.example.treat/a2 of /test"),
        "{records}"
    );
    assert!(records.contains(REASON), "{records}");
    assert_eq!(cancels(&system, &first).await, 1);

    // nothing to cancel: it has ended, and of that host there never was one
    let ended = is_over(&system, "a4", "treat", "one").await;
    assert!(text(&ended["why"]).contains("has ended"), "{ended}");
    let unknown = is_over(&system, "n1", "treat", "nobody").await;
    assert_eq!(unknown["what"], "nothing-to-cancel", "{unknown}");
    assert_eq!(unknown["saga"], Value::Null, "{unknown}");

    structured(&system, "g1", "com.example.on", &json!({ "host": "two" }));
    system.api.await_status(&other, "completed", SOON).await;
    assert_eq!(cancels(&system, &other).await, 0);
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_taken_back("one-a"), None);
    assert_eq!(book.ever_done("one-b"), None);
    for key in ["two-a", "two-b"] {
        assert_eq!(book.not_done_once(key), None);
    }
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
    nothing_left(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_after_its_pivot_goes_on_and_a_person_is_told() {
    let system = begun(&[&treats("forward", "pivot: true\n    ")]).await;
    let saga = fires(&system, "p1", "forward", "one").await;
    let asked = is_over(&system, "p2", "forward", "one").await;
    assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
    assert_eq!(cancels(&system, &saga).await, 1);
    let items = system.api.work_items().await;
    assert_eq!(items.len(), 1, "{items:?}");
    let item = &items[0]["item"];
    assert_eq!(item["kind"], "cancel-after-pivot", "{items:?}");
    structured(&system, "p3", "com.example.on", &json!({ "host": "one" }));
    system.api.await_status(&saga, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["one-a", "one-b"] {
        assert_eq!(book.not_done_once(key), None);
    }
}

/// It is killed where the saga is cancelled and nobody has written down that the event is done: it is carried out again, which is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_between_a_cancel_and_its_event_and_it_is_cancelled_once() {
    let mut system = begun(&[&treats("treat", "")]).await;
    let saga = fires(&system, "a1", "treat", "one").await;
    system.orchestrator().process.kill9();
    let poison = Poison::of(&system);
    poison.sql(
        "CREATE TRIGGER never_done AFTER UPDATE ON events WHEN NEW.id = 'a2' AND NEW.done = 1 BEGIN SELECT count(*) FROM endless; END",
    );
    system.orchestrator().process.start_again();
    system.await_ready().await;
    says(&system, "a2", "treat", "one", "resolved");
    poison.kills(&mut system).await;
    poison.sql("DROP TRIGGER never_done");
    system.orchestrator().process.start_again();
    system.await_ready().await;
    let asked = only_effect(&kept(&system, "a2").await);
    assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
    system.api.await_status(&saga, "compensated", SOON).await;
    assert_eq!(cancels(&system, &saga).await, 1);
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_taken_back("one-a"), None);
    assert_eq!(book.ever_done("one-b"), None);
    nothing_left(&system).await;
}

/// It is killed where the event is kept and its saga has not been asked yet: whoever starts next asks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_a_cancel_that_is_kept_and_it_is_done_at_the_next_start() {
    let mut system = begun(&[&treats("treat", "")]).await;
    let saga = fires(&system, "a1", "treat", "one").await;
    system.orchestrator().process.kill9();
    let poison = Poison::of(&system);
    let id = poison.id(&saga);
    let when = format!(
        "NEW.saga = (SELECT number FROM sagas WHERE id = {id}) AND NEW.entry LIKE '%\"cancel\"%'"
    );
    poison.on_insert("records", &when).await;
    system.orchestrator().process.start_again();
    system.await_ready().await;
    says(&system, "a2", "treat", "one", "resolved");
    poison.kills(&mut system).await;
    poison.sql("DROP TRIGGER poison_of_records");
    system.orchestrator().process.start_again();
    await_until("the saga to be taken back", SOON, async || {
        system.api.status(&saga).await == "compensated"
    })
    .await;
    let asked = only_effect(&kept(&system, "a2").await);
    assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
    assert_eq!(cancels(&system, &saga).await, 1);
    nothing_left(&system).await;
}

/// Calls the hook of alarms, signed as this secret signs.
async fn calls(system: &System, secret: &str, host: &str, status: &str) -> String {
    let body = json!({ "host": host, "status": status }).to_string();
    let headers = hooks::github_by(secret, &format!("{host}-{status}"), &body);
    let (code, answer) = hooks::call(system, "alarm", &headers, &body).await;
    assert_eq!(code, 202, "{answer}");
    text(&answer["event"]["id"])
}

/// What came of a call.
async fn came_of(system: &System, id: &str) -> Value {
    let path = format!("/v1/events/one?source=/v1/hooks/alarm&id={id}");
    await_some("a call to be taken in", SOON, async || {
        let answer = system.api.ask("GET", &path, "", None).await?;
        (answer.status == 200 && answer.body["done"] == true).then_some(answer.body)
    })
    .await
}

/// Waits for what never comes; started and cancelled by calls that this secret signed.
fn watches(name: &str, secret: &str) -> String {
    let hook = format!("  - hook: alarm\n    secret: {secret}\n");
    format!(
        "saga: {name}
version: 1
on:
{hook}    when: ${{ event.data.status == \"firing\" }}
    input: {{ host: \"${{ string(event.data.host) }}\" }}
    key: ${{ string(event.data.host) }}
    window: 1h
{hook}    when: ${{ event.data.status == \"resolved\" }}
    key: ${{ string(event.data.host) }}
    cancel: {REASON}
input:
  type: object
  required: [host]
  properties: {{ host: {{ type: string }} }}
steps:
  - id: held
    wait: {{ event: com.example.on, timeout: 2h }}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_call_cancels_what_calls_of_its_own_secret_started_and_nothing_else() {
    let secrets = ["ours-for-tests-only", "others-for-tests-only"];
    let files = secrets.map(|secret| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), secret).expect("it is written");
        file
    });
    let path = |at: usize| files[at].path().to_string_lossy().into_owned();
    let system = Setup::workers(0)
        .orchestrator("hooks.ours.secret_file", &path(0))
        .orchestrator("hooks.ours.scheme", "github")
        .orchestrator("hooks.others.secret_file", &path(1))
        .orchestrator("hooks.others.scheme", "github")
        .start()
        .await;
    for name in ["ours", "others"] {
        system.api.apply(&watches(name, name)).await;
    }
    let fired = calls(&system, secrets[0], "one", "firing").await;
    let shown = came_of(&system, &fired).await;
    let started = only_effect(&shown);
    assert_eq!(started["what"], "started", "{started}");
    let saga = text(&started["saga"]);
    assert_eq!(system.api.saga(&saga).await["definition"], "ours");
    system.api.await_phase(&saga, "held", "listening").await;

    // it says the same of the same host, and another secret signed it
    let other = json!({ "host": "one", "status": "resolved", "by": "others" }).to_string();
    let headers = hooks::github_by(secrets[1], "by-others", &other);
    let (code, answer) = hooks::call(&system, "alarm", &headers, &other).await;
    assert_eq!(code, 202, "{answer}");
    let other = came_of(&system, &text(&answer["event"]["id"])).await;
    let nothing = only_effect(&other);
    assert_eq!(nothing["what"], "nothing-to-cancel", "{nothing}");
    assert_eq!(nothing["trigger"]["definition"], "others", "{nothing}");
    assert_eq!(cancels(&system, &saga).await, 0);

    // the same delivery twice is the same event, and cancels once
    let first = calls(&system, secrets[0], "one", "resolved").await;
    let again = calls(&system, secrets[0], "one", "resolved").await;
    assert_eq!(first, again);
    let asked = only_effect(&came_of(&system, &first).await);
    assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
    assert_eq!(
        (text(&asked["saga"]), &asked["reason"]),
        (saga.clone(), &json!(REASON))
    );
    system.api.await_status(&saga, "compensated", SOON).await;
    assert_eq!(cancels(&system, &saga).await, 1);
    let records = system.api.records(&saga).await;
    assert!(records.contains("event hook.alarm/"), "{records}");
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
}
