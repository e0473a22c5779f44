//! What nobody can use: put aside whole, with the reason, seen by an operator, and no harm to anything beside it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use baton_harness::await_some;
use baton_harness::ledger::Did;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// A report of a saga nobody knows, well formed.
fn unknown_saga() -> String {
    let id = uuid::Uuid::new_v4();
    json!({ "finished@1": {
        "of": { "saga": id, "step": "a", "direction": "do", "round": 1, "attempt": 1, "dispatch": 1 },
        "run": id, "worker": "w", "started": true, "sole": true,
        "result": { "succeeded": { "output": {} } }, "started_at": 1, "finished_at": 2,
    } })
    .to_string()
}

async fn letters(system: &System, count: usize) -> Vec<Value> {
    let what = format!("{count} dead letters");
    await_some(&what, SOON, async || {
        let letters = system.api.dead_letters().await;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_message_nobody_can_use_is_kept_byte_for_byte_with_its_reason() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let too_large = format!("{{\"finished@1\":\"{}\"}}", "x".repeat(600 * 1024));
    let start = json!({ "start@1": {
        "id": uuid::Uuid::new_v4(), "saga": uuid::Uuid::new_v4(), "definition": "nobody-registered-it", "input": {}, "by": "x",
    } });
    let cases = [
        ("undecodable", "this is {not JSON".to_owned()),
        (
            "undecodable",
            "{\"finished@1\": {\"of\": 7}, \"ümlaut\": \"ß\"}".to_owned(),
        ),
        ("unknown-kind", "{\"finished@99\": {}}".to_owned()),
        ("too-large", too_large),
        ("unknown-saga", unknown_saga()),
        ("unknown-saga", start.to_string()),
    ];
    for (number, (_, body)) in cases.iter().enumerate() {
        let properties =
            json!({ "message_id": format!("case-{number}"), "headers": { "from": "elsewhere" } });
        assert!(
            system
                .vhost
                .publish("baton.inbox", "00", properties, body)
                .await
        );
    }

    let letters = letters(&system, cases.len()).await;
    assert_eq!(letters.len(), cases.len(), "one each, and only one");
    for (number, (reason, body)) in cases.iter().enumerate() {
        let id = json!(format!("case-{number}"));
        let letter = letters.iter().find(|letter| letter["message_id"] == id);
        let letter = letter.unwrap_or_else(|| panic!("case {number} is not there"));
        assert_eq!(
            letter["reason"], *reason,
            "case {number}: {}",
            letter["error"]
        );
        assert!(
            letter["body"] == json!(body),
            "case {number} is not kept as it was"
        );
        assert_eq!(letter["queue"], "baton.inbox.00");
        assert!(!letter["error"].as_str().unwrap_or_default().is_empty());
        assert!(
            letter["properties"].to_string().contains("elsewhere"),
            "its headers are kept: {letter}"
        );
    }
    // and beside it everything goes on
    let saga = Saga::named("row").effect("a", "");
    system.apply(&[&saga]).await;
    let id = system.run("row", "n").await;
    system.api.await_status(&id, "completed", SOON).await;
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    system.vhost.await_messages("baton.dead", 0, 0, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_are_kept_as_they_are() {
    let system = Setup::workers(0).start().await;
    let encoded = "AP/+gAECAwQ=";
    let vhost = &system.vhost;
    let path = format!("/api/exchanges/{}/baton.inbox/publish", vhost.name());
    let body = json!({
        "properties": { "delivery_mode": 2 }, "routing_key": "00", "payload": encoded, "payload_encoding": "base64",
    });
    let routed = vhost.management().post(&path, &body).await;
    assert_eq!(routed["routed"], true);
    let letters = letters(&system, 1).await;
    assert_eq!(letters[0]["reason"], "undecodable");
    assert_eq!(letters[0]["body_base64"], encoded);
}

/// Headers in which fifteen hundred lists and tables lie in each other. The client that reads them from the broker takes
/// a stack for each: no process may die of that, the message is kept, and the list of dead letters can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_nested_deeper_than_anybody_reads_kill_nobody_and_are_kept() {
    let system = Setup::workers(1).start().await;
    system.await_takers("test.echo@1", 1).await;
    let mut deep = json!("the innermost");
    for level in 0..1_500 {
        deep = if level % 2 == 0 {
            json!({ "a": deep })
        } else {
            json!([deep])
        };
    }
    let properties = json!({ "message_id": "deep", "headers": { "deep": deep } });
    for (exchange, key) in [
        ("baton.inbox", "00"),
        ("baton.tasks", "default.test.echo@1"),
    ] {
        let properties = properties.clone();
        assert!(
            system
                .vhost
                .publish(exchange, key, properties, "no {JSON")
                .await
        );
    }
    for letter in letters(&system, 2).await {
        assert_eq!(letter["reason"], "undecodable");
        let mut innermost = &letter["properties"]["headers"]["deep"];
        while innermost.get("base64").is_none() {
            innermost = innermost
                .get("a")
                .unwrap_or_else(|| &innermost.as_array().unwrap()[0]);
        }
        let encoded = innermost["base64"].as_str().unwrap();
        let bytes = BASE64.decode(encoded).unwrap();
        assert!(
            bytes.ends_with(b"the innermost"),
            "what is too deep is kept byte for byte"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_no_worker_can_read_is_parked_by_the_worker() {
    let system = Setup::workers(1).start().await;
    system.await_takers("test.echo@1", 1).await;
    let body = "{\"task@1\": {\"of\": \"nothing\"}}";
    assert!(
        system
            .vhost
            .publish("baton.tasks", "default.test.echo@1", json!({}), body)
            .await
    );
    let letters = letters(&system, 1).await;
    assert_eq!(letters[0]["reason"], "undecodable", "{letters:?}");
    assert_eq!(letters[0]["body"], body);
    assert_eq!(letters[0]["queue"], "baton.task.default.test.echo@1");
    system
        .vhost
        .await_messages("baton.task.default.test.echo@1", 0, 0, SOON)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_does_not_fit_its_type_fails_before_dispatch_and_is_not_retried() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("misfit")
        .effect("a", "")
        .effect("b", ", delay_after_ms: \"${ dyn(input.name) }\"");
    system.apply(&[&saga]).await;
    // what can be seen before anything runs is refused before anything runs
    let seen = Saga::named("seen").effect("a", ", delay_after_ms: \"${ input.name }\"");
    let seen = Some(seen.yaml().to_owned());
    let refused = system.api.ask("PUT", "/v1/definitions", "", seen).await;
    let refused = refused.expect("it answers");
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.body["errors"][0]["code"], "BT0020",
        "{}",
        refused.body
    );
    let id = system.run("misfit", "n").await;
    let ended = system.api.await_status(&id, "compensated", SOON).await;
    let step = &ended["steps"][1];
    assert_eq!(step["attempts"], json!([]), "no worker was asked");
    assert_eq!(step["last_failure"]["code"], "input-misfit", "{step}");
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.effect("n-a").undone, 1);
    assert_eq!(book.count("n-b", Did::Do), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_api_caller_gets_wrong_is_said_and_starts_nothing() {
    let system = Setup::workers(0).start().await;
    let saga = Saga::named("row").effect("a", "");
    system.apply(&[&saga]).await;
    let ask = async |body: Value| {
        let answer = system
            .api
            .ask("POST", "/v1/sagas", "", Some(body.to_string()))
            .await;
        answer.expect("it answers")
    };
    let nobody = ask(json!({ "definition": "nobody-registered-it", "input": {} })).await;
    assert!((400..500).contains(&nobody.status), "{nobody:?}");
    let misfit = ask(json!({ "definition": "row", "input": { "name": 7 } })).await;
    assert_eq!(misfit.status, 422, "{misfit:?}");
    let wrong = system
        .api
        .ask(
            "PUT",
            "/v1/definitions",
            "",
            Some("saga: x\nversion: 1\nsteps:\n  - id: a\n    tusk: x@1\n".into()),
        )
        .await
        .expect("it answers");
    assert_eq!(wrong.status, 422);
    let places = wrong.body["errors"].as_array().cloned().unwrap_or_default();
    assert!(
        places.iter().any(|place| place["line"] == 5),
        "{}",
        wrong.body
    );
    let changed = Saga::named("row").effect("a", ", value: other");
    let changed = system
        .api
        .ask(
            "PUT",
            "/v1/definitions",
            "",
            Some(changed.yaml().to_owned()),
        )
        .await
        .expect("it answers");
    assert_eq!(
        changed.status, 409,
        "a registered version never changes: {changed:?}"
    );
    assert_eq!(system.api.sagas().await, Vec::<Value>::new());
}

/// What the broker itself dead-letters has no id of ours, and what strangers send often none at all: nobody can say that two are one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_look_alike_are_all_kept() {
    let system = Setup::workers(0).start().await;
    let named = json!({ "headers": { "baton-dead-id": uuid::Uuid::new_v4().to_string() } });
    for (properties, body) in [
        (json!({}), "like another"),
        (json!({}), "like another"),
        (named.clone(), "one"),
        (named.clone(), "two"),
        (named, "two"),
    ] {
        let vhost = &system.vhost;
        assert!(
            vhost
                .publish("amq.default", "baton.dead", properties, body)
                .await
        );
    }
    system.vhost.await_messages("baton.dead", 0, 0, SOON).await;
    let letters = letters(&system, 4).await;
    let mut bodies: Vec<&str> = letters
        .iter()
        .filter_map(|letter| letter["body"].as_str())
        .collect();
    bodies.sort_unstable();
    assert_eq!(
        bodies,
        ["like another", "like another", "one", "two"],
        "only the same under the same name is the same"
    );
}

/// Who starts a program with a setting that is none reads which, where it stands and what it may be: no words of a library, no lines of our code.
#[test]
fn a_setting_that_is_none_is_told_in_plain_words_without_a_backtrace() {
    for program in ["baton-orchestrator", "baton-worker"] {
        let mut command = std::process::Command::new(baton_harness::binaries::path_of(program));
        let ran = command
            .arg("run")
            .env("BATON__LOG__FORMAT", "xml")
            .env("RUST_BACKTRACE", "1")
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{program}: {said}");
        assert_eq!(
            said.trim_end(),
            "error: configuration has a value that cannot be used, in the variable BATON__LOG__FORMAT: `log.format` is \"xml\", and has to be \"human\" or \"json\"",
            "{program}"
        );
    }
}
