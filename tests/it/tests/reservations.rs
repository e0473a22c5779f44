//! What sagas take before their first step, through the real broker, on both stores, with one orchestrator and with two: one after another where they lock the
//! same, in the order they came, while an orchestrator is killed; so many at once; so many within a time, and a person who lets one through; a lock that is broken.

use std::time::Duration;

use baton_harness::{Process, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System};
use serde_json::{Value, json};

/// How long a line of sagas may take while an orchestrator is killed in between.
const END_LIMIT: Duration = Duration::from_secs(240);
/// Sagas that want one lock.
const IN_LINE: usize = 20;
/// Those of them that ask a person while they hold it, so that the line stands still there.
const ASKING: [usize; 2] = [0, 10];

/// With a second orchestrator on the same database.
fn second(system: &System) -> (Process, Api) {
    let (launch, others) = system.another_orchestrator();
    let other = launch
        .env("BATON__BUS__ADDRESSES", system.vhost.url())
        .env("BATON__STORE__URL", system.database().url())
        .start();
    (other, others)
}

/// Everything under this name, wherever it stands.
fn found<'v>(value: &'v Value, name: &str, all: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            all.extend(map.get(name));
            map.values().for_each(|inner| found(inner, name, all));
        }
        Value::Array(list) => list.iter().for_each(|inner| found(inner, name, all)),
        _ => {}
    }
}

/// The number of the lock a saga was given, as its records say it.
async fn fence(system: &System, id: &str, lock: &str) -> u64 {
    let records = system
        .api
        .get(&format!("/v1/sagas/{id}/records?limit=500"))
        .await;
    let mut all = Vec::new();
    found(&records, "fences", &mut all);
    let fence = all.first().and_then(|fences| fences[lock].as_u64());
    fence.unwrap_or_else(|| panic!("no number of {lock}: {records}"))
}

/// When a saga's first step began, and when it ended.
async fn span(system: &System, id: &str) -> (u64, u64) {
    let saga = system.api.saga(id).await;
    let began = saga["steps"][0]["began_at"].as_u64();
    began
        .zip(saga["ended_at"].as_u64())
        .unwrap_or_else(|| panic!("it has not ended: {saga}"))
}

async fn approve(system: &System, saga: &str) {
    let yes = json!({ "note": "yes" });
    let said = system.api.act(saga, "steps/ok/approve", yes).await;
    assert_eq!(said.status, 200, "{}", said.body);
}

