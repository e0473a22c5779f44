//! A step that is done for each of a thousand items, through the real broker, while workers and orchestrator are killed: every effect once, or
//! done and taken back; and what people are shown of it stays small.

use std::time::Duration;

use baton_harness::await_until;
use baton_harness::ledger::State;
use baton_it::oracle::Book;
use baton_it::{Setup, System};
use serde_json::{Value, json};

/// How long a thousand items may take on a machine that has other things to do, killed processes included.
const END_LIMIT: Duration = Duration::from_secs(400);
/// How long an orchestrator that was killed may take to be back.
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// The most bytes of what a saga with a fan-out is shown as, its input left aside.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// A definition that does `test.effect@1` for each number of its input, under the key `<name>-<number>`.
fn fan(name: &str, keys: &str, with: &str, more: &str) -> String {
    format!(
        "saga: {name}\nversion: 1\ninput:\n  type: object\n  required: [name, items]\n  properties: {{ name: {{ type: string }}, items: {{ type: array, maxItems: 1000, items: {{ type: integer }} }} }}\nsteps:\n  - id: fan\n    task: test.effect@1\n    for_each: ${{ input.items }}\n    max_parallel: 32\n{keys}    with: {{ key: \"${{ input.name }}-${{ item }}\"{with} }}\n    timeout: 30s\n    heartbeat: 4s\n    retry: {{ attempts: 10, backoff: 100ms, factor: 2, max: 1s }}\n{more}"
    )
}

async fn started(system: &System, definition: &str, items: u32) -> String {
    let items: Vec<u32> = (0..items).collect();
    let input = json!({ "name": "n", "items": items });
    system.api.start(definition, &input, "n").await
}

/// The step's items, counted.
async fn counts(system: &System, id: &str) -> Value {
    let saga = system.api.saga(id).await;
    saga["steps"][0]["fan"].clone()
}

async fn done_beyond(system: &System, id: &str, wanted: u64) {
    await_until("so many items to be done", END_LIMIT, async || {
        counts(system, id).await["done"].as_u64() >= Some(wanted)
    })
    .await;
}

/// Kills the orchestrator, and waits until it is back.
async fn kill_orchestrator(system: &mut System) {
    let url = system.api.url().to_owned();
    let (orchestrator, _) = system.processes();
    orchestrator.kill9();
    orchestrator.start_again();
    orchestrator
        .wait_for_http(&format!("{url}/healthz"), BACK_LIMIT)
        .await;
}

