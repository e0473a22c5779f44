//! What the tests share: an orchestrator of their own on a virtual host of their own, a worker, the tool, and the API.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use baton_harness::{Broker, Launch, Process, Vhost, await_some, binaries};
use serde_json::Value;

/// How long anything may take on two busy cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Three steps, two of them side by side.
pub(crate) const THREE: &str = "saga: three
version: 1
steps:
  - id: first
    task: test.echo@1
    with: { value: \"${ input.word }\" }
  - id: left
    task: test.echo@1
    after: [first]
    with: { value: left }
  - id: right
    task: test.echo@1
    after: [first]
    with: { value: right }
output: { word: \"${ first.value }\" }
";

/// An orchestrator and what is around it.
pub(crate) struct Stage {
    pub(crate) vhost: Vhost,
    pub(crate) orchestrator: Process,
    data: PathBuf,
}

impl Stage {
    /// An orchestrator on a fresh virtual host.
    pub(crate) async fn new() -> Self {
        let vhost = Broker::shared().await.vhost().await;
        let url = vhost.url();
        Self::at(vhost, &url)
    }

    /// An orchestrator that reaches the broker by `amqp`.
    pub(crate) fn at(vhost: Vhost, amqp: &str) -> Self {
        let data = binaries::fresh_dir("orchestrator-data");
        let orchestrator = Launch::binary("baton-orchestrator")
            .args(["--http", "127.0.0.1:0", "--amqp", amqp])
            .env("BATON__STORE__DATA_DIR", &data)
            .env("BATON__BUS__RECONNECT_MS_MAX", "500")
            .start();
        Self {
            vhost,
            orchestrator,
            data,
        }
    }

    /// A worker of the fleet.
    pub(crate) fn worker(&self) -> Process {
        Launch::binary("baton-worker")
            .args(["--http", "off", "--amqp", &self.vhost.url()])
            .start()
    }

    /// A worker with a further variable.
    pub(crate) fn worker_with(&self, name: &str, value: &str) -> Process {
        Launch::binary("baton-worker")
            .args(["--http", "off", "--amqp", &self.vhost.url()])
            .env(name, value)
            .start()
    }

    /// Where the API is; waits until it is there.
    pub(crate) async fn url(&mut self) -> String {
        let orchestrator = &self.orchestrator;
        await_some("the orchestrator to listen", LIMIT, async || {
            listening(&orchestrator.log())
        })
        .await
    }

    /// The API, with its token.
    pub(crate) async fn api(&mut self) -> Api {
        let url = self.url().await;
        let token = std::fs::read_to_string(self.data.join("token")).unwrap();
        Api {
            url,
            token: token.trim().to_owned(),
            http: reqwest::Client::new(),
        }
    }

    /// Runs `baton` to its end.
    pub(crate) async fn baton(&mut self, args: &[&str]) -> Output {
        let url = self.url().await;
        let mut command = Command::new(binaries::path_of("baton"));
        command
            .args(args)
            .env("BATON_URL", url)
            .env("BATON_TOKEN_FILE", self.data.join("token"))
            .env("BATON_BY", "tester");
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// Writes a file for the tool.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.data.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file of the data folder.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// Ends it in order and starts it again.
    pub(crate) async fn restart(&mut self) {
        let runs = |log: &str| log.matches("the orchestrator runs").count();
        let before = runs(&self.orchestrator.log());
        let status = self.orchestrator.sigterm_and_wait(LIMIT).await;
        assert!(status.success(), "{status}");
        self.orchestrator.start_again();
        let orchestrator = &self.orchestrator;
        baton_harness::await_until("it to run again", LIMIT, async || {
            runs(&orchestrator.log()) > before
        })
        .await;
    }

    /// Waits until the worker's task types are known.
    pub(crate) async fn await_type(&mut self, task_type: &str) {
        let api = self.api().await;
        await_some("the task type to be known", LIMIT, async || {
            let types = api.get("/v1/task-types").await;
            let known = types["task_types"].as_array()?;
            known
                .iter()
                .any(|known| known["task_type"] == task_type)
                .then_some(())
        })
        .await;
        // known a moment before its queue stands
        let queue = format!("baton.task.default.{task_type}");
        self.vhost.await_consumers(&queue, 1, LIMIT).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

/// The last address the process said it listens on.
fn listening(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("the orchestrator runs")?;
        let (_, rest) = rest.split_once("http=")?;
        let address = rest.split_whitespace().next()?;
        Some(format!("http://{address}"))
    })
}

/// The API of one orchestrator.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
}

impl Api {
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.send(self.http.get(self.at(path))).await;
        assert_eq!(status, 200, "GET {path}: {value}");
        value
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.http.post(self.at(path)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        self.send(self.http.put(self.at(path)).body(body.to_owned()))
            .await
    }

    /// Any request without a body.
    pub(crate) async fn send_as(&self, method: reqwest::Method, path: &str) -> (u16, Value) {
        self.send(self.http.request(method, self.at(path))).await
    }

    /// The text of one of the paths that need no token.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let response = self.http.get(self.at(path)).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }

    pub(crate) async fn register(&self, yaml: &str) {
        let (status, answer) = self.put("/v1/definitions", yaml).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Starts a saga; its id.
    pub(crate) async fn start(&self, body: &Value) -> String {
        let (status, answer) = self.post("/v1/sagas", body).await;
        assert!(status == 201 || status == 200, "{status}: {answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a saga stands there.
    pub(crate) async fn await_status(&self, id: &str, status: &str) -> Value {
        await_some(&format!("saga {id} to be {status}"), LIMIT, async || {
            let saga = self.get(&format!("/v1/sagas/{id}")).await;
            (saga["status"] == status).then_some(saga)
        })
        .await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

/// What a command said.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
