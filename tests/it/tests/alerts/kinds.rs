//! Each kind of cause for real: it comes, it is one alert however often it is looked at and whoever looks, it is an event, and it goes.

use std::time::Duration;

use baton_it::poison::Poison;
use baton_it::sagas::Saga;

use super::*;

/// A saga has to stand still for a minute, the least that can be set; and then a busy machine has to see it.
const AFTER_A_MINUTE: Duration = Duration::from_secs(180);
/// Approvals that wait at once: more than one page of work items.
const APPROVALS: usize = 520;

fn key(alert: &Value) -> String {
    alert["key"].as_str().unwrap().to_owned()
}

pub(super) async fn is_heard(system: &System, key: &str, what: &[&str]) {
    let words = format!("{what:?} to be heard of {key}");
    await_until(&words, SOON, async || heard_of(system, key).await == what).await;
}

/// The command of an alert can be typed as it stands.
async fn can_be_typed(system: &System, alert: &Value) -> String {
    let command = alert["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[0], "baton", "{command}");
    system.cli().run(&words[1..]).await.exits(0).out
}

async fn parked_is_an_alert_until_somebody_decides(setup: Setup) {
    let mut system = looking(setup).start().await;
    system.await_served("test.effect@1").await;
    system.api.apply(&hears(SLEEPS)).await;
    let parks = Saga::named("parks").step("  - id: a\n    task: test.effect@1\n    with: { key: \"${ input.name }-a\", fail_until_attempt: 2 }\n    retry: { attempts: 1 }\n    on_error: park\n");
    system.apply(&[&parks]).await;
    let saga = system.run("parks", "p").await;
    system.api.await_status(&saga, "parked", SOON).await;
    let parked = alert(&system, "parked", "open").await;
    assert_eq!(parked["key"], format!("parked/{saga}/1"));
    assert_eq!(parked["object"], format!("sagas/{saga}"));
    let shown = can_be_typed(&system, &parked).await;
    assert!(shown.contains("baton retry"), "{shown}");
    let key = key(&parked);
    is_heard(&system, &key, &["opened"]).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    looked(&system, "parked").await;
    assert_eq!(heard_of(&system, &key).await, ["opened"]);
    let act = json!({ "reason": "it is mended" });
    let told = system.api.act(&saga, "steps/a/retry", act).await;
    assert!(told.status < 300, "{told:?}");
    system.api.await_status(&saga, "completed", SOON).await;
    is_heard(&system, &key, &["opened", "resolved"]).await;
}

#[tokio::test]
async fn what_is_parked_is_an_alert_until_somebody_decides() {
    parked_is_an_alert_until_somebody_decides(Setup::workers(1)).await;
}

#[tokio::test]
async fn on_postgres_what_is_parked_is_an_alert_until_somebody_decides() {
    parked_is_an_alert_until_somebody_decides(Setup::workers(1).postgres()).await;
}

/// An approval says itself that it waits, and any number of them hides nobody who is parked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_hide_nothing_that_is_parked() {
    use futures::StreamExt as _;
    let system = looking(Setup::workers(1)).start().await;
    system.await_served("test.effect@1").await;
    let asks = Saga::named("asks").step("  - id: a\n    approve: { by: operator, timeout: 1h }\n");
    let parks = Saga::named("parks").task(
        "a",
        "test.effect@1",
        ", fail: final",
        "timeout: 30s\n    on_error: park\n    ",
    );
    system.apply(&[&asks, &parks]).await;
    let names = (0..APPROVALS).map(|n| format!("n{n}"));
    let asking = names.map(|name| {
        let system = &system;
        async move { system.run("asks", &name).await }
    });
    let asking: Vec<String> = futures::stream::iter(asking)
        .buffer_unordered(16)
        .collect()
        .await;
    system
        .api
        .await_phase(&asking[APPROVALS - 1], "a", "asked")
        .await;
    let saga = system.run("parks", "p").await;
    let parked = alert(&system, "parked", "open").await;
    assert_eq!(parked["key"], format!("parked/{saga}/1"));
    let open = alerts(&system, "open").await;
    let parked = open.iter().filter(|one| one["kind"] == "parked");
    assert_eq!(parked.count(), 1, "{open:?}");
}

async fn letters_of(system: &System, kind: &str, count: usize) {
    await_until("the letters to be kept", SOON, async || {
        let path = format!("/v1/dead-letters?state=dead&kind={kind}");
        let letters = system.api.get(&path).await;
        letters["dead_letters"].as_array().map(Vec::len) == Some(count)
    })
    .await;
}

