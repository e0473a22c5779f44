//! Sagas through every real part: API, orchestrator, broker, worker, and a ledger that counts what was done.

use baton_harness::ledger::{Did, State};
use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

async fn system() -> System {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    system
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_steps_are_done_once_each_and_their_output_comes_back() {
    let system = system().await;
    let saga = Saga::named("row")
        .effect("a", "")
        .late("b", ", value: \"${ a.key }\"")
        .effect("c", ", value: \"${ b.key }\"")
        .step("output: { last: \"${ c.key }\" }\n");
    system.apply(&[&saga]).await;
    let id = system.run("row", "n").await;
    let same = system.run("row", "n").await;
    assert_eq!(id, same, "the same key is the same saga");

    let ended = system.api.await_status(&id, "completed", SOON).await;
    assert_eq!(ended["output"], json!({ "last": "n-c" }));
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b", "n-c"] {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None);
    }
    assert_eq!(
        book.effect("n-c").value,
        json!("n-b"),
        "the output of b went into c"
    );
    assert!(book.first("n-a", Did::Do) < book.first("n-b", Did::Do));
    assert!(book.first("n-b", Did::Do) < book.first("n-c", Did::Do));
    assert_eq!(book.keys().count(), 3);
    assert_eq!(system.api.sagas().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_for_good_has_the_others_undone_in_reverse_order() {
    let system = system().await;
    let saga = Saga::named("row")
        .effect("a", "")
        .late("b", "")
        .effect("c", "")
        .effect("d", ", fail: final")
        .effect("e", "");
    system.apply(&[&saga]).await;
    let id = system.run("row", "n").await;

    system.api.await_status(&id, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["n-a", "n-b", "n-c"] {
        assert_eq!(book.not_taken_back(key), None);
        assert_eq!(book.effect(key).undone, 1);
    }
    for key in ["n-d", "n-e"] {
        assert_eq!(book.ever_done(key), None);
        assert_eq!(
            book.count(key, Did::Undo),
            0,
            "{key} never was, and nobody is asked to undo it"
        );
    }
    assert!(book.first("n-c", Did::Undo) < book.first("n-b", Did::Undo));
    assert!(book.first("n-b", Did::Undo) < book.first("n-a", Did::Undo));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_run_side_by_side_and_are_joined() {
    let system = system().await;
    let keys = "after: [a]\n    timeout: 30s\n    ";
    let saga = Saga::named("fork")
        .effect("a", "")
        .task("slow", "test.effect@1", ", delay_before_ms: 1500", keys)
        .task("fast", "test.effect@1", "", keys)
        .task(
            "joined",
            "test.effect@1",
            "",
            "after: [slow, fast]\n    timeout: 30s\n    ",
        );
    system.apply(&[&saga]).await;
    let id = system.run("fork", "n").await;

    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    let at = |key: &str| book.first(key, Did::Do).expect("it was done");
    assert!(at("n-a") < at("n-fast"));
    assert!(at("n-fast") < at("n-slow"), "fast does not wait for slow");
    assert!(at("n-slow") < at("n-joined"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_fails_lets_the_running_one_close_and_undoes_it_too() {
    let system = system().await;
    let keys = "after: [a]\n    timeout: 30s\n    ";
    let saga = Saga::named("fork")
        .effect("a", "")
        .task("acts", "test.effect@1", ", delay_after_ms: 1500", keys)
        .task(
            "fails",
            "test.effect@1",
            ", delay_before_ms: 700, fail: final",
            keys,
        );
    system.apply(&[&saga]).await;
    let id = system.run("fork", "n").await;

    system.api.await_status(&id, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.effect("n-acts").undone, 1);
    assert_eq!(book.not_taken_back("n-acts"), None);
    assert_eq!(book.undone_out_of_order("n-acts", "n-a"), None);
    assert_eq!(book.effect("n-a").state, State::Reverted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_if_does_not_want_is_skipped_and_never_undone() {
    let system = system().await;
    let saga = Saga::named("iffy")
        .task(
            "no",
            "test.effect@1",
            "",
            "if: ${ input.name == \"other\" }\n    timeout: 30s\n    ",
        )
        .task(
            "yes",
            "test.effect@1",
            "",
            "if: ${ no == null }\n    timeout: 30s\n    ",
        )
        .effect("end", ", fail: final");
    system.apply(&[&saga]).await;
    let id = system.run("iffy", "n").await;

    system.api.await_status(&id, "compensated", SOON).await;
    assert_eq!(system.api.phase(&id, "no").await, "skipped");
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.count("n-no", Did::Do), book.count("n-no", Did::Undo)),
        (0, 0)
    );
    assert_eq!(
        (book.effect("n-yes").done, book.effect("n-yes").undone),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_tried_again_as_often_as_said_and_not_once_more() {
    let system = system().await;
    let step = |attempts: u32| {
        format!(
            "  - id: a\n    task: test.effect@1\n    with: {{ key: \"${{ input.name }}-a\", fail_until_attempt: 3 }}\n    \
             retry: {{ attempts: {attempts}, backoff: 50ms, factor: 1 }}\n"
        )
    };
    let enough = Saga::named("enough").step(&step(3));
    let short = Saga::named("short").step(&step(2));
    system.apply(&[&enough, &short]).await;
    let good = system.run("enough", "good").await;
    let bad = system.run("short", "bad").await;

    let good = system.api.await_status(&good, "completed", SOON).await;
    assert_eq!(good["steps"][0]["tries"], 3);
    let bad = system.api.await_status(&bad, "compensated", SOON).await;
    assert_eq!(bad["steps"][0]["tries"], 2);
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("good-a"), None);
    assert_eq!(book.ever_done("bad-a"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_nobody_serves_is_waited_for() {
    let mut system = Setup::workers(0).start().await;
    let saga = Saga::named("waits").effect("a", "").late("b", "");
    system.apply(&[&saga]).await;
    let id = system.run("waits", "n").await;
    system.api.await_phase(&id, "a", "unserved").await;
    let why = system.api.saga(&id).await["steps"][0]["why"].clone();
    assert!(
        why.to_string().contains("nobody serves test.effect@1"),
        "{why}"
    );

    system.add_worker(&[("worker.types", "test.effect@1")]);
    system.api.await_phase(&id, "b", "unserved").await;
    system.add_worker(&[("worker.types", "test.effect-late@1")]);
    system.api.await_status(&id, "completed", SOON).await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        (book.not_done_once("n-a"), book.not_done_once("n-b")),
        (None, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_saga_starts_nothing_until_it_is_resumed() {
    let system = system().await;
    let saga = Saga::named("row")
        .effect("a", ", delay_after_ms: 1000")
        .effect("b", "");
    let other = Saga::named("other").effect("a", "").effect("b", "");
    system.apply(&[&saga, &other]).await;
    let id = system.run("row", "n").await;
    system.api.await_phase(&id, "a", "trying").await;
    let paused = system
        .api
        .act(&id, "pause", json!({ "reason": "to look" }))
        .await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    system.api.await_phase(&id, "a", "succeeded").await;
    // a whole other saga has come and gone meanwhile
    let other = system.run("other", "o").await;
    system.api.await_status(&other, "completed", SOON).await;
    assert_eq!(system.api.saga(&id).await["paused"], true);
    assert_eq!(Book::of(&system.ledger).await.count("n-b", Did::Do), 0);

    let resumed = system
        .api
        .act(&id, "resume", json!({ "reason": "seen" }))
        .await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    system.api.await_status(&id, "completed", SOON).await;
    assert_eq!(Book::of(&system.ledger).await.not_done_once("n-b"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_saga_takes_back_what_it_did_also_what_is_under_way() {
    let system = system().await;
    let sleeps = Saga::named("sleeps")
        .effect("a", "")
        .step("  - id: z\n    sleep: 1h\n")
        .effect("b", "");
    let acts = Saga::named("acts")
        .effect("a", "")
        .effect("b", ", delay_after_ms: 20000");
    system.apply(&[&sleeps, &acts]).await;
    let asleep = system.run("sleeps", "s").await;
    let acting = system.run("acts", "t").await;
    system.api.await_phase(&asleep, "z", "sleeping").await;
    await_until("the effect of t-b to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("t-b").state == State::Applied
    })
    .await;
    for id in [&asleep, &acting] {
        let cancelled = system
            .api
            .act(id, "cancel", json!({ "reason": "not wanted" }))
            .await;
        assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    }

    system.api.await_status(&asleep, "compensated", SOON).await;
    system.api.await_status(&acting, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    for key in ["s-a", "t-a", "t-b"] {
        assert_eq!(book.not_taken_back(key), None);
        assert_eq!(book.effect(key).undone, 1, "{key}");
    }
    assert_eq!(book.ever_done("s-b"), None);
    assert_eq!(book.undone_out_of_order("t-b", "t-a"), None);
    let again = system
        .api
        .act(&asleep, "cancel", json!({ "reason": "again" }))
        .await;
    assert_eq!(again.status, 409, "it has ended: {}", again.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_fails_parks_itself_and_an_operator_resolves_it() {
    let system = system().await;
    let fork = |after: &str| format!("after: [{after}]\n    timeout: 30s\n    ");
    let saga = Saga::named("stuck")
        .effect("first", "")
        .task(
            "stuck",
            "test.effect@1",
            ", fail_undo: final",
            &fork("first"),
        )
        .task("beside", "test.effect@1", "", &fork("first"))
        .task(
            "fails",
            "test.effect@1",
            ", fail: final",
            &fork("stuck, beside"),
        );
    system.apply(&[&saga]).await;
    let id = system.run("stuck", "n").await;

    system.api.await_phase(&id, "stuck", "undo-parked").await;
    system.api.await_phase(&id, "beside", "undone").await;
    system.api.await_status(&id, "parked", SOON).await;
    let items = system.api.work_items().await;
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["saga"], json!(id));
    assert_eq!(items[0]["item"]["kind"], "undo-failed");
    assert_eq!(items[0]["item"]["step"], "stuck");
    let book = Book::of(&system.ledger).await;
    assert_eq!(
        book.effect("n-beside").state,
        State::Reverted,
        "what does not depend on it goes on"
    );
    assert_eq!(
        book.effect("n-first").state,
        State::Applied,
        "what comes before it waits"
    );

    let act = json!({ "reason": "took it back by hand, ticket 7", "as": "undone" });
    let resolved = system.api.act(&id, "steps/stuck/resolve", act).await;
    assert_eq!(resolved.status, 200, "{}", resolved.body);
    system.api.await_status(&id, "compensated", SOON).await;
    assert_eq!(system.api.work_items().await, Vec::<Value>::new());
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.effect("n-first").state, State::Reverted);
    assert!(system.api.records(&id).await.contains("ticket 7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_comes_twice_over_the_bus_is_one_saga() {
    let system = system().await;
    let saga = Saga::named("row").effect("a", "");
    system.apply(&[&saga]).await;
    let id = uuid::Uuid::new_v4().to_string();
    let start = json!({ "start@1": {
        "id": uuid::Uuid::new_v4(), "saga": id, "definition": "row", "input": system.input("n"), "by": "test",
    } });
    for _ in 0..2 {
        let routed = system
            .vhost
            .publish("baton.inbox", "00", json!({}), &start.to_string())
            .await;
        assert!(routed, "an inbox is there");
    }
    await_some("the saga to be there", SOON, async || {
        let there = system.api.sagas().await;
        there
            .iter()
            .any(|saga| saga["id"] == json!(id))
            .then_some(())
    })
    .await;
    system.api.await_status(&id, "completed", SOON).await;
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("n-a"), None);
    assert_eq!(book.called_twice("n-a"), None);
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
}

/// A task that takes everybody with it who takes it, before a word is said: after ten deliveries it is put aside and its saga is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_delivered_ten_times_in_vain_is_parked_and_its_saga_is_told() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("poison").late("first", "").effect("a", "");
    system.apply(&[&saga]).await;
    system.workers[0].kill9();
    let queue = "baton.task.default.test.effect@1";
    system.vhost.await_consumers(queue, 0, SOON).await;
    let late = system.add_worker(&[("worker.types", "test.effect-late@1")]);
    let id = system.run("poison", "n").await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    for _ in 0..10 {
        // taken and given back: what the broker counts when a consumer dies
        system.vhost.peek_one(queue).await;
    }
    system.workers[late].kill9();
    system.add_worker(&[]);

    let letters = await_some("the task to be a dead letter", SOON, async || {
        let letters = system.api.dead_letters().await;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(letters[0]["reason"], "delivered-too-often", "{letters:?}");
    assert_eq!(letters[0]["queue"], queue);
    assert_eq!(letters[0]["saga"], json!(id));
    // it was never granted, so it certainly did nothing
    let ended = system.api.await_status(&id, "compensated", SOON).await;
    assert_eq!(ended["steps"][1]["last_failure"]["code"], "dead-lettered");
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.ever_done("n-a"), None);
    assert_eq!(book.effect("n-first").undone, 1);
}

/// An undo puts back what was there only where still stands what `do` has left; what somebody else has put there meanwhile stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_never_overwrites_what_somebody_else_wrote() {
    let system = system().await;
    system.await_served("file.write@1").await;
    let saga = Saga::named("file")
        .file("write")
        .step("  - id: nap\n    sleep: 1h\n");
    system.apply(&[&saga]).await;
    std::fs::write(system.file("n.txt"), "the original").expect("it can be written");
    let id = system.run("file", "n").await;
    system.api.await_phase(&id, "nap", "sleeping").await;
    std::fs::write(system.file("n.txt"), "by somebody else").expect("it can be written");
    let cancelled = system
        .api
        .act(&id, "cancel", json!({ "reason": "not wanted" }))
        .await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);

    system.api.await_phase(&id, "write", "undo-parked").await;
    system.api.await_status(&id, "parked", SOON).await;
    assert_eq!(
        system.file_text("n.txt").as_deref(),
        Some("by somebody else")
    );
    let items = system.api.work_items().await;
    assert_eq!(
        items[0]["item"]["failure"]["code"], "changed-by-somebody-else",
        "{items:?}"
    );
    // somebody puts back what the step had written, and has it tried again
    std::fs::write(system.file("n.txt"), baton_it::sagas::written("n")).expect("it can be written");
    let act = json!({ "reason": "as it was" });
    let again = system.api.act(&id, "steps/write/retry", act).await;
    assert_eq!(again.status, 200, "{}", again.body);
    system.api.await_status(&id, "compensated", SOON).await;
    assert_eq!(system.file_text("n.txt").as_deref(), Some("the original"));
}
