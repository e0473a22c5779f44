//! Tasks that died in one message: each is a letter of its own, its saga is told, it goes back to work by itself, and their message is acknowledged when all of them are kept.

use baton_it::oracle::Book;
use baton_it::poison::Poison;

use super::*;

const TYPE: &str = "test.effect@1";
const QUEUE: &str = "baton.task.default.test.effect@1";
const KEY: &str = "default.test.effect@1";

/// A task that was sent and that nobody has taken.
struct Sent {
    name: String,
    saga: String,
    /// The message, as it would have come alone.
    body: String,
}

async fn begun(setup: Setup) -> System {
    let system = setup.start().await;
    system.await_served(TYPE).await;
    let keys = "on_error: park\n    timeout: 30s\n    ";
    let parks = Saga::named("parks").task("a", TYPE, "", keys);
    system.apply(&[&parks]).await;
    system
}

/// The tasks of three sagas, taken off their queue when its only worker is gone.
async fn three(system: &mut System, prefix: &str) -> Vec<Sent> {
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.vhost.await_consumers(QUEUE, 0, SOON).await;
    let mut sent = Vec::new();
    for number in 0..3 {
        let name = format!("{prefix}{number}");
        let saga = system.run("parks", &name).await;
        system.vhost.await_messages(QUEUE, 1, 0, SOON).await;
        let message = system.vhost.take(QUEUE, 1).await.remove(0);
        assert_eq!(message.properties["type"], "task@1", "{message:?}");
        system.vhost.await_messages(QUEUE, 0, 0, SOON).await;
        sent.push(Sent {
            name,
            saga,
            body: message.payload,
        });
    }
    sent
}

/// All of them as one message.
fn together(sent: &[Sent]) -> String {
    let bodies: Vec<&str> = sent.iter().map(|one| one.body.as_str()).collect();
    format!(r#"{{"tasks@1":{{"tasks":[{}]}}}}"#, bodies.join(","))
}

/// As a worker that cannot read the envelope parks it.
async fn parked(system: &System, sent: &[Sent]) {
    let headers = json!({
        "baton-dead-id": uuid::Uuid::new_v4(), "baton-dead-reason": "delivered-too-often", "baton-dead-error": "nobody could use it",
        "baton-dead-queue": QUEUE, "baton-dead-exchange": "baton.tasks", "baton-dead-key": KEY, "baton-dead-by": "a worker",
    });
    let properties =
        json!({ "message_id": uuid::Uuid::new_v4(), "type": "tasks@1", "headers": headers });
    let vhost = &system.vhost;
    let body = together(sent);
    assert!(vhost.publish("baton.dead", KEY, properties, &body).await);
}

/// As the broker gives it up, when it was taken and given back too often.
async fn given_up(system: &System, sent: &[Sent]) {
    let limit = json!({ "delivery-limit": 2, "dead-letter-exchange": "baton.dead" });
    let vhost = &system.vhost;
    vhost.policy("gives-up", r"^baton\.task\.", limit).await;
    let properties = json!({ "message_id": uuid::Uuid::new_v4(), "type": "tasks@1" });
    let body = together(sent);
    assert!(vhost.publish("baton.tasks", KEY, properties, &body).await);
    await_until("the broker to give it up", SOON, async || {
        vhost.peek(QUEUE, 1).await;
        let answer = system.api.get("/v1/dead-letters?state=dead").await;
        answer["dead_letters"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    })
    .await;
}

/// Each is the letter it would be if it had died alone, and its saga knows; nothing is left in the queue of the dead.
async fn are_letters(system: &System, sent: &[Sent]) -> Vec<String> {
    let found = letters(system, "state=dead", sent.len()).await;
    assert_eq!(found.len(), sent.len(), "{found:?}");
    let mut ids = Vec::new();
    for one_sent in sent {
        let letter = found.iter().find(|letter| letter["saga"] == *one_sent.saga);
        let letter = letter.unwrap_or_else(|| panic!("{} has no letter: {found:?}", one_sent.name));
        assert_eq!(letter["kind"], "task@1", "{letter}");
        assert_eq!(letter["reason"], "delivered-too-often", "{letter}");
        assert_eq!(letter["queue"], QUEUE, "{letter}");
        let whole = one(system, id(letter)).await;
        assert_eq!(whole["body"], one_sent.body.as_str(), "byte for byte");
        system.api.await_phase(&one_sent.saga, "a", "parked").await;
        ids.push(id(letter).to_owned());
    }
    system.vhost.await_messages("baton.dead", 0, 0, SOON).await;
    ids
}

/// One goes back to work: that one alone.
async fn one_goes_back(system: &mut System, sent: &[Sent], ids: &[String]) {
    let last = system.add_worker(&[]);
    system.await_takers(TYPE, 1).await;
    // it is handed what comes, and does nothing yet
    system.workers[last].sigstop();
    let replayed = post(
        system,
        &format!("{}/replay", ids[1]),
        json!({ "reason": "mended" }),
    )
    .await;
    assert_eq!(replayed.status, 200, "{replayed:?}");
    system.vhost.await_messages(QUEUE, 0, 1, SOON).await;
    system.workers[last].sigcont();
    let saga = &sent[1].saga;
    system.api.await_status(saga, "completed", SOON).await;
    system.vhost.await_messages(QUEUE, 0, 0, SOON).await;
    assert_eq!(one(system, &ids[1]).await["state"], "resolved");
    let book = Book::of(&system.ledger).await;
    for (place, one_sent) in sent.iter().enumerate() {
        let key = format!("{}-a", one_sent.name);
        if place == 1 {
            assert_eq!(book.not_done_once(&key), None);
        } else {
            assert_eq!(book.ever_done(&key), None);
            assert_eq!(one(system, &ids[place]).await["state"], "dead");
            let phase = system.api.phase(&one_sent.saga, "a").await;
            assert_eq!(phase, "parked", "{}", one_sent.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_parked_in_one_message_are_letters_of_their_own_and_go_back_one_by_one() {
    let mut system = begun(Setup::workers(1)).await;
    let sent = three(&mut system, "p").await;
    parked(&system, &sent).await;
    let ids = are_letters(&system, &sent).await;
    // parked once more, they are the letters they were
    parked(&system, &sent).await;
    system.vhost.await_messages("baton.dead", 0, 0, SOON).await;
    assert_eq!(are_letters(&system, &sent).await, ids);
    one_goes_back(&mut system, &sent, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_tasks_the_broker_gives_up_in_one_message_are_letters_of_their_own() {
    let mut system = begun(Setup::workers(1).postgres()).await;
    let sent = three(&mut system, "g").await;
    given_up(&system, &sent).await;
    let ids = are_letters(&system, &sent).await;
    one_goes_back(&mut system, &sent, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_over_one_of_several_dead_tasks_and_their_message_comes_again_whole() {
    let mut system = begun(Setup::workers(1)).await;
    let sent = three(&mut system, "k").await;
    system.orchestrator().process.kill9();
    let poison = Poison::of(&system);
    let last = poison.id(&sent[2].saga);
    let when = format!("NEW.saga = {last}");
    poison.on_insert("dead_letters", &when).await;
    parked(&system, &sent).await;
    system.orchestrator().process.start_again();
    poison.kills(&mut system).await;
    // whatever was kept of it, it was not acknowledged
    system.vhost.await_messages("baton.dead", 1, 0, SOON).await;
    poison.sql("DROP TRIGGER poison_of_dead_letters");
    system.orchestrator().process.start_again();
    system.await_ready().await;
    are_letters(&system, &sent).await;
}
