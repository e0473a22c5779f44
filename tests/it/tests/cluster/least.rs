//! Two members whose user at the broker may do no more than an orchestrator has to: they share the inboxes, ask each other through queues of their own, hand partitions over
//! and take them over, and the broker refuses nothing of that.

use baton_harness::{Process, Vhost, await_some, await_until};
use baton_it::oracle::Book;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System};
use serde_json::{Value, json};

use super::{PARTITIONS, row};

/// What the broker says when it refuses, wherever one of ours hears it. What the client library notes by itself is not meant: whoever may not declare a thing looks
/// whether it is there.
const REFUSED: [&str; 2] = ["ACCESS_REFUSED", "refused for user"];

struct Member {
    process: Process,
    api: Api,
}

struct Guests {
    system: System,
    members: [Member; 2],
    users: [String; 2],
}

fn password_of(applied: &Value, user: &str) -> String {
    let mut rows = applied["done"].as_array().into_iter().flatten();
    let row = rows.find(|row| row["user"] == *user && row["password"].is_string());
    let password = row.and_then(|row| row["password"].as_str());
    password.unwrap_or_else(|| panic!("{applied}")).to_owned()
}

fn url(vhost: &Vhost, user: &str, password: &str) -> String {
    let (as_named, right) = (format!("{user}:{user}@"), format!("{user}:{password}@"));
    vhost.url_as(user).replacen(&as_named, &right, 1)
}

/// Everything set up by the administrator: whoever comes afterwards makes nothing that stands.
async fn applied(system: &System, users: &[String; 2]) -> Value {
    let management = system.vhost.broker().management_url();
    let (user, password) = (baton_harness::USER, baton_harness::PASSWORD);
    let management = management.replacen("//", &format!("//{user}:{password}@"), 1);
    let partitions = PARTITIONS.to_string();
    let [orchestrator, worker] = [
        format!("orchestrator={}", users[0]),
        format!("worker={}", users[1]),
    ];
    let args = [
        "topology",
        "apply",
        "--json",
        "--management",
        &management,
        "--vhost",
        system.vhost.name(),
        "--partitions",
        &partitions,
        "--user",
        &orchestrator,
        "--user",
        &worker,
    ];
    system.cli().run(&args).await.exits(0).json()
}

impl Guests {
    async fn arrive() -> Self {
        let setup = Setup::workers(0).postgres();
        let mut system = setup.start_without_orchestrator().await;
        let users = ["orchestrator", "worker"]
            .map(|role| format!("{role}-{}", uuid::Uuid::new_v4().simple()));
        let made = applied(&system, &users).await;
        let [orchestrator, worker] = [0, 1].map(|at| {
            let password = password_of(&made, &users[at]);
            url(&system.vhost, &users[at], &password)
        });
        let members = [0, 1].map(|_| {
            let (launch, api) = system.another_orchestrator();
            let process = launch.env("BATON__BUS__ADDRESSES", &orchestrator).start();
            Member { process, api }
        });
        system.add_worker(&[("bus.addresses", &worker)]);
        let guests = Self {
            system,
            members,
            users,
        };
        for task_type in ["test.effect@1", "test.effect-late@1"] {
            await_until("the worker's types to be known", SOON, async || {
                guests.members[0].api.is_known(task_type).await
            })
            .await;
            guests.system.await_takers(task_type, 1).await;
        }
        guests.await_shared(2).await;
        guests
    }

    /// Waits until so many share the partitions, and the inbox of each is read by its owner.
    async fn await_shared(&self, members: usize) {
        let client = self.system.database().client().await;
        let sql = "SELECT owner, count(*) FROM partitions WHERE lease_until > clock_timestamp() GROUP BY owner";
        let what = format!("{members} of the least permissions to share the partitions");
        await_some(&what, AFTER_A_LEASE, async || {
            let shares = client.query(sql, &[]).await.ok()?;
            let all: i64 = shares.iter().map(|row| row.get::<_, i64>(1)).sum();
            (shares.len() == members && all == PARTITIONS).then_some(())
        })
        .await;
        for partition in 0..PARTITIONS {
            let queue = format!("baton.inbox.{partition:02}");
            let vhost = &self.system.vhost;
            vhost.await_consumers(&queue, 1, AFTER_A_LEASE).await;
        }
    }

    /// Sagas of every partition are begun at either member, and each is approved at the other: about every second one is driven by whoever was not asked.
    async fn some_are_done(&self, round: &str, asked: [usize; 2]) {
        let mut ids = Vec::new();
        for number in 0..16 {
            let name = format!("{round}{number}");
            let api = &self.members[asked[number % 2]].api;
            let id = api.start("asks", &self.system.input(&name), &name).await;
            ids.push((name, id));
        }
        for (number, (_, id)) in ids.iter().enumerate() {
            let api = &self.members[asked[(number + 1) % 2]].api;
            api.await_phase(id, "ok", "asked").await;
            let answer = api
                .act(id, "steps/ok/approve", json!({ "note": "r" }))
                .await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        for (_, id) in &ids {
            let api = &self.members[asked[0]].api;
            api.await_status(id, "completed", AFTER_A_LEASE).await;
        }
        let book = Book::of(&self.system.ledger).await;
        for (name, _) in &ids {
            for step in ["a", "b", "c"] {
                assert_eq!(book.not_done_once(&format!("{name}-{step}")), None);
            }
        }
    }

    fn nothing_was_refused(&self) {
        for member in &self.members {
            let log = member.process.log();
            let of_ours = log.lines().filter(|line| !line.contains("lapin"));
            let refused: Vec<&str> = of_ours
                .filter(|line| REFUSED.iter().any(|words| line.contains(words)))
                .collect();
            assert!(refused.is_empty(), "{refused:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_the_least_permissions_share_ask_hand_over_and_take_over() {
    let mut guests = Guests::arrive().await;
    let asks = row("asks").step("  - id: ok\n    approve: { by: operator, timeout: 1h }\n");
    guests.members[1].api.apply(asks.yaml()).await;
    for member in &guests.members {
        let ready = member.api.get("/readyz").await;
        let ready = ready.as_str().unwrap_or_default();
        assert_eq!(
            ready.trim(),
            "ok",
            "what it may not declare, it finds: {ready}"
        );
    }
    guests.some_are_done("shared", [0, 1]).await;
    let queues = guests.system.vhost.queues().await;
    let peers = queues
        .iter()
        .filter(|queue| queue.name.starts_with("baton.peers."))
        .count();
    assert_eq!(peers, 2, "each is asked through a queue of its own");

    // handed over in order, and back
    let first = &mut guests.members[0].process;
    assert!(first.sigterm_and_wait(SOON).await.success());
    guests.await_shared(1).await;
    guests.some_are_done("handed-over", [1, 1]).await;
    guests.members[0].process.start_again();
    guests.await_shared(2).await;

    // and taken over
    guests.members[1].process.kill9();
    guests.await_shared(1).await;
    guests.some_are_done("taken-over", [0, 0]).await;
    guests.members[1].process.start_again();
    guests.await_shared(2).await;
    guests.some_are_done("again", [0, 1]).await;
    guests.nothing_was_refused();
    for user in &guests.users {
        let path = format!("/api/users/{user}");
        guests.system.vhost.management().delete(&path).await;
    }
}
