//! Workers that die, or stand still, at the worst moment: between an effect and its report, and past their lease.

use std::time::Duration;

use baton_harness::ledger::{Did, State};
use baton_harness::{Proxy, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::{Saga, written};
use baton_it::{AFTER_A_LEASE, SOON, Setup};

/// Each piece on the way between the worker and the broker takes so long: long enough to see a file change and cut the connection
/// before the report that follows it is through.
const SLOW: Duration = Duration::from_millis(250);

/// The file is written, the report is not through, and the worker dies. Whatever the next worker finds there is not the original.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_between_writing_a_file_and_reporting_it_and_the_original_comes_back() {
    let mut system = Setup::workers(0).start().await;
    let slow = Proxy::to_port(system.broker.amqp_port()).await;
    let doomed = system.add_worker_through(&slow, &[]);
    system.await_served("file.write@1").await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("write-and-fail")
        .file("write")
        .effect("never", ", fail: final");
    system.apply(&[&saga]).await;
    let original = "the original, which nobody but the first attempt has seen\n";
    std::fs::write(system.file("f.txt"), original).expect("the original can be written");

    slow.delay(SLOW);
    let id = system.run("write-and-fail", "f").await;
    await_until("the file to be written", SOON, async || {
        system.file_text("f.txt") == Some(written("f"))
    })
    .await;
    slow.refuse();
    system.workers[doomed].kill9();
    assert_eq!(
        system.api.phase(&id, "write").await,
        "trying",
        "the report came through: this test has to cut earlier"
    );
    system.add_worker(&[]);

    system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    assert_eq!(system.file_text("f.txt").as_deref(), Some(original));
    let lost = system.api.records(&id).await;
    assert!(
        lost.contains("lease-over"),
        "the first attempt ended otherwise than by its lease: {lost}"
    );
}

/// Nobody says that the file was written (who is asked is asked about another one), so it is written again: the second attempt finds what the first one wrote, and that is
/// not what comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_writing_a_file_and_a_second_attempt_does_not_take_the_first_for_the_original() {
    let mut system = Setup::workers(0).start().await;
    let slow = Proxy::to_port(system.broker.amqp_port()).await;
    let doomed = system.add_worker_through(&slow, &[]);
    system.await_served("file.write@1").await;
    system.await_served("test.effect@1").await;
    let saga = Saga::named("write-and-fail")
        .file("write")
        .step("    probe: { task: file.write@1, with: { path: \"${ input.dir }/nobodys.txt\", content: \"\" } }\n")
        .effect("never", ", fail: final");
    system.apply(&[&saga]).await;
    std::fs::write(system.file("h.txt"), "the original").expect("it can be written");

    slow.delay(SLOW);
    let id = system.run("write-and-fail", "h").await;
    await_until("the file to be written", SOON, async || {
        system.file_text("h.txt") == Some(written("h"))
    })
    .await;
    slow.refuse();
    system.workers[doomed].kill9();
    system.add_worker(&[]);

    let ended = system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    let tries = ended["steps"][0]["tries"].as_u64();
    assert!(tries >= Some(2), "it was written a second time: {tries:?}");
    assert_eq!(system.file_text("h.txt").as_deref(), Some("the original"));
}

/// As before, but the file was not there at all: then it is gone again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_writing_a_new_file_and_it_is_gone_again() {
    let mut system = Setup::workers(0).start().await;
    let slow = Proxy::to_port(system.broker.amqp_port()).await;
    let doomed = system.add_worker_through(&slow, &[]);
    system.await_served("file.write@1").await;
    let saga = Saga::named("write-and-fail")
        .file("write")
        .effect("never", ", fail: final");
    system.apply(&[&saga]).await;

    slow.delay(SLOW);
    let id = system.run("write-and-fail", "g").await;
    await_until("the file to be written", SOON, async || {
        system.file_text("g.txt") == Some(written("g"))
    })
    .await;
    slow.refuse();
    system.workers[doomed].kill9();
    system.add_worker(&[]);

    system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    assert_eq!(system.file_text("g.txt"), None);
}

