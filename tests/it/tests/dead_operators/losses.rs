//! Every message that dies is a letter of its own, or a death of the letter it certainly is: never nothing, and none of them twice.

use std::cell::Cell;
use std::collections::BTreeMap;

use baton_bus::{ConsumeSpec, HeaderValue, Headers};

use super::*;

/// A fanout to two queues whose consumers give up to us, sent by its sender as often as it likes.
async fn news(system: &System) {
    for queue in ["qa", "qb"] {
        system.vhost.declare(queue, "quorum").await;
    }
    let dead = json!({ "dead-letter-exchange": "baton.dead" });
    system.vhost.policy("news", "^q.$", dead).await;
    let (vhost, management) = (system.vhost.name(), system.vhost.management());
    let exchange = json!({ "type": "fanout", "durable": true });
    management
        .put(&format!("/api/exchanges/{vhost}/news"), &exchange)
        .await;
    for queue in ["qa", "qb"] {
        let path = format!("/api/bindings/{vhost}/e/news/q/{queue}");
        management.post(&path, &json!({})).await;
    }
}

async fn sent_and_given_up(system: &System) {
    let properties = json!({ "message_id": "m1" });
    assert!(system.vhost.publish("news", "", properties, "hello").await);
    for queue in ["qa", "qb"] {
        rejected(system, queue).await;
    }
}

