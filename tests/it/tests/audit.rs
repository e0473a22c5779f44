//! What operators do is written down: each action once, with what came of it, whoever dies meanwhile and however many orchestrators there are; and whoever
//! changes, takes out, cuts off or rewrites rows is found out.
#![expect(
    clippy::unwrap_used,
    reason = "a failure is to stop the test where it is"
)]

use baton_harness::{await_some, await_until};
use baton_it::poison::Poison;
use baton_it::sagas::Saga;
use baton_it::{Answer, SOON, Setup, System};
use baton_messages::{AuditEntry, AuditPhase, AuditRow};
use futures::future::join_all;
use serde_json::{Value, json};

/// Nothing of this may ever stand in the log.
const SECRET: &str = "hunter2-7f3a";

async fn rows(system: &System) -> Vec<AuditEntry> {
    let mut all: Vec<AuditEntry> = Vec::new();
    loop {
        let after = all.last().map_or(0, |entry| entry.seq);
        let path = format!("/v1/audit/rows?after={after}");
        let answer = system.api.get(&path).await;
        let page: Vec<AuditRow> = serde_json::from_value(answer["items"].clone()).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|row| row.entry().unwrap()));
    }
}

fn of<'a>(all: &'a [AuditEntry], action: &str, phase: AuditPhase) -> Vec<&'a AuditEntry> {
    let fits = |entry: &&AuditEntry| entry.action == action && entry.phase == phase;
    all.iter().filter(fits).collect()
}

async fn post(system: &System, path: &str, body: Value) -> Answer {
    let answer = system.api.ask("POST", path, "", Some(body.to_string()));
    answer.await.unwrap()
}

