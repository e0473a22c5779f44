//! What starts sagas by itself: events from an AMQP client that is not ours, schedules, signed requests. Each cause once, whoever dies.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use baton_bus::{Bus, BusConfig, Outgoing, Sent};
use baton_harness::await_some;
use baton_it::{SOON, Setup, System};
use baton_messages::event::EVENT_KIND;
use baton_messages::headers::CLOUDEVENTS_JSON;
use baton_messages::{MessageId, SagaId};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

/// A definition that needs no worker, with these triggers.
fn definition(name: &str, on: &str) -> String {
    format!(
        "saga: {name}\nversion: 1\non:\n{on}input:\n  type: object\n  required: [n]\n  properties: {{ n: {{ type: integer }} }}\nsteps:\n  - id: rest\n    sleep: 1ms\n"
    )
}

/// A definition that waits for an event about its input.
fn waiting(name: &str, since: &str) -> String {
    format!(
        "saga: {name}\nversion: 1\ninput:\n  type: object\n  required: [n]\n  properties: {{ n: {{ type: integer }} }}\nsteps:\n  - id: paid\n    wait: {{ event: com.example.paid, when: \"${{ event.data.n == input.n }}\", timeout: 2h{since} }}\n"
    )
}

fn event(id: &str, kind: &str, data: &Value) -> String {
    json!({ "specversion": "1.0", "id": id, "source": "/test", "type": kind, "data": data })
        .to_string()
}

/// Publishes with `amqp-publish` of rabbitmq-c: each line of `lines` is a message.
fn publish(system: &System, key: &str, content_type: &str, headers: &[&str], lines: &str) {
    let mut amqp = Command::new("amqp-publish");
    amqp.args([
        "--exchange",
        "baton.events",
        "--persistent",
        "--line-buffered",
    ])
    .args(["--url", &system.vhost.url(), "--routing-key", key])
    .args(["--content-type", content_type])
    .stdin(Stdio::piped());
    for header in headers {
        amqp.args(["--header", header]);
    }
    let mut amqp = amqp
        .spawn()
        .expect("amqp-publish is there: apt-get install amqp-tools");
    let mut input = amqp.stdin.take().expect("it has an input");
    input.write_all(lines.as_bytes()).expect("it reads");
    input.write_all(b"\n").expect("it reads");
    drop(input);
    let ended = amqp.wait().expect("it ends");
    assert!(ended.success(), "amqp-publish: {ended}");
}

/// Publishes each of these structured events and sees it confirmed. A sender that waits for no confirms, as `amqp-publish` is, loses messages
/// of a flood itself when it closes its channel: the queue hears of its end before it has taken all it sent.
async fn publish_confirmed(system: &System, key: &str, events: &[String]) {
    let config = BusConfig {
        addresses: vec![system.vhost.url()],
        role: "flood".to_owned(),
        ..BusConfig::default()
    };
    let bus = Bus::start(config, CancellationToken::new()).expect("the address is one");
    bus.ready().await;
    let messages = events.iter().map(|event| {
        let id = MessageId(uuid::Uuid::now_v7());
        let body = event.clone().into_bytes();
        let mut out = Outgoing::json("baton.events", key, EVENT_KIND, id, body, 0);
        out.content_type = CLOUDEVENTS_JSON.into();
        out
    });
    let sent = bus.publisher().publish(messages.collect()).await;
    let lost = sent.iter().filter(|sent| **sent != Sent::Confirmed).count();
    assert_eq!(lost, 0, "the broker has all of them");
    bus.shutdown(SOON).await;
}

fn structured(system: &System, id: &str, kind: &str, data: &Value) {
    let body = event(id, kind, data);
    publish(system, kind, "application/cloudevents+json", &[], &body);
}

async fn kept(system: &System, id: &str) -> Value {
    let path = format!("/v1/events/one?source=/test&id={id}");
    await_some(
        &format!("event {id} to be kept and done"),
        SOON,
        async || {
            let answer = system.api.ask("GET", &path, "", None).await?;
            (answer.status == 200 && answer.body["done"] == true).then_some(answer.body)
        },
    )
    .await
}

