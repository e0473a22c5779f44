//! `baton` and what only a running orchestrator can do: tokens and roles, every change as it happens, where time goes, definitions checked there.

use baton_it::sagas::Saga;
use baton_it::{Setup, System};
use tokio::io::{AsyncBufReadExt as _, BufReader};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_every_saga_is_a_line() {
    let row = Saga::named("row").effect("one", "");
    let system = system(&[&row]).await;
    let baton = system.cli();
    let mut watching = baton
        .command(&["watch", "--all", "--definition", "row", "--json"])
        .spawn()
        .expect("baton can be run");
    let mut lines = BufReader::new(watching.stdout.take().expect("it is piped")).lines();
    // a saga that starts before anybody watches is not told of; so sagas are started until one is
    let mut seen = Vec::new();
    for n in 0..100 {
        let id = system.run("row", &format!("w{n}")).await;
        system
            .api
            .await_status(&id, "completed", baton_it::SOON)
            .await;
        seen.push(id);
        let line =
            tokio::time::timeout(std::time::Duration::from_millis(300), lines.next_line()).await;
        if let Ok(line) = line {
            let line = line.expect("it can be read").expect("it goes on");
            let row: serde_json::Value = serde_json::from_str(&line).expect("each line is JSON");
            assert_eq!(row["definition"], "row");
            assert!(seen.iter().any(|id| row["id"] == *id), "{row}");
            return;
        }
    }
    panic!("nothing was told of {} sagas", seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_used_and_refused() {
    let system = system(&[]).await;
    let admin = system.cli();
    let made = admin
        .run(&["token", "create", "anna", "--role", "viewer"])
        .await
        .exits(0);
    let anna = admin.with_token(made.out.trim());
    has(
        &anna.run(&["token", "whoami"]).await.exits(0).out,
        &["anna", "viewer"],
    );
    let refused = anna.run(&["token", "ls"]).await.exits(1);
    has(&refused.err, &["admin", "next: ", "token create"]);
    let brief = admin
        .run(&["token", "create", "brief", "--expires", "1ms", "--json"])
        .await
        .exits(0)
        .json();
    let brief = admin.with_token(brief["token"].as_str().expect("it is shown once"));
    let expired = brief.run(&["ls"]).await.exits(1);
    has(&expired.err, &["expired", "next: ", "token create"]);
    has(
        &admin.run(&["token", "ls"]).await.exits(0).out,
        &["anna", "viewer", "expired"],
    );
    has(
        &admin.run(&["token", "revoke", "ana"]).await.exits(1).err,
        &["did you mean `anna`?"],
    );
    admin.run(&["token", "revoke", "anna"]).await.exits(0);
    has(&anna.run(&["ls"]).await.exits(1).err, &["token"]);
    has(
        &admin
            .run(&["token", "create", "x", "--expires", "soon"])
            .await
            .exits(2)
            .err,
        &["12h"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_checks_and_tells_where_time_goes() {
    let row = Saga::named("row").effect("one", "");
    let system = system(&[&row]).await;
    let baton = system.cli();
    let id = system.run("row", "t").await;
    system
        .api
        .await_status(&id, "completed", baton_it::SOON)
        .await;
    has(
        &baton.run(&["top"]).await.exits(0).out,
        &["test.effect@1", "WAITING", "nothing waits"],
    );
    assert!(baton.run(&["top", "--json"]).await.exits(0).json()["items"].is_array());
    let wrong = "saga: wrong\nversion: 1\nsteps:\n  - id: a\n    tusk: test.echo@1\n";
    std::fs::write(system.dir().join("wrong.yaml"), wrong).expect("it can be written");
    let online = baton
        .run(&["check", "wrong.yaml", "--online"])
        .await
        .exits(1);
    has(&online.err, &["wrong.yaml:5:5", "did you mean `task`?"]);
}
