//! Sent back to what is full or blocked, at the same moment as by others, and by somebody at a terminal.

use super::*;

/// A queue that is full is waited for, which is said, and it goes on by itself when there is room: each letter once, and none of them counted as tried for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_to_a_queue_that_is_full_waits_and_goes_on_by_itself() {
    const COUNT: usize = 25;
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    let full = json!({ "max-length": 3, "overflow": "reject-publish" });
    system.vhost.policy("orders", "^orders$", full).await;
    for n in 0..COUNT {
        let headers = json!({ "message_id": format!("m{n}"), "headers": { "n": n, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" } });
        put(&system, "baton.dead", headers, b"{}").await;
    }
    letters(&system, "state=dead", COUNT).await;
    let begun = post(
        &system,
        "replays",
        json!({ "reason": "go", "wait_s": 0, "filter": { "queue": "orders" } }),
    )
    .await;
    let operation = begun.body["operation"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/dead-letters/operations/{operation}");
    let waiting = await_some("it to say that it waits", SOON, async || {
        let now = system.api.get(&path).await;
        let why = now["why"].as_str().unwrap_or_default();
        (why.contains("it waits") && why.contains("full")).then_some(now)
    })
    .await;
    assert_eq!(
        (&waiting["state"], &waiting["failed"]),
        (&json!("running"), &json!(0)),
        "{waiting}"
    );
    let accepted = numbers(&taken(&system, "orders").await);
    assert!(!accepted.is_empty() && accepted.len() < COUNT);
    system
        .vhost
        .policy("orders", "^orders$", json!({ "max-length": 1_000_000 }))
        .await;
    let done = await_some("it to go on to its end", SOON, async || {
        let now = system.api.get(&path).await;
        (now["state"] == "done").then_some(now)
    })
    .await;
    assert_eq!(
        (&done["published"], &done["failed"], &done["refused"]),
        (&json!(COUNT), &json!(0), &json!(0)),
        "{done}"
    );
    let all = letters(&system, "state=resolved", COUNT).await;
    assert!(all.iter().all(|letter| letter["replays"] == 1), "{all:?}");
    let mut all = numbers(&taken(&system, "orders").await);
    all.extend(accepted);
    all.sort_unstable();
    assert_eq!(all, (0..COUNT as u64).collect::<Vec<_>>(), "each once");
}

/// What goes where there is no queue waits for it, and keeps nothing else back; whoever carries it on after a kill goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_missing_keeps_back_what_goes_there_and_nothing_else() {
    const COUNT: u64 = 20;
    let mut system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..COUNT {
        let queue = if n % 2 == 0 { "gone" } else { "orders" };
        let headers = json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": queue, "baton-dead-queue": queue });
        let properties = json!({ "message_id": format!("m{n}"), "headers": headers });
        put(&system, "baton.dead", properties, b"{}").await;
    }
    letters(&system, "state=dead", usize::try_from(COUNT).expect("few")).await;
    let planned = post(&system, "replays", json!({ "dry_run": true })).await;
    let plan = &planned.body["plan"];
    assert_eq!(
        (&plan["waiting"], &plan["routes"]),
        (&json!(COUNT / 2), &json!({ "message": COUNT / 2 })),
        "{plan}"
    );
    let begun = post(&system, "replays", json!({ "reason": "go", "wait_s": 0 })).await;
    let id = begun.body["operation"]["id"].as_str().expect("an id");
    let path = format!("/v1/dead-letters/operations/{id}");
    let waits = async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        let why = now["why"].as_str().unwrap_or_default();
        let waits = why.starts_with("it waits") && why.contains("gone");
        (waits && now["published"] == COUNT / 2).then_some(now)
    };
    let waiting = await_some("all others to be sent", SOON, waits).await;
    assert_eq!(
        (&waiting["state"], &waiting["failed"], &waiting["refused"]),
        (&json!("running"), &json!(0), &json!(0)),
        "{waiting}"
    );
    let all = |which: u64| (0..COUNT).filter(|n| n % 2 == which).collect::<Vec<_>>();
    let mut sent = numbers(&taken(&system, "orders").await);
    sent.sort_unstable();
    assert_eq!(sent, all(1), "each once");

    system.orchestrator().kill9_and_start();
    system.orchestrator().wait_alive_in(SOON).await;
    system.vhost.declare("gone", "quorum").await;
    let done = await_some("the rest to follow", SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        (now["state"] == "done").then_some(now)
    })
    .await;
    assert_eq!(
        (&done["replayed"], &done["published"]),
        (&json!(COUNT), &json!(COUNT)),
        "{done}"
    );
    let mut sent = numbers(&taken(&system, "gone").await);
    sent.sort_unstable();
    assert_eq!(sent, all(0), "each once");
    assert_eq!(taken(&system, "orders").await, Vec::<Value>::new());
    let all = letters(&system, "state=resolved", 20).await;
    assert!(all.iter().all(|letter| letter["replays"] == 1), "{all:?}");
}

