//! A secret handed by reference reaches its target and is found nowhere else: not in the database, in no message on the broker, in no line of
//! log, in no answer of the API, whatever fails on the way and whoever prints it back.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_harness::await_some;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// From a file, in a header: everything some writer escapes.
const OF_FILE: &str = "fI7e-S<&>\"'/+=%Zq9-Wm";
/// From the environment of the worker.
const OF_ENV: &str = "3nv-sEcret-mVt8xQ2wLpR5";
/// What a program prints, in a body and a file: beyond ASCII.
const OF_COMMAND: &str = "c0mmand s\u{e9}cret \u{fc}nd mehr 77";
/// A number.
const PIN: &str = "7315529846";
const SECRETS: [&str; 4] = [OF_FILE, OF_ENV, OF_COMMAND, PIN];
/// So much of a secret in one piece is too much.
const PIECE_BYTES: usize = 10;
/// No secret, and handed in beside them: what is searched has to hold it, or it is not what it seems.
const CANARY: &str = "canary-of-the-search";

/// What the worker may do. `DIR` stands for the system's own folder.
const CONFIG: &str = r#"
[processes]
work_folder = "DIR/runs"
term_grace_ms = 200
output_bytes_max = 1024

[automations.net]
allow = ["127.0.0.1"]

[secrets.file]
file = "DIR/of-file"
[secrets.env]
env = "OF_ENV"
[secrets.command]
command = ["cat", "DIR/of-command"]
types = ["http.request@1", "command.run@1"]
[secrets.pin]
file = "DIR/pin"

[commands.put]
program = "/bin/sh"
args = ["-c", '''
printf '%s|%s' "$TOKEN" "$(cat "$HOME/key")" > DIR/got
printf '{"token": "%s"}' "$TOKEN" > "$BATON_RESULT"
echo "$TOKEN"; cat "$HOME/key"; base64 "$HOME/key"; od -An -tx1 "$HOME/key" | tr -d ' \n'; env
''']
secrets.token.env = "TOKEN"
secrets.key.file = "key"
effect = "reversible"
undo = "take-back"

[commands.take-back]
program = "/bin/sh"
args = ["-c", '''cat > DIR/told; echo "$TOKEN $TOKEN $(head -c 386 /dev/zero | tr '\0' x)" >&2; exit 2''']
secrets.token.env = "TOKEN"
effect = "irreversible"
codes_failed = [2]

# What is cut lies across a secret.
[commands.torn]
program = "/bin/sh"
args = ["-c", '''
fill() { head -c "$1" /dev/zero | tr '\0' x; }
fill 500; printf '%s' "$TOKEN"; fill 5000; printf '%s' "$TOKEN"; fill 500
''']
secrets.token.env = "TOKEN"
effect = "none"
"#;

