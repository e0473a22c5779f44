//! `baton` and what it is given: an input is held against its schema before anything starts, a name or version there is not is answered with those there
//! are, and what was tried, by whom and what waits for nobody is told in full.

use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

async fn system(sagas: &[&Saga]) -> System {
    let system = Setup::workers(1).start().await;
    system.apply(sagas).await;
    system.await_served("test.effect@1").await;
    system
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
}

/// Whatever is wrong with what was typed, the answer ends with what to type next, and a mistake of the command line is no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_is_answered_with_the_next_command() {
    let system = system(&[]).await;
    system.api.apply(SIZED).await;
    let baton = system.cli();
    baton.run(&["token", "create", "anna"]).await.exits(0);
    let id = baton.run(&["run", "sized", "-f", "text=x"]).await.exits(0);
    let saga = id.out.trim();
    std::fs::write(system.dir().join("page.yaml"), SIZED).expect("a file can be written");
    let (url, absent) = ("http://127.0.0.1:8470", "/nowhere/at/all");
    let of_saga = format!("baton show {saga}");
    for (args, code, said, next) in [
        (&["--url", "foo", "ls"][..], 2, "`foo` is no URL", url),
        (
            &["--url", "localhost:8470", "ls"],
            2,
            "is no URL",
            "http://localhost:8470",
        ),
        (
            &["--token-file", absent, "ls"],
            1,
            "cannot be read",
            "BATON_TOKEN_FILE",
        ),
        (
            &["ls", "--label", "x"],
            2,
            "`x` is not KEY=VALUE",
            "baton ls --help",
        ),
        (
            &["ls", "--label", "=x"],
            2,
            "is not KEY=VALUE",
            "baton ls --help",
        ),
        (
            &["approve", "--label", "x"],
            2,
            "is not KEY=VALUE",
            "baton approve --help",
        ),
        (
            &["ls", "--since", "x"],
            2,
            "`x` is no time",
            "baton ls --help",
        ),
        (
            &["ls", "--cursor", "x"],
            1,
            "`cursor` is none of ours",
            "baton ls --help",
        ),
        (
            &["check", "pge.yaml"],
            1,
            "did you mean `page.yaml`?",
            "ls .",
        ),
        (
            &["check", "/nowhere/at/all.yaml"],
            1,
            "cannot be read",
            "ls /",
        ),
        (
            &["token", "create", "anna"],
            1,
            "`anna` already",
            "baton token revoke",
        ),
        (
            &["token", "create", "a b"],
            1,
            "a name is",
            "baton token create --help",
        ),
        (
            &["token", "create", "x", "--expires", "x"],
            2,
            "no duration",
            "baton token create --help",
        ),
        (
            &["token", "revoke", "ann"],
            1,
            "did you mean `anna`?",
            "baton token ls",
        ),
        (&["acknowledge", saga, "9"], 1, "", &of_saga),
        (
            &["work", "show", saga, "9"],
            1,
            "no work item 9",
            "baton show",
        ),
        (
            &["event", "show", "x", "--source", "/y"],
            1,
            "no such event",
            "baton event ls",
        ),
        (
            &["event", "publish", "a b"],
            2,
            "has blanks",
            "baton event publish --help",
        ),
        (
            &["event", "publish", "a.*"],
            2,
            "has a `*`",
            "baton event publish --help",
        ),
        (
            &["explain", "BT9999"],
            2,
            "no code `BT9999`",
            "baton explain",
        ),
        (
            &["run", "sized@x"],
            2,
            "`x` is no version",
            "baton definitions",
        ),
        (&["run", "file.write"], 2, "has a version", "baton tasks"),
        (
            &["run", "sized", "-f", "x"],
            2,
            "is not KEY=VALUE",
            "baton run --help",
        ),
        (
            &["run", "sized", "-f", "text=x", "--key", ""],
            1,
            "Idempotency-Key",
            "baton run --help",
        ),
        (&["show", "12"], 2, "too short", "baton ls"),
        (
            &["schedules", "fire", "sized"],
            1,
            "no definition with a schedule",
            "baton schedules",
        ),
    ] {
        let ran = baton.run(args).await.exits(code);
        let (error, last) = ran.err.trim_end().rsplit_once('\n').unwrap_or_default();
        assert!(error.contains(said), "{args:?}: {}", ran.err);
        let told = last.strip_prefix("  next: ");
        let told =
            told.unwrap_or_else(|| panic!("{args:?} says nothing of what is next: {}", ran.err));
        assert!(told.contains(next), "{args:?}: {told}");
    }
}

