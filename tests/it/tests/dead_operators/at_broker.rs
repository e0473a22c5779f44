//! Looked at and moved at the broker itself, where no orchestrator runs.

use super::*;

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
    assert!(ran.err.contains("no orchestrator can be asked"), "{ran:?}");
    // what was handed out ahead is back in its place when the broker has noticed that the channel is gone
    system
        .vhost
        .await_messages("from", COUNT as u64 - n - 50, 0, SOON)
        .await;
    let ran = at_broker(&system, &["move", "from", "/to"]).await.exits(0);
    assert!(ran.out.contains("moved"), "{ran:?}");
    system.vhost.await_messages("from", 0, 0, SOON).await;
    let moved = taken(&system, "to").await;
    // the first fifty as they lay; of what was handed out ahead of them and given back the broker keeps no place
    let mut all = numbers(&moved);
    assert_eq!(all[..50], (n..n + 50).collect::<Vec<_>>(), "in order");
    all.sort_unstable();
    assert_eq!(all, (n..COUNT as u64).collect::<Vec<_>>(), "each once");
    let is_last = |one: &&Value| numbers(std::slice::from_ref(*one)) == [COUNT as u64 - 1];
    let last = moved.iter().find(is_last).expect("it is there");
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
        #[expect(clippy::print_stdout, reason = "figures for who measures")]
        {
            println!("{what}: {} {said}", ended.status);
        }
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

/// Past the orchestrator, and in its audit log all the same: before it was begun, and what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_at_the_broker_stands_in_the_audit_log() {
    let system = Setup::workers(0).start().await;
    for queue in ["from", "to"] {
        system.vhost.declare(queue, "quorum").await;
    }
    put(&system, "from", json!({ "message_id": "m" }), b"m").await;
    system.vhost.await_messages("from", 1, 0, SOON).await;
    let ran = at_broker(&system, &["move", "from", "/to"]).await.exits(0);
    assert!(ran.out.contains("1 of 1 moved"), "{ran:?}");
    let found = system.api.get("/v1/audit?action=noteBrokerAction").await;
    let rows = found["items"].as_array().expect("rows");
    let of_move = |row: &&Value| row["object"] == "broker/queues/from to /to";
    let moved = rows.iter().filter(of_move);
    let said: Vec<&Value> = moved.map(|row| &row["asked"]["outcome"]).collect();
    assert_eq!(said, [&json!("1 of 1 moved"), &Value::Null], "{found}");
}
