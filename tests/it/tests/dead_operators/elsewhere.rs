//! Exported and imported, and taken over from other systems.

use super::*;

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

pub(super) async fn lines(system: &System, file: &str) -> Vec<Value> {
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

/// What no queue takes at another system's exchange is a letter where that exchange has ours behind it, and goes back there once a queue is bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_at_an_exchange_with_ours_behind_it_is_a_letter() {
    let system = Setup::workers(0).start().await;
    let (vhost, api) = (system.vhost.name(), system.vhost.management());
    let made = json!({ "type": "topic", "durable": true });
    api.put(&format!("/api/exchanges/{vhost}/orders"), &made)
        .await;
    let policy = json!({
        "pattern": "^orders$", "apply-to": "exchanges", "definition": { "alternate-exchange": "baton.unroutable" },
    });
    api.put(&format!("/api/policies/{vhost}/orders-unroutable"), &policy)
        .await;
    await_until("the policy to apply", SOON, async || {
        let properties = json!({ "message_id": "o1", "headers": { "n": 1 } });
        let vhost = &system.vhost;
        vhost
            .publish("orders", "new.1", properties, "an order")
            .await
    })
    .await;
    let letter = letters(&system, "reason=unroutable", 1).await.remove(0);
    assert_eq!(
        (&letter["exchange"], &letter["key"], &letter["message_id"]),
        (&json!("orders"), &json!("new.1"), &json!("o1")),
        "{letter}"
    );
    system.vhost.declare("orders.in", "quorum").await;
    let bind = format!("/api/bindings/{vhost}/e/orders/q/orders.in");
    api.post(&bind, &json!({ "routing_key": "new.#" })).await;
    let path = format!("{}/replay", id(&letter));
    let done = post(&system, &path, json!({ "reason": "bound now" })).await;
    assert_eq!(done.body["state"], "resolved", "{done:?}");
    let got = taken(&system, "orders.in").await;
    assert_eq!(got.len(), 1);
    let text = BASE64.encode("an order");
    assert_eq!(got[0]["payload"], text);
}

/// A replay of many begins with the one that died first, unless it is asked the other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_died_first_sets_out_first() {
    let system = Setup::workers(0).start().await;
    system.vhost.declare("kept", "quorum").await;
    for n in 0..5 {
        let properties = json!({ "message_id": format!("m{n}") });
        put(&system, "baton.dead", properties, b"x").await;
        letters(&system, "state=dead", n + 1).await;
    }
    for newest_first in [false, true] {
        let orders = json!({
            "reason": "in order", "rate": 5, "to": "/kept", "force": true, "stop_at": 100, "wait_s": 0, "newest_first": newest_first,
        });
        let begun = post(&system, "replays", orders).await;
        let id = begun.body["operation"]["id"].as_str().expect("an id");
        let path = format!("/v1/dead-letters/operations/{id}");
        let done = await_some("all to be sent", SOON, async || {
            let now = system.api.get(&path).await;
            (now["state"] == "done").then_some(now)
        })
        .await;
        assert_eq!(
            (&done["published"], &done["newest_first"]),
            (&json!(5), &json!(newest_first))
        );
        let sent: Vec<Value> = taken(&system, "kept").await;
        let mut names: Vec<_> = sent
            .iter()
            .map(|one| one["properties"]["message_id"].as_str().unwrap_or_default())
            .collect();
        if newest_first {
            names.reverse();
        }
        assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
        for (n, one) in sent.iter().enumerate() {
            let properties = json!({ "message_id": one["properties"]["message_id"] });
            put(&system, "baton.dead", properties, b"x").await;
            letters(&system, "state=dead", n + 1).await;
        }
    }
}