/// The server gives back what it was told, the third step says what it was told, and taking the second one back fails.
const SAGA: &str = r#"saga: leaky
version: 1
input: { type: object, required: [url, name], properties: { url: { type: string }, name: { type: string } } }
steps:
  - id: ask
    task: http.request@1
    with:
      method: POST
      url: "${ input.url }"
      auth: { bearer: "${ secret('file') }" }
      headers: { X-Key: "${ secret('env') }" }
      body: { json: { name: "${ input.name }", key: "${ secret('command') }", pin: "${ secret('pin') }" } }
    undo: { task: http.request@1, with: { method: DELETE, url: "${ input.url }", headers: { X-Key: "${ secret('env') }" } } }
  - id: put
    task: command.run@1
    with: { command: put, secrets: { token: "${ secret('env') }", key: "${ secret('command') }" } }
  - id: torn
    task: command.run@1
    with: { command: torn, secrets: { token: "${ secret('file') }" } }
  - id: quoted
    task: http.request@1
    with:
      url: "${ input.url }"
      headers: { X-Key: "${ secret('env') }" }
      expect: { json: [{ at: /key, equals: another }] }
    undo: none
    because: it only asks
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_used_and_found_nowhere() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let url = format!("http://127.0.0.1:{}/", parrot(asked.clone()).await);
    let mut system = stage().await;
    system.api.apply(SAGA).await;
    let input = json!({ "url": url, "name": CANARY });
    let saga = system.api.start("leaky", &input, "one").await;
    system
        .api
        .await_status(&saga, "parked", AFTER_A_LEASE)
        .await;
    was_used(&system, &asked.lock().unwrap());
    broken_task(&system).await;
    let letters = async || Some(system.api.dead_letters().await).filter(|all| !all.is_empty());
    await_some("the dead letter", SOON, letters).await;

    let mut seen = answers(&system, &saga).await;
    let records = seen["the records"].clone();
    for said in ["not-as-expected", "command-failed", "*** ***"] {
        assert!(records.contains(said), "no {said} in {records}");
    }
    seen.push("the database at work", files(&system.data_dir()));
    system.orchestrator().process.sigterm_and_wait(SOON).await;
    // A letter nobody takes in: it stays on its queue.
    broken_task(&system).await;
    system.vhost.await_messages("baton.dead", 1, 0, SOON).await;
    system.workers[0].sigterm_and_wait(SOON).await;
    seen.push("the database", files(&system.data_dir()));
    for queue in system.vhost.queues().await {
        if queue.arguments["x-single-active-consumer"] == true {
            // An inbox, which cannot be read from outside; the tap has what went there.
            continue;
        }
        let messages = system.vhost.take(&queue.name, 100_000).await;
        seen.push(&queue.name, format!("{messages:?}"));
    }
    seen.push("the worker's log", system.workers[0].log());
    let log = system.orchestrator().process.log();
    seen.push("the orchestrator's log", log);
    judge(&seen);
}

/// What was seen, each part by its name.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn push(&mut self, name: &str, text: String) {
        self.0.push((name.to_owned(), text));
    }
}

impl std::ops::Index<&str> for Seen {
    type Output = String;

    fn index(&self, name: &str) -> &String {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text).unwrap()
    }
}

fn judge(seen: &Seen) {
    for name in [
        "the records",
        "/v1/dead-letters",
        "the database",
        "the database at work",
        "tap",
        "baton.dead",
    ] {
        assert!(seen[name].contains(CANARY), "{name} is not what it seems");
    }
    let failed = "a task has ended as failed: not-as-expected: GET http";
    assert!(seen["the worker's log"].contains(failed));
    assert!(seen["the orchestrator's log"].contains("baton_orchestrator"));
    for (name, text) in &seen.0 {
        for secret in SECRETS {
            for form in forms(secret) {
                let at = text.find(&form);
                let shown = at.map(|at| around(text, at));
                assert_eq!(shown, None, "{secret} as {form} shows in {name}");
            }
        }
    }
}

fn around(text: &str, at: usize) -> String {
    let from = text.floor_char_boundary(at.saturating_sub(200));
    text[from..text.floor_char_boundary(at + 200)].to_owned()
}

/// How a secret may look, and every piece of it.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let pieces = bytes.windows(PIECE_BYTES.min(bytes.len()));
    let mut forms: Vec<String> = pieces
        .filter_map(|piece| Some(std::str::from_utf8(piece).ok()?.to_owned()))
        .collect();
    for before in 0..3 {
        let encoded = BASE64.encode([&vec![b'x'; before], bytes].concat());
        // without the letters shared with what stands beside it
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let percent = |upper: bool| -> String {
        let one = |b: &u8| match (b.is_ascii_alphanumeric() || b"-._~".contains(b), upper) {
            (true, _) => char::from(*b).to_string(),
            (false, true) => format!("%{b:02X}"),
            (false, false) => format!("%{b:02x}"),
        };
        bytes.iter().map(one).collect()
    };
    forms.extend([hex.to_uppercase(), hex, percent(true), percent(false)]);
    forms.push(
        serde_json::to_string(secret)
            .unwrap()
            .trim_matches('"')
            .to_owned(),
    );
    forms
}

