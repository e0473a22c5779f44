//! The program itself, over a real broker and a real ledger: it works, is seen, drains on SIGTERM, does not act after a stop past its
//! lease, and says clearly what it cannot use.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::time::Duration;

use baton_bus::{Bus, BusConfig, ConsumeSpec, Consumer, Outgoing, Sent};
use baton_harness::{Broker, Launch, Ledger, Process, Vhost, await_until};
use baton_messages::topology::{self, Topology};
use baton_messages::{
    AttemptRef, ControlMessage, Direction, Finished, Grant, GrantAnswer, Hold, InboxKey,
    InboxMessage, MessageId, PoolName, SagaId, Started, StepId, Task, TaskMessage, TaskResult,
    TaskType, Timestamp,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(90);
const ECHO: &str = "test.echo@1";
const EFFECT: &str = "test.effect@1";

struct Stage {
    vhost: Vhost,
    bus: Bus,
    inbox: Consumer,
    ledger: Ledger,
}

impl Stage {
    async fn set() -> Self {
        let vhost = Broker::shared().await.vhost().await;
        let config = BusConfig {
            addresses: vec![vhost.url()],
            ..BusConfig::default()
        };
        let bus = Bus::start(config, CancellationToken::new()).unwrap();
        bus.ready().await;
        bus.declare(&Topology::base(1)).await.unwrap();
        for task_type in [ECHO, EFFECT] {
            let of = Topology::of_task(
                &PoolName::default_pool(),
                &TaskType::new(task_type).unwrap(),
            );
            bus.declare(&of).await.unwrap();
        }
        let spec = ConsumeSpec {
            queue: topology::inbox_queue(&InboxKey::of(0)),
            prefetch: 10,
            exclusive_queue: None,
            consumer_tag: "test".into(),
        };
        let inbox = bus.consume(spec).await;
        let ledger = Ledger::start().await;
        Self {
            vhost,
            bus,
            inbox,
            ledger,
        }
    }

    fn launch(&self, port: u16) -> Launch {
        Launch::binary("baton-worker")
            .args([
                "--amqp",
                &self.vhost.url(),
                "--http",
                &format!("127.0.0.1:{port}"),
            ])
            .env(
                "BATON__AUTOMATIONS__TEST_EFFECT__LEDGER_URL",
                self.ledger.url(),
            )
            .env("BATON__WORKER__HEARTBEAT_MS", "200")
    }

    async fn start(&self, port: u16) -> Process {
        let mut worker = self.launch(port).start();
        worker
            .wait_for_http(&format!("http://127.0.0.1:{port}/healthz"), SOON)
            .await;
        worker
    }

    async fn send(
        &self,
        exchange: &'static str,
        key: String,
        kind: &'static str,
        id: MessageId,
        body: Vec<u8>,
    ) {
        let out = Outgoing::json(exchange, key, kind, id, body, 0);
        assert_eq!(
            self.bus.publisher().publish(vec![out]).await,
            [Sent::Confirmed]
        );
    }

    async fn dispatch(&self, task: &Task) {
        let body = serde_json::to_vec(&TaskMessage::Task(task.clone())).unwrap();
        let key = topology::task_key(&task.pool, &task.task_type);
        self.send(topology::TASKS, key, "task@1", task.of.message_id(), body)
            .await;
    }

    async fn next(&mut self) -> InboxMessage {
        let delivery = tokio::time::timeout(SOON, self.inbox.next())
            .await
            .unwrap()
            .unwrap();
        delivery.ack().await.unwrap();
        serde_json::from_slice(&delivery.body).unwrap()
    }

    async fn started(&mut self) -> Started {
        match self.next().await {
            InboxMessage::Started(started) => started,
            other => panic!("not started but {other:?}"),
        }
    }

    async fn grant(&self, started: &Started) {
        let grant = ControlMessage::Grant(Grant {
            of: started.of.clone(),
            run: started.run,
            worker: started.worker.clone(),
            answer: GrantAnswer::Granted {
                before: None,
                progress: None,
            },
        });
        let key = topology::control_key(&started.worker);
        let body = serde_json::to_vec(&grant).unwrap();
        let id = MessageId(uuid::Uuid::new_v4());
        self.send(topology::CONTROL, key, grant.kind(), id, body)
            .await;
    }

    /// The next end of a run; claims are granted on the way.
    async fn finished(&mut self) -> Finished {
        loop {
            match self.next().await {
                InboxMessage::Finished(finished) => return finished,
                InboxMessage::Started(started) => self.grant(&started).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn task(task_type: &str, hold: Hold, input: Value) -> Task {
    let of = AttemptRef {
        saga: SagaId(uuid::Uuid::now_v7()),
        step: StepId::new("step").unwrap(),
        item: None,
        direction: Direction::Do,
        round: 1,
        attempt: 1,
        dispatch: 1,
    };
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Task {
        idempotency_key: of.idempotency_key(),
        of,
        task_type: TaskType::new(task_type).unwrap(),
        pool: PoolName::default_pool(),
        inbox: InboxKey::of(0),
        hold,
        act: None,
        not_after: Timestamp(u64::try_from(since.as_millis()).unwrap() + 60_000),
        ask_after: None,
        timeout_ms: 60_000,
        lease_ms: 4_000,
        input,
        output: None,
        before: None,
        progress: None,
        fences: std::collections::BTreeMap::new(),
    }
}

async fn get(url: String) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().text().await.unwrap()
}

fn port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn it_works_is_seen_and_drains_on_sigterm() {
    let mut stage = Stage::set().await;
    let port = port();
    let mut worker = stage.start(port).await;
    stage
        .dispatch(&task(ECHO, Hold::Late, json!({ "value": 1 })))
        .await;
    let echoed = stage.finished().await;
    assert_eq!(
        echoed.result,
        TaskResult::Succeeded {
            output: json!({ "value": 1 })
        }
    );
    assert_eq!(
        get(format!("http://127.0.0.1:{port}/readyz")).await,
        "ready\n"
    );

    stage
        .dispatch(&task(
            EFFECT,
            Hold::Claim,
            json!({ "delay_after_ms": 1_500 }),
        ))
        .await;
    let started = stage.started().await;
    stage.grant(&started).await;
    let calls = async || !stage.ledger.calls().await.is_empty();
    await_until("the effect", SOON, calls).await;
    let metrics = get(format!("http://127.0.0.1:{port}/metrics")).await;
    assert!(
        metrics.contains(
            "baton_worker_tasks_total{type=\"test.echo@1\",direction=\"do\",result=\"succeeded\"} 1"
        ),
        "{metrics}"
    );

    // In the middle of the task: it is finished, reported, and only then the process ends.
    assert!(worker.sigterm_and_wait(SOON).await.success());
    assert!(matches!(
        stage.finished().await.result,
        TaskResult::Succeeded { .. }
    ));
    assert_eq!(
        stage
            .ledger
            .effect(&started.of.idempotency_key().to_string())
            .await
            .done,
        1
    );
}

#[tokio::test]
async fn a_process_stopped_past_its_lease_does_not_act_when_it_goes_on() {
    let mut stage = Stage::set().await;
    let port = port();
    let worker = stage.start(port).await;
    stage
        .dispatch(&task(
            EFFECT,
            Hold::Claim,
            json!({ "delay_before_ms": 3_000 }),
        ))
        .await;
    let started = stage.started().await;
    // asked before it was heard: its lease of 4 s is over by then, and so is its delay
    let over = tokio::time::Instant::now() + Duration::from_secs(5);
    stage.grant(&started).await;
    let granted = async || {
        let metrics = get(format!("http://127.0.0.1:{port}/metrics")).await;
        metrics.contains("baton_worker_grant_wait_seconds_count 1")
    };
    await_until("the grant to be heard", SOON, granted).await;
    worker.sigstop();
    tokio::time::sleep_until(over).await;
    worker.sigcont();
    let finished = stage.finished().await;
    let TaskResult::Unknown(failure) = &finished.result else {
        panic!("not unknown but {finished:?}");
    };
    assert_eq!(failure.code, "lease-lost");
    assert!(
        stage.ledger.calls().await.is_empty(),
        "it acted after its lease"
    );
}

#[tokio::test]
async fn what_cannot_be_used_is_said_clearly_and_ends_it() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["--http", &taken], "set http.listen"),
        (&["--http", "here"], "neither an address with a port"),
        (&["--concurrency", "0"], "worker.concurrency"),
        (
            &["--config", "/not/there.toml"],
            "check that the file is there",
        ),
    ];
    for (args, said) in cases {
        let mut worker = Launch::binary("baton-worker").args(args).start();
        assert!(!worker.wait(SOON).await.success());
        let log = worker.log();
        assert!(log.contains(said), "{args:?}: {log}");
    }
}

#[tokio::test]
async fn what_is_in_force_and_what_there_is_can_be_printed() {
    let mut shown = Launch::binary("baton-worker")
        .args(["config", "--amqp", "amqp://anna:hunter2@host/%2f"])
        .start();
    assert!(shown.wait(SOON).await.success());
    assert!(shown.log().contains("anna:***@host") && !shown.log().contains("hunter2"));

    let mut types = Launch::binary("baton-worker")
        .args(["types", "--json"])
        .start();
    assert!(types.wait(SOON).await.success());
    let manifests: Vec<baton_messages::Manifest> = serde_json::from_str(&types.log()).unwrap();
    let hold = |name: &str| {
        let found = manifests.iter().find(|m| m.task_type.as_str() == name);
        found.map(baton_messages::Manifest::hold)
    };
    assert_eq!(hold(ECHO), Some(Hold::Late));
    assert_eq!(hold("test.effect-late@1"), Some(Hold::Late));
    assert_eq!(hold(EFFECT), Some(Hold::Claim));
    assert_eq!(hold("file.write@1"), Some(Hold::Claim));
}

/// A web server that says back what it was told, in the open and in other forms.
async fn parrot() -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let header = |name: &str| {
                let line = request.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let body = json!({ "bearer": header("authorization:"), "key": header("x-key:"), "more": header("x-more:") });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nx-said: {}\r\ncontent-length: {}\r\n\r\n{body}",
                header("x-key:"),
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_secret_reaches_its_target_and_shows_nowhere_else() {
    const BASIC: &str = "correct horse battery";
    const KEY: &str = "k3y/with+odd=signs";
    const MORE: &str = "printed-by-a-program";
    let mut stage = Stage::set().await;
    let web = TaskType::new("http.request@1").unwrap();
    let of = Topology::of_task(&PoolName::default_pool(), &web);
    stage.bus.declare(&of).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("basic"), format!("{BASIC}\n")).unwrap();
    std::fs::write(at("denied"), "never handed out").unwrap();
    let config = format!(
        "[automations.net]\nallow = [\"127.0.0.1\"]\n[secrets.basic]\nfile = \"{}\"\n[secrets.key]\nenv = \"ODD_KEY\"\n\
         [secrets.more]\ncommand = [\"echo\", \"{MORE}\"]\n[secrets.denied]\nfile = \"{}\"\ntypes = [\"test.echo@1\"]\n",
        at("basic"),
        at("denied")
    );
    std::fs::write(at("config.toml"), config).unwrap();
    let (port, parrot) = (port(), parrot().await);
    let mut worker = stage
        .launch(port)
        .args(["--config", &at("config.toml")])
        .env("ODD_KEY", KEY)
        .env("RUST_LOG", "trace,lapin=off")
        .start();
    worker
        .wait_for_http(&format!("http://127.0.0.1:{port}/healthz"), SOON)
        .await;

    let secret = |name: &str| json!({ "$secret": name });
    let asked = |expect: Value| {
        json!({
            "url": format!("http://127.0.0.1:{parrot}/"),
            "auth": { "basic": { "user": "anna", "password": secret("basic") } },
            "headers": { "X-Key": secret("key"), "X-More": secret("more") },
            "expect": expect,
        })
    };
    let misplaced = json!({ "url": secret("basic") });
    let denied = json!({ "url": format!("http://127.0.0.1:{parrot}/"), "headers": { "X-Key": secret("denied") } });
    let unknown = json!({ "url": format!("http://127.0.0.1:{parrot}/"), "headers": { "X-Key": secret("nobody") } });
    let mut ends = Vec::new();
    for input in [
        asked(json!({})),
        asked(json!({ "json": [{ "at": "/key", "equals": "x" }] })),
        misplaced,
        denied,
        unknown,
    ] {
        stage
            .dispatch(&task("http.request@1", Hold::Claim, input))
            .await;
        ends.push(serde_json::to_string(&stage.finished().await).unwrap());
    }
    let good: Value = serde_json::from_str(&ends[0]).unwrap();
    let json = &good["result"]["succeeded"]["output"]["json"];
    // In base 64 the secret shares letters with its neighbours: `anna:` before it, and the end.
    assert_eq!(
        *json,
        json!({ "bearer": "Basic YW5uYTp***k=", "key": "***", "more": "***" }),
        "{good}"
    );
    for (end, code) in [
        (1, "not-as-expected"),
        (2, "secret-misplaced"),
        (3, "secret-denied"),
        (4, "secret-unknown"),
    ] {
        assert!(
            ends[end].contains(&format!("\"code\":\"{code}\"")),
            "{}",
            ends[end]
        );
    }
    worker.sigterm_and_wait(SOON).await;
    let said = worker.log();
    assert!(
        said.contains("not-as-expected"),
        "the log was not looked at: {said}"
    );
    // "correct horse battery" after "anna:" in base 64, without the letters at its ends.
    for form in [
        BASIC,
        KEY,
        MORE,
        "never handed out",
        "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5",
        "ZjpyZWN0IGhvcnNl",
        "b3JyZWN0IGhvcnNlIGJhdHRlcnk",
        "k3y%2Fwith%2Bodd%3Dsigns",
    ] {
        for text in ends.iter().chain([&said]) {
            assert!(!text.contains(form), "{form} shows in {text}");
        }
    }
}