async fn sagas_of(system: &System, definition: &str) -> Vec<Value> {
    let all = system.api.sagas().await;
    all.into_iter()
        .filter(|saga| saga["definition"] == definition)
        .collect()
}

async fn nothing_left(system: &System) {
    system
        .vhost
        .await_messages("baton.triggers", 0, 0, SOON)
        .await;
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_foreign_client_starts_one_saga_however_often_it_comes() {
    let system = Setup::workers(0).start().await;
    let on = "  - event: com.example.*\n    when: ${ event.data.n > 1 }\n    input: { n: \"${ event.data.n }\" }\n";
    system.api.apply(&definition("alarm", on)).await;

    structured(&system, "s1", "com.example.a", &json!({ "n": 2 }));
    structured(&system, "s1", "com.example.a", &json!({ "n": 2 }));
    let shown = kept(&system, "s1").await;
    let saga = text(&shown["effects"][0]["saga"]);
    system.api.await_status(&saga, "completed", SOON).await;

    // binary, as the AMQP binding writes it, and as HTTP bridges do
    for (id, prefix) in [("b1", "cloudEvents_"), ("b2", "ce-")] {
        let headers = [
            format!("{prefix}specversion: 1.0"),
            format!("{prefix}id: {id}"),
            format!("{prefix}source: /test"),
            format!("{prefix}type: com.example.b"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        publish(
            &system,
            "com.example.b",
            "application/json",
            &headers,
            "{\"n\": 3}",
        );
        let shown = kept(&system, id).await;
        assert_eq!(shown["event"]["data"], json!({ "n": 3 }), "{shown}");
        let saga = text(&shown["effects"][0]["saga"]);
        system.api.await_status(&saga, "completed", SOON).await;
    }

    // `when` is false, and another type: nobody wants them
    structured(&system, "s2", "com.example.a", &json!({ "n": 1 }));
    structured(&system, "s3", "org.example.a", &json!({ "n": 9 }));
    structured(&system, "s4", "com.example.a", &json!({ "n": 7 }));
    kept(&system, "s4").await;
    assert_eq!(sagas_of(&system, "alarm").await.len(), 4);
    let listed = system.api.get("/v1/events?limit=2").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    let next = format!("/v1/events?cursor={}", text(&listed["next"]));
    assert_eq!(
        system.api.get(&next).await["items"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    nothing_left(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_of_a_key_join_the_saga_that_holds_it() {
    let system = Setup::workers(0).start().await;
    let on = "  - event: com.example.hit\n    input: { n: 1 }\n    key: ${ event.data.host }\n    window: 1h\n";
    system.api.apply(&definition("quarantine", on)).await;
    structured(&system, "k1", "com.example.hit", &json!({ "host": "a" }));
    let first = kept(&system, "k1").await;
    let saga = text(&first["effects"][0]["saga"]);
    structured(&system, "k2", "com.example.hit", &json!({ "host": "a" }));
    structured(&system, "k3", "com.example.hit", &json!({ "host": "b" }));
    let second = kept(&system, "k2").await;
    assert_eq!(second["effects"][0]["what"], "joined", "{second}");
    assert_eq!(text(&second["effects"][0]["saga"]), saga);
    let other = kept(&system, "k3").await;
    assert_eq!(other["effects"][0]["what"], "started", "{other}");
    assert_eq!(sagas_of(&system, "quarantine").await.len(), 2);
    let records = system.api.records(&saga).await;
    assert!(records.contains("k2"), "the hit is written down: {records}");
}

/// The saga has ended; while the window is open a hit joins it all the same, and the first one after it starts another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_holds_the_key_of_a_saga_that_has_ended() {
    let system = Setup::workers(0).start().await;
    let on = |kind: &str, window: &str| {
        format!(
            "  - event: com.example.{kind}\n    input: {{ n: 1 }}\n    key: ${{ event.data.host }}\n    window: {window}\n"
        )
    };
    system
        .api
        .apply(&definition("long", &on("long", "1h")))
        .await;
    system
        .api
        .apply(&definition("short", &on("short", "1s")))
        .await;
    let host = json!({ "host": "a" });
    for kind in ["long", "short"] {
        structured(&system, kind, &format!("com.example.{kind}"), &host);
        let first = kept(&system, kind).await;
        let saga = text(&first["effects"][0]["saga"]);
        system.api.await_status(&saga, "completed", SOON).await;
    }
    structured(&system, "again", "com.example.long", &host);
    let again = kept(&system, "again").await;
    assert_eq!(again["effects"][0]["what"], "joined", "{again}");
    assert_eq!(sagas_of(&system, "long").await.len(), 1);
    let mut n = 0;
    let started = await_some("a hit after the window", SOON, async || {
        n += 1;
        let id = format!("after-{n}");
        structured(&system, &id, "com.example.short", &host);
        let hit = kept(&system, &id).await;
        (hit["effects"][0]["what"] == "started").then_some(hit)
    })
    .await;
    assert_eq!(sagas_of(&system, "short").await.len(), 2, "{started}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_finds_the_event_that_came_before_it_and_the_one_that_comes_after() {
    let system = Setup::workers(0).start().await;
    system.api.apply(&waiting("patient", "")).await;
    system
        .api
        .apply(&waiting("looks-back", ", since: 10m"))
        .await;

    // before: the event is kept, since some step may come to want it
    structured(&system, "w1", "com.example.paid", &json!({ "n": 1 }));
    kept(&system, "w1").await;
    let back = system
        .api
        .start("looks-back", &json!({ "n": 1 }), "w1")
        .await;
    system.api.await_status(&back, "completed", SOON).await;
    let woke = kept(&system, "w1").await;
    assert_eq!(
        woke["effects"][0],
        json!({ "what": "woke", "saga": back, "step": "paid" }),
        "{woke}"
    );

    // after: the wrong one first
    let saga = system.api.start("patient", &json!({ "n": 2 }), "w2").await;
    system.api.await_phase(&saga, "paid", "listening").await;
    structured(&system, "w2", "com.example.paid", &json!({ "n": 7 }));
    structured(&system, "w3", "com.example.paid", &json!({ "n": 2 }));
    let ended = system.api.await_status(&saga, "completed", SOON).await;
    assert!(ended.to_string().contains("w3"), "{ended}");
    nothing_left(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_kept_with_the_reason() {
    let system = Setup::workers(0).start().await;
    let on =
        "  - event: com.example.a\n    when: ${ event.data.n > 1 }\n  - event: com.example.b\n";
    system.api.apply(&definition("alarm", on)).await;
    publish(
        &system,
        "com.example.a",
        "application/cloudevents+json",
        &[],
        "this is {not JSON",
    );
    publish(&system, "com.example.a", "application/json", &[], "{}");
    let forged =
        json!({ "specversion": "1.0", "id": "f", "source": "/v1/hooks/x", "type": "hook.x" });
    publish(
        &system,
        "com.example.a",
        "application/cloudevents+json",
        &[],
        &forged.to_string(),
    );
    // the triggers' own: `when` that gives nothing, an input that does not fit
    structured(&system, "m1", "com.example.a", &json!({ "m": 1 }));
    structured(&system, "m2", "com.example.b", &json!({ "n": "seven" }));
    let letters = await_some("five dead letters", SOON, async || {
        let letters = system.api.dead_letters().await;
        (letters.len() >= 5).then_some(letters)
    })
    .await;
    let of = |part: &str| {
        let found = letters.iter().find(|one| text(&one["body"]).contains(part));
        found.unwrap_or_else(|| panic!("no letter with {part}: {letters:?}"))
    };
    assert_eq!(of("this is {not JSON")["reason"], "undecodable");
    assert_eq!(of("/v1/hooks/x")["reason"], "misfit");
    for (id, trigger) in [
        ("\"m1\"", "trigger 0 of alarm"),
        ("\"m2\"", "trigger 1 of alarm"),
    ] {
        let letter = of(id);
        assert_eq!(letter["reason"], "misfit");
        assert!(text(&letter["error"]).contains(trigger), "{letter}");
    }
    assert_eq!(sagas_of(&system, "alarm").await.len(), 0);
    nothing_left(&system).await;
}

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
    let mut seconds: Vec<i64> = sagas.iter().map(|saga| nominal(&saga["by"])).collect();
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

/// The seconds of the minute of `schedule 2026-01-01T00:00:02Z`, and the minutes and hours before them.
fn nominal(by: &Value) -> i64 {
    let by = text(by);
    let time = by
        .split('T')
        .nth(1)
        .unwrap_or_default()
        .trim_end_matches('Z');
    let parts = time
        .split(':')
        .map(|part| part.parse::<i64>().unwrap_or_default());
    parts.fold(0, |all, part| all * 60 + part)
}

const SECRET: &str = "a-secret-for-tests-only";

fn signed(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Calls a hook; the status and the body.
async fn call(system: &System, hook: &str, headers: &[(&str, String)], body: &str) -> (u16, Value) {
    let url = format!("{}/v1/hooks/{hook}", system.api.url());
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let mut request = http.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request
        .body(body.to_owned())
        .send()
        .await
        .expect("it answers");
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap_or_default();
    (
        status,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

fn github(id: &str, body: &str) -> Vec<(&'static str, String)> {
    let signature = hex(&signed(SECRET.as_bytes(), &[body.as_bytes()]));
    vec![
        ("x-github-delivery", id.to_owned()),
        ("x-github-event", "push".to_owned()),
        ("x-hub-signature-256", format!("sha256={signature}")),
    ]
}

fn standard(id: &str, at: u64, body: &str) -> Vec<(&'static str, String)> {
    use base64::Engine as _;
    let stamp = at.to_string();
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", stamp.as_bytes(), b".", body.as_bytes()];
    let signature =
        base64::engine::general_purpose::STANDARD.encode(signed(SECRET.as_bytes(), &parts));
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", stamp),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_takes_what_is_signed_once_and_nothing_else() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), format!("{SECRET}\n")).expect("it is written");
    let file = secret.path().to_string_lossy().into_owned();
    let system = Setup::workers(0)
        .orchestrator("hooks.git.secret_file", &file)
        .orchestrator("hooks.git.scheme", "github")
        .orchestrator("hooks.std.secret_file", &file)
        .orchestrator("hooks.std.scheme", "standard")
        .orchestrator("triggers.hook_body_bytes_max", "1000")
        .orchestrator("triggers.hook_rate_per_minute", "60")
        .start()
        .await;
    let on = "  - hook: push\n    secret: git\n    when: ${ event.githubevent == \"push\" }\n  - hook: pay\n    secret: std\n";
    system.api.apply(&definition("deploy", on)).await;

    let body = json!({ "n": 4 }).to_string();
    let (status, first) = call(&system, "push", &github("d-1", &body), &body).await;
    assert_eq!(status, 202, "{first}");
    let (status, again) = call(&system, "push", &github("d-1", &body), &body).await;
    assert_eq!(
        (status, &again),
        (202, &first),
        "the same delivery is the same event"
    );
    let (status, replayed) = call(&system, "push", &github("d-1-again", &body), &body).await;
    assert_eq!(
        (status, &replayed),
        (202, &first),
        "the id of a delivery is not signed: it makes no other event of the same body"
    );

    let wrong = github("d-2", "something else");
    assert_eq!(call(&system, "push", &wrong, &body).await.0, 401);
    assert_eq!(call(&system, "push", &[], &body).await.0, 401);
    assert_eq!(
        call(&system, "nobody", &github("d-3", &body), &body)
            .await
            .0,
        404
    );
    let large = json!({ "n": 1, "x": "x".repeat(2000) }).to_string();
    assert_eq!(
        call(&system, "push", &github("d-4", &large), &large)
            .await
            .0,
        413
    );

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_secs();
    assert_eq!(
        call(&system, "pay", &standard("p-1", now, &body), &body)
            .await
            .0,
        202
    );
    let old = call(&system, "pay", &standard("p-2", now - 900, &body), &body).await;
    assert_eq!(old.0, 401, "{}", old.1);
    // what is signed by one secret is nothing to a trigger of another
    assert_eq!(
        call(&system, "pay", &github("p-3", &body), &body).await.0,
        401
    );

    let mut refused = 0;
    for number in 0..30 {
        let body = json!({ "n": 100 + number }).to_string();
        let headers = github("many", &body);
        refused += u32::from(call(&system, "push", &headers, &body).await.0 == 429);
    }
    assert!(refused > 0, "thirty at once are too many");
    await_some("the sagas of what was taken", SOON, async || {
        let sagas = sagas_of(&system, "deploy").await;
        (sagas.len() as u32 == 2 + 30 - refused).then_some(())
    })
    .await;

    // who cannot sign is refused before anything is read of what he sends
    let wrong = github("d-5", "something else");
    let unsigned = await_some(
        "tries that nobody signed to be too many",
        SOON,
        async || {
            let (status, problem) = call(&system, "pay", &wrong, &body).await;
            (status == 429).then_some(problem)
        },
    )
    .await;
    assert!(
        text(&unsigned["title"]).contains("nobody signed"),
        "{unsigned}"
    );
    assert_eq!(call(&system, "pay", &[], &large).await.0, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_published_over_http_is_one_of_the_bus() {
    let system = Setup::workers(0).start().await;
    let on = "  - event: com.example.a\n    input: { n: \"${ event.data.n }\" }\n";
    system.api.apply(&definition("alarm", on)).await;
    let url = format!("{}/v1/events", system.api.url());
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let send = async |content_type: &str, headers: &[(&str, &str)], body: String| {
        let mut request = http
            .post(&url)
            .bearer_auth("a-token-for-tests-only")
            .header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.expect("it answers");
        answer.status().as_u16()
    };
    let body = event("h1", "com.example.a", &json!({ "n": 1 }));
    assert_eq!(
        send("application/cloudevents+json", &[], body.clone()).await,
        202
    );
    assert_eq!(send("application/cloudevents+json", &[], body).await, 202);
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "h2"),
        ("ce-source", "/te%73t"),
        ("ce-type", "com.example.a"),
    ];
    assert_eq!(
        send("application/json", &binary, "{\"n\":2}".to_owned()).await,
        202
    );
    assert_eq!(send("application/json", &[], "{}".to_owned()).await, 422);
    // what only a signed request may be is refused where it is published, not dropped later
    let forged = event("h3", "hook.push", &json!({ "n": 3 }));
    let refused = http
        .post(&url)
        .bearer_auth("a-token-for-tests-only")
        .header("content-type", "application/cloudevents+json")
        .body(forged)
        .send()
        .await
        .expect("it answers");
    assert_eq!(refused.status().as_u16(), 422);
    let problem: Value = refused.json().await.expect("a problem");
    assert!(
        text(&problem["detail"]).contains("POST /v1/hooks/"),
        "{problem}"
    );
    kept(&system, "h1").await;
    kept(&system, "h2").await;
    assert_eq!(sagas_of(&system, "alarm").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_while_the_orchestrator_is_killed_starts_each_saga_once() {
    const EVENTS: usize = 5_000;
    let mut system = Setup::workers(0).start().await;
    let on = "  - event: com.example.flood\n    input: { n: \"${ event.data.n }\" }\n";
    system.api.apply(&definition("flood", on)).await;
    let lines: Vec<String> = (0..EVENTS)
        .map(|n| event(&format!("e{n}"), "com.example.flood", &json!({ "n": n })))
        .collect();
    publish_confirmed(&system, "com.example.flood", &lines).await;
    let (mut seen, mut killed_within) = (0, 0);
    for _ in 0..3 {
        // further than before, and as a rule not at the end
        seen = await_some("more sagas", SOON, async || {
            let begun = sagas_of(&system, "flood").await.len();
            (begun > seen || begun == EVENTS).then_some(begun)
        })
        .await;
        killed_within += usize::from(seen < EVENTS);
        system.orchestrator().kill9_and_start();
    }
    assert!(killed_within > 0, "the flood was over before it was killed");
    system.await_ready().await;
    nothing_left(&system).await;
    let sagas = await_some("all the sagas", SOON * 3, async || {
        let sagas = sagas_of(&system, "flood").await;
        let ended = sagas.iter().filter(|saga| saga["status"] == "completed");
        (ended.count() >= EVENTS).then_some(sagas)
    })
    .await;
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for saga in &sagas {
        *causes.entry(text(&saga["by"])).or_default() += 1;
    }
    assert_eq!((sagas.len(), causes.len()), (EVENTS, EVENTS), "each once");
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
}
