//! What needs a person is found, said on the bus once, again when it is over, and never feeds itself; whoever dies meanwhile, and however many look.
#![expect(
    clippy::unwrap_used,
    reason = "a failure is to stop the test where it is"
)]

mod definitions;
mod items;
mod kinds;
mod letters;
mod rules;
mod terminal;
mod unserved;

use baton_harness::{await_some, await_until};
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

fn looking(setup: Setup) -> Setup {
    setup
        .orchestrator("alerts.every_s", "1")
        .orchestrator("alerts.unserved_s", "1")
}

/// Starts a saga for each event about alerts, with what it says.
fn hears(task: &str) -> String {
    format!(
        "saga: hears\nversion: 1\non:\n  - event: dev.baton.alert.*\n    input: {{ what: \"${{ event.type }}\", key: \"${{ event.data.key }}\", command: \"${{ event.data.command }}\", link: \"${{ event.data.link }}\" }}\ninput:\n  type: object\n  properties: {{ what: {{ type: string }}, key: {{ type: string }}, command: {{ type: string }}, link: {{ type: string }} }}\nsteps:\n  - id: a\n{task}\n"
    )
}

/// A message nobody can use, of a group of its own.
async fn dead(system: &System, kind: &str) {
    let vhost = &system.vhost;
    let path = format!("/api/exchanges/{}/baton.inbox/publish", vhost.name());
    let body = json!({
        "properties": { "delivery_mode": 2, "message_id": uuid::Uuid::new_v4(), "type": kind }, "routing_key": "00", "payload": "no JSON",
        "payload_encoding": "string",
    });
    assert_eq!(vhost.management().post(&path, &body).await["routed"], true);
}

async fn alerts(system: &System, state: &str) -> Vec<Value> {
    let answer = system
        .api
        .get(&format!("/v1/alerts?state={state}&limit=500"))
        .await;
    answer["items"].as_array().unwrap().clone()
}

async fn alert(system: &System, kind: &str, state: &str) -> Value {
    await_some(&format!("an alert {kind}, {state}"), SOON, async || {
        let answer = system
            .api
            .ask("GET", &format!("/v1/alerts?state={state}"), "", None)
            .await?;
        let items = answer.body["items"].as_array()?.clone();
        items.into_iter().find(|one| one["kind"] == kind)
    })
    .await
}

/// What was heard of alerts, oldest first: the event's type and the alert's key.
async fn heard(system: &System) -> Vec<(String, String)> {
    let list = system.api.get("/v1/sagas?definition=hears&limit=500").await;
    let mut all = Vec::new();
    for row in list["sagas"].as_array().unwrap().iter().rev() {
        let saga = system.api.saga(row["id"].as_str().unwrap()).await;
        let word = |name: &str| saga["input"][name].as_str().unwrap().to_owned();
        let what = word("what").rsplit('.').next().unwrap().to_owned();
        all.push((what, word("key")));
    }
    all
}

async fn await_heard(system: &System, what: &str, times: usize) {
    await_until(
        &format!("{times} times {what} to be heard"),
        SOON,
        async || {
            let all = heard(system).await;
            all.iter().filter(|(of, _)| of == what).count() >= times
        },
    )
    .await;
}

