//! What was on its way when an orchestrator died, or has nowhere to go: each comes to an end, and keeps nothing else from its own.

use baton_it::poison::Poison;

use super::*;

/// A message of others that goes to this queue, as a letter.
async fn goes_to(system: &System, queue: &str, n: usize) {
    let headers = json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": queue, "baton-dead-queue": queue });
    let properties = json!({ "message_id": format!("m{n}"), "headers": headers });
    put(system, "baton.dead", properties, b"{}").await;
}

async fn begun(system: &System) -> String {
    let asked = json!({ "reason": "go", "wait_s": 0, "rate": 100 });
    let begun = post(system, "replays", asked).await;
    let id = begun.body["operation"]["id"].as_str();
    id.expect("an id").to_owned()
}

/// The operation, once it stands so and says that it waits for something to take what goes there.
async fn waits_for(system: &System, operation: &str, place: &str) -> Value {
    let path = format!("/v1/dead-letters/operations/{operation}");
    let what = format!("it to wait for {place}");
    await_some(&what, SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        assert_eq!(now["state"], "running", "{now}");
        let why = now["why"].as_str().unwrap_or_default();
        (why.starts_with("it waits") && why.contains(place)).then_some(now)
    })
    .await
}

async fn is_done(system: &System, operation: &str) -> Value {
    let path = format!("/v1/dead-letters/operations/{operation}");
    await_some("it to be done", SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        (now["state"] == "done").then_some(now)
    })
    .await
}

/// Ends the orchestrator, and leaves all letters as a crash does: nobody has written down whether they were sent.
fn dies_over_all(system: &mut System, operation: &str) -> Poison {
    system.end_orchestrator();
    let poison = Poison::of(system);
    let of = poison.id(operation);
    poison.sql(&format!(
        "UPDATE dead_letters SET state = 'replaying', replays = replays + 1, changed_at = 1, changed_by = 'ann', why = 'go', action = {of}, operation = {of}, stage = 0"
    ));
    poison
}

/// Nobody waits for what a cancelled replay has left on its way to where nothing is taken: it may have been delivered before, which is said, and a person decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_and_cancel_over_a_queue_that_is_gone_and_nothing_stays_on_its_way() {
    const COUNT: usize = 3;
    let mut system = Setup::workers(0).start().await;
    for n in 0..COUNT {
        goes_to(&system, "gone", n).await;
    }
    letters(&system, "state=dead", COUNT).await;
    let operation = begun(&system).await;
    waits_for(&system, &operation, "gone").await;
    dies_over_all(&mut system, &operation);
    system.orchestrator();
    system.await_ready().await;
    let path = format!("operations/{operation}/cancel");
    let cancelled = post(&system, &path, json!({ "reason": "not today" })).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    for letter in letters(&system, "state=dead", COUNT).await {
        let outcome = letter["outcome"].as_str().unwrap_or_default();
        assert!(
            outcome.contains("no queue takes it") && outcome.contains("may have been delivered"),
            "{letter}"
        );
    }
}

/// A canary that was on its way when its orchestrator died, to where nothing is taken, says nothing of the others: it is waited for, and goes when something takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_over_a_canary_that_nothing_takes_and_it_is_waited_for() {
    let mut system = Setup::workers(0).start().await;
    goes_to(&system, "gone", 1).await;
    letters(&system, "state=dead", 1).await;
    let operation = begun(&system).await;
    waits_for(&system, &operation, "gone").await;
    let poison = dies_over_all(&mut system, &operation);
    let of = poison.id(&operation);
    poison.sql(&format!(
        "UPDATE dead_operations SET body = json_set(body, '$.in_stage.replayed', 1, '$.total.replayed', 1, '$.why', '') WHERE id = {of}"
    ));
    system.orchestrator();
    system.await_ready().await;
    waits_for(&system, &operation, "gone").await;
    system.vhost.declare("gone", "quorum").await;
    let done = is_done(&system, &operation).await;
    assert_eq!(
        (&done["published"], &done["failed"]),
        (&json!(1), &json!(0)),
        "{done}"
    );
    assert_eq!(numbers(&taken(&system, "gone").await), [1]);
}

/// So many places are waited for; what goes to one more stays dead, which is said, and what goes elsewhere goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_to_one_missing_queue_too_many_stays_dead_and_the_others_go_on() {
    /// Places that are held at a time.
    const HELD: usize = 64;
    const MORE: usize = 2;
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..HELD + MORE {
        goes_to(&system, &format!("gone-{n}"), n).await;
    }
    letters(&system, "state=dead", HELD + MORE).await;
    goes_to(&system, "orders", 1_000).await;
    letters(&system, "state=dead", HELD + MORE + 1).await;
    let operation = begun(&system).await;
    let now = waits_for(&system, &operation, "other places").await;
    assert_eq!(
        (&now["published"], &now["refused"], &now["failed"]),
        (&json!(1), &json!(MORE), &json!(0)),
        "{now}"
    );
    assert_eq!(numbers(&taken(&system, "orders").await), [1_000]);
    let of = format!("operation={operation}&state=dead");
    let left = letters(&system, &of, MORE).await;
    assert_eq!(left.len(), MORE, "the others are waited for: {left:?}");
    for letter in left {
        let outcome = letter["outcome"].as_str().unwrap_or_default();
        assert!(outcome.contains("waits for 64 other places"), "{letter}");
        assert_eq!(letter["replays"], 0, "it was not sent: {letter}");
    }
}