/// What was on its way there when its orchestrator died, twice and more often, stays so while nothing is taken there: that hides nothing that sets out after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_over_a_queue_that_is_missing_hides_nothing_that_sets_out_later() {
    /// More than set out together twice.
    const GONE: u64 = 70;
    const ORDERS: u64 = 5;
    let mut system = Setup::workers(0).start().await;
    for n in 0..GONE + ORDERS {
        let queue = if n < GONE { "gone" } else { "orders" };
        let headers = json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": queue, "baton-dead-queue": queue });
        let properties = json!({ "message_id": format!("m{n}"), "headers": headers });
        put(&system, "baton.dead", properties, b"{}").await;
        if n == GONE - 1 {
            letters(&system, "state=dead", usize::try_from(GONE).expect("few")).await;
        }
    }
    let all = usize::try_from(GONE + ORDERS).expect("few");
    letters(&system, "state=dead", all).await;
    let begun = post(&system, "replays", json!({ "reason": "go", "wait_s": 0 })).await;
    let operation = begun.body["operation"]["id"].as_str().expect("an id");
    let path = format!("/v1/dead-letters/operations/{operation}");
    await_until("both to be waited for", SOON, async || {
        let now = system.api.get(&path).await;
        let why = now["why"].as_str().unwrap_or_default();
        why.starts_with("it waits") && why.contains("one other place")
    })
    .await;

    // as crashes leave them: nobody has written down whether they were sent
    system.end_orchestrator();
    let poison = baton_it::poison::Poison::of(&system);
    let of = poison.id(operation);
    poison.sql(&format!(
        "UPDATE dead_letters SET state = 'replaying', replays = replays + 1, changed_at = 1, changed_by = 'ann', why = 'go', action = {of}, operation = {of}, stage = 0 WHERE queue = 'gone'"
    ));
    system.vhost.declare("orders", "quorum").await;
    system.orchestrator();
    system.await_ready().await;
    let count = usize::try_from(ORDERS).expect("few");
    letters(&system, "state=resolved", count).await;
    let mut sent = numbers(&taken(&system, "orders").await);
    sent.sort_unstable();
    assert_eq!(sent, (GONE..GONE + ORDERS).collect::<Vec<_>>(), "each once");

    system.vhost.declare("gone", "quorum").await;
    letters(&system, "state=resolved", all).await;
    let mut sent = numbers(&taken(&system, "gone").await);
    sent.sort_unstable();
    assert_eq!(sent, (0..GONE).collect::<Vec<_>>(), "each once");
}

/// Whoever gets letters back gets no more of them a second than was said, from the first to the last: stages, pieces and a pause begin none sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_letters_a_second_go_back_than_was_said() {
    const COUNT: u64 = 30;
    const RATE: u64 = 4;
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..COUNT {
        let headers = json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" });
        let properties = json!({ "message_id": format!("m{n}"), "headers": headers });
        put(&system, "baton.dead", properties, b"{}").await;
    }
    letters(&system, "state=dead", usize::try_from(COUNT).expect("few")).await;
    let body =
        json!({ "reason": "go", "rate": RATE, "wait_s": 0, "filter": { "queue": "orders" } });
    let began = std::time::Instant::now();
    let begun = post(&system, "replays", body).await;
    let id = begun.body["operation"]["id"].as_str().expect("an id");
    let path = format!("/v1/dead-letters/operations/{id}");
    let done = await_some("it to be done", SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        let sent = now["replayed"].as_u64()?;
        // those that have set out together wait for their moments: no more than these are ahead
        let may = began.elapsed().as_millis() as u64 * RATE / 1_000 + RATE;
        assert!(sent <= may, "{sent} after {:?}: {now}", began.elapsed());
        (now["state"] == "done").then_some(now)
    })
    .await;
    let least = std::time::Duration::from_millis((COUNT - 1) * 1_000 / RATE);
    assert!(began.elapsed() >= least, "{:?}: {done}", began.elapsed());
    assert_eq!(done["resolved"], COUNT, "{done}");
    system.vhost.await_messages("orders", COUNT, 0, SOON).await;
}

