//! The schema of the saga language in an editor: the YAML language server that editors use (npm's `yaml-language-server`) reads it, finds nothing wrong in
//! the sagas that are shipped, points at what is wrong in others, offers the keys that fit and says what one is for. Where there is no npm, or its
//! registry does not answer, that is what was not tested.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use baton_harness::{binaries, not_tested};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The version that is tried.
const SERVER: &str = "yaml-language-server@1.25.0";
/// Time for npm to bring it.
const NPM: Duration = Duration::from_secs(180);
/// Time for one answer, on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest message that is read.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The language server and what it has said about files.
struct Server {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u64,
    diagnostics: Vec<(String, Value)>,
    schema: String,
}

impl Server {
    async fn start(program: &Path) -> Self {
        let mut child = Command::new("node")
            .arg(program)
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("npm brings node");
        let to = child.stdin.take().expect("it is piped");
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut server = Self {
            _child: child,
            to,
            from,
            asked: 0,
            diagnostics: Vec::new(),
            schema: format!(
                "file://{}",
                root().join("schemas/json/language.json").display()
            ),
        };
        let able = json!({ "workspace": { "configuration": true } });
        let client = json!({ "processId": null, "rootUri": null, "capabilities": able });
        server.ask("initialize", client).await;
        let told = json!({ "jsonrpc": "2.0", "method": "initialized", "params": {} });
        server.send(&told).await;
        server
    }

    async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let framed = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        let sent = self.to.write_all(framed.as_bytes()).await;
        sent.expect("the server reads");
    }

    async fn read(&mut self) -> Value {
        let read = async {
            let mut length = 0;
            loop {
                let mut line = String::new();
                let read = self.from.read_line(&mut line).await;
                assert_ne!(read.expect("it can be read"), 0, "the server has ended");
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            assert!(length < MESSAGE_BYTES_MAX, "{length} bytes");
            let mut body = vec![0; length];
            self.from
                .read_exact(&mut body)
                .await
                .expect("it can be read");
            serde_json::from_slice(&body).expect("it is JSON")
        };
        let read = tokio::time::timeout(ANSWER, read).await;
        read.expect("the server answers in time")
    }

    /// Keeps what it says about files, and answers what it asks.
    async fn take(&mut self, message: Value) {
        let method = message["method"].as_str().unwrap_or_default();
        if method == "textDocument/publishDiagnostics" {
            let file = message["params"]["uri"].as_str().unwrap_or_default();
            let found = message["params"]["diagnostics"].clone();
            self.diagnostics.push((file.to_owned(), found));
        } else if !message["id"].is_null() {
            let yaml = json!({
                "schemas": { self.schema.as_str(): ["*.yaml"] },
                "validate": true, "completion": true, "hover": true, "schemaStore": { "enable": false },
            });
            let result = if method == "workspace/configuration" {
                let items = message["params"]["items"].as_array();
                let of = |item: &Value| match item["section"].as_str() {
                    Some("yaml") => yaml.clone(),
                    _ => Value::Null,
                };
                Value::Array(items.into_iter().flatten().map(of).collect())
            } else {
                Value::Null
            };
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
            self.send(&answer).await;
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = json!(self.asked);
        let asked = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&asked).await;
        loop {
            let message = self.read().await;
            if message["id"] == id && message["method"].is_null() {
                return message["result"].clone();
            }
            self.take(message).await;
        }
    }

    /// Opens a file in the editor; what is wrong with it: line and column from 1, and the words.
    async fn open(&mut self, name: &str, text: &str) -> Vec<(u64, u64, String)> {
        let file = uri(name);
        let document = json!({ "uri": file, "languageId": "yaml", "version": 1, "text": text });
        let opened = json!({
            "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": document },
        });
        self.send(&opened).await;
        loop {
            if let Some((_, found)) = self.diagnostics.iter().find(|(of, _)| *of == file) {
                let found = found.as_array().cloned().unwrap_or_default();
                return found.iter().map(diagnostic).collect();
            }
            let message = self.read().await;
            self.take(message).await;
        }
    }

    async fn at(&mut self, what: &str, name: &str, line: u64, column: u64) -> Value {
        let place = json!({ "line": line - 1, "character": column - 1 });
        let of = json!({ "textDocument": { "uri": uri(name) }, "position": place });
        self.ask(&format!("textDocument/{what}"), of).await
    }
}

fn uri(name: &str) -> String {
    format!("file:///editor/{name}")
}

fn diagnostic(of: &Value) -> (u64, u64, String) {
    let start = &of["range"]["start"];
    let number = |name: &str| start[name].as_u64().expect("a number") + 1;
    let words = of["message"].as_str().unwrap_or_default().to_owned();
    (number("line"), number("character"), words)
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().expect("it is there")
}

/// The server's program, brought by npm the first time.
async fn server() -> Result<PathBuf, String> {
    let dir = binaries::scratch_dir().join(SERVER.replace('@', "-"));
    let program = dir.join("node_modules/yaml-language-server/bin/yaml-language-server");
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ]);
    npm.arg(&dir).arg(SERVER).kill_on_drop(true);
    let brought = tokio::time::timeout(NPM, npm.output()).await;
    let brought = brought.map_err(|_| "npm's registry does not answer".to_owned())?;
    let brought = brought.map_err(|error| format!("npm: {error}"))?;
    if !brought.status.success() || !program.exists() {
        let said = String::from_utf8_lossy(&brought.stderr);
        return Err(said.lines().next().unwrap_or("npm failed").to_owned());
    }
    Ok(program)
}

const WRONG: &str = "saga: x
version: 1
steps:
  - id: a
    task: test.echo@1
    wiht: {}
    retry: { attempts: 0 }
  - id: b
    sleep: soon
";

const UNFINISHED: &str = "saga: x
version: 1
steps:
  - id: a
    task: test.echo@1
    \n";

#[tokio::test]
async fn an_editor_knows_the_language() {
    let mut server = match server().await {
        Ok(program) => Server::start(&program).await,
        Err(why) => return not_tested(&format!("the saga language in an editor: {why}")),
    };
    let sagas = std::fs::read_dir(root().join("orchestrator/sagas")).expect("they are there");
    let mut read = 0;
    for entry in sagas {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|is| is == "yaml") {
            let name = path.file_name().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let found = server.open(&name, &text).await;
            assert_eq!(found, [], "{name}");
            read += 1;
        }
    }
    assert!(read > 3, "{read} sagas");

    let found = server.open("wrong.yaml", WRONG).await;
    let mut at: Vec<_> = found
        .iter()
        .map(|(line, column, _)| (*line, *column))
        .collect();
    at.sort_unstable();
    assert_eq!(at, [(6, 5), (7, 24), (9, 12)], "{found:?}");

    let found = server.open("unfinished.yaml", UNFINISHED).await;
    assert_eq!(found, []);
    let offered = server.at("completion", "unfinished.yaml", 6, 5).await;
    let offered = offered["items"].as_array().expect("a list").clone();
    let labels: Vec<_> = offered
        .iter()
        .filter_map(|of| of["label"].as_str())
        .collect();
    for key in ["with", "undo", "probe", "retry", "pivot"] {
        assert!(labels.contains(&key), "{key} is not offered: {labels:?}");
    }
    assert!(!labels.contains(&"task"), "it is there already");
    let said = server.at("hover", "unfinished.yaml", 5, 6).await;
    let said = said["contents"]["value"].as_str().unwrap_or_default();
    assert!(said.contains("Has a worker run an automation"), "{said}");
}
