//! Live watching, paging and limits over the API of a running orchestrator.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use baton_harness::await_some;
use serde_json::{Value, json};

use crate::stage::{Api, LIMIT, Stage, THREE};

/// Reads server-sent events, one after the other.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn of(api: &Api, path: &str, after: Option<u64>) -> Self {
        let mut request = api.http.get(format!("{}{path}", api.url));
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = request.bearer_auth(&api.token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event's name and data; none when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((one, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    one.lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|text| text.trim().to_owned())
                };
                let read = field("event:").map(|name| {
                    let data = field("data:").unwrap_or_default();
                    (name, serde_json::from_str(&data).unwrap_or(Value::Null))
                });
                self.text = rest.to_owned();
                if read.is_some() {
                    return read;
                }
                continue;
            }
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk()).await;
            let chunk = chunk.expect("an event within the limit").unwrap_or(None)?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_watched_to_its_end_by_many_at_once() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    api.register(THREE).await;
    let mut list = Events::of(&api, "/v1/watch?definition=three", None).await;
    assert_eq!(list.next().await.unwrap().0, "watching");
    let mut others = Events::of(&api, "/v1/watch?definition=another", None).await;
    assert_eq!(others.next().await.unwrap().0, "watching");
    let start = json!({ "definition": "three", "input": { "word": "x" } });
    let id = api.start(&start).await;
    let (name, row) = list.next().await.unwrap();
    assert_eq!((name.as_str(), &row["id"]), ("saga", &json!(id)));
    assert_eq!(row["status"], "running");

    let path = format!("/v1/sagas/{id}/events");
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut events = Events::of(&api, &path, None).await;
        let (name, saga) = events.next().await.unwrap();
        assert_eq!((name.as_str(), &saga["id"]), ("saga", &json!(id)));
        all.push(events);
    }
    let _worker = stage.worker();
    for events in &mut all {
        let mut last = 0;
        let end = loop {
            let (name, data) = events.next().await.unwrap();
            if name == "end" {
                break data;
            }
            let records = data["records"].as_u64().unwrap();
            assert!(records > last, "each is newer than the one before");
            last = records;
        };
        assert_eq!(end["status"], "completed");
        assert!(events.next().await.is_none(), "the stream ends");
    }
    let (name, row) = list.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &row["status"]),
        ("saga", &json!("completed"))
    );
    let saga = api.get(&format!("/v1/sagas/{id}")).await;

    // only the end is told to who knows the rest, and who watches another definition was told of nothing
    let mut again = Events::of(&api, &path, saga["records"].as_u64()).await;
    assert_eq!(again.next().await.unwrap().0, "end");
    stage.orchestrator.sigterm_and_wait(LIMIT).await;
    assert_eq!(others.next().await.unwrap().0, "stopping");
    assert!(others.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_page_by_page_and_sagas_by_time() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    let api = stage.api().await;
    api.register(THREE).await;
    let start = json!({ "definition": "three", "input": { "word": "x" } });
    let id = api.start(&start).await;
    let waited = api.get(&format!("/v1/sagas/{id}?wait_s=30")).await;
    assert_eq!(waited["status"], "completed", "{waited}");
    let count = waited["records"].as_u64().unwrap();

    for limit in [1, 2, 3, 500] {
        let (mut numbers, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let path = format!("/v1/sagas/{id}/records?after={from}&limit={limit}");
            let page = api.get(&path).await;
            let rows = page["records"].as_array().unwrap();
            assert!(rows.len() <= limit);
            numbers.extend(rows.iter().filter_map(|row| row["number"].as_u64()));
            after = page["next"].as_u64();
        }
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "limit {limit}");
    }
    let all = api.get(&format!("/v1/sagas/{id}/records")).await;
    assert_eq!(all["records"].as_array().unwrap().len() as u64, count);
    let started = waited["started_at"].as_u64().unwrap();
    let found = async |query: &str| {
        let page = api.get(&format!("/v1/sagas?{query}")).await;
        page["sagas"].as_array().unwrap().len()
    };
    assert_eq!(found(&format!("since={started}")).await, 1);
    assert_eq!(found(&format!("since={}", started + 1)).await, 0);
    assert_eq!(found(&format!("until={started}&status=completed")).await, 1);
    assert_eq!(found("until=2020-01-01T00:00:00Z").await, 0);
    let top = api.get("/v1/top").await;
    let echo = &top["items"][0];
    assert_eq!(
        (&echo["task_type"], &echo["reports"]),
        (&json!("test.echo@1"), &json!(3))
    );
    assert_eq!(
        (&echo["failed_share"], &echo["waiting"]),
        (&json!(0.0), &json!(0))
    );
    let (status, problem) = api
        .send_as(reqwest::Method::GET, "/v1/sagas?statu=running")
        .await;
    assert_eq!(status, 400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean `status`?"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_too_much_is_not_waited_for() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    let address = api.url.trim_start_matches("http://").to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let head = format!(
            "GET /healthz HTTP/1.1\r\nhost: x\r\nx-much: {}\r\n\r\n",
            "a".repeat(64 * 1024)
        );
        // it may be cut off while it is still sent
        let _ = stream.write_all(head.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let answer = answer.await.unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let large = "a".repeat(600 * 1024);
    let (status, problem) = api.put("/v1/definitions", &large).await;
    assert_eq!(status, 413, "{problem}");
    // on a connection of its own: the one before may be closed by now
    let other = reqwest::get(format!("{}/healthz", api.url)).await.unwrap();
    assert_eq!(other.status(), 200, "and others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_checked_without_being_registered() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    let check = async |yaml: &str| {
        let request = api.http.post(format!("{}/v1/definitions/check", api.url));
        let request = request.bearer_auth(&api.token).body(yaml.to_owned());
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer
    };
    // no worker is there that has announced its task
    let right = check(THREE).await;
    assert_eq!(right["ok"], true, "{right}");
    let found = right["diagnostics"].as_array().unwrap();
    assert!(
        found.iter().all(|one| one["severity"] == "warning"),
        "{right}"
    );
    let wrong = check(&THREE.replace("with:", "whit:")).await;
    let told = wrong["diagnostics"].as_array().unwrap();
    let first = told.iter().find(|one| one["severity"] == "error");
    let first = first.unwrap_or_else(|| panic!("{wrong}"));
    assert_eq!((&wrong["ok"], &first["line"]), (&json!(false), &json!(6)));
    assert!(
        first["source_line"].as_str().unwrap().contains("whit:"),
        "{first}"
    );
    let all = api.get("/v1/definitions").await;
    assert_eq!(all, json!({ "definitions": [] }));

    api.register(THREE).await;
    api.register(&THREE.replace("version: 1", "version: 2"))
        .await;
    let versions = api.get("/v1/definitions/three").await;
    let versions: Vec<u64> = versions["definitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["version"].as_u64())
        .collect();
    assert_eq!(versions, [2, 1]);
    let source = api
        .send_as(reqwest::Method::GET, "/v1/definitions/three/1")
        .await;
    assert_eq!(source, (200, Value::String(THREE.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_queue_waits_and_does_not_run() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker_with("BATON__WORKER__CONCURRENCY", "1");
    let api = stage.api().await;
    stage.await_type("test.echo@1").await;
    let start = json!({ "task": "test.echo@1", "input": { "value": 1, "sleep_ms": 1000 } });
    let mut sagas = Vec::new();
    for _ in 0..4 {
        sagas.push(api.start(&start).await);
    }
    for saga in sagas {
        api.await_status(&saga, "completed").await;
    }
    // the last one stood behind three others
    await_some("the figures to be over all of them", LIMIT, async || {
        let top = api.get("/v1/top").await;
        let echo = &top["items"][0];
        let figure = |name: &str| echo[name].as_u64();
        if figure("reports")? < 4 {
            return None;
        }
        let (wait, run) = (figure("wait_p95_ms")?, figure("run_p95_ms")?);
        assert!(wait >= 2_500 && run < wait, "{echo}");
        Some(())
    })
    .await;
}
