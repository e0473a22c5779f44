//! Dead letters in operators' hands: edited before they go back, exported and imported, taken over from other systems, looked at and moved at the broker itself; whatever they are made of, none is lost or doubled.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use baton_bus::{Bus, BusConfig, Raw, Sent};
use baton_harness::{await_some, await_until};
use baton_it::sagas::Saga;
use baton_it::{Answer, SOON, Setup, System};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

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

/// Publishes bytes by the default exchange; what is too large for the management API by AMQP.
async fn put(system: &System, queue: &str, properties: Value, body: &[u8]) {
    let text = |name: &str| properties[name].as_str().map(str::to_owned);
    if body.len() > 1_000_000 {
        let config = BusConfig {
            addresses: vec![system.vhost.url()],
            ..BusConfig::default()
        };
        let bus = Bus::start(config, CancellationToken::new()).expect("the address can be read");
        let raw = Raw {
            key: queue.to_owned(),
            body: body.to_vec(),
            message_id: text("message_id"),
            kind: text("type"),
            ..Raw::default()
        };
        assert_eq!(bus.publisher().publish_raw(raw).await, Sent::Confirmed);
        bus.shutdown(SOON).await;
        return;
    }
    let vhost = &system.vhost;
    let path = format!("/api/exchanges/{}/amq.default/publish", vhost.name());
    let mut properties = properties;
    properties["delivery_mode"] = 2.into();
    let body = json!({ "properties": properties, "routing_key": queue, "payload": BASE64.encode(body), "payload_encoding": "base64" });
    assert_eq!(vhost.management().post(&path, &body).await["routed"], true);
}

/// All that lies in a queue, taken out of it, bodies in base64.
async fn taken(system: &System, queue: &str) -> Vec<Value> {
    let path = format!("/api/queues/{}/{queue}/get", system.vhost.name());
    let body = json!({ "count": 10_000, "ackmode": "ack_requeue_false", "encoding": "base64" });
    let got = system.vhost.management().post(&path, &body).await;
    got.as_array().expect("a list").clone()
}

/// A consumer of others rejects the next message, once it is there.
async fn rejected(system: &System, queue: &str) {
    let path = format!("/api/queues/{}/{queue}/get", system.vhost.name());
    let body = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto", "truncate": 10 });
    await_until("a message to be rejected", SOON, async || {
        let got = system.vhost.management().post(&path, &body).await;
        got.as_array().map(Vec::len) == Some(1)
    })
    .await;
}

/// Orders of another system, with a dead-letter queue of its own or with ours.
async fn orders(system: &System, dead: Value) {
    system.vhost.declare("orders", "quorum").await;
    system.vhost.policy("orders", "^orders$", dead).await;
}

const ORDER: &str =
    r#"{"order":  7, "amount":12345678901234567890123, "items":[{"sku":"a","n":"two"}]}"#;