async fn one_message_given_up_by_two(setup: Setup) {
    let system = setup.start().await;
    news(&system).await;
    sent_and_given_up(&system).await;
    let both = letters(&system, "state=dead", 2).await;
    let mut queues: Vec<&str> = both
        .iter()
        .filter_map(|one| one["queue"].as_str())
        .collect();
    queues.sort_unstable();
    assert_eq!(queues, ["qa", "qb"], "each of them has lost it");
    for letter in &both {
        let path = format!("{}/discard", id(letter));
        let answer = post(&system, &path, json!({ "reason": "not wanted" })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // time as the broker notes it is in seconds
    await_until("another second", SOON, async || {
        let at = both[0]["at"].as_u64().expect("a time");
        now_ms() / 1_000 > at / 1_000 + 1
    })
    .await;
    sent_and_given_up(&system).await;
    let again = letters(&system, "state=dead", 2).await;
    assert_eq!(again.len(), 2, "sent again, and dead again: {again:?}");
    let discarded = letters(&system, "state=discarded", 2).await;
    assert_eq!(discarded.len(), 2, "what was discarded stays so");
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("it fits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_that_two_queues_give_up_is_two_letters_and_sent_again_is_more() {
    one_message_given_up_by_two(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_one_message_that_two_queues_give_up_is_two_letters_and_sent_again_is_more() {
    one_message_given_up_by_two(Setup::workers(0).postgres()).await;
}

async fn given_up_by_code(setup: Setup) {
    let setup = setup.orchestrator("dead_letters.adopt", "orders.dlq -> /orders");
    let mut system = setup.start_without_orchestrator().await;
    for queue in ["orders", "orders.dlq"] {
        system.vhost.declare(queue, "quorum").await;
    }
    system.orchestrator().wait_alive_in(SOON).await;
    let give_up = async |system: &System| {
        let properties = json!({ "message_id": "o1", "headers": { "mine": "x" } });
        put(system, "orders.dlq", properties, b"order").await;
    };
    give_up(&system).await;
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    let answer = post(&system, &format!("{}/replay", id(&letter)), json!({})).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    assert_eq!(taken(&system, "orders").await.len(), 1);
    // its consumer gives it up by its own code, as it came to it the first time
    give_up(&system).await;
    let back = letters(&system, "state=dead", 1).await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        id(&back[0]),
        id(&letter),
        "the same message is the same letter"
    );
    assert_eq!(back[0]["died_again"], 1, "{back:?}");
    assert!(
        back[0]["died_at"].as_u64() > letter["at"].as_u64(),
        "{back:?}"
    );
    let whole = one(&system, id(&letter)).await;
    let history = whole["history"].as_array().expect("a history");
    assert_eq!(history.last().expect("a death")["what"], "died", "{whole}");
    // another message under that id is another letter
    let properties = json!({ "message_id": "o1", "headers": { "mine": "y" } });
    put(&system, "orders.dlq", properties, b"order").await;
    assert_eq!(letters(&system, "state=dead", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_again_by_its_consumers_own_code_is_dead_again() {
    given_up_by_code(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_what_is_given_up_again_by_its_consumers_own_code_is_dead_again() {
    given_up_by_code(Setup::workers(0).postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_makes_of_a_replayed_message_dies_for_itself() {
    let system = Setup::workers(0).start().await;
    orders(&system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    let properties = json!({ "message_id": "parent", "type": "order", "headers": { "mine": "x" } });
    put(&system, "orders", properties, b"the body").await;
    rejected(&system, "orders").await;
    let parent = letters(&system, "state=dead", 1).await.remove(0);
    let answer = post(&system, &format!("{}/replay", id(&parent)), json!({})).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    let sent = taken(&system, "orders").await.remove(0);
    let headers = sent["properties"]["headers"].clone();
    assert!(headers["baton-replay-of"].is_string(), "{sent}");
    for (name, kind) in [
        ("child0", "order"),
        ("child1", "mail"),
        ("parent", "invoice"),
    ] {
        let properties = json!({ "message_id": name, "type": kind, "headers": headers });
        put(&system, "orders", properties, b"the body").await;
        rejected(&system, "orders").await;
    }
    let children = letters(&system, "state=dead", 3).await;
    let mut kinds: Vec<&str> = children
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["invoice", "mail", "order"], "{children:?}");
    let now = one(&system, id(&parent)).await;
    assert_eq!(
        (&now["state"], &now["died_again"]),
        (&json!("resolved"), &json!(0))
    );
    // and the message itself is the letter it was, each time it dies
    let itself = json!({ "message_id": "parent", "type": "order", "headers": headers });
    for n in 1..=2 {
        put(&system, "orders", itself.clone(), b"the body").await;
        rejected(&system, "orders").await;
        await_until("it to have died", SOON, async || {
            one(&system, id(&parent)).await["died_again"] == n
        })
        .await;
    }
    assert_eq!(letters(&system, "state=dead", 4).await.len(), 4);
}

async fn sent_without_id(bus: &Bus, body: String) {
    let raw = Raw {
        key: "orders.dlq".to_owned(),
        body: body.into_bytes(),
        ..Raw::default()
    };
    assert_eq!(bus.publisher().publish_raw(raw).await, Sent::Confirmed);
}

/// Messages that were sent: those that differ, and those that are alike in everything.
#[derive(Debug, Default, Clone, Copy)]
struct SentSoFar {
    unlike: u64,
    alike: u64,
}

impl SentSoFar {
    /// One after the other, so that some are taken in while others are sent; each eighth is like the others of its kind.
    async fn until(&mut self, bus: &Bus, killed: &Cell<bool>) {
        while !killed.get() {
            let all = self.unlike + self.alike;
            let body = if all % 8 == 7 {
                self.alike += 1;
                "alike".to_owned()
            } else {
                self.unlike += 1;
                format!("order {all}")
            };
            sent_without_id(bus, body).await;
        }
    }
}

/// How many letters there are.
async fn found(system: &System) -> u64 {
    let (path, body) = ("/v1/dead-letters/replays", json!({ "dry_run": true }));
    let plan = system.api.ask("POST", path, "", Some(body.to_string()));
    // it may have been killed just now
    let found = plan.await.map(|plan| plan.body["plan"]["found"].as_u64());
    found.flatten().unwrap_or_default()
}

/// Sends until some of it is taken in and the orchestrator is killed over the rest: it is met at work.
async fn killed_in_the_middle(system: &mut System, bus: &Bus, sent: &mut SentSoFar) {
    let before = found(system).await;
    let killed = Cell::new(false);
    let killing = async {
        await_until("some to be taken in", SOON, async || {
            found(system).await > before
        })
        .await;
        system.orchestrator().kill9_and_start();
        killed.set(true);
    };
    tokio::join!(sent.until(bus, &killed), killing);
    system.orchestrator().wait_alive_in(SOON).await;
}

/// Messages that have no id and are delivered again by a kill between keeping and acknowledging: each is there once. And of those that are alike in everything none is missing.
async fn killed_over_messages_without_ids(setup: Setup) {
    let kills = if baton_it::long() { 40 } else { 6 };
    let setup = setup.orchestrator("dead_letters.adopt", "orders.dlq -> /orders");
    let mut system = setup.start_without_orchestrator().await;
    for queue in ["orders", "orders.dlq"] {
        system.vhost.declare(queue, "quorum").await;
    }
    system.orchestrator().wait_alive_in(SOON).await;
    let config = BusConfig {
        addresses: vec![system.vhost.url()],
        ..BusConfig::default()
    };
    let bus = Bus::start(config, CancellationToken::new()).expect("the address can be read");
    let mut sent = SentSoFar::default();
    for _ in 0..kills {
        killed_in_the_middle(&mut system, &bus, &mut sent).await;
    }
    bus.shutdown(SOON).await;
    let (count, alike) = (sent.unlike, sent.alike);
    // what the broker tells of a queue may be of a moment ago
    await_until("all of them to be taken in", SOON, async || {
        found(&system).await >= count + alike
    })
    .await;
    system.vhost.await_messages("orders.dlq", 0, 0, SOON).await;
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for line in elsewhere::lines(&system, "all.jsonl").await {
        if let Some(body) = line["body"].as_str() {
            *times.entry(body.to_owned()).or_default() += 1;
        }
    }
    let kept = times.remove("alike").unwrap_or_default();
    assert!(
        kept >= alike,
        "{kept} of {alike} that nobody can tell apart"
    );
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(times.len() as u64, count, "each is there once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_messages_without_ids_are_taken_in_and_each_is_there_once() {
    killed_over_messages_without_ids(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_while_messages_without_ids_are_taken_in_and_each_is_there_once() {
    killed_over_messages_without_ids(Setup::workers(0).postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_go_back_in_the_types_they_came_in() {
    let setup = Setup::workers(0).orchestrator("dead_letters.adopt", "orders.dlq -> /orders");
    let mut system = setup.start_without_orchestrator().await;
    for queue in ["orders", "orders.dlq"] {
        system.vhost.declare(queue, "quorum").await;
    }
    system.orchestrator().wait_alive_in(SOON).await;
    let table = |name: &str, value: HeaderValue| {
        HeaderValue::Table(Headers::from([(name.to_owned(), value)]))
    };
    let own = Headers::from([
        ("small".to_owned(), HeaderValue::I32(-7)),
        ("byte".to_owned(), HeaderValue::U8(200)),
        ("single".to_owned(), HeaderValue::F32(0.1)),
        ("at".to_owned(), HeaderValue::Timestamp(9)),
        (
            "like a time".to_owned(),
            table("timestamp", HeaderValue::I64(5)),
        ),
        ("like bytes".to_owned(), table("base64", "aGk=".into())),
        (
            "list".to_owned(),
            HeaderValue::Array(vec![
                HeaderValue::I16(3),
                table("timestamp", HeaderValue::I32(4)),
            ]),
        ),
    ]);
    let config = BusConfig {
        addresses: vec![system.vhost.url()],
        ..BusConfig::default()
    };
    let bus = Bus::start(config, CancellationToken::new()).expect("the address can be read");
    let raw = Raw {
        key: "orders.dlq".to_owned(),
        body: b"order".to_vec(),
        message_id: Some("o1".to_owned()),
        headers: own.clone(),
        ..Raw::default()
    };
    assert_eq!(bus.publisher().publish_raw(raw).await, Sent::Confirmed);
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    let answer = post(&system, &format!("{}/replay", id(&letter)), json!({})).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    let mut consumer = bus
        .consume(ConsumeSpec {
            queue: "orders".to_owned(),
            prefetch: 1,
            exclusive_queue: None,
            consumer_tag: "tests".to_owned(),
        })
        .await;
    let back = tokio::time::timeout(SOON, consumer.next()).await;
    let back = back.expect("it is there").expect("a message");
    let headers: Headers = back
        .headers
        .iter()
        .filter(|(name, _)| own.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert_eq!(headers, own);
    back.ack().await.expect("its channel is there");
    drop((back, consumer));
    bus.shutdown(SOON).await;
}

/// What a message carried beside its body goes with it: what a trace hangs by, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_back_is_linked_to_where_it_came_from() {
    let system = Setup::workers(0).start().await;
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = json!({ "traceparent": traced, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" });
    let properties = json!({ "message_id": "m", "priority": 3, "headers": headers });
    put(&system, "baton.dead", properties, b"\xffan order").await;
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    system.vhost.declare("orders", "quorum").await;
    let answer = post(&system, &format!("{}/replay", id(&letter)), json!({})).await;
    assert_eq!(answer.body["state"], "resolved", "{answer:?}");
    let cli = system.cli();
    let shown = cli.run(&["dead", "ls", "--state", "resolved"]).await;
    let shown = shown.exits(0);
    assert!(shown.out.contains("published"), "{shown:?}");
    let back = taken(&system, "orders").await.remove(0);
    let headers = &back["properties"]["headers"];
    assert_eq!(headers["traceparent"], traced, "{back}");
}

/// Refuses a change of dead letters, as a store in trouble would, until it is let go.
struct Refusing(rusqlite::Connection);

impl Refusing {
    fn begun(system: &System, of: &str, when: &str) -> Self {
        let database = system.data_dir().join("baton.db");
        let store = rusqlite::Connection::open(database).expect("the database can be opened");
        store.busy_timeout(SOON).expect("it can wait");
        let sql = format!(
            "CREATE TRIGGER refusing BEFORE UPDATE OF {of} ON dead_letters WHEN {when} BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        );
        store.execute_batch(&sql).expect("it can be refused");
        Self(store)
    }

    /// How many decisions of a saga are written down.
    fn decided(&self, saga: &str) -> u64 {
        let sql =
            "SELECT count(*) FROM records r JOIN sagas s ON s.number = r.saga WHERE s.id = ?1";
        let saga: uuid::Uuid = saga.parse().expect("an id");
        let many: u32 = self
            .0
            .query_row(sql, [saga.as_bytes()], |row| row.get(0))
            .expect("it can be read");
        many.into()
    }

    /// Kills whoever could not write it down, and begins him anew where it can be.
    async fn over(self, system: &mut System) {
        system.orchestrator().process.kill9();
        self.0
            .execute_batch("DROP TRIGGER refusing")
            .expect("it can be let go");
        drop(self);
        system.orchestrator().process.start_again();
        system.orchestrator().wait_alive_in(SOON).await;
    }
}

/// What a letter is when it is on its way no more.
async fn settled(system: &System, letter: &str) -> Value {
    await_some("what came of it", SOON, async || {
        let now = one(system, letter).await;
        (now["state"] != "replaying").then_some(now)
    })
    .await
}

/// Whoever dies between the broker's word on one message of others and writing that down may have sent it, or not: that is said, and it is not sent a second time by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_one_message_of_others_was_published_and_it_is_not_published_again_by_itself() {
    let mut system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    let headers = json!({ "n": 1, "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" });
    let properties = json!({ "message_id": "m1", "headers": headers });
    put(&system, "baton.dead", properties, b"an order").await;
    let letter = letters(&system, "state=dead", 1).await.remove(0);
    let letter = id(&letter).to_owned();
    let refusing = Refusing::begun(&system, "state", "OLD.state = 'replaying'");
    let path = format!("{letter}/replay");
    let answer = post(&system, &path, json!({ "reason": "mended" })).await;
    assert_eq!(answer.status, 503, "nobody can say: {answer:?}");
    system.vhost.await_messages("orders", 1, 0, SOON).await;
    assert_eq!(one(&system, &letter).await["state"], "replaying");
    refusing.over(&mut system).await;
    let now = settled(&system, &letter).await;
    assert_eq!(now["state"], "dead", "a person decides: {now}");
    let outcome = now["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("may have been delivered"), "{now}");
    let by_hand = post(&system, &path, json!({ "reason": "it was not there" })).await;
    assert_eq!(by_hand.body["state"], "resolved", "{by_hand:?}");
    system.vhost.await_messages("orders", 2, 0, SOON).await;
    assert_eq!(
        numbers(&taken(&system, "orders").await),
        [1, 1],
        "once before it was killed, and once when somebody asked for it"
    );
}

/// Whoever dies after a saga has taken the replay of its task, and before that is written down, asks it again: that is the same replay and the same attempt, of one letter and of one of many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_a_saga_has_taken_a_replay_and_it_is_one_attempt_and_known_as_that() {
    use baton_it::oracle::Book;
    let queue = "baton.task.default.test.effect@1";
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    system.workers[0].kill9();
    system.vhost.await_consumers(queue, 0, SOON).await;
    let keys = "on_error: park\n    timeout: 30s\n    ";
    system
        .apply(&[&Saga::named("parks").task("a", "test.effect@1", "", keys)])
        .await;
    let mut asked = Vec::new();
    for many in [false, true] {
        let name = format!("p-{many}");
        let saga = system.run("parks", &name).await;
        system.vhost.await_messages(queue, 1, 0, SOON).await;
        let task = system.vhost.take(queue, 1).await.remove(0);
        let mut properties = task.properties;
        properties["headers"]["baton-dead-reason"] = "misfit".into();
        properties["headers"]["baton-dead-queue"] = queue.into();
        put(&system, "baton.dead", properties, task.payload.as_bytes()).await;
        system.api.await_phase(&saga, "a", "parked").await;
        let of_saga = format!("state=dead&saga={saga}");
        let letter = letters(&system, &of_saga, 1).await.remove(0);
        let letter = id(&letter).to_owned();
        let refusing = Refusing::begun(&system, "sent_at", "NEW.sent_at IS NOT NULL");
        let before = refusing.decided(&saga);
        let (path, body, said) = if many {
            let filter = json!({ "saga": saga });
            let body = json!({ "reason": "mended", "filter": filter });
            ("replays".to_owned(), body, 200)
        } else {
            (
                format!("{letter}/replay"),
                json!({ "reason": "mended" }),
                503,
            )
        };
        let answer = post(&system, &path, body).await;
        assert_eq!(answer.status, said, "{answer:?}");
        // it was asked for, and has sent another attempt by itself
        await_until("the saga to go on", SOON, async || {
            refusing.decided(&saga) >= before + 2
        })
        .await;
        system.api.await_phase(&saga, "a", "trying").await;
        assert_eq!(one(&system, &letter).await["state"], "replaying");
        refusing.over(&mut system).await;
        asked.push((saga, name, letter));
        system.add_worker(&[]);
        let (saga, _, letter) = &asked[asked.len() - 1];
        system.api.await_status(saga, "completed", SOON).await;
        let now = settled(&system, letter).await;
        assert_eq!(now["state"], "resolved", "{now}");
        let last = system.workers.len() - 1;
        system.workers[last].kill9();
        system.vhost.await_consumers(queue, 0, SOON).await;
    }
    let book = Book::of(&system.ledger).await;
    for (saga, name, _) in &asked {
        let records = system.api.records(saga).await;
        let times = records.matches("is replayed: mended").count();
        assert_eq!(times, 1, "asked for once: {records}");
        let effect = format!("{name}-a");
        assert_eq!(book.not_done_once(&effect), None);
        assert_eq!(book.called_twice(&effect), None);
    }
}
