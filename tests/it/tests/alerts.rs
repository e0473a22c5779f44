//! What needs a person is found, said on the bus once, again when it is over, and never feeds itself; whoever dies meanwhile, and however many look.
#![expect(
    clippy::unwrap_used,
    reason = "a failure is to stop the test where it is"
)]

use std::time::Duration;

use baton_harness::{await_some, await_until};
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// Several looks of whoever looks after alerts.
const SOME_LOOKS: Duration = Duration::from_secs(4);

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
    for _ in 0..2 {
        system.orchestrator().kill9_and_start();
        system.await_ready().await;
        tokio::time::sleep(SOME_LOOKS / 2).await;
    }
    assert_eq!(heard(&system).await, [("opened".to_owned(), key.clone())]);
    let letters = system.api.get("/v1/dead-letters?state=dead").await;
    for letter in letters["dead_letters"].as_array().unwrap() {
        let path = format!(
            "/v1/dead-letters/{}/discard",
            letter["id"].as_str().unwrap()
        );
        let body = json!({ "reason": "of the test" }).to_string();
        let answer = system.api.ask("POST", &path, "", Some(body)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    alert(&system, "dead-letter", "resolved").await;
    await_heard(&system, "resolved", 1).await;
    assert_eq!(
        heard(&system).await,
        [
            ("opened".to_owned(), key.clone()),
            ("resolved".to_owned(), key)
        ]
    );
    assert_eq!(alerts(&system, "open").await, Vec::<Value>::new());
    let metrics = system.cli().run(&["alerts"]).await.exits(0);
    assert!(
        metrics.out.contains("nothing needs anybody"),
        "{}",
        metrics.out
    );
}

#[tokio::test]
async fn an_alert_is_said_once_and_when_it_is_over() {
    is_said_once_and_when_it_is_over(Setup::workers(0)).await;
}

#[tokio::test]
async fn on_postgres_an_alert_is_said_once_and_when_it_is_over() {
    is_said_once_and_when_it_is_over(Setup::workers(0).postgres()).await;
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
    tokio::time::sleep(SOME_LOOKS).await;
    let mut all = heard(&system).await;
    let said = all.len();
    all.dedup();
    assert_eq!((all.len(), said), (2, 2), "{all:?}");
}

/// What nobody serves, and what waits for a person; seen, muted, from the command line.
#[tokio::test]
async fn what_nobody_serves_and_what_is_parked_is_alerted_seen_and_muted() {
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
    cli.run(&["alerts", "ack", &id[..8], "-m", "on it"])
        .await
        .exits(0);
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
    tokio::time::sleep(SOME_LOOKS).await;
    assert_eq!(heard(&system).await.len(), 1);
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
    let storm = alert(&system, "storm", "open").await;
    assert_eq!(storm["data"]["kind"], "dead-letter", "{storm}");
    tokio::time::sleep(SOME_LOOKS).await;
    let open = alerts(&system, "open").await;
    let letters = open
        .iter()
        .filter(|one| one["kind"] == "dead-letter")
        .count();
    assert_eq!(letters, 50);
}

/// The rules for Prometheus speak of numbers there are.
#[tokio::test]
async fn the_rules_of_prometheus_speak_of_numbers_there_are() {
    let system = looking(Setup::workers(0)).start().await;
    dead(&system, "odd").await;
    alert(&system, "dead-letter", "open").await;
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/prometheus/alerts.yaml"
    );
    let text = std::fs::read_to_string(rules).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let counted = "baton_orchestrator_alerts_open{kind=\"dead-letter\"} 1";
    let metrics = await_some("the alert to be counted", SOON, async || {
        let answer = reqwest::get(format!("{}/metrics", system.api.url())).await;
        let text = answer.ok()?.text().await.ok()?;
        text.contains(counted).then_some(text)
    })
    .await;
    let name = regex::Regex::new("baton_[a-z_]+").unwrap();
    let mut found = 0;
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        for key in ["alert", "expr"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        assert!(
            rule["annotations"]["command"]
                .as_str()
                .unwrap()
                .starts_with("baton "),
            "{rule}"
        );
        for name in name.find_iter(rule["expr"].as_str().unwrap()) {
            found += 1;
            // a counter of what never happened is not there yet, and is described all the same
            let counted = name.as_str().ends_with("_total");
            assert!(
                counted || metrics.contains(name.as_str()),
                "{}",
                name.as_str()
            );
        }
    }
    assert!(found >= 8);
}
