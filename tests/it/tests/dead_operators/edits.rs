//! Edited before they go back, and covered for whoever may only look.

use super::*;

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
    // its body does not say which saga, so that there is none to name
    let next = format!("next: baton dead show {}", id(&task));
    assert!(
        refused.err.contains("edited where its saga waits") && refused.err.contains(&next),
        "{refused:?}"
    );
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
    let error = "cannot be read: password=hunter2 at line 1";
    let headers = json!({ "baton-dead-reason": "undecodable", "baton-dead-error": error });
    let parked = json!({ "message_id": "p", "headers": headers });
    put(&system, "baton.dead", parked, b"{}").await;
    let both = letters(&system, "state=dead", 3).await;
    let letter = both
        .iter()
        .find(|one| one["message_id"] == "m")
        .expect("it is there");
    assert!(
        !json!(both).to_string().contains("hunter2"),
        "a list: {both:?}"
    );
    let named = id(letter).to_owned();
    let edit = [
        "dead",
        "edit",
        &named,
        "--set",
        "/password=hunter2hunter2",
        "--header",
        "Authorization=Basic hunter2",
        "-m",
        "another one",
        "-y",
    ];
    let edited = system.cli().run(&edit).await.exits(0);
    assert!(
        edited.out.contains("hunter2"),
        "an operator sees it: {edited:?}"
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
        &["dead", "groups"],
        &["dead", "groups", "--json"],
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
        &["dead", "--error", "hunter"],
        &["dead", "export"],
        &["dead", "edit", id(letter), "--set", "/a=1", "-m", "x"],
        &["dead", "edit", id(letter), "--set", "/a=1", "--dry-run"],
    ] {
        let ran = eve.run(words).await;
        assert!(
            ran.code != 0 && !ran.out.contains("hunter2"),
            "{words:?}: {ran:?}"
        );
    }
    let operator = system
        .cli()
        .run(&["dead", "show", id(letter), "--raw", "--original"])
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
        Some(3),
        "{found}"
    );
    // an alert goes to whoever hears it, whatever their role
    let alerts = await_some("an alert of each group", SOON, async || {
        let answer = system.api.ask("GET", "/v1/alerts", "", None).await?;
        let alerts = answer.body["items"].to_string();
        alerts.contains("cannot be read").then_some(alerts)
    })
    .await;
    assert!(!alerts.contains("hunter2"), "{alerts}");
}

/// Who has seen what is covered for others stands in the audit log, and what was shown to nobody does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sees_a_letter_in_full_is_written_down() {
    let system = Setup::workers(0).start().await;
    let body = br#"{"password":"hunter2"}"#;
    put(&system, "baton.dead", json!({ "message_id": "m" }), body).await;
    let letter = id(&letters(&system, "state=dead", 1).await[0]).to_owned();
    let seen = async || {
        let rows = system.api.get("/v1/audit?phase=seen&limit=100").await;
        let rows = rows["items"].as_array().expect("rows").clone();
        let said = |row: &Value| {
            let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (word("action"), word("object"), row["asked"].clone())
        };
        rows.iter().map(said).collect::<Vec<_>>()
    };
    let cli = system.cli();
    let made = ["token", "create", "eve", "--role", "viewer", "--json"];
    let made = cli.run(&made).await.exits(0).json();
    let eve = cli.with_token(made["token"].as_str().expect("a token"));
    eve.run(&["dead", "show", &letter]).await.exits(0);
    eve.run(&["dead"]).await.exits(0);
    cli.run(&["dead"]).await.exits(0);
    assert_eq!(seen().await, [], "nobody has seen it");

    let object = format!("dead-letters/{letter}");
    let row = |action: &str| (action.to_owned(), object.clone(), Value::Null);
    cli.run(&["dead", "show", &letter]).await.exits(0);
    assert_eq!(seen().await, [row("getDeadLetter")]);
    // what an edit would change shows what is there
    let asked = json!({ "edition": 0, "set": { "/password": "x" }, "dry_run": true });
    let path = format!("{letter}/edit");
    let rehearsed = post(&system, &path, asked).await;
    assert!(rehearsed.body["difference"].to_string().contains("hunter2"));
    assert_eq!(seen().await.first(), Some(&row("editDeadLetter")));
    let words = ["dead", "export", "--state", "dead", "--queue", "nowhere"];
    cli.run(&words).await.exits(0);
    let last = seen().await.remove(0);
    assert_eq!(last.0, "exportDeadLetters");
    let filter = last.2["filter"].as_str().expect("which were exported");
    assert!(
        filter.contains("state=dead") && filter.contains("queue=nowhere"),
        "{filter}"
    );
}

/// Why a task died may quote what is in it, and its saga is shown to everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_task_says_is_covered_in_its_saga() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system
        .apply(&[&Saga::named("parks").task("a", "test.effect@1", "", "on_error: park\n    ")])
        .await;
    let queue = "baton.task.default.test.effect@1";
    system.workers[0].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let saga = system.run("parks", "s").await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    let message = taken(&system, queue).await.remove(0);
    let mut properties = message["properties"].clone();
    properties["headers"]["baton-dead-reason"] = "misfit".into();
    properties["headers"]["baton-dead-error"] = "unknown field password=hunter2".into();
    let body = BASE64.decode(message["payload"].as_str().expect("a body"));
    let body = body.expect("it is base64");
    put(&system, "baton.dead", properties, &body).await;
    system.api.await_phase(&saga, "a", "parked").await;
    let shown = system.api.get(&format!("/v1/sagas/{saga}")).await;
    let shown = shown.to_string();
    assert!(
        shown.contains("unknown field password=***") && !shown.contains("hunter2"),
        "{shown}"
    );

    // of what is done about it the log says how the step stood, not the saga alone
    let retried = system
        .api
        .act(&saga, "steps/a/retry", json!({ "reason": "again" }))
        .await;
    assert_eq!(retried.status, 200, "{retried:?}");
    let rows = system.api.get("/v1/audit?action=retryStep").await;
    let row = &rows["items"][0];
    let phase = |when: &str| row[when]["step"]["phase"].as_str().unwrap_or_default();
    assert_eq!(phase("before"), "parked", "{row}");
    assert!(!["", "parked"].contains(&phase("after")), "{row}");
}
