//! Schedules: each of their times starts one saga, also over restarts, pauses and new versions.

use std::time::Duration;

use baton_harness::await_some;
use baton_it::{SOON, Setup};
use baton_messages::SagaId;
use serde_json::{Value, json};

use super::{definition, sagas_of, text};

/// `often` skips as long as its first saga runs, which is for ever; `never` is paused. Then a new version orders them otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stays_with_its_schedule_and_what_is_skipped_is_shown() {
    let system = Setup::workers(0).start().await;
    let version = |version: u32, on: &str| {
        format!("saga: clock\nversion: {version}\non:\n{on}steps: [{{ id: rest, sleep: 1h }}]\n")
    };
    let (often, never) = (
        "  - schedule: \"* * * * * *\"\n",
        "  - schedule: \"0 3 1 1 *\"\n",
    );
    system
        .api
        .apply(&version(1, &format!("{often}{never}")))
        .await;
    let path = "/v1/schedules/clock/1/pause";
    let paused = system.api.ask("POST", path, "", None).await;
    assert_eq!(paused.expect("it answers").status, 200);
    let shown = await_some("firings to be skipped", SOON, async || {
        let listed = system.api.get("/v1/schedules").await;
        let first = listed["items"][0].clone();
        (first["skipped"].as_u64() >= Some(2)).then_some(first)
    })
    .await;
    let why = text(&shown["skipped_why"]);
    assert!(
        why.contains(&text(&shown["last_saga"])) && why.contains("had not ended"),
        "{shown}"
    );
    assert!(
        shown["skipped_at"].as_u64() > shown["last_at"].as_u64(),
        "{shown}"
    );
    assert_eq!(sagas_of(&system, "clock").await.len(), 1);

    system
        .api
        .apply(&version(2, &format!("{never}{often}")))
        .await;
    let listed = await_some("the new version to be looked at", SOON, async || {
        let listed = system.api.get("/v1/schedules").await;
        let moved = listed["items"][1]["skipped"].as_u64() > shown["skipped"].as_u64();
        moved.then_some(listed)
    })
    .await;
    let of = |at: usize| {
        let item = &listed["items"][at];
        (text(&item["schedule"]), item["paused"].clone())
    };
    assert_eq!(of(0), ("0 3 1 1 *".to_owned(), json!(true)), "{listed}");
    assert_eq!(of(1), ("* * * * * *".to_owned(), json!(false)), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_fires_once_for_each_time_and_makes_up_for_the_last_missed_one() {
    let mut system = Setup::workers(0).start().await;
    let on = "  - schedule: \"*/2 * * * * *\"\n    input: { n: 1 }\n    catch_up: all\n    overlap: allow\n";
    system.api.apply(&definition("often", on)).await;
    await_some("two firings", SOON, async || {
        (sagas_of(&system, "often").await.len() >= 2).then_some(())
    })
    .await;
    system.orchestrator().process.kill9();
    tokio::time::sleep(Duration::from_secs(7)).await;
    system.orchestrator().process.start_again();
    system.await_ready().await;
    // as many sagas as nominal times between the first and the last: none is missing, none twice
    let sagas = await_some("the missed ones", SOON, async || {
        let sagas = sagas_of(&system, "often").await;
        (sagas.len() >= 6).then_some(sagas)
    })
    .await;
    let mut seconds: Vec<i64> = sagas.iter().map(|saga| nominal_s(&saga["by"])).collect();
    seconds.sort_unstable();
    for pair in seconds.windows(2) {
        assert_eq!(pair[1] - pair[0], 2, "{seconds:?}");
    }
    let act = async |what: &str| {
        let path = format!("/v1/schedules/often/0/{what}");
        let answer = system.api.ask("POST", &path, "", None).await;
        answer.expect("it answers")
    };
    let paused = act("pause").await;
    assert_eq!((paused.status, &paused.body["paused"]), (200, &json!(true)));
    assert_eq!(paused.body["next_at"], Value::Null);
    let fired = act("fire").await;
    assert_eq!(fired.status, 200, "{fired:?}");
    let by_hand = text(&fired.body["saga"]);
    system.api.await_status(&by_hand, "completed", SOON).await;
    let listed = system.api.get("/v1/schedules").await;
    assert_eq!(listed["items"][0]["last_saga"], by_hand, "{listed}");
    let resumed = act("resume").await;
    assert!(resumed.body["next_at"].is_number(), "{resumed:?}");
    let nobody = system
        .api
        .ask("POST", "/v1/schedules/often/1/pause", "", None)
        .await;
    assert_eq!(nobody.expect("it answers").status, 404);
}

/// An earlier version knew a schedule by its place in `on:`. What it has started for a time under such an id, and died before it wrote that down, is not
/// started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_has_started_for_a_time_is_not_started_again() {
    const EVERY_MS: u64 = 5_000;
    let system = Setup::workers(0).start().await;
    let on = "  - schedule: \"0 3 1 1 *\"\n    input: { n: 1 }\n  - schedule: \"*/5 * * * * *\"\n    input: { n: 1 }\n    catch_up: all\n    overlap: allow\n";
    system.api.apply(&definition("clock", on)).await;
    let now_ms = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(now.expect("after 1970").as_millis()).expect("before the year 500000")
    };
    // a time that had not come when its saga was there
    let nominal = loop {
        let nominal = (now_ms() / EVERY_MS + 3) * EVERY_MS;
        let saga = SagaId::of_schedule_at("clock", 1, nominal);
        let start = json!({ "start@1": {
            "id": saga, "saga": saga, "definition": "clock", "version": 1, "input": { "n": 1 }, "by": "schedule of an earlier version",
        }});
        let start = start.to_string();
        let taken = system.vhost.publish("baton.inbox", "00", json!({}), &start);
        assert!(taken.await, "the inbox is there");
        let path = format!("/v1/sagas/{saga}");
        await_some("its saga to be there", SOON, async || {
            let asked = system.api.ask("GET", &path, "", None).await;
            (asked.expect("it answers").status == 200).then_some(())
        })
        .await;
        system
            .api
            .await_status(&saga.to_string(), "completed", SOON)
            .await;
        if now_ms() < nominal {
            break nominal;
        }
    };
    await_some("the time to have come", SOON, async || {
        let listed = system.api.get("/v1/schedules").await;
        (listed["items"][1]["last_at"].as_u64() > Some(nominal)).then_some(())
    })
    .await;
    let started = async |at: u64| {
        let saga = SagaId::of_schedule("clock", "*/5 * * * * * UTC", at);
        let path = format!("/v1/sagas/{saga}");
        let asked = system.api.ask("GET", &path, "", None);
        asked.await.expect("it answers").status
    };
    assert_eq!(started(nominal).await, 404, "it is started already");
    assert_eq!(
        started(nominal + EVERY_MS).await,
        200,
        "the next one is not"
    );
}

/// The instant of `schedule 2026-01-01T00:00:02Z`, in seconds since 1970: the day counts, or this would fail over midnight.
fn nominal_s(by: &Value) -> i64 {
    let by = text(by);
    let time = by.strip_prefix("schedule ").unwrap_or(&by);
    let instant: jiff::Timestamp = time.parse().expect("an instant");
    instant.as_second()
}

#[test]
fn nominal_times_are_two_seconds_apart_over_midnight_too() {
    let before = nominal_s(&json!("schedule 2026-12-31T23:59:58Z"));
    let after = nominal_s(&json!("schedule 2027-01-01T00:00:00Z"));
    assert_eq!(after - before, 2);
}