async fn verified(system: &System, args: &[&str]) -> (i32, Value) {
    let args: Vec<&str> = ["audit", "verify", "--json"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let ran = system.cli().run(&args).await;
    (ran.code, ran.json())
}

/// A definition that waits for an event nobody sends.
fn waits() -> String {
    "saga: waits\nversion: 1\ninput:\n  type: object\n  properties: { password: { type: string } }\nsteps:\n  - id: a\n    wait: { event: com.example.never, timeout: 30d }\n".to_owned()
}

async fn is_in_the_log_once_with_what_came_of_it(setup: Setup) {
    let system = setup.start().await;
    system.api.apply(&waits()).await;
    let started = post(
        &system,
        "/v1/sagas",
        json!({ "definition": "waits", "input": { "password": SECRET }, "labels": { "a": SECRET } }),
    )
    .await;
    let saga = started.body["id"].as_str().unwrap().to_owned();
    for (action, reason) in [
        ("pause", "lunch"),
        ("resume", "back"),
        ("cancel", "wrong one"),
    ] {
        let answer = system
            .api
            .act(&saga, action, json!({ "reason": reason }))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    system.api.await_status(&saga, "compensated", SOON).await;
    let late = system
        .api
        .act(&saga, "cancel", json!({ "reason": "once more" }))
        .await;
    assert_eq!(late.status, 409, "{late:?}");
    let token = post(
        &system,
        "/v1/tokens",
        json!({ "name": "wall", "role": "viewer" }),
    )
    .await;
    let token = token.body["token"].as_str().unwrap().to_owned();
    let wall = system.api.with_token(&token);
    for _ in 0..25 {
        let path = format!("/v1/sagas/{saga}/cancel");
        let refused = wall
            .ask("POST", &path, "", Some("{}".to_owned()))
            .await
            .unwrap();
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let unread = wall.ask("GET", "/v1/audit", "", None).await.unwrap();
    assert_eq!(unread.status, 403, "{unread:?}");
    // a word that means something elsewhere is no way around the log
    let rehearsed = Some(json!({ "dry_run": true }).to_string());
    let revoked = system
        .api
        .ask("DELETE", "/v1/tokens/wall", "", rehearsed)
        .await
        .unwrap();
    assert_eq!(revoked.status, 204, "{revoked:?}");

    let all = rows(&system).await;
    let done = |action: &str| of(&all, action, AuditPhase::Done);
    let changed = |entry: &AuditEntry| (entry.before.clone(), entry.after.clone());
    let running = json!({ "status": "running" });
    let paused = json!({ "status": "running", "paused": true });
    for (action, before, after) in [
        ("pauseSaga", &running, &paused),
        ("resumeSaga", &paused, &running),
    ] {
        let [entry] = done(action)[..] else {
            panic!("{action}: {all:?}")
        };
        assert_eq!(entry.object, format!("sagas/{saga}"));
        let stood = (Some(before.clone()), Some(after.clone()));
        assert_eq!(changed(entry), stood, "{action}");
    }
    let [cancelled, refused] = done("cancelSaga")[..] else {
        panic!("{all:?}")
    };
    assert_eq!(cancelled.why.as_deref(), Some("wrong one"));
    assert_eq!(
        (cancelled.who.as_str(), cancelled.behalf.as_deref()),
        ("admin", Some("test"))
    );
    assert_eq!(cancelled.from, "127.0.0.1");
    let outcome = refused.outcome.as_ref().unwrap();
    assert_eq!(
        (outcome.status, outcome.problem.as_deref()),
        (409, Some("ended"))
    );
    let [begun] = done("startSaga")[..] else {
        panic!("{all:?}")
    };
    assert_eq!(begun.object, format!("sagas/{saga}"));
    assert_eq!(done("registerDefinition")[0].object, "definitions/waits@1");
    assert_eq!(done("makeToken")[0].object, "tokens/wall");
    assert_eq!(
        done("revokeToken")[0].before.as_ref().unwrap()["role"],
        "viewer"
    );
    for entry in all.iter().filter(|entry| entry.phase == AuditPhase::Done) {
        let asked = &all[usize::try_from(entry.of.unwrap()).unwrap() - 1];
        assert_eq!(
            (asked.phase, &asked.action),
            (AuditPhase::Asked, &entry.action)
        );
        assert!(asked.seq < entry.seq && asked.request == entry.request);
    }
    assert_eq!(
        of(&all, "cancelSaga", AuditPhase::Refused).len(),
        10,
        "bounded"
    );
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains(SECRET) && !text.contains(&token), "{text}");

    // each action once, by what it was done to
    let path = format!("/v1/audit?object=sagas/{saga}");
    let shown = system.api.get(&path).await;
    assert_eq!(shown["items"].as_array().unwrap().len(), 5 + 10, "{shown}");
    let (code, said) = verified(&system, &[]).await;
    assert_eq!((code, &said["ok"]), (0, &json!(true)), "{said}");
    assert_eq!(said["rows"], json!(all.len()));
}

#[tokio::test]
async fn every_action_is_in_the_log_once_with_what_came_of_it() {
    is_in_the_log_once_with_what_came_of_it(Setup::workers(0)).await;
}

#[tokio::test]
async fn on_postgres_every_action_is_in_the_log_once_with_what_came_of_it() {
    is_in_the_log_once_with_what_came_of_it(Setup::workers(0).postgres()).await;
}

/// Asked by `POST`, and no operator's action: a look, and events of services.
const NO_ACTIONS: [&str; 2] = ["checkDefinition", "publishEvent"];

/// By the API's own document, whatever comes into it: whoever asks for something is in the log, whether or not it was done.
#[tokio::test]
async fn every_route_that_changes_something_is_in_the_log() {
    let system = Setup::workers(0).start().await;
    let document = system.api.get("/v1/openapi.json").await;
    let mut asked = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            let looks = method == "get" || operation["x-role"].is_null();
            if looks || NO_ACTIONS.contains(&name) {
                continue;
            }
            let some = uuid::Uuid::new_v4().to_string();
            let parts = path.split('/').map(|part| match part {
                part if part.starts_with('{') => some.as_str(),
                part => part,
            });
            let path = parts.collect::<Vec<_>>().join("/");
            // a word that means something elsewhere is no way around the log
            let body = Some(json!({ "dry_run": true, "reason": "to see" }).to_string());
            let rehearsed = [
                "discardDeadLetters",
                "editDeadLetter",
                "replayDeadLetters",
                "restoreDeadLetters",
                "upgradeSagas",
            ]
            .contains(&name);
            let body = body.filter(|_| !rehearsed).or(Some("{}".to_owned()));
            let method = method.to_uppercase();
            let answer = system.api.ask(&method, &path, "", body).await.unwrap();
            assert_ne!(answer.status, 401, "{name}");
            asked.push(name.to_owned());
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    let all = rows(&system).await;
    for name in &asked {
        for phase in [AuditPhase::Asked, AuditPhase::Done] {
            assert_eq!(of(&all, name, phase).len(), 1, "{name} {phase:?}");
        }
    }
    assert_eq!(all.len(), 2 * asked.len(), "and nothing else");
}

/// Two orchestrators, and many who ask both at once: one chain.
#[tokio::test]
async fn orchestrators_on_one_database_write_one_chain() {
    let system = Setup::workers(0).postgres().start().await;
    let (launch, other) = system.another_orchestrator();
    let mut process = launch.start();
    process
        .wait_for_http(&format!("{}/readyz", other.url()), SOON)
        .await;
    let asked = (0..60).map(|n| {
        let api = if n % 2 == 0 { &system.api } else { &other };
        let body = json!({ "name": format!("t{n}"), "role": "viewer" }).to_string();
        async move {
            api.ask("POST", "/v1/tokens", "", Some(body))
                .await
                .unwrap()
                .status
        }
    });
    assert_eq!(join_all(asked).await, vec![201; 60]);
    let all = rows(&system).await;
    let done = of(&all, "makeToken", AuditPhase::Done);
    assert_eq!(done.len(), 60);
    let of_one = done
        .iter()
        .filter(|entry| entry.instance == done[0].instance);
    assert_eq!(of_one.count(), 30, "both wrote");
    let (code, said) = verified(&system, &[]).await;
    assert_eq!((code, &said["rows"]), (0, &json!(120)), "{said}");
}

/// The process dies after the action is done and before that is written down: it is in the log that it was asked for.
#[tokio::test]
async fn an_action_whose_end_nobody_wrote_down_is_in_the_log_all_the_same() {
    let mut system = Setup::workers(0).start().await;
    system.api.apply(&waits()).await;
    let saga = system.api.start("waits", &json!({}), "k").await;
    system.end_orchestrator();
    let poison = Poison::of(&system);
    poison
        .on_insert(
            "audit",
            "NEW.body LIKE '%\"phase\":\"done\"%' AND NEW.body LIKE '%pauseSaga%'",
        )
        .await;
    system.orchestrator();
    system.await_ready().await;
    let path = format!("/v1/sagas/{saga}/pause");
    let asked = system.api.ask(
        "POST",
        &path,
        "",
        Some(json!({ "reason": "now" }).to_string()),
    );
    let acted = async {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(3), asked).await;
        assert!(asked.is_err(), "nobody is told before it is written down");
    };
    acted.await;
    system.end_orchestrator();
    poison.sql("DROP TRIGGER poison_of_audit");
    system.orchestrator();
    system.await_ready().await;
    assert_eq!(system.api.saga(&saga).await["paused"], true, "it was done");
    let open = system.api.get("/v1/audit?phase=asked").await;
    let items = open["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{open}");
    assert_eq!(
        (&items[0]["action"], &items[0]["why"]),
        (&json!("pauseSaga"), &json!("now"))
    );
    assert_eq!(verified(&system, &[]).await.0, 0);
}

/// What cannot be written down is not done.
#[tokio::test]
async fn an_action_that_cannot_be_written_down_is_not_done() {
    let mut system = Setup::workers(0).start().await;
    system.api.apply(&waits()).await;
    let saga = system.api.start("waits", &json!({}), "k").await;
    system.end_orchestrator();
    let poison = Poison::of(&system);
    poison.sql(
        "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no room'); END",
    );
    system.orchestrator();
    system.await_ready().await;
    let path = format!("/v1/sagas/{saga}/pause");
    let body = json!({ "reason": "now" }).to_string();
    let answer = system.api.ask("POST", &path, "", Some(body)).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body["type"]),
        (503, &json!("urn:baton:problem:audit")),
        "{answer:?}"
    );
    assert_eq!(
        system.api.saga(&saga).await["paused"],
        false,
        "it was not done"
    );
}

