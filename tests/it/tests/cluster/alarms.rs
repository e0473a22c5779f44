//! Alerts while two members look after them in turn: whoever leads, and however he ends, each receiver is told of each alert once when it comes and once when it is over.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use baton_harness::{Process, await_some, await_until};
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Cluster, two};

/// Who is told, each by a process of its own and at a path of its own.
const RECEIVERS: [&str; 2] = ["pager", "chat"];
/// A queue of the test, for whoever listens to the bus itself.
const WITNESS: &str = "witness";

/// A stand-in for what takes webhooks: it keeps what it is sent.
struct Hook {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let book = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(said) = request(&mut stream).await else {
                    continue;
                };
                book.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(said);
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                // who asked asks again when he does not hear it, and that would be counted
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, heard }
    }

    /// Tells a receiver of each alert; when it is live a queue is bound to an event of its own.
    fn definition(&self, receiver: &str) -> String {
        format!(
            "saga: {receiver}
version: 1
on:
  - event: dev.baton.alert.*
    input: {{ what: \"${{ event.type }}\", key: \"${{ string(event.data.key) }}\" }}
  - event: com.example.{receiver}
    input: {{ what: \"${{ event.type }}\", key: none }}
input:
  type: object
  required: [what, key]
  properties: {{ what: {{ type: string }}, key: {{ type: string }} }}
steps:
  - id: tell
    task: http.request@1
    with:
      method: POST
      url: http://127.0.0.1:{}/{receiver}
      repeatable: true
      body: {{ json: {{ said: \"${{ '|' + input.what + '|' + input.key + '|' }}\" }} }}
    timeout: 30s
    retry: {{ attempts: 20, backoff: 200ms, factor: 2, max: 5s }}
    undo: none
    because: what was said cannot be unsaid
    on_error: continue
",
            self.port
        )
    }

    /// How often a receiver was told this of an alert.
    fn times(&self, receiver: &str, what: &str, key: &str) -> usize {
        let path = format!("POST /{receiver} ");
        let said = format!("|dev.baton.alert.{what}|{key}|");
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |one: &&String| one.starts_with(&path) && one.contains(&said);
        heard.iter().filter(fits).count()
    }

    async fn await_told(&self, what: &str, key: &str) {
        for receiver in RECEIVERS {
            let told = format!("{receiver} to be told that {key} is {what}");
            await_until(&told, AFTER_A_LEASE, async || {
                self.times(receiver, what, key) > 0
            })
            .await;
        }
    }
}

/// A whole request, as text; none when whoever sent it has gone.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        all.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let length = name.eq_ignore_ascii_case("content-length");
            length.then(|| value.trim().parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// Which of the two leads; the first is 0.
async fn leader(cluster: &Cluster) -> Option<usize> {
    for (place, api) in cluster.apis().into_iter().enumerate() {
        let Some(shown) = api.ask("GET", "/v1/cluster", "", None).await else {
            continue;
        };
        if shown.body["leader"].is_string() && shown.body["leader"] == shown.body["asked"] {
            return Some(place);
        }
    }
    None
}

fn process(cluster: &mut Cluster, place: usize) -> &mut Process {
    if place == 0 {
        cluster.system.orchestrator().process
    } else {
        &mut cluster.other
    }
}

/// What listens to the bus itself, and what listens for receivers.
async fn listen(cluster: &Cluster, hook: &Hook) {
    let vhost = &cluster.system.vhost;
    vhost.declare(WITNESS, "classic").await;
    let bindings = |queue: &str| format!("/api/bindings/{}/e/baton.events/q/{queue}", vhost.name());
    let key = json!({ "routing_key": "dev.baton.alert.#" });
    vhost.management().post(&bindings(WITNESS), &key).await;
    for receiver in RECEIVERS {
        cluster.system.api.apply(&hook.definition(receiver)).await;
        let what = format!("events to come to {receiver}");
        await_until(&what, SOON, async || {
            let bound = vhost.management().get(&bindings("baton.triggers")).await;
            let own = format!("com.example.{receiver}");
            let mut bound = bound.as_array().into_iter().flatten();
            bound.any(|one| one["routing_key"] == own)
        })
        .await;
    }
}

/// A message nobody can use, of a kind and so a group of its own; the key of its alert.
async fn dead(system: &System, kind: &str) -> String {
    let properties = json!({ "message_id": uuid::Uuid::new_v4(), "type": kind });
    let vhost = &system.vhost;
    assert!(
        vhost
            .publish("baton.inbox", "00", properties, "no JSON")
            .await
    );
    let path = format!("/v1/dead-letters?kind={kind}");
    await_some("its letter", AFTER_A_LEASE, async || {
        let answer = system.api.ask("GET", &path, "", None).await?;
        let group = answer.body["dead_letters"][0]["group"].as_str()?;
        Some(format!("dead-letter/{group}"))
    })
    .await
}

async fn discard_all(system: &System) {
    let letters = "/v1/dead-letters?state=dead&limit=500";
    let letters = system.api.get(letters).await;
    for letter in letters["dead_letters"].as_array().into_iter().flatten() {
        let id = letter["id"].as_str().expect("a letter has an id");
        let path = format!("/v1/dead-letters/{id}/discard");
        let body = json!({ "reason": "of the test" }).to_string();
        let answer = system
            .api
            .ask_patiently("POST", &path, "", Some(body))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The ids of the events that say this of an alert: one that is said again is the same event.
async fn said_on_the_bus(system: &System) -> Vec<(String, String, String)> {
    let messages = system.vhost.take(WITNESS, 500).await;
    let read = messages.iter().map(|message| {
        let event: Value = serde_json::from_str(&message.payload).expect("an event is JSON");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (what, key) = (word(&event["type"]), word(&event["data"]["key"]));
        (what, key, word(&event["id"]))
    });
    read.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_receiver_is_told_of_an_alert_once_whoever_leads() {
    let hook = Hook::open().await;
    let setup = Setup::workers(1)
        .postgres()
        .worker("automations.net.allow", &format!("127.0.0.1:{}", hook.port))
        .orchestrator("alerts.every_s", "1");
    let mut cluster = two(setup).await;
    cluster.system.await_served("http.request@1").await;
    listen(&cluster, &hook).await;
    let mut keys = vec![dead(&cluster.system, "odd-0").await];
    hook.await_told("opened", &keys[0]).await;
    for (round, in_order) in [(1, true), (2, false)] {
        let what = "one of the two to lead";
        let before = await_some(what, SOON, async || leader(&cluster).await).await;
        let ended = process(&mut cluster, before);
        if in_order {
            assert!(ended.sigterm_and_wait(SOON).await.success());
        } else {
            ended.kill9();
        }
        await_until("the other to lead", AFTER_A_LEASE, async || {
            leader(&cluster).await == Some(1 - before)
        })
        .await;
        process(&mut cluster, before).start_again();
        cluster.await_shared(2).await;
        // whoever leads now has looked at all there is when this one was heard of
        let key = dead(&cluster.system, &format!("odd-{round}")).await;
        hook.await_told("opened", &key).await;
        keys.push(key);
    }
    discard_all(&cluster.system).await;
    for key in &keys {
        hook.await_told("resolved", key).await;
    }
    let said = said_on_the_bus(&cluster.system).await;
    for key in &keys {
        for what in ["opened", "resolved"] {
            for receiver in RECEIVERS {
                let times = hook.times(receiver, what, key);
                assert_eq!(times, 1, "{receiver} was told {what} of {key}");
            }
            let kind = format!("dev.baton.alert.{what}");
            let of_both = said.iter().filter(|(w, k, _)| *w == kind && k == key);
            let ids: BTreeSet<&String> = of_both.map(|(_, _, id)| id).collect();
            assert_eq!(ids.len(), 1, "{kind} of {key} is one event: {said:?}");
        }
    }
}
