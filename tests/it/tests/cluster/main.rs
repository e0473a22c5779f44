//! Several orchestrators on one database: each drives its share, any of them takes what belongs to any saga, what one gives up or loses goes on with
//! another, and whoever comes back too late is fenced. What was really done stands in the ledger.
#![expect(
    clippy::print_stdout,
    reason = "how long nothing went on is a figure people read"
)]

mod alarms;
mod cancels;
mod crowded;
mod fenced;
mod least;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baton_harness::{Process, Proxy, await_some};
use baton_it::mixed;
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System, long};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Sagas started while a fault lasts: more than come in its time.
const LOAD_MAX: usize = 10_000;

/// As many as a database is made with.
const PARTITIONS: i64 = 8;

struct Cluster {
    system: System,
    other: Process,
    others: Api,
    /// Whom [`Cluster::run`] asks.
    asks: AtomicUsize,
}

/// Two orchestrators that share the partitions, and so many workers. What the first does to the world goes through relays, what the second does not.
async fn two(setup: Setup) -> Cluster {
    let system = setup.start().await;
    let (launch, others) = system.another_orchestrator();
    let other = launch
        .env("BATON__BUS__ADDRESSES", system.vhost.url())
        .env("BATON__STORE__URL", system.database().url())
        .start();
    system.await_served("test.effect@1").await;
    system.await_served("test.effect-late@1").await;
    let cluster = Cluster {
        system,
        other,
        others,
        asks: AtomicUsize::new(0),
    };
    cluster.await_shared(2).await;
    cluster
}

impl Cluster {
    /// Waits until so many have their share, and all partitions have an owner.
    async fn await_shared(&self, members: usize) {
        let client = self.system.database().client().await;
        let what = format!("{members} orchestrators to share the partitions");
        await_some(&what, AFTER_A_LEASE, async || {
            let asked = client.query(
                "SELECT owner, count(*) FROM partitions WHERE lease_until > clock_timestamp() GROUP BY owner",
                &[],
            );
            let shares: Vec<i64> = asked.await.ok()?.iter().map(|row| row.get(1)).collect();
            let all: i64 = shares.iter().sum();
            let least = PARTITIONS / i64::try_from(members).ok()?;
            (shares.len() == members && all == PARTITIONS && shares.iter().all(|n| *n >= least))
                .then_some(())
        })
        .await;
    }

    fn apis(&self) -> [&Api; 2] {
        [&self.system.api, &self.others]
    }

    /// Starts a saga at whoever answers first.
    async fn run(&self, definition: &str, name: &str) -> String {
        let body = json!({ "definition": definition, "input": self.system.input(name) });
        let body = body.to_string();
        let what = format!("{name} to be started by somebody");
        await_some(&what, AFTER_A_LEASE, async || {
            let asks = self.asks.load(Ordering::Relaxed);
            let api = self.apis()[asks % 2];
            let asked = api.ask("POST", "/v1/sagas", name, Some(body.clone()));
            let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
            if let Ok(Some(answer)) = answer
                && (200..300).contains(&answer.status)
            {
                return answer.body["id"].as_str().map(str::to_owned);
            }
            // from here on the other one
            self.asks.store(asks + 1, Ordering::Relaxed);
            None
        })
        .await
    }
}