/// Returns when there was a whole look after now, and all that it had to say was heard: what is dead from now on was. What is heard of that is not said
/// by [`heard_of_others`].
async fn looked(system: &System, marker: &str) {
    let kind = format!("marker-{marker}");
    dead(system, &kind).await;
    let group = await_some("the marker's group", SOON, async || {
        let path = format!("/v1/dead-letters?kind={kind}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        let letters = answer.body["dead_letters"].as_array()?.clone();
        letters.first()?["group"].as_str().map(str::to_owned)
    })
    .await;
    let opened = ("opened".to_owned(), format!("dead-letter/{group}"));
    await_until("the marker to be heard", SOON, async || {
        heard(system).await.contains(&opened)
    })
    .await;
}

/// What was heard of one kind.
async fn heard_of(system: &System, key: &str) -> Vec<String> {
    let all = heard(system).await.into_iter();
    all.filter_map(|(what, of)| (of == key).then_some(what))
        .collect()
}

async fn discard_all(system: &System) {
    let letters = system
        .api
        .get("/v1/dead-letters?state=dead&limit=500")
        .await;
    for letter in letters["dead_letters"].as_array().unwrap() {
        let path = format!(
            "/v1/dead-letters/{}/discard",
            letter["id"].as_str().unwrap()
        );
        let body = json!({ "reason": "of the test" }).to_string();
        let answer = system.api.ask("POST", &path, "", Some(body)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

const SLEEPS: &str = "    sleep: 1ms";

async fn is_said_once_and_when_it_is_over(setup: Setup) {
    let mut system = looking(setup).start().await;
    system.api.apply(&hears(SLEEPS)).await;
    dead(&system, "odd").await;
    let open = alert(&system, "dead-letter", "open").await;
    let key = open["key"].as_str().unwrap().to_owned();
    let group = open["data"]["group"].as_str().unwrap().to_owned();
    assert_eq!(open["command"], format!("baton dead ls --group {group}"));
    assert!(
        open["link"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:"),
        "{open}"
    );
    await_heard(&system, "opened", 1).await;
    // more of the same is the same alert; whoever starts anew says it once
    dead(&system, "odd").await;
    await_until("the second letter to be kept", SOON, async || {
        let letters = system.api.get("/v1/dead-letters?state=dead").await;
        letters["dead_letters"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    for marker in ["first", "second"] {
        system.orchestrator().kill9_and_start();
        system.await_ready().await;
        looked(&system, marker).await;
    }
    assert_eq!(heard_of(&system, &key).await, ["opened"]);
    discard_all(&system).await;
    await_heard(&system, "resolved", 3).await;
    assert_eq!(heard_of(&system, &key).await, ["opened", "resolved"]);
    assert_eq!(alerts(&system, "open").await, Vec::<Value>::new());
    let list = system.cli().run(&["alerts"]).await.exits(0);
    assert!(list.out.contains("nothing needs anybody"), "{}", list.out);
}

#[tokio::test]
async fn an_alert_is_said_once_and_when_it_is_over() {
    is_said_once_and_when_it_is_over(Setup::workers(0)).await;
}

#[tokio::test]
async fn on_postgres_an_alert_is_said_once_and_when_it_is_over() {
    is_said_once_and_when_it_is_over(Setup::workers(0).postgres()).await;
}

/// What the broker does not take is not said: it is said when it does, also by whoever begins anew meanwhile, and once.
#[tokio::test]
async fn what_the_broker_does_not_take_is_said_when_it_does() {
    let mut system = looking(Setup::workers(0)).start().await;
    system.api.apply(&hears(SLEEPS)).await;
    looked(&system, "before").await;
    let events = format!("/api/exchanges/{}/baton.events", system.vhost.name());
    system.vhost.management().delete(&events).await;
    dead(&system, "odd").await;
    let key = await_some("its alert", SOON, async || {
        let path = "/v1/dead-letters?kind=odd";
        let answer = system.api.ask("GET", path, "", None).await?;
        let group = answer.body["dead_letters"][0]["group"].as_str()?;
        let key = format!("dead-letter/{group}");
        let open = alerts(&system, "open").await;
        open.iter()
            .any(|one| one["key"] == key.as_str())
            .then_some(key)
    })
    .await;
    let in_vain = "baton_orchestrator_alerts_not_said_total";
    await_until("it to be said in vain, more than once", SOON, async || {
        system.api.figure(in_vain).await > Some(1)
    })
    .await;
    // whoever begins declares what is missing
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    await_until("it to be heard", SOON, async || {
        !heard_of(&system, &key).await.is_empty()
    })
    .await;
    looked(&system, "after").await;
    assert_eq!(heard_of(&system, &key).await, ["opened"]);
}

/// Two orchestrators, of which one leads: whoever it is, each alert is said once.
#[tokio::test]
async fn of_several_orchestrators_one_says_it() {
    let mut system = looking(Setup::workers(0).postgres()).start().await;
    system.api.apply(&hears(SLEEPS)).await;
    let (launch, other) = system.another_orchestrator();
    let mut process = launch.start();
    process
        .wait_for_http(&format!("{}/readyz", other.url()), SOON)
        .await;
    dead(&system, "odd").await;
    await_heard(&system, "opened", 1).await;
    dead(&system, "other").await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    await_heard(&system, "opened", 2).await;
    looked(&system, "last").await;
    let mut all = heard(&system).await;
    let said = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), said), (3, 3), "{all:?}");
}

/// Seen, muted and no longer muted, from the command line.
#[tokio::test]
async fn what_nobody_serves_is_alerted_seen_and_muted() {
    let system = looking(Setup::workers(0)).start().await;
    let waits = "saga: waits\nversion: 1\nsteps:\n  - id: a\n    task: nobody.serves@1\n    queue_timeout: 1h\n    with: {}\n";
    system.api.apply(waits).await;
    system.api.start("waits", &json!({}), "k").await;
    let unserved = alert(&system, "unserved", "open").await;
    assert_eq!(
        unserved["data"]["task_type"], "nobody.serves@1",
        "{unserved}"
    );
    let id = unserved["id"].as_str().unwrap();
    let cli = system.cli();
    let shown = cli.run(&["alerts", "show", &id[..8]]).await.exits(0);
    assert!(
        shown.out.contains("nobody serves nobody.serves@1"),
        "{}",
        shown.out
    );
    dead(&system, "odd").await;
    let other = alert(&system, "dead-letter", "open").await;
    let other = other["id"].as_str().unwrap();
    let seen = cli
        .run(&["alerts", "ack", &id[..8], &other[..8], "-m", "on it"])
        .await
        .exits(0);
    assert_eq!(seen.out.matches("seen by: admin: on it").count(), 2);
    let muted = cli
        .run(&["alerts", "mute", &id[..8], "--for", "2h", "-m", "known"])
        .await
        .exits(0);
    assert!(muted.out.contains("muted by: admin"), "{}", muted.out);
    let audit = cli
        .run(&["audit", "ls", "--action", "muteAlert", "--json"])
        .await
        .exits(0)
        .json();
    let entry = &audit["items"][0];
    assert_eq!(entry["object"], format!("alerts/{id}"), "{entry}");
    assert_eq!(
        (&entry["before"]["muted_until"], &entry["why"]),
        (&Value::Null, &json!("known")),
        "{entry}"
    );
    assert!(entry["after"]["muted_until"].is_number(), "{entry}");
    let path = format!("/v1/alerts/{id}/unmute");
    let body = json!({ "reason": "  " }).to_string();
    let answer = system.api.ask("POST", &path, "", Some(body)).await.unwrap();
    assert_eq!(answer.status, 400, "a reason is a reason: {answer:?}");
    let loud = cli
        .run(&["alerts", "unmute", &id[..8], "-m", "mended"])
        .await
        .exits(0);
    assert!(!loud.out.contains("muted by"), "{}", loud.out);
    let wrong = cli.run(&["alerts", "show", "xyz"]).await.exits(1);
    assert!(!wrong.err.contains("dead letter"), "{}", wrong.err);
}

/// An alert about what alerts start is kept and not said: it would start it again.
#[tokio::test]
async fn an_alert_about_what_alerts_start_never_feeds_itself() {
    let system = looking(Setup::workers(0)).start().await;
    system
        .api
        .apply(&hears(
            "    task: nobody.serves@1\n    queue_timeout: 1h\n    with: {}",
        ))
        .await;
    dead(&system, "odd").await;
    await_heard(&system, "opened", 1).await;
    let own = alert(&system, "unserved", "open").await;
    assert_eq!(
        (&own["silent"], &own["unsaid"]),
        (&json!(true), &json!(false)),
        "{own}"
    );
    looked(&system, "after").await;
    let all = heard(&system).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(
        heard_of(&system, own["key"].as_str().unwrap()).await,
        [""; 0]
    );
}

/// A storm has bounds: so many alerts of a kind, and one that says how many more there are.
#[tokio::test]
async fn a_storm_of_alerts_has_bounds() {
    let system = looking(Setup::workers(0)).start().await;
    for a in 'a'..='i' {
        for b in 'a'..='h' {
            dead(&system, &format!("kind-{a}{b}")).await;
        }
    }
    await_until("every group to be seen", SOON, async || {
        let open = alerts(&system, "open").await;
        let storm = open.iter().find(|one| one["kind"] == "storm");
        storm.is_some_and(|storm| {
            storm["data"] == json!({ "kind": "dead-letter", "beyond": 72 - 50 })
        })
    })
    .await;
    let open = alerts(&system, "open").await;
    let letters = open.iter().filter(|one| one["kind"] == "dead-letter");
    assert_eq!(letters.count(), 50);
}