/// Three more of an old group are an alert; a leader that was not there when they came knows it all the same.
async fn grows_is_an_alert_whoever_leads(setup: Setup, make_old: impl AsyncFn(&System)) {
    let setup = looking(setup).orchestrator("alerts.group_grows", "3");
    let mut system = setup.start().await;
    system.api.apply(&hears(SLEEPS)).await;
    dead(&system, "odd").await;
    letters_of(&system, "odd", 1).await;
    system.end_orchestrator();
    make_old(&system).await;
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    for _ in 0..2 {
        dead(&system, "odd").await;
    }
    letters_of(&system, "odd", 3).await;
    looked(&system, "two").await;
    let open = alerts(&system, "open").await;
    let growing = open.iter().find(|one| one["kind"] == "growing-group");
    assert_eq!(growing, None, "an hour ago is not now");
    dead(&system, "odd").await;
    let growing = alert(&system, "growing-group", "open").await;
    let data = &growing["data"];
    assert_eq!(
        (&data["by"], &data["dead"]),
        (&json!(3), &json!(4)),
        "{growing}"
    );
    let shown = can_be_typed(&system, &growing).await;
    assert_eq!(shown.matches("odd").count(), 4, "{shown}");
    let key = key(&growing);
    is_heard(&system, &key, &["opened"]).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    looked(&system, "leader").await;
    assert_eq!(heard_of(&system, &key).await, ["opened"]);
    assert_eq!(alert(&system, "growing-group", "open").await["openings"], 1);
    discard_all(&system).await;
    is_heard(&system, &key, &["opened", "resolved"]).await;
}

const AN_HOUR_AGO: &str =
    "UPDATE dead_letters SET at = at - 3600000; UPDATE dead_group_hours SET hour = hour - 1";

#[tokio::test]
async fn a_group_that_grows_is_an_alert_whoever_leads() {
    let make_old = async |system: &System| Poison::of(system).sql(AN_HOUR_AGO);
    grows_is_an_alert_whoever_leads(Setup::workers(0), make_old).await;
}

#[tokio::test]
async fn on_postgres_a_group_that_grows_is_an_alert_whoever_leads() {
    let make_old = async |system: &System| {
        let client = system.database().client().await;
        client.batch_execute(AN_HOUR_AGO).await.unwrap();
    };
    grows_is_an_alert_whoever_leads(Setup::workers(0).postgres(), make_old).await;
}

/// Returns when the orchestrator has heard two different words of the other worker: its own canary sings more often than that.
async fn hears_the_fleet(system: &System) {
    let heard_at = async || {
        let fleet = system.api.ask("GET", "/v1/workers", "", None).await?;
        let workers = fleet.body["workers"].as_array()?.clone();
        let other = workers
            .into_iter()
            .find(|one| one["pools"] == json!(["others"]))?;
        other["heard_at"].as_u64()
    };
    let first = await_some("the other worker to be heard", SOON, heard_at).await;
    await_until("it to be heard again", SOON, async || {
        heard_at().await.is_some_and(|at| at > first + 2_000)
    })
    .await;
}

/// A worker that is silent while it holds a task is an alert until it is heard, whoever leads meanwhile.
#[tokio::test]
async fn a_lease_without_heartbeats_is_an_alert_until_its_worker_is_heard() {
    let mut system = looking(Setup::workers(1)).start().await;
    system.await_served("test.effect@1").await;
    system.add_worker(&[("worker.pools", "others")]);
    system.api.apply(&hears(SLEEPS)).await;
    let slow = Saga::named("slow").task(
        "a",
        "test.effect@1",
        ", delay_before_ms: 600000",
        "timeout: 20m\n    ",
    );
    system.apply(&[&slow]).await;
    let saga = system.run("slow", "s").await;
    await_until("the worker to say that it runs it", SOON, async || {
        let fleet = system.api.get("/v1/workers").await;
        fleet.to_string().contains(&saga)
    })
    .await;
    system.workers[0].sigstop();
    let silent = alert(&system, "silent-worker", "open").await;
    assert_eq!(silent["data"]["sagas"], json!([saga]), "{silent}");
    let shown = can_be_typed(&system, &silent).await;
    assert!(shown.contains("silent"), "{shown}");
    let key = key(&silent);
    is_heard(&system, &key, &["opened"]).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    hears_the_fleet(&system).await;
    looked(&system, "leader").await;
    assert_eq!(
        heard_of(&system, &key).await,
        ["opened"],
        "who has not heard it does not know that it is not silent"
    );
    system.workers[0].sigcont();
    is_heard(&system, &key, &["opened", "resolved"]).await;
}