/// A claimed effect stands, its worker dies before it can say so: it is found by the probe, and not made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_between_a_claimed_effect_and_its_report_and_it_is_not_done_again() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let good = Saga::named("good")
        .effect("a", ", delay_after_ms: 4000")
        .effect("b", "");
    let bad = Saga::named("bad")
        .effect("a", ", delay_after_ms: 4000")
        .effect("b", ", fail: final");
    system.apply(&[&good]).await;
    system.apply(&[&bad]).await;
    let kept = system.run("good", "kept").await;
    let back = system.run("bad", "back").await;
    await_until("both effects to stand", SOON, async || {
        let book = Book::of(&system.ledger).await;
        book.effect("kept-a").state == State::Applied
            && book.effect("back-a").state == State::Applied
    })
    .await;
    system.workers[0].kill9();
    system.add_worker(&[]);

    system
        .api
        .await_status(&kept, "completed", AFTER_A_LEASE)
        .await;
    system
        .api
        .await_status(&back, "compensated", AFTER_A_LEASE)
        .await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("kept-a"), None);
    assert_eq!(book.called_twice("kept-a"), None);
    assert_eq!(book.not_done_once("kept-b"), None);
    assert_eq!(book.not_taken_back("back-a"), None);
    assert_eq!(book.effect("back-a").undone, 1);
    assert_eq!(book.called_twice("back-a"), None);
    assert_eq!(book.ever_done("back-b"), None);
}

/// An effect that is held late stands, its worker dies: the broker hands the task on, and doing it again changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_a_worker_that_holds_late_hands_its_task_on() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect-late@1").await;
    let saga = Saga::named("late")
        .late("a", ", delay_after_ms: 3000")
        .late("b", "");
    system.apply(&[&saga]).await;
    let id = system.run("late", "l").await;
    await_until("the effect to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("l-a").state == State::Applied
    })
    .await;
    system.workers[0].kill9();
    system.add_worker(&[]);

    system
        .api
        .await_status(&id, "completed", AFTER_A_LEASE)
        .await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("l-a"), None);
    assert_eq!(
        book.count("l-a", Did::Do),
        2,
        "the second worker ran it too"
    );
    assert_eq!(book.not_done_once("l-b"), None);
}

/// A worker is stopped with its task granted and not yet begun, past its lease; the saga moves on, fails, takes everything back. Then
/// the worker goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nothing_but_stop_a_worker_past_its_lease_and_it_does_not_act_afterwards() {
    let mut system = Setup::workers(0).start().await;
    let sleeper = system.add_worker(&[("worker.pools", "default,asleep")]);
    system.await_served("test.effect@1").await;
    let saga = Saga::named("moves-on")
        .effect("a", ", delay_before_ms: 6000")
        .effect("b", ", fail: final");
    system.apply(&[&saga]).await;
    let sign = Saga::named("sign").task("s", "test.effect@1", "", "pool: asleep\n    ");
    system.apply(&[&sign]).await;
    let id = system.run("moves-on", "m").await;
    await_until(
        "the first worker's claim to be committed",
        SOON,
        async || system.api.records(&id).await.contains("claimed"),
    )
    .await;
    // whoever has been granted a later task, and done it, has the earlier grant
    let asleep = system.run("sign", "awake").await;
    system.api.await_status(&asleep, "completed", SOON).await;
    system.workers[sleeper].sigstop();
    assert_eq!(Book::of(&system.ledger).await.count("m-a", Did::Do), 0);
    system.add_worker(&[]);

    system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    let before = Book::of(&system.ledger).await;
    assert_eq!(before.not_taken_back("m-a"), None);
    assert_eq!(
        before.effect("m-a").undone,
        1,
        "the second worker did it, and it was undone"
    );
    let calls = before.count("m-a", Did::Do);

    system.workers[sleeper].sigcont();
    // once it has run another task to the end it has long looked at the old one
    let awake = system.run("sign", "awake-again").await;
    system.api.await_status(&awake, "completed", SOON).await;
    let after = Book::of(&system.ledger).await;
    assert_eq!(
        after.count("m-a", Did::Do),
        calls,
        "it acted for a saga that had moved on: {:?}",
        after.history("m-a")
    );
    assert_eq!(after.not_taken_back("m-a"), None);
    await_until("its late report to be taken", SOON, async || {
        system.api.records(&id).await.contains("evidence")
    })
    .await;
    assert_eq!(system.api.status(&id).await, "compensated");
}