/// A label whose name is none could never be searched for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_without_a_name_is_refused() {
    let system = system(&[]).await;
    system.api.apply(SIZED).await;
    for name in ["", "a=b", "line\nbreak"] {
        let asked =
            json!({ "definition": "sized", "input": { "text": "x" }, "labels": { name: "v" } });
        let answer = system
            .api
            .ask_patiently("POST", "/v1/sagas", "", Some(asked.to_string()))
            .await;
        assert_eq!(answer.status, 400, "{name:?}: {}", answer.body);
        has(&answer.body.to_string(), &["is no name of a label"]);
    }
    assert!(system.api.sagas().await.is_empty(), "nothing was started");
}

const SIZED: &str = "saga: sized
version: 1
input:
  type: object
  required: [text]
  additionalProperties: false
  properties: { text: { type: string }, count: { type: integer } }
steps:
  - id: rest
    sleep: 1ms
output: { text: \"${ input.text }\" }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_is_held_against_its_schema_before_anything_starts() {
    let system = system(&[]).await;
    system.api.apply(SIZED).await;
    let baton = system.cli();
    let args = [
        "run", "sized", "-f", "text=42", "-f", "count=7", "--wait", "--json",
    ];
    let ran = baton.run(&args).await.exits(0).json();
    assert_eq!(ran["output"]["text"], "42", "text as the schema says");
    assert_eq!(ran["input"], json!({ "text": "42", "count": 7 }));
    let wrong = baton
        .run(&["run", "sized", "-f", "text=x", "-f", "count=many"])
        .await;
    has(
        &wrong.exits(1).err,
        &[
            "does not fit sized@1",
            "input/count",
            "baton definitions show sized",
        ],
    );
    let wrong = baton
        .run(&["run", "check.tcp@1", "-f", "host=h", "-f", "port=many"])
        .await;
    has(
        &wrong.exits(1).err,
        &[
            "does not fit check.tcp@1",
            "input/port",
            "baton tasks show check.tcp@1",
        ],
    );
    let secret = r#"{"url":"https://a.example/","auth":{"bearer":{"$secret":"ci"}}}"#;
    let named = baton
        .run(&["run", "check.http@1", "--input", secret])
        .await
        .exits(1);
    has(&named.err, &["input/auth/bearer", "only a definition may"]);
    assert_eq!(
        system.api.sagas().await.len(),
        1,
        "nothing else was started"
    );

    let lines = system.dir().join("lines");
    std::fs::write(&lines, "{}\n").expect("it can be written");
    let lines = lines.to_str().expect("it is UTF-8");
    let each = ["run", "sized", "--each", lines, "-f", "text=43", "--wait"];
    baton.run(&each).await.exits(0);
    let inputs: Vec<Value> = system.api.sagas().await;
    assert_eq!(inputs.len(), 2);

    let body = json!({ "definition": "sized", "input": { "text": 1, "count": "x" } });
    let answer = system
        .api
        .ask("POST", "/v1/sagas", "", Some(body.to_string()))
        .await;
    let answer = answer.expect("it answers");
    assert_eq!(
        (answer.status, &answer.body["type"]),
        (422, &json!("urn:baton:problem:misfit"))
    );
    let mut paths: Vec<&str> = answer.body["errors"]
        .as_array()
        .expect("each place is named")
        .iter()
        .filter_map(|one| one["path"].as_str())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/count", "/text"], "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_mean_nothing_are_answered_with_what_there_is() {
    let system = system(&[]).await;
    system.api.apply(SIZED).await;
    let baton = system.cli();
    has(
        &baton
            .run(&["run", "sized@9", "-f", "text=a"])
            .await
            .exits(1)
            .err,
        &["sized@9 is not registered", "there is sized@1"],
    );
    has(
        &baton.run(&["ls", "-d", "szied"]).await.exits(1).err,
        &["no definition `szied`", "did you mean `sized`?"],
    );
    has(
        &baton.run(&["ls", "-d", "sized"]).await.exits(0).out,
        &["none"],
    );
    has(
        &baton.run(&["ls", "-n", "0"]).await.exits(2).err,
        &["1..=500"],
    );
    has(
        &baton.run(&["watch"]).await.exits(2).err,
        &["which saga?", "--all", "next: baton ls"],
    );
    let asked = async |path: &str| {
        let answer = system.api.ask("GET", path, "", None).await;
        answer.expect("it answers").body
    };
    let nope = asked("/v1/saga").await;
    assert_eq!(nope["type"], "urn:baton:problem:not-found");
    has(
        &nope["detail"].to_string(),
        &["/v1/saga is no path", "did you mean /v1/sagas?"],
    );
    let typo = json!({ "definition": "szied" });
    let answer = system
        .api
        .ask("POST", "/v1/sagas", "", Some(typo.to_string()))
        .await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status, 404);
    has(
        &answer.body["detail"].to_string(),
        &["did you mean `sized`?"],
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let running = baton
        .command(&["tasks"])
        .stdout(full.expect("Linux has it"))
        .spawn()
        .expect("baton can be run");
    let ended = running.wait_with_output().await.expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    has(
        &String::from_utf8_lossy(&ended.stderr),
        &["could not be written", "No space left"],
    );
    let wrong = system.dir().join("wrong.yaml");
    std::fs::write(&wrong, "saga: wrong\nversion: 1\n").expect("it can be written");
    let wrong = wrong.to_str().expect("it is UTF-8");
    for command in ["check", "apply"] {
        let both = baton.run(&[command, "nowhere.yaml", wrong]).await.exits(1);
        has(
            &both.err,
            &["nowhere.yaml cannot be read", "in ", "wrong.yaml"],
        );
    }
    let json = baton
        .run(&["check", "--json", "nowhere.yaml", wrong])
        .await
        .exits(1);
    let json: Value = serde_json::from_str(&json.out).expect("one document");
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_tells_by_whom_when_and_what_came_of_it() {
    let row = Saga::named("row")
        .effect("first", "")
        .late("looks", "")
        .effect("fails", ", fail: final");
    let system = system(&[&row]).await;
    let id = system.run("row", "a").await;
    system.api.await_status(&id, "compensated", SOON).await;
    let saga = system.api.get(&format!("/v1/sagas/{id}")).await;
    let all = system.api.get(&format!("/v1/sagas/{id}/attempts")).await;
    let of = |step: &str, direction: &str| -> Value {
        let all = all["attempts"].as_array().expect("a list");
        let found = all
            .iter()
            .find(|one| one["step"] == step && one["direction"] == direction);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no {direction} of {step}: {all:?}"))
    };
    for (step, direction, outcome) in [
        ("first", "do", "succeeded"),
        ("looks", "do", "succeeded"),
        ("fails", "do", "failed"),
        ("first", "undo", "succeeded"),
    ] {
        let one = of(step, direction);
        assert_eq!(one["outcome"], outcome, "{one}");
        assert!(one["worker"].is_string(), "{one}");
        let at = |name: &str| {
            one[name]
                .as_u64()
                .unwrap_or_else(|| panic!("no {name}: {one}"))
        };
        assert!(
            at("sent_at") <= at("started_at") && at("started_at") <= at("ended_at"),
            "{one}"
        );
    }
    assert!(of("fails", "do")["failure"]["message"].is_string());
    // the time a step took is over before its undo begins
    let first = saga["steps"]
        .as_array()
        .and_then(|steps| steps.iter().find(|one| one["id"] == "first"));
    let done_at = first.and_then(|step| step["done_at"].as_u64());
    assert!(
        done_at.is_some() && done_at <= of("first", "undo")["sent_at"].as_u64(),
        "{first:?}"
    );
    let shown = system.cli().run(&["show", &id, "-a"]).await.exits(0);
    let words = [
        "ATTEMPT",
        "OUTCOME",
        "TOOK",
        "STARTED",
        "WORKER",
        "undo 1",
        "failed",
        "succeeded",
    ];
    has(&shown.out, &words);
}

/// A type nobody has announced, and one whose worker is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_worker_nobody_has_started_stands_first() {
    let row = Saga::named("row").effect("one", "");
    let system = system(&[&row]).await;
    let unknown = "saga: unknown\nversion: 1\nsteps:\n  - { id: a, task: acme.paint@1 }\n  - { id: b, after: [], task: acme.paint@1 }\n";
    system.api.apply(unknown).await;
    let done = system.run("row", "a").await;
    system.api.await_status(&done, "completed", SOON).await;
    let waits = system.api.start("unknown", &json!({}), "u").await;
    system.api.await_phase(&waits, "a", "unserved").await;
    let first = baton_harness::await_some("it to be shown", SOON, async || {
        let top = system.api.get("/v1/top").await;
        let first = top["items"][0].clone();
        (first["task_type"] == "acme.paint@1").then_some(first)
    })
    .await;
    assert_eq!(
        (&first["waiting"], &first["unserved"], &first["workers"]),
        (&json!(2), &json!(2), &json!(0))
    );
    assert!(first["longest_wait_ms"].is_u64(), "{first}");
    let top = system.cli().run(&["top"]).await.exits(0);
    has(&top.out, &["not served: 2 wait", "no worker serves that"]);
    let lines: Vec<&str> = top.out.lines().collect();
    assert!(lines[1].starts_with("acme.paint@1"), "{}", top.out);
}