fn kill_worker(system: &mut System, which: usize) {
    system.workers[which].kill9();
    system.workers[which].start_again();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_worker_and_orchestrator_over_a_thousand_items_and_each_is_done_once() {
    const ITEMS: u32 = 1_000;
    let mut system = Setup::workers(2).start().await;
    system.await_served("test.effect@1").await;
    system
        .api
        .apply(&fan(
            "all",
            "",
            "",
            "output: { done: \"${ fan.filter(x, x != null).size() }\" }\n",
        ))
        .await;
    let id = started(&system, "all", ITEMS).await;
    done_beyond(&system, &id, 150).await;
    kill_worker(&mut system, 0);
    done_beyond(&system, &id, 300).await;
    kill_orchestrator(&mut system).await;
    done_beyond(&system, &id, 500).await;
    let shown = bounded(&system, &id, ITEMS).await;
    assert_eq!(shown["phase"], "fanned-out");
    kill_worker(&mut system, 1);
    kill_orchestrator(&mut system).await;

    let ended = system.api.await_status(&id, "completed", END_LIMIT).await;
    assert_eq!(ended["output"], json!({ "done": ITEMS }));
    let book = Book::of(&system.ledger).await;
    let wrong: Vec<String> = (0..ITEMS)
        .filter_map(|n| book.not_done_once(&format!("n-{n}")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of them: {}",
        wrong.len(),
        wrong.join("\n")
    );
    bounded(&system, &id, ITEMS).await;
    paged(&system, &id, ITEMS).await;
}

/// One too many fails when some hundreds are done: all of them are taken back, whoever is killed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_hundreds_of_items_are_taken_back_and_none_is_left() {
    const ITEMS: u32 = 300;
    let mut system = Setup::workers(2).start().await;
    system.await_served("test.effect@1").await;
    // two fail early and are tolerated, the third one does not
    let fail = ", fail: \"${ item in [3, 7, 250] ? 'final' : null }\"";
    system
        .api
        .apply(&fan("most", "    tolerate: 2\n", fail, ""))
        .await;
    let id = started(&system, "most", ITEMS).await;
    done_beyond(&system, &id, 100).await;
    kill_worker(&mut system, 0);
    await_until("some items to be undone", END_LIMIT, async || {
        counts(&system, &id).await["undone"].as_u64() >= Some(20)
    })
    .await;
    kill_orchestrator(&mut system).await;
    kill_worker(&mut system, 1);

    let ended = system.api.await_status(&id, "compensated", END_LIMIT).await;
    assert_eq!(ended["unwinding"]["step-failed"]["step"], "fan[250]");
    let book = Book::of(&system.ledger).await;
    let wrong: Vec<String> = (0..ITEMS)
        .filter_map(|n| book.not_taken_back(&format!("n-{n}")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of them: {}",
        wrong.len(),
        wrong.join("\n")
    );
    for n in [3, 7, 250] {
        assert_eq!(book.ever_done(&format!("n-{n}")), None);
    }
}

/// What is tolerated stays undone while the rest stands, and an operator's action is about one item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_asks_a_person_is_named_as_expressions_name_it() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let fail = ", fail: \"${ item in [1, 4] ? 'final' : null }\"";
    system
        .api
        .apply(&fan(
            "asks",
            "    tolerate: 1\n    on_error: park\n",
            fail,
            "",
        ))
        .await;
    let id = started(&system, "asks", 6).await;
    let parked = system.api.await_status(&id, "parked", END_LIMIT).await;
    // the one of the two that fails first is tolerated, whichever that is
    let asked = parked["work_items"][0]["step"].as_str().unwrap_or_default();
    let tolerated = if asked == "fan[4]" {
        "fan[1]"
    } else {
        "fan[4]"
    };
    let first = &parked["steps"][0]["fan"]["first"];
    assert_eq!(
        (&first[0]["id"], &first[1]["id"]),
        (&json!(asked), &json!(tolerated))
    );
    assert!(["fan[1]", "fan[4]"].contains(&asked), "{parked}");
    let cli = system.cli();
    let shown = cli.run(&["show", &id]).await.exits(0);
    assert!(
        shown.out.contains(asked) && shown.out.contains("6 items: 4 done"),
        "{}",
        shown.out
    );
    let listed = cli
        .run(&["show", &id, "--items", "fan", "--json"])
        .await
        .exits(0);
    assert_eq!(listed.out.lines().count(), 6, "{}", listed.out);
    cli.run(&["skip", &id, asked, "-m", "not that one", "--yes"])
        .await
        .exits(0);
    let ended = system.api.await_status(&id, "completed", END_LIMIT).await;
    let output = &ended["steps"][0]["output"];
    let nulls: Vec<bool> = output
        .as_array()
        .expect("a list")
        .iter()
        .map(Value::is_null)
        .collect();
    assert_eq!(nulls, [false, true, false, false, true, false]);
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.effect("n-0").state, State::Applied);
    assert_eq!(book.ever_done("n-1"), None);
}

/// However many items there are, what is shown of them is of one size.
async fn bounded(system: &System, id: &str, items: u32) -> Value {
    let mut saga = system.api.saga(id).await;
    saga["input"] = Value::Null;
    let bytes = saga.to_string().len();
    assert!(bytes < SHOWN_BYTES_MAX, "{bytes} bytes: {saga}");
    assert_eq!(saga["steps"][0]["fan"]["items"], items);
    saga["steps"][0].clone()
}

/// Every item is there, page by page.
async fn paged(system: &System, id: &str, items: u32) {
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/sagas/{id}/steps/fan/items?limit=300{after}");
        let page = system.api.get(&path).await;
        let rows = page["items"].as_array().cloned().unwrap_or_default();
        seen.extend(rows.into_iter().map(|row| row["id"].clone()));
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let wanted: Vec<Value> = (0..items).map(|n| json!(format!("fan[{n}]"))).collect();
    assert_eq!(seen, wanted);
}