/// Two workers hold the same claimed task at once: one of them is granted it, the other is told not to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nothing_but_hand_a_task_out_twice_and_one_worker_acts() {
    let mut system = Setup::workers(1).start().await;
    system.await_takers("test.effect@1", 1).await;
    system.workers[0].kill9();
    system.await_takers("test.effect@1", 0).await;
    let saga = Saga::named("one").effect("a", ", delay_before_ms: 1500");
    system.apply(&[&saga]).await;
    let id = system.run("one", "n").await;
    let queue = "baton.task.default.test.effect@1";
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    let task = system.vhost.peek_one(queue).await;
    for _ in 0..3 {
        let again = system.vhost.publish(
            "baton.tasks",
            &task.routing_key,
            task.properties.clone(),
            &task.payload,
        );
        assert!(again.await, "the queue is there");
    }
    for _ in 0..2 {
        system.add_worker(&[]);
    }

    system.api.await_status(&id, "completed", SOON).await;
    system.vhost.await_messages(queue, 0, 0, SOON).await;
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_done_once("n-a"), None);
    assert_eq!(book.called_twice("n-a"), None);
    assert_eq!(system.api.status(&id).await, "completed");
}

/// A worker that holds late loses its connection before it acts, and acts all the same, much later. Its task has gone to another one
/// meanwhile, and the saga takes everything back: but not before the first one can certainly not act any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nothing_but_cut_off_a_worker_that_holds_late_and_its_effect_is_undone_too() {
    let mut system = Setup::workers(0).start().await;
    let cut = Proxy::to_port(system.broker.amqp_port()).await;
    let late = system.add_worker_through(&cut, &[]);
    system.await_takers("test.effect-late@1", 1).await;
    let keys = "timeout: 20s\n    queue_timeout: 10s\n    ";
    let saga = Saga::named("twice")
        .task("a", "test.effect-late@1", ", delay_before_ms: 8000", keys)
        .effect("b", ", fail: final");
    system.apply(&[&saga]).await;
    let id = system.run("twice", "n").await;
    let queue = "baton.task.default.test.effect-late@1";
    system.vhost.await_messages(queue, 0, 1, SOON).await;
    system.workers[late].sigstop();
    assert_eq!(Book::of(&system.ledger).await.count("n-a", Did::Do), 0);
    cut.cut();
    system.add_worker(&[]);

    system.api.await_status(&id, "compensating", SOON).await;
    assert_eq!(Book::of(&system.ledger).await.count("n-a", Did::Do), 1);
    system.workers[late].sigcont();
    await_until("the worker that was cut off to act", SOON, async || {
        Book::of(&system.ledger).await.count("n-a", Did::Do) == 2
    })
    .await;
    system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    assert_eq!(Book::of(&system.ledger).await.not_taken_back("n-a"), None);
}

/// Ends whichever worker runs it, whatever else that has in hand; whoever looks after workers starts it again, each time. Nothing beside it
/// suffers more than to be done once more, and none of it is put aside for having been in hand so often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_one_type_of_task_again_and_again_and_all_the_others_are_done() {
    const EACH: usize = 8;
    let mut system = Setup::workers(1)
        .worker("worker.concurrency", "2")
        .start()
        .await;
    for served in ["test.abort@1", "test.effect@1", "test.effect-late@1"] {
        system.await_served(served).await;
    }
    let deadly = Saga::named("deadly").step(
        "  - id: a\n    task: test.abort@1\n    with: {}\n    timeout: 5s\n    queue_timeout: 30s\n    heartbeat: 4s\n    retry: { attempts: 1 }\n",
    );
    let good = Saga::named("good").late("a", "").effect("b", "");
    system.apply(&[&deadly, &good]).await;
    system.workers[0].kill9();
    let (mut killers, mut others) = (Vec::new(), Vec::new());
    for number in 0..EACH {
        killers.push(system.run("deadly", &format!("d{number}")).await);
        others.push(system.run("good", &format!("g{number}")).await);
    }
    system.workers[0].start_again();
    let mut deaths = 0;
    await_until("all to end", AFTER_A_LEASE * 2, async || {
        if !system.workers[0].is_running() {
            deaths += 1;
            system.workers[0].start_again();
        }
        for id in killers.iter().chain(&others) {
            if system.api.status(id).await == "running" {
                return false;
            }
        }
        true
    })
    .await;
    for id in &others {
        system.api.await_status(id, "completed", SOON).await;
    }
    for id in &killers {
        let ended = system.api.saga(id).await;
        assert_ne!(ended["status"], "completed", "{ended}");
    }
    let book = Book::of(&system.ledger).await;
    for number in 0..EACH {
        for step in ["a", "b"] {
            assert_eq!(book.not_done_once(&format!("g{number}-{step}")), None);
        }
    }
    assert_eq!(
        system.api.dead_letters().await,
        Vec::<serde_json::Value>::new()
    );
    // each attempt at most twice: as it was first taken, and when it was granted
    assert!((1..=2 * EACH).contains(&deaths), "{deaths} deaths");
}