async fn one_after_another(setup: Setup, two: bool) {
    let mut system = setup.start().await;
    let other = if two { Some(second(&system)) } else { None };
    system.await_served("test.effect@1").await;
    let asks = ASKING.map(|n| format!("input.name == 'n{n}'")).join(" || ");
    let locked = Saga::named("locked")
        .effect("a", "")
        .step(&format!(
            "  - id: ok\n    if: ${{ {asks} }}\n    approve: {{ by: operator, timeout: 1h }}\n"
        ))
        .effect("b", "")
        .step("locks: [ \"site\" ]\n");
    system.apply(&[&locked]).await;
    let mut ids = Vec::new();
    for n in 0..IN_LINE {
        let input = system.input(&format!("n{n}"));
        let api = match (&other, n % 2) {
            (Some((_, others)), 1) => others,
            _ => &system.api,
        };
        ids.push(api.start("locked", &input, &format!("n{n}")).await);
    }
    // one is under way, the others wait in their places
    system.api.await_phase(&ids[ASKING[0]], "ok", "asked").await;
    let line = system.api.get("/v1/reservations?name=site&limit=100").await;
    let rows = line["items"].as_array().cloned().unwrap_or_default();
    let holders = rows.iter().filter(|row| row["state"] == "held").count();
    assert_eq!(holders, 1, "{line}");
    let places: Vec<u64> = rows
        .iter()
        .filter_map(|row| row["place"].as_u64())
        .collect();
    let expected: Vec<u64> = (1..).take(IN_LINE - 1).collect();
    assert_eq!(places, expected, "{line}");
    approve(&system, &ids[ASKING[0]]).await;
    let half = &ids[ASKING[1]];
    await_until("half of them to have had it", END_LIMIT, async || {
        system.api.phase(half, "ok").await == "asked"
    })
    .await;
    for id in &ids[ASKING[1]..] {
        assert_ne!(
            system.api.status(id).await,
            "completed",
            "it has it or waits"
        );
    }
    // from here on the lock goes from one to the next
    approve(&system, half).await;
    system.orchestrator().kill9_and_start();
    for id in &ids {
        system.api.await_status(id, "completed", END_LIMIT).await;
    }
    let mut spans = Vec::new();
    for id in &ids {
        spans.push((fence(&system, id, "site").await, span(&system, id).await));
    }
    for pair in spans.windows(2) {
        let ((first, (_, ended)), (second, (began, _))) = (pair[0], pair[1]);
        assert!(first < second, "in the order they came: {spans:?}");
        assert!(ended <= began, "one after another: {spans:?}");
    }
    let book = Book::of(&system.ledger).await;
    for n in 0..IN_LINE {
        assert_eq!(book.not_done_once(&format!("n{n}-a")), None);
    }
    let left = system.api.get("/v1/reservations").await;
    assert_eq!(left["items"], json!([]), "all is let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sagas_with_one_lock_run_one_after_another_while_the_orchestrator_is_killed() {
    one_after_another(Setup::workers(1), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sagas_with_one_lock_run_one_after_another_at_two_orchestrators() {
    one_after_another(Setup::workers(1).postgres(), true).await;
}

async fn limited(setup: Setup) {
    let system = setup.start().await;
    system.await_served("test.effect@1").await;
    let asks = Saga::named("asks")
        .step("  - id: ok\n    approve: { by: operator, timeout: 1h }\nconcurrency: { max: 3 }\n");
    system.apply(&[&asks]).await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(system.run("asks", &format!("n{n}")).await);
    }
    let asked = async |ids: &[String]| {
        let mut asked = 0;
        for id in ids {
            asked += usize::from(system.api.phase(id, "ok").await == "asked");
        }
        asked
    };
    for n in 0..7 {
        await_until("three to run", SOON, async || {
            asked(&ids).await == 3.min(7 - n)
        })
        .await;
        // whoever is first is the one that came first
        let said = system
            .api
            .act(&ids[n], "steps/ok/approve", json!({ "note": "yes" }))
            .await;
        assert_eq!(said.status, 200, "{}", said.body);
        system.api.await_status(&ids[n], "completed", SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_once_than_may() {
    limited(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_once_than_may_on_postgres() {
    limited(Setup::workers(1).postgres()).await;
}

async fn held_back(setup: Setup) {
    let system = setup.start().await;
    system.await_served("test.effect@1").await;
    let few = Saga::named("few")
        .effect("a", "")
        .step("blast_radius: { max: 2, per: 1h }\n");
    system.apply(&[&few]).await;
    for n in 0..2 {
        let id = system.run("few", &format!("n{n}")).await;
        system.api.await_status(&id, "completed", SOON).await;
    }
    let third = system.run("few", "third").await;
    let fourth = system.run("few", "fourth").await;
    await_until("both to be held back", SOON, async || {
        let items = system.api.work_items().await;
        let held = items
            .iter()
            .filter(|one| one["item"]["kind"] == "held-back");
        held.count() == 2
    })
    .await;
    let cli = system.cli();
    let shown = cli.run(&["show", &third]).await.exits(0);
    assert!(
        shown.out.contains("waits for blast-radius few"),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("baton admit"), "{}", shown.out);
    cli.run(&["admit", &fourth, "-m", "on purpose", "--yes"])
        .await
        .exits(0);
    system.api.await_status(&fourth, "completed", SOON).await;
    assert_eq!(system.api.phase(&third, "a").await, "waiting");
    let cancelled = system
        .api
        .act(&third, "cancel", json!({ "reason": "not today" }))
        .await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    system.api.await_status(&third, "compensated", SOON).await;
    assert!(system.api.work_items().await.is_empty());
    let audit = system.api.get("/v1/audit?action=admitSaga").await;
    let object = format!("sagas/{fourth}");
    assert_eq!(audit["items"][0]["object"], json!(object), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_a_blast_radius_a_person_is_asked_and_lets_one_through() {
    held_back(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_a_blast_radius_on_postgres_a_person_is_asked() {
    held_back(Setup::workers(1).postgres()).await;
}

/// The saga it is taken from goes on without it, and the next one has it at once, with a higher number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_broken_with_a_reason() {
    let system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let asks = Saga::named("asks")
        .step("  - id: ok\n    approve: { by: operator, timeout: 1h }\n")
        .effect("b", "")
        .step("locks: [ \"host/7\" ]\n");
    system.apply(&[&asks]).await;
    let first = system.run("asks", "first").await;
    system.api.await_phase(&first, "ok", "asked").await;
    let second = system.run("asks", "second").await;
    await_until("the second to see who has it", SOON, async || {
        let saga = system.api.saga(&second).await;
        let thing = &saga["reservation"]["things"][0];
        thing["place"] == 1 && thing["held_by"] == json!([first])
    })
    .await;
    let cli = system.cli();
    let shown = cli.run(&["locks", "show", "host/7"]).await.exits(0);
    assert!(shown.out.contains("has it"), "{}", shown.out);
    assert!(shown.out.contains("waits, 1"), "{}", shown.out);
    let not_its = [
        "locks", "break", "host/7", "--saga", &second, "-m", "why", "--yes",
    ];
    cli.run(&not_its).await.exits(1);
    let breaks = [
        "locks", "break", "host/7", "--saga", &first, "-m", "it hangs", "--yes",
    ];
    cli.run(&breaks).await.exits(0);
    system.api.await_phase(&second, "ok", "asked").await;
    assert!(fence(&system, &first, "host/7").await < fence(&system, &second, "host/7").await);
    let shown = cli.run(&["show", &first]).await.exits(0);
    assert!(shown.out.contains("was taken from it"), "{}", shown.out);
    for id in [&first, &second] {
        let said = system
            .api
            .act(id, "steps/ok/approve", json!({ "note": "yes" }))
            .await;
        assert_eq!(said.status, 200, "{}", said.body);
        system
            .api
            .await_status(id, "completed", AFTER_A_LEASE)
            .await;
    }
}
