//! Running sagas go on under another version of their definition, or end under their own: through the command line, with a real broker, on both stores, with the orchestrator
//! killed between the move and what follows from it; and moved while reports of what they run come in.

use baton_harness::await_until;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Cli, SOON, Setup, System};
use serde_json::{Value, json};

const ASKS: &str = "    approve: { by: operator, timeout: 1d }\n";

/// A first approval, an effect, a second approval; with `more` behind, and something in the effect's input.
fn moves(version: u32, with: &str, more: bool) -> String {
    let saga = Saga::named("moves")
        .effect("a", "")
        .step(&format!("  - id: ok\n{ASKS}"))
        .effect("mid", with)
        .step(&format!("  - id: again\n{ASKS}"));
    let saga = if more { saga.effect("last", "") } else { saga };
    saga.yaml()
        .replace("version: 1\n", &format!("version: {version}\n"))
}

async fn approve(system: &System, saga: &str, step: &str) {
    system.api.await_phase(saga, step, "asked").await;
    let path = format!("steps/{step}/approve");
    let said = system.api.act(saga, &path, json!({})).await;
    assert_eq!(said.status, 200, "{}", said.body);
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
}

async fn json_of(baton: &Cli, args: &[&str], code: i32) -> Value {
    let mut all = vec!["upgrade", "moves", "--json"];
    all.extend(args);
    baton.run(&all).await.exits(code).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_in_a_file_are_moved_or_stay_and_each_ends_as_its_version_says() {
    moved_or_stays(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_in_a_database_are_moved_or_stay_and_each_ends_as_its_version_says() {
    moved_or_stays(Setup::workers(1).postgres()).await;
}

async fn moved_or_stays(setup: Setup) {
    // out of memory, so that a move has to read them, and a restart does not
    let mut system = setup.orchestrator("sagas.idle_ms", "1000").start().await;
    system.api.apply(&moves(1, "", false)).await;
    system.await_served("test.effect@1").await;
    let goes = system.run("moves", "goes").await;
    let stays = system.run("moves", "stays").await;
    approve(&system, &stays, "ok").await;
    for (saga, step) in [(&goes, "ok"), (&stays, "again")] {
        system.api.await_phase(saga, step, "asked").await;
    }
    let baton = system.cli();
    std::fs::write(
        system.dir().join("v2.yaml"),
        moves(2, ", value: other", true),
    )
    .expect("it can be written");
    let applied = baton.run(&["apply", "v2.yaml"]).await.exits(0);
    has(
        &applied.out,
        &[
            "2 sagas go on under version 1",
            "baton upgrade moves --to 2",
        ],
    );
    dry(&system, &baton, [&goes, &stays]).await;
    for_admins_alone(&system).await;
    let told = baton
        .run(&[
            "upgrade",
            "moves",
            "--to",
            "2",
            "--why",
            "the page is told too",
        ])
        .await
        .exits(8);
    has(
        &told.out,
        &["1 moved", "1 stay", "step-input", "mid", "with"],
    );

    started_once(&system, &goes).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    for (saga, version) in [(&goes, 2), (&stays, 1)] {
        assert_eq!(system.api.saga(saga).await["version"], version);
    }
    let list = system.api.get("/v1/sagas?definition=moves").await;
    let rows = list["sagas"].as_array().expect("a list");
    let version = |id: &str| {
        rows.iter()
            .find(|row| row["id"] == id)
            .map(|row| &row["version"])
    };
    assert_eq!(
        (version(&goes), version(&stays)),
        (Some(&json!(2)), Some(&json!(1)))
    );
    assert_eq!(system.api.phase(&goes, "last").await, "waiting");
    for step in ["ok", "again"] {
        approve(&system, &goes, step).await;
    }
    approve(&system, &stays, "again").await;
    for saga in [&goes, &stays] {
        system
            .api
            .await_status(saga, "completed", AFTER_A_LEASE)
            .await;
    }
    let book = Book::of(&system.ledger).await;
    for effect in ["goes-a", "goes-mid", "goes-last", "stays-a", "stays-mid"] {
        assert_eq!(book.not_done_once(effect), None);
    }
    assert_eq!(book.ever_done("stays-last"), None, "it had no such step");
    written_down(&system, &baton, &goes).await;
    let none = baton
        .run(&["upgrade", "moves", "--to", "2", "--dry-run"])
        .await
        .exits(0);
    has(&none.out, &["no saga runs on an older version"]);
}

/// A look says what would become of each, and changes nothing.
async fn dry(system: &System, baton: &Cli, [goes, stays]: [&String; 2]) {
    let said = json_of(baton, &["--to", "2", "--dry-run"], 8).await;
    assert_eq!(
        (&said["moved"], &said["stay"]),
        (&json!(1), &json!(1)),
        "{said}"
    );
    let rows = said["sagas"].as_array().expect("a list");
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).expect("it is told");
    assert_eq!(row(goes)["outcome"], "would-move");
    assert_eq!(row(stays)["outcome"], "stays");
    let reason = &row(stays)["reasons"][0];
    assert_eq!(
        (&reason["kind"], &reason["step"]),
        (&json!("step-input"), &json!("mid"))
    );
    assert!(reason["help"].as_str().is_some_and(|help| !help.is_empty()));
    let told = baton
        .run(&["upgrade", "moves", "--to", "2", "--dry-run"])
        .await
        .exits(8);
    has(&told.out, &["1 can be moved", "1 stay"]);
    let one = json_of(baton, &["--to", "2", "--dry-run", "--saga", goes], 0).await;
    assert_eq!(one["moved"], 1);
    // from a version nobody runs, and to one nobody has registered
    let none = json_of(baton, &["--to", "1", "--from", "2", "--dry-run"], 0).await;
    assert_eq!(none["sagas"], json!([]));
    let unknown = baton
        .run(&["upgrade", "moves", "--to", "9", "--dry-run"])
        .await
        .exits(1);
    has(&unknown.err, &["moves@9 is not registered"]);
    for saga in [goes, stays] {
        assert_eq!(system.api.saga(saga).await["version"], 1);
        assert!(!system.api.records(saga).await.contains("upgraded"));
    }
}

/// The request it was started by, repeated, is the same saga, also where it names the version it was started under.
async fn started_once(system: &System, goes: &str) {
    let asked = |version: u32| {
        let input = system.input("goes");
        json!({ "definition": "moves", "version": version, "input": input }).to_string()
    };
    for (version, status) in [(1, 200), (2, 409)] {
        let body = Some(asked(version));
        let answer = system
            .api
            .ask_patiently("POST", "/v1/sagas", "goes", body)
            .await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == 200 {
            assert_eq!(answer.body["id"], *goes);
        }
    }
}

async fn for_admins_alone(system: &System) {
    let made = json!({ "name": "op", "role": "operator" }).to_string();
    let made = system.api.ask("POST", "/v1/tokens", "", Some(made)).await;
    let token = made.expect("it answers").body["token"].clone();
    let operator = system
        .api
        .with_token(token.as_str().expect("it is shown once"));
    for dry_run in [true, false] {
        let body = json!({ "to": 2, "dry_run": dry_run, "reason": "r" }).to_string();
        let path = "/v1/definitions/moves/upgrade";
        let answer = operator.ask("POST", path, "", Some(body)).await;
        assert_eq!(answer.expect("it answers").status, 403);
    }
}

/// It stands in the saga's own history and on its screen, and in the audit log with numbers and reason; a look is no action.
async fn written_down(system: &System, baton: &Cli, goes: &str) {
    let records = system.api.records(goes).await;
    has(&records, &["upgraded", "the page is told too"]);
    let shown = baton.run(&["show", goes]).await.exits(0);
    has(&shown.out, &["moved from version 1"]);
    let shown = baton.run(&["show", goes, "--json"]).await.exits(0).json();
    assert_eq!(shown["upgraded"]["from"], 1);
    assert_eq!(shown["upgraded"]["reason"], "the page is told too");
    let kept = baton.run(&["show", goes, "--records"]).await.exits(0);
    has(&kept.out, &["upgraded"]);
    let audit = system.api.get("/v1/audit?action=upgradeSagas").await;
    let text = audit.to_string();
    has(&text, &["the page is told too", "definitions/moves"]);
    // each row stands there as text
    let rows = system.api.get("/v1/audit/rows").await.to_string();
    let rows = rows.replace("\\\"", "\"");
    has(&rows, &["\"moved\":1", "\"stay\":1", "\"dry_run\":false"]);
    assert!(
        !rows.contains("\"dry_run\":true"),
        "a look is no action: {rows}"
    );
}

/// Moved again and again while they run: each effect is done once, every saga completes, and those that were moved have done what is new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_meets_reports_loses_none_of_them() {
    const SAGAS: usize = 24;
    let chain = |version: u32| {
        let mut saga = Saga::named("chain").late("a", "");
        for step in ["b", "c", "d"] {
            saga = saga.effect(step, "").late(&format!("{step}2"), "");
        }
        // every other one is still there when all pages have been gone through, however fast the rest is
        let holds = "  - id: ok\n    if: ${ input.name.startsWith('h') }\n";
        saga = saga.step(&format!("{holds}{ASKS}"));
        let saga = if version > 1 {
            saga.effect("last", "")
        } else {
            saga
        };
        saga.yaml()
            .replace("version: 1\n", &format!("version: {version}\n"))
    };
    let mut system = Setup::workers(2).start().await;
    system.api.apply(&chain(1)).await;
    for task in ["test.effect@1", "test.effect-late@1"] {
        system.await_served(task).await;
    }
    let name = |n: usize| format!("{}{n}", if n.is_multiple_of(2) { "h" } else { "n" });
    let mut ids = Vec::new();
    for n in 0..SAGAS {
        ids.push(system.run("chain", &name(n)).await);
    }
    system.api.apply(&chain(2)).await;
    // page by page, with a crash between two: what was moved stays so, and what was not is moved by the next
    let mut cursor = Value::Null;
    let mut pages = 0;
    loop {
        let mut body = json!({ "to": 2, "reason": "r", "limit": 5 });
        if cursor.is_string() {
            body["cursor"] = cursor.clone();
        }
        let path = "/v1/definitions/chain/upgrade";
        let page = system
            .api
            .ask_patiently("POST", path, "", Some(body.to_string()))
            .await;
        assert_eq!(page.status, 200, "{}", page.body);
        pages += 1;
        if pages == 2 {
            system.orchestrator().kill9_and_start();
            system.await_ready().await;
        }
        cursor = page.body["next"].clone();
        if !cursor.is_string() {
            break;
        }
    }
    assert!(pages > 2, "it was killed after the last page: {pages}");
    let mut moved = 0;
    for (n, id) in ids.iter().enumerate() {
        if n % 2 == 0 {
            await_until("it to ask", AFTER_A_LEASE, async || {
                system.api.phase(id, "ok").await == "asked"
            })
            .await;
            approve(&system, id, "ok").await;
        }
        system
            .api
            .await_status(id, "completed", AFTER_A_LEASE)
            .await;
        moved += usize::from(system.api.saga(id).await["version"] == 2);
    }
    assert!(
        moved > 0,
        "none was moved, though half of them had not ended"
    );
    let book = Book::of(&system.ledger).await;
    for (n, id) in ids.iter().enumerate() {
        for step in ["a", "b", "b2", "c", "c2", "d", "d2"] {
            assert_eq!(book.not_done_once(&format!("{}-{step}", name(n))), None);
        }
        let last = format!("{}-last", name(n));
        match system.api.saga(id).await["version"].as_u64() {
            Some(2) => assert_eq!(book.not_done_once(&last), None),
            _ => assert_eq!(book.ever_done(&last), None),
        }
    }
}

/// Any page takes what a definition's sagas are, wherever they are driven: see `cluster`; here the bounds of a page, and that each saga is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_bounded_and_name_each_saga_once() {
    let system = Setup::workers(0).start().await;
    let waits = |version: u32| {
        format!(
            "saga: waits\nversion: {version}\nsteps:\n  - id: ok\n{ASKS}  - id: z\n    sleep: {version}s\n"
        )
    };
    system.api.apply(&waits(1)).await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(
            system
                .api
                .start("waits", &json!({}), &format!("n{n}"))
                .await,
        );
    }
    for id in &ids {
        system.api.await_phase(id, "ok", "asked").await;
    }
    system.api.apply(&waits(2)).await;
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut body = json!({ "to": 2, "reason": "r", "limit": 3 });
        if cursor.is_string() {
            body["cursor"] = cursor;
        }
        let path = "/v1/definitions/waits/upgrade";
        let page = system
            .api
            .ask_patiently("POST", path, "", Some(body.to_string()))
            .await;
        let rows = page.body["sagas"].as_array().expect("a page");
        assert!(rows.len() <= 3, "{}", page.body);
        for row in rows {
            assert_eq!(row["outcome"], "moved", "{row}");
            seen.push(row["id"].as_str().expect("an id").to_owned());
        }
        cursor = page.body["next"].clone();
        if !cursor.is_string() {
            break;
        }
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    for id in &ids {
        approve(&system, id, "ok").await;
    }
    for id in &ids {
        system.api.await_status(id, "completed", SOON).await;
    }
}
