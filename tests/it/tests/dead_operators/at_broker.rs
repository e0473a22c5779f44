//! Looked at and moved at the broker itself, where no orchestrator runs.

use std::time::Duration;

use baton_harness::Proxy;

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
async fn at_the_broker_itself_messages_are_looked_at_and_moved_once() {
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
        (["move", "from", "/nowhere", "-y"], "no queue nowhere"),
        (["move", "nowhere", "/to", "-y"], "no queue nowhere"),
        (["move", "from", "nothere/x", "-y"], "takes nothing there"),
        (["move", "from", "/from", "-y"], "lies there already"),
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
    let ran = at_broker(&system, &["move", "from", "/small", "--json", "-y"]).await;
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

    let ran = at_broker(&system, &["move", "from", "/to", "-n", "50", "-y"])
        .await
        .exits(0);
    assert!(ran.out.contains("50 of 50 moved"), "{ran:?}");
    assert!(ran.err.contains("no orchestrator can be asked"), "{ran:?}");
    // what was handed out ahead is back in its place when the broker has noticed that the channel is gone
    system
        .vhost
        .await_messages("from", COUNT as u64 - n - 50, 0, SOON)
        .await;
    let ran = at_broker(&system, &["move", "from", "/to", "-y"])
        .await
        .exits(0);
    assert!(ran.out.contains("moved"), "{ran:?}");
    system.vhost.await_messages("from", 0, 0, SOON).await;
    let moved = taken(&system, "to").await;
    // in whatever order: of what was handed out ahead to a move before, and given back, the broker keeps no place
    let mut all = numbers(&moved);
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

/// Bytes to the broker with which some messages are moved and most are not.
const A_PART_BYTES: u64 = 20_000;
/// Messages that are handed out ahead of their acknowledgement.
const AHEAD: usize = 32;

async fn numbered(system: &System, which: std::ops::Range<usize>) {
    let all: Vec<usize> = which.collect();
    for some in all.chunks(32) {
        let each = some.iter().map(|n| {
            let properties = json!({ "message_id": format!("m{n}"), "headers": { "n": n } });
            put(system, "from", properties, b"x")
        });
        join_all(each).await;
    }
}

/// Interrupted by a person, with its connections cut, and killed: what is moved and what is left are all there was, each once; but for a message of which it was said that nobody knows, and those that a
/// killed process had confirmed and not acknowledged yet. What comes into the queue while it moves stays there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_interrupted_or_cut_off_loses_and_doubles_nothing() {
    let count: usize = if baton_it::long() { 6_000 } else { 1_000 };
    let system = Setup::workers(0).start_without_orchestrator().await;
    for queue in ["from", "to", "elsewhere"] {
        system.vhost.declare(queue, "quorum").await;
    }
    numbered(&system, 0..count).await;
    // a long way: so many bytes on it are the middle of the work, whatever befalls it then
    let link = Proxy::to_port(system.broker.amqp_port()).await;
    link.delay(Duration::from_millis(4));
    let amqp = system.vhost.url_through(link.port());
    let words = ["dead", "--amqp", &amqp, "move", "from", "/to", "-y"];
    let all_in_all = count + 300;
    let mut unsure = 0;
    for what in ["interrupted", "killed", "cut off", "to the end"] {
        if what == "to the end" {
            // one that was cut off may go on by itself
            numbered(&system, count..all_in_all).await;
        }
        let before = link.bytes_to_server();
        let running = system.cli().command(&words).spawn().expect("it can be run");
        let pid = running.id().expect("it runs").to_string();
        await_until("it to be in the middle", SOON, async || {
            link.bytes_to_server() > before + A_PART_BYTES
        })
        .await;
        let signal = |name: &str| {
            let sent = std::process::Command::new("kill")
                .args([name, &pid])
                .status();
            assert!(sent.expect("kill can be run").success());
        };
        match what {
            "interrupted" => signal("-INT"),
            "killed" => {
                signal("-KILL");
                // those it had confirmed and had not acknowledged
                unsure += AHEAD;
            }
            "cut off" => link.cut(),
            _ => {
                numbered(&system, all_in_all..all_in_all + 1).await;
                link.delay(Duration::ZERO);
            }
        }
        let ended = tokio::time::timeout(SOON, running.wait_with_output());
        let ended = ended.await.expect("it ends").expect("it ran");
        let said = String::from_utf8_lossy(&ended.stderr);
        #[expect(clippy::print_stdout, reason = "figures for who measures")]
        {
            println!("{what}: {} {said}", ended.status);
        }
        match what {
            "interrupted" => assert_eq!(ended.status.code(), Some(130), "{said}"),
            "killed" => assert_eq!(ended.status.code(), None, "it was over before"),
            "cut off" => {}
            _ => assert!(ended.status.success(), "{said}"),
        }
        let doubts = said.split_once("at most ").map(|(_, rest)| rest);
        let doubts = doubts.and_then(|rest| rest.split(' ').next()?.parse().ok());
        unsure += doubts.unwrap_or(0);
    }
    system.vhost.await_messages("from", 1, 0, SOON).await;
    assert_eq!(
        numbers(&taken(&system, "from").await),
        [all_in_all as u64],
        "what came later stays"
    );
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
    let expected: Vec<u64> = (0..all_in_all as u64).collect();
    assert!(
        all == expected,
        "{} of {all_in_all}: some are lost",
        all.len()
    );
    assert!(
        there <= all_in_all + unsure,
        "{there} of {all_in_all}, {unsure} unsure"
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
    let ran = at_broker(&system, &["move", "from", "/to", "-y"])
        .await
        .exits(0);
    assert!(ran.out.contains("1 of 1 moved"), "{ran:?}");
    let found = system.api.get("/v1/audit?action=noteBrokerAction").await;
    let rows = found["items"].as_array().expect("rows");
    let of_move = |row: &&Value| row["object"] == "broker/queues/from to /to";
    let moved = rows.iter().filter(of_move);
    let said: Vec<&Value> = moved.map(|row| &row["asked"]["outcome"]).collect();
    assert_eq!(said, [&json!("1 of 1 moved"), &Value::Null], "{found}");
}

/// Whoever looks stands in the audit log, and sees what looks like a secret only where he says so, which stands there too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_at_the_broker_stands_in_the_audit_log_and_sees_no_secret_by_a_slip() {
    let system = Setup::workers(0).start().await;
    system.vhost.declare("looked", "quorum").await;
    let properties = json!({ "message_id": "m", "headers": { "x-api-key": "hunter2" } });
    let body = br#"{"password":"hunter3","order":7}"#;
    put(&system, "looked", properties, body).await;
    system.vhost.await_messages("looked", 1, 0, SOON).await;
    for json in [&["--json"][..], &[]] {
        let words = [&["peek", "looked"][..], json].concat();
        let covered = at_broker(&system, &words).await.exits(0).out;
        assert!(!covered.contains("hunter"), "{covered}");
        assert!(
            covered.contains("***") && covered.contains("order"),
            "{covered}"
        );
    }
    let whole = ["peek", "looked", "--json", "--raw"];
    let whole = at_broker(&system, &whole).await.exits(0).out;
    assert!(
        whole.contains("hunter2") && whole.contains("hunter3"),
        "{whole}"
    );

    let found = system.api.get("/v1/audit?action=noteBrokerAction").await;
    let rows = found["items"].as_array().expect("rows");
    let outcomes = |object: &str| -> Vec<&Value> {
        let of_it = rows.iter().filter(|row| row["object"] == object);
        of_it.map(|row| &row["asked"]["outcome"]).collect()
    };
    let (shown, none) = (json!("1 of 1 shown"), Value::Null);
    assert_eq!(
        outcomes("broker/queues/looked"),
        [&shown, &none, &shown, &none],
        "{found}"
    );
    assert_eq!(
        outcomes("broker/queues/looked, as they came"),
        [&json!("1 of 1 shown, as they came"), &none],
        "{found}"
    );
}

/// Each look is a delivery to the broker, and is said to be one; where our own consumers count them nobody looks by a slip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_broker_counts_as_a_delivery_and_says_so() {
    let system = Setup::workers(0).start_without_orchestrator().await;
    system.vhost.declare("looked", "quorum").await;
    fill(&system, "looked", 1).await;
    let first = at_broker(&system, &["peek", "looked"]).await.exits(0);
    assert!(!first.err.contains("delivery limit"), "{first:?}");
    // it lies there again when the broker has noticed that nobody looks any more
    let again = await_some("it to be seen again", SOON, async || {
        let again = at_broker(&system, &["peek", "looked"]).await.exits(0);
        (!again.out.contains("0 of 0")).then_some(again)
    })
    .await;
    assert!(
        again.err.contains("delivered 2 times") && again.err.contains("delivery limit"),
        "a look is no secret: {again:?}"
    );
    let own = at_broker(&system, &["peek", "baton.task.default.test.echo@1"]).await;
    assert!(own.code == 2 && own.err.contains("--force"), "{own:?}");
}