async fn edited_and_replayed(setup: Setup) {
    let system = setup.start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    let properties = json!({ "message_id": "order 7", "content_type": "application/json", "headers": { "theirs": "old", "gone": 1 } });
    put(&system, "orders", properties, ORDER.as_bytes()).await;
    rejected(&system, "orders").await;
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    let of = id(&letter).to_owned();
    let cli = system.cli();

    let dry = cli
        .run(&["dead", "edit", &of, "--set", "items.0.n=2", "--dry-run"])
        .await
        .exits(0);
    assert!(dry.out.contains("body/items/0/n: \"two\" -> 2"), "{dry:?}");
    assert_eq!(one(&system, &of).await["edition"], 0, "nothing is kept");
    // of two at the same moment one is kept
    let edit = |n: u32| json!({ "edition": 0, "set": { "/items/0/n": n }, "headers": { "theirs": "new", "gone": null }, "reason": "a typing error" });
    let path = format!("{of}/edit");
    let both = join_all([2, 3].map(|n| post(&system, &path, edit(n)))).await;
    let mut codes: Vec<u16> = both.iter().map(|answer| answer.status).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 409], "{both:?}");
    let won = if both[0].status == 200 { 2 } else { 3 };
    for (what, body) in [
        (
            "not JSON any more",
            json!({ "edition": 1, "body": "no {JSON", "reason": "x" }),
        ),
        (
            "a header of the broker's",
            json!({ "edition": 1, "headers": { "x-death": [] }, "reason": "x" }),
        ),
        (
            "a place that is not there",
            json!({ "edition": 1, "set": { "/none/x": 1 }, "reason": "x" }),
        ),
        ("nothing", json!({ "edition": 1, "reason": "x" })),
    ] {
        let refused = post(&system, &path, body).await;
        assert_eq!(refused.status, 422, "{what}: {refused:?}");
    }
    let shown = cli.run(&["dead", "show", &of]).await.exits(0);
    for part in [
        "Edit 1",
        "a typing error",
        "header theirs: \"old\" -> \"new\"",
        "header gone, taken away",
    ] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    let kept = one(&system, &of).await;
    assert_eq!(kept["body"], ORDER, "the original stays byte for byte");
    assert_eq!(kept["properties"]["headers"]["theirs"], "old");

    let ran = cli
        .run(&["dead", "replay", &of, "-m", "mended"])
        .await
        .exits(0);
    assert!(ran.out.contains("resolved"), "{ran:?}");
    system.vhost.await_messages("orders", 1, 0, SOON).await;
    let message = taken(&system, "orders").await.remove(0);
    let body = BASE64
        .decode(message["payload"].as_str().expect("bytes"))
        .expect("base64");
    let expected = format!(
        r#"{{"order":7,"amount":12345678901234567890123,"items":[{{"sku":"a","n":{won}}}]}}"#
    );
    assert_eq!(
        String::from_utf8_lossy(&body),
        expected,
        "the rest stays as it was written"
    );
    let headers = &message["properties"]["headers"];
    assert_eq!(
        (&headers["theirs"], &headers["gone"]),
        (&json!("new"), &Value::Null)
    );
    let late = post(
        &system,
        &path,
        json!({ "edition": 1, "body": "{}", "reason": "x" }),
    )
    .await;
    assert_eq!(late.status, 409, "it is resolved: {late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_copy_is_sent_and_the_original_stays() {
    edited_and_replayed(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_an_edited_copy_is_sent_and_the_original_stays() {
    edited_and_replayed(Setup::workers(0).postgres()).await;
}

const WANTS: &str = "saga: wants
version: 1
input:
  type: object
  required: [n]
  properties: { n: { type: integer } }
steps:
  - id: nap
    sleep: 1ms
";

/// What is ours is checked as it would be read: the shape of its kind, and of a start its definition's schema. In an editor as by options.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ours_is_checked_before_it_is_kept_and_a_task_is_edited_elsewhere() {
    let system = Setup::workers(0).start().await;
    system.api.apply(WANTS).await;
    let start = json!({ "start@1": { "id": uuid::Uuid::new_v4(), "saga": uuid::Uuid::new_v4(), "definition": "wants", "input": { "n": "seven" }, "by": "elsewhere" } });
    let vhost = &system.vhost;
    assert!(
        vhost
            .publish(
                "baton.inbox",
                "00",
                json!({ "message_id": "s", "type": "start@1" }),
                &start.to_string()
            )
            .await
    );
    let letter = letters(&system, "definition=wants", 1).await.remove(0);
    assert_eq!(letter["reason"], "misfit", "{letter}");
    let path = format!("{}/edit", id(&letter));
    for (set, why) in [
        (json!({ "/start@1/input/n": "eight" }), "n"),
        (
            json!({ "/start@1/definition": "want" }),
            "did you mean `wants`",
        ),
        (json!({ "/start@1/more": 1 }), "still cannot be used"),
    ] {
        let refused = post(
            &system,
            &path,
            json!({ "edition": 0, "set": set, "reason": "x" }),
        )
        .await;
        assert!(
            refused.status >= 400
                && refused.body["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.contains(why)),
            "{why}: {refused:?}"
        );
    }
    let script = system.dir().join("editor.sh");
    std::fs::write(&script, "sed -i 's/\"seven\"/7/' \"$1\"\n").expect("it can be written");
    let editor = format!("sh {}", script.display());
    let mut terminal = system.cli().terminal_with(
        100,
        40,
        &["dead", "edit", id(&letter), "-m", "a number", "--replay"],
        &[("EDITOR", editor.as_str())],
    );
    terminal
        .shows("the question", |screen| screen.contains("keep this copy?"))
        .await;
    assert!(
        terminal.text().contains("\"seven\" -> 7"),
        "{}",
        terminal.text()
    );
    terminal.types(b"y\r").await;
    assert_eq!(terminal.ends().await, 0, "{}", terminal.text());
    let saga = start["start@1"]["saga"].as_str().expect("an id");
    system.api.await_status(saga, "completed", SOON).await;

    let task = json!({ "message_id": "t", "type": "task@1" });
    put(&system, "baton.dead", task, b"no {JSON").await;
    let task = letters(&system, "kind=task@1", 1).await.remove(0);
    let refused = system
        .cli()
        .run(&["dead", "edit", id(&task), "--set", "/a=1", "-m", "x"])
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("edited where its saga waits"),
        "{refused:?}"
    );
}

async fn lines(system: &System, file: &str) -> Vec<Value> {
    let path = system.cli().dir().join(file);
    let ran = system
        .cli()
        .run(&["dead", "export", "--state", "all", "-o", file])
        .await
        .exits(0);
    assert!(ran.err.contains("dead letters"), "{ran:?}");
    let text = std::fs::read_to_string(path).expect("it is written");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// Bodies of every make.
fn odd_bodies() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"\xff\xfe no text \x00".to_vec(),
        "[".repeat(20_000).into_bytes(),
        "ß\u{1b}[31m\r\n".repeat(9).into_bytes(),
        vec![b'x'; 10 * 1024 * 1024],
    ]
}