/// Does something to the rows behind the orchestrator's back, as somebody would who can write into the store.
async fn tampered(system: &mut System, sql: &str) {
    system.end_orchestrator();
    if system.is_on_database() {
        let free = "ALTER TABLE audit DISABLE TRIGGER ALL;";
        let client = system.database().client().await;
        let all = format!("{free} {sql}");
        client.batch_execute(&all).await.unwrap();
    } else {
        let free = "DROP TRIGGER IF EXISTS audit_never_changes; DROP TRIGGER IF EXISTS audit_never_goes; DROP TRIGGER IF EXISTS audit_is_dense;";
        let database = rusqlite::Connection::open(system.data_dir().join("baton.db")).unwrap();
        database.execute_batch(&format!("{free} {sql}")).unwrap();
    }
    system.orchestrator();
    system.await_ready().await;
}

#[tokio::test]
async fn whoever_touches_the_log_is_found_out_at_the_first_row_that_is_wrong() {
    whoever_touches_the_log(Setup::workers(0)).await;
}

#[tokio::test]
async fn on_postgres_whoever_touches_the_log_is_found_out_at_the_first_row_that_is_wrong() {
    whoever_touches_the_log(Setup::workers(0).postgres()).await;
}

async fn whoever_touches_the_log(setup: Setup) {
    let folder = tempfile::tempdir().unwrap();
    let heads = folder.path().join("heads");
    let mut system = setup
        .orchestrator("audit.heads_file", heads.to_str().unwrap())
        .orchestrator("audit.heads_every_s", "1")
        .start()
        .await;
    for n in 0..10 {
        let made = post(
            &system,
            "/v1/tokens",
            json!({ "name": format!("t{n}"), "role": "viewer" }),
        )
        .await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    await_until("the head in the file", SOON, async || {
        let text = std::fs::read_to_string(&heads).unwrap_or_default();
        text.contains("\"seq\":20")
    })
    .await;
    let heads = heads.to_str().unwrap().to_owned();
    let whole = folder.path().join("export.jsonl");
    let whole = whole.to_str().unwrap().to_owned();
    system
        .cli()
        .run(&["audit", "export", "-o", &whole])
        .await
        .exits(0);
    let said = system
        .cli()
        .run(&["audit", "verify", "--export", &whole, "--head", &heads])
        .await
        .exits(0);
    assert!(said.out.contains("20 rows hang together"), "{}", said.out);
    let ls = system
        .cli()
        .run(&["audit", "ls", "--action", "makeToken"])
        .await
        .exits(0);
    assert!(ls.out.contains("tokens/t3"), "{}", ls.out);

    tampered(
        &mut system,
        "CREATE TABLE kept AS SELECT seq, body, hash FROM audit",
    )
    .await;
    let restored =
        "DELETE FROM audit; INSERT INTO audit (seq, body, hash) SELECT seq, body, hash FROM kept;";
    let wrong = async |system: &System, args: &[&str]| {
        let (code, said) = verified(system, args).await;
        assert_eq!((code, &said["ok"]), (1, &json!(false)), "{said}");
        (
            said["wrong_row"].as_u64().unwrap(),
            said["fault"].as_str().unwrap().to_owned(),
        )
    };
    let changed = "UPDATE audit SET body = replace(body, 't3', 't9') WHERE seq = 8";
    tampered(&mut system, changed).await;
    let (row, why) = wrong(&system, &[]).await;
    assert!(row == 8 && why.contains("was changed"), "{row}: {why}");
    tampered(
        &mut system,
        &format!("{restored} DELETE FROM audit WHERE seq IN (11, 12)"),
    )
    .await;
    let (row, why) = wrong(&system, &[]).await;
    assert!(row == 11 && why.contains("is missing"), "{row}: {why}");
    tampered(
        &mut system,
        &format!("{restored} DELETE FROM audit WHERE seq > 15"),
    )
    .await;
    assert_eq!(
        verified(&system, &[]).await.0,
        0,
        "without a head nobody can know"
    );
    let (row, why) = wrong(&system, &["--head", &heads]).await;
    assert!(
        row == 16 && why.contains("the log ends before it"),
        "{row}: {why}"
    );
    // and goes on as if nothing had been: the heads know better
    for n in 0..4 {
        post(
            &system,
            "/v1/tokens",
            json!({ "name": format!("again{n}"), "role": "viewer" }),
        )
        .await;
    }
    let (row, why) = wrong(&system, &["--head", &heads]).await;
    assert!(row >= 16 && why.contains("written anew"), "{row}: {why}");
    let ran = system
        .cli()
        .run(&["audit", "verify", "--head", &heads])
        .await
        .exits(1);
    assert!(ran.out.contains("written anew"), "{}", ran.out);
}

/// The head goes over the bus as well, for whoever keeps it elsewhere.
#[tokio::test]
async fn how_far_the_log_is_is_said_on_the_bus() {
    let system = Setup::workers(0)
        .orchestrator("audit.heads_every_s", "1")
        .start()
        .await;
    let hears = "saga: hears\nversion: 1\non:\n  - event: dev.baton.audit.head\n    input: { seq: \"${ event.data.seq }\", hash: \"${ event.data.hash }\" }\ninput:\n  type: object\n  properties: { seq: { type: integer }, hash: { type: string } }\nsteps:\n  - id: a\n    sleep: 1ms\n";
    system.api.apply(hears).await;
    let heard = await_some("a saga that heard of the head", SOON, async || {
        let list = system.api.get("/v1/sagas?definition=hears").await;
        let id = list["sagas"][0]["id"].as_str()?.to_owned();
        Some(system.api.saga(&id).await)
    })
    .await;
    let kept = system.api.get("/v1/audit/rows").await;
    let seq = heard["input"]["seq"].as_u64().unwrap();
    let row = &kept["items"][usize::try_from(seq).unwrap() - 1];
    assert_eq!(heard["input"]["hash"], row["hash"], "{heard} {row}");
}

/// What is moved into a database keeps its chain, and goes on, with the export and the import in it.
#[tokio::test]
async fn a_log_that_is_moved_into_a_database_is_the_same_and_goes_on() {
    let mut system = Setup::workers(0).with_an_empty_database().start().await;
    system
        .apply(&[&Saga::named("s").step("  - id: a\n    sleep: 1ms\n")])
        .await;
    for n in 0..3 {
        post(
            &system,
            "/v1/tokens",
            json!({ "name": format!("t{n}"), "role": "viewer" }),
        )
        .await;
    }
    let before = rows(&system).await;
    system.end_orchestrator();
    let copy = system.dir().join("copy.db");
    let copy = copy.to_str().unwrap();
    let (exported, said) = system.at_store(&["export", copy], false).await;
    assert!(exported, "{said}");
    let (imported, said) = system.at_store(&["import", copy], true).await;
    assert!(imported, "{said}");
    system.use_database(None);
    system.orchestrator();
    system.await_ready().await;
    let moved = rows(&system).await;
    assert_eq!(moved[..before.len()], before);
    let added: Vec<&str> = moved[before.len()..]
        .iter()
        .map(|row| row.action.as_str())
        .collect();
    assert!(
        added.contains(&"exportStore") && added.contains(&"importStore"),
        "{added:?}"
    );
    post(
        &system,
        "/v1/tokens",
        json!({ "name": "later", "role": "viewer" }),
    )
    .await;
    let (code, said) = verified(&system, &[]).await;
    assert_eq!(
        (code, &said["rows"]),
        (0, &json!(moved.len() + 2)),
        "{said}"
    );
}