fn row(name: &str) -> Saga {
    Saga::named(name)
        .effect("a", "")
        .late("b", ", value: \"${ a.key }\"")
        .effect("c", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_takes_what_belongs_to_any_saga() {
    let cluster = two(Setup::workers(2).postgres()).await;
    let asks = Saga::named("asks")
        .effect("a", "")
        .step("  - id: ok\n    approve: { by: operator, timeout: 1h }\n")
        .effect("b", "");
    // registered here, it is known there at once
    cluster.others.apply(asks.yaml()).await;
    let input = |name: &str| cluster.system.input(name);
    let mut ids = Vec::new();
    for number in 0..16 {
        let name = format!("n{number}");
        let api = cluster.apis()[number % 2];
        ids.push(api.start("asks", &input(&name), &name).await);
    }
    for (number, id) in ids.iter().enumerate() {
        let [one, other] = cluster.apis();
        let (one, other) = if number < 8 {
            (one, other)
        } else {
            (other, one)
        };
        one.await_phase(id, "ok", "asked").await;
        assert_eq!(
            other
                .act(id, "steps/a/skip", json!({ "reason": "r" }))
                .await
                .status,
            409
        );
        let act = if number % 4 == 3 { "reject" } else { "approve" };
        let path = format!("steps/ok/{act}");
        let answer = one.act(id, &path, json!({ "note": "r" })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        // decided already, whoever is asked
        for api in [one, other] {
            let answer = api.act(id, &path, json!({ "note": "r" })).await;
            assert_eq!(answer.status, 409, "{}", answer.body);
        }
    }
    for (number, id) in ids.iter().enumerate() {
        let promised = if number % 4 == 3 {
            "compensated"
        } else {
            "completed"
        };
        for api in cluster.apis() {
            api.await_status(id, promised, SOON).await;
        }
    }
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..16 {
        let name = format!("n{number}-a");
        if number % 4 == 3 {
            assert_eq!(book.not_taken_back(&name), None);
        } else {
            assert_eq!(book.not_done_once(&name), None);
        }
    }
    let nobody = "/v1/sagas/00000000-0000-4000-8000-000000000001/cancel";
    for api in cluster.apis() {
        let reason = json!({ "reason": "r" }).to_string();
        let answer = api.ask_patiently("POST", nobody, "", Some(reason)).await;
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_moves_sagas_of_all_to_another_version() {
    let cluster = two(Setup::workers(1).postgres()).await;
    let asks = |version: u32, more: &str| {
        format!(
            "saga: moved\nversion: {version}\ninput: {{ type: object }}\nsteps:\n  - id: ok\n    approve: {{ by: operator, timeout: 1d }}\n{more}"
        )
    };
    let [one, other] = cluster.apis();
    one.apply(&asks(1, "")).await;
    let mut ids = Vec::new();
    for number in 0..24 {
        let name = format!("n{number}");
        ids.push(one.start("moved", &json!({ "name": name }), &name).await);
    }
    for id in &ids {
        one.await_phase(id, "ok", "asked").await;
    }
    one.apply(&asks(2, "  - id: z\n    sleep: 1ms\n")).await;
    // at the member that did not register it, at once
    let body = json!({ "to": 2, "reason": "r", "limit": 100 }).to_string();
    let path = "/v1/definitions/moved/upgrade";
    let answer = other.ask_patiently("POST", path, "", Some(body)).await;
    assert_eq!(answer.body["moved"], 24, "{}", answer.body);
    for id in &ids {
        let said = one.act(id, "steps/ok/approve", json!({})).await;
        assert_eq!(said.status, 200, "{}", said.body);
        let ended = one.await_status(id, "completed", SOON).await;
        assert_eq!(ended["version"], 2);
        assert_eq!(ended["steps"][1]["phase"], "succeeded", "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_once_in_all_is_asked_of_any_member() {
    let cluster = two(Setup::workers(1).postgres()).await;
    let clock = Saga::named("clock").step("  - id: z\n    sleep: 10ms\n");
    let clock = clock.yaml().replacen(
        "steps:",
        "on:\n  - schedule: \"0 0 1 1 *\"\n    input: { name: c }\n  - event: com.test.happened\n    input: { name: \"${ event.id }\" }\nsteps:",
        1,
    );
    cluster.others.apply(&clock).await;
    for api in cluster.apis() {
        let answer = api
            .ask_patiently("POST", "/v1/schedules/clock/0/fire", "", None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let saga = answer.body["saga"].as_str().unwrap().to_owned();
        api.await_status(&saga, "completed", SOON).await;
        for (number, api) in cluster.apis().into_iter().enumerate() {
            let event = json!({ "specversion": "1.0", "id": format!("{saga}{number}"), "source": "/t",
                "type": "com.test.happened" });
            api.publish(&event).await;
            // the same once more
            api.publish(&event).await;
        }
    }
    let completed = "/v1/sagas?status=completed&definition=clock&limit=500";
    await_some("six sagas to complete", SOON, async || {
        let list = cluster.others.get(completed).await;
        (list["sagas"].as_array()?.len() == 6).then_some(())
    })
    .await;
    assert_eq!(cluster.system.api.sagas().await.len(), 6, "each event once");

    let made = json!({ "name": "guest", "role": "viewer" }).to_string();
    let made = cluster
        .others
        .ask_patiently("POST", "/v1/tokens", "", Some(made))
        .await;
    let guest = made.body["token"].as_str().expect("a token").to_owned();
    let me = |at: &Api| {
        let url = format!("{}/v1/me", at.url());
        let asked = reqwest::Client::new().get(url).bearer_auth(&guest);
        async move { asked.send().await.expect("it answers").status().as_u16() }
    };
    for (lets_in, wanted) in [("lets in", 200), ("refuses", 401)] {
        let what = format!("who was told nothing to know that the token {lets_in}");
        await_some(&what, SOON, async || {
            (me(&cluster.system.api).await == wanted).then_some(())
        })
        .await;
        let gone = cluster
            .others
            .ask_patiently("DELETE", "/v1/tokens/guest", "", None)
            .await;
        assert!([200, 204, 404].contains(&gone.status), "{}", gone.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_shows_who_is_there_and_who_drives_what() {
    let cluster = two(Setup::workers(1).postgres()).await;
    let mut asked = Vec::new();
    for api in cluster.apis() {
        let shown = api.get("/v1/cluster").await;
        let members = shown["members"].as_array().unwrap();
        assert_eq!(members.len(), 2, "{shown}");
        for member in members {
            assert_eq!(member["alive"], json!(true), "{shown}");
            assert_eq!(member["ready"], json!(true), "{shown}");
            assert_eq!(member["partitions"], json!(PARTITIONS / 2), "{shown}");
        }
        let partitions = shown["partitions"].as_array().unwrap();
        assert_eq!(partitions.len(), 8, "{shown}");
        assert_eq!(shown["leader"], partitions[0]["owner"], "{shown}");
        asked.push(shown["asked"].as_str().unwrap().to_owned());
        let metrics = api
            .ask("GET", "/metrics", "", None)
            .await
            .expect("it answers");
        let driven = "baton_orchestrator_partitions_driven 4";
        assert!(
            metrics.body.to_string().contains(driven),
            "{}",
            metrics.body
        );
    }
    assert_ne!(asked[0], asked[1]);
    let screen = cluster.system.cli().run(&["cluster"]).await;
    for name in &asked {
        assert!(screen.out.contains(name.as_str()), "{screen:?}");
    }
    assert!(screen.out.contains("leads"), "{screen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_one_member_hears_of_the_sagas_of_all() {
    let cluster = two(Setup::workers(1).postgres()).await;
    cluster.system.apply(&[&row("row")]).await;
    let mut watching = cluster.system.cli().command(&["watch", "--all", "--json"]);
    watching.stdout(Stdio::piped()).kill_on_drop(true);
    let mut watching = watching.spawn().expect("baton can be run");
    let out = watching.stdout.take().expect("it is piped");
    let mut out = BufReader::new(out).lines();
    // it has begun to watch once it is told of something
    let mut first = 0;
    await_some("a saga to be told of", SOON, async || {
        first += 1;
        cluster.run("row", &format!("first-{first}")).await;
        let line = tokio::time::timeout(Duration::from_secs(1), out.next_line()).await;
        line.is_ok().then_some(())
    })
    .await;
    let mut left = BTreeSet::new();
    for number in 0..16 {
        left.insert(cluster.run("row", &format!("n{number}")).await);
    }
    let mut told = BTreeSet::new();
    while !left.is_empty() {
        let line = tokio::time::timeout(SOON, out.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("never told of: {left:?}"));
        let line = line.expect("it can be read").expect("it goes on");
        let row: Value = serde_json::from_str(&line).expect("each line is JSON");
        let (id, status) = (row["id"].to_string(), row["status"].to_string());
        assert!(told.insert((id, status)), "told twice: {line}");
        if row["status"] == "completed" {
            left.remove(row["id"].as_str().unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_a_cluster_of_one() {
    let system = Setup::workers(0).start().await;
    let shown = system.api.get("/v1/cluster").await;
    assert_eq!(shown["members"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["members"][0]["lease_left_ms"], json!(null), "{shown}");
    assert_eq!(shown["partitions"][0]["owner"], shown["asked"], "{shown}");
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_into_the_wrong_inbox_is_sent_on_and_started_once() {
    let cluster = two(Setup::workers(1).postgres()).await;
    cluster.system.apply(&[&row("row")]).await;
    let start = |number: u128| {
        let id = uuid::Uuid::from_u128(0x0aaa_0000_0000_4000_8000_0000_0000_0000 + number);
        let input = cluster.system.input(&format!("n{number}"));
        json!({ "id": id, "saga": id, "definition": "row", "input": input, "by": "a test" })
    };
    let together: Vec<Value> = (0..40).map(start).collect();
    let message = json!({ "starts@1": { "starts": together } }).to_string();
    let properties = json!({ "type": "starts@1", "message_id": "the first", "delivery_mode": 2 });
    for key in ["00", "05"] {
        let vhost = &cluster.system.vhost;
        vhost
            .publish("baton.inbox", key, properties.clone(), &message)
            .await;
    }
    await_some("all of them to complete", SOON, async || {
        let list = "/v1/sagas?status=completed&limit=500";
        let list = cluster.others.get(list).await;
        (list["sagas"].as_array()?.len() == 40).then_some(())
    })
    .await;
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..40 {
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
    }
    assert_eq!(cluster.system.api.dead_letters().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_in_order_hands_over_at_once_and_who_comes_gets_a_share() {
    // a lease nobody could wait for
    let setup = Setup::workers(1)
        .postgres()
        .orchestrator("store.lease_ms", "300000");
    let mut cluster = two(setup).await;
    cluster.system.apply(&[&row("row")]).await;
    assert!(
        cluster
            .system
            .orchestrator()
            .process
            .sigterm_and_wait(SOON)
            .await
            .success()
    );
    cluster.await_shared(1).await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(cluster.run("row", &format!("n{number}")).await);
    }
    cluster.system.orchestrator().process.start_again();
    cluster.await_shared(2).await;
    for id in &ids {
        cluster.system.api.await_status(id, "completed", SOON).await;
    }
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..8 {
        for step in ["a", "c"] {
            let key = format!("n{number}-{step}");
            assert_eq!(book.not_done_once(&key), None);
            assert_eq!(book.called_twice(&key), None);
        }
    }
}

/// Cuts the first orchestrator off: the second has everything, and every saga ends as promised; then the first has its share again.
async fn the_other_has_all_while_cut_off(cluster: &mut Cluster, relay: impl Fn(&System) -> &Proxy) {
    cluster.system.apply(&[&row("row")]).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(cluster.run("row", &format!("n{number}")).await);
    }
    relay(&cluster.system).refuse();
    relay(&cluster.system).cut();
    cluster.await_shared(1).await;
    for number in 10..30 {
        let (name, input) = (
            format!("n{number}"),
            cluster.system.input(&format!("n{number}")),
        );
        ids.push(cluster.others.start("row", &input, &name).await);
    }
    for id in &ids {
        cluster
            .others
            .await_status(id, "completed", AFTER_A_LEASE)
            .await;
    }
    assert!(cluster.system.orchestrator().process.is_running());
    relay(&cluster.system).accept();
    cluster.await_shared(2).await;
    for number in 30..40 {
        let name = format!("n{number}");
        let id = cluster
            .system
            .api
            .start("row", &cluster.system.input(&name), &name)
            .await;
        cluster
            .system
            .api
            .await_status(&id, "completed", SOON)
            .await;
    }
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..40 {
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_reach_the_broker_gives_way_to_who_can() {
    let mut cluster = two(Setup::workers(1).postgres()).await;
    the_other_has_all_while_cut_off(&mut cluster, |system| &system.proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_reach_the_database_loses_what_it_had() {
    let mut cluster = two(Setup::workers(1).postgres_through_a_relay()).await;
    the_other_has_all_while_cut_off(&mut cluster, System::database_relay).await;
}

/// How long each piece of what is sent takes on a slow link, as between the ends of a continent. Every answer of the database takes two of them.
const SLOW: Duration = Duration::from_millis(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_slow_links_nobody_loses_what_it_has_and_every_saga_ends() {
    let setup = Setup::workers(1)
        .postgres_through_a_relay()
        .orchestrator("store.lease_ms", "5000");
    let cluster = two(setup).await;
    cluster.system.apply(&[&row("row")]).await;
    let client = cluster.system.database().client().await;
    let owners = async || -> Vec<(String, i64)> {
        let sql = "SELECT owner, epoch FROM partitions ORDER BY id";
        let rows = client.query(sql, &[]).await.expect("the database answers");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let before = owners().await;
    for relay in [cluster.system.database_relay(), &cluster.system.proxy] {
        relay.delay(SLOW);
    }
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(cluster.run("row", &format!("n{number}")).await);
        // whoever takes it, the next is asked of the other
        cluster.asks.fetch_add(1, Ordering::Relaxed);
    }
    for id in &ids {
        let status = cluster.others.await_status(id, "completed", AFTER_A_LEASE);
        status.await;
    }
    assert_eq!(owners().await, before, "slow is not gone");
    for relay in [cluster.system.database_relay(), &cluster.system.proxy] {
        relay.delay(Duration::ZERO);
    }
    let id = cluster.run("row", "after").await;
    cluster.others.await_status(&id, "completed", SOON).await;
    let book = Book::of(&cluster.system.ledger).await;
    for number in 0..12 {
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
    }
}

/// What happens to an orchestrator.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    /// For longer than its lease; then it wakes up and goes on writing.
    Stopped,
}

const FAULTS: [Fault; 2] = [Fault::Killed, Fault::Stopped];

/// Waits until every partition has gone on since `since`, as records are committed in it.
async fn all_go_on(cluster: &Cluster, since: Instant) -> Duration {
    let client = cluster.system.database().client().await;
    let rows = async || -> Option<Vec<i64>> {
        let asked = client.query("SELECT log_rows FROM partitions ORDER BY id", &[]);
        Some(asked.await.ok()?.iter().map(|row| row.get(0)).collect())
    };
    let before = rows().await.expect("the database answers");
    await_some("every partition to go on", AFTER_A_LEASE, async || {
        let now = rows().await?;
        before
            .iter()
            .zip(&now)
            .all(|(before, now)| now > before)
            .then_some(())
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_of_one_name_the_one_that_is_there_goes_on_and_one_that_wakes_up_too_late_ends() {
    let setup = Setup::workers(1).postgres();
    let mut system = setup.orchestrator("service.instance", "same").start().await;
    system.await_served("test.effect@1").await;
    system.apply(&[&Saga::named("good").effect("a", "")]).await;
    let told =
        |log: &str| log.contains("under the name `same`") && log.contains("service.instance");

    let mut second = system.second_orchestrator().start();
    assert!(!second.wait(SOON).await.success());
    assert!(told(&second.log()), "{}", second.log());
    let id = system.run("good", "one").await;
    system.api.await_status(&id, "completed", SOON).await;

    // one that does not move cannot be told from one that died: another takes its place
    system.orchestrator().process.sigstop();
    let (launch, api) = system.another_orchestrator();
    let mut third = launch.start();
    third.wait_for_line("the orchestrator runs", SOON).await;
    let id = api.start("good", &system.input("two"), "two").await;
    api.await_status(&id, "completed", AFTER_A_LEASE).await;
    system.orchestrator().process.sigcont();
    let first = system.orchestrator().process;
    assert!(!first.wait(SOON).await.success());
    assert!(told(&first.log()), "{}", first.log());
    let id = api.start("good", &system.input("three"), "three").await;
    api.await_status(&id, "completed", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_of_two_dies_or_is_stopped_past_its_lease_every_saga_ends_as_promised() {
    let (rounds, sagas) = if long() { (5, 2_000) } else { (1, 200) };
    let mut cluster = two(Setup::workers(2).postgres()).await;
    for definition in mixed::definitions() {
        cluster.system.apply(&[&definition]).await;
    }
    let mut ids: Vec<String> = Vec::new();
    for round in 0..rounds {
        for fault in FAULTS {
            for first in [true, false] {
                // some under way, and some that come while it happens
                for _ in 0..sagas / 16 {
                    ids.push(next(&cluster, ids.len()).await);
                }
                let process = if first {
                    cluster.system.orchestrator().process
                } else {
                    &mut cluster.other
                };
                match fault {
                    Fault::Killed => process.kill9(),
                    Fault::Stopped => process.sigstop(),
                }
                let happened = Instant::now();
                let mut more = Vec::new();
                let gap = {
                    let (to_more, mut from_load) = tokio::sync::mpsc::channel(LOAD_MAX);
                    let counted = ids.len();
                    let feeding = async {
                        for number in counted.. {
                            let id = next(&cluster, number).await;
                            let _ = to_more.send(id).await;
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    };
                    let gap = tokio::select! {
                        gap = all_go_on(&cluster, happened) => gap,
                        () = feeding => unreachable!("it has no end"),
                    };
                    while let Ok(id) = from_load.try_recv() {
                        more.push(id);
                    }
                    gap
                };
                ids.extend(more);
                let who = if first { "the first" } else { "the second" };
                println!(
                    "round {round}: {who} is {fault:?}: every partition goes on after {gap:?}"
                );
                let process = if first {
                    cluster.system.orchestrator().process
                } else {
                    &mut cluster.other
                };
                match fault {
                    Fault::Killed => process.start_again(),
                    Fault::Stopped => process.sigcont(),
                }
                cluster.await_shared(2).await;
            }
        }
    }
    while ids.len() < sagas {
        ids.push(next(&cluster, ids.len()).await);
    }
    for (number, id) in ids.iter().enumerate() {
        let api = cluster.apis()[number % 2];
        let status = api.await_status(id, mixed::promised(number), AFTER_A_LEASE);
        status.await;
    }
    let book = Book::of(&cluster.system.ledger).await;
    assert_eq!(mixed::wrong(&book, ids.len()), Vec::<String>::new());
    assert_eq!(cluster.others.dead_letters().await, Vec::<Value>::new());
    assert_eq!(cluster.others.work_items().await, Vec::<Value>::new());
    let logs = [
        cluster.system.orchestrator().process.log(),
        cluster.other.log(),
    ];
    for log in &logs {
        assert!(!log.contains("panicked"), "{log}");
        // by its lease, or by a write that was refused, whichever came first
        let words = ["no longer owns the partition", "has another owner now"];
        assert!(
            words.iter().any(|word| log.contains(word)),
            "who woke up after its lease did not notice: {log}"
        );
    }
    println!("{} sagas", ids.len());
}

async fn next(cluster: &Cluster, number: usize) -> String {
    cluster
        .run(mixed::definition(number), &mixed::name(number))
        .await
}
