//! What comes of a replay: a task is done when its step is, an event when its triggers have had it, and what dies again comes back as the same letter, with its
//! history. A canary sees all of it.

use super::*;

const QUEUE: &str = "baton.task.default.test.effect@1";

/// A task of this saga is taken and given back until no worker runs it any more.
async fn poison(system: &mut System) {
    system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
    for _ in 0..10 {
        assert_eq!(system.vhost.peek(QUEUE, 1).await.len(), 1);
    }
    system.add_worker(&[]);
}

async fn no_worker(system: &mut System) {
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(QUEUE, 0, SOON).await;
}

async fn stands(system: &System, letter: &str, state: &str) -> Value {
    await_some(&format!("the letter to be {state}"), SOON, async || {
        let path = format!("/v1/dead-letters/{letter}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        (answer.body["state"] == state).then_some(answer.body)
    })
    .await
}

fn happened(letter: &Value) -> Vec<&str> {
    let history = letter["history"].as_array().expect("a history").iter();
    history.filter_map(|one| one["what"].as_str()).collect()
}

async fn a_task_is_done_when_its_step_is(setup: Setup) {
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    let keys = "on_error: park\n    timeout: 30s\n    queue_timeout: 10m\n    ";
    let parks = Saga::named("parks").task("a", "test.effect@1", "", keys);
    system.apply(&[&parks]).await;
    no_worker(&mut system).await;
    let saga = system.run("parks", "p").await;
    poison(&mut system).await;
    system.api.await_phase(&saga, "a", "parked").await;
    let letter = letters(&system, "kind=task@1", 1).await.remove(0);
    let letter = id(&letter).to_owned();

    // it is sent, and nobody knows yet what comes of it
    no_worker(&mut system).await;
    let path = format!("{letter}/replay");
    let sent = post(&system, &path, json!({ "reason": "mended" })).await;
    assert_eq!(sent.body["state"], "replaying", "{sent:?}");
    system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
    system.api.await_phase(&saga, "a", "trying").await;
    let waits = stands(&system, &letter, "replaying").await;
    assert_eq!(
        (&waits["replays"], &waits["attempt"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(happened(&waits), ["sent"], "{waits}");

    // the new message dies: it is the same letter
    poison(&mut system).await;
    let again = stands(&system, &letter, "dead").await;
    assert_eq!(
        (&again["replays"], &again["died_again"]),
        (&json!(1), &json!(1)),
        "{again}"
    );
    // its saga has said what comes of it
    assert_eq!(happened(&again), ["sent", "died", "failed"], "{again}");
    assert_eq!(letters(&system, "", 1).await.len(), 1, "no second letter");
    system.api.await_phase(&saga, "a", "parked").await;
    let shown = system.cli().run(&["show", &saga]).await;
    let command = format!("baton dead replay {}", &letter[..8]);
    assert!(shown.out.contains(&command), "{shown:?}");

    // whoever starts anew waits for it as well
    no_worker(&mut system).await;
    let sent = post(&system, &path, json!({ "reason": "mended at last" })).await;
    assert_eq!(sent.body["state"], "replaying", "{sent:?}");
    let outcome = sent.body["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("tried again: attempt 1"), "{sent:?}");
    system.orchestrator().kill9_and_start();
    system.add_worker(&[]);
    system.api.await_status(&saga, "completed", SOON).await;
    let resolved = stands(&system, &letter, "resolved").await;
    assert_eq!(resolved["replays"], 2);
    let all = ["sent", "died", "failed", "sent", "resolved"];
    assert_eq!(happened(&resolved), all);
    let shown = system.cli().run(&["dead", "show", &letter]).await;
    assert!(shown.out.contains("died again"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_done_when_its_step_is_and_the_same_letter_when_it_dies_again() {
    a_task_is_done_when_its_step_is(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_task_is_done_when_its_step_is_and_the_same_letter_when_it_dies_again() {
    a_task_is_done_when_its_step_is(Setup::workers(1).postgres()).await;
}

async fn order(system: &System, n: usize) {
    let properties = json!({ "message_id": format!("order {n}"), "headers": { "n": n } });
    put(
        system,
        "orders",
        properties,
        format!("order {n}").as_bytes(),
    )
    .await;
    rejected(system, "orders").await;
}

async fn operation(system: &System, id: &str, state: &str) -> Value {
    await_some(&format!("the replay to be {state}"), SOON, async || {
        let path = format!("/v1/dead-letters/operations/{id}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        (answer.body["state"] == state).then_some(answer.body)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_sees_what_its_consumer_rejects_again() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..4 {
        order(&system, n).await;
    }
    let before = letters(&system, "state=dead", 4).await;
    let replay = begun(&system, json!({ "reason": "try", "wait_s": 8 })).await;
    rejected(&system, "orders").await;
    let stopped = operation(&system, &replay, "stopped").await;
    for (name, n) in [
        ("replayed", 1),
        ("resolved", 0),
        ("published", 0),
        ("failed", 1),
    ] {
        assert_eq!(stopped[name], n, "{name}: {stopped}");
    }
    let dead = letters(&system, "state=dead", 4).await;
    assert_eq!(dead.len(), before.len(), "the same letters: {dead:?}");
    let back = dead.iter().filter(|letter| letter["died_again"] == 1);
    assert_eq!(back.count(), 1, "{dead:?}");

    // a consumer that takes them
    let replay = begun(
        &system,
        json!({ "reason": "mended", "wait_s": 0, "force": true }),
    )
    .await;
    let done = operation(&system, &replay, "done").await;
    assert_eq!(
        (&done["published"], &done["stage"]),
        (&json!(4), &json!(2)),
        "{done}"
    );
    let mut all = numbers(&taken(&system, "orders").await);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_letters_go_to_another_queue_and_wait_for_it_where_it_is_not_there() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..3 {
        order(&system, n).await;
    }
    let all = letters(&system, "state=dead", 3).await;
    let (a, b) = (id(&all[0]).to_owned(), id(&all[1]).to_owned());
    let cli = system.cli();
    let named = [
        "dead",
        "replay",
        &a,
        &b,
        "--redirect",
        "orders=later",
        "-m",
        "moved",
        "-y",
        "--wait",
        "0",
    ];
    let dry = cli
        .run(&["dead", "replay", &a, &b, "--dry-run"])
        .await
        .exits(0);
    assert!(dry.out.contains("2 dead letters fit"), "{dry:?}");
    let body = json!({ "ids": [a, b], "redirect": { "/orders": "/later" }, "reason": "moved", "wait_s": 0 });
    let replay = begun(&system, body).await;
    let waits = async || {
        let now = operation(&system, &replay, "running").await;
        let why = now["why"].as_str().unwrap_or_default().to_owned();
        (why.contains("it waits") && why.contains("no queue takes it")).then_some(now)
    };
    let waiting = await_some("it to say that it waits", SOON, waits).await;
    assert_eq!(waiting["failed"], 0, "{waiting}");
    system.vhost.declare("later", "quorum").await;
    let done = operation(&system, &replay, "done").await;
    assert_eq!(
        (&done["found"], &done["published"]),
        (&json!(2), &json!(2)),
        "{done}"
    );
    let there = taken(&system, "later").await;
    assert_eq!(there.len(), 2, "each once: {there:?}");
    let history = one(&system, &a).await;
    assert_eq!(
        happened(&history),
        ["published"],
        "waiting is no replay: {history}"
    );
    assert_eq!(letters(&system, "state=dead", 1).await.len(), 1);
    let none = cli.run(&named).await;
    assert!(none.out.contains("0 dead letters fit"), "{none:?}");
}

/// A saga that an event starts, if it says by which name.
fn hears(version: u32, name: &str) -> String {
    format!(
        "saga: hears\nversion: {version}\non:\n  - event: com.example.named\n    input: {{ name: \"${{ {name} }}\" }}\n    key: ${{ event.id }}\n    window: 1h\ninput:\n  type: object\n  required: [name]\n  properties: {{ name: {{ type: string }} }}\nsteps:\n  - id: nap\n    sleep: 1ms\n"
    )
}

async fn a_refused_event(setup: Setup) {
    let system = setup.start().await;
    system.api.apply(&hears(1, "event.data.nothing")).await;
    let event = json!({ "specversion": "1.0", "id": "e1", "source": "/test", "type": "com.example.named", "data": { "name": "x" } });
    let properties = json!({ "message_id": "e1", "content_type": "application/cloudevents+json" });
    let published = async |event: &Value, key: &str| {
        let (properties, text) = (properties.clone(), event.to_string());
        system
            .vhost
            .publish("baton.events", key, properties, &text)
            .await
    };
    await_until("the event to be routed", SOON, async || {
        published(&event, "com.example.named").await
    })
    .await;
    let letter = letters(&system, "reason=misfit", 1).await.remove(0);
    let path = format!("{}/replay", id(&letter));
    let again = post(&system, &path, json!({ "reason": "try" })).await;
    assert_eq!(again.body["state"], "dead", "{again:?}");
    let outcome = again.body["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("refused again"), "{again:?}");

    system.api.apply(&hears(2, "event.data.name")).await;
    let done = post(&system, &path, json!({ "reason": "version 2" })).await;
    assert_eq!(done.body["state"], "resolved", "{done:?}");
    let outcome = done.body["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("started saga"), "{done:?}");
    let sagas = system.api.get("/v1/sagas?definition=hears").await;
    let started = sagas["sagas"].as_array().expect("a list");
    assert_eq!(started.len(), 1, "{sagas}");
    let kept = system.api.get("/v1/events").await;
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(1), "{kept}");

    // one nobody looks at is not called done without a word
    let unwanted = json!({ "specversion": "1.0", "id": "e2", "source": "/test", "type": "com.example.unwanted" });
    let parked = json!({
        "message_id": "e2", "type": "cloudevent@1", "content_type": "application/cloudevents+json",
        "headers": {
            "baton-dead-id": uuid::Uuid::new_v4(), "baton-dead-reason": "unknown-kind", "baton-dead-error": "nobody read it then",
            "baton-dead-queue": "baton.triggers", "baton-dead-exchange": "baton.events", "baton-dead-key": "com.example.unwanted",
        }
    });
    put(
        &system,
        "baton.dead",
        parked,
        unwanted.to_string().as_bytes(),
    )
    .await;
    let letter = letters(&system, "reason=unknown-kind", 1).await.remove(0);
    let taken = post(&system, &format!("{}/replay", id(&letter)), json!({})).await;
    assert_eq!(taken.body["state"], "resolved", "{taken:?}");
    let outcome = taken.body["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("nobody wanted it"), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_a_trigger_refused_is_looked_at_again_and_starts_its_saga_once() {
    a_refused_event(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_an_event_a_trigger_refused_is_looked_at_again_and_starts_its_saga_once() {
    a_refused_event(Setup::workers(0).postgres()).await;
}

/// What a queue gives up by itself, since it is full or since it waited too long, says so; what had expired is sent again only where somebody insists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_queue_gives_up_by_its_length_or_by_time_is_told_apart() {
    let system = Setup::workers(0).start().await;
    for (queue, policy) in [
        (
            "short",
            json!({ "dead-letter-exchange": "baton.dead", "max-length": 1 }),
        ),
        (
            "brief",
            json!({ "dead-letter-exchange": "baton.dead", "message-ttl": 50 }),
        ),
    ] {
        system.vhost.declare(queue, "quorum").await;
        system
            .vhost
            .policy(queue, &format!("^{queue}$"), policy)
            .await;
    }
    await_until("the oldest to be given up", SOON, async || {
        for n in 0..3 {
            put(
                &system,
                "short",
                json!({ "message_id": format!("s{n}") }),
                b"s",
            )
            .await;
        }
        let path = "/v1/dead-letters?queue=short";
        let answer = system.api.ask("GET", path, "", None).await;
        answer.is_some_and(|answer| answer.body["dead_letters"][0].is_object())
    })
    .await;
    put(&system, "brief", json!({ "message_id": "b" }), b"b").await;
    let short = letters(&system, "queue=short", 1).await.remove(0);
    let brief = letters(&system, "queue=brief", 1).await.remove(0);
    for (letter, why) in [(&short, "maxlen"), (&brief, "expired")] {
        assert_eq!(letter["reason"], "broker-rejected", "{letter}");
        let error = letter["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{letter}");
    }
    let path = format!("{}/replay", id(&brief));
    let refused = post(&system, &path, json!({ "reason": "late" })).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("time to live"), "{refused:?}");
    let elsewhere = json!({ "reason": "still wanted", "force": true, "to": "/kept" });
    system.vhost.declare("kept", "quorum").await;
    let forced = post(&system, &path, elsewhere).await;
    assert_eq!(forced.body["state"], "resolved", "{forced:?}");
    assert_eq!(taken(&system, "kept").await.len(), 1);
}