async fn stage() -> System {
    let quiet = "trace,lapin=off";
    let mut system = Setup::workers(0)
        .worker_variable("OF_ENV", OF_ENV)
        .worker_variable("RUST_LOG", quiet)
        .orchestrator_variable("RUST_LOG", quiet)
        .start()
        .await;
    tap(&system).await;
    let dir = system.dir().to_owned();
    fs::write(dir.join("of-file"), format!("{OF_FILE}\n")).unwrap();
    fs::write(dir.join("of-command"), format!("{OF_COMMAND}\n")).unwrap();
    fs::write(dir.join("pin"), PIN).unwrap();
    let config = dir.join("worker.toml");
    fs::write(&config, CONFIG.replace("DIR", &dir.to_string_lossy())).unwrap();
    system.add_worker_with_file(&config);
    for task_type in ["http.request@1", "command.run@1"] {
        system.await_served(task_type).await;
    }
    system
}

/// A copy of every message that is published or delivered from now on.
async fn tap(system: &System) {
    let (management, vhost) = (system.vhost.management(), system.vhost.name());
    system.vhost.declare("tap", "classic").await;
    let from = format!("/api/bindings/{vhost}/e/amq.rabbitmq.trace/q/tap");
    management.post(&from, &json!({ "routing_key": "#" })).await;
    let tracing = json!({ "tracing": true });
    management
        .put(&format!("/api/vhosts/{vhost}"), &tracing)
        .await;
}

/// A task with a reference that no worker can read.
async fn broken_task(system: &System) {
    let task = json!({ "task@1": {
        "of": CANARY, "input": { "command": "put", "secrets": { "token": { "$secret": "env" } } },
    } })
    .to_string();
    let key = "default.command.run@1";
    let properties = json!({ "message_id": uuid::Uuid::new_v4() });
    let sent = system.vhost.publish("baton.tasks", key, properties, &task);
    assert!(sent.await);
}

/// The server and the programs got the secrets, as they are.
fn was_used(system: &System, asked: &[String]) {
    let first = &asked[0];
    for part in [
        format!("authorization: Bearer {OF_FILE}\r\n"),
        format!("x-key: {OF_ENV}\r\n"),
        json!({ "key": OF_COMMAND, "name": CANARY, "pin": PIN }).to_string(),
    ] {
        assert!(first.contains(&part), "no {part} in {first}");
    }
    let got = fs::read_to_string(system.dir().join("got")).unwrap();
    assert_eq!(got, format!("{OF_ENV}|{OF_COMMAND}"));
    let told = fs::read_to_string(system.dir().join("told")).unwrap();
    assert!(told.contains("\"command\":\"put\""), "{told}");
    for left in [told, files(&system.dir().join("runs"))] {
        assert!(
            !SECRETS.iter().any(|secret| left.contains(secret)),
            "{left}"
        );
    }
}

async fn answers(system: &System, saga: &str) -> Seen {
    let mut seen = Seen::default();
    seen.push("the records", system.api.records(saga).await);
    for path in [
        &format!("/v1/sagas/{saga}"),
        "/v1/sagas",
        "/v1/work-items",
        "/v1/dead-letters",
        "/v1/workers",
        "/v1/task-types",
        "/v1/top",
        "/v1/events",
        "/metrics",
    ] {
        let answer = system.api.ask("GET", path, "", None).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let path = path.replace(saga, "<saga>");
        seen.push(&path, answer.body.to_string());
    }
    seen
}

/// Everything below a folder, as text.
fn files(dir: &Path) -> String {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned(),
        })
        .collect()
}

/// A web server that keeps what it is asked and gives it back: as it is, in base 64, in hexadecimal, its parts one by one.
async fn parrot(asked: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = request(&mut stream).await;
            let answer = given_back(&request);
            asked.lock().unwrap().push(request);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all((head + &answer).as_bytes()).await;
        }
    });
    port
}

fn given_back(request: &str) -> String {
    let header = |name: &str| {
        let line = request.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let hex: String = request.bytes().map(|b| format!("{b:02x}")).collect();
    let pin: u64 = PIN.parse().unwrap();
    json!({
        "key": header("x-key:"),
        "bearer": header("authorization:"),
        "whole": request,
        "quoted": format!("{request:?}"),
        "base64": BASE64.encode(request),
        "hex": hex,
        "pin": if request.contains(PIN) { pin } else { 0 },
    })
    .to_string()
}

async fn request(stream: &mut tokio::net::TcpStream) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        all.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            assert!(read > 0, "half a request: {text}");
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if read == 0 || all.len() >= head.len() + 4 + length {
            return text;
        }
    }
}
