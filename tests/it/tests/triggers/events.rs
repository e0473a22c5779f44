//! Events: whoever sends them, in whichever form and however often, each does once what it is for.

use std::collections::BTreeMap;

use baton_harness::{await_some, await_until};
use baton_it::{SOON, Setup, long, memory_kb};
use serde_json::{Value, json};

use super::{
    definition, event, kept, nothing_left, publish, publish_confirmed, sagas_of, structured, text,
    waiting,
};

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
    // noted once the saga has it
    let woken = json!({ "what": "woke", "saga": back, "step": "paid" });
    await_until("the event to show whom it woke", SOON, async || {
        kept(&system, "w1").await["effects"][0] == woken
    })
    .await;

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

/// What an orchestrator takes of a flood is what may be in hand, not what lies in the queue: the events together are more than it may grow by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_lies_at_the_broker_and_not_in_memory() {
    const BODY_BYTES: usize = 32 * 1024;
    const GROWTH_KB_MAX: u64 = 64 * 1024;
    let events: u64 = if long() { 10_000 } else { 4_000 };
    let setup = Setup::workers(0).orchestrator("triggers.prefetch", "50");
    let mut system = setup.start().await;
    let on = "  - event: com.example.flood\n    input: { n: \"${ event.data.n }\" }\n";
    system.api.apply(&definition("flood", on)).await;
    let (before_kb, _) = memory_kb(system.orchestrator().process.pid());
    let pad = "x".repeat(BODY_BYTES);
    let lines: Vec<String> = (0..events)
        .map(|n| {
            let data = json!({ "n": n, "pad": pad });
            event(&format!("e{n}"), "com.example.flood", &data)
        })
        .collect();
    assert!(lines.iter().map(String::len).sum::<usize>() as u64 / 1024 > GROWTH_KB_MAX * 3 / 2);
    publish_confirmed(&system, "com.example.flood", &lines).await;
    let completed = "baton_orchestrator_sagas{status=\"completed\"}";
    await_until("all the sagas", SOON * 5, async || {
        system.api.figure(completed).await == Some(events)
    })
    .await;
    nothing_left(&system).await;
    let (_, peak_kb) = memory_kb(system.orchestrator().process.pid());
    let grown = peak_kb.saturating_sub(before_kb);
    assert!(grown < GROWTH_KB_MAX, "{grown} kB of {before_kb} before");
}

/// What a saga says goes over the broker, like anybody's event: it starts the saga that waits for such, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_saga_says_starts_another_through_the_broker() {
    let system = Setup::workers(0).start().await;
    let on = "  - event: com.example.told\n    input: { n: \"${ event.data.n }\" }\n";
    system.api.apply(&definition("hears", on)).await;
    let says = "saga: says\nversion: 1\ninput: { type: object, required: [n], properties: { n: { type: integer } } }\nsteps:\n  - id: tell\n    emit: { type: com.example.told, subject: \"${ string(input.n) }\", data: { n: \"${ input.n }\" } }\n";
    system.api.apply(says).await;
    let spoke = system.api.start("says", &json!({ "n": 7 }), "").await;
    system.api.await_status(&spoke, "completed", SOON).await;
    let heard = await_some("the saga that hears it", SOON, async || {
        sagas_of(&system, "hears").await.first().cloned()
    })
    .await;
    let saga = text(&heard["id"]);
    system.api.await_status(&saga, "completed", SOON).await;
    let listed = system.api.get("/v1/events?type=com.example.told").await;
    let events = listed["items"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{listed}");
    assert_eq!(events[0]["event"]["subject"], "7");
    assert_eq!(sagas_of(&system, "hears").await.len(), 1);
    nothing_left(&system).await;
}