/// It is first come to when it has gone on, and could not stand still yet.
async fn stands_still_is_an_alert_until_it_goes_on(setup: Setup) {
    let setup = looking(setup).orchestrator("alerts.no_progress_min", "1");
    let mut system = setup.start().await;
    system.await_takers("test.effect@1", 1).await;
    system.api.apply(&hears(SLEEPS)).await;
    let sleeps = Saga::named("rests").step("  - id: a\n    sleep: 1h\n");
    let takes = Saga::named("waits")
        .step("  - id: first\n    sleep: 10s\n")
        .task(
            "a",
            "test.effect@1",
            "",
            "queue_timeout: 1h\n    timeout: 30s\n    ",
        );
    system.apply(&[&sleeps, &takes]).await;
    system.workers[0].sigstop();
    let resting = system.run("rests", "r").await;
    let saga = system.run("waits", "w").await;
    let paused = system.run("waits", "p").await;
    let reason = json!({ "reason": "of the test" });
    let told = system.api.act(&paused, "pause", reason).await;
    assert!(told.status < 300, "{told:?}");
    await_until("the saga to have stood still", AFTER_A_MINUTE, async || {
        let open = alerts(&system, "open").await;
        open.iter().any(|one| one["kind"] == "no-progress")
    })
    .await;
    let still = alert(&system, "no-progress", "open").await;
    assert_eq!(still["key"], format!("no-progress/{saga}"));
    assert_eq!(still["data"]["step"], "a", "{still}");
    let shown = can_be_typed(&system, &still).await;
    assert!(shown.contains("waits@1"), "{shown}");
    let key = key(&still);
    is_heard(&system, &key, &["opened"]).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    looked(&system, "leader").await;
    assert_eq!(heard_of(&system, &key).await, ["opened"]);
    system.workers[0].sigcont();
    system.api.await_status(&saga, "completed", SOON).await;
    is_heard(&system, &key, &["opened", "resolved"]).await;
    for other in [resting, paused] {
        let heard = heard_of(&system, &format!("no-progress/{other}")).await;
        assert_eq!(heard, [""; 0], "it waits on purpose");
    }
}

#[tokio::test]
async fn a_saga_that_stands_still_is_an_alert_until_it_goes_on() {
    stands_still_is_an_alert_until_it_goes_on(Setup::workers(1)).await;
}

#[tokio::test]
async fn on_postgres_a_saga_that_stands_still_is_an_alert_until_it_goes_on() {
    stands_still_is_an_alert_until_it_goes_on(Setup::workers(1).postgres()).await;
}

/// One saga whose records cannot be read is said once, and hides no other.
#[tokio::test]
async fn one_saga_that_cannot_be_read_hides_no_other() {
    let setup = looking(Setup::workers(1)).orchestrator("alerts.no_progress_min", "1");
    let mut system = setup.start().await;
    system.await_takers("test.effect@1", 1).await;
    let rests = Saga::named("rests").step("  - id: a\n    sleep: 1h\n");
    let waits = Saga::named("waits").task(
        "a",
        "test.effect@1",
        "",
        "queue_timeout: 1h\n    timeout: 30s\n    ",
    );
    system.apply(&[&rests, &waits]).await;
    system.workers[0].sigstop();
    let torn = system.run("rests", "r").await;
    let saga = system.run("waits", "w").await;
    let torn = torn.replace('-', "");
    let nonsense = format!(
        "UPDATE records SET entry = '{{}}' WHERE saga = (SELECT number FROM sagas WHERE id = x'{torn}')"
    );
    Poison::of(&system).sql(&nonsense);
    await_until(
        "the other to have stood still",
        AFTER_A_MINUTE,
        async || {
            let open = alerts(&system, "open").await;
            let key = format!("no-progress/{saga}");
            open.iter().any(|one| one["key"] == key)
        },
    )
    .await;
    dead(&system, "later").await;
    alert(&system, "dead-letter", "open").await;
    let log = system.orchestrator().process.log();
    let said = log.matches("nobody can tell whether a saga goes on");
    assert_eq!(said.count(), 1, "{log}");
}