/// A broker that takes nothing is waited for, which is said, and each letter is sent once when it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_broker_with_an_alarm_is_waited_for_by_a_replay() {
    const COUNT: usize = 20;
    let system = Setup::workers(1).own_broker().start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&Saga::named("one").effect("a", "")]).await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..COUNT {
        let properties = json!({ "message_id": format!("m{n}"), "headers": { "n": n, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" } });
        put(&system, "baton.dead", properties, b"{}").await;
    }
    letters(&system, "state=dead", COUNT).await;
    let watermark = async |at: &str| {
        system
            .broker
            .ctl(&["set_vm_memory_high_watermark", at])
            .await
    };
    watermark("0.00001").await;
    // a connection is told only when it publishes
    let saga = system.run("one", "o").await;
    system.await_ready_saying("blocked").await;
    let begun = post(
        &system,
        "replays",
        json!({ "reason": "go", "wait_s": 0, "filter": { "queue": "orders" } }),
    )
    .await;
    let operation = begun.body["operation"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/dead-letters/operations/{operation}");
    await_until("it to say that it waits", SOON, async || {
        let now = system.api.get(&path).await;
        now["state"] == "running"
            && now["why"]
                .as_str()
                .is_some_and(|why| why.contains("takes no messages now"))
    })
    .await;
    watermark("0.6").await;
    let done = await_some("it to go on to its end", SOON, async || {
        let now = system.api.get(&path).await;
        (now["state"] == "done").then_some(now)
    })
    .await;
    assert_eq!(
        (&done["resolved"], &done["failed"]),
        (&json!(COUNT), &json!(0)),
        "{done}"
    );
    system
        .vhost
        .await_messages("orders", COUNT as u64, 0, SOON)
        .await;
    let mut all = numbers(&taken(&system, "orders").await);
    all.sort_unstable();
    assert_eq!(all, (0..COUNT as u64).collect::<Vec<_>>(), "each once");
    system.api.await_status(&saga, "completed", SOON).await;
}

/// A worker dies over a task each time, until it is put aside; then its saga is asked by several at once, in every way there is.
async fn parked(system: &mut System, name: &str) -> (String, String) {
    let queue = "baton.task.default.test.effect@1";
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let saga = system.run("parks", name).await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    for _ in 0..10 {
        assert_eq!(system.vhost.peek(queue, 1).await.len(), 1);
    }
    system.add_worker(&[]);
    system.api.await_phase(&saga, "a", "parked").await;
    let query = format!("saga={saga}");
    let letter = letters(system, &query, 1).await.remove(0);
    (saga, id(&letter).to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_races_with_a_retry_or_an_unwind_of_its_saga_is_one_attempt_or_none() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let keys = "on_error: park\n    timeout: 30s\n    ";
    system
        .apply(&[&Saga::named("parks").task("a", "test.effect@1", "", keys)])
        .await;
    for n in 0..3 {
        at_once_with_a_retry(&mut system, &format!("r{n}")).await;
        at_once_with_an_unwind(&mut system, &format!("u{n}")).await;
    }
}

/// Done by one attempt, whoever of the three was first.
async fn at_once_with_a_retry(system: &mut System, name: &str) {
    use baton_it::oracle::Book;
    let (saga, letter) = parked(system, name).await;
    let path = format!("{letter}/replay");
    let retry = || {
        system
            .api
            .act(&saga, "steps/a/retry", json!({ "reason": "by hand" }))
    };
    let (replayed, again, retried) = tokio::join!(
        post(system, &path, json!({ "reason": "by letter" })),
        post(system, &path, json!({ "reason": "twice" })),
        retry()
    );
    let won = [replayed.status, again.status, retried.status]
        .iter()
        .filter(|status| **status < 300)
        .count();
    assert!(won >= 1, "{replayed:?} {again:?} {retried:?}");
    system.api.await_status(&saga, "completed", SOON).await;
    let key = format!("{name}-a");
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once(&key), None);
    assert_eq!(book.called_twice(&key), None);
    // where the retry was first, it says that its step has moved since
    await_until("nothing of it to be left open", SOON, async || {
        one(system, &letter).await["state"] != "replaying"
    })
    .await;
}

/// Done and taken back, or not done at all.
async fn at_once_with_an_unwind(system: &mut System, name: &str) {
    use baton_it::oracle::Book;
    let (saga, letter) = parked(system, name).await;
    let path = format!("{letter}/replay");
    let (replayed, cancelled) = tokio::join!(
        post(system, &path, json!({ "reason": "by letter" })),
        system
            .api
            .act(&saga, "cancel", json!({ "reason": "not wanted" }))
    );
    assert!(
        replayed.status < 500 && cancelled.status < 300,
        "{replayed:?} {cancelled:?}"
    );
    system.api.await_status(&saga, "compensated", SOON).await;
    let book = Book::of(&system.ledger).await;
    let key = format!("{name}-a");
    assert_eq!(book.not_taken_back(&key), None);
    await_until("nothing of it to be left open", SOON, async || {
        one(system, &letter).await["state"] != "replaying"
    })
    .await;
}

/// Messages of others are known to nobody but their consumer: whoever dies over them loses none, and sends no more of them twice than set out together, each under the letter it is of.
async fn killed_over_messages_of_others(setup: Setup) {
    const COUNT: usize = 400;
    /// Letters that set out together at most.
    const CHUNK: usize = 32;
    let mut system = setup.start().await;
    system.vhost.declare("orders", "quorum").await;
    for some in (0..COUNT).collect::<Vec<_>>().chunks(32) {
        let headers = |n: usize| json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" });
        let each = some.iter().map(|n| {
            let properties = json!({ "message_id": format!("m{n}"), "headers": headers(*n) });
            put(&system, "baton.dead", properties, b"an order")
        });
        join_all(each).await;
    }
    await_until("all of them to be taken in", SOON, async || {
        let plan = json!({ "dry_run": true, "filter": { "queue": "orders" } });
        post(&system, "replays", plan).await.body["plan"]["found"] == COUNT
    })
    .await;
    let asked =
        json!({ "reason": "mended", "rate": 100, "wait_s": 0, "filter": { "queue": "orders" } });
    let begun = post(&system, "replays", asked).await;
    let id = begun.body["operation"]["id"].as_str().expect("an id");
    let path = format!("/v1/dead-letters/operations/{id}");
    for least in [COUNT / 8, COUNT / 2] {
        let now = await_some("some to be sent", SOON, async || {
            let now = system.api.ask("GET", &path, "", None).await?.body;
            (now["resolved"].as_u64()? > least as u64).then_some(now)
        })
        .await;
        assert_eq!(now["state"], "running", "too late: {now}");
        system.orchestrator().kill9_and_start();
        system.orchestrator().wait_alive_in(SOON).await;
    }
    let done = await_some("it to be done", SOON * 2, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        (now["state"] == "done").then_some(now)
    })
    .await;
    assert_eq!(done["resolved"], COUNT, "{done}");
    let all = taken(&system, "orders").await;
    let mut times = std::collections::BTreeMap::<u64, Vec<String>>::new();
    for message in &all {
        let headers = &message["properties"]["headers"];
        let of = headers["baton-replay-of"]
            .as_str()
            .expect("of which letter");
        let n = headers["n"].as_u64().expect("its number");
        times.entry(n).or_default().push(of.to_owned());
    }
    assert_eq!(times.len(), COUNT, "none is lost");
    assert!(all.len() <= COUNT + 2 * CHUNK, "{} were sent", all.len());
    for (n, of) in times {
        assert!(of.iter().all(|one| *one == of[0]), "{n}: {of:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_over_messages_of_others_loses_none_and_doubles_few() {
    killed_over_messages_of_others(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_over_messages_of_others_loses_none_and_doubles_few() {
    killed_over_messages_of_others(Setup::workers(0).postgres()).await;
}

/// Its task fails once, and is tried again after so long.
fn fails_once(backoff: &str) -> Saga {
    Saga::named("fails-once").step(&format!(
        "  - id: a\n    task: test.effect@1\n    with: {{ key: \"${{ input.name }}-a\", fail_until_attempt: 2 }}\n    timeout: 30s\n    heartbeat: 4s\n    retry: {{ attempts: 5, backoff: {backoff}, factor: 1, max: {backoff}, jitter: none }}\n"
    ))
}

/// A saga that waits to try its step again, and the letter of a copy of the task it has tried. What dies before anybody has begun it makes a step fail for good, so that
/// it is a copy that lies there while its saga still tries by itself.
async fn backs_off_with_a_letter(system: &mut System, name: &str) -> (String, String) {
    let queue = "baton.task.default.test.effect@1";
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let saga = system.run("fails-once", name).await;
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    let copy = system.vhost.peek(queue, 1).await.remove(0);
    system.add_worker(&[]);
    system.api.await_phase(&saga, "a", "backoff").await;
    let mut properties = copy.properties;
    properties["headers"]["baton-dead-reason"] = "delivered-too-often".into();
    properties["headers"]["baton-dead-queue"] = queue.into();
    put(system, "baton.dead", properties, copy.payload.as_bytes()).await;
    let letter = letters(system, &format!("saga={saga}"), 1).await.remove(0);
    (saga, id(&letter).to_owned())
}

/// Done once, and nothing of the letter left open: it did its work, or it says why not.
async fn is_done_once(system: &System, name: &str, saga: &str, letter: &str) {
    use baton_it::oracle::Book;
    system.api.await_status(saga, "completed", SOON).await;
    let now = await_some("nothing of it to be left open", SOON, async || {
        let now = one(system, letter).await;
        (now["state"] != "replaying").then_some(now)
    })
    .await;
    let key = format!("{name}-a");
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once(&key), None, "{now}");
    assert_eq!(book.called_twice(&key), None, "{now}");
}

/// Whoever replays what its saga waits to try again by itself has it tried now, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_replayed_while_its_saga_backs_off_is_tried_at_once_and_done_once() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&fails_once("5m")]).await;
    let (saga, letter) = backs_off_with_a_letter(&mut system, "early").await;
    let path = format!("{letter}/replay");
    let (first, second) = tokio::join!(
        post(&system, &path, json!({ "reason": "now" })),
        post(&system, &path, json!({ "reason": "now" }))
    );
    let mut codes = [first.status, second.status];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409], "{first:?} {second:?}");
    is_done_once(&system, "early", &saga, &letter).await;
    let now = one(&system, &letter).await;
    assert_eq!(
        (&now["state"], &now["replays"]),
        (&json!("resolved"), &json!(1)),
        "{now}"
    );
}

/// The same at the moment when its saga tries it again by itself: whichever is first, it is done once, and the letter did its work or says why it was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_races_with_the_end_of_a_back_off_is_one_attempt() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&fails_once("6s")]).await;
    for (n, before_ms) in [40, 5, 0].into_iter().enumerate() {
        let name = format!("race-{n}");
        let (saga, letter) = backs_off_with_a_letter(&mut system, &name).await;
        let shown = system.api.get(&format!("/v1/sagas/{saga}")).await;
        // what came too late for it has been tried by now, and is refused
        if let Some(due) = shown["steps"][0]["due"].as_u64() {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
            let now = since.expect("it is later than 1970").as_millis() as u64;
            let left = due.saturating_sub(now + before_ms);
            tokio::time::sleep(std::time::Duration::from_millis(left)).await;
        }
        let path = format!("{letter}/replay");
        let answer = post(&system, &path, json!({ "reason": "just then" })).await;
        assert!([200, 409].contains(&answer.status), "{answer:?}");
        is_done_once(&system, &name, &saga, &letter).await;
        let now = one(&system, &letter).await;
        if answer.status == 409 || now["state"] == "dead" {
            let said = [&answer.body["detail"], &now["outcome"]];
            let why = said
                .iter()
                .find_map(|said| said.as_str())
                .unwrap_or_default();
            assert!(!why.is_empty(), "{answer:?} {now}");
        } else {
            assert_eq!(now["state"], "resolved", "{now}");
        }
    }
}
