//! What comes of a replay: a task is done when its step is, an event when its triggers have had it, and what dies again comes back as the same letter, with its
//! history. A canary sees all of it.

use sha2::{Digest as _, Sha256};

use super::*;

const QUEUE: &str = "baton.task.default.test.effect@1";

/// A task of this saga is taken and given back until no worker runs it any more.
async fn poison(system: &mut System) {
    system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
    for _ in 0..10 {
        system.vhost.peek_one(QUEUE).await;
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
    let dry = cli
        .run(&["dead", "replay", &a, &b, "--dry-run"])
        .await
        .exits(0);
    assert!(
        dry.out.contains("2 dead letters fit") && dry.out.contains("2 to /orders"),
        "{dry:?}"
    );
    let typo = [
        "dead",
        "replay",
        &a,
        &b,
        "--redirect",
        "/order=/later",
        "-m",
        "moved",
        "-y",
    ];
    let typo = cli.run(&typo).await.exits(2);
    assert!(
        typo.out
            .contains("none of the 2 looked at came from /order")
            && typo.err.contains("--force"),
        "{typo:?}"
    );
    let named = [
        "dead",
        "replay",
        &a,
        &b,
        "--redirect",
        "/orders=/later",
        "-m",
        "moved",
        "-y",
        "--wait",
        "0",
    ];
    // it follows the operation until that has ended
    let mut follows = cli.command(&named).spawn().expect("baton starts");
    let replay = await_some("the operation", SOON, async || {
        let all = system.api.get("/v1/dead-letters/operations").await;
        let first = all["operations"].as_array()?.first()?.clone();
        Some(first["id"].as_str()?.to_owned())
    })
    .await;
    let shown = cli
        .run(&["dead", "ops", "show", &replay[..8]])
        .await
        .exits(0);
    assert!(
        shown.out.contains("moved"),
        "by the beginning of its id: {shown:?}"
    );
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
    let ended = tokio::time::timeout(SOON, follows.wait()).await;
    assert!(ended.expect("it ends with it").expect("it ran").success());
    let there = taken(&system, "later").await;
    assert_eq!(there.len(), 2, "each once: {there:?}");
    let history = one(&system, &a).await;
    assert_eq!(
        happened(&history),
        ["published"],
        "waiting is no replay: {history}"
    );
    assert_eq!(letters(&system, "state=dead", 1).await.len(), 1);
}

/// What is over goes, after the time that is configured and not before; what is dead stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_are_over_go_where_that_is_configured_and_it_is_written_down() {
    let setup = Setup::workers(0).orchestrator("dead_letters.retention", "2h");
    let mut system = setup.start().await;
    for n in ["a", "b", "c"] {
        put(
            &system,
            "baton.dead",
            json!({ "message_id": n }),
            n.as_bytes(),
        )
        .await;
    }
    let all = letters(&system, "state=dead", 3).await;
    let [old, fresh, dead] = [0, 1, 2].map(|n| id(&all[n]).to_owned());
    for letter in [&old, &fresh] {
        let path = format!("{letter}/discard");
        post(&system, &path, json!({ "reason": "not wanted" })).await;
        let now = one(&system, letter).await;
        assert!(now["expires_at"].is_u64(), "{now}");
    }
    system.end_orchestrator();
    let id_of = |letter: &str| letter.replace('-', "");
    baton_it::poison::Poison::of(&system).sql(&format!(
        "UPDATE dead_letters SET changed_at = changed_at - 7300000 WHERE hex(id) IN (upper('{}'), upper('{}'))",
        id_of(&old),
        id_of(&dead)
    ));
    system.orchestrator();
    system.await_ready().await;
    let row = await_some("it to be written down", SOON, async || {
        let found = system.api.get("/v1/audit?action=expireDeadLetters").await;
        let mut rows = found["items"].as_array()?.iter();
        rows.find(|row| row["after"].is_object()).cloned()
    })
    .await;
    assert_eq!(row["after"]["gone"], 1, "{row}");
    let which = &row["after"]["which"];
    assert_eq!(which["ids"], json!([old]), "which went: {row}");
    let hash = Sha256::digest(format!("{old}\n"));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(which["sha256"], json!(hash), "{row}");
    let mut left: Vec<String> = letters(&system, "", 2)
        .await
        .iter()
        .map(|one| id(one).to_owned())
        .collect();
    left.sort();
    let mut wanted = vec![fresh, dead];
    wanted.sort();
    assert_eq!(left, wanted);
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

/// An event that is mended goes to whoever could not use it, and to nobody else; one that would be refused again is not taken for mended, and what is refused all the
/// same is the same letter.
async fn a_mended_event(setup: Setup) {
    let system = setup.start().await;
    system.api.apply(&hears(1, "event.data.name")).await;
    let other = hears(1, "event.id").replace("saga: hears", "saga: keeps");
    system.api.apply(&other).await;
    let event = json!({ "specversion": "1.0", "id": "m1", "source": "/test", "type": "com.example.named", "data": { "name": 5 } });
    let properties = json!({ "message_id": "m1", "content_type": "application/cloudevents+json" });
    await_until("the event to be routed", SOON, async || {
        let (properties, text) = (properties.clone(), event.to_string());
        let key = "com.example.named";
        let vhost = &system.vhost;
        vhost.publish("baton.events", key, properties, &text).await
    })
    .await;
    let letter = letters(&system, "reason=misfit", 1).await.remove(0);
    let path = |what: &str| format!("{}/{what}", id(&letter));
    let edit = |edition: u32, name: Value| json!({ "edition": edition, "set": { "/data/name": name }, "reason": "a typing error" });
    let sagas = async |of: &str| {
        let path = format!("/v1/sagas?definition={of}");
        let found = system.api.get(&path).await;
        found["sagas"].as_array().cloned().unwrap_or_default()
    };

    let still = post(&system, &path("edit"), edit(0, json!(7))).await;
    assert_eq!(still.status, 422, "{still:?}");
    let detail = still.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("of hears@1"), "{still:?}");
    let mended = post(&system, &path("edit"), edit(0, json!("bob"))).await;
    assert_eq!(mended.status, 200, "{mended:?}");

    // what is wanted changes before it is sent: it is refused again, and that is said of the same letter
    let longer = hears(2, "event.data.name").replace("type: string", "type: string, minLength: 9");
    system.api.apply(&longer).await;
    let planned = post(&system, "replays", json!({ "dry_run": true })).await;
    assert_eq!(planned.body["plan"]["unreadable"], 1, "{planned:?}");
    let again = post(&system, &path("replay"), json!({ "reason": "mended" })).await;
    assert_eq!(again.body["state"], "dead", "{again:?}");
    let now = letters(&system, "", 1).await;
    assert_eq!(id(&now[0]), id(&letter), "no other letter");
    assert_eq!(sagas("hears").await.len(), 0);

    let mended = post(&system, &path("edit"), edit(1, json!("bob the builder"))).await;
    assert_eq!(mended.status, 200, "{mended:?}");
    let planned = post(&system, "replays", json!({ "dry_run": true })).await;
    assert_eq!(planned.body["plan"]["routes"]["event"], 1, "{planned:?}");
    let done = post(&system, &path("replay"), json!({ "reason": "mended" })).await;
    assert_eq!(done.body["state"], "resolved", "{done:?}");
    let started = sagas("hears").await;
    assert_eq!(started.len(), 1, "{started:?}");
    let saga = started[0]["id"].as_str().unwrap_or_default();
    let saga = system.api.get(&format!("/v1/sagas/{saga}")).await;
    assert_eq!(saga["input"]["name"], "bob the builder", "{saga}");
    assert_eq!(sagas("keeps").await.len(), 1, "it had the first one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_event_goes_to_whoever_refused_it_and_to_nobody_else() {
    a_mended_event(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_mended_event_goes_to_whoever_refused_it_and_to_nobody_else() {
    a_mended_event(Setup::workers(0).postgres()).await;
}

/// An event that is mended under the id of another that is kept would be taken for that one, and nobody would see it: it is refused, by the plan and by the replay, until
/// its id is free.
async fn a_mended_event_under_the_id_of_another(setup: Setup) {
    let system = setup.start().await;
    system.api.apply(&hears(1, "event.data.name")).await;
    for (id, name) in [("t1", json!(5)), ("t2", json!("eve"))] {
        let event = json!({ "specversion": "1.0", "id": id, "source": "/test", "type": "com.example.named", "data": { "name": name } });
        let properties =
            json!({ "message_id": id, "content_type": "application/cloudevents+json" });
        await_until("the event to be routed", SOON, async || {
            let (properties, text) = (properties.clone(), event.to_string());
            let key = "com.example.named";
            let vhost = &system.vhost;
            vhost.publish("baton.events", key, properties, &text).await
        })
        .await;
    }
    let names = async |count: usize| {
        let what = format!("{count} sagas");
        let sagas = await_some(&what, SOON, async || {
            let found = system.api.get("/v1/sagas?definition=hears").await;
            let sagas = found["sagas"].as_array().cloned()?;
            (sagas.len() == count).then_some(sagas)
        });
        let mut names = Vec::new();
        for saga in sagas.await {
            let saga = saga["id"].as_str().expect("an id").to_owned();
            let saga = system.api.get(&format!("/v1/sagas/{saga}")).await;
            names.push(saga["input"]["name"].clone());
        }
        names.sort_by_key(Value::to_string);
        names
    };
    assert_eq!(names(1).await, ["eve"]);
    let letter = letters(&system, "reason=misfit", 1).await.remove(0);
    let path = |what: &str| format!("{}/{what}", id(&letter));
    let edit = |edition: u32, id: &str| json!({ "edition": edition, "set": { "/data/name": "bob", "/id": id }, "reason": "a typing error" });
    let mended = post(&system, &path("edit"), edit(0, "t2")).await;
    assert_eq!(mended.status, 200, "{mended:?}");

    let planned = post(&system, "replays", json!({ "dry_run": true })).await;
    let plan = &planned.body["plan"];
    assert_eq!(plan["refused"], 1, "{plan}");
    let why = plan["why"][0]["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("\"t2\"") && why.contains("edit its id"),
        "{plan}"
    );
    let refused = post(&system, &path("replay"), json!({ "reason": "mended" })).await;
    assert_eq!(
        (refused.status, &refused.body["cure"]),
        (409, &json!("edit")),
        "{refused:?}"
    );
    let replay = begun(&system, json!({ "reason": "mended", "wait_s": 0 })).await;
    let done = operation(&system, &replay, "done").await;
    assert_eq!(
        (&done["refused"], &done["resolved"]),
        (&json!(1), &json!(0)),
        "{done}"
    );
    let now = stands(&system, id(&letter), "dead").await;
    let outcome = now["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("\"t2\""), "{now}");

    let mended = post(&system, &path("edit"), edit(1, "t3")).await;
    assert_eq!(mended.status, 200, "{mended:?}");
    let sent = post(&system, &path("replay"), json!({ "reason": "mended" })).await;
    assert_eq!(sent.body["state"], "resolved", "{sent:?}");
    assert_eq!(names(2).await, ["bob", "eve"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_event_is_never_taken_for_another_that_has_its_id() {
    a_mended_event_under_the_id_of_another(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_mended_event_is_never_taken_for_another_that_has_its_id() {
    a_mended_event_under_the_id_of_another(Setup::workers(0).postgres()).await;
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

/// However many fit: a thousand in each request, and every one of them once; a discard that was a mistake is taken back for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_thousand_are_discarded_and_restored() {
    const COUNT: usize = 1_203;
    let system = Setup::workers(0).start().await;
    let lines: String = (0..COUNT)
        .map(|n| {
            let letter = json!({
                "baton_dead_letter": 1, "id": uuid::Uuid::new_v4(), "at": 1_790_000_000_000_u64, "state": "dead", "reason": "other",
                "error": "no use", "queue": "elsewhere", "exchange": "", "key": "elsewhere", "properties": {}, "body": n.to_string(),
            });
            format!("{letter}\n")
        })
        .collect();
    let cli = system.cli();
    std::fs::write(cli.dir().join("letters.jsonl"), lines).expect("a file");
    cli.run(&["dead", "import", "letters.jsonl"]).await.exits(0);
    let whole = post(
        &system,
        "discards",
        json!({ "filter": { "queue": "elsewhere" }, "reason": "why" }),
    )
    .await;
    assert_eq!(whole.status, 422, "not without a limit: {whole:?}");
    let standing = async |state: &str| {
        let plan = json!({ "dry_run": true, "filter": { "queue": "elsewhere" } });
        let path = if state == "dead" {
            "discards"
        } else {
            "restores"
        };
        post(&system, path, plan).await.body["found"].clone()
    };
    let all = [
        "dead",
        "discard",
        "--queue",
        "elsewhere",
        "-m",
        "sent by hand",
        "-y",
    ];
    let gone = cli.run(&all).await.exits(0);
    assert!(gone.out.contains("1203 of 1203"), "{gone:?}");
    assert_eq!(
        (standing("dead").await, standing("discarded").await),
        (json!(0), json!(COUNT))
    );
    let back = [
        "dead",
        "restore",
        "--queue",
        "elsewhere",
        "-m",
        "a mistake",
        "-y",
    ];
    let back = cli.run(&back).await.exits(0);
    assert!(back.out.contains("1203 of 1203"), "{back:?}");
    assert_eq!(
        (standing("dead").await, standing("discarded").await),
        (json!(COUNT), json!(0))
    );
    // what was exported before is not written over
    let export = ["dead", "export", "-o", "letters.jsonl"];
    let kept = cli.run(&export).await;
    assert_ne!(kept.code, 0, "{kept:?}");
    let text = std::fs::read_to_string(cli.dir().join("letters.jsonl")).expect("it is there");
    assert_eq!(text.lines().count(), COUNT);
}

/// Whoever says how long a stage waits has seen how long its consumers take to give up: longer than most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_waits_as_long_as_it_is_told_for_messages_of_others() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..4 {
        order(&system, n).await;
    }
    letters(&system, "state=dead", 4).await;
    let replay = begun(&system, json!({ "reason": "try", "wait_s": 40 })).await;
    let path = format!("/v1/dead-letters/operations/{replay}");
    system.vhost.await_messages("orders", 1, 0, SOON).await;
    let since = std::time::Instant::now();
    await_until(
        "its consumer to have had it for a while",
        SOON,
        async || {
            let now = system.api.get(&path).await;
            assert_eq!(now["replayed"], 1, "it waits: {now}");
            since.elapsed() > std::time::Duration::from_secs(8)
        },
    )
    .await;
    rejected(&system, "orders").await;
    let stopped = operation(&system, &replay, "stopped").await;
    assert_eq!(
        (&stopped["replayed"], &stopped["failed"]),
        (&json!(1), &json!(1)),
        "{stopped}"
    );
}

/// What dies when its stage is over counts all the same: for the share of all that was sent, and for what is said of it at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_late_stops_a_replay_or_is_told_of_it_at_its_end() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..14 {
        order(&system, n).await;
    }
    letters(&system, "state=dead", 14).await;
    let body = json!({ "reason": "try", "wait_s": 0, "rate": 1 });
    let replay = begun(&system, body).await;
    let path = format!("/v1/dead-letters/operations/{replay}");
    await_until("the last stage", SOON, async || {
        system.api.get(&path).await["replayed"].as_u64() >= Some(9)
    })
    .await;
    // it waits for nobody: what fails meanwhile fails before it goes on
    let pause = post(&system, &format!("operations/{replay}/pause"), json!({})).await;
    assert_eq!(pause.body["state"], "paused", "{pause:?}");
    for _ in 0..8 {
        rejected(&system, "orders").await;
    }
    await_until("most of them to have failed", SOON, async || {
        system.api.get(&path).await["failed"].as_u64() >= Some(8)
    })
    .await;
    post(&system, &format!("operations/{replay}/resume"), json!({})).await;
    let stopped = operation(&system, &replay, "stopped").await;
    let why = stopped["why"].as_str().unwrap_or_default();
    assert!(why.contains("all it sent failed again"), "{stopped}");
    let others = json!({ "reason": "all the same", "wait_s": 0, "stop_at": 100, "force": true, "rate": 500 });
    let replay = begun(&system, others).await;
    let done = operation(&system, &replay, "done").await;
    assert_eq!(done["why"], "every letter has had its turn", "{done}");
    rejected(&system, "orders").await;
    let path = format!("/v1/dead-letters/operations/{replay}");
    let told = async || {
        let now = system.api.get(&path).await;
        let failed = now["failed"].as_u64().filter(|failed| *failed > 0)?;
        let why = format!("every letter has had its turn; {failed} failed again");
        (now["why"] == why).then_some(now)
    };
    // those of the stopped replay lie before them
    for _ in 0..14 {
        if told().await.is_some() {
            break;
        }
        let path = format!("/api/queues/{}/orders/get", system.vhost.name());
        let body = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto", "truncate": 10 });
        system.vhost.management().post(&path, &body).await;
    }
    await_some("it to be told", SOON, told).await;
}
