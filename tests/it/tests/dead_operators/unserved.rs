//! Tasks that would only wait: for a worker nobody has started, or for a step that has moved on.

use std::time::{Duration, Instant};

use super::*;

/// So long an orchestrator has to have heard its fleet before anybody's silence says that he is gone: whoever left before it began may still be starting anew.
const UNTOLD: Duration = Duration::from_secs(180);
const QUEUE: &str = "baton.task.default.test.effect@1";

/// The last worker dies without a word.
async fn no_worker(system: &mut System) {
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(QUEUE, 0, SOON).await;
}

/// A task of this saga that no worker has had is dead, and its step parked.
async fn given_up(system: &System, saga: &str) -> String {
    system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
    let task = system.vhost.take(QUEUE, 1).await.remove(0);
    let mut properties = task.properties;
    properties["headers"]["baton-dead-reason"] = "misfit".into();
    properties["headers"]["baton-dead-queue"] = QUEUE.into();
    put(system, "baton.dead", properties, task.payload.as_bytes()).await;
    system.api.await_phase(saga, "a", "parked").await;
    let letter = letters(system, &format!("state=dead&saga={saga}"), 1).await;
    id(&letter[0]).to_owned()
}

async fn plan(system: &System, body: Value) -> Value {
    let planned = post(system, "replays", body).await;
    assert_eq!(planned.status, 200, "{planned:?}");
    planned.body["plan"].clone()
}

async fn operation(system: &System, body: Value, state: &str) -> Value {
    let begun = post(system, "replays", body).await;
    let id = begun.body["operation"]["id"].as_str().expect("an id");
    let path = format!("/v1/dead-letters/operations/{id}");
    await_some(&format!("the replay to be {state}"), SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        (now["state"] == state).then_some(now)
    })
    .await
}

/// Nobody serves its type, which is known once the fleet has been heard for three minutes, and not a moment before: the plan says so, and both kinds of replay refuse it; whoever insists has it
/// wait, and it goes when a worker comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_nobody_serves_is_refused_and_waits_for_a_worker_where_somebody_insists() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let keys = "on_error: park\n    timeout: 30s\n    queue_timeout: 10m\n    ";
    system
        .apply(&[&Saga::named("parks").task("a", "test.effect@1", "", keys)])
        .await;
    no_worker(&mut system).await;
    let saga = system.run("parks", "p").await;
    let letter = given_up(&system, &saga).await;
    // its worker may only be starting anew
    let now = plan(&system, json!({ "dry_run": true })).await;
    assert_eq!(
        (&now["refused"], &now["routes"]["task"]),
        (&json!(0), &json!(1)),
        "{now}"
    );

    // whoever begins now has never heard it, and knows no sooner than the one before that it does not come again
    let began = Instant::now();
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    // one in another pool serves nothing of this one
    system.add_worker(&[("worker.pools", "elsewhere")]);
    // a busy machine on which our own canary is not heard for a while begins to hear anew
    let known = UNTOLD * 2 + SOON;
    let refused = await_some("it to be known that nobody serves it", known, async || {
        let now = plan(&system, json!({ "dry_run": true })).await;
        (now["refused"] == 1).then_some(now)
    })
    .await;
    let after = began.elapsed();
    assert!(after >= UNTOLD, "after {after:?} nobody can know that");
    let why = refused["why"][0]["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("nobody serves test.effect@1 in pool default"),
        "{refused}"
    );
    assert_eq!(refused["routes"], json!({}), "{refused}");
    let path = format!("{letter}/replay");
    let one_by_one = post(&system, &path, json!({ "reason": "mended" })).await;
    assert_eq!(
        (one_by_one.status, &one_by_one.body["cure"]),
        (409, &json!("serve")),
        "{one_by_one:?}"
    );
    let cli = system.cli();
    let said = cli.run(&["dead", "replay", &letter, "-m", "mended"]).await;
    assert!(
        said.code != 0 && said.err.contains("next: baton workers"),
        "{said:?}"
    );
    let done = operation(&system, json!({ "reason": "mended", "wait_s": 0 }), "done").await;
    assert_eq!(
        (&done["refused"], &done["resolved"]),
        (&json!(1), &json!(0)),
        "{done}"
    );
    assert_eq!(one(&system, &letter).await["state"], "dead");
    assert_eq!(system.api.phase(&saga, "a").await, "parked");

    let insists = json!({ "dry_run": true, "force": true });
    let now = plan(&system, insists).await;
    assert_eq!(
        (&now["refused"], &now["unserved"]),
        (&json!(0), &json!({ "test.effect@1 in pool default": 1 })),
        "{now}"
    );
    let insists = json!({ "reason": "one is on its way", "force": true });
    let sent = post(&system, &path, insists).await;
    assert_eq!(sent.body["state"], "replaying", "{sent:?}");
    system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
    system.add_worker(&[]);
    system.api.await_status(&saga, "completed", SOON).await;
    await_until("the letter to be resolved", SOON, async || {
        one(&system, &letter).await["state"] == "resolved"
    })
    .await;
}

/// A letter set out, and whoever sent it died before its saga was asked; meanwhile somebody has tried the step by hand, and it is parked again. Whoever
/// begins anew asks on the word of what had been seen, so that the saga refuses: nothing is tried that nobody has looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_its_saga_was_asked_and_a_step_that_has_moved_on_is_not_tried_again() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let keys = "on_error: park\n    timeout: 30s\n    queue_timeout: 10m\n    ";
    let fails = Saga::named("fails").task("a", "test.effect@1", ", fail: final", keys);
    system.apply(&[&fails]).await;
    no_worker(&mut system).await;
    let saga = system.run("fails", "f").await;
    let letter = given_up(&system, &saga).await;
    system.add_worker(&[]);
    let by_hand = json!({ "reason": "by hand" });
    let retried = system.api.act(&saga, "steps/a/retry", by_hand).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    system.api.await_phase(&saga, "a", "parked").await;
    let decided = system
        .api
        .get(&format!("/v1/sagas/{saga}/records?limit=500"))
        .await;

    system.end_orchestrator();
    let id_of = letter.replace('-', "");
    baton_it::poison::Poison::of(&system).sql(&format!(
        "UPDATE dead_letters SET state = 'replaying', replays = replays + 1, action = randomblob(16), changed_at = 1, changed_by = 'ann', why = 'lost' WHERE hex(id) = upper('{id_of}')"
    ));
    system.orchestrator();
    system.await_ready().await;
    let now = await_some("what came of it", SOON, async || {
        let now = system
            .api
            .ask("GET", &format!("/v1/dead-letters/{letter}"), "", None)
            .await?
            .body;
        (now["state"] == "dead").then_some(now)
    })
    .await;
    let outcome = now["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("sent again since"), "{now}");
    let after = system
        .api
        .get(&format!("/v1/sagas/{saga}/records?limit=500"))
        .await;
    assert_eq!(after["records"], decided["records"], "its saga did nothing");
}
