//! `baton` in scripts and pipes: what is mistyped is refused with a suggestion and the next command, what nobody reads is not written, and JSON is JSON.

use baton_it::sagas::Saga;
use baton_it::{Setup, System};

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
async fn what_is_mistyped_gets_a_suggestion_and_the_next_command() {
    let publish = Saga::named("publish").effect("page", "");
    let sleeps = Saga::named("sleeps").step("  - id: rest\n    sleep: 1h\n");
    let system = system(&[&publish, &sleeps]).await;
    let baton = system.cli();
    has(&baton.run(&["lss"]).await.exits(2).err, &["ls"]);
    has(
        &baton.run(&["ls", "--statsu", "parked"]).await.exits(2).err,
        &["--status"],
    );
    has(
        &baton.run(&["ls", "--status", "parkt"]).await.exits(2).err,
        &["parked"],
    );
    has(
        &baton.run(&["run", "pubilsh"]).await.exits(1).err,
        &[
            "no definition `pubilsh`",
            "did you mean `publish`?",
            "next: baton definitions",
        ],
    );
    has(
        &baton.run(&["run", "test.efect@1"]).await.exits(1).err,
        &["did you mean `test.effect@1`?", "next: baton tasks"],
    );
    has(
        &baton
            .run(&["tasks", "show", "file.wirte"])
            .await
            .exits(1)
            .err,
        &["did you mean `file.write@1`?"],
    );
    let id = system.run("sleeps", "m").await;
    let wrong = baton
        .run(&["retry", &id, "rset", "-m", "why"])
        .await
        .exits(1);
    has(
        &wrong.err,
        &["no step `rset`", "did you mean `rest`?", "next: baton show"],
    );
    has(
        &baton.run(&["show", "not-an-id"]).await.exits(1).err,
        &["no saga", "next: baton ls"],
    );
    has(
        &baton.run(&["show", "ffffffff"]).await.exits(1).err,
        &["no saga's id begins", "baton ls"],
    );
    has(
        &baton.run(&["show", &id[..6]]).await.exits(0).out,
        &["sleeps@1", "running"],
    );
    has(
        &baton
            .run(&["ls", "--since", "yesterday"])
            .await
            .exits(2)
            .err,
        &["2h", "2026-01-31"],
    );
    let nowhere = baton
        .run(&["ls", "--url", "http://127.0.0.1:9"])
        .await
        .exits(1);
    has(
        &nowhere.err,
        &["127.0.0.1:9", "baton-orchestrator", "--url"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_is_no_error() {
    let many = Saga::named("many").step("  - id: rest\n    sleep: 1h\n");
    let system = system(&[&many]).await;
    for n in 0..40 {
        system.run("many", &format!("m{n}")).await;
    }
    for args in [
        &["ls"][..],
        &["ls", "--json"],
        &["tasks"],
        &["tasks", "show", "file.write@1"],
        &["completions", "bash"],
    ] {
        let mut child = system
            .cli()
            .command(args)
            .spawn()
            .expect("baton can be run");
        // closed before anything is written: what a reader like `head -0` does
        drop(child.stdout.take());
        let ended = child.wait_with_output().await.expect("it ends");
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(
            (ended.status.code(), err.as_ref()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_a_terminal_each_change_is_a_line_and_nothing_is_coloured() {
    let row = Saga::named("row")
        .effect("one", "")
        .effect("two", ", fail: final");
    let system = system(&[&row]).await;
    let args = [
        "run",
        "row",
        "-f",
        "name=lines",
        "--wait",
        "--timeout",
        "50",
    ];
    let ran = system.cli().run(&args).await.exits(3);
    has(&ran.err, &["one", "two", "compensated"]);
    has(&ran.out, &["row@1", "compensated", "undone"]);
    assert!(
        !ran.err.contains('\u{1b}') && !ran.out.contains('\u{1b}'),
        "{}{}",
        ran.out,
        ran.err
    );
    let quiet = system
        .cli()
        .run(&[&args[..], &["--json"]].concat())
        .await
        .exits(3);
    assert_eq!(quiet.err, "");
    assert_eq!(quiet.json()["status"], "compensated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_checked_without_a_server() {
    let system = system(&[]).await;
    let baton = system.cli();
    let write = |name: &str, text: &str| {
        std::fs::write(system.dir().join(name), text).expect("it can be written")
    };
    write(
        "good.yaml",
        "saga: good\nversion: 1\nsteps:\n  - id: a\n    task: test.echo@1\n",
    );
    write(
        "wrong.yaml",
        "saga: wrong\nversion: 1\nsteps:\n  - id: a\n    tusk: test.echo@1\n  - id: b\n    task: test.echo@1\n    with: { value: \"${ c.d }\" }\n",
    );
    let nowhere = ["--url", "http://127.0.0.1:9"];
    let good = baton
        .run(&[&["check", "good.yaml"][..], &nowhere].concat())
        .await
        .exits(0);
    has(&good.out, &["ok", "good.yaml", "good@1, 1 step"]);
    let wrong = baton
        .run(&[&["check", "good.yaml", "wrong.yaml"][..], &nowhere].concat())
        .await
        .exits(1);
    has(
        &wrong.err,
        &[
            "wrong.yaml:5:5",
            "    tusk: test.echo@1",
            "^^^^",
            "did you mean `task`?",
            "no step `c`",
            "errors in wrong.yaml",
        ],
    );
    has(&wrong.out, &["good.yaml"]);
    let json = baton
        .run(&["check", "good.yaml", "wrong.yaml", "--json"])
        .await
        .exits(1)
        .json();
    assert_eq!(json[0]["ok"], true);
    let found = json[1]["diagnostics"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let on_line_5 = found.iter().find(|one| one["line"] == 5);
    let on_line_5 = on_line_5.expect("the mistyped key is found");
    assert_eq!(on_line_5["source_line"], "    tusk: test.echo@1");
    baton.run(&["check", "nowhere.yaml"]).await.exits(1);
    let refused = baton.run(&["apply", "wrong.yaml"]).await.exits(1);
    has(
        &refused.err,
        &["wrong.yaml:5:5", "^^^^", "did you mean `task`?"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_is_read_by_people_and_by_programs() {
    let row = Saga::named("row").effect("one", "");
    let system = system(&[&row]).await;
    let baton = system.cli();
    let id = system.run("row", "l").await;
    system
        .api
        .await_status(&id, "completed", baton_it::SOON)
        .await;
    for (args, words) in [
        (&["ls", "--since", "1h"][..], &["row@1", "completed"][..]),
        (&["workers"], &["CLAIMED", "default"]),
        (&["workers", "--all"], &["test.effect@1"]),
        (&["tasks"], &["file.write@1", "reversible"]),
        (&["types"], &["file.write@1"]),
        (
            &["tasks", "show", "file.write@1"],
            &["EFFECT", "INPUT", "path", "required", "try it"],
        ),
        (&["definitions"], &["row@1"]),
        (&["definitions", "show", "row"], &["saga: row"]),
        (&["work"], &["nothing waits"]),
        (&["dead"], &["(none)"]),
        (&["show", &id], &["✓", "one"]),
        (&["show", &id, "--attempts"], &["do 1"]),
        (&["show", &id, "--records"], &["started"]),
    ] {
        has(&baton.run(args).await.exits(0).out, words);
        let json = baton.run(&[args, &["--json"]].concat()).await.exits(0);
        let documents =
            serde_json::Deserializer::from_str(&json.out).into_iter::<serde_json::Value>();
        let mut read = 0;
        for document in documents {
            document.unwrap_or_else(|error| panic!("{args:?} --json: {error}\n{}", json.out));
            read += 1;
        }
        assert!(read > 0, "{args:?} --json says nothing");
    }
    has(
        &baton.run(&["completions", "fish"]).await.exits(0).out,
        &["complete -c baton"],
    );
    has(
        &baton.run(&["man", "run"]).await.exits(0).out,
        &[".TH", "baton"],
    );
    has(
        &baton.run(&["--help"]).await.exits(0).out,
        &[
            "Start things:",
            "Decide:",
            "Author:",
            "baton check page.yaml",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_steers_what_is_under_way() {
    let sticks = Saga::named("sticks")
        .effect("a", ", fail_undo: final")
        .effect("b", ", fail: final");
    let sleeps = Saga::named("sleeps").step("  - id: rest\n    sleep: 1h\n");
    let system = system(&[&sticks, &sleeps]).await;
    let baton = system.cli();
    let stuck = system.run("sticks", "s").await;
    system
        .api
        .await_status(&stuck, "parked", baton_it::SOON)
        .await;
    let work = baton.run(&["work"]).await.exits(0);
    let next = format!("baton work show {}", &stuck[..8]);
    has(&work.out, &[&next, "undo-failed"]);
    let none = baton.run(&["work", "show", &stuck, "7"]).await.exits(1);
    has(&none.err, &["no work item 7", "next: baton show"]);
    let shown = baton.run(&["work", "show", &stuck[..8]]).await.exits(0);
    has(
        &shown.out,
        &[
            "baton retry ",
            "baton resolve ",
            "--as undone",
            "baton abandon ",
            "--task ",
            "last errors",
            "attempts",
            "meanwhile",
        ],
    );
    // a parked undo cannot be skipped: the refusal says where to look
    let refused = baton
        .run(&["skip", &stuck, "a", "-m", "why"])
        .await
        .exits(1);
    has(&refused.err, &["next: baton show"]);
    baton
        .run(&["resolve", &stuck, "a", "--as", "undone", "-m", "by hand"])
        .await
        .exits(0);
    system
        .api
        .await_status(&stuck, "compensated", baton_it::SOON)
        .await;
    has(
        &baton
            .run(&["cancel", &stuck, "-m", "late"])
            .await
            .exits(1)
            .err,
        &["next: baton show"],
    );

    let asleep = system.run("sleeps", "z").await;
    system.api.await_phase(&asleep, "rest", "sleeping").await;
    baton.run(&["pause", &asleep, "-m", "wait"]).await.exits(0);
    has(
        &baton.run(&["ls", "--status", "running"]).await.exits(0).out,
        &["running, paused"],
    );
    baton
        .run(&["resume", &asleep, "-m", "go on"])
        .await
        .exits(0);
    has(
        &baton.run(&["approve", &asleep]).await.exits(1).err,
        &["waits for approval", "next: baton show"],
    );
    baton
        .run(&["cancel", &asleep[..10], "--yes", "-m", "enough"])
        .await
        .exits(0);
    system
        .api
        .await_status(&asleep, "compensated", baton_it::SOON)
        .await;
}

/// Several steps wait: the named one is decided, however it is named, and never another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_is_of_the_step_that_was_named() {
    let approval =
        |id| format!("  - id: {id}\n    after: []\n    approve: {{ by: operator, timeout: 1h }}\n");
    let asks = Saga::named("asks")
        .step(&approval("one"))
        .step(&approval("two"));
    let system = system(&[&asks]).await;
    let baton = system.cli();
    let id = system.run("asks", "a").await;
    system.api.await_phase(&id, "two", "asked").await;
    let unknown = baton.run(&["approve", &id, "--step", "nope"]).await;
    has(&unknown.exits(1).err, &["nope"]);
    baton
        .run(&["approve", &id, "one", "--step", "two"])
        .await
        .exits(2);
    baton.run(&["approve", &id, "--step", "two"]).await.exits(0);
    system.api.await_phase(&id, "two", "succeeded").await;
    system.api.await_phase(&id, "one", "asked").await;
    baton.run(&["reject", &id, "one"]).await.exits(0);
    system
        .api
        .await_status(&id, "compensated", baton_it::SOON)
        .await;
}