async fn exported_and_imported(from: Setup, to: Setup) {
    let system = from.start().await;
    for (n, body) in odd_bodies().iter().enumerate() {
        put(
            &system,
            "baton.dead",
            json!({ "message_id": format!("m{n}"), "headers": { "n": n } }),
            body,
        )
        .await;
    }
    let all = letters(&system, "state=dead", 5).await;
    let of = |name: &str| {
        let letter = all.iter().find(|letter| letter["message_id"] == name);
        id(letter.expect("it is there")).to_owned()
    };
    let edit = json!({ "edition": 0, "body_base64": "AP8=", "reason": "why not" });
    assert_eq!(
        post(&system, &format!("{}/edit", of("m1")), edit)
            .await
            .status,
        200
    );
    assert_eq!(
        post(
            &system,
            &format!("{}/discard", of("m0")),
            json!({ "reason": "empty" })
        )
        .await
        .status,
        200
    );
    assert_eq!(
        post(
            &system,
            &format!("{}/note", of("m2")),
            json!({ "note": "deep" })
        )
        .await
        .status,
        200
    );
    let mut exported = lines(&system, "all.jsonl").await;
    assert_eq!(exported.pop(), Some(json!({ "baton_dead_letters_end": 5 })));
    let empty = exported
        .iter()
        .find(|line| line["message_id"] == "m0")
        .expect("it is there");
    assert_eq!(
        (&empty["body"], &empty["state"]),
        (&json!(""), &json!("discarded"))
    );

    let other = to.start().await;
    let file = system.cli().dir().join("all.jsonl");
    let file = file.to_str().expect("a path");
    let cli = other.cli();
    let ran = cli.run(&["dead", "import", file]).await.exits(0);
    assert!(
        ran.out.contains("5 dead letters read: 5 new, 0 known"),
        "{ran:?}"
    );
    let again = cli
        .run(&["dead", "import", file, "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(
        again,
        json!({ "read": 5, "added": 0, "known": 5, "complete": true })
    );
    let mut there = lines(&other, "there.jsonl").await;
    there.pop();
    let sorted = |mut all: Vec<Value>| {
        all.sort_by_key(|line| line["id"].to_string());
        all
    };
    assert_eq!(
        sorted(there),
        sorted(exported),
        "as it was, to the last byte"
    );

    // cut off, and broken: both are said
    let text = std::fs::read_to_string(file).expect("it is there");
    let cut: String = text
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    let cut_file = other.cli().dir().join("cut.jsonl");
    std::fs::write(&cut_file, &cut).expect("it can be written");
    let ran = cli.run(&["dead", "import", "cut.jsonl"]).await.exits(0);
    assert!(ran.err.contains("nobody can say"), "{ran:?}");
    std::fs::write(&cut_file, cut + "{\"baton_dead_letter\": 1}\n").expect("it can be written");
    let ran = cli.run(&["dead", "import", "cut.jsonl"]).await;
    assert!(ran.code != 0 && ran.err.contains("line 4"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_imported_elsewhere_as_it_was_and_once() {
    exported_and_imported(Setup::workers(0), Setup::workers(0).postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_what_is_exported_is_imported_elsewhere_as_it_was_and_once() {
    exported_and_imported(Setup::workers(0).postgres(), Setup::workers(0)).await;
}

async fn adopted(setup: Setup) {
    let setup = setup.orchestrator("dead_letters.adopt", "orders.dlq,late.dlq -> back/home");
    let mut system = setup.start_without_orchestrator().await;
    system.vhost.declare("orders.dlq", "classic").await;
    let dead = json!({ "dead-letter-exchange": "", "dead-letter-routing-key": "orders.dlq" });
    orders(&system, dead).await;
    for (n, body) in odd_bodies().iter().enumerate() {
        put(
            &system,
            "orders",
            json!({ "message_id": format!("m{n}"), "type": "task@1" }),
            body,
        )
        .await;
        rejected(&system, "orders").await;
    }
    // nobody says where this one came from
    put(
        &system,
        "orders.dlq",
        json!({ "message_id": "straight", "headers": { "x-exception-message": "no such sku" } }),
        b"{}",
    )
    .await;
    system.orchestrator().wait_alive_in(SOON).await;
    let found = letters(&system, "state=dead", 6).await;
    system.vhost.await_messages("orders.dlq", 0, 0, SOON).await;
    let of = |name: &str| {
        let letter = found.iter().find(|letter| letter["message_id"] == name);
        letter.expect("it is taken in").clone()
    };
    let first = of("m1");
    assert_eq!(
        (&first["queue"], &first["exchange"], &first["key"]),
        (&json!("orders"), &json!(""), &json!("orders"))
    );
    assert_eq!(first["properties"]["adopted_from"], "orders.dlq");
    assert_eq!(of("straight")["error"], "no such sku");
    system.await_ready_saying("late.dlq is not consumed").await;
    let numbers = async |queue: &str| {
        let metrics = system
            .api
            .ask("GET", "/metrics", "", None)
            .await
            .expect("it answers")
            .body;
        let name = format!("baton_orchestrator_adopted_queue_consumed{{queue=\"{queue}\"}} ");
        let text = metrics.as_str().unwrap_or_default().to_owned();
        text.lines()
            .find_map(|line| line.strip_prefix(&name).map(str::to_owned))
    };
    assert_eq!(numbers("orders.dlq").await.as_deref(), Some("1"));
    assert_eq!(numbers("late.dlq").await.as_deref(), Some("0"));

    // back where it came from, whatever it calls itself
    for (n, body) in odd_bodies().iter().enumerate() {
        let letter = of(&format!("m{n}"));
        let answer = post(
            &system,
            &format!("{}/replay", id(&letter)),
            json!({ "reason": "mended" }),
        )
        .await;
        assert_eq!(answer.body["state"], "resolved", "m{n}: {answer:?}");
        system.vhost.await_messages("orders", 1, 0, SOON).await;
        let message = taken(&system, "orders").await.remove(0);
        assert_eq!(message["payload"], BASE64.encode(body), "m{n}");
        assert_eq!(message["properties"]["type"], "task@1");
    }
    let path = format!("{}/replay", id(&of("straight")));
    let refused = post(&system, &path, json!({})).await;
    assert!(
        refused.status == 409
            && refused.body["detail"]
                .as_str()
                .is_some_and(|d| d.contains("say where")),
        "{refused:?}"
    );
    assert_eq!(
        post(&system, &path, json!({ "to": "/orders" })).await.body["state"],
        "resolved"
    );

    // it is there at last, and what lies in it goes where the configuration says
    system.vhost.declare("late.dlq", "quorum").await;
    system.vhost.declare("home", "quorum").await;
    let vhost = system.vhost.name();
    let management = system.vhost.management();
    management
        .put(
            &format!("/api/exchanges/{vhost}/back"),
            &json!({ "type": "direct", "durable": true }),
        )
        .await;
    management
        .post(
            &format!("/api/bindings/{vhost}/e/back/q/home"),
            &json!({ "routing_key": "home" }),
        )
        .await;
    put(
        &system,
        "late.dlq",
        json!({ "message_id": "late" }),
        b"late",
    )
    .await;
    let late = letters(&system, "state=dead", 1).await.remove(0);
    assert_eq!(
        (&late["exchange"], &late["key"]),
        (&json!("back"), &json!("home"))
    );
    let answer = post(&system, &format!("{}/replay", id(&late)), json!({})).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    system.vhost.await_messages("home", 1, 0, SOON).await;
    system.await_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_of_other_systems_are_taken_in_and_sent_back_where_they_came_from() {
    adopted(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_queues_of_other_systems_are_taken_in_and_sent_back_where_they_came_from() {
    adopted(Setup::workers(0).postgres()).await;
}

/// One that was sent back by others and died again is another letter, however alike; the same delivery twice is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_a_queue_of_others_is_taken_in_and_each_is_there_once() {
    let count: usize = if baton_it::long() { 20_000 } else { 600 };
    let setup = Setup::workers(0).orchestrator("dead_letters.adopt", "orders.dlq -> /orders");
    let mut system = setup.start_without_orchestrator().await;
    for queue in ["orders", "orders.dlq"] {
        system.vhost.declare(queue, "quorum").await;
    }
    for first in (0..count).step_by(32) {
        let some = (first..count.min(first + 32)).map(|n| {
            put(
                &system,
                "orders.dlq",
                json!({ "message_id": format!("m{n}") }),
                b"the same",
            )
        });
        join_all(some).await;
    }
    system.orchestrator().wait_alive_in(SOON).await;
    for share in [1, 3] {
        let enough = async || {
            let plan = post(&system, "replays", json!({ "dry_run": true })).await;
            plan.body["plan"]["found"].as_u64() > Some((count * share / 8) as u64)
        };
        await_until("some to be taken in", SOON, enough).await;
        system.orchestrator().kill9_and_start();
        system.orchestrator().wait_alive_in(SOON).await;
    }
    let found = async || {
        let plan = post(&system, "replays", json!({ "dry_run": true })).await;
        plan.body["plan"]["found"] == count
    };
    await_until("all of them to be taken in", SOON, found).await;
    system.vhost.await_messages("orders.dlq", 0, 0, SOON).await;
    assert!(found().await, "each is there once");
}

fn amqp(system: &System) -> [String; 2] {
    ["--amqp".to_owned(), system.vhost.url()]
}

async fn at_broker(system: &System, words: &[&str]) -> baton_it::Ran {
    let amqp = amqp(system);
    let mut all = vec!["dead", amqp[0].as_str(), amqp[1].as_str()];
    all.extend(words);
    system.cli().run(&all).await
}

async fn fill(system: &System, queue: &str, count: usize) {
    for n in 0..count {
        let properties = json!({ "message_id": format!("m{n}"), "type": "order", "priority": 1, "headers": { "n": n, "CC": ["elsewhere"] } });
        put(
            system,
            queue,
            properties,
            format!("body {n} \u{0}").as_bytes(),
        )
        .await;
    }
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| message["properties"]["headers"]["n"].as_u64())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_broker_itself_messages_are_looked_at_and_moved_in_order_once() {
    const COUNT: usize = 120;
    let system = Setup::workers(0).start_without_orchestrator().await;
    for queue in ["from", "to", "small", "elsewhere"] {
        system.vhost.declare(queue, "quorum").await;
    }
    fill(&system, "from", COUNT).await;
    // each was copied by its CC when it was put there: a move copies none
    assert_eq!(taken(&system, "elsewhere").await.len(), COUNT);
    let seen = at_broker(&system, &["peek", "from", "-n", "3", "--json"])
        .await
        .exits(0);
    let seen: Vec<Value> = seen
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let ids: Vec<&Value> = seen.iter().map(|one| &one["message_id"]).collect();
    assert_eq!(ids, ["m0", "m1", "m2"]);
    system
        .vhost
        .await_messages("from", COUNT as u64, 0, SOON)
        .await;

    for (words, why) in [
        (["move", "from", "/nowhere"], "no queue nowhere"),
        (["move", "nowhere", "/to"], "no queue nowhere"),
        (["move", "from", "nothere/x"], "takes nothing there"),
        (["move", "from", "/from"], "lies there already"),
    ] {
        let ran = at_broker(&system, &words).await;
        assert!(ran.code != 0 && ran.err.contains(why), "{words:?}: {ran:?}");
        system
            .vhost
            .await_messages("from", COUNT as u64, 0, SOON)
            .await;
    }
    // a queue that is full takes some, and the rest stays
    system
        .vhost
        .policy(
            "small",
            "^small$",
            json!({ "max-length": 10, "overflow": "reject-publish" }),
        )
        .await;
    let ran = at_broker(&system, &["move", "from", "/small", "--json"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = ran.json();
    assert!(
        told["why"].as_str().is_some_and(|why| why.contains("full")) && told["certain"] == true,
        "{told}"
    );
    let small = numbers(&taken(&system, "small").await);
    let n = small.len() as u64;
    assert_eq!(told["moved"], n);
    assert_eq!(small, (0..n).collect::<Vec<_>>(), "in order");

    let ran = at_broker(&system, &["move", "from", "/to", "-n", "50"])
        .await
        .exits(0);
    assert!(ran.out.contains("50 of 50 moved"), "{ran:?}");
    let ran = at_broker(&system, &["move", "from", "/to"]).await.exits(0);
    assert!(ran.out.contains("moved"), "{ran:?}");
    system.vhost.await_messages("from", 0, 0, SOON).await;
    let moved = taken(&system, "to").await;
    assert_eq!(
        numbers(&moved),
        (n..COUNT as u64).collect::<Vec<_>>(),
        "each once, in order"
    );
    let last = moved.last().expect("there are some");
    assert_eq!(
        last["payload"],
        BASE64.encode(format!("body {} \u{0}", COUNT - 1))
    );
    assert_eq!(last["properties"]["type"], "order");
    assert!(
        taken(&system, "elsewhere").await.is_empty(),
        "nothing was copied"
    );
}

/// Interrupted by a person, and with its connections cut: what is moved and what is left are all there was, each once; but for a message of which it was said that nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_interrupted_or_cut_off_loses_and_doubles_nothing() {
    let count: usize = if baton_it::long() { 5_000 } else { 1_500 };
    let system = Setup::workers(0).start_without_orchestrator().await;
    for queue in ["from", "to", "elsewhere"] {
        system.vhost.declare(queue, "quorum").await;
    }
    for first in (0..count).step_by(32) {
        let some = (first..count.min(first + 32)).map(|n| {
            put(
                &system,
                "from",
                json!({ "message_id": format!("m{n}"), "headers": { "n": n } }),
                b"x",
            )
        });
        join_all(some).await;
    }
    let ready = async |queue: &str| {
        let found = system.vhost.queue(queue).await;
        found.map_or(0, |queue| queue.messages_ready)
    };
    let amqp = amqp(&system);
    let words = [
        "dead",
        amqp[0].as_str(),
        amqp[1].as_str(),
        "move",
        "from",
        "/to",
    ];
    let mut unsure = 0;
    for what in ["interrupted", "cut off", "to the end"] {
        let before = ready("to").await;
        let running = system.cli().command(&words).spawn().expect("it can be run");
        let pid = running.id().expect("it runs").to_string();
        let is_over = async || ready("from").await == 0;
        if what != "to the end" {
            let moves = async || ready("to").await > before || is_over().await;
            await_until("some to be moved", SOON, moves).await;
        }
        if what == "interrupted" {
            let killed = std::process::Command::new("kill")
                .args(["-INT", &pid])
                .status();
            assert!(killed.expect("kill can be run").success());
        } else if what == "cut off" {
            let cut = async || system.vhost.close_connections().await > 0 || is_over().await;
            await_until("its connections to be cut", SOON, cut).await;
        }
        let ended = tokio::time::timeout(SOON, running.wait_with_output());
        let ended = ended.await.expect("it ends").expect("it ran");
        let said = String::from_utf8_lossy(&ended.stderr);
        println!("{what}: {} {said}", ended.status);
        unsure += usize::from(said.contains("nobody knows"));
        assert!(what != "to the end" || ended.status.success(), "{said}");
    }
    system.vhost.await_messages("from", 0, 0, SOON).await;
    let mut all = Vec::new();
    loop {
        let some = taken(&system, "to").await;
        if some.is_empty() {
            break;
        }
        all.extend(numbers(&some));
    }
    let there = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..count as u64).collect::<Vec<_>>(), "none is lost");
    assert!(
        there <= count + unsure,
        "{there} of {count}, {unsure} unsure"
    );
}

/// A queue that is full, one that is not there: said clearly, nothing lost, and it goes on when that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_to_a_queue_that_is_full_or_missing_stops_and_goes_on_later() {
    const COUNT: usize = 25;
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    let full = json!({ "max-length": 3, "overflow": "reject-publish" });
    system.vhost.policy("orders", "^orders$", full).await;
    for n in 0..COUNT {
        let headers = json!({ "message_id": format!("m{n}"), "headers": { "n": n, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" } });
        put(&system, "baton.dead", headers, b"{}").await;
    }
    letters(&system, "state=dead", COUNT).await;
    let begun = post(
        &system,
        "replays",
        json!({ "reason": "go", "filter": { "queue": "orders" } }),
    )
    .await;
    let operation = begun.body["operation"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/dead-letters/operations/{operation}");
    let stopped = await_some("it to stop by itself", SOON, async || {
        let now = system.api.get(&path).await;
        (now["state"] == "stopped").then_some(now)
    })
    .await;
    assert!(stopped["failed"].as_u64() > Some(0), "{stopped}");
    let dead = letters(&system, "state=dead", 1).await;
    assert!(
        dead.iter().any(|letter| letter["outcome"]
            .as_str()
            .is_some_and(|why| why.contains("full"))),
        "{dead:?}"
    );
    let accepted = numbers(&taken(&system, "orders").await);
    system
        .vhost
        .policy("orders", "^orders$", json!({ "max-length": 1_000_000 }))
        .await;
    // those that were refused by the full queue are dead and had their turn: what is left is replayed anew
    let cancelled = post(
        &system,
        &format!("operations/{operation}/cancel"),
        json!({}),
    )
    .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    // the queue takes its new limit in a moment
    await_until("all of them to be replayed", SOON, async || {
        system
            .cli()
            .run(&[
                "dead",
                "replay",
                "--queue",
                "orders",
                "--force",
                "-m",
                "there is room now",
                "-y",
            ])
            .await;
        letters(&system, "state=dead", 0).await.is_empty()
    })
    .await;
    let mut all = numbers(&taken(&system, "orders").await);
    all.extend(accepted);
    all.sort_unstable();
    assert_eq!(all, (0..COUNT as u64).collect::<Vec<_>>(), "each once");
}

/// Who may only look sees no secret, in no list and in no letter, and finds none by guessing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_covered_for_whoever_may_only_look() {
    let system = Setup::workers(0).start().await;
    let body = r#"{"user":"ann","password":"hunter2","db":"amqp://ann:hunter2@host/"}"#;
    let properties =
        json!({ "message_id": "m", "headers": { "Authorization": "Bearer hunter2hunter2" } });
    put(&system, "baton.dead", properties, body.as_bytes()).await;
    put(
        &system,
        "baton.dead",
        json!({ "message_id": "b" }),
        b"\xffpassword=hunter2",
    )
    .await;
    let both = letters(&system, "state=dead", 2).await;
    let letter = both
        .iter()
        .find(|one| one["message_id"] == "m")
        .expect("it is there");
    assert!(
        !json!(both).to_string().contains("hunter2"),
        "a list: {both:?}"
    );
    let made = system
        .cli()
        .run(&["token", "create", "eve", "--role", "viewer", "--json"])
        .await
        .exits(0)
        .json();
    let eve = system
        .cli()
        .with_token(made["token"].as_str().expect("a token"));
    for words in [
        &["dead", "--json"][..],
        &["dead", "show", id(letter)],
        &["dead", "show", id(letter), "--json"],
    ] {
        let ran = eve.run(words).await.exits(0);
        assert!(
            !ran.out.contains("hunter2") && ran.out.contains("***"),
            "{words:?}: {ran:?}"
        );
    }
    for words in [
        &["dead", "show", id(letter), "--raw"][..],
        &["dead", "--text", "hunter"],
        &["dead", "export"],
        &["dead", "edit", id(letter), "--set", "/a=1", "-m", "x"],
    ] {
        let ran = eve.run(words).await;
        assert!(
            ran.code != 0 && !ran.out.contains("hunter2"),
            "{words:?}: {ran:?}"
        );
    }
    let operator = system
        .cli()
        .run(&["dead", "show", id(letter), "--raw"])
        .await
        .exits(0);
    assert_eq!(operator.out, body);
    let found = system
        .cli()
        .run(&["dead", "--text", "hunter2", "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(
        found["dead_letters"].as_array().map(Vec::len),
        Some(2),
        "{found}"
    );
}

/// A worker dies over a task each time, until it is put aside; then its saga is asked by several at once, in every way there is.
async fn parked(system: &mut System, name: &str) -> (String, String) {
    let queue = "baton.task.default.test.effect@1";
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let saga = system.run("parks", name).await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    for _ in 0..10 {
        assert_eq!(system.vhost.peek(queue, 1).await.len(), 1);
    }
    system.add_worker(&[]);
    system.api.await_phase(&saga, "a", "parked").await;
    let query = format!("saga={saga}");
    let letter = letters(system, &query, 1).await.remove(0);
    (saga, id(&letter).to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_races_with_a_retry_or_an_unwind_of_its_saga_is_one_attempt_or_none() {
    use baton_it::oracle::Book;
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let keys = "on_error: park\n    timeout: 30s\n    ";
    system
        .apply(&[&Saga::named("parks").task("a", "test.effect@1", "", keys)])
        .await;
    let (saga, letter) = parked(&mut system, "r").await;
    let path = format!("{letter}/replay");
    let retry = || {
        system
            .api
            .act(&saga, "steps/a/retry", json!({ "reason": "by hand" }))
    };
    let (replayed, again, retried) = tokio::join!(
        post(&system, &path, json!({ "reason": "by letter" })),
        post(&system, &path, json!({ "reason": "twice" })),
        retry()
    );
    let won = [replayed.status, again.status, retried.status]
        .iter()
        .filter(|status| **status < 300)
        .count();
    assert!(won >= 1, "{replayed:?} {again:?} {retried:?}");
    system.api.await_status(&saga, "completed", SOON).await;
    assert_eq!(Book::of(&system.ledger).await.not_done_once("r-a"), None);

    let (saga, letter) = parked(&mut system, "u").await;
    let path = format!("{letter}/replay");
    let (replayed, cancelled) = tokio::join!(
        post(&system, &path, json!({ "reason": "by letter" })),
        system
            .api
            .act(&saga, "cancel", json!({ "reason": "not wanted" }))
    );
    assert!(
        replayed.status < 500 && cancelled.status < 300,
        "{replayed:?} {cancelled:?}"
    );
    system.api.await_status(&saga, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert!(
        book.ever_done("u-a").is_none() || book.not_taken_back("u-a").is_none(),
        "{:?}",
        book.history("u-a")
    );
}

/// From the first look to the end of it, as somebody types it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_alert_to_resolved_in_a_terminal_in_under_a_minute() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..12 {
        put(
            &system,
            "orders",
            json!({ "message_id": format!("m{n}"), "type": "order" }),
            b"{}",
        )
        .await;
        rejected(&system, "orders").await;
    }
    letters(&system, "state=dead", 12).await;
    let began = std::time::Instant::now();
    let cli = system.cli();
    let mut seen = cli.terminal(110, 40, &["dead", "groups"]);
    assert_eq!(seen.ends().await, 0);
    let groups = seen.text();
    let key = groups
        .lines()
        .find(|line| line.contains("broker-rejected"))
        .and_then(|line| line.split_whitespace().next())
        .expect("a group")
        .to_owned();
    let mut seen = cli.terminal(110, 40, &["dead", "ls", "--group", &key, "-n", "1"]);
    assert_eq!(seen.ends().await, 0);
    let mut typed = cli.terminal(
        110,
        40,
        &[
            "dead",
            "replay",
            "--group",
            &key,
            "-m",
            "consumer is mended",
        ],
    );
    typed
        .shows("the plan, and whether to", |screen| {
            screen.contains("12 dead letters fit") && screen.contains("replay them?")
        })
        .await;
    typed.types(b"y\r").await;
    typed
        .shows("the end", |screen| {
            screen.contains("12 resolved") && screen.contains("done")
        })
        .await;
    assert_eq!(typed.ends().await, 0);
    assert!(
        began.elapsed() < std::time::Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    println!("from alert to resolved: {:?}", began.elapsed());
    assert_eq!(taken(&system, "orders").await.len(), 12);
}
