//! Dead letters go back to work: one by one, and many at once; each once in effect, whatever dies meanwhile; and what nobody wants is refused with a reason.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{Answer, SOON, Setup, System};
use futures::future::join_all;
use serde_json::{Value, json};

async fn letters(system: &System, query: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} dead letters");
    await_some(&what, SOON, async || {
        let path = format!("/v1/dead-letters?limit=100&{query}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        let letters = answer.body["dead_letters"].as_array().cloned()?;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

async fn post(system: &System, path: &str, body: Value) -> Answer {
    let path = format!("/v1/dead-letters/{path}");
    let answer = system.api.ask("POST", &path, "", Some(body.to_string()));
    answer.await.expect("it answers")
}

fn id(letter: &Value) -> &str {
    letter["id"].as_str().expect("a letter has an id")
}

async fn one(system: &System, letter: &str) -> Value {
    system.api.get(&format!("/v1/dead-letters/{letter}")).await
}

/// A message in a queue of others, which its consumer rejects: the broker dead-letters it.
async fn rejected(system: &System) {
    let vhost = &system.vhost;
    let path = format!("/api/queues/{}/orders/get", vhost.name());
    let body = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto" });
    let got = vhost.management().post(&path, &body).await;
    assert_eq!(got.as_array().map(Vec::len), Some(1), "{got}");
}

/// Bytes that are no text.
const BODY: &[u8] = b"\xff\xfe no text \x00 of ours";

async fn orders(setup: Setup) -> System {
    let system = setup.start().await;
    let vhost = &system.vhost;
    vhost.declare("orders", "quorum").await;
    let policy = json!({ "dead-letter-exchange": "baton.dead" });
    vhost.policy("orders", "^orders$", policy).await;
    let path = format!("/api/exchanges/{}/amq.default/publish", vhost.name());
    let body = json!({
        "properties": { "delivery_mode": 2, "message_id": "order 7", "type": "order", "priority": 3, "headers": { "theirs": "ß", "n": 7 } },
        "routing_key": "orders", "payload": BASE64.encode(BODY), "payload_encoding": "base64",
    });
    assert_eq!(vhost.management().post(&path, &body).await["routed"], true);
    vhost.await_messages("orders", 1, 0, SOON).await;
    rejected(&system).await;
    system
}

/// The one message in the queue, as it is.
async fn back(system: &System) -> Value {
    let vhost = &system.vhost;
    vhost.await_messages("orders", 1, 0, SOON).await;
    let path = format!("/api/queues/{}/orders/get", vhost.name());
    let body = json!({ "count": 5, "ackmode": "ack_requeue_true", "encoding": "base64" });
    let got = vhost.management().post(&path, &body).await;
    let got = got.as_array().expect("a list").clone();
    assert_eq!(got.len(), 1, "once: {got:?}");
    got[0].clone()
}

async fn goes_back_once_whoever_presses(setup: Setup) {
    let system = orders(setup).await;
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    assert_eq!(letter["reason"], "broker-rejected", "{letter}");
    let path = format!("{}/replay", id(&letter));
    let presses = (0..8).map(|_| post(&system, &path, json!({ "reason": "mended" })));
    let answers = join_all(presses).await;
    let done: Vec<&Answer> = answers.iter().filter(|a| a.status == 200).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    assert_eq!(done[0].body["state"], "resolved", "{answers:?}");
    assert!(
        answers.iter().all(|a| [200, 409].contains(&a.status)),
        "{answers:?}"
    );

    let message = back(&system).await;
    assert_eq!(message["payload"], BASE64.encode(BODY), "byte for byte");
    let properties = &message["properties"];
    assert_eq!(properties["message_id"], "order 7");
    assert_eq!(properties["type"], "order");
    assert_eq!(properties["priority"], 3);
    let headers = properties["headers"].as_object().expect("headers");
    let own = |name: &&String| !name.starts_with("x-delivery") && !name.starts_with("x-acquired");
    let mut names: Vec<&String> = headers.keys().filter(own).collect();
    names.sort();
    assert_eq!(names, ["baton-replay-of", "baton-replays", "n", "theirs"]);
    assert_eq!(
        (&headers["baton-replays"], &headers["n"]),
        (&json!(1), &json!(7))
    );
    let resolved = one(&system, id(&letter)).await;
    assert_eq!(
        (&resolved["state"], &resolved["replays"]),
        (&json!("resolved"), &json!(1))
    );
    assert_eq!(resolved["why"], "mended");

    // dead again, it is the same letter, with its history
    rejected(&system).await;
    let second = letters(&system, "state=dead", 1).await.remove(0);
    assert_eq!(second["id"], letter["id"]);
    let whole = one(&system, id(&second)).await;
    assert_eq!(
        (&whole["replays"], &whole["died_again"]),
        (&json!(1), &json!(1))
    );
    let happened = whole["history"].as_array().expect("a history").iter();
    let what: Vec<&Value> = happened.map(|one| &one["what"]).collect();
    assert_eq!(what, ["published", "died"], "{whole}");
    assert_eq!(letters(&system, "", 1).await.len(), 1, "no second letter");
    let path = format!("{}/replay", id(&second));
    let again = json!({ "reason": "again", "id": uuid::Uuid::new_v4() });
    let answer = post(&system, &path, again.clone()).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    let twice = post(&system, &path, again).await;
    assert_eq!(twice.body["duplicate"], true, "the same action: {twice:?}");
    assert_eq!(
        back(&system).await["properties"]["headers"]["baton-replays"],
        2
    );

    // a queue that is not there takes nothing, and that is said
    rejected(&system).await;
    let third = letters(&system, "state=dead", 1).await.remove(0);
    let nowhere = json!({ "to": "/nobody-made-it" });
    let answer = post(&system, &format!("{}/replay", id(&third)), nowhere).await;
    assert_eq!(answer.body["state"], "dead", "{answer:?}");
    let outcome = answer.body["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("no queue takes it"), "{answer:?}");
    let refused = post(&system, &format!("{}/replay", id(&third)), json!({})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|d| d.contains("3 times")),
        "{refused:?}"
    );
    let silent = post(
        &system,
        &format!("{}/replay", id(&third)),
        json!({ "force": true }),
    )
    .await;
    assert_eq!(silent.status, 400, "force needs a reason: {silent:?}");
    let forced = json!({ "force": true, "reason": "asked for it" });
    let forced = post(&system, &format!("{}/replay", id(&third)), forced).await;
    assert_eq!(forced.body["state"], "resolved", "{forced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_others_goes_back_byte_for_byte_once_whoever_presses() {
    goes_back_once_whoever_presses(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_message_of_others_goes_back_byte_for_byte_once_whoever_presses() {
    goes_back_once_whoever_presses(Setup::workers(0).postgres()).await;
}

/// A saga whose task was taken and given back so often that the next worker puts it aside.
async fn poisoned(system: &mut System, definition: &str, name: &str) -> String {
    let queue = "baton.task.default.test.effect@1";
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let id = system.run(definition, name).await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    for _ in 0..10 {
        system.vhost.peek_one(queue).await;
    }
    system.add_worker(&[]);
    id
}

/// One of two tasks that kill their workers belongs to a saga that parks, the other to one that takes back what it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_task_is_tried_again_by_its_saga_or_refused_where_that_is_over() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let parks = Saga::named("parks").task(
        "a",
        "test.effect@1",
        "",
        "on_error: park\n    timeout: 30s\n    ",
    );
    let gives_up = Saga::named("gives-up").effect("a", "");
    system.apply(&[&parks, &gives_up]).await;
    let over = poisoned(&mut system, "gives-up", "g").await;
    system.api.await_status(&over, "compensated", SOON).await;
    let parked = poisoned(&mut system, "parks", "p").await;
    system.api.await_phase(&parked, "a", "parked").await;
    let found = letters(&system, "kind=task@1", 2).await;
    let of = |saga: &str| {
        let letter = found.iter().find(|letter| letter["saga"] == saga);
        id(letter.expect("it speaks of its saga")).to_owned()
    };

    let plan = post(&system, "replays", json!({ "dry_run": true })).await;
    let plan = &plan.body["plan"];
    assert_eq!(
        (&plan["found"], &plan["refused"]),
        (&json!(2), &json!(1)),
        "{plan}"
    );
    assert_eq!(plan["routes"], json!({ "task": 1 }));
    assert!(
        plan["why"][0]["why"]
            .as_str()
            .is_some_and(|why| why.contains("compensated")),
        "{plan}"
    );

    let refused = system.cli().run(&["dead", "replay", &of(&over)]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    let next = format!("next: baton dead discard {} -m", of(&over));
    assert!(
        refused.err.contains("its saga is compensated") && refused.err.contains(&next),
        "{refused:?}"
    );
    assert_eq!(one(&system, &of(&over)).await["state"], "dead");
    let replayed = system
        .cli()
        .run(&["dead", "replay", &of(&parked), "-m", "worker is mended"])
        .await;
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(
        replayed.out.contains("tried again: attempt 1"),
        "{replayed:?}"
    );
    system.api.await_status(&parked, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("p-a"), None);
    assert_eq!(book.ever_done("g-a"), None);
    let records = system.api.records(&parked).await;
    assert!(records.contains("worker is mended"), "{records}");
    let twice = post(&system, &format!("{}/replay", of(&parked)), json!({})).await;
    assert_eq!(twice.status, 409, "it is resolved: {twice:?}");
}

async fn start(system: &System, definition: &str, n: usize) {
    let start = json!({ "start@1": {
        "id": uuid::Uuid::new_v4(), "saga": uuid::Uuid::new_v4(), "definition": definition,
        "input": { "name": format!("{definition}-{n}") }, "by": "elsewhere",
    } });
    let properties = json!({ "message_id": format!("{definition}-{n}"), "type": "start@1" });
    let vhost = &system.vhost;
    assert!(
        vhost
            .publish("baton.inbox", "00", properties, &start.to_string())
            .await
    );
}

/// Requests to start sagas of a definition nobody has registered yet.
async fn starts(system: &System, definition: &str, count: usize) {
    for first in (0..count).step_by(16) {
        let some = (first..count.min(first + 16)).map(|n| start(system, definition, n));
        join_all(some).await;
    }
    let kept = async || {
        let counted = json!({ "dry_run": true, "filter": { "text": definition } });
        let plan = post(system, "replays", counted).await;
        plan.body["plan"]["found"] == count
    };
    await_until("all of them to be dead letters", SOON, kept).await;
}

async fn operation(system: &System, id: &str) -> Value {
    system
        .api
        .get(&format!("/v1/dead-letters/operations/{id}"))
        .await
}

async fn await_operation(
    system: &System,
    id: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Value {
    await_some(what, SOON, async || {
        let path = format!("/v1/dead-letters/operations/{id}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        (answer.status == 200 && is(&answer.body)).then_some(answer.body)
    })
    .await
}

async fn begun(system: &System, body: Value) -> String {
    let answer = post(system, "replays", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["operation"]["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn goes_on_after_death(setup: Setup) {
    const COUNT: usize = 200;
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    starts(&system, "late-come", COUNT).await;
    system
        .apply(&[&Saga::named("late-come").effect("a", "")])
        .await;
    let planned = json!({ "dry_run": true, "filter": { "text": "late-come" } });
    let planned = post(&system, "replays", planned).await;
    assert_eq!(
        planned.body["plan"]["routes"],
        json!({ "start": COUNT }),
        "{planned:?}"
    );
    let id = begun(
        &system,
        json!({ "reason": "registered now", "rate": 100, "filter": { "text": "late-come" } }),
    )
    .await;
    for share in [30, 90] {
        await_operation(&system, &id, "some to be done", |now| {
            now["resolved"].as_u64() > Some(share)
        })
        .await;
        system.orchestrator().kill9_and_start();
    }
    let done = await_operation(&system, &id, "all to be done", |now| now["state"] == "done").await;
    for (name, n) in [
        ("replayed", COUNT),
        ("resolved", COUNT),
        ("failed", 0),
        ("refused", 0),
        ("found", COUNT),
    ] {
        assert_eq!(done[name], n, "{name}: {done}");
    }
    // whoever keeps the book of what was done knows nothing of letters
    let names: Vec<String> = (0..COUNT).map(|n| format!("late-come-{n}-a")).collect();
    await_until("every saga to do its work", SOON, async || {
        let book = Book::of(&system.ledger).await;
        names.iter().all(|name| book.ever_done(name).is_some())
    })
    .await;
    let book = Book::of(&system.ledger).await;
    for name in &names {
        assert_eq!(book.not_done_once(name), None, "{name}");
    }
    let left = letters(&system, "state=dead", 0).await;
    assert_eq!(left, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_in_a_replay_of_many_and_each_is_done_once() {
    goes_on_after_death(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_in_a_replay_of_many_and_each_is_done_once() {
    goes_on_after_death(Setup::workers(1).postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_fails_again_stops_by_itself_and_is_steered() {
    const COUNT: usize = 30;
    let system = Setup::workers(0).start().await;
    starts(&system, "never-come", COUNT).await;
    let planned = json!({ "dry_run": true, "filter": { "kind": "start@1" } });
    let planned = post(&system, "replays", planned).await;
    let plan = &planned.body["plan"];
    assert_eq!(
        (&plan["unreadable"], &plan["routes"]),
        (&json!(COUNT), &json!({})),
        "{plan}"
    );
    let why = plan["why"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("definition never-come"), "{plan}");
    let ran = system
        .cli()
        .run(&["dead", "replay", "--kind", "start@1", "-y", "-m", "try"])
        .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.out.contains("30 dead letters fit") && ran.out.contains("stopped: 1 of 1"),
        "{ran:?}"
    );
    let list = system.api.get("/v1/dead-letters/operations").await;
    let id = list["operations"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let now = operation(&system, &id).await;
    assert_eq!(
        (&now["replayed"], &now["failed"], &now["state"]),
        (&json!(1), &json!(1), &json!("stopped"))
    );

    let steered =
        async |what: &str| post(&system, &format!("operations/{id}/{what}"), json!({})).await;
    assert_eq!(steered("pause").await.status, 409, "it does not run");
    assert_eq!(steered("resume").await.status, 200);
    let now = await_operation(&system, &id, "it to stop again", |now| {
        now["state"] == "stopped" && now["replayed"] == 2
    })
    .await;
    assert_eq!(now["failed"], 2, "a canary of one again: {now}");
    assert_eq!(steered("cancel").await.body["state"], "cancelled");
    assert_eq!(steered("resume").await.status, 409, "it has ended");

    let slow = json!({ "reason": "slowly", "rate": 2, "stop_at": 100, "filter": { "text": "never-come" } });
    let id = begun(&system, slow).await;
    await_operation(&system, &id, "some to be done", |now| {
        now["replayed"].as_u64() > Some(2)
    })
    .await;
    let steered =
        async |what: &str| post(&system, &format!("operations/{id}/{what}"), json!({})).await;
    assert_eq!(steered("pause").await.body["state"], "paused");
    let paused = await_operation(&system, &id, "what set out to end", |now| {
        let sum = |names: [&str; 3]| {
            names
                .iter()
                .filter_map(|name| now[*name].as_u64())
                .sum::<u64>()
        };
        Some(sum(["resolved", "failed", "refused"])) == now["replayed"].as_u64()
    })
    .await;
    assert!(paused["replayed"].as_u64() < Some(COUNT as u64), "{paused}");
    assert_eq!(steered("resume").await.body["state"], "running");
    let before = paused["replayed"].as_u64();
    await_operation(&system, &id, "it to go on", |now| {
        now["replayed"].as_u64() > before
    })
    .await;
    assert_eq!(steered("cancel").await.body["state"], "cancelled");
    let dead = letters(&system, "state=dead", COUNT).await;
    assert!(
        dead.iter()
            .any(|letter| letter["replays"] == 1 && letter["outcome"].is_string()),
        "{dead:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_grouped_noted_discarded_and_restored() {
    let system = Setup::workers(0).start().await;
    for n in 0..3 {
        let body = format!("{{\"finished@9{n}\": {{}}}}");
        let body = if n == 2 { "no {JSON".to_owned() } else { body };
        let properties = json!({ "message_id": format!("m{n}") });
        assert!(
            system
                .vhost
                .publish("baton.inbox", "00", properties, &body)
                .await
        );
    }
    for n in 0..4 {
        let body = "no {JSON of another line".repeat(n + 1);
        assert!(
            system
                .vhost
                .publish(
                    "baton.inbox",
                    "00",
                    json!({ "message_id": format!("n{n}") }),
                    &body
                )
                .await
        );
    }
    let all = letters(&system, "state=dead", 7).await;
    let groups = system.api.get("/v1/dead-letters/groups").await;
    let groups = groups["groups"].as_array().expect("groups");
    assert_eq!(
        groups[0]["dead"], 5,
        "one cause, however long the body: {groups:?}"
    );
    assert_eq!(groups[0]["reason"], "undecodable");
    let key = groups[0]["group"].as_str().expect("a key");
    let cli = system.cli();
    let shown = cli.run(&["dead", "groups"]).await;
    assert!(shown.out.contains(key), "{shown:?}");
    // page by page they are the same
    let (mut paged, mut next) = (Vec::new(), None::<String>);
    loop {
        let cursor = next.map_or_else(String::new, |next| format!("&cursor={next}"));
        let path = format!("/v1/dead-letters/groups?limit=1{cursor}");
        let page = system.api.get(&path).await;
        paged.extend(page["groups"].as_array().expect("groups").clone());
        let left = groups.len() - paged.len();
        assert_eq!(page["more"], left, "{page}");
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(paged, *groups);
    let page = cli.run(&["dead", "groups", "-n", "1"]).await.exits(0);
    let said = format!("{}{}", page.out, page.err);
    assert!(
        said.contains("baton dead groups -n 1 --cursor 5."),
        "{page:?}"
    );

    let first = id(&all[0]).to_owned();
    assert_eq!(
        cli.run(&["dead", "note", &first, "-m", "seen by ann"])
            .await
            .out
            .trim(),
        "noted"
    );
    assert_eq!(
        cli.run(&["dead", "discard", &first, "-m", "a test"])
            .await
            .out
            .trim(),
        "discarded"
    );
    let shown = cli.run(&["dead", "show", &first]).await;
    assert!(
        shown.out.contains("seen by ann") && shown.out.contains("discarded"),
        "{shown:?}"
    );
    let refused = post(&system, &format!("{first}/replay"), json!({})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|d| d.contains("restore")),
        "{refused:?}"
    );
    assert_eq!(letters(&system, "state=discarded", 1).await.len(), 1);
    assert_eq!(
        cli.run(&["dead", "restore", &first]).await.out.trim(),
        "dead"
    );
    let many = cli
        .run(&["dead", "discard", "--group", key, "-m", "noise", "-y"])
        .await;
    assert!(many.out.contains("5 of 5 discarded"), "{many:?}");
    let left = letters(&system, "state=dead", 2).await;
    assert_eq!(left.len(), 2, "{left:?}");

    // a report of a version nobody here reads fails again, and says so
    let answer = post(&system, &format!("{}/replay", id(&left[0])), json!({})).await;
    assert_eq!(
        (&answer.body["state"], &answer.body["replays"]),
        (&json!("dead"), &json!(1)),
        "{answer:?}"
    );
    let outcome = answer.body["outcome"].as_str().unwrap_or_default();
    assert!(
        outcome.contains("still cannot be used (unknown-kind)"),
        "{answer:?}"
    );
    let metrics = system
        .api
        .ask("GET", "/metrics", "", None)
        .await
        .expect("it answers");
    let metrics = metrics.body.as_str().unwrap_or_default().to_owned();
    assert!(
        metrics.contains("baton_orchestrator_dead_letters_by_state{state=\"discarded\"} 5"),
        "{metrics}"
    );
}

/// A saga whose only step nobody does: what is reported of it is reported by hand.
const WAITS: &str = "saga: waits
version: 1
steps:
  - id: a
    task: test.echo@1
    timeout: 10m
    queue_timeout: 10m
";

/// A saga that an event starts.
const HEARS: &str = "saga: hears
version: 1
on:
  - event: com.example.late
steps:
  - id: nap
    sleep: 1ms
";

/// What a version before this one could not read was parked with these words; this one reads it.
async fn parked_before(system: &System, id: &str, of: [&str; 3], kind: &str, body: &Value) {
    let [queue, exchange, key] = of;
    let properties = json!({
        "message_id": id, "type": kind, "content_type": if kind.starts_with("cloud") { "application/cloudevents+json" } else { "application/json" },
        "headers": {
            "baton-dead-id": uuid::Uuid::new_v4(), "baton-dead-reason": "unknown-kind", "baton-dead-error": "nobody read it then",
            "baton-dead-queue": queue, "baton-dead-exchange": exchange, "baton-dead-key": key,
        }
    });
    let vhost = &system.vhost;
    assert!(
        vhost
            .publish("amq.default", "baton.dead", properties, &body.to_string())
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_and_an_event_that_can_be_read_now_do_their_work_once() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.echo@1").await;
    system.api.apply(WAITS).await;
    system.api.apply(HEARS).await;
    system.workers[0].kill9();
    let saga = system.api.start("waits", &json!({}), "w").await;
    system.api.await_phase(&saga, "a", "trying").await;
    let shown = system.api.saga(&saga).await;
    let dispatch = &shown["steps"][0]["attempts"][0]["dispatch"];
    let report = json!({ "finished@1": {
        "of": { "saga": saga, "step": "a", "direction": "do", "round": 1, "attempt": 1, "dispatch": dispatch },
        "run": uuid::Uuid::new_v4(), "worker": "by-hand", "started": true, "sole": true,
        "result": { "succeeded": { "output": { "value": null } } }, "started_at": 1, "finished_at": 2,
    }});
    let inbox = ["baton.inbox.00", "baton.inbox", "00"];
    parked_before(&system, "report", inbox, "finished@1", &report).await;
    let event =
        json!({ "specversion": "1.0", "id": "e1", "source": "/test", "type": "com.example.late" });
    let triggers = ["baton.triggers", "baton.events", "com.example.late"];
    parked_before(&system, "event", triggers, "cloudevent@1", &event).await;
    let found = letters(&system, "reason=unknown-kind", 2).await;
    let of = |name: &str| {
        let letter = found.iter().find(|letter| letter["message_id"] == name);
        id(letter.expect("it is kept")).to_owned()
    };
    assert_eq!(
        system.api.status(&saga).await,
        "running",
        "nothing is done by itself"
    );

    for name in ["report", "event"] {
        let answer = post(&system, &format!("{}/replay", of(name)), json!({})).await;
        assert_eq!(answer.body["state"], "resolved", "{name}: {answer:?}");
    }
    system.api.await_status(&saga, "completed", SOON).await;
    let heard = async || {
        let list = system.api.get("/v1/sagas?definition=hears").await;
        list["sagas"].as_array().map(Vec::len) == Some(1)
    };
    await_until("the saga that hears the event", SOON, heard).await;

    // the same event once more is known, and that is said instead of doing nothing
    parked_before(&system, "event again", triggers, "cloudevent@1", &event).await;
    let again = letters(&system, "state=dead", 1).await.remove(0);
    let refused = post(&system, &format!("{}/replay", id(&again)), json!({})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(
        refused.body["type"], "urn:baton:problem:replay-refused",
        "{refused:?}"
    );
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("is kept already")),
        "{refused:?}"
    );
    // a report of a saga that has ended is taken by it, as evidence
    parked_before(&system, "late report", inbox, "finished@1", &report).await;
    let late = letters(&system, "state=dead", 2).await;
    let late = late
        .iter()
        .find(|letter| letter["message_id"] == "late report");
    let late = id(late.expect("it is kept")).to_owned();
    let planned = post(
        &system,
        "replays",
        json!({ "dry_run": true, "ids": [late] }),
    )
    .await;
    assert_eq!(planned.body["plan"]["routes"], json!({ "report": 1 }));
    let answer = post(&system, &format!("{late}/replay"), json!({})).await;
    assert_eq!(
        answer.body["state"], "resolved",
        "it had this very report: {answer:?}"
    );
    // one of a saga nobody knows is told before it is sent
    let mut unknown = report;
    unknown["finished@1"]["of"]["saga"] = json!(uuid::Uuid::new_v4());
    parked_before(&system, "unknown", inbox, "finished@1", &unknown).await;
    letters(&system, "state=dead&kind=finished@1", 1).await;
    let planned = json!({ "dry_run": true, "filter": { "kind": "finished@1" } });
    let planned = post(&system, "replays", planned).await;
    let plan = &planned.body["plan"];
    assert_eq!(
        (&plan["unreadable"], &plan["routes"]),
        (&json!(1), &json!({})),
        "{plan}"
    );
    let why = plan["why"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("no such saga"), "{plan}");
}
