//! An upgrade without a pause: orchestrators and workers of two versions side by side on one database, replaced one by one while sagas come and go,
//! one of the old ones killed on the way. Every saga ends as promised. The older programs lie where `BATON_PREVIOUS` says (`deploy/test --previous`
//! builds them from the project's history, `--long` the last release without being asked); without it that is what was not tested.

use std::path::{Path, PathBuf};

use baton_harness::{Launch, Process, await_some, not_tested};
use baton_it::mixed;
use baton_it::oracle::Book;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System};
use serde_json::{Value, json};

/// Where `baton-orchestrator` and `baton-worker` of an earlier version are.
const PREVIOUS: &str = "BATON_PREVIOUS";
/// Sagas started at each orchestrator between two changes.
const SAGAS: usize = 12;

struct Member {
    process: Process,
    api: Api,
}

/// Sagas started so far, in order.
struct Load<'a> {
    system: &'a System,
    ids: Vec<String>,
}

impl Load<'_> {
    /// Starts some at each of these.
    async fn feed(&mut self, members: &[&Member]) {
        for _ in 0..SAGAS {
            for member in members {
                let number = self.ids.len();
                let (definition, name) = (mixed::definition(number), mixed::name(number));
                let input = self.system.input(&name);
                self.ids
                    .push(member.api.start(definition, &input, &name).await);
            }
        }
    }
}

async fn member(system: &System, version: Option<&Path>, name: &str) -> Member {
    let (launch, api) = system.another_orchestrator();
    let launch = of(launch, version, "baton-orchestrator").env("BATON__SERVICE__INSTANCE", name);
    let process = launch.start();
    let what = format!("{name} to be ready");
    await_some(&what, AFTER_A_LEASE, async || {
        let answer = api.ask("GET", "/readyz", "", None).await?;
        (answer.status == 200).then_some(())
    })
    .await;
    Member { process, api }
}

fn of(launch: Launch, version: Option<&Path>, program: &str) -> Launch {
    match version {
        Some(version) => launch.instead(version.join(program)),
        None => launch,
    }
}

/// Waits until these, and nobody else, have partitions.
async fn shared(system: &System, members: &[&str]) {
    let client = system.database().client().await;
    let what = format!("{members:?} to share the partitions");
    await_some(&what, AFTER_A_LEASE, async || {
        let sql = "SELECT DISTINCT owner FROM partitions WHERE lease_until > clock_timestamp() ORDER BY owner";
        let rows = client.query(sql, &[]).await.ok()?;
        let owners: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        (owners == members).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_side_by_side_and_every_saga_ends_as_promised() {
    let Some(previous) = std::env::var_os(PREVIOUS).map(PathBuf::from) else {
        return not_tested(
            "two versions side by side: no earlier version was built (deploy/test --long, or --previous COMMIT)",
        );
    };
    let old = Some(previous.as_path());
    let system = Setup::workers(0)
        .postgres()
        .start_without_orchestrator()
        .await;
    let mut a = member(&system, old, "a").await;
    let mut b = member(&system, old, "b").await;
    let old_worker = of(system.another_worker(), old, "baton-worker");
    let mut old_worker = old_worker.start();
    for definition in mixed::definitions() {
        a.api.apply(definition.yaml()).await;
    }
    for kind in ["test.effect@1", "test.effect-late@1"] {
        system.await_takers(kind, 1).await;
    }
    shared(&system, &["a", "b"]).await;
    let mut load = Load {
        system: &system,
        ids: Vec::new(),
    };
    load.feed(&[&a, &b]).await;

    // the first new one brings the database up to its version, under the old ones' feet
    let c = member(&system, None, "c").await;
    shared(&system, &["a", "b", "c"]).await;
    load.feed(&[&a, &b, &c]).await;
    let mut new_worker = system.another_worker().start();
    assert!(a.process.sigterm_and_wait(SOON).await.success());
    shared(&system, &["b", "c"]).await;
    load.feed(&[&b, &c]).await;
    assert!(old_worker.sigterm_and_wait(SOON).await.success());
    load.feed(&[&b, &c]).await;
    b.process.kill9();
    shared(&system, &["c"]).await;
    load.feed(&[&c]).await;
    let d = member(&system, None, "d").await;
    shared(&system, &["c", "d"]).await;
    load.feed(&[&c, &d]).await;

    let ids = load.ids;
    for (number, id) in ids.iter().enumerate() {
        let status = d
            .api
            .await_status(id, mixed::promised(number), AFTER_A_LEASE);
        status.await;
    }
    let book = Book::of(&system.ledger).await;
    assert_eq!(mixed::wrong(&book, ids.len()), Vec::<String>::new());
    assert_eq!(c.api.dead_letters().await, Vec::<Value>::new());
    assert_eq!(c.api.work_items().await, Vec::<Value>::new());
    let all = [&a.process, &b.process, &c.process, &d.process];
    for process in all.into_iter().chain([&old_worker, &new_worker]) {
        let log = process.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    let shown = d.api.get("/v1/cluster").await;
    let members = shown["members"].as_array().expect("a list");
    let alive = members.iter().filter(|of| of["alive"] == json!(true));
    let alive: Vec<_> = alive.filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(alive, ["c", "d"], "{shown}");
    assert!(new_worker.sigterm_and_wait(SOON).await.success());
}
